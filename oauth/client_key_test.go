package oauth_test

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
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
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

var ecKey = newECKey(elliptic.P256())

func newECKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func TestClientAssertion(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	// A key as programs have it: in PEM.
	der, err := x509.MarshalPKCS8PrivateKey(ecKey)
	require.NoError(t, err)
	block, _ := pem.Decode(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)

	for _, tc := range []struct {
		signer          crypto.Signer
		algorithm, want string
	}{
		{rsaKey, "", "RS256"},
		{rsaKey, "RS256", "RS256"},
		{rsaKey, "PS256", "PS256"},
		{ecKey, "", "ES256"},
		{parsed.(crypto.Signer), "ES256", "ES256"},
		{newECKey(elliptic.P384()), "", "ES384"},
		{newECKey(elliptic.P521()), "", "ES512"},
		{edKey, "", "EdDSA"},
		{&hardware{key: rsaKey}, "PS256", "PS256"},
		{&hardware{key: ecKey}, "", "ES256"},
		{&hardware{key: edKey}, "EdDSA", "EdDSA"},
	} {
		t.Run(fmt.Sprintf("%T/%s", tc.signer, tc.want), func(t *testing.T) {
			server := testworld.Answering(200, `{"access_token":"access-2"}`)
			r := &oauth.Refresher{
				TokenURL: testworld.TokenURL, RevocationURL: "https://id.example.com/revoke", ClientID: "client", Client: server.Client(),
				ClientKey: oauth.ClientKey{Signer: tc.signer, ID: "key-1", Algorithm: tc.algorithm},
			}
			program := *r
			program.Grant, program.AuthStyle = oauth.ClientCredentials{}, oauth.AuthStylePrivateKeyJWT
			for range 16 { // an ECDSA signature is not always of the same length
				refreshes(t, r, oldToken)
				refreshes(t, &program, oldToken)
				require.NoError(t, r.Revoke(t.Context(), oldToken))
			}
			seen := map[string]bool{}
			require.Len(t, server.Requests(), 48)
			for _, req := range server.Requests() {
				form := req.Form(t)
				assert.Empty(t, req.Header["Authorization"])
				assert.Equal(t, "client", form.Get("client_id"))
				assert.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
				claims := jwt.MapClaims{}
				token, err := jwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) {
					return tc.signer.Public(), nil
				}, jwt.WithValidMethods([]string{tc.want}), jwt.WithAudience(testworld.TokenURL), jwt.WithIssuer("client"), jwt.WithSubject("client"),
					jwt.WithExpirationRequired(), jwt.WithIssuedAt())
				require.NoError(t, err)
				if tc.want == "PS256" { // golang-jwt accepts a salt of any length, RFC 7518 section 3.5 does not
					hash := sha256.Sum256([]byte(token.Raw[:strings.LastIndex(token.Raw, ".")]))
					require.NoError(t, rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, hash[:], token.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
				}
				assert.Equal(t, "key-1", token.Header["kid"])
				assert.InDelta(t, 60, claims["exp"].(float64)-claims["iat"].(float64), 0)
				jti := claims["jti"].(string)
				assert.GreaterOrEqual(t, len(jti), 20)
				assert.False(t, seen[jti], "a jti is used once")
				seen[jti] = true
			}
		})
	}
}

func TestAudienceAndTimeOfAClientAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := testworld.Answering(200, `{"access_token":"a"}`)
		refreshes(t, &oauth.Refresher{
			TokenURL: testworld.TokenURL, ClientID: "client", Client: server.Client(),
			ClientKey: oauth.ClientKey{Signer: ecKey, Audience: "https://id.example.com"},
		}, oldToken)
		claims := jwt.MapClaims{}
		token, _, err := jwt.NewParser().ParseUnverified(server.Last().Form(t).Get("client_assertion"), claims)
		require.NoError(t, err)
		assert.NotContains(t, token.Header, "kid")
		assert.Equal(t, "https://id.example.com", claims["aud"])
		assert.InDelta(t, time.Now().Add(-10*time.Second).Unix(), claims["iat"], 0, "a server a second behind answers 500 to an iat in its future")
		assert.InDelta(t, time.Now().Add(50*time.Second).Unix(), claims["exp"], 0)
		assert.Equal(t, "JWT", token.Header["typ"])
	})
}

