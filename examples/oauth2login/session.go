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

// A session is what comes after the sign-in, and all that is about reauth.
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
		// A store here would let the user stay signed in until the next run.
	})
	if err != nil {
		return nil, err
	}
	return &session{transport, &http.Client{Transport: transport}, to.apiURL}, nil
}

// begin hands over what the sign-in brought.
func (s *session) begin(ctx context.Context, tok *oauth2.Token) error {
	return s.transport.SignIn(ctx, handedOver(tok))
}

// handedOver is the seam between the two libraries. From here on only one of them
// may spend the refresh token: oauth2.Config.Client and TokenSource are not for tok
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

// end signs out: nothing keeps the tokens beyond this program, so nobody should.
// Then it waits for whatever is in progress, since a refresh that is cut off can
// cost a session.
func (s *session) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(s.transport.SignOut(ctx), s.transport.Wait(ctx))
}
