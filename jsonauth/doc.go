// Package jsonauth renews sessions at endpoints that take JSON and answer with JSON, but
// do not speak OAuth 2.0: those of a framework, or written by hand for one API.
//
// An [Endpoint] says where the endpoint is and under which names the tokens stand in its
// requests and answers. This one is for Django REST framework with simplejwt and djoser:
//
//	jwt := &jsonauth.Endpoint{
//		URL:          "https://api.example.com/auth/jwt/refresh/",
//		SignInURL:    "https://api.example.com/auth/jwt/create/",
//		RefreshField: "refresh",
//		AccessPath:   "access",
//		RefreshPath:  "refresh",
//	}
//	tr, err := reauth.New(reauth.Config{
//		Refresher: jwt,
//		Origins:   []string{"https://api.example.com"},
//	})
//	tok, err := jwt.Exchange(ctx, map[string]string{"username": name, "password": password})
//	if err != nil {
//		return err
//	}
//	err = tr.SignIn(ctx, tok)
//
// By default a 401 in answer to a refresh means that the user must sign in again, if its
// body is JSON or empty. Any other answer without a token is treated as a temporary
// failure. Endpoint.FinalCodes and Endpoint.Final are for endpoints that say it otherwise.
//
// A refresh token that the endpoint keeps in a cookie needs no jar. It is the session's
// own, like any other:
//
//	jwt := &jsonauth.Endpoint{URL: "https://api.example.com/auth/refresh", RefreshCookie: "refresh_token"}
//
// The module's docs/providers.md has the settings for some well-known endpoints.
package jsonauth
