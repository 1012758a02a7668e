// Package gogithub uses reauth with github.com/google/go-github, as an installation of a
// GitHub App.
package gogithub

import (
	"crypto/rsa"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/jsonauth"
)

// Installation is a [reauth.Config.Refresher] that asks for a token of an App's
// installation. api is https://api.github.com, or https://HOST/api/v3 of an Enterprise
// Server. The first token is fetched when it is needed. If the installation is gone, the
// error is [reauth.ErrSignInRequired]: somebody must install the App again.
func Installation(api, clientID string, installation int64, key *rsa.PrivateKey) *jsonauth.Endpoint {
	return &jsonauth.Endpoint{
		URL:          fmt.Sprintf("%s/app/installations/%d/access_tokens", api, installation),
		RefreshField: "-", // the App's JWT says who asks
		AccessPath:   "token",
		ExpiryPath:   "expires_at",
		FinalStatus:  []int{http.StatusNotFound}, // and not 401, which is about the key or the clock
		Body: func(req *http.Request, _ reauth.Token) (any, error) {
			now := time.Now()
			app, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
				Issuer:    clientID,
				IssuedAt:  jwt.NewNumericDate(now.Add(-time.Minute)), // a clock may be off
				ExpiresAt: jwt.NewNumericDate(now.Add(9 * time.Minute)),
			}).SignedString(key)
			req.Header.Set("Authorization", "Bearer "+app)
			return nil, err
		},
	}
}
