package main

import (
	"context"
	"errors"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// connect returns a signed-in session, as for a program with an http.Client. The bridges
// need only the Transport.
func connect(ctx context.Context, s *servers) (*reauth.Transport, error) {
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), ClientID: "bridges"},
		Origins:   []string{s.URL},
		// The servers here revoke tokens right after their first use. Leave this out for a
		// real server.
		RefreshPause: -1,
	})
	if err != nil {
		return nil, err
	}
	return transport, transport.SignIn(ctx, reauth.Token(s.SignIn("ann")))
}

// renew returns another token to try after refused was refused. All callers that report
// the same token share one refresh.
//
// If it returns no token and no error, the refusal is the answer: another token is not
// expected to help.
func renew(ctx context.Context, transport *reauth.Transport, refused reauth.Token) (tok reauth.Token, again bool, err error) {
	tok, err = transport.Refresh(ctx, refused)
	if errors.Is(err, reauth.ErrRefusalKept) {
		return reauth.Token{}, false, nil
	}
	return tok, err == nil, err
}
