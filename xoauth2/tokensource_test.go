package xoauth2_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/xoauth2"
)

// signedIn returns a session with a token that the API accepts.
func (a *authority) signedIn(t *testing.T, with ...func(*reauth.Token)) *reauth.Session {
	t.Helper()
	cfg := a.config()
	r, err := xoauth2.Refresher(cfg)
	require.NoError(t, err)
	ann := a.transport(t, r).Session("ann")
	a.mu.Lock()
	a.issued++
	tok := reauth.Token{
		AccessToken: a.current(), TokenType: "bearer", RefreshToken: "refresh", Expiry: time.Now().Add(time.Hour),
		Extra: map[string]string{"id_token": "i", "scope": "s", "secret": "x"},
	}
	a.mu.Unlock()
	for _, f := range with {
		f(&tok)
	}
	require.NoError(t, ann.SignIn(t.Context(), tok))
	return ann
}

// consumer stands for a library that wants a TokenSource.
func consumer(t *testing.T, s *reauth.Session) http.RoundTripper {
	return &oauth2.Transport{Source: xoauth2.TokenSource(t.Context(), s)}
}

func TestUsersOfASourceShareTheRefreshOfAnExpiredToken(t *testing.T) {
	a := newAuthority(t)
	ann := a.signedIn(t, func(tok *reauth.Token) { tok.Expiry = time.Now().Add(-time.Minute) })
	a.refuse()
	a.storm(t, consumer(t, ann))
	assert.Len(t, a.requests(), 1)
}

// This is the caveat. Users of a TokenSource ignore a 401.
func TestASourceDoesNotLearnOfA401(t *testing.T) {
	a := newAuthority(t)
	ann := a.signedIn(t)
	library := consumer(t, ann)
	a.mustGet(t, library)
	a.refuse()
	for range 2 {
		status, err := a.get(t, library)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	}
	assert.Empty(t, a.requests())

	handedOut, err := xoauth2.TokenSource(t.Context(), ann).Token()
	require.NoError(t, err)
	for range 2 { // the second time it is another token's turn already
		_, err = ann.Refresh(t.Context(), xoauth2.FromToken(handedOut))
		require.NoError(t, err)
	}
	assert.Len(t, a.requests(), 1)
	a.mustGet(t, library)
}

func TestASourceHandsOutWhatItsUsersNeed(t *testing.T) {
	a := newAuthority(t)
	tok, err := xoauth2.TokenSource(t.Context(), a.signedIn(t)).Token()
	require.NoError(t, err)
	assert.Equal(t, "access-1", tok.AccessToken)
	assert.Equal(t, "Bearer", tok.TokenType)
	assert.Equal(t, "i", tok.Extra("id_token"))
	assert.Equal(t, "s", tok.Extra("scope"))
	assert.Nil(t, tok.Extra("secret"))
	assert.True(t, tok.RefreshToken == "", "spending it elsewhere would end the session")
}

// golang/oauth2#738: a token without an Expiry is never asked for again. And one of an hour
// is kept for an hour, whatever happens meanwhile.
func TestASourceHandsOutATokenForAMinuteAtMost(t *testing.T) {
	a := newAuthority(t)
	soon := time.Now().Add(30 * time.Second)
	for name, tc := range map[string]struct{ expiry, want time.Time }{
		"unknown":   {time.Time{}, time.Now().Add(time.Minute)},
		"an hour":   {time.Now().Add(time.Hour), time.Now().Add(time.Minute)},
		"even less": {soon, soon},
	} {
		ann := a.signedIn(t, func(tok *reauth.Token) { tok.Expiry = tc.expiry })
		tok, err := xoauth2.TokenSource(t.Context(), ann).Token()
		require.NoError(t, err, name)
		assert.WithinDuration(t, tc.want, tok.Expiry, 10*time.Second, name)
		assert.True(t, tok.Valid(), name)
	}
}

func TestASourceNoticesASignOut(t *testing.T) {
	a := newAuthority(t)
	ann := a.signedIn(t)
	src := xoauth2.TokenSource(t.Context(), ann)
	reused := oauth2.ReuseTokenSource(nil, src)
	for _, s := range []oauth2.TokenSource{src, reused} {
		_, err := s.Token()
		require.NoError(t, err)
	}
	require.NoError(t, ann.SignOut(t.Context()))
	_, err := src.Token()
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	tok, err := reused.Token()
	require.NoError(t, err, "for another minute")
	tok.Expiry = time.Now() // as it does then
	_, err = reused.Token()
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	_, err = a.get(t, consumer(t, ann))
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

func TestTheContextOfASourcePicksTheSession(t *testing.T) {
	a := newAuthority(t)
	r, err := xoauth2.Refresher(a.config())
	require.NoError(t, err)
	tr := a.transport(t, r)
	ctx := reauth.WithSession(t.Context(), "ben")
	require.NoError(t, tr.SignIn(ctx, reauth.Token{AccessToken: "of ben"}))
	tok, err := xoauth2.TokenSource(ctx, tr).Token()
	require.NoError(t, err)
	assert.Equal(t, "of ben", tok.AccessToken)
	_, err = xoauth2.TokenSource(t.Context(), tr).Token()
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}
