package main

import (
	"context"
	"errors"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// connect returns a signed-in session. It is what a program with an http.Client
// would do too; the bridges need no more than the Transport.
func connect(ctx context.Context, s *servers) (*reauth.Transport, error) {
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), ClientID: "bridges"},
		Origins:   []string{s.URL}, // for the WebSocket, whose handshake is HTTP
		// Here tokens die as soon as they have been used once. Against a real server
		// leave this out.
		RefreshPause: -1,
	})
	if err != nil {
		return nil, err
	}
	return transport, transport.SignIn(ctx, reauth.Token(s.SignIn("ann")))
}

// renew returns another token to try, now that refused has been turned down. All
// who report the same token share one refresh.
//
// Without one, and without an error, the refusal is the answer: the token is so new
// that the refusal must be about what the user may do.
func renew(ctx context.Context, transport *reauth.Transport, refused reauth.Token) (tok reauth.Token, again bool, err error) {
	tok, err = transport.Refresh(ctx, refused)
	failed, ok := errors.AsType[*reauth.RefreshError](err)
	if ok && failed.StatusCode == 0 && failed.RetryAfter > 0 { // within Config.RefreshPause
		return reauth.Token{}, false, nil
	}
	return tok, err == nil, err
}
