package reauth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/reauth-go/reauth"
)

// A refresher can be used without a Transport.
func ExampleOAuth2Refresher() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("asked with", req.PostFormValue("grant_type"), req.PostFormValue("refresh_token"))
		_, _ = io.WriteString(w, `{"access_token":"access-2","token_type":"bearer","expires_in":300,"scope":"orders"}`)
	}))
	defer server.Close()

	r := &reauth.OAuth2Refresher{TokenURL: server.URL + "/token", ClientID: "cli"}
	tok, err := r.Refresh(context.Background(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tok.AccessToken, tok.RefreshToken, tok.Extra["scope"])
	// Output:
	// asked with refresh_token refresh-1
	// access-2 refresh-1 orders
}

func ExampleClientCredentials() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id, _, _ := req.BasicAuth()
		fmt.Println(id, "asked with", req.PostFormValue("grant_type"))
		_, _ = io.WriteString(w, `{"access_token":"access-1","token_type":"bearer","expires_in":300}`)
	}))
	defer server.Close()

	c := &reauth.ClientCredentials{
		TokenURL:     server.URL + "/token",
		ClientID:     "nightly-report",
		ClientSecret: "from the environment",
		Scopes:       []string{"orders"},
	}
	tok, err := c.Refresh(context.Background(), reauth.Token{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tok.AccessToken)
	// Output:
	// nightly-report asked with client_credentials
	// access-1
}
