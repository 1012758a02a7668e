package reauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/reauth-go/reauth/internal/ascii"
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

var errJustRefreshed = errors.New("the refused token is itself the result of a refresh just now")

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
// Other processes that share the store notice at their next refresh, not before.
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
// Errors are those of Token. A token that a refresh brought less than
// [Config.RefreshPause] ago is not refreshed again: that is a *[RefreshError] with
// RetryAfter set.
func (s *Session) Refresh(ctx context.Context, refused Token) (Token, error) {
	ctx, c, err := s.enter(ctx, "Refresh")
	if err != nil {
		return Token{}, err
	}
	defer c.leave()
	cur := c.current.Load()
	if cur == nil {
		if cur, err = c.usable(ctx, false); err != nil {
			return Token{}, err
		}
	}
	if refused.AccessToken == "" || refused.AccessToken != cur.tok.AccessToken {
		return c.token(ctx)
	}
	next, f := c.refused(ctx, cur)
	switch {
	case next.err != nil:
		return Token{}, next.err
	case next.held > 0:
		return Token{}, &RefreshError{Session: s.name, RetryAfter: next.held, Err: errJustRefreshed}
	case f == nil:
		return c.token(ctx)
	}
	g, err := c.wait(ctx, f)
	if err != nil {
		return Token{}, err
	}
	return g.tok.clone(), nil
}

// token returns a usable token.
func (s *cachedSession) token(ctx context.Context) (Token, error) {
	g := s.fresh()
	if g == nil {
		var err error
		if g, err = s.usable(ctx, false); err != nil {
			return Token{}, err
		}
	}
	return g.tok.clone(), nil
}
