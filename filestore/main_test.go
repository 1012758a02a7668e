package filestore_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/fleet"
)

// TestMain also runs the test binary as another process: a member of a fleet, or a
// writer that will be killed.
func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(writerVariable); ok {
		writeUntilKilled(dir)
	}
	fleet.Main(m, func(dir string) (reauth.Store, error) { return filestore.New(dir, nil) })
}

func open(tb testing.TB, dir string) *filestore.Store {
	tb.Helper()
	store, err := filestore.New(dir, nil)
	require.NoError(tb, err)
	return store
}

// pathOf returns the path of a session's file; suffix is ".json" or ".lock".
func pathOf(dir, session, suffix string) string {
	sum := sha256.Sum256([]byte(session))
	return filepath.Join(dir, hex.EncodeToString(sum[:])+suffix)
}

func save(tb testing.TB, store reauth.Store, session, accessToken string) {
	tb.Helper()
	require.NoError(tb, store.Save(tb.Context(), session, reauth.Token{AccessToken: accessToken}))
}

// lockAgain locks a session, whatever changes meanwhile.
func lockAgain(ctx context.Context, store *filestore.Store, session string) (context.Context, func(), error) {
	for {
		held, unlock, err := store.Lock(ctx, session)
		if !errors.Is(err, reauth.ErrChanged) {
			return held, unlock, err
		}
	}
}

func requireStored(tb testing.TB, store reauth.Store, session, accessToken string) {
	tb.Helper()
	tok, ok, err := store.Load(tb.Context(), session)
	require.NoError(tb, err)
	require.True(tb, ok, "there is no token")
	require.True(tb, tok.AccessToken == accessToken, "another token is stored than the one expected")
}

// files returns the names in a folder.
func files(tb testing.TB, dir string) []string {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(tb, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
