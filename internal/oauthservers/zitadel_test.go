package oauthservers_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A zitadel is the example server of zitadel/oidc, whose issuer ends in a slash.
type zitadel struct {
	issuer string
	key    *rsa.PrivateKey // of the service, which it knows
	asked  sync.Map        // path to *atomic.Int64
}

// keys is the server's storage with a key of this test.
type keys struct {
	*storage.Storage
	service *rsa.PrivateKey
}

const serviceID, keyID = "service", "key-1"

func (k keys) GetKeyByIDAndClientID(_ context.Context, id, client string) (*jose.JSONWebKey, error) {
	if id != keyID || client != serviceID {
		return nil, fmt.Errorf("no key %q of %q", id, client)
	}
	return &jose.JSONWebKey{KeyID: id, Use: "sig", Key: &k.service.PublicKey}, nil
}

// everybody knows every user, and lets them all act for others.
type everybody struct{ storage.UserStore }

func (everybody) GetUserByID(id string) *storage.User { return &storage.User{ID: id, IsAdmin: true} }

var registerClients = sync.OnceFunc(func() {
	storage.RegisterClients(storage.WebClient("portal", "secret"))
})

func startZitadel(t *testing.T) *zitadel {
	t.Helper()
	registerClients()
	t.Setenv("OP_ALLOW_INSECURE", "true")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	z := &zitadel{key: key}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, _ := z.asked.LoadOrStore(req.URL.Path, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	z.issuer = server.URL + "/"
	store := keys{storage.NewStorage(everybody{storage.NewUserStore(z.issuer)}), key}
	handler = exampleop.SetupServer(z.issuer, store, slog.New(slog.DiscardHandler), false)
	return z
}

func (z *zitadel) count(path string) int64 {
	n, ok := z.asked.Load(path)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// assertion returns a source of assertions that the service signs.
func (z *zitadel) assertion(with jwt.MapClaims) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		now := time.Now()
		claims := jwt.MapClaims{"iss": serviceID, "sub": serviceID, "aud": z.issuer, "iat": now.Add(-time.Second).Unix(), "exp": now.Add(time.Minute).Unix(), "jti": rand.Text()}
		for name, value := range with {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["kid"] = keyID
		return token.SignedString(z.key)
	}
}

// bearer is a Refresher that finds the server and asks for tokens of the service.
func (z *zitadel) bearer() *oauth.Refresher {
	return &oauth.Refresher{Issuer: z.issuer, Grant: oauth.JWTBearer{Assertion: z.assertion(nil)}, Scopes: []string{"openid"}}
}

// exchange is one that exchanges tokens of the service.
func (z *zitadel) exchange(with oauth.TokenExchange) *oauth.Refresher {
	if with.Subject == nil {
		with.Subject = tokenOf(z.bearer())
	}
	return &oauth.Refresher{Issuer: z.issuer, ClientID: "portal", ClientSecret: "secret", Grant: with, Scopes: []string{"openid"}}
}

// tokenOf puts one Refresher behind another.
func tokenOf(r *oauth.Refresher) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		tok, err := r.Refresh(ctx, reauth.Token{})
		return tok.AccessToken, err
	}
}

func TestDiscoveryOfZitadel(t *testing.T) {
	z := startZitadel(t)
	m, err := oauth.Discover(t.Context(), z.issuer, nil)
	require.NoError(t, err)
	assert.Equal(t, z.issuer+"oauth/token", m.TokenEndpoint)
	assert.Contains(t, m.GrantTypesSupported, "urn:ietf:params:oauth:grant-type:token-exchange")
	assert.Empty(t, m.DPoPSigningAlgValuesSupported)

	_, err = oauth.Discover(t.Context(), strings.TrimSuffix(z.issuer, "/"), nil)
	assert.ErrorContains(t, err, fmt.Sprintf("its issuer is %q, which must be the same to the letter", z.issuer))
}

// Nobody signs in: the first request finds the server and gets the first token.
func TestJWTBearerAtZitadel(t *testing.T) {
	z := startZitadel(t)
	tr, err := reauth.New(reauth.Config{Refresher: z.bearer(), Origins: []string{strings.TrimSuffix(z.issuer, "/")}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := (&http.Client{Transport: tr}).Get(z.issuer + "userinfo")
			if assert.NoError(t, err) {
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				assert.Equal(t, 200, resp.StatusCode)
				assert.Contains(t, string(body), `"sub":"service"`)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, z.count("/oauth/token"))
	assert.EqualValues(t, 1, z.count("/.well-known/openid-configuration"))
	tok, err := tr.Token(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tok.RefreshToken)
	assert.InDelta(t, 300, time.Until(tok.Expiry).Seconds(), 30)
}

func TestJWTBearerAssertionsThatZitadelRefuses(t *testing.T) {
	z := startZitadel(t)
	for name, tc := range map[string]struct {
		claims jwt.MapClaims
		ok     bool
	}{
		"the audience is the issuer":        {nil, true},
		"an array":                          {jwt.MapClaims{"aud": []string{z.issuer, z.issuer + "oauth/token"}}, true},
		"no jti":                            {jwt.MapClaims{"jti": nil}, true},
		"the audience is the token URL":     {jwt.MapClaims{"aud": z.issuer + "oauth/token"}, false},
		"the issuer but for a final slash":  {jwt.MapClaims{"aud": strings.TrimSuffix(z.issuer, "/")}, false},
		"expired":                           {jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}, false},
		"issued two hours ago":              {jwt.MapClaims{"iat": time.Now().Add(-2 * time.Hour).Unix()}, false},
		"no iat":                            {jwt.MapClaims{"iat": nil}, false},
		"about somebody else than its iss":  {jwt.MapClaims{"sub": "alice"}, false},
		"of an issuer that it doesn't know": {jwt.MapClaims{"iss": "other", "sub": "other"}, false},
	} {
		r := z.bearer()
		r.Grant = oauth.JWTBearer{Assertion: z.assertion(tc.claims)}
		_, err := r.Refresh(t.Context(), reauth.Token{})
		if tc.ok {
			assert.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, "400 invalid_grant: the program is misconfigured: its grant is not accepted", name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, name)
	}
}

// The assertion is in a file that is replaced while the program runs.
func TestJWTBearerFromAFileAtZitadel(t *testing.T) {
	z := startZitadel(t)
	path := filepath.Join(t.TempDir(), "token")
	r := z.bearer()
	r.Grant = oauth.JWTBearer{Assertion: oauth.AssertionFile(path)}
	for _, claims := range []jwt.MapClaims{nil, {"exp": time.Now().Add(-time.Minute).Unix()}, nil} {
		assertion, err := z.assertion(claims)(t.Context())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(assertion+"\n"), 0o600))
		_, err = r.Refresh(t.Context(), reauth.Token{})
		assert.Equal(t, claims == nil, err == nil, "%v", err)
	}
}

