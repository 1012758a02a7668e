package keyringstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/keyringstore"
)

const patience = 30 * time.Second

func removeFile(tb testing.TB, path string) {
	tb.Helper()
	require.NoError(tb, os.Remove(path))
}

func lock(t *testing.T, store *keyringstore.Store, session string) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	held, unlock, err := lockAgain(ctx, store, session)
	require.NoError(t, err)
	return held, unlock
}

// lockAgain locks a session, whatever changes meanwhile.
func lockAgain(ctx context.Context, store *keyringstore.Store, session string) (context.Context, func(), error) {
	for {
		held, unlock, err := store.Lock(ctx, session)
		if !errors.Is(err, reauth.ErrChanged) {
			return held, unlock, err
		}
	}
}

// isBusy checks that nobody gets the lock of a session.
func isBusy(t *testing.T, store *keyringstore.Store, session string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := store.Lock(ctx, session)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestLockFilesAreForTheUserAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the folder is in the user's profile")
	}
	dir := filepath.Join(lockDir(t), "below")
	store := openOn(t, new(memoryKeychain), dir)
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	_, unlock := lock(t, store, "")
	unlock()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 3, "the lock of the session, the one for writing, and the mark of a change")
	for _, file := range files {
		info, err := file.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		assert.Less(t, info.Size(), int64(100), "there is nothing of a token in it")
	}
}

func TestAfterASignOutNoLockFilesAreLeft(t *testing.T) {
	dir := lockDir(t)
	store := openOn(t, new(memoryKeychain), dir)
	left := func() int {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(files)
	}
	for _, saved := range []bool{true, false} {
		held, unlock := lock(t, store, session)
		if saved {
			require.NoError(t, store.Save(held, session, ofSize(100)))
		}
		require.NoError(t, store.Delete(held, session))
		isBusy(t, store, session)
		unlock()
		assert.Zero(t, left())
	}
	held, unlock := lock(t, store, session)
	require.NoError(t, store.Delete(held, session))
	require.NoError(t, store.Save(held, session, ofSize(100)))
	unlock()
	assert.Equal(t, 3, left(), "it is signed in again")
}

// A sign-out removes the lock files while others wait for these locks.
func TestNoTwoHaveALockWhoseFileASignOutRemoves(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		store := openOn(t, k, dir)
		wg.Go(func() {
			for range 150 {
				held, unlock, err := lockAgain(t.Context(), store, session)
				if !assert.NoError(t, err) {
					return
				}
				alone := inside.Add(1) == 1
				assert.NoError(t, store.Save(held, session, ofSize(100)))
				assert.NoError(t, store.Delete(held, session))
				alone = inside.Add(-1) == 0 && alone
				unlock()
				if !assert.True(t, alone, "two have the lock") {
					return
				}
			}
		})
	}
	wg.Wait()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, files)
}

// The keychain may be slow, or ask its user.
func TestAWaitForALockLearnsOfAChangeWithoutTheKeychain(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	store, waiter := openOn(t, k, dir), openOn(t, k, dir)
	for name, change := range map[string]func(context.Context) error{
		"a save":            func(held context.Context) error { return store.Save(held, session, ofSize(100)) },
		"a save of a token": func(held context.Context) error { return store.Save(held, session, ofSize(10000)) },
		"a delete":          func(held context.Context) error { return store.Delete(held, session) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, store.Save(t.Context(), session, ofSize(99)))
			held, unlock := lock(t, store, session)
			defer unlock()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := make(chan struct{})
			result := make(chan error, 1)
			go func() {
				_, _, err := waiter.Lock(&tellingContext{Context: ctx, asked: began}, session)
				result <- err
			}()
			<-began
			require.NoError(t, change(held))
			k.before = func(op, _ string) error { return errors.New("not to be asked") }
			defer func() { k.before = nil }()
			require.ErrorIs(t, <-result, reauth.ErrChanged)
		})
	}
}

// A tellingContext tells when it is first asked, which Lock does once it has begun to wait.
type tellingContext struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (c *tellingContext) Err() error {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Err()
}

// Then waiters wait until the lock is released.
func TestASaveThatCanLeaveNoMarkSucceeds(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	mark := strings.TrimSuffix(store.LockFile(session), ".lock") + ".mark"
	require.NoError(t, os.Mkdir(mark, 0o700))
	held, unlock := lock(t, store, session)
	defer unlock()
	require.NoError(t, store.Save(held, session, ofSize(100)))
	isBusy(t, store, session)
}

func TestAFolderThatOthersMayWriteToIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the folder's mode says nothing")
	}
	for _, mode := range []os.FileMode{0o770, 0o702, 0o777 | os.ModeSticky} {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, mode))
		_, err := keyringstore.New(service, &keyringstore.Options{LockDir: dir})
		assert.ErrorContains(t, err, "keyringstore: Options.LockDir: others may write to "+dir)
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := keyringstore.New(service, &keyringstore.Options{LockDir: dir})
	assert.NoError(t, err)
}

func TestServicesThatDifferInCaseShareALock(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	upper, err := keyringstore.NewOn(k, "REAUTH-test", &keyringstore.Options{LockDir: dir})
	require.NoError(t, err)
	other, err := keyringstore.NewOn(k, "another", &keyringstore.Options{LockDir: dir})
	require.NoError(t, err)
	_, unlock := lock(t, openOn(t, k, dir), "")
	defer unlock()
	isBusy(t, upper, "")
	_, unlockOther := lock(t, other, "")
	unlockOther()
}

