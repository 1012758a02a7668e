package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// options say how a client signs in. What it does not set is found out or left out.
type options struct {
	store   reauth.Store // of tokens and registrations; nil: in memory
	browser func(ctx context.Context, url string) error
	onEvent func(context.Context, reauth.Event)

	name        string // by which the program registers itself
	clientID    string // of a program that somebody has registered
	issuer      string // of the authorization server that has; "": whatever server is named may have the secret
	secret      string
	key         oauth.ClientKey
	metadataURL string // of a client id metadata document

	// grant obtains tokens where no user signs in; nil: a browser.
	grant func(account) oauth.Grant
}

// A client sends requests to one MCP server, with the tokens of one session of reauth,
// whose name is the server's URL.
type client struct {
	options
	endpoint      *url.URL
	session       *reauth.Session
	transport     *reauth.Transport
	registrations registrations
	web           *http.Client // for discovery and authorization servers
	steps         stepUps
	windows       atomic.Int64 // that were opened

	unproven atomic.Pointer[time.Time] // the last sign-in, until the MCP server has accepted its token
}

func newClient(endpoint string, opts options) (*client, error) {
	at, err := url.Parse(endpoint)
	if err != nil || at.Host == "" {
		return nil, errors.New("the URL of the MCP server cannot be read")
	}
	if opts.store == nil {
		opts.store = new(reauth.MemoryStore)
	}
	if opts.browser == nil && opts.grant == nil {
		return nil, errors.New("there is neither a browser nor a grant to sign in with")
	}
	c := &client{
		options:       opts,
		endpoint:      at,
		registrations: registrations{opts.store},
		web:           &http.Client{Timeout: 30 * time.Second},
		steps:         newStepUps(),
	}
	c.transport, err = reauth.New(reauth.Config{
		Refresher:  refresher{c},
		Credential: proofs, // sends tokens of the type Bearer as they are
		Origins:    []string{at.Scheme + "://" + at.Host},
		Store:      opts.store,
		SignIn:     c.signIn,
		OnEvent:    opts.onEvent,
	})
	if err != nil {
		return nil, fmt.Errorf("the client for %s: %w", at.Redacted(), err)
	}
	c.session = c.transport.Session(endpoint)
	return c, nil
}

// httpClient is for mcp.StreamableClientTransport. It has no Timeout, since a call may have
// to wait for the user.
func (c *client) httpClient() *http.Client { return &http.Client{Transport: asking{c}} }

// close waits for what is in progress, because interrupting a refresh can end a session.
func (c *client) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return c.transport.Wait(ctx)
}

// proofs binds tokens to a key of their session where the server does that (RFC 9449). With
// bound there is no token without.
var (
	proofs = &oauth.DPoP{AllowBearer: true}
	bound  = &oauth.DPoP{}
)
