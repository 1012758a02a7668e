package main

import (
	"context"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// asItself obtains tokens for the program itself.
func asItself(account) oauth.Grant { return oauth.ClientCredentials{} }

// asWorkload obtains tokens with an assertion of the platform that the program runs on.
func asWorkload(assertion func(context.Context) (string, error)) func(account) oauth.Grant {
	return func(account) oauth.Grant { return oauth.JWTBearer{Assertion: assertion} }
}

// asEmployee obtains tokens for a user who has signed in at the company's identity provider
// (enterprise-managed authorization): the ID token from there is exchanged for an assertion
// about the user to this authorization server, and that for a token. Nobody is asked.
func asEmployee(provider oauth.Refresher, idToken func(context.Context) (string, error)) func(account) oauth.Grant {
	return func(a account) oauth.Grant {
		at := &oauth.Refresher{
			TokenURL:     provider.TokenURL,
			ClientID:     provider.ClientID,
			ClientSecret: provider.ClientSecret,
			Client:       provider.Client,
			Grant: oauth.TokenExchange{
				Subject:       idToken,
				SubjectType:   oauth.TokenTypeIDToken,
				RequestedType: "urn:ietf:params:oauth:token-type:id-jag",
				Audience:      []string{a.Issuer},
				Resource:      []string{a.Resource},
			},
		}
		return oauth.JWTBearer{Assertion: func(ctx context.Context) (string, error) {
			tok, err := at.Refresh(ctx, reauth.Token{})
			return tok.AccessToken, err
		}}
	}
}
