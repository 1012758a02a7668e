package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/reauthtest"
)

const many = 20 // calls at once

func TestCallsOnARevokedTokenShareOneRefreshAndOpenNoWindow(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	require.Len(t, w.opened(), 1, "at the first call")

	w.ExpireAccess()
	w.together(many)
	answered, err := w.callAll(session, "read", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	assert.Len(t, w.opened(), 1)
	assert.Equal(t, 1, w.Counts().Refreshes)
	assert.GreaterOrEqual(t, w.Counts().APIRefused, many)
}

func TestCallsWithoutARefreshTokenShareOneWindow(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})

	w.Revoke()
	w.together(many)
	answered, err := w.callAll(session, "read", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	assert.Len(t, w.opened(), 2)
	assert.Equal(t, 1, w.Counts().Refreshes, "which was refused")
}

// punkpeye/mcp-remote#68: tens of windows.
func TestFirstCallsShareOneWindow(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	w.together(many)
	errs := make(chan error, many)
	for range many {
		go func() {
			session, err := c.connect(t.Context())
			if err == nil {
				err = session.Close()
			}
			errs <- err
		}()
	}
	for range many {
		assert.NoError(t, <-errs)
	}
	assert.Len(t, w.opened(), 1)
	assert.Equal(t, 1, w.registrations)
}

func TestCallWhoseRefusalComesAfterTheSignInIsAnsweredToo(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.Revoke()
	late := w.holdNext()
	answered := make(chan int)
	go func() {
		n, err := w.callAll(session, "read", 1)
		assert.NoError(t, err)
		answered <- n
	}()
	<-late.held
	n, err := w.callAll(session, "read", 1)
	require.NoError(t, err)
	close(late.release)
	assert.Equal(t, 2, n+<-answered)
	assert.Len(t, w.opened(), 2)
}

// A server that gives out no refresh tokens must not lock its users out until the token
// expires.
func TestRefusedTokenThatCannotBeRefreshedOpensAWindow(t *testing.T) {
	w := newWorld(t)
	w.noRefreshToken = true
	session := w.connected(options{})
	answered, err := w.callAll(session, "read", 1)
	require.NoError(t, err)
	require.Equal(t, 1, answered)

	w.ExpireAccess()
	w.together(many)
	answered, err = w.callAll(session, "read", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	assert.Len(t, w.opened(), 2)
	assert.Zero(t, w.Counts().Refreshes)
}

// punkpeye/mcp-remote#318: a busy token server sent the user to the browser.
func TestTokenServerThatIsBusyOpensNoWindow(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.ExpireAccess()
	w.FailRefresh(reauthtest.Failure{Status: 503, Code: "temporarily_unavailable"}, 1)
	_, err := w.callAll(session, "read", 3)
	require.ErrorContains(t, err, "temporarily_unavailable")
	assert.Len(t, w.opened(), 1)
}

// anomalyco/opencode#49439, punkpeye/mcp-remote#351: several processes spend one refresh
// token, and the session is gone.
func TestProcessesThatShareAStoreShareTheRefresh(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	opts := func() options {
		store, err := filestore.New(dir, nil)
		require.NoError(t, err)
		return options{store: store}
	}
	first, second := w.connected(opts()), w.connected(opts())
	require.Len(t, w.opened(), 1, "the second finds the token of the first")

	w.ExpireAccess()
	w.together(2 * many)
	done := make(chan int)
	go func() {
		n, err := w.callAll(first, "read", many)
		assert.NoError(t, err)
		done <- n
	}()
	n, err := w.callAll(second, "read", many)
	assert.NoError(t, err)
	assert.Equal(t, 2*many, n+<-done)
	assert.Equal(t, 1, w.Counts().Refreshes)
	assert.Zero(t, w.Counts().ReusesDetected)
	assert.Len(t, w.opened(), 1)
}

// A refresh after a restart has nothing but the token to know where it belongs.
// NousResearch/hermes-agent#110720: it was sent without the resource.
func TestRestartedProgramRefreshesWithWhatTheTokenSays(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	store, err := filestore.New(dir, nil)
	require.NoError(t, err)
	w.connected(options{store: store})

	w.ExpireAccess()
	store, err = filestore.New(dir, nil)
	require.NoError(t, err)
	session := w.connected(options{store: store})
	answered, err := w.callAll(session, "read", 1)
	require.NoError(t, err)
	assert.Equal(t, 1, answered)
	assert.Len(t, w.opened(), 1)
	assert.Equal(t, 1, w.registrations)
	last := w.tokenForms[len(w.tokenForms)-1]
	assert.Equal(t, "refresh_token", last.Get("grant_type"))
	assert.Equal(t, w.endpoint(), last.Get("resource"))
}

// peek returns the body of a request, which can then be read again.
func peek(r *http.Request) string {
	text, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(text))
	return string(text)
}

// The SDK notifies the server of a call that it gives up, on a context of its own. A user who
// had just declined to sign in saw another window for that.
func TestNobodySignsInForANotification(t *testing.T) {
	w := newWorld(t)
	client := w.client(options{}).httpClient()
	for _, tc := range []struct {
		body    string
		windows int
	}{
		{`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, 0},
		{`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, 1},
	} {
		resp, err := client.Post(w.endpoint(), "application/json", strings.NewReader(tc.body))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Len(t, w.opened(), tc.windows)
		assert.Equal(t, tc.windows == 0, resp.StatusCode == http.StatusUnauthorized, resp.Status)
	}
}

func TestASignOutRevokesAndDeletes(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	store, err := filestore.New(dir, nil)
	require.NoError(t, err)
	w.connected(options{store: store})
	tok, signedIn, err := store.Load(t.Context(), w.endpoint())
	require.NoError(t, err)
	require.True(t, signedIn)

	require.NoError(t, run(t.Context(), []string{"-store", dir, "-sign-out", w.endpoint()}))

	_, signedIn, err = store.Load(t.Context(), w.endpoint())
	require.NoError(t, err)
	assert.False(t, signedIn)
	_, err = w.Refresh(tok.RefreshToken)
	assert.Error(t, err)
}
