package oauth

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
)

// DPoP binds tokens to a key (RFC 9449): each request carries a proof, signed with it, that
// its sender has the key, so a token alone is of no use to a thief. One DPoP is set in two
// places:
//
//	dpop := &oauth.DPoP{Key: key}
//	tr, err := reauth.New(reauth.Config{
//		Refresher:  &oauth.Refresher{TokenURL: tokenURL, ClientID: id, DPoP: dpop},
//		Credential: dpop,
//		Origins:    []string{"https://api.example.com"},
//	})
//
// As Refresher.DPoP it proves possession at the token endpoint. As Config.Credential it does
// so at the APIs, which get "Authorization: DPoP TOKEN" and a proof made for that one
// attempt. With the first alone, APIs get a bound token without a proof and refuse it. Where
// a server binds refresh tokens alone, set only Refresher.DPoP, with AllowBearer.
//
// A sign-in is bound if its token request has a proof too: exchange the authorization code
// with a copy of the Refresher that has a [Grant] for it, as the example does.
//
// Nonces that servers demand are learned from their responses, for each origin (sections 8
// and 9). A request that is refused for want of one is sent once more with the nonce of that
// very response. The clock of a server that refuses a proof is believed if it differs from
// the local one.
//
// A proof is for one attempt. A library that sends a request again by itself must do so
// above the [reauth.Transport]. Below it, in Config.Base, it would send the same proof twice.
//
// Its methods may be called concurrently; its fields must not be changed after the first
// call. It must not be copied. Printing it shows no key.
type DPoP struct {
	// Key signs the proofs of all sessions: an *ecdsa.PrivateKey on the curve P-256
	// (ES256), an ed25519.PrivateKey (EdDSA), or a Signer of such a kind that keeps the
	// key in hardware. It is called concurrently. The refresh tokens of public clients are
	// bound to it, so it must be the same after a restart, and in all processes that share
	// a store.
	//
	// Nil means that each session has a key of its own, which is kept with its token; see
	// [BindKey]. A session without one gets a P-256 key when it is first refreshed.
	Key crypto.Signer `json:"-"` // a log in JSON would show it

	// AllowBearer accepts access tokens of the type Bearer, which are sent without a proof:
	// for servers that bind refresh tokens alone (section 5), and while sessions from
	// before are still in use. Otherwise such a token is an error, because the server would
	// have given up the binding without a word.
	AllowBearer bool

	program atomic.Pointer[prover] // of Key
	keys    keyCache               // of sessions
	servers servers
	hashed  atomic.Pointer[hashedToken]
}

var _ reauth.Credential = (*DPoP)(nil)

const (
	errorUseNonce     = "use_dpop_nonce"
	errorInvalidProof = "invalid_dpop_proof"
)

// Headers returns the names of the headers that Apply writes.
func (d *DPoP) Headers() []string { return []string{"Authorization", "DPoP"} }

