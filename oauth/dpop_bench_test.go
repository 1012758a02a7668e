package oauth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

var proofKeys = []struct {
	algorithm string
	key       crypto.Signer
}{{"ES256", ecKey}, {"EdDSA", edKey}}

// signature returns a bare signature of a text as long as that of a proof.
func signature(key crypto.Signer) func() error {
	text := []byte(strings.Repeat("x", 600))
	if key == crypto.Signer(ecKey) {
		return func() error {
			sum := sha256.Sum256(text)
			_, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
			return err
		}
	}
	return func() error {
		_, err := key.Sign(rand.Reader, text, crypto.Hash(0))
		return err
	}
}

// proving returns what puts a token and its proof on a request.
func proving(t testing.TB, key crypto.Signer) func() error {
	d := &oauth.DPoP{Key: key}
	req, err := http.NewRequest(http.MethodGet, "https://api.example.com/v1/orders/17?fields=all", nil)
	require.NoError(t, err)
	tok := reauth.Token{AccessToken: strings.Repeat("a", 800), TokenType: "DPoP"}
	return func() error {
		clear(req.Header)
		return d.Apply(req, tok)
	}
}

// free returns a key whose signatures cost nothing.
func free(t testing.TB, key crypto.Signer) crypto.Signer {
	opts := crypto.SignerOpts(crypto.Hash(0))
	if key == crypto.Signer(ecKey) {
		opts = crypto.SHA256
	}
	made, err := key.Sign(rand.Reader, make([]byte, 32), opts)
	require.NoError(t, err)
	return &hardware{key: key, sign: func() ([]byte, error) { return made, nil }}
}

// BenchmarkProof is a proof, the signature alone, and the rest alone, which may take 2 us
// and 8 allocations.
func BenchmarkProof(b *testing.B) {
	for _, k := range proofKeys {
		for _, of := range []struct {
			name string
			run  func() error
		}{{"signature", signature(k.key)}, {"proof", proving(b, k.key)}, {"rest", proving(b, free(b, k.key))}} {
			b.Run("alg="+k.algorithm+"/of="+of.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := of.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestAProofAllocatesLittleMoreThanItsSignature(t *testing.T) {
	for _, k := range proofKeys {
		bare, whole := signature(k.key), proving(t, k.key)
		before := testing.AllocsPerRun(500, func() { _ = bare() })
		after := testing.AllocsPerRun(500, func() { _ = whole() })
		assert.LessOrEqual(t, after-before, 8.0, k.algorithm)
	}
}
