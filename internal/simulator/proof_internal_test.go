package simulator

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

func TestAProofThatWasChangedIsNotRead(t *testing.T) {
	w := &world{}
	d := newChance(1).of("test", "key")
	for _, key := range []*oauth.DPoP{{Key: newKey(d)}, {Key: newEllipticKey(d)}} {
		req, err := http.NewRequest(http.MethodPost, apiOrigin+pathGood+"?a=b", nil)
		require.NoError(t, err)
		require.NoError(t, key.Apply(req, reauth.Token{AccessToken: "a"}))
		pr, err := w.readProof(req.Header)
		require.NoError(t, err)
		thumbprint, err := oauth.Thumbprint(key.Key.Public())
		require.NoError(t, err)
		want := proof{HTM: http.MethodPost, HTU: apiOrigin + pathGood, JTI: pr.JTI, IAT: pr.IAT, ATH: sha("a"), jkt: thumbprint}
		assert.Equal(t, want, *pr)

		parts := strings.Split(req.Header.Get("DPoP"), ".")
		other := encoding.EncodeToString([]byte(`{"jti":"other"}`))
		typ := encoding.EncodeToString([]byte(`{"typ":"JWT","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}}`))
		private := encoding.EncodeToString([]byte(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","d":"AA","x":"` + strings.Repeat("A", 43) + `"}}`))
		whole := req.Header.Get("DPoP")
		for _, values := range [][]string{
			nil, {whole, whole}, {parts[0] + "." + other + "." + parts[2]}, {parts[0] + "." + parts[1] + "."},
			{typ + "." + parts[1] + "." + parts[2]}, {private + "." + parts[1] + "." + parts[2]}, {parts[1] + "." + parts[2]},
		} {
			_, err := w.readProof(http.Header{"Dpop": values})
			assert.Error(t, err, "%v", values)
		}
	}
}

func TestNoncesEndAsTheirServerSays(t *testing.T) {
	w := &world{began: time.Now(), plan: &plan{}}
	p := &process{}
	with := func(n *nonce) *proof { return &proof{Nonce: n.text, nonce: n, IAT: time.Now().Unix()} }
	for mode, tc := range map[nonceMode]struct {
		none, first, again string // what is said of a proof without one, of one with one, and of the next with it
	}{
		nonceNone:     {"", invalidProof, invalidProof},
		nonceOptional: {"", "", ""},
		nonceRotating: {useNonce, "", ""},
		nonceOnce:     {useNonce, "", useNonce},
	} {
		g := newGate(w, "api", noncePlan{mode: mode, period: time.Hour})
		assert.Equal(t, tc.none, g.check(with(g.nonces[""])), mode)
		n := g.fresh()
		assert.Equal(t, tc.first, g.check(with(n)), mode)
		assert.Equal(t, tc.again, g.check(with(n)), mode)
		changed := time.Now()
		g.changeMind(nonceRotating)
		assert.Equal(t, useNonce, g.check(with(n)), mode)
		_, ok := n.excuse(p, changed)
		assert.Equal(t, mode != nonceOnce, ok, mode) // that one had ended before
		_, ok = n.excuse(p, time.Now())
		assert.False(t, ok, mode)
	}
}
