package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A prover makes the proofs of one key (RFC 9449 section 4.2). A proof is the same but for a
// few claims each time, so all else is made once, and the rest is written without package
// json: next to the signature, which takes 15 to 20 us, that is nothing.
type prover struct {
	signer     crypto.Signer
	elliptic   bool   // ES256, and not EdDSA
	header     string // of the JWT, encoded, with the dot that follows
	thumbprint string
}

var encoding = base64.RawURLEncoding

// newProver returns the prover of a key. Its errors don't say whose key it is.
func newProver(signer crypto.Signer) (_ *prover, err error) {
	defer incomplete(&err)
	edwards, ok := signer.(ed25519.PrivateKey)
	if v := reflect.ValueOf(signer); v.Kind() == reflect.Pointer && v.IsNil() || ok && len(edwards) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("is an empty %T", signer)
	}
	public := signer.Public()
	jwk, algorithm, err := jwkOf(public)
	if err != nil {
		return nil, err
	}
	if private, ok := signer.(*ecdsa.PrivateKey); ok {
		_, _ = private.Bytes() // panics if that part is missing
	}
	header := `{"typ":"dpop+jwt","alg":"` + algorithm + `","jwk":` + jwk + `}`
	return &prover{
		signer:     signer,
		elliptic:   algorithm == "ES256",
		header:     encoding.EncodeToString([]byte(header)) + ".",
		thumbprint: hash(jwk),
	}, nil
}

// jwkOf returns a public key as a JWK with its required members alone, in the order of
// their names, which is what a thumbprint is taken of (RFC 7638 section 3).
func jwkOf(public crypto.PublicKey) (jwk, algorithm string, err error) {
	defer incomplete(&err)
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key == nil || *key == (ecdsa.PublicKey{Curve: key.Curve}) {
			return "", "", errors.New("is an empty ECDSA key")
		}
		if name := key.Curve.Params().Name; name != "P-256" {
			return "", "", fmt.Errorf("is on the curve %s, and must be on P-256", name)
		}
		point, err := key.Bytes() // each coordinate with 32 bytes, whatever its value
		if err != nil {
			return "", "", errors.New("is no valid key on the curve P-256")
		}
		x, y := encoding.EncodeToString(point[1:33]), encoding.EncodeToString(point[33:])
		return `{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`, "ES256", nil
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", "", errors.New("is an empty Ed25519 key")
		}
		return `{"crv":"Ed25519","kty":"OKP","x":"` + encoding.EncodeToString(key) + `"}`, "EdDSA", nil
	}
	return "", "", fmt.Errorf("has a public key that is a %T, and must be one on P-256 or an Ed25519 key", public)
}

// incomplete turns a panic into an error: with a key that lacks a part the standard library
// panics, where it is first used.
func incomplete(err *error) {
	if recover() != nil {
		*err = errors.New("is incomplete")
	}
}

// Thumbprint returns the JWK SHA-256 thumbprint of a public key for [DPoP] (RFC 7638), as
// the authorization request has it in dpop_jkt (RFC 9449 section 10).
func Thumbprint(key crypto.PublicKey) (string, error) {
	jwk, _, err := jwkOf(key)
	if err != nil {
		return "", fmt.Errorf("oauth: Thumbprint: the key %w", err)
	}
	return hash(jwk), nil
}

// hash returns the SHA-256 of a text, encoded.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:])
}

// A hashedToken is the token that was sent last, and what is made of it. Requests of one
// session carry the same token.
type hashedToken struct {
	token string
	value string // of the header Authorization
	ath   string // the claim
}

func (d *DPoP) hash(token string) *hashedToken {
	if h := d.hashed.Load(); h != nil && h.token == token {
		return h
	}
	h := &hashedToken{token: token, value: "DPoP " + token, ath: hash(token)}
	d.hashed.Store(h)
	return h
}

// claims are those that don't come from the request.
type claims struct {
	nonce string        // "": there is none
	ath   string        // "": there is no access token
	skew  time.Duration // what the server's clock is ahead
}

// nonceFirst begins the payload of every proof with a nonce.
const nonceFirst = `{"nonce":"`

// beforeTime is what stands before the time of a proof. No claim has it within it, because
// a quotation mark is escaped there.
const beforeTime = `,"iat":`

