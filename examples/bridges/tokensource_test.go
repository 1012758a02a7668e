package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// consumer returns what stands for a library that wants a TokenSource.
func (w *world) consumer(t *testing.T) *http.Client {
	base := w.Transport().Clone()
	base.MaxIdleConnsPerHost = many
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: &oauth2.Transport{Source: newTokenSource(t.Context(), w.transport), Base: base}}
}

// expire makes the session's token one that has expired by its Expiry and at the server.
func (w *world) expire(t *testing.T) {
	t.Helper()
	w.ExpireAccess()
	w.token.Expiry = time.Now().Add(-time.Minute)
	require.NoError(t, w.transport.SignIn(t.Context(), w.token))
}

func TestConsumersOfAnExpiredTokenShareOneRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	w.expire(t)
	client := w.consumer(t)
	assert.Equal(t,
		reauthtest.Counts{Refreshes: 1, MaxUsesOfOneRefreshToken: 1, APISucceeded: many},
		w.storm(t, func() error {
			status, text, err := get(t.Context(), client, w.APIURL(pathWhoAmI))
			if err == nil && (status != http.StatusOK || text != "ann") {
				return fmt.Errorf("%d, %q", status, text)
			}
			return err
		}))
}

// This is the caveat. Users of a TokenSource ignore a 401.
func TestATokenSourceDoesNotLearnOfA401(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	client := w.consumer(t)
	w.ExpireAccess()
	for range 2 {
		status, _, err := get(t.Context(), client, w.APIURL(pathWhoAmI))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	}
	assert.Zero(t, w.Counts().Refreshes)

	answer, err := ask(t.Context(), w.transport, w.APIURL(pathWhoAmI))
	require.NoError(t, err)
	assert.Contains(t, answer, "hello ann")
	status, _, err := get(t.Context(), client, w.APIURL(pathWhoAmI))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestARefusalIsOfTheTokenThatWasHandedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	source := newTokenSource(t.Context(), w.transport)
	_, err := source.Token()
	require.NoError(t, err)
	refused := *source.handedOut.Load()
	w.ExpireAccess()
	for range 2 { // the second time it is another token's turn already
		_, err := w.transport.Refresh(t.Context(), refused)
		require.NoError(t, err)
		assert.Equal(t, 1, w.Counts().Refreshes)
	}
}

func TestATokenSourceKeepsTheRefreshTokenToItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	tok, err := newTokenSource(t.Context(), w.transport).Token()
	require.NoError(t, err)
	assert.True(t, w.token.AccessToken == tok.AccessToken)
	assert.Equal(t, "Bearer", tok.Type())
	assert.WithinDuration(t, w.token.Expiry, tok.Expiry, time.Second)
	assert.True(t, tok.RefreshToken == "")
}

func TestATokenOfUnknownLifetimeIsNotGoodForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{Opaque: true, AccessLifetime: -1})
	before := time.Now()
	tok, err := newTokenSource(t.Context(), w.transport).Token()
	require.NoError(t, err)
	assert.False(t, tok.Expiry.Before(before.Add(unknownEnd)), "%s", tok.Expiry)
	assert.False(t, tok.Expiry.After(time.Now().Add(unknownEnd)), "%s", tok.Expiry)
}

func TestATokenSourceNoticesASignOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	source := newTokenSource(t.Context(), w.transport)
	reused := oauth2.ReuseTokenSource(nil, source)
	for _, s := range []oauth2.TokenSource{source, reused} {
		_, err := s.Token()
		require.NoError(t, err)
	}
	require.NoError(t, w.transport.SignOut(t.Context()))
	_, err := source.Token()
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	_, err = reused.Token()
	assert.NoError(t, err, "which is why the comment says not to")
	_, _, err = get(t.Context(), w.consumer(t), w.APIURL(pathWhoAmI))
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

func TestTheContextOfATokenSourcePicksTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	ben := reauth.WithSession(t.Context(), "ben")
	issued := reauth.Token(w.SignIn("ben"))
	require.NoError(t, w.transport.SignIn(ben, issued))
	tok, err := newTokenSource(ben, w.transport).Token()
	require.NoError(t, err)
	assert.True(t, tok.AccessToken == issued.AccessToken)
}
