//go:build !windows

package filestore_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
)

func assertMode(t *testing.T, want os.FileMode, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if assert.NoError(t, err) {
		assert.Equal(t, want.String(), info.Mode().Perm().String(), path)
	}
}

func TestNewFilesAreForTheUserAlone(t *testing.T) {
	for name, umask := range map[string]int{"no umask": 0, "the usual umask": 0o022, "a umask of everything": 0o777} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "a", "b")
			before := syscall.Umask(umask)
			defer syscall.Umask(before)
			store := open(t, dir)
			_, unlock, err := store.Lock(t.Context(), "ann")
			require.NoError(t, err)
			unlock()
			save(t, store, "ann", "1")
			save(t, store, "ann", "2")

			assertMode(t, 0o700, filepath.Join(top, "a"))
			assertMode(t, 0o700, dir)
			_, unlock, err = store.Lock(t.Context(), "ann")
			require.NoError(t, err)
			unlock()
			assert.Len(t, files(t, dir), 3)
			assertMode(t, 0o600, pathOf(dir, "ann", ".json"))
			assertMode(t, 0o600, pathOf(dir, "ann", ".lock"))
			assertMode(t, 0o600, pathOf(dir, "ann", ".room"))
			requireStored(t, store, "ann", "2")
		})
	}
}

func TestAFolderThatOthersMayWriteToIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) // others may list it
	store := open(t, dir)
	save(t, store, "ann", "1")
	for _, mode := range []os.FileMode{0o775, 0o757, 0o702} {
		require.NoError(t, os.Chmod(dir, mode))
		_, err := filestore.New(dir, nil)
		for _, err := range append(useAll(t, store), err) {
			require.ErrorContains(t, err, "folder "+dir+": others may write to it (mode 0"+octal(mode)+")")
		}
		assertMode(t, mode, dir)
	}
	require.NoError(t, os.Chmod(dir, 0o700))
	requireStored(t, store, "ann", "1")
}

func useAll(t *testing.T, store *filestore.Store) []error {
	_, _, loadErr := store.Load(t.Context(), "ann")
	_, _, lockErr := store.Lock(t.Context(), "ann")
	return []error{loadErr, lockErr, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "2"}), store.Delete(t.Context(), "ann")}
}

func octal(mode os.FileMode) string {
	return string([]byte{'0' + byte(mode>>6&7), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
}

func TestAFileThatOthersMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "secret")
	_, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	unlock()
	token, lock := pathOf(dir, "ann", ".json"), pathOf(dir, "ann", ".lock")
	for _, mode := range []os.FileMode{0o644, 0o640, 0o602} {
		require.NoError(t, os.Chmod(token, mode))
		require.NoError(t, os.Chmod(lock, mode))
		_, _, err := store.Load(t.Context(), "ann")
		require.ErrorContains(t, err, "filestore: load "+token+": others may read or write the file (mode 0"+octal(mode)+")")
		assert.NotContains(t, err.Error(), "secret")
		_, _, err = store.Lock(t.Context(), "ann")
		require.ErrorContains(t, err, "filestore: lock "+lock+": others may read or write the file (mode 0"+octal(mode)+")")
	}
	save(t, store, "ann", "new") // a new file
	assertMode(t, 0o600, token)
	requireStored(t, store, "ann", "new")
}

func TestASymbolicLinkLeadsNowhere(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	store := open(t, dir)
	target := filepath.Join(outside, "target")
	content := []byte(`{"access_token":"planted"}`)
	require.NoError(t, os.WriteFile(target, content, 0o600))
	missing := filepath.Join(outside, "missing")
	require.NoError(t, os.Symlink(target, pathOf(dir, "ann", ".json")))
	require.NoError(t, os.Symlink(missing, pathOf(dir, "ann", ".lock")))

	_, _, err := store.Load(t.Context(), "ann")
	require.ErrorContains(t, err, "not a regular file")
	_, _, err = store.Lock(t.Context(), "ann")
	require.ErrorContains(t, err, "not a regular file")
	assert.NoFileExists(t, missing)

	save(t, store, "ann", "1") // in place of the link
	requireStored(t, store, "ann", "1")
	after, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, content, after)

	require.NoError(t, os.Remove(pathOf(dir, "ann", ".json")))
	require.NoError(t, os.Symlink(target, pathOf(dir, "ann", ".json")))
	require.NoError(t, store.Delete(t.Context(), "ann")) // the link
	_, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.FileExists(t, target)
}

// Opening a pipe would wait for a writer.
func TestAPipeIsNotAToken(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(pathOf(dir, "ann", ".json"), 0o600))
	require.NoError(t, syscall.Mkfifo(pathOf(dir, "ann", ".lock"), 0o600))
	store := open(t, dir)
	_, _, err := store.Load(t.Context(), "ann")
	require.ErrorContains(t, err, "not a regular file")
	_, _, err = store.Lock(t.Context(), "ann")
	require.ErrorContains(t, err, "not a regular file")
}

func TestTheFolderItselfMayBeALink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	save(t, open(t, link), "ann", "1")
	requireStored(t, open(t, dir), "ann", "1")
}

// As on a full disk, except that here the process has a limit.
func TestAWriteThatEndsHalfwayLeavesTheOldToken(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "before")
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	low := limit
	low.Cur = 1000 // bytes, of several thousand
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low))
	err := store.Save(t.Context(), "ann", numbered(1))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))

	require.ErrorIs(t, err, syscall.EFBIG)
	path := pathOf(dir, "ann", ".json")
	assert.ErrorContains(t, err, "filestore: save "+path+": "+syscall.EFBIG.Error())
	assert.Equal(t, []string{filepath.Base(path)}, files(t, dir), "the token, and no temporary file")
	requireStored(t, store, "ann", "before")
	require.NoError(t, store.Save(t.Context(), "ann", numbered(1)))
}

func TestAStoppedProcessKeepsItsLock(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	store := open(t, dir)
	require.NoError(t, store.Save(t.Context(), "ann", numbered(1)))
	cmd, _ := startWriter(t, self, dir)
	for stopped := false; !stopped; { // until it is stopped while it has the lock
		require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
		_, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WUNTRACED, nil)
		require.NoError(t, err)
		lock := flock.New(pathOf(dir, "ann", ".lock"))
		free, err := lock.TryLock()
		require.NoError(t, err)
		if stopped = !free; free {
			require.NoError(t, lock.Unlock())
			require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = store.Lock(ctx, "ann")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	held, unlock, err := lockAgain(ctx, store, "ann")
	require.NoError(t, err, "it goes on, and gives the lock back")
	defer unlock()
	tok, _, err := store.Load(held, "ann")
	require.NoError(t, err)
	_, whole := number(tok)
	assert.True(t, whole)
}

// BenchmarkWait measures how much of a processor one waiter uses while somebody else
// has the lock for a second.
func BenchmarkWait(b *testing.B) {
	dir := b.TempDir()
	_, unlock, err := open(b, dir).Lock(b.Context(), "ann")
	require.NoError(b, err)
	defer unlock()
	store := open(b, dir)
	used := func() time.Duration {
		var usage syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := used()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		_, _, err := store.Lock(ctx, "ann")
		cancel()
		require.ErrorIs(b, err, context.DeadlineExceeded)
	}
	b.ReportMetric(100*float64(used()-before)/float64(b.Elapsed()), "%cpu")
}
