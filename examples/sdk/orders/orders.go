// Package orders is the SDK of the orders service.
//
//	client, err := orders.New(nil)
//	err = client.SignIn(ctx, user, password)
//	order, err := client.Place(ctx, "tea", 3)
//
// A customer stays signed in until the service ends the session, or [Client.SignOut]
// does. Calls may be made by any number of goroutines at once.
//
// # Errors
//
// [ErrSignInRequired] and [ErrWrongPassword] are found with errors.Is. An
// [*UnavailableError] says that the same call may succeed later, an [*APIError] what
// the service had to object to this one. Where the caller's own context has ended, the
// error wraps its cause.
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

// Options are settings that most programs leave alone. The zero value means the
// service itself.
type Options struct {
	// BaseURL is where the service is; empty means https://orders.example.com.
	BaseURL string

	// Transport sends all requests: put a proxy, a tracer or a test's server here.
	// Nil means http.DefaultTransport.
	Transport http.RoundTripper

	// Store keeps the session, so that it outlives the program or is shared by
	// several. Nil means in memory.
	Store Store

	// Account names the session in the Store. Set it where one Store keeps those of
	// many customers, of which each has a Client.
	Account string
}

// A Store keeps sessions. It is that of package reauth, which has some for files,
// databases and keychains; one that is shared by processes must be a reauth.Locker.
type Store = reauth.Store

// A Token is what a [Store] keeps.
type Token = reauth.Token

// A Client calls the service for one customer. [New] makes one; it is safe for
// concurrent use.
type Client struct {
	base    string
	session session
	http    *http.Client
}

const defaultBaseURL = "https://orders.example.com"

// New returns a Client. Nil opts mean the zero Options. It sends nothing yet.
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

// originOf returns scheme, host and port of a URL. Its errors do not repeat the URL,
// in which there may be a password.
func originOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("it is not the likes of " + defaultBaseURL)
	}
	return u.Scheme + "://" + u.Host, nil
}

// SignIn signs a customer in, in place of whoever was. [ErrWrongPassword] means that
// the service knows no such user or that this is not the password.
func (c *Client) SignIn(ctx context.Context, user, password string) error {
	return c.session.signIn(ctx, user, password)
}

// SignOut ends the session, here and then at the service. An error means that this was
// not possible everywhere; calls fail with [ErrSignInRequired] all the same.
func (c *Client) SignOut(ctx context.Context) error { return c.session.signOut(ctx) }

// SignedIn reports whether there is a session. It asks the [Store], not the service,
// which may have ended it.
func (c *Client) SignedIn(ctx context.Context) (bool, error) { return c.session.signedIn(ctx) }

// Close returns once nothing is in progress that the session depends on, or when ctx
// ends. Call it before the program exits, or else the customer may have to sign in
// again.
func (c *Client) Close(ctx context.Context) error { return c.session.wait(ctx) }
