package filestore_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestAfterUnlockNothingIsDoneUnderTheLock(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "before")
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	unlock()
	unlock() // does nothing

	_, _, err = store.Load(held, "ann")
	assert.ErrorContains(t, err, "filestore: load "+pathOf(dir, "ann", ".json")+": the lock was released")
	assert.ErrorContains(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}), "the lock was released")
	assert.ErrorContains(t, store.Delete(held, "ann"), "the lock was released")
	assert.ErrorContains(t, context.Cause(held), "the lock was released")
	requireStored(t, store, "ann", "before")
}

// A lock belongs to one session and one Store. Anything else that is done with its
// context is done without a lock.
func TestALockIsOfOneSessionAndOneStore(t *testing.T) {
	dir := t.TempDir()
	store, another := open(t, dir), open(t, dir)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	unlock()
	held = context.WithoutCancel(held)
	require.Error(t, store.Save(held, "ann", reauth.Token{AccessToken: "1"}))
	assert.NoError(t, store.Save(held, "bob", reauth.Token{AccessToken: "1"}))
	assert.NoError(t, another.Save(held, "ann", reauth.Token{AccessToken: "1"}))
}

func TestALockWhoseFolderWasReplacedIsLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	store := open(t, dir)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	another := open(t, dir)
	otherHeld, otherUnlock, err := another.Lock(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, another.Save(otherHeld, "ann", reauth.Token{AccessToken: "newer"}))

	_, _, err = store.Load(held, "ann")
	require.ErrorContains(t, err, "somebody removed its file")
	require.ErrorContains(t, store.Save(held, "ann", reauth.Token{AccessToken: "lost"}), "somebody removed its file")
	require.ErrorContains(t, context.Cause(held), "somebody removed its file")
	unlock()

	requireStored(t, store, "ann", "newer")
	require.NoError(t, another.Delete(otherHeld, "ann"), "the other still has the lock")
	otherUnlock()
}

// A waiter that has opened the lock file, and locks it after it was removed, does not
// have the lock, because others lock its successor. Here each holder removes the file
// before it unlocks.
func TestAWaiterForARemovedLockFileLocksItsSuccessor(t *testing.T) {
	dir := t.TempDir()
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		store := open(t, dir)
		wg.Go(func() {
			for range 500 {
				_, unlock, err := store.Lock(t.Context(), "ann")
				if !assert.NoError(t, err) {
					return
				}
				alone := inside.Add(1) == 1
				runtime.Gosched()
				inside.Add(-1)
				_ = os.Remove(pathOf(dir, "ann", ".lock"))
				unlock()
				if !assert.True(t, alone, "two have the lock") {
					return
				}
			}
		})
	}
	wg.Wait()
}
