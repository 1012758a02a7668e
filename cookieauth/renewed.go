package cookieauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// Renewed returns an [http.RoundTripper] that is the session s, whose Transport has c, and
// that also renews it with what the API's own answers set:
//
//	client := &http.Client{Transport: cookies.Renewed(tr.Session("ann"))}
//
// It is for servers that give a session a new cookie as they go, such as Laravel, or
// flask-jwt-extended with implicit refreshes. If an answer with a status below 400 sets
// one of the session's cookies to another value, or to expire much later, the new cookies
// are stored before the answer is returned, by [reauth.Session.Update]. Nothing happens if
// the session has other cookies by then than the request carried, so a late answer does no
// harm. If the cookies cannot be stored, the answer is returned all the same.
func (c *Cookies) Renewed(s *reauth.Session) http.RoundTripper {
	return s.Wrap(&renewing{names: c.names(), session: s, base: s.WrappedRoundTripper()})
}

// renewing is below the Transport, so that it sees which cookies a request carries.
type renewing struct {
	names   names
	session *reauth.Session
	base    http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (r *renewing) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := r.base.RoundTrip(req)
	if err == nil && resp != nil && resp.StatusCode < 400 && len(resp.Header["Set-Cookie"]) > 0 {
		r.renew(req, resp, sent)
	}
	return resp, err
}

var errNotRenewed = errors.New("cookieauth: the session has other cookies by now")

// renew stores what resp, the answer to req, sets. Whether that succeeds is no concern of
// the request.
func (r *renewing) renew(req *http.Request, resp *http.Response, sent time.Time) {
	a := &tokenserver.Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	carried := r.names.carried(req.Header)
	if carried == "" {
		return // it went without the session
	}
	next := func(cur reauth.Token) (reauth.Token, bool) {
		tok, err := r.names.token(a, cur, sent)
		if err != nil { // the access cookie stays
			tok.AccessToken, tok.Expiry = cur.AccessToken, cur.Expiry
		}
		return tok, cur.AccessToken == carried && r.names.renews(tok, cur, sent)
	}
	ctx := req.Context()
	// This one is in memory, so that most answers cost nothing.
	if cur, err := r.session.Token(ctx); err != nil {
		return
	} else if _, ok := next(cur); !ok {
		return
	}
	_, _ = r.session.Update(ctx, func(_ context.Context, stored reauth.Token) (reauth.Token, error) {
		tok, ok := next(stored)
		if !ok {
			return reauth.Token{}, errNotRenewed
		}
		return tok, nil
	})
}

// renews reports whether tok has another cookie than old, or one that expires later by
// more than a tenth of its lifetime.
func (n names) renews(tok, old reauth.Token, sent time.Time) bool {
	if tok.AccessToken != old.AccessToken || tok.RefreshToken != old.RefreshToken ||
		tok.Extra[n.accessCSRF] != old.Extra[n.accessCSRF] || tok.Extra[n.refreshCSRF] != old.Extra[n.refreshCSRF] {
		return true
	}
	later := func(at, before time.Time) bool { return !before.IsZero() && at.Sub(before) > at.Sub(sent)/10 }
	return later(tok.Expiry, old.Expiry) || later(tok.RefreshExpiry, old.RefreshExpiry)
}

// carried returns the access cookie of a request.
func (n names) carried(h http.Header) string {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "="); name == n.access {
				return value
			}
		}
	}
	return ""
}
