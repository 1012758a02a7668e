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

// Wrong: a token that is kept beside the library, and a Transport made anew for
// each request. Only the Transport that refreshes learns of the new token. The
// next one starts from the old, whose refresh token is spent by then; a server
// that rotates refresh tokens takes that for theft and ends the session, for the
// rightful owner too. The more requests there are at once, the sooner it happens.
//
// Right: call New once, when the program starts, and SignIn once, when the user
// does. From then on the token belongs to the Transport; where it is to outlive
// the program, give it a Store. Several users need one Transport and
// [reauth.WithSession], not several Transports.
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
	fmt.Println("sessions that the server has ended:", api.Counts().SessionsRevoked)
	// Output:
	// first: <nil>
	// second: must sign in again: true
	// sessions that the server has ended: 1
}
