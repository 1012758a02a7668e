package xoauth2

import (
	"context"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// SignIn ends a sign-in that [oauth2.Config.AuthCodeURL] has begun: it exchanges the code
// for a token and hands that to the session, which is a *reauth.Session or a
// *reauth.Transport. verifier is the one whose challenge was in the URL (PKCE, RFC 7636),
// or "" if there was none:
//
//	verifier, state := oauth2.GenerateVerifier(), rand.Text()
//	url := cfg.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier))
//	// The user comes back with a code. Compare the state first, then:
//	err := xoauth2.SignIn(ctx, tr.Session(user), cfg, code, verifier)
//
// If the token server has refused the code with invalid_grant (RFC 6749 section 5.2), the
// error wraps reauth.ErrSignInRequired: begin again. Any other error is a temporary one. A
// server that refuses a code in other words, as GitHub does with bad_verification_code, gives
// such an error, a *reauth.RefreshError with that Code. None shows a secret. If the session
// could not be stored, the token is lost, and the user signs in once more. No redirect to
// another origin is followed, unless the http.Client of ctx has a CheckRedirect of its own.
//
// The request has no DPoP proof, so its tokens are not bound to a key. The example of
// oauth.DPoP has a sign-in whose tokens are.
func SignIn(ctx context.Context, session interface {
	SignIn(context.Context, reauth.Token) error
}, cfg *oauth2.Config, code, verifier string, opts ...oauth2.AuthCodeOption) error {
	if verifier != "" {
		opts = append(opts, oauth2.VerifierOption(verifier))
	}
	client := clientOf(ctx)
	tok, err := cfg.Exchange(context.WithValue(ctx, oauth2.HTTPClient, &client), code, opts...)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("xoauth2: sign-in: %w", context.Cause(ctx))
	case err != nil:
		failure := failureOf(err, code, verifier, cfg.ClientSecret)
		if failure.Code == "invalid_grant" && saysSo(failure.StatusCode) {
			failure.Err = fmt.Errorf("the sign-in was refused: %w", reauth.ErrSignInRequired)
		}
		return failure
	}
	return session.SignIn(ctx, FromToken(tok))
}
