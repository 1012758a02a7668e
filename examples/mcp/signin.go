package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reauth-go/reauth"
)

// signInPause is how long nobody signs in again because the MCP server refuses the token
// of a sign-in. A server that refuses every token must not open one window after the other.
const signInPause = time.Minute

// signIn is reauth's Config.SignIn. reauth calls it once at a time, when nothing else helps.
func (c *client) signIn(ctx context.Context) (reauth.Token, error) {
	if last := c.unproven.Load(); last != nil && time.Since(*last) < signInPause {
		return reauth.Token{}, errors.New("the MCP server has refused the token of a sign-in just now")
	}
	return c.signInNow(ctx)
}

// signInNow is signIn whatever became of the last sign-in.
func (c *client) signInNow(ctx context.Context) (reauth.Token, error) {
	from, err := c.discover(ctx, challengeOf(ctx))
	if err != nil {
		return reauth.Token{}, err
	}
	if c.issuer != "" && !sameIssuer(c.issuer, from.server.Issuer) {
		return reauth.Token{}, errors.New("the MCP server names another authorization server than the one that has registered the program")
	}
	a := account{
		Issuer:        from.server.Issuer,
		TokenURL:      from.server.TokenEndpoint,
		RevocationURL: from.server.RevocationEndpoint,
		Resource:      from.resource,
		Scopes:        scopesFor(ctx, from),
		Proofs:        from.bound || slices.Contains(from.server.DPoPSigningAlgValuesSupported, "ES256"),
		Bound:         from.bound,
	}
	var tok reauth.Token
	if c.grant != nil {
		tok, err = c.signInByGrant(ctx, from, &a)
	} else {
		tok, err = c.signInByBrowser(ctx, from, &a)
	}
	if err != nil {
		return reauth.Token{}, fmt.Errorf("at %s: %w", a.Issuer, err)
	}
	now := time.Now()
	c.unproven.Store(&now)
	return a.keptIn(tok)
}

// signInByGrant signs a machine in. A browser would need a registration; a machine has one.
func (c *client) signInByGrant(ctx context.Context, from source, a *account) (reauth.Token, error) {
	a.registration = registration{ID: c.clientID, Secret: c.secret, Method: methodFor(from.server, c.secret != "", c.key.Signer != nil)}
	return c.at(*a, c.grant(*a)).Refresh(ctx, reauth.Token{})
}

// signInByBrowser signs a user in with an authorization code and PKCE.
func (c *client) signInByBrowser(ctx context.Context, from source, a *account) (tok reauth.Token, err error) {
	if !from.guessed && !slices.Contains(from.server.CodeChallengeMethodsSupported, "S256") {
		return tok, errors.New("the authorization server does not say that it supports PKCE, without which a code can be stolen")
	}
	before, _ := c.registrations.load(ctx, a.Issuer)
	state := rand.Text()
	back, err := listen(before.RedirectURI, state)
	if err != nil {
		return tok, err
	}
	defer back.close()
	if a.registration, err = c.register(ctx, from, back.uri); err != nil {
		return tok, err
	}
	if a.Dynamic {
		defer func() {
			if err != nil {
				// The server may have forgotten the registration. It tells that to the user
				// alone, who can only give up.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				_ = c.registrations.forget(ctx, a.Issuer)
			}
		}()
	}
	flow, err := newCodeFlow(from, *a, state)
	if err != nil {
		return tok, err
	}
	c.windows.Add(1)
	if err := c.browser(ctx, flow.url); err != nil {
		return tok, fmt.Errorf("opening the browser: %w", err)
	}
	answer, err := back.wait(ctx)
	if err != nil {
		return tok, err
	}
	code, err := flow.codeOf(answer)
	if err != nil {
		return tok, err
	}
	return c.at(*a, code).Refresh(ctx, flow.start)
}
