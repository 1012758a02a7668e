package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

var _, edKey, _ = ed25519.GenerateKey(rand.Reader)

// proofOf returns the proof that d puts on a request with a token.
func proofOf(t *testing.T, d *oauth.DPoP, req *http.Request, tok reauth.Token) proof {
	t.Helper()
	req.Header = http.Header{}
	require.NoError(t, d.Apply(req, tok))
	p, err := readProof(req.Header)
	require.NoError(t, err)
	return p
}

func TestADPoPProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for algorithm, key := range map[string]crypto.Signer{"ES256": ecKey, "EdDSA": edKey} {
			for _, signer := range []crypto.Signer{key, &hardware{key: key}} {
				d := &oauth.DPoP{Key: signer}
				require.NoError(t, d.Validate())
				thumbprint, err := oauth.Thumbprint(key.Public())
				require.NoError(t, err)
				seen := map[string]bool{}
				for range 64 { // an ECDSA signature is not always of the same length
					req := get(t, "https://api.example.com/orders?page=2#top")
					p := proofOf(t, d, req, dpopToken)
					assert.Equal(t, "DPoP access-1", req.Header.Get("Authorization"))
					assert.Equal(t, "GET", p.HTM)
					assert.Equal(t, "https://api.example.com/orders", p.HTU)
					assert.Equal(t, time.Now().Unix(), p.IAT)
					assert.Equal(t, sha("access-1"), p.ATH)
					assert.Empty(t, p.Nonce)
					assert.Equal(t, thumbprint, p.jkt)
					assert.GreaterOrEqual(t, len(p.JTI), 22, "96 bits and more")
					assert.False(t, seen[p.JTI], "a jti of its own")
					seen[p.JTI] = true
					var header map[string]any
					require.NoError(t, json.Unmarshal([]byte(p.header), &header))
					assert.Equal(t, algorithm, header["alg"])
					assert.NotContains(t, header["jwk"], "d", "no private key")
				}
			}
		}
	})
}

func TestTheTargetInAProofIsTheURLWithoutQueryAndFragment(t *testing.T) {
	d := &oauth.DPoP{Key: edKey}
	for from, want := range map[string]string{
		"https://api.example.com/a?b=c":           "https://api.example.com/a",
		"https://api.example.com/a?":              "https://api.example.com/a",
		"https://api.example.com/a#b":             "https://api.example.com/a",
		"https://api.example.com/a/":              "https://api.example.com/a/",
		"https://api.example.com":                 "https://api.example.com/",
		"https://api.example.com?q":               "https://api.example.com/",
		"https://API.example.com/A":               "https://API.example.com/A",
		"https://api.example.com:443/a":           "https://api.example.com:443/a",
		"http://localhost:8080/a":                 "http://localhost:8080/a",
		"https://api.example.com/%74oken":         "https://api.example.com/%74oken",
		"https://api.example.com/a%2Fb/%3F":       "https://api.example.com/a%2Fb/%3F",
		"https://api.example.com/ä b":             "https://api.example.com/%C3%A4%20b",
		"https://api.example.com/a/../b/./c//d":   "https://api.example.com/a/../b/./c//d",
		"https://user:pass@api.example.com/a":     "https://api.example.com/a",
		"http://[fe80::1%25eth0]:8080/a":          "http://[fe80::1]:8080/a",
		"https://api.example.com/a'(b)*;c=1,d@e!": "https://api.example.com/a'(b)*;c=1,d@e!",
		`https://api.ex"ample.com/a`:              `https://api.ex"ample.com/a`,
	} {
		u, err := url.Parse(from)
		require.NoError(t, err)
		assert.Equal(t, want, proofOf(t, d, &http.Request{URL: u}, dpopToken).HTU, from)
	}

	req := get(t, "https://10.0.0.1/a")
	req.Host = "api.example.com"
	assert.Equal(t, "https://api.example.com/a", proofOf(t, d, req, dpopToken).HTU, "as the server sees it")
	req = get(t, "https://api.example.com/a")
	req.URL.Opaque = "//api.example.com/%2f?q"
	assert.Equal(t, "https://api.example.com/%2f", proofOf(t, d, req, dpopToken).HTU)
	req.URL.Opaque = "/%2f"
	assert.Equal(t, "https://api.example.com/%2f", proofOf(t, d, req, dpopToken).HTU)
}

// A coordinate of a P-256 key has 32 bytes, also if it begins with a zero: of 256 keys one
// does. Libraries that drop the zero give such a key another thumbprint than the server does
// (AxisCommunications/go-dpop#21).
func TestKeysWithALeadingZero(t *testing.T) {
	found := 0
	for n := uint64(1); found < 3; n++ {
		raw := binary.BigEndian.AppendUint64(make([]byte, 24), n)
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
		require.NoError(t, err)
		point, err := key.PublicKey.Bytes()
		require.NoError(t, err)
		if point[1] != 0 && point[33] != 0 {
			continue
		}
		found++
		proofOf(t, &oauth.DPoP{Key: key}, get(t, "https://api.example.com/"), dpopToken) // which asks for 32 bytes
	}
}

