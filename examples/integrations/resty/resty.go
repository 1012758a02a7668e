// Package resty uses a session of reauth in a client of github.com/go-resty/resty/v2.
package resty

import (
	"errors"
	"net/http"

	"github.com/go-resty/resty/v2"

	"github.com/reauth-go/reauth"
)

// New returns a client whose requests carry the session's token. session is a
// *reauth.Transport, where the context of a request picks the session, or a
// *reauth.Session.
//
// The client has no cookie jar, as that of resty.New has: it would send the cookies that
// the API has set for one user along with the requests of the next. Don't call its
// SetAuthToken: a request that has an Authorization is sent with that.
//
// SetRetryCount makes it retry what has failed on the way, and what further conditions
// name. It does not retry a session that has no token: until the pause after a failed
// refresh is over, each attempt would get the same error. A condition of yours must leave
// those alone too, as resty retries if one of the conditions says so.
func New(session http.RoundTripper) *resty.Client {
	return resty.NewWithClient(&http.Client{Transport: session}).AddRetryCondition(failed)
}

// failed takes the place of resty's own condition, which is any error.
func failed(_ *resty.Response, err error) bool {
	_, noToken := errors.AsType[*reauth.RefreshError](err)
	return err != nil && !noToken
}
