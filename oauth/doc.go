// Package oauth renews sessions at the token endpoint of an OAuth 2.0 server (RFC 6749).
//
// A [Refresher] says where the server is and how the client authenticates there:
//
//	tr, err := reauth.New(reauth.Config{
//		Refresher: &oauth.Refresher{
//			TokenURL: "https://id.example.com/token",
//			ClientID: "my-program",
//		},
//		Origins: []string{"https://api.example.com"},
//	})
//
// Its [Grant] says what a new token is obtained with. By default that is the session's
// refresh token, so the first token comes from a sign-in. A program that calls an API on
// its own behalf uses [ClientCredentials], with which nobody signs in:
//
//	Refresher: &oauth.Refresher{
//		TokenURL:     "https://id.example.com/token",
//		ClientID:     "billing",
//		ClientSecret: os.Getenv("CLIENT_SECRET"),
//		Grant:        oauth.ClientCredentials{},
//	},
//
// [JWTBearer] and [TokenExchange] obtain one with an assertion or a token from elsewhere. Any
// other grant is a type with one method. [DPoP] binds tokens to a key. [Resource] obtains
// access tokens for several APIs with one refresh token.
//
// With an Issuer and without a TokenURL the Refresher finds the endpoints by itself; see
// [Discover].
//
// The token server's answer decides whether the session is kept. Only invalid_grant, or
// one of Refresher.FinalCodes, in answer to the session's refresh token means that the
// user must sign in again, and what Refresher.Final says. A server that is down or busy, a
// misconfigured client or an answer without a token never does. The module's
// docs/providers.md has the settings for well-known servers, docs/standards.md the standards
// that are supported.
package oauth
