package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/reauthtest"
)

// twentyAtOnce runs the program twenty times at once, after the access token has ended.
func twentyAtOnce(t *testing.T, s *reauthtest.Server) {
	t.Helper()
	before := s.Counts()
	for _, err := range runAtOnce(t.Context(), s, "whoami") {
		assert.NoError(t, err)
	}
	after := s.Counts()
	assert.Equal(t, 20, after.APISucceeded-before.APISucceeded)
	assert.Equal(t, 1, after.Refreshes-before.Refreshes)
	assert.Zero(t, after.ReusesDetected)
}

func TestTwentyRunsAtOnceAreRefusedAndRefreshOnce(t *testing.T) {
	s := newHome(t)
	requireDone(t, "sign-in")
	for range 3 {
		s.ExpireAccess()
		twentyAtOnce(t, s)
	}
	assert.Equal(t, 60, s.Counts().APIRefused)
}

func TestTwentyRunsAtOnceWithAnExpiredTokenRefreshOnce(t *testing.T) {
	s := newHome(t)
	requireDone(t, "sign-in")
	config, err := os.UserConfigDir()
	require.NoError(t, err)
	store, err := filestore.New(filepath.Join(config, "notes", "sessions"), nil)
	require.NoError(t, err)
	tok, ok, err := store.Load(t.Context(), s.URL)
	require.NoError(t, err)
	require.True(t, ok)
	tok.Expiry = time.Now().Add(-time.Hour)
	require.NoError(t, store.Save(t.Context(), s.URL, tok))
	twentyAtOnce(t, s)
	assert.Zero(t, s.Counts().APIRefused)
}
