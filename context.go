package reauth

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"reflect"

	"github.com/reauth-go/reauth/internal/challenge"
)

// A scope is all that a context says to this package. It stands behind one key, so that
// a request costs one look-up.
type scope struct {
	session     string
	inherited   bool // session is that of a refresh, so it means nothing to another Transport
	withoutAuth bool
	refresh     *refreshScope
	refusal     *Refusal
	refused     *sessions // those of the Transport that the refusal is about
}

// A refreshScope is a refresh in progress that a context was made for.
type refreshScope struct {
	sessions *sessions
	session  string
	outer    *refreshScope // the refresh that this one was started from, if any
}

type scopeKey struct{}

func scopeOf(ctx context.Context) scope {
	if s, ok := ctx.Value(scopeKey{}).(*scope); ok {
		return *s
	}
	return scope{}
}

func (s scope) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, scopeKey{}, &s)
}

// isRefreshing reports whether the context was given to a refresher of m.
func (s scope) isRefreshing(m *sessions) bool { return s.refresh != nil && s.refreshing(m, nil) != nil }

// refreshing returns the refresh of m that the context was made for, if any: of the named
// session or, if name is nil, of any.
func (s scope) refreshing(m *sessions, name *string) *refreshScope {
	for r := s.refresh; r != nil; r = r.outer {
		if r.sessions == m && (name == nil || r.session == *name) {
			return r
		}
	}
	return nil
}

// deadlock is the error of a method that is called by what it would wait for.
func (r *refreshScope) deadlock(method string) error {
	return fmt.Errorf("reauth: %s was called by the Refresher, Config.SignIn or function of an Update of session %q, for which it would wait", method, r.session)
}

// pick returns the session that the context picks for m. The session of a refresh is none
// that the refresher's own client, with another Transport, would know.
func (s scope) pick(m *sessions) string {
	if s.inherited {
		if r := s.refreshing(m, nil); r != nil {
			return r.session
		}
		return ""
	}
	return s.session
}

// within marks ctx as that of the session's refresher.
func (m *sessions) within(ctx context.Context, session string) context.Context {
	sc := scopeOf(ctx)
	return scope{
		session: session, inherited: true, refusal: sc.refusal, refused: sc.refused,
		refresh: &refreshScope{m, session, sc.refresh},
	}.in(ctx)
}

// forFlight returns the context of a flight of the session, which does not work for one
// caller alone.
func (m *sessions) forFlight(ctx context.Context, session string) context.Context {
	return m.inherit(detach(ctx), session)
}

// inherit returns ctx for code that works for the session, as a store does. What its caller
// has picked means nothing to a Transport that this code uses.
func (m *sessions) inherit(ctx context.Context, session string) context.Context {
	sc := scopeOf(ctx)
	if sc.refused != m { // it is why the refresher runs whose client uses this Transport
		sc.refusal = nil
	} else if sc.session == session && sc.inherited && !sc.withoutAuth {
		return ctx
	}
	return scope{session: session, inherited: true, refresh: sc.refresh, refusal: sc.refusal, refused: m}.in(ctx)
}

// A Refusal is the response by which an API refused a token.
type Refusal struct {
	StatusCode int
	Header     http.Header // a copy
	URL        string      // of the request, without user info, query and fragment
}

// RefusalFromContext returns the refusal that caused a refresh or a sign-in, in the
// context of a [Refresher] or of [Config.SignIn]. If there were several it is the first.
// There is none if the token had expired, or is refreshed early.
//
// A refusal can say what the next token must have: the claims parameter of a challenge, as
// Microsoft Entra's continuous access evaluation sends it. A refusal with claims that the
// Refresher was not told of causes another refresh.
func RefusalFromContext(ctx context.Context) (Refusal, bool) {
	if r := scopeOf(ctx).refusal; r != nil {
		return *r, true
	}
	return Refusal{}, false
}

// withRefusal returns a context for the flight that a refused request starts.
func (m *sessions) withRefusal(ctx context.Context, resp *http.Response) context.Context {
	sc := scopeOf(ctx)
	sc.refused = m
	sc.refusal = &Refusal{StatusCode: resp.StatusCode, Header: resp.Header.Clone()}
	if u := resp.Request.URL; u != nil {
		sc.refusal.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
	}
	return sc.in(ctx)
}

// claimsOf returns the claims that the challenges of a response ask for, or "".
func claimsOf(h http.Header) string {
	for _, c := range challenge.Parse(h) {
		if claims := c.Params["claims"]; claims != "" {
			return claims
		}
	}
	return ""
}

// WithSession returns a context that picks the session: requests sent with it carry that
// session's token, and the methods of a [Transport] act on it. Without it the session is
// "". See also [Transport.Session].
func WithSession(ctx context.Context, session string) context.Context {
	s := scopeOf(ctx)
	s.session, s.inherited = session, false
	return s.in(ctx)
}

// naming returns ctx if it picks the session, and otherwise a context that does: a
// [Session] may differ from what its caller's context picks.
func naming(ctx context.Context, session string) context.Context {
	if SessionFromContext(ctx) == session {
		return ctx
	}
	return WithSession(ctx, session)
}

// SessionFromContext returns the session that [WithSession] picked, or "". In the context
// that a [Refresher] receives it is the session being refreshed.
func SessionFromContext(ctx context.Context) string { return scopeOf(ctx).session }

// WithoutAuth returns a context whose requests a [Transport] sends unchanged: without a
// token, without a refresh if they are refused, and without a replay. Use it for requests
// that come before a sign-in.
func WithoutAuth(ctx context.Context) context.Context {
	s := scopeOf(ctx)
	s.withoutAuth = true
	return s.in(ctx)
}

// detach returns a context with the values of ctx, but neither its cancellation nor its
// client trace, because a flight does not work for one caller alone.
func detach(ctx context.Context) context.Context {
	return untraced{context.WithoutCancel(ctx)}
}

// untraced hides the client trace, which package httptrace has no way to remove.
type untraced struct{ context.Context }

func (u untraced) Value(key any) any {
	v := u.Context.Value(key)
	if v == nil {
		return nil
	}
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	// WithClientTrace leaves a second value for package net, of a type that
	// cannot be named here.
	if reflect.TypeOf(v).String() == "*nettrace.Trace" {
		return nil
	}
	return v
}
