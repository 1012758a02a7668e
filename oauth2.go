package reauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
)

// An OAuth2Refresher renews a session with its refresh token at an OAuth 2.0
// token endpoint (RFC 6749 section 6). It does not sign anyone in: the first
// token comes from [Transport.SignIn].
//
// Its methods may be called by many goroutines at once; its fields must not be
// changed after the first call. Printing it with package fmt (but for %p and %w) or
// as an attribute of log/slog shows no secret.
type OAuth2Refresher struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2): an absolute http or
	// https URL without a fragment. Required. The refresh token is sent there as
	// it is, so plain http is for local servers.
	TokenURL string

	// RevocationURL is where [OAuth2Refresher.Revoke] gives tokens back (RFC
	// 7009); empty if the server has no such endpoint.
	RevocationURL string

	// ClientID names the program to the server (RFC 6749 section 2.2). Empty if
	// the server wants none.
	ClientID string

	// ClientSecret authenticates a confidential client; empty for a public one,
	// such as a desktop program.
	ClientSecret string

	// ClientKey authenticates a client by a private key instead of a secret; see
	// [AuthStylePrivateKeyJWT].
	ClientKey ClientKey

	// AuthStyle says how the client authenticates; see there for the zero value.
	AuthStyle AuthStyle

	// Scopes narrows what the new access token may do (RFC 6749 section 3.3). If
	// empty none is sent, and the token may do what the one before it could. A
	// refresh never widens that (section 6): if one of them is not in Extra["scope"],
	// where the old token has it, none is sent, and the grant stays as it is. Some
	// servers report a scope under another name than it was asked for.
	Scopes []string

	// Params are further form parameters of the token request, such as
	// "resource" (RFC 8707). Naming one that is sent anyway is an error.
	Params url.Values

	// FinalCodes are error codes that mean, as "invalid_grant" always does, that
	// the refresh token is no good and the user must sign in again: dex says
	// "invalid_request". They count in answers with status 400 or 401, or 200.
	FinalCodes []string

	// Client sends the requests; nil means a plain http.Client. It never follows
	// a redirect to another origin, whatever its CheckRedirect says.
	Client *http.Client
}

// ClientCredentials obtains tokens for the program itself, on its own behalf
// (RFC 6749 section 4.4). It needs no token to start from, so nobody has to call
// [Transport.SignIn].
//
// Since there is no user, no answer means that one must sign in: whatever goes
// wrong is a passing fault or, as an "invalid_grant" is here, a misconfigured
// program.
//
// Its methods may be called by many goroutines at once; its fields must not be
// changed after the first call. Printing it with package fmt (but for %p and %w) or
// as an attribute of log/slog shows no secret.
type ClientCredentials struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2): an absolute http or
	// https URL without a fragment. Required. The secret is sent there, so plain
	// http is for local servers.
	TokenURL string

	// RevocationURL is where [ClientCredentials.Revoke] gives tokens back (RFC
	// 7009); empty if the server has no such endpoint.
	RevocationURL string

	// ClientID names the program to the server (RFC 6749 section 2.2). Required.
	ClientID string

	// ClientSecret authenticates the program. It may be empty where something
	// else does, such as ClientKey, or a client certificate (RFC 8705) of Client.
	ClientSecret string

	// ClientKey authenticates a client by a private key instead of a secret; see
	// [AuthStylePrivateKeyJWT].
	ClientKey ClientKey

	// AuthStyle says how the client authenticates; see there for the zero value.
	AuthStyle AuthStyle

	// Scopes is what the token is asked to allow (RFC 6749 section 3.3). If
	// empty none is sent, and the server decides.
	Scopes []string

	// Params are further form parameters of the token request, such as
	// "audience". Naming one that is sent anyway is an error.
	Params url.Values

	// Client sends the requests; nil means a plain http.Client. It never follows
	// a redirect to another origin, whatever its CheckRedirect says.
	Client *http.Client
}

// An AuthStyle is a way for the client to authenticate at the server's endpoints
// (RFC 6749 section 2.3). The zero value is AuthStylePrivateKeyJWT where there is
// a ClientKey, AuthStyleBasic where there is a secret, and otherwise
// AuthStyleNone.
type AuthStyle int

const (
	// AuthStyleBasic sends id and secret in the Authorization header, each
	// form-encoded first, as RFC 6749 section 2.3.1 demands. It is also known as
	// client_secret_basic.
	AuthStyleBasic AuthStyle = iota + 1

	// AuthStyleForm sends id and secret as form parameters, for servers that
	// cannot do better. It is also known as client_secret_post.
	AuthStyleForm

	// AuthStyleNone sends the id, if there is one, as a form parameter (RFC 6749
	// section 3.2.1), and no secret: for public clients, and for those that a
	// client certificate authenticates (RFC 8705 section 2).
	AuthStyleNone

	// AuthStylePrivateKeyJWT sends an assertion signed with ClientKey (RFC 7523
	// section 2.2): a JWT about the client itself, made anew for each request,
	// with a jti of its own and an end one minute later. It is also known as
	// private_key_jwt (OpenID Connect Core section 9).
	AuthStylePrivateKeyJWT
)

