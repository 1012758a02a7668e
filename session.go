package reauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
)

// A Session is a [Transport] bound to one session:
//
//	client := &http.Client{Transport: tr.Session("ann")}
//
// Make one with [Transport.Session]; the zero value does not work. It takes little memory,
// and can be kept or made anew for each use. It is safe for concurrent use.
type Session struct {
	t    *Transport
	name string
}

// Name returns the session's name.
func (s *Session) Name() string { return s.name }

// RoundTrip is [Transport.RoundTrip] for this session.
func (s *Session) RoundTrip(req *http.Request) (*http.Response, error) {
	return s.t.roundTrip(req, scopeOf(req.Context()), s.name)
}

// Wrap is [Transport.Wrap] for this session.
func (s *Session) Wrap(base http.RoundTripper) http.RoundTripper {
	return s.t.over(base).Session(s.name)
}

// WrappedRoundTripper is [Transport.WrappedRoundTripper].
func (s *Session) WrappedRoundTripper() http.RoundTripper { return s.t.base }

// CloseIdleConnections is [Transport.CloseIdleConnections].
func (s *Session) CloseIdleConnections() { s.t.CloseIdleConnections() }

// Format writes the session's name.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "*reauth.Session %q", s.name) }

// enter returns what is known of the session, until leave, and a context that names it.
// method, if not empty, waits for a refresh, so the session's own refresher must not call
// it.
func (s *Session) enter(ctx context.Context, method string) (context.Context, *cachedSession, error) {
	if err := s.t.checkSession(s.name); err != nil {
		return ctx, nil, err
	}
	if method != "" {
		if r := scopeOf(ctx).refreshing(s.t.sessions, &s.name); r != nil {
			return ctx, nil, r.deadlock(method)
		}
	}
	return naming(ctx, s.name), s.t.sessions.enter(s.name), nil
}

