package main

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// A tokenSource is a session for a library that wants an oauth2.TokenSource.
//
// It refreshes a token that is about to end, as everywhere one refresh for all who
// ask. But whoever takes a TokenSource has no way to tell it of a 401: a token that
// is refused before its end goes on being handed out, until somebody else sees the
// refusal or [reauth.Transport.Refresh] is told of it. Prefer an http.Client where
// a library takes either.
type tokenSource struct {
	ctx       context.Context // what Token, which is given none, waits on; picks the session
	transport *reauth.Transport
}

var _ oauth2.TokenSource = tokenSource{}

// newTokenSource returns a source that is asked each time. Do not wrap it in an
// oauth2.ReuseTokenSource, as oauth2.NewClient does without being told: that keeps
// a token of its own, and so goes on after a sign-out.
func newTokenSource(ctx context.Context, transport *reauth.Transport) oauth2.TokenSource {
	return tokenSource{ctx, transport}
}

// unknownEnd is the lifetime that a token is given if it has none. To package
// oauth2 it would be good for ever, and whoever keeps it would never ask again.
const unknownEnd = time.Minute

// Token implements [oauth2.TokenSource].
func (s tokenSource) Token() (*oauth2.Token, error) {
	tok, err := s.transport.Token(s.ctx)
	if err != nil {
		return nil, err
	}
	if tok.Expiry.IsZero() {
		tok.Expiry = time.Now().Add(unknownEnd)
	}
	// Not the refresh token: who spends it behind the session's back ends the
	// session.
	return &oauth2.Token{AccessToken: tok.AccessToken, TokenType: tok.Type(), Expiry: tok.Expiry}, nil
}
