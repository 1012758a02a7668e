package keyringstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/keyringstore"
)

// hangAt makes the calls of one operation wait, as for a user who is asked to unlock
// the keychain. arrived gets a value for each of them.
func (k *memoryKeychain) hangAt(op string) (arrived chan struct{}, answer func()) {
	arrived, gate := make(chan struct{}, 100), make(chan struct{})
	k.before = func(this, _ string) error {
		if this == op {
			arrived <- struct{}{}
			<-gate
		}
		return nil
	}
	return arrived, func() { close(gate) }
}

// abandon calls fn until the keychain hangs, and cancels its context.
func abandon(t *testing.T, arrived <-chan struct{}, parent context.Context, fn func(context.Context) error) {
	t.Helper()
	gaveUp := errors.New("the user is away")
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	returned := make(chan error, 1)
	go func() { returned <- fn(ctx) }()
	<-arrived
	cancel(gaveUp)
	require.ErrorIs(t, <-returned, gaveUp)
}

func short(t *testing.T, parent context.Context) context.Context {
	ctx, cancel := context.WithTimeout(parent, 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestAKeychainThatHangsDoesNotOutlastTheContext(t *testing.T) {
	for _, c := range []struct {
		hangs string
		call  func(ctx context.Context, store *keyringstore.Store) error
	}{
		{"Get", func(ctx context.Context, store *keyringstore.Store) error {
			_, _, err := store.Load(ctx, "")
			return err
		}},
		{"Set", func(ctx context.Context, store *keyringstore.Store) error { return store.Save(ctx, "", ofSize(200)) }},
		{"Delete", func(ctx context.Context, store *keyringstore.Store) error { return store.Delete(ctx, "") }},
	} {
		t.Run(c.hangs, func(t *testing.T) {
			k := new(memoryKeychain)
			store := openOn(t, k, lockDir(t))
			require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
			arrived, answer := k.hangAt(c.hangs)
			abandon(t, arrived, t.Context(), func(ctx context.Context) error { return c.call(ctx, store) })

			// The next call waits, so that the user is not asked twice.
			require.ErrorIs(t, c.call(short(t, t.Context()), store), context.DeadlineExceeded)
			assert.Empty(t, arrived)
			answer()
			require.NoError(t, c.call(t.Context(), store), "once the user has answered")
		})
	}
}

func TestAWriteThatIsUnderWayIsNotOvertaken(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	store, other := openOn(t, k, dir), openOn(t, k, dir)
	arrived, answer := k.hangAt("Set")
	abandon(t, arrived, t.Context(), func(ctx context.Context) error { return store.Save(ctx, "", ofSize(100)) })
	for _, s := range []*keyringstore.Store{store, other} {
		require.ErrorIs(t, s.Save(short(t, t.Context()), "", ofSize(101)), context.DeadlineExceeded)
		require.ErrorIs(t, s.Delete(short(t, t.Context()), ""), context.DeadlineExceeded)
	}
	require.NoError(t, other.Delete(t.Context(), "of another session"))
	answer()
	require.NoError(t, other.Delete(t.Context(), ""))
	assert.Len(t, k.writes, 1, "the abandoned token was written before")
	_, ok, err := store.Load(t.Context(), "")
	require.NoError(t, err)
	assert.False(t, ok, "the abandoned token was written afterwards")
}

func TestALockIsGivenBackAfterTheWritesUnderIt(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	store, other := openOn(t, k, dir), openOn(t, k, dir)
	held, unlock := lock(t, store, "")
	arrived, answer := k.hangAt("Set")
	abandon(t, arrived, held, func(ctx context.Context) error { return store.Save(ctx, "", ofSize(100)) })
	unlock()
	isBusy(t, store, "")
	isBusy(t, other, "")
	answer()
	otherHeld, unlock := lock(t, other, "")
	defer unlock()
	tok, ok, err := other.Load(otherHeld, "")
	require.NoError(t, err)
	require.True(t, ok)
	same(t, ofSize(100), tok)
	assert.Error(t, held.Err())
}

func TestASaveWhoseContextEndsStopsBeforeItTakesEffect(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	arrived, answer := k.hangAt("Set")
	abandon(t, arrived, t.Context(), func(ctx context.Context) error {
		return store.Save(ctx, "", ofSize(3*keyringstore.EntryLimit))
	})
	answer()
	_, unlock := lock(t, store, "")
	defer unlock()
	require.NoError(t, store.Delete(t.Context(), "")) // waits for the abandoned Save
	assert.Len(t, k.writes, 2, "the first part was under way; no other was begun")
	assert.Empty(t, k.names())
}

func TestASaveThatHasTakenEffectTidiesUp(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "", ofSize(3*keyringstore.EntryLimit)))
	held, unlock := lock(t, store, "")
	arrived, answer := k.hangAt("Delete")
	abandon(t, arrived, held, func(ctx context.Context) error { return store.Save(ctx, "", ofSize(100)) })
	answer()
	unlock()
	_, unlock = lock(t, store, "") // waits for the abandoned Save
	defer unlock()
	assert.Len(t, k.names(), 1)
}

func TestADoneContextTouchesNothing(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	k.before = func(op, user string) error {
		t.Errorf("%s %q", op, user)
		return nil
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the outcome must not depend on a select
		_, _, err := store.Load(ended, "")
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, store.Save(ended, "", ofSize(100)), context.Canceled)
		require.ErrorIs(t, store.Delete(ended, ""), context.Canceled)
		_, _, err = store.Lock(ended, "")
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestAPanicOfTheKeychainIsAnError(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	k.before = func(string, string) error {
		var none *memoryKeychain
		return errors.New(none.writes[0])
	}
	_, _, err := store.Load(t.Context(), "")
	require.ErrorContains(t, err, "keyringstore: load: panic in the keychain's library: runtime error: ")
	k.before = func(string, string) error { panic("secret") }
	_, _, err = store.Load(t.Context(), "")
	require.EqualError(t, err, "keyringstore: load: panic in the keychain's library")
	require.Error(t, store.Save(t.Context(), "", ofSize(100)))
	k.before = nil
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)), "nothing is locked for good")
}
