package realservers_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// passwordGrant signs in at oidc/server.mjs.
type passwordGrant struct{}

func (passwordGrant) Request(context.Context, reauth.Token) (url.Values, error) {
	return url.Values{"grant_type": {"urn:reauth:sign-in"}, "username": {"ann"}}, nil
}

// proving returns how sessions are renewed with DPoP. Without a key each has its own.
func proving(d *oauth.DPoP, public bool) func(*program) renewal {
	return func(p *program) renewal {
		refresher := &oauth.Refresher{TokenURL: p.url + "/token", ClientID: "a program", ClientSecret: "pass: w%rd + more", DPoP: d}
		if public {
			refresher.ClientID, refresher.ClientSecret = "a public program", ""
		}
		signIn := *refresher
		signIn.Grant = passwordGrant{}
		return renewal{
			refresher: refresher, credential: d,
			signIn: func(ctx context.Context) (reauth.Token, error) { return signIn.Refresh(ctx, reauth.Token{}) },
		}
	}
}

func dpopServer(d *oauth.DPoP, public bool) server {
	s := oidcProvider
	s.renews = proving(d, public)
	return s
}

// A dpopCase is a mode of oidc/server.mjs and a kind of client.
type dpopCase struct {
	mode   string
	public bool
}

var (
	eachMode    = []dpopCase{{"plain", false}, {"nonces", true}, {"one-time", true}}
	eachOfThese = append([]dpopCase{{"plain", true}, {"nonces", false}, {"one-time", false}}, eachMode...)
)

// eachDPoP runs test against oidc-provider with DPoP in each case, one after the other and
// before the tests that run at once: where the machine is too slow, tokens of two seconds
// expire on the way.
func eachDPoP(t *testing.T, cases []dpopCase, test func(t *testing.T, p *program, public bool)) {
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s/public=%t", c.mode, c.public), func(t *testing.T) {
			test(t, startOIDCWith(t, c.mode), c.public)
		})
	}
}

func TestDPoPStormWithColdNoncesAndAnExpiredToken(t *testing.T) {
	eachDPoP(t, eachOfThese, func(t *testing.T, p *program, public bool) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		w := newWorldOn(t, dpopServer(&oauth.DPoP{Key: key}, public), p, nil)
		tok := w.mustSignIn(t)
		assert.Equal(t, "DPoP", tok.TokenType)
		post := func(i int) error { return w.post(t.Context(), bytes.Repeat([]byte{byte(i)}, 1000+i), i%2 == 0) }
		assert.Empty(t, storm(50, post), "cold")
		w.untilExpired(t, w.mustSignIn(t))
		before := w.counts(t)
		assert.Empty(t, storm(50, func(int) error { return w.get(t.Context()) }), "expired")
		c := w.counts(t)
		assert.Equal(t, 1, c.Refreshes-before.Refreshes)
		assert.Equal(t, 1, c.MostSpent)
		assert.Zero(t, c.BadProofs)
		t.Logf("%d requests, %d of them without a good nonce", c.Requests, c.Nonces)
	})
}

func TestDPoPSoakLosesNoRequest(t *testing.T) {
	const duration = 5 * time.Second
	eachDPoP(t, eachMode, func(t *testing.T, p *program, public bool) {
		w := newWorldOn(t, dpopServer(new(oauth.DPoP), public), p, nil) // a key for each session
		w.mustSignIn(t)
		sent := w.soak(t, duration, 40*time.Millisecond)
		c := w.counts(t)
		t.Logf("%d requests, %d attempts without a good nonce, %d refreshes", sent, c.Nonces, c.Refreshes)
		assert.Equal(t, c.Requests, sent+c.Refused)
		assert.Equal(t, c.Refreshes, c.Refreshed, "every refresh succeeds")
		assert.Equal(t, 1, c.MostSpent, "a refresh token was presented more than once")
		assert.Zero(t, c.BadProofs)
	})
}

func TestDPoPSessionOutlivesARestartWithTheKey(t *testing.T) {
	eachDPoP(t, eachMode, func(t *testing.T, p *program, public bool) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		for _, kept := range []*ecdsa.PrivateKey{key, nil} { // with nil it is in the store
			make := func() *oauth.DPoP {
				if kept == nil {
					return new(oauth.DPoP)
				}
				return &oauth.DPoP{Key: kept}
			}
			store := new(reauth.MemoryStore)
			before := newWorldOn(t, dpopServer(make(), public), p, store)
			tok := before.mustSignIn(t)
			require.NoError(t, before.get(t.Context()))
			before.untilExpired(t, tok)

			after := newWorldOn(t, dpopServer(make(), public), p, store)
			require.NoError(t, after.get(t.Context()))
			require.NoError(t, after.post(t.Context(), []byte("a body"), false))
		}
		c := p.counts(t)
		assert.Equal(t, 2, c.Refreshed)
		assert.Zero(t, c.BadProofs)
	})
}

// The refresh token of a public client is of use only with its key. That of a confidential
// one is bound to the client, and its next token to the new key.
func TestDPoPSessionWithAnotherKey(t *testing.T) {
	eachDPoP(t, eachMode, func(t *testing.T, p *program, public bool) {
		store := new(reauth.MemoryStore)
		for i := range 2 {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			require.NoError(t, err)
			w := newWorldOn(t, dpopServer(&oauth.DPoP{Key: key}, public), p, store)
			if i == 0 {
				w.untilExpired(t, w.mustSignIn(t))
				continue
			}
			err = w.get(t.Context())
			c := w.counts(t)
			if public {
				assert.ErrorIs(t, err, reauth.ErrSignInRequired)
				assert.Equal(t, 2, c.Refreshes, "a fresh proof was refused too")
			} else {
				assert.NoError(t, err)
				assert.Equal(t, 1, c.Refreshes)
			}
		}
	})
}