var authStyleNames = [...]string{"AuthStyle(0)", "AuthStyleBasic", "AuthStyleForm", "AuthStyleNone", "AuthStylePrivateKeyJWT"}

// String returns the name of the constant.
func (s AuthStyle) String() string {
	if s >= 0 && int(s) < len(authStyleNames) {
		return authStyleNames[s]
	}
	return fmt.Sprintf("AuthStyle(%d)", int(s))
}

var (
	_ Refresher = (*OAuth2Refresher)(nil)
	_ Revoker   = (*OAuth2Refresher)(nil)
	_ Refresher = (*ClientCredentials)(nil)
	_ Revoker   = (*ClientCredentials)(nil)
)

// Refresh implements [Refresher]. The new token keeps what the answer leaves out:
// the refresh token, the token type, and in Extra what the old one held there.
//
// If old has no refresh token, or the server turns it down, the error wraps
// [ErrSignInRequired]. Other refusals are a *[RefreshError] without it; an error
// of the connection or of ctx is wrapped. No error holds a token, a secret or
// text of the server's but its error code.
func (r *OAuth2Refresher) Refresh(ctx context.Context, old Token) (Token, error) {
	if err := r.check(); err != nil {
		return Token{}, err
	}
	if old.RefreshToken == "" {
		return Token{}, errNoRefreshToken
	}
	return r.endpoint().requestToken(ctx, url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {old.RefreshToken},
	}, old)
}

// Revoke implements [Revoker]: it gives back the refresh token, and with it the
// access tokens that came from it, or if there is none the access token (RFC
// 7009 section 2.1). Without a RevocationURL it does nothing and returns nil.
// Params are not sent.
func (r *OAuth2Refresher) Revoke(ctx context.Context, tok Token) error {
	if err := r.check(); err != nil {
		return err
	}
	return r.endpoint().revoke(ctx, tok)
}

// check names every field that is wrong.
func (r *OAuth2Refresher) check() error {
	if r == nil {
		return errors.New("reauth: Refresher is a nil *OAuth2Refresher")
	}
	return r.endpoint().check()
}

func (r *OAuth2Refresher) endpoint() *tokenEndpoint {
	return &tokenEndpoint{
		name:          "OAuth2Refresher",
		tokenURL:      r.TokenURL,
		revocationURL: r.RevocationURL,
		clientID:      r.ClientID,
		clientSecret:  r.ClientSecret,
		clientKey:     r.ClientKey,
		authStyle:     r.AuthStyle,
		scopes:        r.Scopes,
		params:        r.Params,
		hasUser:       true,
		finalCodes:    r.FinalCodes,
		client:        r.Client,
	}
}

// String describes the refresher without its secrets.
func (r OAuth2Refresher) String() string {
	return fmt.Sprintf("[OAuth2Refresher %s]", redactedURL(r.TokenURL))
}

// GoString is String.
func (r OAuth2Refresher) GoString() string { return r.String() }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (r OAuth2Refresher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue is String.
func (r OAuth2Refresher) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Refresh implements [Refresher]. It asks for a new token whatever old is: there
// is nothing in it to renew.
//
// Refusals are a *[RefreshError]; an error of the connection or of ctx is
// wrapped. No error wraps [ErrSignInRequired], and none holds a token, a secret
// or text of the server's but its error code.
func (c *ClientCredentials) Refresh(ctx context.Context, _ Token) (Token, error) {
	if err := c.check(); err != nil {
		return Token{}, err
	}
	return c.endpoint().requestToken(ctx, url.Values{
		"grant_type": {"client_credentials"},
	}, Token{})
}

// Revoke implements [Revoker], as [OAuth2Refresher.Revoke] does.
func (c *ClientCredentials) Revoke(ctx context.Context, tok Token) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.endpoint().revoke(ctx, tok)
}

// check names every field that is wrong.
func (c *ClientCredentials) check() error {
	if c == nil {
		return errors.New("reauth: Refresher is a nil *ClientCredentials")
	}
	return c.endpoint().check()
}

func (c *ClientCredentials) endpoint() *tokenEndpoint {
	return &tokenEndpoint{
		name:          "ClientCredentials",
		tokenURL:      c.TokenURL,
		revocationURL: c.RevocationURL,
		clientID:      c.ClientID,
		clientSecret:  c.ClientSecret,
		clientKey:     c.ClientKey,
		authStyle:     c.AuthStyle,
		scopes:        c.Scopes,
		params:        c.Params,
		client:        c.Client,
	}
}

// String describes the refresher without its secrets.
func (c ClientCredentials) String() string {
	return fmt.Sprintf("[ClientCredentials %s]", redactedURL(c.TokenURL))
}

// GoString is String.
func (c ClientCredentials) GoString() string { return c.String() }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (c ClientCredentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c ClientCredentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
