package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// An account is who the program is at an authorization server, and what its tokens are for.
// It is kept in the token, because a refresh after a restart knows nothing else.
type account struct {
	registration
	Issuer        string   `json:"issuer"`
	TokenURL      string   `json:"token_url"`
	RevocationURL string   `json:"revocation_url,omitempty"`
	Resource      string   `json:"resource"`
	Scopes        []string `json:"scopes,omitempty"` // that were asked for
	Proofs        bool     `json:"proofs,omitempty"`
	Bound         bool     `json:"bound,omitempty"`
}

// extraAccount is the name of the account in Token.Extra.
const extraAccount = "example.account"

func accountOf(tok reauth.Token) (a account, ok bool) {
	err := json.Unmarshal([]byte(tok.Extra[extraAccount]), &a)
	return a, err == nil
}

// keptIn returns tok with the account in it, and with the scopes that were asked for if the
// server does not say which it has granted: then they are the same (RFC 6749 section 5.1).
func (a account) keptIn(tok reauth.Token) (reauth.Token, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return reauth.Token{}, err
	}
	tok.Extra = maps.Clone(tok.Extra)
	if tok.Extra == nil {
		tok.Extra = make(map[string]string)
	}
	tok.Extra[extraAccount] = string(text)
	if tok.Extra["scope"] == "" {
		tok.Extra["scope"] = strings.Join(a.Scopes, " ")
	}
	return tok, nil
}

// at returns the authorization server as reauth knows one. A nil grant is the refresh token.
func (c *client) at(a account, grant oauth.Grant) *oauth.Refresher {
	style := a.style()
	r := &oauth.Refresher{
		TokenURL:      a.TokenURL,
		RevocationURL: a.RevocationURL,
		Issuer:        a.Issuer,
		ClientID:      a.ID,
		AuthStyle:     style,
		Grant:         grant,
		Params:        url.Values{"resource": {a.Resource}},
		Client:        c.web,
	}
	switch style {
	case oauth.AuthStyleBasic, oauth.AuthStyleForm:
		r.ClientSecret = a.Secret
	case oauth.AuthStylePrivateKeyJWT:
		r.ClientKey = c.key
	}
	if a.Proofs {
		r.DPoP = proofs
	}
	if a.Bound {
		r.DPoP = bound
	}
	if c.grant != nil {
		r.Scopes = a.Scopes // a machine asks for them each time
	}
	if a.Dynamic {
		r.FinalCodes = []string{invalidClient}
	}
	return r
}

// invalidClient is the error code for a client that the server does not know, for example
// because it has forgotten its registration.
const invalidClient = "invalid_client"

// A refresher renews the tokens of a client. Where and as whom is in the token.
type refresher struct{ c *client }

func (r refresher) NeedsToken() bool { return true }

func (r refresher) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	a, ok := accountOf(old)
	if !ok {
		return reauth.Token{}, reauth.ErrSignInRequired
	}
	refusal, refused := reauth.RefusalFromContext(ctx)
	var grant oauth.Grant
	if r.c.grant != nil {
		grant = r.c.grant(a)
	}
	if refused && (grant == nil && old.RefreshToken == "" || r.c.moved(ctx, a, refusal)) {
		// The server has refused the token, and there is no other to be had. Without the
		// status, reauth would keep the token until it expires.
		return reauth.Token{}, &reauth.RefreshError{StatusCode: refusal.StatusCode, Err: reauth.ErrSignInRequired}
	}
	tok, err := r.c.at(a, grant).Refresh(ctx, old)
	if failed, ok := errors.AsType[*reauth.RefreshError](err); ok && failed.Code == invalidClient && a.Dynamic {
		err = errors.Join(err, r.c.registrations.forget(ctx, a.Issuer))
	}
	if err != nil {
		return tok, err
	}
	return a.keptIn(tok)
}

// moved reports whether the MCP server takes tokens of another authorization server by now.
func (c *client) moved(ctx context.Context, a account, refusal reauth.Refusal) bool {
	api, err := c.resource(ctx, refusal.Header)
	if err != nil || len(api.AuthorizationServers) == 0 {
		return false
	}
	return !slices.ContainsFunc(api.AuthorizationServers, func(issuer string) bool { return sameIssuer(issuer, a.Issuer) })
}

// sameIssuer allows for a final slash too many or too few, as [client.server] does.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// Revoke tells the authorization server that a token is not needed any more.
func (r refresher) Revoke(ctx context.Context, tok reauth.Token) error {
	a, ok := accountOf(tok)
	if !ok || a.RevocationURL == "" {
		return nil
	}
	return r.c.at(a, nil).Revoke(ctx, tok)
}
