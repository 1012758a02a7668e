package xoauth2_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/xoauth2"
)

func TestATokenComesBackAsItWas(t *testing.T) {
	tok := reauth.Token{
		AccessToken: "a", TokenType: "DPoP", RefreshToken: "r", Expiry: time.Now().Add(time.Hour),
		Extra: map[string]string{"id_token": "i", "scope": "x y", "tenant": "007", "reauth.own": "hidden"},
	}
	there := xoauth2.ToToken(tok)
	assert.Nil(t, there.Extra("reauth.own"))
	want := tok
	want.Extra = map[string]string{"id_token": "i", "scope": "x y", "tenant": "007"}
	assert.Equal(t, want, xoauth2.FromToken(there, "tenant"))
	want.Extra = map[string]string{"id_token": "i", "scope": "x y"}
	assert.Equal(t, want, xoauth2.FromToken(there), "no other name is known")

	for _, tok := range []reauth.Token{{}, {AccessToken: "a"}, {RefreshToken: "r"}} {
		assert.Equal(t, tok, xoauth2.FromToken(xoauth2.ToToken(tok)))
	}
	assert.Equal(t, reauth.Token{}, xoauth2.FromToken(nil))
}

func TestWhatIsNoTextInAnAnswerBecomesJSON(t *testing.T) {
	tok := (&oauth2.Token{}).WithExtra(map[string]any{
		"text": "", "number": 1e6, "fraction": 0.5, "yes": true, "object": map[string]any{"a": []any{"b"}}, "null": nil, "not JSON": func() {},
	})
	got := xoauth2.FromToken(tok, "text", "number", "fraction", "yes", "object", "null", "not JSON", "absent")
	assert.Equal(t, map[string]string{"text": "", "number": "1000000", "fraction": "0.5", "yes": "true", "object": `{"a":["b"]}`}, got.Extra)
}

// golang/oauth2#738: in package oauth2 a token without an Expiry never expires.
func TestALifetimeCountsWhereNoTimeIsKnown(t *testing.T) {
	var tok oauth2.Token
	require.NoError(t, json.Unmarshal([]byte(`{"access_token":"a","expires_in":3600}`), &tok))
	require.True(t, tok.Expiry.IsZero())
	assert.WithinDuration(t, time.Now().Add(time.Hour), xoauth2.FromToken(&tok).Expiry, time.Minute)

	at := time.Now().Add(time.Minute)
	tok.Expiry = at
	assert.Equal(t, at, xoauth2.FromToken(&tok).Expiry)

	for in, isZero := range map[int64]bool{0: true, -1: true, math.MaxInt64: false} {
		got := xoauth2.FromToken(&oauth2.Token{ExpiresIn: in}).Expiry
		assert.Equal(t, isZero, got.IsZero(), in)
		assert.True(t, isZero || got.After(time.Now()), "%d: %s", in, got)
	}
}

func TestATokenStoredByPackageOAuth2IsRead(t *testing.T) {
	stored, err := json.Marshal(oauth2.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer", Expiry: time.Unix(1e9, 0).UTC()})
	require.NoError(t, err)
	var tok reauth.Token
	require.NoError(t, json.Unmarshal(stored, &tok))
	assert.Equal(t, reauth.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer", Expiry: time.Unix(1e9, 0).UTC()}, tok)
}
