package reauth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// hardware is a key that does not leave its place.
type hardware struct {
	key  crypto.Signer
	sign func() ([]byte, error) // in place of the key, unless nil
}

func (h *hardware) Public() crypto.PublicKey { return h.key.Public() }

func (h *hardware) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if h.sign != nil {
		return h.sign()
	}
	return h.key.Sign(r, digest, opts)
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func TestClientAssertion(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256 := ecKey(t, elliptic.P256())
	// A key as programs have it: in PEM.
	der, err := x509.MarshalPKCS8PrivateKey(p256)
	require.NoError(t, err)
	block, _ := pem.Decode(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)

	for _, tc := range []struct {
		signer    crypto.Signer
		algorithm string
		want      string
	}{
		{rsaKey, "", "RS256"},
		{rsaKey, "RS256", "RS256"},
		{rsaKey, "PS256", "PS256"},
		{p256, "", "ES256"},
		{parsed.(crypto.Signer), "ES256", "ES256"},
		{ecKey(t, elliptic.P384()), "", "ES384"},
		{ecKey(t, elliptic.P521()), "", "ES512"},
		{edKey, "", "EdDSA"},
		{&hardware{key: rsaKey}, "PS256", "PS256"},
		{&hardware{key: p256}, "", "ES256"},
		{&hardware{key: edKey}, "EdDSA", "EdDSA"},
	} {
		t.Run(fmt.Sprintf("%T/%s", tc.signer, tc.want), func(t *testing.T) {
			var got []received
			server := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
				got = append(got, receive(t, req))
				_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
			})
			key := reauth.ClientKey{Signer: tc.signer, ID: "key-1", Algorithm: tc.algorithm}
			r := &reauth.OAuth2Refresher{TokenURL: server, RevocationURL: server, ClientID: "client", ClientKey: key}
			c := &reauth.ClientCredentials{TokenURL: server, ClientID: "client", ClientKey: key, AuthStyle: reauth.AuthStylePrivateKeyJWT}
			seen := map[string]bool{}
			for range 16 { // an ECDSA signature is not always of the same length
				got = nil
				_, err := r.Refresh(t.Context(), oldToken)
				require.NoError(t, err)
				_, err = c.Refresh(t.Context(), oldToken)
				require.NoError(t, err)
				require.NoError(t, r.Revoke(t.Context(), oldToken))
				require.Len(t, got, 3)
				for _, req := range got {
					assert.False(t, req.basic)
					assert.Equal(t, "client", req.form.Get("client_id"))
					assert.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", req.form.Get("client_assertion_type"))
					claims := jwt.MapClaims{}
					token, err := jwt.ParseWithClaims(req.form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) {
						return tc.signer.Public(), nil
					}, jwt.WithValidMethods([]string{tc.want}), jwt.WithAudience(server), jwt.WithIssuer("client"), jwt.WithSubject("client"),
						jwt.WithExpirationRequired(), jwt.WithIssuedAt())
					require.NoError(t, err)
					if tc.want == "PS256" { // golang-jwt takes a salt of any length, RFC 7518 section 3.5 does not
						text, _, _ := strings.Cut(token.Raw, "."+strings.Split(token.Raw, ".")[2])
						hash := sha256.Sum256([]byte(text))
						require.NoError(t, rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, hash[:], token.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
					}
					assert.Equal(t, "key-1", token.Header["kid"])
					assert.InDelta(t, 60, claims["exp"].(float64)-claims["iat"].(float64), 0)
					jti := claims["jti"].(string)
					assert.GreaterOrEqual(t, len(jti), 20)
					assert.False(t, seen[jti], "a jti is used once")
					seen[jti] = true
				}
			}
		})
	}
}

func TestClientAssertionIsForWhomTheSettingsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var req http.Request
		var body string
		key := ecKey(t, elliptic.P256())
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token", ClientID: "client",
			ClientKey: reauth.ClientKey{Signer: key, Audience: "https://id.example.com"},
			Client:    capturing(says(200, `{"access_token":"a"}`), &req, &body),
		}
		_, err := r.Refresh(t.Context(), oldToken)
		require.NoError(t, err)
		form, err := url.ParseQuery(body)
		require.NoError(t, err)
		claims := jwt.MapClaims{}
		token, _, err := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), claims)
		require.NoError(t, err)
		assert.NotContains(t, token.Header, "kid")
		assert.Equal(t, "https://id.example.com", claims["aud"])
		assert.InDelta(t, time.Now().Unix(), claims["iat"], 0)
	})
}

func TestClientKeyThatCannotSignIsAPassingFault(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	for name, sign := range map[string]func() ([]byte, error){
		"no power":                               func() ([]byte, error) { return nil, errors.New("no power") },
		"the signer returned no ECDSA signature": func() ([]byte, error) { return []byte("SECRET"), nil },
		"the signer returned no ECDSA signature of its own curve": func() ([]byte, error) {
			return ecKey(t, elliptic.P521()).Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		},
	} {
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token", ClientID: "client", ClientKey: reauth.ClientKey{Signer: &hardware{key, sign}},
			Client: says(200, `{"access_token":"a"}`),
		}
		_, err := r.Refresh(t.Context(), oldToken)
		require.EqualError(t, err, "reauth: signing the client assertion: "+name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}
}

func TestEveryBadClientKeyIsNamed(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	p256 := ecKey(t, elliptic.P256())
	const private = reauth.AuthStylePrivateKeyJWT
	for _, tc := range []struct {
		id     string
		secret string
		key    reauth.ClientKey
		style  reauth.AuthStyle
		params string
		want   []string
	}{
		{"client", "", reauth.ClientKey{}, private, "", []string{`ClientKey [no ClientKey]: must be set for AuthStylePrivateKeyJWT`}},
		{"", "", reauth.ClientKey{}, private, "", []string{`ClientID "": must be set for AuthStylePrivateKeyJWT`, `ClientKey [no ClientKey]`}},
		{"", "", reauth.ClientKey{Signer: p256}, 0, "", []string{`ClientID "": must be set, since ClientKey is`}},
		{"client", "hidden", reauth.ClientKey{Signer: p256}, 0, "", []string{`ClientSecret [redacted]: is set, and is not sent with AuthStylePrivateKeyJWT`}},
		{"client", "hidden", reauth.ClientKey{}, reauth.AuthStyleNone, "", []string{`ClientSecret [redacted]: is set, and is not sent with AuthStyleNone`}},
		{"client", "hidden", reauth.ClientKey{Signer: p256}, reauth.AuthStyleForm, "", []string{`ClientKey [redacted]: is set, and is not used with AuthStyleForm`}},
		{"client", "", reauth.ClientKey{Signer: p256}, 0, "client_assertion", []string{`Params "client_assertion": is sent by the refresher itself`}},
		{"client", "", reauth.ClientKey{}, 0, "client_assertion", nil},
		{"client", "", reauth.ClientKey{Signer: (*rsa.PrivateKey)(nil)}, 0, "", []string{`has a Signer that is an empty *rsa.PrivateKey`}},
		{"client", "", reauth.ClientKey{Signer: ed25519.PrivateKey(nil)}, 0, "", []string{`has a Signer that is an empty ed25519.PrivateKey`}},
		{"client", "", reauth.ClientKey{Signer: small, ID: "k"}, 0, "", []string{`ClientKey [ClientKey "k"]: has an RSA key of 1024 bits, of which RFC 7518 section 3.3 wants 2048`}},
		{"client", "", reauth.ClientKey{Signer: ecKey(t, elliptic.P224())}, 0, "", []string{`has a key on the curve P-224, for which there is no algorithm`}},
		{"client", "", reauth.ClientKey{Signer: &hardware{key: &oddKey{p256}}}, 0, "", []string{`has a Signer with a string, for which there is no algorithm`}},
		{"client", "", reauth.ClientKey{Signer: p256, Algorithm: "RS256"}, 0, "", []string{`ClientKey.Algorithm "RS256": does not fit the key, which is for ES256`}},
		{"client", "", reauth.ClientKey{Signer: p256, Algorithm: "none"}, 0, "", []string{`ClientKey.Algorithm "none"`}},
	} {
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token", ClientID: tc.id, ClientSecret: tc.secret, ClientKey: tc.key, AuthStyle: tc.style,
			Client: says(200, `{"access_token":"a"}`),
		}
		if tc.params != "" {
			r.Params = url.Values{tc.params: {"x"}}
		}
		_, err := r.Refresh(t.Context(), oldToken)
		if tc.want == nil {
			assert.NoError(t, err)
			continue
		}
		require.Error(t, err)
		assert.Len(t, strings.Split(err.Error(), "\n"), len(tc.want), err)
		for _, want := range tc.want {
			assert.ErrorContains(t, err, want)
		}
		assert.NotContains(t, err.Error(), "hidden")
	}
}

