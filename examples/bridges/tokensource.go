package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// A tokenSource is a session for a library that needs an oauth2.TokenSource.
//
// It refreshes a token that is about to expire, once for all callers. But users of a
// TokenSource cannot report a 401 to it. A token that is refused before it expires is
// returned again, until another request notices the refusal or
// [reauth.Transport.Refresh] is called.
//
// [reauth.Config.Origins] does not apply either. An oauth2.Transport puts the token on
// every hop of a redirect, wherever that leads. If a library accepts an http.Client, give
// it one with the Transport instead.
type tokenSource struct {
	ctx       context.Context // for Token, which gets no context; picks the session
	transport *reauth.Transport
	handedOut atomic.Pointer[reauth.Token] // the last one, to report if it is refused
}

var _ oauth2.TokenSource = (*tokenSource)(nil)

// newTokenSource returns a source that must be asked each time. Do not wrap it in an
// oauth2.ReuseTokenSource, as oauth2.NewClient does by itself. That keeps a token of its
// own, and so goes on after a sign-out.
func newTokenSource(ctx context.Context, transport *reauth.Transport) *tokenSource {
	return &tokenSource{ctx: ctx, transport: transport}
}

// unknownEnd is the lifetime of a token that states none. Otherwise package oauth2 would
// treat it as valid forever and never ask again.
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
	// The refresh token is left out, because spending it elsewhere would end the
	// session.
	return &oauth2.Token{AccessToken: tok.AccessToken, TokenType: tok.Type(), Expiry: expiry}, nil
}
