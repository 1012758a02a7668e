package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// refuse makes the storage refuse writes until accept is called, or the test has ended.
func refuse(t *testing.T, s Storage) (accept func()) {
	t.Helper()
	end := s.Refuse(t)
	refusing := true
	accept = func() {
		if refusing {
			refusing = false
			end()
		}
	}
	t.Cleanup(accept)
	return accept
}

// moment is how long to wait for a call that may fail by its deadline alone. A few of them
// are shorter than a lease.
func (s Storage) moment() time.Duration {
	const usual = 200 * time.Millisecond
	if s.Lease > 0 {
		return min(usual, s.Lease/6)
	}
	return usual
}

// lockIsGrantedOnlyWhereASaveCanBeDone tests that the lock is had before a token is spent
// only where the next token can be saved.
func lockIsGrantedOnlyWhereASaveCanBeDone(t *testing.T, s Storage) {
	if s.Refuse == nil {
		t.Skip("Storage.Refuse is nil")
	}
	for _, session := range []string{"storetest refused", "storetest refused and never locked"} {
		store, other := openLocker(t, s), openLocker(t, s)
		require.NoError(t, store.Save(t.Context(), session, full("before")))
		if session == "storetest refused" {
			_, unlock := mustLock(t, store, session)
			unlock()
		}
		accept := refuse(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), s.moment())
		held, unlock, err := store.Lock(ctx, session)
		cancel()
		want := full("before")
		if err == nil {
			ctx, cancel := context.WithTimeout(held, s.moment())
			want = full("after")
			assert.NoError(t, store.Save(ctx, session, want), "a lock was granted under which nothing can be saved")
			cancel()
			unlock()
		}
		accept()
		held, unlock = mustLock(t, other, session)
		tok, ok, err := other.Load(held, session)
		require.NoError(t, err)
		require.True(t, ok)
		same(t, want, tok, "when the storage accepts writes again")
		require.NoError(t, other.Delete(held, session))
		unlock()
	}
}

// lockOutlastsASaveThatFails tests that the holder keeps the lock, and can try again, if
// a Save under it fails.
func lockOutlastsASaveThatFails(t *testing.T, s Storage) {
	if s.Refuse == nil {
		t.Skip("Storage.Refuse is nil")
	}
	session := "storetest tried again"
	holder, other := openLocker(t, s), openLocker(t, s)
	lock := func() (context.Context, func(), error) {
		require.NoError(t, holder.Save(t.Context(), session, full("before")))
		return locks(t, holder, session)()
	}
	require.NoError(t, underLock(t, s, lock, func(held context.Context) error {
		accept := refuse(t, s)
		ctx, cancel := context.WithTimeout(held, s.moment())
		_ = holder.Save(ctx, session, full("after")) // it may have made sure of that
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), s.moment())
		_, _, lockErr := other.Lock(ctx, session)
		cancel()
		lost := context.Cause(held)
		accept()
		if lost != nil {
			return fmt.Errorf("a Save that failed has cost the lock: %w", lost)
		}
		require.Error(t, lockErr, "after a Save that failed, another has the lock")
		ctx, cancel = context.WithTimeout(held, patience)
		defer cancel()
		err := holder.Save(ctx, session, full("after"))
		if held.Err() != nil {
			return context.Cause(held)
		}
		require.NoError(t, err, "when the storage accepts writes again")
		same(t, full("after"), mustLoad(t, other, session), "saved at last")
		return nil
	}))
	held, unlock := mustLock(t, other, session)
	defer unlock()
	require.NoError(t, other.Delete(held, session))
}

// aRefusedSaveSignsNobodyOut has the storage refuse writes between a refresh and its save,
// while another process waits for the lock.
func aRefusedSaveSignsNobodyOut(t *testing.T, s Storage) {
	if s.Refuse == nil {
		t.Skip("Storage.Refuse is nil")
	}
	server := reauthtest.NewServer(t, reauthtest.Options{})
	session := "storetest refused between refresh and save"
	refreshing := newProcess(t, s, server, session)
	waiting := newProcess(t, s, server, session)
	require.NoError(t, refreshing.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	for _, p := range []*process{refreshing, waiting} {
		require.NoError(t, p.get(t.Context()))
	}
	server.ExpireAccess()
	release := server.BlockRefresh()
	answers := make(chan error, 2)
	go func() { answers <- refreshing.get(t.Context()) }()
	mustReach(t, server, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	before := server.Counts().APIRequests
	go func() { answers <- waiting.get(t.Context()) }()
	mustReach(t, server, "the other's request", func(c reauthtest.Counts) bool { return c.APIRequests > before })

	accept := refuse(t, s)
	release()
	mustReach(t, server, "its answer", func(c reauthtest.Counts) bool { return c.RefreshesGranted >= 1 })
	<-time.After(s.moment()) // so that a Save fails
	accept()
	for range 2 {
		assert.NotErrorIs(t, <-answers, reauth.ErrSignInRequired) // that it could not lock is a temporary error
	}
	answered := func(p *process) {
		t.Helper()
		var err error
		require.Eventually(t, func() bool {
			err = p.get(t.Context())
			return err == nil || errors.Is(err, reauth.ErrSignInRequired)
		}, patience, 10*time.Millisecond, "its requests go on failing")
		require.NoError(t, err, "the session is lost")
	}
	answered(waiting)
	answered(refreshing)
	assert.Equal(t, 1, server.Counts().Refreshes, "refreshes, of which one was needed")
	assert.Zero(t, server.Counts().ReusesDetected, "refresh tokens that were spent twice")

	server.ExpireAccess()
	answered(waiting)
	assert.Equal(t, 2, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected, "refresh tokens that were spent twice")
	require.NoError(t, waiting.SignOut(t.Context()))
}
