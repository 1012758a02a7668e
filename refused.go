package reauth

import (
	"net/http"
	"slices"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/challenge"
)

// DefaultRefused reports whether a response means that the access token is not valid any
// more: its status is 401, and no Bearer challenge in it says insufficient_scope (RFC 6750
// section 3.1) or insufficient_user_authentication (RFC 9470 section 3). Those two are
// about the user's permissions and how the user signed in, which a refresh does not
// change. A 403 never means refused.
//
// It looks only at the status and the header.
func DefaultRefused(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && !beyondRefresh(resp.Header)
}

// RefusedStatus returns a function for Config.Refused that reports whether a response has
// one of the given statuses, for an API that answers an expired token with another status
// than 401:
//
//	Refused: reauth.RefusedStatus(http.StatusUnauthorized, http.StatusForbidden),
//
// As in [DefaultRefused], a response with a Bearer challenge that a refresh can't cure does
// not count, whatever its status: RFC 6750 section 3.1 sends insufficient_scope with a 403.
// Without codes no response counts.
func RefusedStatus(codes ...int) func(*http.Response) bool {
	codes = slices.Clone(codes)
	return func(resp *http.Response) bool {
		return slices.Contains(codes, resp.StatusCode) && !beyondRefresh(resp.Header)
	}
}

// beyondRefresh reports whether a Bearer challenge says that a new access token would be
// refused like the old one: insufficient_scope (RFC 6750 section 3.1) or
// insufficient_user_authentication (RFC 9470 section 3).
func beyondRefresh(h http.Header) bool {
	return slices.ContainsFunc(challenge.Parse(h), func(c challenge.Challenge) bool {
		if !ascii.EqualFold(c.Scheme, "Bearer") {
			return false
		}
		code := c.Params["error"]
		return code == "insufficient_scope" || code == "insufficient_user_authentication"
	})
}
