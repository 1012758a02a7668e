package storetest

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A lock that has not come after this long is a lock that does not come.
const patience = 30 * time.Second

// A lockingStore is what each Open of a Locker returns.
type lockingStore interface {
	reauth.Store
	reauth.Locker
}

func openLocker(t *testing.T, s Storage) lockingStore {
	t.Helper()
	store, ok := s.Open(t).(lockingStore)
	require.True(t, ok, "Open once returned a reauth.Locker, and now it does not")
	return store
}

func mustLock(t *testing.T, store lockingStore, session string) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	held, unlock, err := store.Lock(ctx, session)
	require.NoError(t, err)
	require.NotNil(t, held)
	require.NotNil(t, unlock)
	return held, unlock
}

// lockKeepsOthersOff: what is read under the lock is still so when it is written.
func lockKeepsOthersOff(t *testing.T, s Storage) {
	const stores, each, times = 4, 3, 4
	session := "storetest counted"
	first := openLocker(t, s)
	require.NoError(t, first.Save(t.Context(), session, reauth.Token{AccessToken: "0"}))
	var wg sync.WaitGroup
	for range stores {
		store := openLocker(t, s)
		count := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			held, unlock, err := store.Lock(ctx, session)
			if err != nil {
				return err
			}
			defer unlock()
			tok, _, err := store.Load(held, session)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(tok.AccessToken)
			if err != nil {
				return err
			}
			<-time.After(time.Millisecond) // so that two who hold it meet
			return store.Save(held, session, reauth.Token{AccessToken: strconv.Itoa(n + 1)})
		}
		for range each {
			wg.Go(func() {
				for range times {
					if !assert.NoError(t, count()) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	assert.Equal(t, strconv.Itoa(stores*each*times), mustLoad(t, first, session).AccessToken, "how often it was counted up, of how often it should have been")
	require.NoError(t, first.Delete(t.Context(), session))
}

func lockLeavesOtherSessionsFree(t *testing.T, s Storage) {
	_, unlockAnn := mustLock(t, openLocker(t, s), "storetest ann")
	defer unlockAnn()
	store := openLocker(t, s)
	for _, session := range []string{"storetest bob", "storetest Ann", ""} {
		held, unlock := mustLock(t, store, session)
		assert.NoError(t, store.Save(held, session, full("1")))
		assert.NoError(t, store.Delete(held, session))
		unlock()
	}
}

func lockEndsItsWaitWithItsContext(t *testing.T, s Storage) {
	session := "storetest waited for"
	holder := openLocker(t, s)
	_, unlock := mustLock(t, holder, session)
	for _, waiter := range []lockingStore{holder, openLocker(t, s)} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		held, unlock, err := waiter.Lock(ctx, session)
		cancel()
		if assert.Error(t, err, "two hold the lock") {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Nil(t, held)
			assert.Nil(t, unlock)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = waiter.Lock(ended, session)
		assert.ErrorIs(t, err, context.Canceled)
	}
	unlock()
	_, unlock = mustLock(t, openLocker(t, s), session)
	unlock()
}

// lockLosesNothingToAbandonedWaits: a wait that ends at any moment, also in that
// of success, leaves the lock either with its caller or with nobody.
func lockLosesNothingToAbandonedWaits(t *testing.T, s Storage) {
	session := "storetest abandoned"
	store := openLocker(t, s)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			defer cancel()
			if _, unlock, err := store.Lock(ctx, session); err == nil {
				<-time.After(time.Millisecond) // so that the others' waits end while it is held, and as it is freed
				unlock()
			}
		})
	}
	wg.Wait()
	_, unlock := mustLock(t, openLocker(t, s), session)
	unlock()
}

func heldHasTheValuesOfItsContextButNotItsEnd(t *testing.T, s Storage) {
	type key struct{}
	session := "storetest held"
	store := openLocker(t, s)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "mine"))
	held, unlock, err := store.Lock(ctx, session)
	require.NoError(t, err)
	defer unlock()
	cancel()
	assert.NoError(t, held.Err(), "the lock has ended with the context of Lock")
	assert.Equal(t, "mine", held.Value(key{}))
	_, hasDeadline := held.Deadline()
	assert.False(t, hasDeadline)

	bounded, cancel := context.WithTimeout(held, patience)
	defer cancel()
	require.NoError(t, store.Save(bounded, session, full("1")), "with a context derived from held")
	tok, ok, err := store.Load(bounded, session)
	require.NoError(t, err)
	require.True(t, ok)
	same(t, full("1"), tok, "loaded with a context derived from held")
	require.NoError(t, store.Delete(bounded, session))
	mustBeAbsent(t, store, session)
	require.NoError(t, store.Save(held, session, full("2")), "a lock outlasts a Delete")
	require.NoError(t, store.Delete(held, session))
}

func lockLastsAsLongAsItIsHeld(t *testing.T, s Storage) {
	session := "storetest long"
	store := openLocker(t, s)
	held, unlock := mustLock(t, store, session)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), max(3*s.Lease, 100*time.Millisecond))
	defer cancel()
	_, _, err := openLocker(t, s).Lock(ctx, session)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the lock was given to two")
	require.NoError(t, held.Err())
	require.NoError(t, store.Save(held, session, full("1")))
	require.NoError(t, store.Delete(held, session))
}

func aLostLeaseWritesNothing(t *testing.T, s Storage) {
	if s.Lose == nil {
		return
	}
	session := "storetest lost"
	loser, other := openLocker(t, s), openLocker(t, s)
	require.NoError(t, loser.Save(t.Context(), session, full("before")))
	held, unlockLost := mustLock(t, loser, session)
	s.Lose(t, session)
	otherHeld, unlock := mustLock(t, other, session)
	assert.Error(t, loser.Save(held, session, full("lost")), "saved under a lost lease")
	assert.Error(t, loser.Delete(held, session), "deleted under a lost lease")
	same(t, full("before"), mustLoad(t, other, session), "after a Save under a lost lease")

	require.NoError(t, other.Save(otherHeld, session, full("newer")))
	assert.Error(t, loser.Save(held, session, full("lost")), "saved over a newer token")
	assert.Error(t, loser.Delete(held, session), "deleted a newer token")
	unlock()
	assert.Error(t, loser.Save(held, session, full("lost")), "saved under a lost lease, while nobody holds the lock")
	same(t, full("newer"), mustLoad(t, loser, session), "the newer token")
	select {
	case <-held.Done():
		assert.Error(t, context.Cause(held))
	case <-time.After(patience):
		t.Error("held is not done, though the lease is lost")
	}
	unlockLost()

	held, unlock = mustLock(t, loser, session)
	defer unlock()
	require.NoError(t, loser.Save(held, session, full("after")), "with a new lease")
	require.NoError(t, loser.Delete(held, session))
}

func aLostLeaseFreesNobodyElses(t *testing.T, s Storage) {
	if s.Lose == nil {
		return
	}
	session := "storetest freed"
	loser, other := openLocker(t, s), openLocker(t, s)
	_, unlockLost := mustLock(t, loser, session)
	s.Lose(t, session)
	held, unlock := mustLock(t, other, session)
	unlockLost()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := loser.Lock(ctx, session)
	require.ErrorIs(t, err, context.DeadlineExceeded, "who had lost the lock gave back another's")
	require.NoError(t, other.Save(held, session, full("1")))
	require.NoError(t, other.Delete(held, session))
	unlock()
}
