package filestore

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestASightingIsOverOnceTheTokenIsAnother(t *testing.T) {
	write := func(t *testing.T, path, text string, at time.Time) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	then := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, tc := range map[string]struct {
		absent bool // at first
		do     func(t *testing.T, path string)
		over   bool
	}{
		"nothing happens":              {false, func(*testing.T, string) {}, false},
		"there is still none":          {true, func(*testing.T, string) {}, false},
		"it is read":                   {false, func(t *testing.T, path string) { _, err := os.ReadFile(path); require.NoError(t, err) }, false},
		"it is removed":                {false, func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, true},
		"there is one now":             {true, func(t *testing.T, path string) { write(t, path, "1", then) }, true},
		"it is written to":             {false, func(t *testing.T, path string) { write(t, path, "2", then.Add(time.Second)) }, true},
		"it is written to, at no time": {false, func(t *testing.T, path string) { write(t, path, "22", then) }, true},
		"it is replaced by one of its size": {false, func(t *testing.T, path string) {
			write(t, path+"2", "2", time.Now())
			require.NoError(t, os.Rename(path+"2", path))
		}, true},
		"it is replaced by one of its size and its time": {false, func(t *testing.T, path string) {
			write(t, path+"2", "2", then)
			require.NoError(t, os.Rename(path+"2", path))
		}, true},
		// The number of the file is free once it is removed, and would be that of the next.
		"it is replaced by one of its size, its time and its number": {false, func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			write(t, path, "2", then)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := New(t.TempDir(), nil)
			require.NoError(t, err)
			path := filepath.Join(store.dir, "x"+tokenSuffix)
			if !tc.absent {
				write(t, path, "1", then)
			}
			seen, err := store.sight("x")
			require.NoError(t, err)
			defer seen.close()
			tc.do(t, path)
			assert.Equal(t, tc.over, seen.isOver())
		})
	}
}

// While somebody has the lock, a token is saved after Lock has looked at it and before it
// first tries to lock.
func TestAChangeBeforeTheFirstTryEndsTheWaitToo(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	held, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	defer unlock()
	ctx := &actingContext{Context: t.Context(), act: func() {
		assert.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "1"}))
	}}
	_, _, err = store.Lock(ctx, "ann")
	require.ErrorIs(t, err, reauth.ErrChanged)
	require.Nil(t, ctx.act, "what this test is about")
}

// An actingContext acts when it is first asked whether it is done, which Lock does before
// each try.
type actingContext struct {
	context.Context
	act func()
}

func (c *actingContext) Err() error {
	if act := c.act; act != nil {
		c.act = nil
		act()
	}
	return c.Context.Err()
}
