// Package orders is the SDK of the orders service.
//
//	client, err := orders.New(nil)
//	err = client.SignIn(ctx, user, password)
//	order, err := client.Place(ctx, "tea", 3)
//
// A customer stays signed in until the service ends the session, or [Client.SignOut] is
// called. A [Client] is safe for concurrent use.
//
// # Errors
//
// [ErrSignInRequired] and [ErrWrongPassword] are found with errors.Is. An
// [*UnavailableError] means that the same call may succeed later. An [*APIError] holds
// the service's objection to a call. If the caller's own context is done, the error wraps
// its cause.
package orders

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/reauth-go/reauth"
)

// Options are settings that most programs do not need. The zero value is for the
// production service.
type Options struct {
	// BaseURL is the URL of the service. Empty means https://orders.example.com.
	BaseURL string

	// Transport sends all requests, for example through a proxy, a tracer or to a test
	// server. Nil means http.DefaultTransport.
	Transport http.RoundTripper

	// Store keeps the session, so that it survives the program or is shared by several
	// programs. Nil means in memory.
	Store Store

	// Account names the session in the Store. Set it if one Store keeps the sessions of
	// several customers, each with a Client.
	Account string
}

// A Store keeps sessions. It is the Store of package reauth, which has implementations for
// files, databases and keychains. One that processes share must be a reauth.Locker.
type Store = reauth.Store

// A Token is kept by a [Store].
type Token = reauth.Token

// A Client calls the service for one customer. Create it with [New]. It is safe for
// concurrent use.
type Client struct {
	base    string
	session session
	http    *http.Client
}

const defaultBaseURL = "https://orders.example.com"

// New returns a Client. Nil opts mean the zero Options. New sends no request.
func New(opts *Options) (*Client, error) {
	if opts == nil {
		opts = new(Options)
	}
	base := strings.TrimSuffix(opts.BaseURL, "/")
	if base == "" {
		base = defaultBaseURL
	}
	origin, err := originOf(base)
	if err != nil {
		return nil, fmt.Errorf("orders: Options.BaseURL: %w", err)
	}
	session, err := newSession(base, origin, opts)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	return &Client{base: base, session: session, http: &http.Client{Transport: session.handle}}, nil
}

// originOf returns scheme, host and port of a URL. Its errors do not repeat the URL, which
// may hold a password.
func originOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("it is not the likes of " + defaultBaseURL)
	}
	return u.Scheme + "://" + u.Host, nil
}

// SignIn signs a customer in and replaces the current session. [ErrWrongPassword] means
// that the user does not exist or the password is wrong.
func (c *Client) SignIn(ctx context.Context, user, password string) error {
	return c.session.signIn(ctx, user, password)
}

// SignOut ends the session, here and then at the service. An error means that this was not
// possible everywhere. Calls fail with [ErrSignInRequired] all the same.
func (c *Client) SignOut(ctx context.Context) error { return c.session.signOut(ctx) }

// SignedIn reports whether there is a session. It asks the [Store] and not the service,
// which may have ended the session.
func (c *Client) SignedIn(ctx context.Context) (bool, error) { return c.session.signedIn(ctx) }

// Close waits for work in progress that the session depends on, until ctx is done. Call it
// before the program exits. Otherwise the customer may have to sign in again.
func (c *Client) Close(ctx context.Context) error { return c.session.wait(ctx) }
