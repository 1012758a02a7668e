package reauth

import (
	"context"
	"net/http/httptrace"
	"reflect"
)

// A scope is all that a context says to this package: it stands behind one key,
// so that a request costs one look-up.
type scope struct {
	session     string
	withoutAuth bool
	within      *renewal
}

// A renewal is a refresh in progress that a context was made for.
type renewal struct {
	transport *Transport
	session   string
	outer     *renewal // the refresh that this one was started from, if any
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

// refreshing reports whether the context was given to a refresher of t.
func (s *scope) refreshing(t *Transport) bool {
	for r := s.within; r != nil; r = r.outer {
		if r.transport == t {
			return true
		}
	}
	return false
}

// WithSession returns a context that picks the session: requests sent with it
// carry that session's token, and the methods of a [Transport] act on it.
// Without it the session is "".
func WithSession(ctx context.Context, session string) context.Context {
	s := scopeOf(ctx)
	s.session = session
	return s.in(ctx)
}

// SessionFromContext returns the session that [WithSession] picked, or "". In
// the context that a [Refresher] is given it is the session being refreshed.
func SessionFromContext(ctx context.Context) string { return scopeOf(ctx).session }

// WithoutAuth returns a context whose requests a [Transport] sends as they are:
// no token is put on them, their answer starts no refresh, and they are not
// replayed. Use it for what comes before a sign-in.
func WithoutAuth(ctx context.Context) context.Context {
	s := scopeOf(ctx)
	s.withoutAuth = true
	return s.in(ctx)
}

// detach returns a context with the values of ctx, but neither its end nor its
// client trace: what a flight does was not asked for by one caller alone.
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
