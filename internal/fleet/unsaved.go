package fleet

import (
	"context"
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
	t.Helper()
	for _, timeout := range []time.Duration{time.Second, 5 * time.Second, 25 * time.Second} {
		if unsaved(t, dsn, timeout, fail) {
			return
		}
		t.Logf("a refresh has taken more than %v", timeout)
	}
	t.Error("no refresh was in time; is the machine that busy?")
}

// unsaved is Unsaved with that RefreshTimeout, after which a save is pending. It returns
// false if a busy machine needs more than that for the refresh.
func unsaved(t *testing.T, dsn string, timeout time.Duration, fail func() (mend func())) bool {
	server := reauthtest.NewServer(t, reauthtest.Options{})
	o := orders{
		DSN: dsn, TokenURL: server.TokenURL(), Origin: server.URL, APIURL: server.APIURL("/"),
		Callers: 1, Timeout: 30 * time.Second,
	}
	signIn(t, o, reauth.Token(server.SignIn("ann")))
	server.ExpireAccess()
	o.Timeout = timeout
	refreshing := start(t, o)
	o.Timeout = 30*time.Second + timeout
	waiting := start(t, o)

	ctx, cancel := context.WithCancel(t.Context())
	await := func(reached func(reauthtest.Counts) bool) { _ = server.Await(ctx, reached) }
	release := server.BlockRefresh()
	refreshing.begin(t)
	var answered report
	var err error
	go func() {
		defer cancel()
		answered, err = refreshing.read()
	}()
	await(func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	waiting.begin(t)
	await(func(c reauthtest.Counts) bool { return c.APIRefused >= 2 })
	mend := fail()
	release()
	<-ctx.Done() // the new token is saved or pending
	refreshes := server.Counts().Refreshes
	mend()
	require.NoError(t, err)
	waited := waiting.report(t)
	require.NoError(t, refreshing.cmd.Wait())
	for what := range answered.Lost {
		require.Contains(t, what, "RefreshTimeout", "a request lost")
	}
	if len(answered.Lost) > 0 {
		return false
	}
	assert.Equal(t, 1, refreshes, "refreshes while the store fails")
	for what := range waited.Lost {
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
	return true
}
