package main

import (
	"context"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// connect returns a signed-in session, as for a program with an http.Client. The bridge
// needs only the Transport.
func connect(ctx context.Context, s *reauthtest.Server) (*reauth.Transport, error) {
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
