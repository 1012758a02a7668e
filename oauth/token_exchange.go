package oauth

import (
	"context"
	"net/url"
	"strconv"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
)

// Types of tokens (RFC 8693 section 3). A server may have others.
const (
	TokenTypeAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	TokenTypeRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token"
	TokenTypeIDToken      = "urn:ietf:params:oauth:token-type:id_token"
	TokenTypeJWT          = "urn:ietf:params:oauth:token-type:jwt"
)

// TokenExchange is the [Grant] that exchanges one token for another (RFC 8693), such as
// the token of a user or of a workload for one that an API of another domain accepts.
//
// It starts from no token of the session, so nobody has to call Transport.SignIn, and no
// error code of the server means that somebody must: servers answer invalid_request for a
// Subject that is not valid (section 2.2.2). An error of Subject can mean that, and so can
// Refresher.Final.
//
// The access token of the session is what the server has issued, whatever its type. For
// an ID token that is an answer with the token type "N_A", which is sent as Bearer, and
// often without a lifetime, which is then that of the JWT. The answer's issued_token_type
// is in Token.Extra; a server that leaves it out breaks section 2.2.1, and its token is
// used nonetheless. A refresh token is kept for Revoke, and not used: the next token comes
// from another exchange.
type TokenExchange struct {
	// Subject returns the token that stands for whom the new one is about. It is called
	// for each refresh, concurrently for several sessions. Its error fails the refresh,
	// for good if it wraps [reauth.ErrSignInRequired], as that of a Transport.Token does
	// whose session has ended. Required. See [AssertionFile].
	Subject func(context.Context) (string, error)

	// Actor returns the token of the party that acts for the subject. Nil if there is
	// none. It is called as Subject is.
	Actor func(context.Context) (string, error)

	// SubjectType and ActorType are the types of these tokens. Empty means
	// TokenTypeAccessToken.
	SubjectType, ActorType string

	// RequestedType is the type of the new token. Empty means that the server decides.
	RequestedType string

	// Audience are names by which the server knows the services that the new token is
	// for, and Resource are their URLs, which must be absolute and have no fragment
	// (section 2.1). Check them: some servers answer invalid_target, and have spent a
	// Subject that is a refresh token.
	Audience, Resource []string
}

// Request implements [Grant].
func (g TokenExchange) Request(ctx context.Context, _ reauth.Token) (url.Values, error) {
	subject, err := ask(ctx, "TokenExchange.Subject", g.Subject)
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {subject},
		"subject_token_type": {settings.OrDefault(g.SubjectType, TokenTypeAccessToken)},
	}
	if g.Actor != nil {
		actor, err := ask(ctx, "TokenExchange.Actor", g.Actor)
		if err != nil {
			return nil, err
		}
		form.Set("actor_token", actor)
		form.Set("actor_token_type", settings.OrDefault(g.ActorType, TokenTypeAccessToken))
	}
	if g.RequestedType != "" {
		form.Set("requested_token_type", g.RequestedType)
	}
	if len(g.Audience) > 0 {
		form["audience"] = g.Audience
	}
	if len(g.Resource) > 0 {
		form["resource"] = g.Resource
	}
	return form, nil
}

// Validate reports every field that is wrong.
func (g TokenExchange) Validate() error {
	f := settings.Of("oauth: TokenExchange")
	if g.Subject == nil {
		f.Add("Subject", "nil", "must be set")
	}
	if g.Actor == nil && g.ActorType != "" {
		f.Add("ActorType", strconv.Quote(g.ActorType), "is set, but Actor is not (RFC 8693 section 2.1)")
	}
	for _, audience := range g.Audience {
		if audience == "" {
			f.Add("Audience", `""`, "is empty")
		}
	}
	for _, resource := range g.Resource {
		if why := resourceFault(resource); why != "" {
			f.Add("Resource", redact.URL(resource), why)
		}
	}
	return f.Err()
}

// resourceFault returns what is wrong with the URL of a resource (RFC 8707 section 2).
func resourceFault(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "is not a URL"
	case !u.IsAbs():
		return "must be absolute (RFC 8707 section 2)"
	case u.Fragment != "" || raw[len(raw)-1] == '#':
		return "must have no fragment (RFC 8707 section 2)"
	}
	return ""
}
