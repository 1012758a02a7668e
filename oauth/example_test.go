package oauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A Refresher can be used without a Transport.
func ExampleRefresher() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("asked with", req.PostFormValue("grant_type"), req.PostFormValue("refresh_token"))
		_, _ = io.WriteString(w, `{"access_token":"access-2","token_type":"bearer","expires_in":300,"scope":"orders"}`)
	}))
	defer server.Close()

	r := &oauth.Refresher{TokenURL: server.URL + "/token", ClientID: "cli"}
	tok, err := r.Refresh(context.Background(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tok.AccessToken, tok.RefreshToken, tok.Extra["scope"])
	// Output:
	// asked with refresh_token refresh-1
	// access-2 refresh-1 orders
}

// A service calls an API on its own behalf. Nobody signs in: the first request fetches
// the first token.
func ExampleClientCredentials() {
	api := reauthtest.New(reauthtest.Options{ClientID: "billing", ClientSecret: "s3cr3t"})
	defer api.Close()

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL:     api.TokenURL(),
			ClientID:     "billing",
			ClientSecret: "s3cr3t", // in a real program from the environment
			Grant:        oauth.ClientCredentials{},
			Client:       api.Client(),
		},
		Origins: []string{api.URL},
		Base:    api.Transport(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := (&http.Client{Transport: transport}).Get(api.APIURL("/invoices"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s", body)
	// Output: {"path":"/invoices","token":1,"user":"billing"}
}

// kubernetes exchanges the token of a pod's service account (RFC 7523 section 2.1).
type kubernetes struct{ read func() (string, error) }

func (g kubernetes) Request(context.Context, reauth.Token) (url.Values, error) {
	assertion, err := g.read()
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion":  {assertion},
	}, err
}

// A grant that this package does not have is a type with one method.
func ExampleGrant() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("asked with", req.PostFormValue("assertion"))
		_, _ = io.WriteString(w, `{"access_token":"access-1","expires_in":300}`)
	}))
	defer server.Close()

	r := &oauth.Refresher{
		TokenURL: server.URL,
		Grant:    kubernetes{read: func() (string, error) { return "eyJ...", nil }},
	}
	tok, err := r.Refresh(context.Background(), reauth.Token{})
	fmt.Println(tok.AccessToken, err)
	// Output:
	// asked with eyJ...
	// access-1 <nil>
}

// An API that wants more than a token says so in its challenge.
func ExampleChallenges() {
	h := http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope", scope="orders.write"`}}
	for _, c := range oauth.Challenges(h) {
		fmt.Println(c.Scheme, c.Params["error"], c.Params["scope"])
	}
	// Output: Bearer insufficient_scope orders.write
}
