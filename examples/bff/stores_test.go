package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestStoredTokensAreEncryptedWithAKey(t *testing.T) {
	key := strings.Repeat("0f", 32)
	tok := reauth.Token{AccessToken: "access-of-ann", RefreshToken: "refresh-of-ann"}
	for name, key := range map[string]string{"with": key, "without": ""} {
		file := filepath.Join(t.TempDir(), "sessions.db")
		store, err := openStore(t.Context(), "sqlite:"+file, key)
		require.NoError(t, err)
		require.NoError(t, store.Save(t.Context(), "ann", tok))
		got, ok, err := store.Load(t.Context(), "ann")
		require.NoError(t, err)
		assert.True(t, ok && got.AccessToken == tok.AccessToken && got.RefreshToken == tok.RefreshToken)
		require.NoError(t, store.close())

		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, key == "", strings.Contains(string(text), "refresh-of-ann"), name)
	}
}

func TestAnAddressThatIsNoneIsNotRepeated(t *testing.T) {
	for _, address := range []string{
		"", "reddis://x:hunter2@localhost", "redis://x:hunter2@local host", "redis://x:hunter2@localhost/a/b/c",
		"postgres://x:hunter2@127.0.0.1:1/db", "postgres://x:hunter2@[", "sqlite:/no/such/folder/hunter2.db",
	} {
		_, err := openStore(t.Context(), address, "")
		if assert.Error(t, err, address) && !strings.HasPrefix(address, "sqlite") {
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
	for _, key := range []string{"hunter2", strings.Repeat("00", 32), "abcd"} {
		_, err := openStore(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), key)
		if assert.Error(t, err) {
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
}
