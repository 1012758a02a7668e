package simulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// The rules about what a proof says (RFC 9449 section 4.3).
const (
	ruleProof        = "a proof is valid, and for the request that carries it"
	ruleProofOnce    = "a proof is sent once"
	ruleProofOfToken = "a proof is for the token beside it"
	ruleKey          = "a session's key stays the same"
	ruleKeyStored    = "a session's key is stored with its token"
)

// iatTolerance is how far a proof may be from the clock of a process or of the server. The
// latter is learned from an answer, which may have taken a while.
const iatTolerance = 30 * time.Second

// A proof is a DPoP proof as a server reads it.
type proof struct {
	HTM   string `json:"htm"`
	HTU   string `json:"htu"`
	JTI   string `json:"jti"`
	IAT   int64  `json:"iat"`
	ATH   string `json:"ath"`
	Nonce string `json:"nonce"`

	jkt   string // the thumbprint of its key
	nonce *nonce // the one that Nonce is; nil if the server has not given it
}

var encoding = base64.RawURLEncoding

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:])
}

// A verifier is a key that has been seen in the header of a proof.
type verifier struct {
	jkt    string
	public crypto.PublicKey
}

// readProof reads the proof of a request, and verifies what does not depend on the request.
func (w *world) readProof(h http.Header) (*proof, error) {
	values := h["Dpop"]
	if len(values) != 1 {
		return nil, fmt.Errorf("%d proofs", len(values))
	}
	parts := strings.Split(values[0], ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("a JWT of %d parts", len(parts))
	}
	known, ok := w.verifiers.Load(parts[0])
	if !ok {
		v, err := readProofHeader(parts[0])
		if err != nil {
			return nil, err
		}
		known, _ = w.verifiers.LoadOrStore(parts[0], v)
	}
	v := known.(*verifier)
	payload, errPayload := encoding.DecodeString(parts[1])
	signature, errSignature := encoding.DecodeString(parts[2])
	if errPayload != nil || errSignature != nil || !v.verifies(parts[0]+"."+parts[1], signature) {
		return nil, fmt.Errorf("the signature is wrong")
	}
	pr := &proof{jkt: v.jkt}
	return pr, json.Unmarshal(payload, pr)
}

func readProofHeader(text string) (*verifier, error) {
	var header struct {
		Typ, Alg string
		JWK      struct{ Crv, Kty, X, Y string }
	}
	raw, err := encoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	strict := json.NewDecoder(bytes.NewReader(raw)) // no private key
	strict.DisallowUnknownFields()
	if err := strict.Decode(&header); err != nil {
		return nil, err
	}
	jwk := header.JWK
	x, errX := encoding.DecodeString(jwk.X)
	y, errY := encoding.DecodeString(jwk.Y)
	switch {
	case header.Typ != "dpop+jwt", errX != nil, errY != nil:
	case header.Alg == "EdDSA" && jwk.Crv == "Ed25519" && jwk.Kty == "OKP" && len(x) == ed25519.PublicKeySize && len(y) == 0:
		return &verifier{sha(fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":%q}`, jwk.X)), ed25519.PublicKey(x)}, nil
	case header.Alg == "ES256" && jwk.Crv == "P-256" && jwk.Kty == "EC" && len(x) == 32 && len(y) == 32:
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		return &verifier{sha(fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, jwk.X, jwk.Y)), public}, err
	}
	return nil, fmt.Errorf("the header is %s", raw)
}

func (v *verifier) verifies(text string, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	if public, ok := v.public.(ed25519.PublicKey); ok {
		return ed25519.Verify(public, []byte(text), signature)
	}
	sum := sha256.Sum256([]byte(text))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(v.public.(*ecdsa.PublicKey), sum[:], r, s)
}

// judgeProof looks at the proof of a request to the server behind g as it leaves the
// process, and reports whether a server could read it. access is the token beside it. w.mu
// is held.
func (w *world) judgeProof(p *process, session string, g *gate, req *http.Request, pr *proof, fault error, access string) bool {
	violated := func(rule, format string, args ...any) { w.violatedLocked(rule, p, session, format, args...) }
	w.tally.counts[countProofs].Add(1)
	if fault != nil {
		violated(ruleProof, "%v", fault)
		return false
	}
	target, _, _ := strings.Cut(req.URL.String(), "?")
	ahead := time.Until(time.Unix(pr.IAT, 0))
	switch {
	case pr.HTM != req.Method, pr.HTU != target:
		violated(ruleProof, "of %s %s, for %s %s", pr.HTM, pr.HTU, req.Method, target)
	case ahead.Abs() > iatTolerance && (ahead-w.plan.skew).Abs() > iatTolerance:
		violated(ruleProof, "its time is %v ahead", ahead)
	case pr.JTI == "", w.jtis[pr.JTI]:
		violated(ruleProofOnce, "jti %q", pr.JTI)
	}
	w.jtis[pr.JTI] = true
	ath := ""
	if access != "" {
		ath = sha(access)
	}
	if pr.ATH != ath {
		violated(ruleProofOfToken, "it is for another, or none")
	}
	if pr.nonce = g.nonces[pr.Nonce]; pr.nonce == nil {
		violated(ruleOwnNonces, "%q is sent to %s", pr.Nonce, g.name)
	}
	return pr.nonce != nil
}

// judgeKey reports whether a proof is by the key that t is bound to. w.mu is held.
func (w *world) judgeKey(p *process, session string, pr *proof, t *token) bool {
	if t == nil || t.jkt == "" || t.jkt == pr.jkt {
		return true
	}
	w.violatedLocked(ruleKey, p, session, "the proof for %v is by another", t)
	return false
}

// judgeKeyStored looks at the key beside a token that is saved. w.mu is held.
func (w *world) judgeKeyStored(p *process, session string, t *token, tok reauth.Token) {
	if w.plan.dpop == nil || w.programKey != nil || t.jkt == "" {
		return
	}
	for _, text := range tok.Extra {
		der, _ := encoding.DecodeString(text)
		key, err := x509.ParsePKCS8PrivateKey(der)
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			if jkt, err := oauth.Thumbprint(signer.Public()); err == nil && jkt == t.jkt {
				return
			}
		}
	}
	w.violatedLocked(ruleKeyStored, p, session, "%v is saved without it", t)
}