// Apply implements [reauth.Credential]. It returns an error if the token is not of the type
// DPoP, unless AllowBearer is set. A token that names no type counts as DPoP. It returns an
// error, too, if there is no key or the key does not sign.
func (d *DPoP) Apply(req *http.Request, tok reauth.Token) error {
	if err := d.ValidateToken(tok); err != nil {
		return err
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	if d.isBearer(tok) {
		req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
		return nil
	}
	key, err := d.keyOf(tok)
	if err != nil {
		return err
	}
	at := placeOf(req)
	nonce, skew := d.servers.of(at)
	if last := req.Response; last != nil && last.StatusCode >= 400 {
		nonce, _, skew = d.servers.after(at, answer{last.StatusCode, last.Header, proofError(last)})
	}
	hashed := d.hash(tok.AccessToken)
	proof, err := key.prove(req, claims{nonce: nonce, ath: hashed.ath, skew: skew})
	if err != nil {
		return err
	}
	values := [2]string{hashed.value, proof}
	req.Header["Authorization"] = values[0:1:1]
	req.Header["Dpop"] = values[1:2:2]
	return nil
}

// Again reports whether a response refuses the proof and another proof may do: see
// [reauth.Credential]. It learns the nonce that the server gave.
func (d *DPoP) Again(resp *http.Response) bool {
	sent := resp.Request
	a := answer{status: resp.StatusCode, header: resp.Header, code: proofError(resp)}
	if a.code == "" && len(resp.Header["Dpop-Nonce"]) == 0 && sent.Response == nil {
		return false // nothing to learn
	}
	s := sending{
		nonce: func() string { return nonceOfProof(sent.Header.Get("DPoP")) },
		made:  func() time.Time { return timeOfProof(sent.Header.Get("DPoP")) },
	}
	if last := sent.Response; last != nil && last.StatusCode >= 400 {
		s.own = nonceOf(last.Header)
		s.last = proofError(last) != ""
	}
	return d.servers.answered(placeOf(sent), s, a)
}

// ValidateToken returns an error if requests can't carry tok. [reauth.Session.SignIn] calls
// it.
func (d *DPoP) ValidateToken(tok reauth.Token) error {
	if !ascii.IsFieldValue(tok.AccessToken) {
		return errors.New("oauth: DPoP: the access token has characters that no header can carry")
	}
	if tok.TokenType == "" || ascii.EqualFold(tok.TokenType, "DPoP") || d.isBearer(tok) {
		return nil
	}
	return fmt.Errorf("oauth: DPoP: the access token is %s", otherType(tok))
}

// isBearer reports whether tok is a Bearer token that may be sent as one.
func (d *DPoP) isBearer(tok reauth.Token) bool {
	return d.AllowBearer && ascii.EqualFold(tok.TokenType, "Bearer")
}

// otherType says of what type a token is that should be of the type DPoP. The type is the
// server's text, so only a well-known one is shown.
func otherType(tok reauth.Token) string {
	switch {
	case tok.TokenType == "":
		return "of no type: the server has not said whether it is bound to the key"
	case ascii.EqualFold(tok.TokenType, "Bearer"):
		return "of the type Bearer, so the server has not bound it to the key (RFC 9449 section 5); see DPoP.AllowBearer"
	}
	return "not of the type DPoP, so the server has not bound it to the key (RFC 9449 section 5)"
}

// keyOf returns what signs the proofs for tok.
func (d *DPoP) keyOf(tok reauth.Token) (*prover, error) {
	if d.Key == nil {
		encoded := tok.Extra[extraKey]
		if encoded == "" {
			return nil, errors.New("oauth: DPoP: the session has no key, and DPoP.Key is not set")
		}
		return d.keys.get(encoded)
	}
	if p := d.program.Load(); p != nil {
		return p, nil
	}
	p, err := newProver(d.Key)
	if err != nil {
		return nil, fmt.Errorf("oauth: DPoP.Key: %w", err)
	}
	d.program.Store(p)
	return p, nil
}

// Validate reports what is wrong with the settings. [reauth.New] calls it.
func (d *DPoP) Validate() error {
	if d == nil {
		return errors.New("oauth: the DPoP is a nil pointer")
	}
	f := settings.Of("oauth: DPoP")
	if d.Key != nil {
		if _, err := d.keyOf(reauth.Token{}); err != nil {
			f.Add("Key", "[redacted]", errors.Unwrap(err).Error())
		}
	}
	return f.Err()
}

// String describes the DPoP without its key.
func (d *DPoP) String() string {
	if d == nil {
		return "[no DPoP]"
	}
	return fmt.Sprintf("[oauth.DPoP, a key for %s]", map[bool]string{true: "each session", false: "the program"}[d.Key == nil])
}

// Format writes String whatever the verb, so that no verb reaches the key.
func (d *DPoP) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// LogValue returns String.
func (d *DPoP) LogValue() slog.Value { return slog.StringValue(d.String()) }

// signingError returns the error for a key that does not sign. What stands behind it may be
// a client of its own.
func signingError(err error) error {
	return fmt.Errorf("oauth: DPoP: signing the proof: %w", redact.Without(err, reauth.ErrSignInRequired, redact.ContextErrors...))
}
