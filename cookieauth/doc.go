// Package cookieauth keeps clients signed in to APIs whose sessions live in cookies, as
// in a browser: one cookie shows the API who calls, another renews it, and a value that
// is repeated in a header protects each of them against cross-site request forgery
// (CSRF).
//
// A [Cookies] is both the Refresher and the Credential of a Transport. Its defaults are
// those of flask-jwt-extended:
//
//	cookies := &cookieauth.Cookies{
//		RefreshURL: "https://api.example.com/token/refresh",
//		SignInURL:  "https://api.example.com/token/auth",
//	}
//	tr, err := reauth.New(reauth.Config{
//		Refresher: cookies,
//		Origins:   []string{"https://api.example.com"},
//	})
//	tok, err := cookies.Exchange(ctx, map[string]string{"username": name, "password": password})
//	if err != nil {
//		return err
//	}
//	err = tr.SignIn(ctx, tok)
//
// The cookies are in the session's token, not in a jar, so that any store keeps them and
// each session has its own.
package cookieauth
