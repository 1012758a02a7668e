package realservers_test

import (
	"context"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/jsonauth"
)

func renewDjango(p *program) renewal {
	endpoint := &jsonauth.Endpoint{
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
