package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A registration is what an authorization server knows the program by.
type registration struct {
	ID          string `json:"client_id"`
	Secret      string `json:"client_secret,omitempty"`
	Method      string `json:"method,omitempty"` // of authentication
	RedirectURI string `json:"redirect_uri,omitempty"`
	Dynamic     bool   `json:"dynamic,omitempty"` // by RFC 7591
}

func (r registration) style() oauth.AuthStyle {
	switch r.Method {
	case "client_secret_post":
		return oauth.AuthStyleForm
	case "client_secret_basic":
		return oauth.AuthStyleBasic
	case "private_key_jwt":
		return oauth.AuthStylePrivateKeyJWT
	}
	return oauth.AuthStyleNone
}

// register returns the registration at a server, in the order that the protocol has: the
// one that somebody has made, a client id metadata document, or a dynamic one.
func (c *client) register(ctx context.Context, from source, redirectURI string) (registration, error) {
	method := methodFor(from.server, c.secret != "", c.key.Signer != nil)
	switch {
	case c.clientID != "":
		return registration{ID: c.clientID, Secret: c.secret, Method: method, RedirectURI: redirectURI}, nil
	case c.metadataURL != "" && says(from.server, "client_id_metadata_document_supported"):
		return registration{ID: c.metadataURL, Method: "none", RedirectURI: redirectURI}, nil
	case from.server.RegistrationEndpoint == "":
		return registration{}, errors.New("the authorization server registers no clients: the program needs a client id of its own")
	}
	if r, ok := c.registrations.load(ctx, from.server.Issuer); ok && r.RedirectURI == redirectURI {
		return r, nil
	}
	return c.registerNow(ctx, from.server, redirectURI)
}

func (c *client) registerNow(ctx context.Context, server *oauth.Metadata, redirectURI string) (registration, error) {
	method := methodFor(server, false, false)
	straight := *c.web // a redirect may lead anywhere, also into the user's own network
	straight.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := oauthex.RegisterClient(ctx, server.RegistrationEndpoint, &oauthex.ClientRegistrationMetadata{
		ClientName:              c.name,
		RedirectURIs:            []string{redirectURI},
		GrantTypes:              []string{"authorization_code", "refresh_token"},
		ResponseTypes:           []string{"code"},
		TokenEndpointAuthMethod: method,
		ApplicationType:         "native",
	}, &straight)
	if err != nil {
		return registration{}, registrationError(err)
	}
	r := registration{ID: answer.ClientID, Secret: answer.ClientSecret, Method: answer.TokenEndpointAuthMethod, RedirectURI: redirectURI, Dynamic: true}
	if r.Method == "" {
		r.Method = method
	}
	return r, c.registrations.save(ctx, server.Issuer, r, answer.ClientSecretExpiresAt)
}

// registrationError returns an error of package oauthex without what it quotes: that can be
// the whole answer, with the secret that the program was given.
func registrationError(err error) error {
	if unanswered, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("registering the program: %w", unanswered)
	}
	if refused, ok := errors.AsType[*oauthex.ClientRegistrationError](err); ok {
		return fmt.Errorf("registering the program: the server answered %.40q", refused.ErrorCode)
	}
	reason, _, _ := strings.Cut(err.Error(), ": ")
	return fmt.Errorf("registering the program: %s", reason)
}

// methodFor returns how a client authenticates that has a secret, a key or neither: none if
// it is free to choose, since a program on a user's machine keeps no secrets.
func methodFor(server *oauth.Metadata, secret, key bool) string {
	supported := server.TokenEndpointAuthMethodsSupported
	wanted := []string{"none", "client_secret_basic", "client_secret_post"}
	switch {
	case key:
		wanted = []string{"private_key_jwt"}
	case secret:
		wanted = []string{"client_secret_basic", "client_secret_post"}
	}
	for _, method := range wanted {
		if slices.Contains(supported, method) {
			return method
		}
	}
	if len(supported) == 0 && !key && !secret {
		return "client_secret_basic" // RFC 8414 section 2 has it as the default
	}
	return wanted[0]
}

// registrations are kept beside the tokens, one for each issuer, and outlive them.
type registrations struct{ store reauth.Store }

const extraRegistration = "example.registration"

func (registrations) name(issuer string) string { return "registration at " + issuer }

func (r registrations) load(ctx context.Context, issuer string) (reg registration, ok bool) {
	tok, ok, err := r.store.Load(ctx, r.name(issuer))
	if err != nil || !ok || !tok.Expiry.IsZero() && time.Now().After(tok.Expiry) {
		return registration{}, false
	}
	err = json.Unmarshal([]byte(tok.Extra[extraRegistration]), &reg)
	return reg, err == nil
}

func (r registrations) save(ctx context.Context, issuer string, reg registration, expiry time.Time) error {
	text, err := json.Marshal(reg)
	if err != nil {
		return err
	}
	return r.store.Save(ctx, r.name(issuer), reauth.Token{Expiry: expiry, Extra: map[string]string{extraRegistration: string(text)}})
}

func (r registrations) forget(ctx context.Context, issuer string) error {
	return r.store.Delete(ctx, r.name(issuer))
}
