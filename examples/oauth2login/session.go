package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A session has everything that concerns reauth.
type session struct {
	transport *reauth.Transport
	client    *http.Client
	apiURL    string
}

func newSession(to target, onEvent func(context.Context, reauth.Event)) (*session, error) {
	api, err := url.Parse(to.apiURL)
	if err != nil {
		return nil, errors.New("-api-url cannot be read")
	}
	refresher := &oauth.Refresher{
		TokenURL:      to.tokenURL,
		RevocationURL: to.revocationURL,
		ClientID:      to.clientID,
		ClientSecret:  to.clientSecret,
	}
	if to.clientSecret != "" {
		refresher.AuthStyle = oauth.AuthStyleForm // as at the sign-in
	}
	transport, err := reauth.New(reauth.Config{
		Refresher: refresher,
		Origins:   []string{api.Scheme + "://" + api.Host},
		OnEvent:   onEvent,
		// With a store the user would stay signed in until the next run.
	})
	if err != nil {
		return nil, err
	}
	return &session{transport, &http.Client{Transport: transport}, to.apiURL}, nil
}

// begin hands over the token of the sign-in.
func (s *session) begin(ctx context.Context, tok *oauth2.Token) error {
	return s.transport.SignIn(ctx, handedOver(tok))
}

// handedOver converts the token from one library to the other. From here on only reauth
// may spend the refresh token, so do not use oauth2.Config.Client or TokenSource with tok
// any more.
func handedOver(tok *oauth2.Token) reauth.Token {
	out := reauth.Token{
		AccessToken:  tok.AccessToken,
		TokenType:    tok.TokenType,
		RefreshToken: tok.RefreshToken,
		Expiry:       tok.Expiry,
		Extra:        make(map[string]string),
	}
	for _, name := range []string{"id_token", "scope"} {
		if text, ok := tok.Extra(name).(string); ok {
			out.Extra[name] = text
		}
	}
	return out
}

// end signs out, because the tokens are not stored. Then it waits for everything in
// progress, because interrupting a refresh can invalidate a session.
func (s *session) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(s.transport.SignOut(ctx), s.transport.Wait(ctx))
}
