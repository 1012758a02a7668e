package orders

import (
	"context"
	"errors"
	"net/http"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/jsonauth"
	"github.com/reauth-go/reauth/oauth"
)

// A session has all code of this SDK that uses package reauth, except [explain].
type session struct {
	handle    *reauth.Session
	entrance  *jsonauth.Endpoint
	transport *reauth.Transport
}

func newSession(base, origin string, opts *Options) (session, error) {
	// Sign-ins and renewals use the same transport as all requests, but carry no token.
	plain := &http.Client{Transport: opts.Transport}
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL:      base + "/token",
			RevocationURL: base + "/revoke",
			ClientID:      "orders-sdk",
			Client:        plain,
		},
		Origins: []string{origin},
		Base:    opts.Transport,
		Store:   opts.Store,
	})
	if err != nil {
		return session{}, err
	}
	return session{
		// Whatever session the caller's context picks, if the caller uses package
		// reauth as well.
		handle:    transport.Session(opts.Account),
		entrance:  &jsonauth.Endpoint{URL: base + "/v1/sign-in", Client: plain},
		transport: transport,
	}, nil
}

func (s session) signIn(ctx context.Context, user, password string) error {
	tok, err := s.entrance.Exchange(ctx, map[string]string{"user": user, "password": password})
	if errors.Is(err, reauth.ErrSignInRequired) {
		return ErrWrongPassword
	}
	if err != nil {
		return explain(err)
	}
	return explain(s.handle.SignIn(ctx, tok))
}

func (s session) signOut(ctx context.Context) error { return explain(s.handle.SignOut(ctx)) }

func (s session) signedIn(ctx context.Context) (bool, error) {
	ok, err := s.handle.SignedIn(ctx)
	return ok, explain(err)
}

func (s session) wait(ctx context.Context) error { return explain(s.transport.Wait(ctx)) }
