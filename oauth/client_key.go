package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // what the algorithms below hash with
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
)

// A ClientKey is the private key by which a client authenticates at a token endpoint
// (RFC 7523); the server has the public key. The zero value means that there is none.
// Printing it with package fmt or as an attribute of log/slog shows no secret.
type ClientKey struct {
	// Signer is the key: an *rsa.PrivateKey of at least 2048 bits, an
	// *ecdsa.PrivateKey on the curve P-256, P-384 or P-521, an ed25519.PrivateKey, or a
	// Signer of such a kind that keeps the key in hardware or behind a service. It is
	// called concurrently. The keys that package crypto/x509 parses are Signers.
	Signer crypto.Signer

	// ID is the key's id (kid) at the server. Empty if the server has only one key.
	ID string

	// Algorithm is a name of RFC 7518 section 3.1 or RFC 8037 section 3.1: RS256,
	// PS256, ES256, ES384, ES512 or EdDSA. Empty means the one that fits the key, RS256
	// for RSA.
	Algorithm string

	// Audience is the audience of the assertion. Empty means the Refresher's Issuer, or,
	// if that is empty too, its TokenURL, also at the revocation endpoint. For servers
	// that accept neither.
	Audience string
}

const (
	// RFC 7523 section 2.2.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// Short, because an assertion is used once; some servers allow no more than this.
	assertionLifetime = time.Minute

	// How long ago an assertion says that it was made: servers refuse one that comes from
	// the future, and their clock may be slow.
	assertionAge = 10 * time.Second
)

// validate notes what is wrong with the key.
func (k ClientKey) validate(f *settings.Faults) {
	if k.Signer == nil {
		f.Add("ClientKey", k.String(), "must be set for AuthStylePrivateKeyJWT")
		return
	}
	edwards, ok := k.Signer.(ed25519.PrivateKey)
	if v := reflect.ValueOf(k.Signer); v.Kind() == reflect.Pointer && v.IsNil() || ok && len(edwards) != ed25519.PrivateKeySize {
		f.Add("ClientKey", k.String(), fmt.Sprintf("has a Signer that is an empty %T", k.Signer))
		return
	}
	fitting, why := algorithmOf(k.Signer.Public())
	switch {
	case why != "":
		f.Add("ClientKey", k.String(), why)
	case k.Algorithm == "" || k.Algorithm == fitting:
	case k.Algorithm == "PS256" && fitting == "RS256":
	default:
		f.Add("ClientKey.Algorithm", strconv.Quote(k.Algorithm), "does not fit the key, which is for "+fitting)
	}
}

// algorithmOf returns the usual algorithm of a key, or why it has none.
func algorithmOf(public crypto.PublicKey) (name, why string) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N == nil {
			return "", "has an RSA key that is empty"
		}
		if bits := key.N.BitLen(); bits < 2048 {
			return "", fmt.Sprintf("has an RSA key of %d bits, but RFC 7518 section 3.3 requires 2048", bits)
		}
		return "RS256", ""
	case *ecdsa.PublicKey:
		if key.Curve == nil {
			return "", "has an ECDSA key that is empty"
		}
		switch curve := key.Curve.Params(); curve.Name { // others are as long
		case "P-256":
			return "ES256", ""
		case "P-384":
			return "ES384", ""
		case "P-521":
			return "ES512", ""
		default:
			return "", "has a key on the curve " + curve.Name + ", for which there is no algorithm"
		}
	case ed25519.PublicKey:
		return "EdDSA", ""
	}
	return "", fmt.Sprintf("has a Signer with a %T, for which there is no algorithm", public)
}

// assertion returns a new client assertion (RFC 7523 section 3).
func (k ClientKey) assertion(clientID, issuer, tokenURL string) (string, error) {
	audience := settings.OrDefault(k.Audience, settings.OrDefault(issuer, tokenURL))
	algorithm := k.Algorithm
	if algorithm == "" {
		algorithm, _ = algorithmOf(k.Signer.Public())
	}
	issuedAt := time.Now().Add(-assertionAge)
	token := jwt.NewWithClaims(signerMethod(algorithm), jwt.MapClaims{
		"iss": clientID,
		"sub": clientID,
		"aud": audience,
		"jti": rand.Text(),
		"iat": issuedAt.Unix(),
		"exp": issuedAt.Add(assertionLifetime).Unix(),
	})
	if audience == issuer {
		token.Header["typ"] = "client-authentication+jwt" // as rfc7523bis requires
	}
	if k.ID != "" {
		token.Header["kid"] = k.ID
	}
	signed, err := token.SignedString(k.Signer)
	if err != nil {
		return "", fmt.Errorf("reauth: signing the client assertion: %w", redact.Without(err, reauth.ErrSignInRequired, redact.ContextErrors...))
	}
	return signed, nil
}

// A signerMethod signs with any crypto.Signer, whereas golang-jwt's own methods need the
// private key itself.
type signerMethod string

var _ jwt.SigningMethod = signerMethod("")

// Alg implements jwt.SigningMethod.
func (m signerMethod) Alg() string { return string(m) }

// Verify implements jwt.SigningMethod. Nothing here verifies.
func (m signerMethod) Verify(string, []byte, any) error { return jwt.ErrSignatureInvalid }

// Sign implements jwt.SigningMethod.
func (m signerMethod) Sign(text string, key any) ([]byte, error) {
	signer := key.(crypto.Signer)
	if m == "EdDSA" {
		return signer.Sign(rand.Reader, []byte(text), crypto.Hash(0))
	}
	hash := map[signerMethod]crypto.Hash{"ES384": crypto.SHA384, "ES512": crypto.SHA512}[m]
	if hash == 0 {
		hash = crypto.SHA256
	}
	h := hash.New()
	_, _ = io.WriteString(h, text)
	var opts crypto.SignerOpts = hash
	if m == "PS256" { // RFC 7518 section 3.5: a salt as long as the hash
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := signer.Sign(rand.Reader, h.Sum(nil), opts)
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if err != nil || !ok {
		return signature, err
	}
	// RFC 7518 section 3.4: both numbers side by side, not in ASN.1.
	var parts struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(signature, &parts); err != nil || len(rest) > 0 {
		return nil, errors.New("the signer returned no ECDSA signature")
	}
	size := (public.Curve.Params().BitSize + 7) / 8
	if parts.R.Sign() < 0 || parts.S.Sign() < 0 || parts.R.BitLen() > 8*size || parts.S.BitLen() > 8*size {
		return nil, errors.New("the signer returned no ECDSA signature of its own curve")
	}
	out := make([]byte, 2*size)
	parts.R.FillBytes(out[:size])
	parts.S.FillBytes(out[size:])
	return out, nil
}

// String describes the key without showing it.
func (k ClientKey) String() string {
	if k.Signer == nil {
		return "[no ClientKey]"
	}
	return fmt.Sprintf("[ClientKey %q]", k.ID)
}

// Format writes String whatever the verb, so that no verb reaches the key.
func (k ClientKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue returns String.
func (k ClientKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