// The update of RFC 7523, whose audience is the issuer and nothing else.
func TestIssuerIsTheAudienceOfAClientAssertion(t *testing.T) {
	const issuer = "https://id.example.com/"
	for _, tc := range []struct{ issuer, audience, want, typ string }{
		{"", "", testworld.TokenURL, "JWT"},
		{issuer, "", issuer, "client-authentication+jwt"},
		{issuer, issuer, issuer, "client-authentication+jwt"},
		{issuer, testworld.TokenURL, testworld.TokenURL, "JWT"},
	} {
		server := testworld.Answering(200, `{"access_token":"a"}`)
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, RevocationURL: "https://id.example.com/revoke", Issuer: tc.issuer, ClientID: "client",
			ClientKey: oauth.ClientKey{Signer: ecKey, Audience: tc.audience}, Client: server.Client(),
		}
		refreshes(t, r, oldToken)
		require.NoError(t, r.Revoke(t.Context(), oldToken))
		require.Len(t, server.Requests(), 2)
		for _, req := range server.Requests() {
			claims := jwt.MapClaims{}
			token, _, err := jwt.NewParser().ParseUnverified(req.Form(t).Get("client_assertion"), claims)
			require.NoError(t, err)
			assert.Equal(t, tc.want, claims["aud"], "a string, not an array")
			assert.Equal(t, tc.typ, token.Header["typ"])
		}
	}
}

func TestClientKeyThatCannotSignIsATemporaryFailure(t *testing.T) {
	for _, tc := range []struct {
		want string
		sign func() ([]byte, error)
	}{
		{"no power", func() ([]byte, error) { return nil, errors.New("no power") }},
		{"signed out of the KMS: sign-in required", func() ([]byte, error) {
			return nil, fmt.Errorf("signed out of the KMS: %w", reauth.ErrSignInRequired)
		}},
		{"the signer returned no ECDSA signature", func() ([]byte, error) { return []byte("SECRET"), nil }},
		{"the signer returned no ECDSA signature of its own curve", func() ([]byte, error) {
			return newECKey(elliptic.P521()).Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		}},
	} {
		for _, grant := range []oauth.Grant{nil, oauth.ClientCredentials{}} {
			r := &oauth.Refresher{
				TokenURL: testworld.TokenURL, ClientID: "client", Grant: grant, ClientKey: oauth.ClientKey{Signer: &hardware{ecKey, tc.sign}},
			}
			_, err := r.Refresh(t.Context(), oldToken)
			require.EqualError(t, err, "reauth: signing the client assertion: "+tc.want)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		}
	}
}

