package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Unsaved breaks a store in the middle of a process's refresh, so that the new token
// can't be saved, or not at once. Another process, which also needs a token, must not
// spend the one that is stored. Once the store is mended the new token is saved, and the
// other process adopts it.
func Unsaved(t *testing.T, dsn string, fail func() (mend func())) {
	server := reauthtest.NewServer(t, reauthtest.Options{})
	o := orders{
		DSN: dsn, TokenURL: server.TokenURL(), Origin: server.URL, APIURL: server.APIURL("/"),
		Callers: 1, Timeout: time.Second, // after which a save is pending
	}
	signIn(t, o, reauth.Token(server.SignIn("ann")))
	server.ExpireAccess()
	refreshing := start(t, o)
	o.Timeout = 30 * time.Second
	waiting := start(t, o)
	await := func(what string, reached func(reauthtest.Counts) bool) {
		t.Helper()
		require.NoError(t, server.Await(t.Context(), reached), what)
	}

	release := server.BlockRefresh()
	refreshing.begin(t)
	await("the refresh", func(c reauthtest.Counts) bool { return c.Refreshes == 1 })
	waiting.begin(t)
	await("the other's request", func(c reauthtest.Counts) bool { return c.APIRefused == 2 })
	mend := fail()
	mended := false
	defer func() {
		if !mended {
			mend()
		}
	}()
	release()
	await("a request with the new token, which is saved or pending by then", func(c reauthtest.Counts) bool { return c.APISucceeded == 1 })
	assert.Equal(t, 1, server.Counts().Refreshes, "refreshes while the store fails")
	mended = true
	mend()
	assert.Empty(t, refreshing.report(t).Lost, "requests lost")
	for what := range waiting.report(t).Lost {
		assert.Contains(t, what, ": lock: ", "a request lost") // for now: the store fails, so there is no lock
	}
	later := start(t, o)
	later.begin(t)
	assert.Empty(t, later.report(t).Lost, "requests lost")
	assert.Equal(t, 1, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected, "refresh tokens that were used twice")

	store, err := open(dsn)
	require.NoError(t, err)
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = server.Refresh(tok.RefreshToken)
	assert.NoError(t, err, "the stored refresh token is not the newest")
}
