package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// postToken sends a token request, with a proof if there is a DPoP: once more with the nonce
// that the server demands, and once more with a fresh proof, which may need a nonce of its
// own, if the proof or, for good, the refresh token is refused. Each time the Grant is asked
// and the client authenticates anew, because a demand for a nonce spends their assertions
// too.
//
// A server that refuses a proof does not always say so. One whose jti it has seen, and one
// of a key that is not the session's, may get the same invalid_grant as a refresh token that
// has been revoked.
func (r *Refresher) postToken(ctx context.Context, target string, form url.Values, secrets []string, key *prover, again retrying) (*tokenserver.JSONAnswer, error) {
	if r.DPoP == nil {
		return r.post(ctx, r.Client, target, form, secrets)
	}
	req, err := http.NewRequest(http.MethodPost, target, nil)
	if err != nil { // which repeats the URL
		return nil, fmt.Errorf("reauth: cannot make a request to %s", redact.URL(target))
	}
	at := placeOf(req)
	nonce, skew := r.DPoP.servers.of(at)
	own := ""                        // the nonce, if it came with the answer before
	demanded, proved := false, false // what the proof is another for
	for {
		p := &proving{key: key, claims: claims{nonce: nonce, skew: skew}}
		if p.first, err = key.prove(req, p.claims); err != nil {
			return nil, err
		}
		made := time.Now().Add(skew)
		a, err := r.post(ctx, p.client(r.Client), target, form, append(slices.Clip(secrets), p.first))
		if err != nil {
			return nil, err
		}
		code := proofCode(a)
		sent := sending{nonce: func() string { return p.claims.nonce }, made: func() time.Time { return made }, own: own, last: demanded}
		given := answer{a.Status, a.Header, code}
		other := r.DPoP.servers.answered(at, sent, given)
		switch {
		case code == errorUseNonce && other && !demanded:
			demanded = true
		case !proved && (code == errorInvalidProof || code == "" && a.Refused && (again.isFinal(a) || r.DPoP.offClock(at, sent, a))):
			proved, demanded = true, false // the next proof may need another nonce, too
		default:
			return a, nil
		}
		// A client that ignores ctx may bring the answer when another refresh has begun.
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if form, secrets, err = again.form(); err != nil {
			return nil, err
		}
		nonce, own, skew = r.DPoP.servers.after(at, given)
	}
}

// retrying is what another token request depends on and is made of.
type retrying struct {
	isFinal func(*tokenserver.JSONAnswer) bool // the refresh token is refused for good
	form    func() (form url.Values, secrets []string, err error)
}

// proofCode returns the error code of an answer that is about the proof, or "".
func proofCode(a *tokenserver.JSONAnswer) string {
	if a.Refused && a.Status < 500 && !tokenserver.IsTemporary(a.Status) {
		switch code := a.Code([]string{errorUseNonce, errorInvalidProof}); code {
		case errorUseNonce, errorInvalidProof:
			return code
		}
	}
	return ""
}

// offClock reports whether a request may have been refused because the server's clock
// differs, and learns it. Keycloak says invalid_request, whatever it does not like about a
// proof.
func (d *DPoP) offClock(at place, sent sending, a *tokenserver.JSONAnswer) bool {
	return a.Status == http.StatusBadRequest && a.Code(nil) == "invalid_request" && d.servers.learnClock(at, sent.made(), a.Header, false)
}

// A proving is a base transport that adds proofs, one for each hop of a redirect, which has
// a URL of its own.
type proving struct {
	base   http.RoundTripper
	key    *prover
	first  string // the proof for the first hop; "" once it was sent
	claims claims
}

// client returns a copy of c that sends its requests through p.
func (p *proving) client(c *http.Client) *http.Client {
	var with http.Client
	if c != nil {
		with = *c
	}
	if p.base = with.Transport; p.base == nil {
		p.base = http.DefaultTransport
	}
	with.Transport = p
	return &with
}

func (p *proving) RoundTrip(req *http.Request) (*http.Response, error) {
	proof := p.first
	p.first = ""
	if proof == "" {
		var err error
		if proof, err = p.key.prove(req, p.claims); err != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, err
		}
	}
	clone := req.Clone(req.Context())
	clone.Header.Set("DPoP", proof)
	resp, err := p.base.RoundTrip(clone)
	if err == nil && resp != nil {
		resp.Request = req
	}
	return resp, err
}

// bound returns the token of an answer, with the session's own key if it has one. A token
// that is not bound to the key is an error; a new refresh token that came with it is kept.
func (r *Refresher) bound(a *tokenserver.JSONAnswer, tok, old reauth.Token, sent time.Time, renews bool, sessionKey string) (reauth.Token, error) {
	if r.DPoP == nil {
		return tok, nil
	}
	if !ascii.EqualFold(tok.TokenType, "DPoP") && !r.DPoP.isBearer(tok) {
		var salvaged reauth.Token
		if renews {
			salvaged = r.keeping(a.Salvage(tokenserver.OAuthShape, old, sent), sessionKey)
		}
		return salvaged, a.Failure("", fmt.Errorf("the access token is %s", otherType(tok)))
	}
	return r.keeping(tok, sessionKey), nil
}

// keeping returns tok with the session's own key, if it has one.
func (r *Refresher) keeping(tok reauth.Token, sessionKey string) reauth.Token {
	if sessionKey == "" || tok.AccessToken == "" && tok.RefreshToken == "" {
		return tok
	}
	return withKey(tok, sessionKey)
}

// proverFor returns what signs the proofs of the session that old is of, and the session's
// own key if it has one. Without a DPoP it returns nothing.
func (r *Refresher) proverFor(old reauth.Token) (key *prover, sessionKey string, err error) {
	if r.DPoP == nil {
		return nil, "", nil
	}
	if sessionKey, err = r.DPoP.sessionKey(old); err != nil {
		return nil, "", err
	}
	key, err = r.DPoP.keyOf(withKey(reauth.Token{}, sessionKey))
	return key, sessionKey, err
}
