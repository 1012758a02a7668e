// Package registry uses reauth with github.com/google/go-containerregistry.
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/reauth-go/reauth"
)

// Tokens is a [reauth.Config.Refresher] that gets tokens from the token server that a
// registry names. Each scope is a session, which is named by it:
//
//	remote.Write(ref, img, remote.WithTransport(tr.Session(ref.Scope(transport.PushScope))))
//
// Scopes that are needed together, as when a layer is mounted from another repository,
// are one session, with a space between them. base sends the requests to the token server.
func Tokens(ctx context.Context, reg name.Registry, auth authn.Authenticator, base http.RoundTripper) (reauth.RefresherFunc, error) {
	challenge, err := transport.Ping(ctx, reg, base)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
		scopes := strings.Fields(reauth.SessionFromContext(ctx))
		tok, err := transport.Exchange(ctx, reg, auth, base, scopes, challenge)
		if refused, ok := errors.AsType[*transport.Error](err); ok && refused.StatusCode == http.StatusUnauthorized {
			return reauth.Token{}, fmt.Errorf("%w: %w", reauth.ErrSignInRequired, err)
		}
		if err != nil {
			if said, _, quotes := strings.Cut(err.Error(), "\n"); quotes { // an answer, which may have a token by another name
				err = errors.New(said)
			}
			return reauth.Token{}, err
		}
		lifetime := max(time.Duration(tok.ExpiresIn)*time.Second, time.Minute) // as the distribution spec says
		return reauth.Token{AccessToken: cmp.Or(tok.AccessToken, tok.Token), Expiry: time.Now().Add(lifetime)}, nil
	}, nil
}