// The key of RFC 9449 section 6.1.
func TestThumbprint(t *testing.T) {
	decoded := func(text string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	x, y := decoded("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"), decoded("9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA")
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	require.NoError(t, err)
	got, err := oauth.Thumbprint(key)
	require.NoError(t, err)
	assert.Equal(t, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", got)

	// RFC 8037 appendix A.3.
	got, err = oauth.Thumbprint(ed25519.PublicKey(decoded("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")))
	require.NoError(t, err)
	assert.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", got)

	_, err = oauth.Thumbprint("no key")
	assert.EqualError(t, err, "oauth: Thumbprint: the key has a public key that is a string, and must be one on P-256 or an Ed25519 key")
}

func TestKeysThatDPoPDoesNotTake(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for want, key := range map[string]crypto.Signer{
		"is on the curve P-384":          newECKey(elliptic.P384()),
		"public key that is a *rsa":      rsaKey,
		"is an empty *ecdsa.PrivateKey":  (*ecdsa.PrivateKey)(nil),
		"is an empty ed25519.PrivateKey": ed25519.PrivateKey(nil),
		"is an empty ECDSA key":          new(ecdsa.PrivateKey),
		"is an empty ECDSA":              &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}},
		"is an empty Ed25519 key":        emptyEdwards{},
		"is incomplete":                  &ecdsa.PrivateKey{PublicKey: ecKey.PublicKey},
		": is incomplete":                withoutCurve(),
	} {
		d := &oauth.DPoP{Key: key}
		_, err := reauth.New(reauth.Config{
			Refresher:  &oauth.Refresher{TokenURL: "https://id.example.com/token", DPoP: d},
			Credential: d, Origins: []string{reauth.AnyOrigin},
		})
		assert.ErrorContains(t, err, "oauth: DPoP.Key [redacted]: ", want)
		assert.ErrorContains(t, err, want)
		req := get(t, "https://api.example.com/")
		assert.ErrorContains(t, d.Apply(req, dpopToken), strings.TrimPrefix(want, ": "))
		assert.Empty(t, req.Header)
		_, err = oauth.BindKey(dpopToken, key)
		assert.Error(t, err, want)
	}
	assert.ErrorContains(t, (*oauth.DPoP)(nil).Validate(), "is a nil pointer")
}

func withoutCurve() crypto.Signer {
	key := *ecKey
	key.Curve = nil
	return &key
}

type emptyEdwards struct{ crypto.Signer }

func (emptyEdwards) Public() crypto.PublicKey { return ed25519.PublicKey(nil) }

func TestAKeyThatDoesNotSign(t *testing.T) {
	wide := make([]byte, 2+2+33+2+32)
	copy(wide, []byte{0x30, 67, 0x02, 33, 1})
	copy(wide[2+2+33:], []byte{0x02, 32, 1})
	for name, signature := range map[string][]byte{
		"empty": {}, "no sequence": {0x31, 0}, "of one number": {0x30, 3, 2, 1, 1}, "with a rest": {0x30, 7, 2, 1, 1, 2, 1, 1, 0},
		"negative": {0x30, 6, 2, 1, 0x80, 2, 1, 1}, "an empty number": {0x30, 5, 2, 0, 2, 1, 1}, "cut off": {0x30, 6, 2, 1, 1, 2, 5, 1}, "too wide": wide,
	} {
		d := &oauth.DPoP{Key: &hardware{key: ecKey, sign: func() ([]byte, error) { return signature, nil }}}
		err := d.Apply(get(t, "https://api.example.com/"), dpopToken)
		assert.EqualError(t, err, "oauth: DPoP: signing the proof: the signer returned no ECDSA signature of the curve P-256", name)
	}
	d := &oauth.DPoP{Key: &hardware{key: edKey, sign: func() ([]byte, error) { return make([]byte, 63), nil }}}
	assert.ErrorContains(t, d.Apply(get(t, "https://api.example.com/"), dpopToken), "no Ed25519 signature")

	for _, key := range []crypto.Signer{ecKey, edKey} {
		broken := errors.New("the hardware is unplugged")
		d = &oauth.DPoP{Key: &hardware{key: key, sign: func() ([]byte, error) { return nil, errors.Join(broken, reauth.ErrSignInRequired) }}}
		err := d.Apply(get(t, "https://api.example.com/"), dpopToken)
		assert.ErrorContains(t, err, "unplugged")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, "a service behind the key is not this session's")
		_, err = (&oauth.Refresher{TokenURL: "https://id.example.com/token", DPoP: d}).Refresh(t.Context(), dpopToken)
		assert.ErrorContains(t, err, "unplugged")
	}
}

// RFC 7518 section 3.4: both numbers have 32 bytes, whatever their value.
func TestTheNumbersOfASignatureAreFilledUp(t *testing.T) {
	short := []byte{0x30, 8, 0x02, 1, 7, 0x02, 3, 0, 0x80, 9}
	d := &oauth.DPoP{Key: &hardware{key: ecKey, sign: func() ([]byte, error) { return short, nil }}}
	req := get(t, "https://api.example.com/")
	require.NoError(t, d.Apply(req, dpopToken))
	parts := strings.Split(req.Header.Get("DPoP"), ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	want := make([]byte, 64)
	want[31], want[62], want[63] = 7, 0x80, 9
	assert.Equal(t, want, raw)
}
