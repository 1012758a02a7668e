package reauth

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"reflect"
)

// A scope is all that a context says to this package. It stands behind one key, so that
// a request costs one look-up.
type scope struct {
	session     string
	withoutAuth bool
	refresh     *refreshScope
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

// deadlock is the error of a method that the refresher r calls, which would wait for r.
func (r *refreshScope) deadlock(method string) error {
	return fmt.Errorf("reauth: %s was called by the refresher of session %q, for which it would wait", method, r.session)
}

// within marks ctx as that of the session's refresher.
func (m *sessions) within(ctx context.Context, session string) context.Context {
	return scope{session: session, refresh: &refreshScope{m, session, scopeOf(ctx).refresh}}.in(ctx)
}

// WithSession returns a context that picks the session: requests sent with it carry that
// session's token, and the methods of a [Transport] act on it. Without it the session is
// "". See also [Transport.Session].
func WithSession(ctx context.Context, session string) context.Context {
	s := scopeOf(ctx)
	s.session = session
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