type oddKey struct{ *ecdsa.PrivateKey }

func (*oddKey) Public() crypto.PublicKey { return "odd" }

func TestClientKeyIsNotPrinted(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	der, err := key.Bytes()
	require.NoError(t, err)
	k := reauth.ClientKey{Signer: key, ID: "key-1"}
	for _, v := range []any{k, &k, struct{ K reauth.ClientKey }{k}, &reauth.OAuth2Refresher{ClientKey: k}, reauth.ClientCredentials{ClientKey: k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, fmt.Sprintf("%x", der))
			assert.Less(t, len(text), 120, "%s", verb)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "k", v)
		assert.Less(t, log.Len(), 250)
	}
	assert.Equal(t, `[ClientKey "key-1"] [no ClientKey]`, fmt.Sprint(k, reauth.ClientKey{}))
	assert.Equal(t, "AuthStyleBasic AuthStyleForm AuthStyleNone AuthStylePrivateKeyJWT AuthStyle(0) AuthStyle(-1) AuthStyle(9)",
		fmt.Sprint(reauth.AuthStyleBasic, " ", reauth.AuthStyleForm, " ", reauth.AuthStyleNone, " ", reauth.AuthStylePrivateKeyJWT, " ",
			reauth.AuthStyle(0), " ", reauth.AuthStyle(-1), " ", reauth.AuthStyle(9)))
}

// RFC 6749 section 6: a refresh must not ask for what was never granted.
func TestARefreshDoesNotWidenTheScopes(t *testing.T) {
	for _, tc := range []struct {
		settings []string
		granted  string
		want     string // "": not sent
	}{
		{nil, "read write", ""},
		{[]string{"read"}, "", "read"},
		{[]string{"read"}, "write read", "read"},
		{[]string{"read", "admin"}, "read write", ""}, // some were not granted: as it was
		{[]string{"write", "read"}, "read write", "write read"},
		{[]string{"admin"}, "read write", ""},
	} {
		var req http.Request
		var body string
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token", Scopes: tc.settings,
			Client: capturing(says(200, `{"access_token":"a"}`), &req, &body),
		}
		old := oldToken
		if tc.granted != "" {
			old.Extra = map[string]string{"scope": tc.granted}
		}
		_, err := r.Refresh(t.Context(), old)
		require.NoError(t, err)
		form, err := url.ParseQuery(body)
		require.NoError(t, err)
		assert.Equal(t, tc.want, form.Get("scope"))
		assert.Equal(t, tc.want != "", form.Has("scope"))

		c := &reauth.ClientCredentials{TokenURL: r.TokenURL, ClientID: "id", Scopes: tc.settings, Client: r.Client}
		_, err = c.Refresh(t.Context(), old)
		require.NoError(t, err)
		form, err = url.ParseQuery(body)
		require.NoError(t, err)
		assert.Equal(t, strings.Join(tc.settings, " "), form.Get("scope"), "a new token has no scopes to widen")
	}
}
