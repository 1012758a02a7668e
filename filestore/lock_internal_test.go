package filestore

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/require"
)

// A write that began under the previous lock must not overtake the next holder, as it
// could on a slow disk.
func TestALockIsKeptUntilTheWriteUnderItIsOver(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	l := held.Value(leaseKey{store, "ann"}).(*lease)
	require.NoError(t, l.enter())
	unlock()
	require.Error(t, l.enter(), "another write begins")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = store.Lock(ctx, "ann")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	l.leave()
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, unlock, err = store.Lock(ctx, "ann")
	require.NoError(t, err)
	unlock()
	runtime.KeepAlive(l) // otherwise its file might be closed, which would release the lock
}

// A file that loses its name between being opened and being locked is not the lock.
func TestOnlyTheFileThatHasTheNameIsTheLock(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	require.NoError(t, store.makeLockFile(t.Context(), "x"+lockSuffix))
	l, err := store.tryLock(t.Context(), "x")
	require.NoError(t, err)
	require.NoError(t, l.check())
	another := flock.New(l.path + " another")
	ok, err := another.TryLock()
	require.NoError(t, err)
	require.True(t, ok)
	defer another.Unlock()
	l.file, err = another.Stat()
	require.NoError(t, err)
	require.ErrorIs(t, l.check(), errLockGone)
	require.NoError(t, l.lock.Unlock())
}