// prove returns a new proof for one attempt of req.
func (p *prover) prove(req *http.Request, c claims) (string, error) {
	payload := make([]byte, 0, 512)
	if c.nonce != "" {
		payload = append(payload, nonceFirst...)
		payload = append(payload, c.nonce...) // has no character that JSON escapes, see nonceOf
		payload = append(payload, `","jti":"`...)
	} else {
		payload = append(payload, `{"jti":"`...)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	payload = encoding.AppendEncode(payload, id[:])
	payload = append(payload, `","htm":`...)
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	payload = appendJSON(payload, method)
	payload = append(payload, `,"htu":`...)
	payload = appendTarget(payload, req)
	payload = append(payload, beforeTime...)
	payload = strconv.AppendInt(payload, time.Now().Add(c.skew).Unix(), 10)
	if c.ath != "" {
		payload = append(payload, `,"ath":"`...)
		payload = append(payload, c.ath...)
		payload = append(payload, '"')
	}
	payload = append(payload, '}')

	const signature = 64
	proof := make([]byte, 0, len(p.header)+encoding.EncodedLen(len(payload))+1+encoding.EncodedLen(signature))
	proof = append(proof, p.header...)
	proof = encoding.AppendEncode(proof, payload)
	var raw [signature]byte
	if err := p.sign(proof, &raw); err != nil {
		return "", signingError(err)
	}
	proof = append(proof, '.')
	proof = encoding.AppendEncode(proof, raw[:])
	return string(proof), nil
}

// sign writes the signature of text as a JWS has it: of ES256 that is r and s side by side
// (RFC 7518 section 3.4).
func (p *prover) sign(text []byte, to *[64]byte) error {
	if !p.elliptic {
		signature, err := p.signer.Sign(rand.Reader, text, crypto.Hash(0))
		if err != nil {
			return err
		}
		if copy(to[:], signature) != len(to) || len(signature) != len(to) {
			return errors.New("the signer returned no Ed25519 signature")
		}
		return nil
	}
	sum := sha256.Sum256(text)
	signature, err := p.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return err
	}
	if !cutASN1(signature, to) {
		return errors.New("the signer returned no ECDSA signature of the curve P-256")
	}
	return nil
}

// cutASN1 takes r and s out of the DER of an ECDSA signature on P-256, which is so short
// that each length is one byte.
func cutASN1(der []byte, to *[64]byte) bool {
	if len(der) < 2 || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return false
	}
	der = der[2:]
	for _, half := range [][]byte{to[:32], to[32:]} {
		if len(der) < 2 || der[0] != 0x02 || der[1] == 0 || int(der[1]) > len(der)-2 || der[2]&0x80 != 0 {
			return false
		}
		number := der[2 : 2+der[1]]
		der = der[2+der[1]:]
		if number[0] == 0 { // so that it is not negative
			number = number[1:]
		}
		if len(number) > len(half) {
			return false
		}
		copy(half[len(half)-len(number):], number)
	}
	return len(der) == 0
}

// appendTarget appends the claim htu: the URL as it is sent, without query and fragment.
// Servers compare it as text, so nothing else is changed.
func appendTarget(to []byte, req *http.Request) []byte {
	uri, _, _ := strings.Cut(req.URL.EscapedPath(), "?")
	if req.URL.Opaque != "" { // net/http then sends that
		uri, _, _ = strings.Cut(req.URL.RequestURI(), "?")
		uri, _, _ = strings.Cut(uri, "#")
		if !strings.HasPrefix(uri, "/") {
			return appendJSON(to, uri)
		}
	}
	if uri == "" {
		uri = "/"
	}
	at := placeOf(req)
	start := len(to)
	to = append(to, '"')
	to = append(to, at.scheme...)
	to = append(to, "://"...)
	to = append(to, withoutZone(at.host)...)
	to = append(to, uri...)
	if !isPlain(to[start+1:]) {
		return appendJSON(to[:start:start], string(to[start+1:]))
	}
	return append(to, '"')
}

// withoutZone removes the zone of an IPv6 address, which net/http does not send either.
func withoutZone(host string) string {
	percent := strings.IndexByte(host, '%')
	end := strings.IndexByte(host, ']')
	if percent < 0 || end < percent || host[0] != '[' {
		return host
	}
	return host[:percent] + host[end:]
}

// appendJSON appends a string as JSON.
func appendJSON(to []byte, s string) []byte {
	if !isPlain([]byte(s)) {
		inJSON, _ := json.Marshal(s) // a string can always be written
		return append(to, inJSON...)
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}

// isPlain reports whether a string is the same in JSON.
func isPlain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c > '~' {
			return false
		}
	}
	return true
}

// nonceOfProof returns the nonce in a proof that prove has made.
func nonceOfProof(proof string) string {
	after, ok := strings.CutPrefix(payloadOfProof(proof), nonceFirst)
	if !ok {
		return ""
	}
	nonce, _, _ := strings.Cut(after, `"`)
	return nonce
}

// timeOfProof returns the time in a proof that prove has made.
func timeOfProof(proof string) time.Time {
	_, after, _ := strings.Cut(payloadOfProof(proof), beforeTime)
	digits, _, _ := strings.Cut(strings.TrimSuffix(after, "}"), ",")
	seconds, _ := strconv.ParseInt(digits, 10, 64)
	return time.Unix(seconds, 0)
}

func payloadOfProof(proof string) string {
	_, rest, _ := strings.Cut(proof, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, _ := encoding.DecodeString(payload)
	return string(text)
}
