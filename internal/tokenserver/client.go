package tokenserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/reauth-go/reauth/internal/origin"
)

// WithinOrigin returns a copy of c, or of a plain client if c is nil, that follows no
// redirect to another origin than that of the first request, because a 307 would send
// the refresh token there in the body.
func WithinOrigin(c *http.Client) *http.Client {
	var within http.Client
	if c != nil {
		within = *c
	}
	own := within.CheckRedirect
	if own == nil {
		own = tenRedirects
	}
	within.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if err := leavesOrigin(req, via); err != nil {
			return err
		}
		// A 301, 302 or 303 turns the request into one without the refresh token, so
		// its answer would say nothing about that token.
		if req.Method != via[0].Method || via[0].Body != nil && req.Body == nil {
			return http.ErrUseLastResponse
		}
		if err := own(req, via); err != nil {
			return err
		}
		return leavesOrigin(req, via) // the caller's function may have changed the target
	}
	return &within
}

// WithoutRedirects returns a copy of c, or of a plain client if c is nil, that follows
// no redirect and has no jar. The cookies that a redirect sets are then in its answer,
// and requests carry no cookies of another session.
func WithoutRedirects(c *http.Client) *http.Client {
	var without http.Client
	if c != nil {
		without = *c
	}
	without.Jar = nil
	without.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &without
}

func leavesOrigin(req *http.Request, via []*http.Request) error {
	if origin.Same(via[0].URL, req.URL) {
		return nil
	}
	return fmt.Errorf("redirect from %q to %q not followed: it leads to another origin", originText(via[0].URL), originText(req.URL))
}

// tenRedirects is the default of http.Client.
func tenRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// originText returns the part of a URL that an error may show.
func originText(u *url.URL) string { return u.Scheme + "://" + u.Host }

// withoutURL strips the *url.Error that http.Client puts around an error: the URL in
// it may have user info, or a query with a secret, and that of a redirect is the
// Location as the server wrote it.
func withoutURL(err error) error {
	for {
		e, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = e.Err
	}
}
