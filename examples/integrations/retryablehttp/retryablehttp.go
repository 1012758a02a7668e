// Package retryablehttp uses reauth together with github.com/hashicorp/go-retryablehttp,
// above or below it.
//
// Don't give a Refresher a client that retries. If the answer to a refresh is lost, the
// second attempt spends a refresh token that the server has already replaced, and many
// servers end the session then.
package retryablehttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/reauth-go/reauth"
)

// Above returns a client that retries the session's requests. session is a
// *reauth.Transport, where the context of a request picks the session, or a
// *reauth.Session. Each attempt gets the token that is current by then.
//
// Give the client another policy by way of CheckRetry.
func Above(session http.RoundTripper) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: session}
	client.CheckRetry = CheckRetry(retryablehttp.DefaultRetryPolicy)
	return client
}

// CheckRetry returns a policy that is next, except that it does not retry a session that
// has no token, nor a 401. Until the pause after a failed refresh is over, each attempt
// would get the same error. And reauth has answered a 401 with another token already if
// that could help.
func CheckRetry(next retryablehttp.CheckRetry) retryablehttp.CheckRetry {
	return func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if _, noToken := errors.AsType[*reauth.RefreshError](err); noToken {
			return false, err
		}
		if resp != nil && resp.StatusCode == http.StatusUnauthorized {
			return false, nil
		}
		return next(ctx, resp, err)
	}
}

// Below returns a Config.Base that retries each of the at most two times that reauth sends
// a request. It reads bodies into memory first. Once its attempts are used up it hands over
// the last response, not an error.
//
// It follows no redirect, as a base transport must not: a request that it sent to another
// place would have the token, without a look at Config.Origins.
func Below(base http.RoundTripper) *retryablehttp.RoundTripper {
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{
		Transport:     base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.ErrorHandler = func(resp *http.Response, err error, _ int) (*http.Response, error) {
		if err != nil && resp != nil {
			_ = resp.Body.Close()
			resp = nil
		}
		return resp, err
	}
	return &retryablehttp.RoundTripper{Client: client}
}
