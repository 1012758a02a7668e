package oauth

import (
	"context"
	"net/url"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// A Grant says what a token is obtained with (RFC 6749 section 1.3).
//
// A Grant may also have these methods. Without them, the first two are taken to return
// false.
//
//	NeedsToken() bool  // it can do nothing for a session that has no token
//	NeedsClient() bool // the server must know the client, so ClientID is required
//	Validate() error   // what is wrong with its fields; Refresher.Validate reports it
//
// The grants of this package are [ClientCredentials], [JWTBearer] and [TokenExchange]. One
// can stand behind another: its function asks a Refresher of its own.
type Grant interface {
	// Request returns the parameters that make a token request one of this grant, with
	// grant_type among them. The Refresher copies them and adds its Params, its Scopes,
	// which replace those of the Grant, and the client's authentication.
	//
	// old is the session's token, or the zero Token if it has none. If the parameter
	// refresh_token is that of old, the answer is about the session: an invalid_grant
	// then means that the user must sign in again, and the new token keeps what the
	// answer leaves out. Otherwise neither is so.
	//
	// Request is called concurrently, once for each request to the server: a server that
	// demands another proof gets a second one (see [DPoP]). An error fails the refresh,
	// for good if it wraps [reauth.ErrSignInRequired].
	Request(ctx context.Context, old reauth.Token) (url.Values, error)
}

// ClientCredentials is the [Grant] of a program that acts on its own behalf (RFC 6749
// section 4.4). It starts from no token, so nobody has to call Transport.SignIn, and no
// error code of the server means that somebody must.
type ClientCredentials struct{}

// Request implements [Grant].
func (ClientCredentials) Request(context.Context, reauth.Token) (url.Values, error) {
	return url.Values{"grant_type": {"client_credentials"}}, nil
}

// NeedsClient returns true.
func (ClientCredentials) NeedsClient() bool { return true }

// refreshToken is the default Grant (RFC 6749 section 6).
type refreshToken struct{}

func (refreshToken) Request(_ context.Context, old reauth.Token) (url.Values, error) {
	if old.RefreshToken == "" {
		return nil, tokenserver.ErrNoRefreshToken
	}
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken}}, nil
}

func (refreshToken) NeedsToken() bool { return true }

func (r *Refresher) grant() Grant {
	if r.Grant == nil {
		return refreshToken{}
	}
	return r.Grant
}
