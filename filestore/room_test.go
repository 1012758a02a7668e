//go:build !windows

package filestore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// temporaryFile returns the path of the only temporary file.
func temporaryFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// It would take up the space without a purpose.
func TestASignOutLeavesNoRoomBehind(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	for _, locked := range []bool{true, false} {
		held, unlock, err := store.Lock(t.Context(), "ann")
		require.NoError(t, err)
		require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "a"}))
		if locked {
			require.NoError(t, store.Delete(held, "ann"))
			unlock()
		} else {
			unlock()
			require.NoError(t, store.Delete(t.Context(), "ann"))
		}
		assert.Equal(t, []string{filepath.Base(pathOf(dir, "ann", ".lock"))}, files(t, dir))
	}
}

// What looks like a room may be somebody else's.
func TestAFileThatIsNoRoomIsReplaced(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, make([]byte, 64<<10), 0o600))
	for name, plant := range map[string]func(path string) error{
		"too small": func(path string) error { return os.WriteFile(path, []byte("small"), 0o600) },
		"others may read": func(path string) error {
			if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o644)
		},
		"a link": func(path string) error { return os.Symlink(outside, path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := open(t, dir)
			save(t, store, "ann", "before")
			require.NoError(t, plant(pathOf(dir, "ann", ".room")))
			held, unlock, err := store.Lock(t.Context(), "ann")
			require.NoError(t, err)
			taken, err := os.Stat(temporaryFile(t, dir))
			require.NoError(t, err)
			assert.GreaterOrEqual(t, taken.Size(), int64(16<<10))
			require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
			unlock()
			requireStored(t, store, "ann", "after")
			info, err := os.Lstat(pathOf(dir, "ann", ".room"))
			require.NoError(t, err)
			assert.GreaterOrEqual(t, info.Size(), int64(16<<10))
			assert.Len(t, files(t, dir), 3)
			info, err = os.Stat(outside)
			require.NoError(t, err)
			assert.EqualValues(t, 64<<10, info.Size())
		})
	}
}

// A room from long ago does not look like what a killed process has left.
func TestTheRoomOfAHolderIsNotSweptAway(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "before")
	_, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	unlock()
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(pathOf(dir, "ann", ".room"), old, old))
	_, unlock, err = store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	defer unlock()
	open(t, dir) // another process starts
	assert.FileExists(t, temporaryFile(t, dir))
}

func TestASaveFindsAnotherWayIfItsRoomIsGone(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, os.Remove(temporaryFile(t, dir)))
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
	requireStored(t, store, "ann", "after")
	unlock()
	assert.Len(t, files(t, dir), 3)
}

func TestARoomWithAPartOfATokenIsRemoved(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(pathOf(dir, "ann", ".json"), 0o700)) // nothing can be renamed to a folder
	require.Error(t, store.Save(held, "ann", reauth.Token{AccessToken: "secret"}))
	text, err := os.ReadFile(temporaryFile(t, dir))
	require.NoError(t, err)
	require.Contains(t, string(text), "secret", "what this test is about")
	unlock()
	assert.ElementsMatch(t, []string{filepath.Base(pathOf(dir, "ann", ".json")), filepath.Base(pathOf(dir, "ann", ".lock"))}, files(t, dir))
}
