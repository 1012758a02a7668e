package oauth

import (
	"context"
	"net/url"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/settings"
)

// JWTBearer is the [Grant] that obtains a token with an assertion about somebody, which a
// service that the token server trusts has signed (RFC 7523 section 2.1): a service
// account's key, a cluster, or an identity provider.
//
// It starts from no token, so nobody has to call Transport.SignIn, and no error code of
// the server means that somebody must. The server need not know the client (section 3.1).
type JWTBearer struct {
	// Assertion returns the JWT. It is called for each request, concurrently for several
	// sessions, and should return a new one each time, because servers may refuse one
	// that they have seen. Its error fails the refresh, for good if it wraps
	// [reauth.ErrSignInRequired]. Required. See [AssertionFile].
	Assertion func(context.Context) (string, error)
}

// Request implements [Grant].
func (g JWTBearer) Request(ctx context.Context, _ reauth.Token) (url.Values, error) {
	assertion, err := ask(ctx, "JWTBearer.Assertion", g.Assertion)
	if err != nil {
		return nil, err
	}
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}, nil
}

// Validate reports a missing Assertion.
func (g JWTBearer) Validate() error {
	f := settings.Of("oauth: JWTBearer")
	if g.Assertion == nil {
		f.Add("Assertion", "nil", "must be set")
	}
	return f.Err()
}