func TestTokenExchangeAtZitadel(t *testing.T) {
	z := startZitadel(t)
	for name, tc := range map[string]struct {
		grant        oauth.TokenExchange
		issued, kind string
		refresh      bool
	}{
		"access token": {oauth.TokenExchange{RequestedType: oauth.TokenTypeAccessToken}, oauth.TokenTypeAccessToken, "Bearer", false},
		"ID token":     {oauth.TokenExchange{RequestedType: oauth.TokenTypeIDToken}, oauth.TokenTypeIDToken, "N_A", false},
		"refresh token": {
			oauth.TokenExchange{RequestedType: oauth.TokenTypeRefreshToken}, oauth.TokenTypeRefreshToken, "Bearer", true,
		},
		"none asked for": {oauth.TokenExchange{}, oauth.TokenTypeRefreshToken, "Bearer", true},
		"with an actor, audience and resource": {
			oauth.TokenExchange{
				RequestedType: oauth.TokenTypeAccessToken, Actor: tokenOf(z.bearer()), Audience: []string{"orders"}, Resource: []string{"https://orders.example.com/"},
			}, oauth.TokenTypeAccessToken, "Bearer", false,
		},
		"of an ID token": {
			oauth.TokenExchange{
				Subject: tokenOf(z.exchange(oauth.TokenExchange{RequestedType: oauth.TokenTypeIDToken})), SubjectType: oauth.TokenTypeIDToken, RequestedType: oauth.TokenTypeAccessToken,
			}, oauth.TokenTypeAccessToken, "Bearer", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := z.exchange(tc.grant).Refresh(t.Context(), reauth.Token{})
			require.NoError(t, err)
			assert.Equal(t, tc.issued, tok.Extra["issued_token_type"])
			assert.Equal(t, tc.kind, tok.TokenType)
			assert.Equal(t, tc.refresh, tok.RefreshToken != "")
			if tc.kind == "N_A" {
				assert.Equal(t, 2, strings.Count(tok.AccessToken, "."), "it is a JWT")
				assert.InDelta(t, 3600, time.Until(tok.Expiry).Seconds(), 60, "which says when it expires")
			}
		})
	}
}

func TestTokenExchangesThatZitadelRefuses(t *testing.T) {
	z := startZitadel(t)
	secret := z.exchange(oauth.TokenExchange{})
	secret.ClientSecret = "another"
	for name, tc := range map[string]struct {
		refresher *oauth.Refresher
		want      string
	}{
		"a type that it does not issue": {z.exchange(oauth.TokenExchange{RequestedType: oauth.TokenTypeJWT}), "400 invalid_request"},
		"a dead subject":                {z.exchange(oauth.TokenExchange{Subject: func(context.Context) (string, error) { return "dead-SECRET", nil }}), "400 invalid_request"},
		"an unknown type of subject":    {z.exchange(oauth.TokenExchange{SubjectType: "urn:x"}), "400 invalid_request"},
		"another secret":                {secret, "401 invalid_client: the program is misconfigured"},
	} {
		_, err := tc.refresher.Refresh(t.Context(), reauth.Token{})
		assert.ErrorContains(t, err, tc.want, name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, name)
		assert.NotContains(t, err.Error(), "SECRET", name)
	}
}

// One grant stands behind another, under a Transport each: the service's token is refreshed
// by itself, and a storm costs one exchange.
func TestExchangeBehindATransportAtZitadel(t *testing.T) {
	z := startZitadel(t)
	service, err := reauth.New(reauth.Config{Refresher: z.bearer(), Origins: []string{strings.TrimSuffix(z.issuer, "/")}})
	require.NoError(t, err)
	tr, err := reauth.New(reauth.Config{
		Refresher: z.exchange(oauth.TokenExchange{RequestedType: oauth.TokenTypeAccessToken, Subject: func(ctx context.Context) (string, error) {
			tok, err := service.Token(ctx)
			return tok.AccessToken, err
		}}),
		Origins: []string{strings.TrimSuffix(z.issuer, "/")},
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := (&http.Client{Transport: tr}).Get(z.issuer + "userinfo")
			if assert.NoError(t, err) {
				resp.Body.Close()
				assert.Equal(t, 200, resp.StatusCode)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 2, z.count("/oauth/token"), "one for the service, one exchange")

	tok, err := tr.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, tr.SignOut(t.Context()))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, z.issuer+"userinfo", nil)
	require.NoError(t, err)
	require.NoError(t, reauth.HeaderCredential{}.Apply(req, tok))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode, "it was revoked where discovery says; this server refuses tokens with 403")
}