func TestALockWhoseFileIsRemovedIsLost(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	store, other := openOn(t, k, dir), openOn(t, k, dir)
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	held, unlock := lock(t, store, "")
	defer unlock()
	require.NoError(t, store.Save(held, "", ofSize(101)))
	require.NoError(t, held.Err())

	require.NoError(t, os.RemoveAll(dir))
	_, unlockOther := lock(t, other, "")
	defer unlockOther()
	err := store.Save(held, "", ofSize(102))
	assert.EqualError(t, err, "keyringstore: save: the lock was lost, because its file was removed or replaced")
	assert.EqualError(t, context.Cause(held), "the lock was lost, because its file was removed or replaced")
	assert.Error(t, store.Delete(held, ""))
	_, _, err = store.Load(held, "")
	assert.EqualError(t, err, "keyringstore: load: the lock was lost, because its file was removed or replaced")
	got, _, err := other.Load(t.Context(), "")
	require.NoError(t, err)
	same(t, ofSize(101), got)
}

func TestALostLockIsAnErrorAlsoWhereThereIsNothingToDelete(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	held, unlock := lock(t, store, "")
	defer unlock()
	removeFile(t, store.LockFile(""))
	assert.Error(t, store.Delete(held, ""))
	assert.Error(t, held.Err())
}

func TestALockThatWasGivenBackReadsAndWritesNothing(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	held, unlock := lock(t, store, "")
	require.NoError(t, store.Save(held, "another", ofSize(100)), "of a session that the lock is not of")
	unlock()
	assert.EqualError(t, store.Save(held, "", ofSize(100)), "keyringstore: save: the lock was released")
	assert.Error(t, store.Delete(held, ""))
	_, _, err := store.Load(held, "")
	assert.EqualError(t, err, "keyringstore: load: the lock was released")
	_, ok, err := store.Load(t.Context(), "")
	require.NoError(t, err)
	assert.False(t, ok)
}

// The user may take a while to unlock the keychain.
func TestALockThatIsLostWhileTheKeychainIsReadHasReadNothing(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	held, unlock := lock(t, store, "")
	defer unlock()
	arrived, answer := k.hangAt("Get")
	loaded := make(chan error, 1)
	go func() {
		_, _, err := store.Load(held, "")
		loaded <- err
	}()
	<-arrived
	removeFile(t, store.LockFile(""))
	answer()
	assert.ErrorContains(t, <-loaded, "the lock was lost")
	assert.Error(t, held.Err())
}

// A Save would fail at the same file.
func TestALockIsHadOnlyWhereTheFilesOfASaveCanBeLocked(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close a file that was left behind
	store := openOn(t, new(memoryKeychain), lockDir(t))
	path := strings.TrimSuffix(store.LockFile(""), ".lock") + ".write"
	require.NoError(t, os.Mkdir(path, 0o700))
	_, _, err := store.Lock(t.Context(), "")
	require.ErrorContains(t, err, "keyringstore: lock: ")
	fault, ok := errors.AsType[*os.PathError](err)
	require.True(t, ok)
	assert.Equal(t, path, fault.Path)
	removeFile(t, path)
	held, unlock := lock(t, store, "") // the first was not left behind
	defer unlock()
	require.NoError(t, store.Save(held, "", ofSize(100)))
}

func TestLeasesOfTwoSessionsInOneContext(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	ann, unlockAnn := lock(t, store, "ann")
	ctx, cancel := context.WithTimeout(ann, patience)
	defer cancel()
	both, unlockBob, err := store.Lock(ctx, "bob")
	require.NoError(t, err)
	defer unlockBob()
	require.NoError(t, store.Save(both, "ann", ofSize(100)))
	unlockAnn()
	require.Error(t, store.Save(both, "ann", ofSize(100)))
	require.NoError(t, store.Save(both, "bob", ofSize(100)))
}

// A waiter that opened the file before its holder removed it, and locked it afterwards,
// does not hold the lock. Only holders remove the file here, so each holder must find it.
func TestALockIsThatOfTheFileThatIsThere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be removed")
	}
	dir := lockDir(t)
	var wg sync.WaitGroup
	for range 8 {
		store := openOn(t, new(memoryKeychain), dir)
		wg.Go(func() {
			for range 1000 {
				_, unlock, err := store.Lock(t.Context(), "")
				if !assert.NoError(t, err) {
					return
				}
				err = os.Remove(store.LockFile(""))
				unlock()
				if !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAWaitForALockEndsWithTheCauseOfItsContext(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	_, unlock := lock(t, store, "")
	defer unlock()
	gaveUp := errors.New("the user has left")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, gaveUp)
	defer cancel()
	_, _, err := store.Lock(ctx, "")
	require.ErrorIs(t, err, gaveUp)
}

func TestTheLockOfAProcessThatIsKilledIsFree(t *testing.T) {
	dir := lockDir(t)
	store := openOn(t, new(memoryKeychain), dir)
	holder := startProcess(t, "hold", dir)
	holder.expect(t, "locked")
	isBusy(t, store, session)
	require.NoError(t, holder.cmd.Process.Kill())
	_, unlock := lock(t, store, session)
	unlock()
}

func TestALockThatCannotBeHadIsAnError(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	path := store.LockFile("")
	require.NoError(t, os.Mkdir(path, 0o700))
	_, _, err := store.Lock(t.Context(), "")
	require.ErrorContains(t, err, "keyringstore: lock: ")
	fault, ok := errors.AsType[*os.PathError](err)
	require.True(t, ok)
	assert.Equal(t, path, fault.Path)
}