func TestEveryBadClientKeyIsNamed(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	koblitz := *elliptic.P256().Params()
	koblitz.Name = "secp256k1"
	k256 := *ecKey
	k256.Curve = &koblitz
	const private = oauth.AuthStylePrivateKeyJWT
	for _, tc := range []struct {
		id     string
		secret string
		key    oauth.ClientKey
		style  oauth.AuthStyle
		params string
		want   []string
	}{
		{"client", "", oauth.ClientKey{}, private, "", []string{`ClientKey [no ClientKey]: must be set for AuthStylePrivateKeyJWT`}},
		{"", "", oauth.ClientKey{}, private, "", []string{`ClientID "": must be set for AuthStylePrivateKeyJWT`, `ClientKey [no ClientKey]`}},
		{"", "", oauth.ClientKey{Signer: ecKey}, 0, "", []string{`ClientID "": must be set, because ClientKey is`}},
		{"client", "hidden", oauth.ClientKey{Signer: ecKey}, 0, "", []string{`ClientSecret [redacted]: is set but not sent with AuthStylePrivateKeyJWT`}},
		{"client", "hidden", oauth.ClientKey{}, oauth.AuthStyleNone, "", []string{`ClientSecret [redacted]: is set but not sent with AuthStyleNone`}},
		{"client", "hidden", oauth.ClientKey{Signer: ecKey}, oauth.AuthStyleForm, "", []string{`ClientKey [redacted]: is set but not used with AuthStyleForm`}},
		{"client", "", oauth.ClientKey{Signer: ecKey}, 0, "client_assertion", []string{`Params "client_assertion": is sent by the Refresher itself`}},
		{"client", "", oauth.ClientKey{}, 0, "client_assertion", nil},
		{"client", "", oauth.ClientKey{Signer: (*rsa.PrivateKey)(nil)}, 0, "", []string{`has a Signer that is an empty *rsa.PrivateKey`}},
		{"client", "", oauth.ClientKey{Signer: ed25519.PrivateKey(nil)}, 0, "", []string{`has a Signer that is an empty ed25519.PrivateKey`}},
		{"client", "", oauth.ClientKey{Signer: &rsa.PrivateKey{}}, 0, "", []string{`has an RSA key that is empty`}},
		{"client", "", oauth.ClientKey{Signer: &ecdsa.PrivateKey{}}, 0, "", []string{`has an ECDSA key that is empty`}},
		{"client", "", oauth.ClientKey{Signer: small, ID: "k"}, 0, "", []string{`ClientKey [ClientKey "k"]: has an RSA key of 1024 bits, but RFC 7518 section 3.3 requires 2048`}},
		{"client", "", oauth.ClientKey{Signer: newECKey(elliptic.P224())}, 0, "", []string{`has a key on the curve P-224, for which there is no algorithm`}},
		{"client", "", oauth.ClientKey{Signer: &k256}, 0, "", []string{`has a key on the curve secp256k1, for which there is no algorithm`}},
		{"client", "", oauth.ClientKey{Signer: &oddKey{ecKey}}, 0, "", []string{`has a Signer with a string, for which there is no algorithm`}},
		{"client", "", oauth.ClientKey{Signer: ecKey, Algorithm: "RS256"}, 0, "", []string{`ClientKey.Algorithm "RS256": does not fit the key, which is for ES256`}},
		{"client", "", oauth.ClientKey{Signer: ecKey, Algorithm: "none"}, 0, "", []string{`ClientKey.Algorithm "none"`}},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: tc.id, ClientSecret: tc.secret, ClientKey: tc.key, AuthStyle: tc.style}
		if tc.params != "" {
			r.Params = url.Values{tc.params: {"x"}}
		}
		testworld.AssertFaults(t, tc.want, r.Validate())
	}
}

type oddKey struct{ *ecdsa.PrivateKey }

func (*oddKey) Public() crypto.PublicKey { return "odd" }

func TestClientKeyIsNotPrinted(t *testing.T) {
	der, err := ecKey.Bytes()
	require.NoError(t, err)
	k := oauth.ClientKey{Signer: ecKey, ID: "key-1"}
	for _, v := range []any{k, &k, struct{ K oauth.ClientKey }{k}, &oauth.Refresher{ClientKey: k}, oauth.Refresher{ClientKey: k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, fmt.Sprintf("%x", der))
			assert.Less(t, len(text), 120, "%s", verb)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "k", v)
		assert.Less(t, log.Len(), 250)
	}
	assert.Equal(t, `[ClientKey "key-1"] [no ClientKey]`, fmt.Sprint(k, oauth.ClientKey{}))
	assert.Equal(t, "AuthStyleBasic AuthStyleForm AuthStyleNone AuthStylePrivateKeyJWT AuthStyle(0) AuthStyle(-1) AuthStyle(9)",
		strings.Trim(fmt.Sprint([]oauth.AuthStyle{oauth.AuthStyleBasic, oauth.AuthStyleForm, oauth.AuthStyleNone, oauth.AuthStylePrivateKeyJWT, 0, -1, 9}), "[]"))
}
