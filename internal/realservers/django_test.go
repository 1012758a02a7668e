package realservers_test

import (
	"context"

	"github.com/reauth-go/reauth"
)

func renewDjango(p *program) renewal {
	endpoint := &reauth.JSONEndpoint{
		URL:          p.url + "/v1/auth/jwt/refresh/",
		SignInURL:    p.url + "/v1/auth/jwt/create/",
		RefreshField: "refresh",
		AccessPath:   "access",
		RefreshPath:  "refresh",
	}
	return renewal{
		refresher: endpoint,
		signIn: func(ctx context.Context) (reauth.Token, error) {
			return endpoint.Exchange(ctx, credentials)
		},
	}
}
