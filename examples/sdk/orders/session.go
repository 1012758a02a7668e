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
	account   string
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
		account:   opts.Account,
		entrance:  &jsonauth.Endpoint{URL: base + "/v1/sign-in", Client: plain},
		transport: transport,
	}, nil
}

// in returns the context for calls of package reauth. It always names the session, because
// the caller's context may name another if the caller uses package reauth, too.
func (s session) in(ctx context.Context) context.Context { return reauth.WithSession(ctx, s.account) }

func (s session) signIn(ctx context.Context, user, password string) error {
	tok, err := s.entrance.Exchange(ctx, map[string]string{"user": user, "password": password})
	if errors.Is(err, reauth.ErrSignInRequired) {
		return ErrWrongPassword
	}
	if err != nil {
		return explain(err)
	}
	return explain(s.transport.SignIn(s.in(ctx), tok))
}

func (s session) signOut(ctx context.Context) error { return explain(s.transport.SignOut(s.in(ctx))) }

func (s session) signedIn(ctx context.Context) (bool, error) {
	ok, err := s.transport.SignedIn(s.in(ctx))
	return ok, explain(err)
}

func (s session) wait(ctx context.Context) error { return explain(s.transport.Wait(ctx)) }
