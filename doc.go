// Package reauth keeps HTTP clients authenticated.
//
// A [Transport] is an [http.RoundTripper] that wraps another. It puts the session's
// access token on each request and refreshes it ahead of its expiry. If the API
// refuses the token before that (401), every request that was refused at the same time
// waits for one shared refresh, and each is sent once more with the new token. The caller
// sees only the final response:
//
//	tr, err := reauth.New(reauth.Config{
//		Refresher: &oauth.Refresher{TokenURL: tokenURL, ClientID: id},
//		Origins:   []string{"https://api.example.com"},
//	})
//	client := &http.Client{Transport: tr}
//	ok, err := tr.SignedIn(ctx)
//	if err == nil && !ok { // don't sign in over a newer stored token
//		err = tr.SignIn(ctx, reauth.Token{AccessToken: a, RefreshToken: r, Expiry: time.Now().Add(lifetime)})
//	}
//	resp, err := client.Get("https://api.example.com/me")
//	if errors.Is(err, reauth.ErrSignInRequired) { /* show the sign-in page */ }
//
// A program has one session, or many with names of their own: see [Transport.Session] and
// [WithSession]. Each has a token. Every refresh, sign-in and sign-out starts the next
// generation of it. A [Refresher] renews a session, a [Store] keeps its token, and a
// [Credential] puts the token on a request. This package speaks no protocol itself:
// packages oauth, jsonauth and cookieauth have Refreshers, and anybody can write one.
//
// # Errors
//
// A request whose session has no usable token fails with a [*RefreshError]: the refresh
// that it needed has failed, and the 401 from before would only mislead. If
// [ErrSignInRequired] is in its chain, the user must sign in again. In this a Transport
// departs from the letter of http.RoundTripper, which wants an error only if there was no
// response.
package reauth
