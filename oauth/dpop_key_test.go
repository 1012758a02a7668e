package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A session of its own has a key of its own, from its first token on.
func TestEachSessionMayHaveAKeyOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		jkts := map[string]string{} // by access token
		server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			p, err := readProof(req.Header)
			require.NoError(t, err)
			n++
			jkts[fmt.Sprintf("access-%d", n)] = p.jkt
			return testworld.Respond(req, 200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"DPoP","expires_in":60,"reauth.dpop_key":"a key of the server's"}`, n)), nil
		})
		api := &proofServer{decide: func(req *http.Request, p proof) *http.Response {
			token := strings.TrimPrefix(req.Header.Get("Authorization"), "DPoP ")
			assert.Equal(t, jkts[token], p.jkt, "the key that the token is bound to")
			return nil
		}}
		store := new(reauth.MemoryStore)
		start := func() *reauth.Transport {
			d := new(oauth.DPoP)
			tr, err := reauth.New(reauth.Config{
				Refresher:  &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: oauth.ClientCredentials{}, DPoP: d, Client: server.Client()},
				Credential: d, Base: api, Store: store, Origins: []string{reauth.AnyOrigin},
			})
			require.NoError(t, err)
			return tr
		}
		for range 2 { // the second is the program after a restart
			tr := start()
			for _, name := range []string{"ann", "bob"} {
				assert.Equal(t, http.StatusOK, statusOf(t, tr.Session(name), get(t, apiURL)))
			}
			time.Sleep(2 * time.Minute)
			for _, name := range []string{"ann", "bob"} {
				assert.Equal(t, http.StatusOK, statusOf(t, tr.Session(name), get(t, apiURL)))
			}
			require.NoError(t, tr.Wait(t.Context()))
		}
		different := map[string]bool{}
		for _, jkt := range jkts {
			different[jkt] = true
		}
		assert.Len(t, different, 2, "of two sessions, over %d tokens", n)
	})
}

func TestBindKey(t *testing.T) {
	for _, key := range []crypto.Signer{ecKey, edKey} {
		start := reauth.Token{Extra: map[string]string{"scope": "read"}}
		tok, err := oauth.BindKey(start, key)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"scope": "read"}, start.Extra)
		want, err := oauth.Thumbprint(key.Public())
		require.NoError(t, err)

		// The sign-in, with a grant of the program's own.
		server := replying(reply{400, `{"error":"use_dpop_nonce"}`, "n1"}, reply{200, bound, ""})
		d := new(oauth.DPoP)
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: code("abc"), DPoP: d, Client: server.Client()}
		first := refreshes(t, r, tok)
		assert.Equal(t, "abc", server.Last().Form(t).Get("code"))
		assert.Equal(t, tok.Extra["reauth.dpop_key"], first.Extra["reauth.dpop_key"])
		for _, p := range proofsOf(t, server) {
			assert.Equal(t, want, p.jkt)
		}
		assert.Equal(t, want, proofOf(t, d, get(t, apiURL), first).jkt)

		// A salvaged refresh token stays bound to the key.
		r = &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: replying(reply{200, `{"refresh_token":"refresh-3"}`, ""}).Client()}
		first.RefreshToken = "refresh-2"
		salvaged, err := r.Refresh(t.Context(), first)
		require.Error(t, err)
		assert.Equal(t, "refresh-3", salvaged.RefreshToken)
		assert.Equal(t, first.Extra["reauth.dpop_key"], salvaged.Extra["reauth.dpop_key"])
	}
	_, err := oauth.BindKey(reauth.Token{}, &hardware{key: ecKey})
	assert.EqualError(t, err, "oauth: BindKey: a *oauth_test.hardware can't be stored")
	_, err = oauth.BindKey(reauth.Token{}, (*ecdsa.PrivateKey)(nil))
	assert.ErrorContains(t, err, "is an empty")
}

type code string

func (c code) Request(context.Context, reauth.Token) (url.Values, error) {
	return url.Values{"grant_type": {"authorization_code"}, "code": {string(c)}}, nil
}

func TestASessionsKeyThatCannotBeRead(t *testing.T) {
	der384, err := x509.MarshalPKCS8PrivateKey(newECKey(elliptic.P384()))
	require.NoError(t, err)
	d := new(oauth.DPoP)
	for extra, want := range map[string]string{
		"":          "the session has no key, and DPoP.Key is not set",
		"SECRET?":   `Token.Extra["reauth.dpop_key"] is no private key in PKCS #8, as base64url`,
		"U0VDUkVU":  `Token.Extra["reauth.dpop_key"] is no private key in PKCS #8, as base64url`,
		b64(der384): "the session's key is on the curve P-384, and must be on P-256",
	} {
		tok := reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"reauth.dpop_key": extra}}
		err := d.Apply(get(t, apiURL), tok)
		assert.EqualError(t, err, "oauth: DPoP: "+want)
		if extra != "" {
			_, err = (&oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d}).Refresh(t.Context(), tok)
			assert.EqualError(t, err, "oauth: DPoP: "+want)
		}
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
