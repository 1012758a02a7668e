package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/reauth-go/reauth/oauth"
)

// A source is where the tokens for an MCP server come from.
type source struct {
	resource string // the MCP server, as it calls itself
	server   *oauth.Metadata
	scopes   []string // that the MCP server knows
	issuers  []string // that it accepts; nil: it does not say
	bound    bool     // it accepts no token without a proof
	guessed  bool     // the authorization server has no metadata
}

// discover finds the source that the MCP server names in its challenge, at a well-known
// place, or, as in the first edition of the protocol, not at all: then it is its own
// authorization server.
func (c *client) discover(ctx context.Context, challenge http.Header) (source, error) {
	api, err := c.resource(ctx, challenge)
	switch {
	case errors.Is(err, oauth.ErrNoMetadata):
		return c.ownServer(ctx)
	case err != nil:
		return source{}, err
	case len(api.AuthorizationServers) == 0:
		return source{}, errors.New("the MCP server names no authorization server")
	}
	server, err := c.server(ctx, api.AuthorizationServers[0])
	return source{
		resource: api.Resource,
		server:   server,
		scopes:   api.ScopesSupported,
		issuers:  api.AuthorizationServers,
		bound:    api.DPoPBoundAccessTokensRequired,
	}, err
}

// resource asks for the MCP server's metadata where its challenge has it, or else at the
// well-known places: that of its URL, then that of its host.
func (c *client) resource(ctx context.Context, challenge http.Header) (*oauth.ResourceMetadata, error) {
	if at := parameter(challenge, "resource_metadata"); at != "" {
		return oauth.DiscoverResourceAt(ctx, at, c.endpoint.String(), c.web)
	}
	wellKnown := c.origin() + "/.well-known/oauth-protected-resource"
	api, err := oauth.DiscoverResourceAt(ctx, wellKnown+strings.TrimSuffix(c.endpoint.EscapedPath(), "/"), c.endpoint.String(), c.web)
	if errors.Is(err, oauth.ErrNoMetadata) {
		api, err = oauth.DiscoverResourceAt(ctx, wellKnown, c.endpoint.String(), c.web)
	}
	return api, err
}

// server asks for the metadata of an authorization server. That of one without a path is
// found at the same URL, whether its name ends in a slash or not, and many MCP servers name
// it the other way. Its own document has to have the one name or the other, to the letter.
func (c *client) server(ctx context.Context, issuer string) (*oauth.Metadata, error) {
	server, err := oauth.Discover(ctx, issuer, c.web)
	if u, parseErr := url.Parse(issuer); err == nil || parseErr != nil || strings.Trim(u.Path, "/") != "" {
		return server, err
	}
	other, hadSlash := strings.CutSuffix(issuer, "/")
	if !hadSlash {
		other += "/"
	}
	if server, otherErr := oauth.Discover(ctx, other, c.web); otherErr == nil {
		return server, nil
	}
	return nil, err
}

// ownServer is the source of an MCP server of the protocol's edition 2025-03-26, whose
// endpoints have default paths if there is no metadata.
func (c *client) ownServer(ctx context.Context) (source, error) {
	here := c.origin()
	from := source{resource: c.canonical()}
	var err error
	from.server, err = oauth.Discover(ctx, here, c.web)
	if errors.Is(err, oauth.ErrNoMetadata) {
		from.guessed = true
		from.server, err = &oauth.Metadata{
			Issuer:                here,
			AuthorizationEndpoint: here + "/authorize",
			TokenEndpoint:         here + "/token",
			RegistrationEndpoint:  here + "/register",
		}, nil
	}
	return from, err
}

func (c *client) origin() string { return c.endpoint.Scheme + "://" + c.endpoint.Host }

// canonical is the MCP server's URL as RFC 8707 section 2 wants it.
func (c *client) canonical() string {
	u := *c.endpoint
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return u.String()
}

// says reports whether a member of an authorization server's metadata is true.
func says(server *oauth.Metadata, member string) bool {
	return string(server.Members[member]) == "true"
}
