package reauth_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// withoutKey removes the key that a library puts on its requests, so that the Transport
// puts the session's token there.
type withoutKey struct{ next http.RoundTripper }

func (w withoutKey) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context()) // a RoundTripper must not change its caller's request
	req.Header.Del("Authorization")
	return w.next.RoundTrip(req)
}

// A library that always sends a key, even an empty one, as "Bearer " and no more. The
// Transport sends a request unchanged if it has the header already, so the key is removed
// above it.
func ExampleNew_libraryWithAKey() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL(), ClientID: "my-program"},
		Origins:   []string{api.URL},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := transport.SignIn(context.Background(), reauth.Token(api.SignIn("ann"))); err != nil {
		fmt.Println(err)
		return
	}
	balance := func(client *http.Client) { // in the library
		req, err := http.NewRequest(http.MethodGet, api.APIURL("/balance"), nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Authorization", "Bearer ")
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
	}

	balance(&http.Client{Transport: transport})
	balance(&http.Client{Transport: withoutKey{transport}})
	// Output:
	// 401 Unauthorized
	// 200 OK
}
