package oauth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A proof is a DPoP proof as a server reads it.
type proof struct {
	HTM   string `json:"htm"`
	HTU   string `json:"htu"`
	JTI   string `json:"jti"`
	IAT   int64  `json:"iat"`
	ATH   string `json:"ath"`
	Nonce string `json:"nonce"`

	header string // as it is in the JWT
	jkt    string // the thumbprint of its key
}

// readProof verifies a proof as RFC 9449 section 4.3 says, but for what depends on the
// request.
func readProof(h http.Header) (p proof, err error) {
	values := h["Dpop"]
	if len(values) != 1 {
		return proof{}, fmt.Errorf("%d DPoP headers", len(values))
	}
	token, err := jwt.Parse(values[0], func(token *jwt.Token) (any, error) {
		if token.Header["typ"] != "dpop+jwt" || len(token.Header) != 3 {
			return nil, fmt.Errorf("the header is %v", token.Header)
		}
		jwk, _ := token.Header["jwk"].(map[string]any)
		x, errX := base64.RawURLEncoding.DecodeString(fmt.Sprint(jwk["x"]))
		if errX != nil || len(x) != 32 {
			return nil, fmt.Errorf("x has %d bytes", len(x))
		}
		canonical, key := "", any(nil)
		switch {
		case jwk["kty"] == "EC" && len(jwk) == 4:
			y, errY := base64.RawURLEncoding.DecodeString(fmt.Sprint(jwk["y"]))
			if errY != nil || len(y) != 32 {
				return nil, fmt.Errorf("y has %d bytes", len(y))
			}
			canonical = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, jwk["crv"], jwk["x"], jwk["y"])
			point, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
			if err != nil {
				return nil, err
			}
			key = point
		case jwk["kty"] == "OKP" && len(jwk) == 3:
			canonical = fmt.Sprintf(`{"crv":%q,"kty":"OKP","x":%q}`, jwk["crv"], jwk["x"])
			key = ed25519.PublicKey(x)
		}
		p.jkt = sha(canonical)
		return key, nil
	}, jwt.WithValidMethods([]string{"ES256", "EdDSA"}))
	if err != nil {
		return proof{}, err
	}
	parts := strings.Split(token.Raw, ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	p.header = string(header)
	return p, json.Unmarshal(payload, &p)
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A proofServer is an API or a token server that demands proofs. It compares htu as text.
type proofServer struct {
	nonces  string        // "": none are demanded; "one-time", or the nonce that is good
	gives   func() string // the nonce of a 2xx; nil: none
	ahead   time.Duration // of its clock
	jkt     string        // that proofs must be of; "": any
	decide  func(*http.Request, proof) *http.Response
	latency time.Duration

	mu     sync.Mutex
	seen   []proof
	jtis   map[string]bool
	issued map[string]bool
	made   int
}

func (s *proofServer) nonce() string {
	if s.nonces != "one-time" {
		return s.nonces
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	nonce := fmt.Sprintf("nonce-%d", s.made)
	if s.issued == nil {
		s.issued = map[string]bool{}
	}
	s.issued[nonce] = true
	return nonce
}

// proofs returns the proofs that the server has received.
func (s *proofServer) proofs() []proof {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// fault returns what is wrong with the proof of a request.
func (s *proofServer) fault(req *http.Request) (proof, string) {
	p, err := readProof(req.Header)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, p)
	if s.jtis == nil {
		s.jtis = map[string]bool{}
	}
	used := s.jtis[p.JTI]
	s.jtis[p.JTI] = true
	ath := ""
	if _, token, ok := strings.Cut(req.Header.Get("Authorization"), "DPoP "); ok {
		ath = sha(token)
	}
	now := time.Now().Add(s.ahead)
	bare, _, _ := strings.Cut(req.URL.String(), "?")
	iat := time.Unix(p.IAT, 0)
	switch {
	case err != nil, p.JTI == "", used, p.HTM != req.Method, p.HTU != bare, p.ATH != ath, s.jkt != "" && p.jkt != s.jkt:
		return p, "invalid_dpop_proof"
	case s.nonces == "one-time" && !s.issued[p.Nonce]:
		return p, "use_dpop_nonce"
	case s.nonces == "one-time":
		delete(s.issued, p.Nonce)
	case s.nonces != p.Nonce && s.nonces != "":
		return p, "use_dpop_nonce"
	case s.nonces != p.Nonce, s.nonces == "" && now.Sub(iat).Abs() > time.Minute:
		return p, "invalid_dpop_proof"
	}
	return p, ""
}

// RoundTrip answers as an API.
func (s *proofServer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	p, fault := s.fault(req)
	if err := testworld.Pass(req.Context(), s.latency); err != nil {
		return nil, err
	}
	var resp *http.Response
	switch {
	case fault != "":
		resp = testworld.Respond(req, http.StatusUnauthorized, "")
		resp.Header.Set("WWW-Authenticate", fmt.Sprintf("DPoP algs=\"ES256 EdDSA\", error=%q", fault))
		if fault == "use_dpop_nonce" {
			resp.Header.Set("DPoP-Nonce", s.nonce())
		}
	case s.decide != nil:
		resp = s.decide(req, p)
	}
	if resp == nil {
		resp = testworld.Respond(req, http.StatusOK, "ok")
	}
	if resp.Header.Get("DPoP-Nonce") == "" && fault == "" {
		if s.nonces == "one-time" {
			resp.Header.Set("DPoP-Nonce", s.nonce())
		} else if s.gives != nil {
			resp.Header.Set("DPoP-Nonce", s.gives())
		}
	}
	resp.Header.Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	return resp, nil
}

// dpopToken is a token that is bound to a key.
var dpopToken = reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "DPoP"}

// signedInWith returns a Transport over an API with a session that d is the credential of.
func signedInWith(t *testing.T, api http.RoundTripper, d *oauth.DPoP, r reauth.Refresher) *reauth.Transport {
	t.Helper()
	if r == nil {
		r = &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: testworld.Answering(500, "").Client()}
	}
	tr, err := reauth.New(reauth.Config{Refresher: r, Credential: d, Base: api, Origins: []string{reauth.AnyOrigin}})
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), dpopToken))
	return tr
}

// statusOf sends a request and returns the status.
func statusOf(t *testing.T, rt http.RoundTripper, req *http.Request) int {
	t.Helper()
	resp, err := rt.RoundTrip(req)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

func get(t *testing.T, url string) *http.Request {
	return testworld.Request(t, http.MethodGet, url, nil)
}
