package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// A tokenSource is a session for a library that wants an oauth2.TokenSource.
//
// It refreshes a token that is about to end, as everywhere one refresh for all who
// ask. But whoever takes a TokenSource has no way to tell it of a 401: a token that
// is refused before its end goes on being handed out, until somebody else sees the
// refusal or [reauth.Transport.Refresh] is told of it.
//
// And [reauth.Config.Origins] has no say over where the token goes: an
// oauth2.Transport puts it on every hop of a redirect, wherever that leads. Where a
// library takes an http.Client, give it one with the Transport instead.
type tokenSource struct {
	ctx       context.Context // what Token, which is given none, waits on; picks the session
	transport *reauth.Transport
	handedOut atomic.Pointer[reauth.Token] // the last one, to report if it is refused
}

var _ oauth2.TokenSource = (*tokenSource)(nil)

// newTokenSource returns a source that is asked each time. Do not wrap it in an
// oauth2.ReuseTokenSource, as oauth2.NewClient does without being told: that keeps
// a token of its own, and so goes on after a sign-out.
func newTokenSource(ctx context.Context, transport *reauth.Transport) *tokenSource {
	return &tokenSource{ctx: ctx, transport: transport}
}

// unknownEnd is the lifetime that a token is given if it has none. To package
// oauth2 it would be good for ever, and whoever keeps it would never ask again.
const unknownEnd = time.Minute

// Token implements [oauth2.TokenSource].
func (s *tokenSource) Token() (*oauth2.Token, error) {
	tok, err := s.transport.Token(s.ctx)
	if err != nil {
		return nil, err
	}
	s.handedOut.Store(&tok)
	expiry := tok.Expiry
	if expiry.IsZero() {
		expiry = time.Now().Add(unknownEnd)
	}
	// Not the refresh token: who spends it behind the session's back ends the
	// session.
	return &oauth2.Token{AccessToken: tok.AccessToken, TokenType: tok.Type(), Expiry: expiry}, nil
}
