package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Wrong: the program keeps a token of its own and makes a Transport for each request.
// Only the Transport that refreshes learns of the new token. The next one starts from the
// old token, whose refresh token has been used by then. A server that rotates refresh
// tokens takes that for theft and revokes the session. The more requests there are at
// once, the sooner it happens.
//
// Right: call New once, when the program starts, and SignIn once, when the user signs in.
// From then on the token belongs to the Transport. Give it a Store if the token should
// outlive the program. For several users use one Transport and [reauth.WithSession].
func ExampleNew_oncePerRequestIsWrong() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	ctx := context.Background()
	mine := reauth.Token(api.SignIn("ann"))
	api.ExpireAccess()

	handle := func() error { // wrong
		transport, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
			Origins:   []string{api.URL},
		})
		if err != nil {
			return err
		}
		if err := transport.SignIn(ctx, mine); err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: transport}).Get(api.APIURL("/orders"))
		if err == nil {
			defer resp.Body.Close()
		}
		return err
	}

	fmt.Println("first:", handle())
	fmt.Println("second: must sign in again:", errors.Is(handle(), reauth.ErrSignInRequired))
	fmt.Println("sessions that the server has revoked:", api.Counts().SessionsRevoked)
	// Output:
	// first: <nil>
	// second: must sign in again: true
	// sessions that the server has revoked: 1
}
