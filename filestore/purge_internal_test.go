package filestore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file that was replaced after Purge has looked at it is moved back, unless it was replaced
// once more.
func TestATokenThatPurgeFindsToBeNewIsMovedBack(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	root, err := store.open()
	require.NoError(t, err)
	defer root.Close()
	path := filepath.Join(store.dir, "x"+tokenSuffix)
	require.NoError(t, os.WriteFile(path, []byte("new"), 0o600))

	deleted, err := takeAway(t.Context(), root, "x", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	assert.False(t, deleted)
	assertOnly := func(want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
		entries, err := os.ReadDir(store.dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1)
	}
	assertOnly("new")

	require.NoError(t, os.WriteFile(filepath.Join(store.dir, "moved"), []byte("new"), 0o600))
	require.NoError(t, os.WriteFile(path, []byte("newer"), 0o600))
	require.NoError(t, restore(root, "moved", "x"+tokenSuffix))
	assertOnly("newer")
}
