// Package req uses a session of reauth in a client of github.com/imroc/req/v3.
package req

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/imroc/req/v3"

	"github.com/reauth-go/reauth"
)

// New returns a client whose requests carry the session's token. session is a
// *reauth.Transport, where the context of a request picks the session, or a
// *reauth.Session. Its Config.Base is not used: the requests go through req's own
// transport, with all that can be set there.
//
// The client has no cookie jar, as that of req.C has: it would send the cookies that the
// API has set for one user along with the requests of the next. Don't call its
// SetCommonBearerAuthToken: a request that has an Authorization is sent with that.
//
// SetCommonRetryCount makes it retry what has failed on the way, unless the context is
// done, but not a session that has no token: until the pause after a failed refresh is
// over, each attempt would get the same error.
func New(session interface {
	Wrap(http.RoundTripper) http.RoundTripper
}) *req.Client {
	client := req.C().SetCookieJar(nil).SetCommonRetryCondition(failed)
	client.GetTransport().WrapRoundTrip(func(base http.RoundTripper) http.RoundTripper {
		return once{session.Wrap(base)}
	})
	return client
}

// failed takes the place of req's own condition, which is any error.
func failed(_ *req.Response, err error) bool {
	_, noToken := errors.AsType[*reauth.RefreshError](err)
	return err != nil && !noToken && !errors.Is(err, context.DeadlineExceeded)
}

// A once drops a GetBody that returns the reader that is being sent, as req's does for an
// io.Reader. A request that is sent again would have what is left of it, which is nothing.
// Without GetBody, reauth keeps what is sent.
type once struct{ http.RoundTripper }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.GetBody == nil {
		return o.RoundTripper.RoundTrip(r)
	}
	again, err := r.GetBody()
	if err == nil && reflect.ValueOf(again).Comparable() && again != r.Body {
		_ = again.Close()
	} else {
		r = r.WithContext(r.Context()) // a copy
		r.GetBody = nil
	}
	return o.RoundTripper.RoundTrip(r)
}