// SignIn makes tok the session's token: the caller has signed the user in and hands over
// what it got. The token is stored before any request carries it. From then on requests
// go out with it, also those that were waiting to be sent. The result of a refresh in
// progress is dropped, unless it is tok that is being refreshed. Requests that were refused
// under the token before are not replayed with this one. SignIn waits for the store's
// answer even after ctx is done.
//
// SignIn replaces whatever is stored, also a newer token of another process. A program
// that signs in from a saved token when it starts should ask SignedIn first.
//
// An error means that nothing has changed: tok can't be used, the store failed, or ctx
// was done. There is one exception: if the store gave no answer within
// [Config.RefreshTimeout], the sign-in may still take effect later.
func (s *Session) SignIn(ctx context.Context, tok Token) error {
	var faults []error
	if tok.isZero() {
		faults = append(faults, errors.New("reauth: SignIn: Token has neither an AccessToken nor a RefreshToken"))
	}
	if !ascii.IsFieldValue(tok.AccessToken) {
		faults = append(faults, errors.New("reauth: SignIn: Token.AccessToken has characters that no header can carry"))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	ctx, c, err := s.enter(ctx, "")
	if err != nil {
		return err
	}
	defer c.leave()
	return c.methodError(ctx, "SignIn", c.signIn(ctx, tok), tok)
}

// SignOut ends the session. It deletes the token from the store and then, if the
// Refresher is a [Revoker], revokes it at the token server. The result of a refresh
// in progress is dropped.
//
// Whatever the error, the session is signed out in this process from the moment of the
// call, until a SignIn or until the store holds another token than the one given up.
// Other processes that share the store notice at their next refresh, or when the store
// tells them, see [Transport.Forget].
//
// If the store can't be locked, for another reason than that somebody holds the lock, the
// token is deleted all the same. But a process that refreshes at this moment may store it
// again, so SignOut returns the error. What can't be revoked is kept in memory, for an hour
// and of at most 1,024 sessions. After any error, call SignOut again.
func (s *Session) SignOut(ctx context.Context) error {
	ctx, c, err := s.enter(ctx, "")
	if err != nil {
		return err
	}
	defer c.leave()
	return c.methodError(ctx, "SignOut", c.signOut(ctx), Token{})
}

// SignedIn reports whether the session has a token, in memory or in the store. It does not
// ask the Refresher, so the next request may still find that the session has ended at the
// token server. An error means that the store could not be asked.
func (s *Session) SignedIn(ctx context.Context) (bool, error) {
	ctx, c, err := s.enter(ctx, "")
	if err != nil {
		return false, err
	}
	defer c.leave()
	ok, err := c.signedIn(ctx)
	return ok, c.methodError(ctx, "SignedIn", err, Token{})
}

// Token returns a usable token of the session, refreshed if need be, with Expiry filled in
// if it is known: for gRPC, WebSocket, and whatever else is not an http.Client. Its errors
// are *[RefreshError], the cause of ctx, and the error of [Config.RequireSession]. It also
// returns an error if it is called by the session's own Refresher, for which it would wait.
func (s *Session) Token(ctx context.Context) (Token, error) {
	ctx, c, err := s.enter(ctx, "Token")
	if err != nil {
		return Token{}, err
	}
	defer c.leave()
	return c.token(ctx)
}

// Refresh returns a usable token of the session after refused was refused by whatever it
// was shown to. The access token tells which one that is. Callers that report the same
// token share one refresh, and a token that has been replaced already starts none. The
// zero Token is not a refusal: Refresh is then the same as Token.
//
// Errors are those of Token. One that matches [ErrRefusalKept] says that the refusal stands,
// for example because a refresh brought refused less than [Config.RefreshPause] ago: then it
// is likely to be about permission.
func (s *Session) Refresh(ctx context.Context, refused Token) (Token, error) {
	ctx, c, err := s.enter(ctx, "Refresh")
	if err != nil {
		return Token{}, err
	}
	defer c.leave()
	cur := c.current.Load()
	if cur == nil {
		if cur, err = c.obtain(ctx, false); err != nil {
			return Token{}, err
		}
	}
	if refused.AccessToken == "" || refused.AccessToken != cur.tok.AccessToken {
		return c.token(ctx)
	}
	next, f := c.refused(ctx, attempt{gen: cur})
	for f != nil {
		r, found, err := c.replace(ctx, f, cur)
		switch {
		case !found:
			next, f = c.refused(ctx, attempt{gen: cur})
			continue
		case r.own != nil:
			return Token{}, &RefreshError{Session: s.name, Err: r.own}
		case err == nil:
			return r.gen.tok.clone(), nil
		case r.void:
			return Token{}, err
		}
		if again, err := c.signInAgain(ctx, err); !again {
			return Token{}, err
		}
		return c.token(ctx)
	}
	switch {
	case next.err != nil:
		return Token{}, next.err
	case next.own != nil:
		return Token{}, &RefreshError{Session: s.name, RetryAfter: next.held, Err: next.own}
	case next.use != nil:
		return next.use.tok.clone(), nil
	}
	return c.token(ctx)
}

// Update runs fn as the session's refresh: alone, across goroutines and, with a store
// that locks, processes. fn receives the stored token, zero if there is none. What it
// returns is stored unchanged and then used. Requests that need a refresh meanwhile wait
// for it. Use it for a token with other rights, for a second audience, or to bring in a first
// token that several processes have. After a SignOut in this process it is an error: then
// call SignIn.
//
// An error of fn reaches the caller of Update alone, and changes nothing, except that a new
// RefreshToken which fn returns with it is stored, as that of a [Refresher] is. If a sign-in
// or sign-out comes meanwhile, the result is dropped, and after a sign-out it is revoked. fn
// must not call Token, Refresh, Update or Wait for this session with the context that it
// receives. That ends after [Config.RefreshTimeout], and not with ctx.
func (s *Session) Update(ctx context.Context, fn func(context.Context, Token) (Token, error)) (Token, error) {
	if fn == nil {
		return Token{}, errors.New("reauth: Update: fn is nil")
	}
	ctx, c, err := s.enter(ctx, "Update")
	if err != nil {
		return Token{}, err
	}
	defer c.leave()
	tok, err := c.runUpdate(ctx, fn)
	return tok, c.methodError(ctx, "Update", err, Token{})
}

// runUpdate starts the flight that calls fn, once no other is up.
func (s *cachedSession) runUpdate(ctx context.Context, fn updateFunc) (Token, error) {
	for {
		var f *flight
		mine := false
		s.change(func(st *state, _ time.Duration) {
			if f = st.flight; f == nil {
				f, mine = s.depart(ctx, st, startRefreshing, nil, fn), true
			}
		})
		got, ok := f.wait(ctx)
		switch {
		case !ok:
			return Token{}, context.Cause(ctx)
		case !mine && f.isAbandoned() && !f.isVoid():
			return Token{}, got.err // the code that it called has not returned
		case !mine, got.again && got.fault == nil: // another token was found in the store first
		case got.gen != nil:
			return got.gen.tok.clone(), nil
		case got.void:
			return Token{}, &RefreshError{Session: s.name, Err: errMeanwhile}
		case got.fault != nil:
			return Token{}, got.fault
		default:
			return Token{}, got.err
		}
	}
}

// token returns a usable token.
func (s *cachedSession) token(ctx context.Context) (Token, error) {
	g := s.fresh()
	if g == nil {
		var err error
		if g, err = s.obtain(ctx, false); err != nil {
			return Token{}, err
		}
	}
	return g.tok.clone(), nil
}

// signedIn reports whether there is a token. It asks the store if that isn't known here.
func (s *cachedSession) signedIn(ctx context.Context) (bool, error) {
	m := s.owner
	var known, ask bool
	var gone *signedOut
	s.inspect(func(st *state) {
		known, gone = st.current != nil, st.signedOut
		ask = !known && (gone == nil || st.isBack || m.now() >= gone.nextLook)
	})
	if !ask {
		return known, nil
	}
	got, err := callBounded(m.inherit(ctx, s.name), m, loads, errStoreBusy, func(ctx context.Context) (found, error) {
		return m.load(ctx, s.name)
	})
	switch {
	case err != nil:
		if gone != nil {
			s.lookLater(gone)
		}
		return false, wrap(loads, err)
	case gone != nil && s.holds(gone, got.tok, got.ok):
		s.lookLater(gone)
		return false, nil
	}
	return got.ok, nil
}

// methodError is what a public method returns for err. Only the end of its caller's own
// context shows as a context error.
func (s *cachedSession) methodError(ctx context.Context, method string, err error, tok Token) error {
	if err == nil {
		return nil
	}
	secrets := tok.secrets()
	if g := s.current.Load(); g != nil {
		secrets = append(secrets, g.tok.secrets()...)
	}
	if ctx.Err() == nil || redact.Text(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	what := "reauth: " + method
	if s.name != "" {
		what += fmt.Sprintf(": session %q", s.name)
	}
	return wrap(what, err)
}
