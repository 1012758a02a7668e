package realservers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// An assertionServer is oidc-provider, with clients that authenticate with a key.
type assertionServer struct {
	*program
	key *ecdsa.PrivateKey
}

func startAssertions(t *testing.T) *assertionServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes() // 4, and both coordinates
	require.NoError(t, err)
	jwk, err := json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "key-1", "alg": "ES256", "use": "sig",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	})
	require.NoError(t, err)
	return &assertionServer{startNode(t, "oidc/assertions.mjs", string(jwk)), key}
}

// refresher finds the server by its issuer.
func (s *assertionServer) refresher(client string) *oauth.Refresher {
	return &oauth.Refresher{
		Issuer: s.url, ClientID: client, Grant: oauth.ClientCredentials{}, ClientKey: oauth.ClientKey{Signer: s.key, ID: "key-1"},
	}
}

// assertion returns a source of assertions with the given claims beside the usual ones.
func (s *assertionServer) assertion(client string, with jwt.MapClaims, header map[string]any) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		now := time.Now().Unix()
		claims := jwt.MapClaims{"iss": client, "sub": client, "aud": s.url, "iat": now - 1, "exp": now + 60, "jti": rand.Text()}
		for name, value := range with {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		token.Header["kid"] = "key-1"
		for name, value := range header {
			token.Header[name] = value
		}
		return token.SignedString(s.key)
	}
}

func TestMetadataOfOIDCProvider(t *testing.T) {
	t.Parallel()
	s := startAssertions(t)
	m, err := oauth.Discover(t.Context(), s.url, nil)
	require.NoError(t, err)
	assert.Equal(t, s.url+"/token", m.TokenEndpoint)
	assert.Equal(t, s.url+"/token/revocation", m.RevocationEndpoint)
	assert.Contains(t, m.TokenEndpointAuthMethodsSupported, "private_key_jwt")
	_, err = oauth.Discover(t.Context(), s.url+"/", nil)
	assert.ErrorContains(t, err, "the same to the letter")
}

// Each assertion is taken once, so that twenty tokens at once take twenty.
func TestClientKeyAuthenticatesAtOIDCProvider(t *testing.T) {
	t.Parallel()
	s := startAssertions(t)
	for _, client := range []string{"strict", "lax"} {
		r := s.refresher(client)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := r.Refresh(t.Context(), reauth.Token{})
				assert.NoError(t, err, client)
			})
		}
		wg.Wait()
		tok, err := r.Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
		require.NoError(t, r.Revoke(t.Context(), tok), "with an assertion of its own")

		// The audience of before is not taken by who goes by rfc7523bis.
		old := s.refresher(client)
		old.Issuer, old.TokenURL = "", s.url+"/token"
		_, err = old.Refresh(t.Context(), reauth.Token{})
		assert.Equal(t, client == "lax", err == nil, "%v", err)
	}
}

func TestClientAssertionsThatOIDCProviderRefuses(t *testing.T) {
	t.Parallel()
	s := startAssertions(t)
	typ := map[string]any{"typ": "client-authentication+jwt"}
	now := time.Now().Unix()
	for _, tc := range []struct {
		name, client string
		claims       jwt.MapClaims
		header       map[string]any
		ok           bool
	}{
		{"the audience is the issuer", "lax", nil, nil, true},
		{"the token URL", "lax", jwt.MapClaims{"aud": s.url + "/token"}, nil, true},
		{"both", "lax", jwt.MapClaims{"aud": []string{s.url + "/token", s.url}}, nil, true},
		{"the issuer but for a final slash", "lax", jwt.MapClaims{"aud": s.url + "/"}, nil, false},
		{"a type", "lax", nil, typ, true},
		{"issued 60 seconds from now", "lax", jwt.MapClaims{"iat": now + 60, "exp": now + 120}, nil, true},
		{"not before 60 seconds from now", "lax", jwt.MapClaims{"nbf": now + 60, "exp": now + 120}, nil, false},
		{"no jti", "lax", jwt.MapClaims{"jti": nil}, nil, false},
		{"expired", "lax", jwt.MapClaims{"iat": now - 120, "exp": now - 60}, nil, false},
		{"another key", "lax", nil, map[string]any{"kid": "key-2"}, false},
		{"of another client", "lax", jwt.MapClaims{"iss": "strict"}, nil, false},
		{"used once", "lax", jwt.MapClaims{"jti": "used"}, nil, true},
		{"used twice", "lax", jwt.MapClaims{"jti": "used"}, nil, false},
		{"strict, with a type", "strict", nil, typ, true},
		{"strict, without", "strict", nil, nil, false},
		{"strict, an array", "strict", jwt.MapClaims{"aud": []string{s.url}}, typ, false},
		{"strict, the token URL", "strict", jwt.MapClaims{"aud": s.url + "/token"}, typ, false},
	} {
		r := s.refresher(tc.client)
		r.ClientKey, r.Assertion = oauth.ClientKey{}, s.assertion(tc.client, tc.claims, tc.header)
		_, err := r.Refresh(t.Context(), reauth.Token{})
		if tc.ok {
			assert.NoError(t, err, tc.name)
			continue
		}
		assert.ErrorContains(t, err, "401 invalid_client: the program is misconfigured", tc.name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, tc.name)
	}
}

// The file is replaced after each use, as the server takes an assertion once.
func TestAssertionFileAuthenticatesAtOIDCProvider(t *testing.T) {
	t.Parallel()
	s := startAssertions(t)
	path := filepath.Join(t.TempDir(), "token")
	r := s.refresher("strict")
	r.ClientKey, r.Assertion = oauth.ClientKey{}, oauth.AssertionFile(path)
	for range 3 {
		text, err := s.assertion("strict", nil, map[string]any{"typ": "client-authentication+jwt"})(t.Context())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		_, err = r.Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
		_, err = r.Refresh(t.Context(), reauth.Token{})
		assert.ErrorContains(t, err, "401 invalid_client", "it has been used")
	}
}
