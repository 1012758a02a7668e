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

// A device grants itself a token with what its user has typed (a grant of this server).
type device struct{ code func() (string, error) }

func (g device) Request(context.Context, reauth.Token) (url.Values, error) {
	code, err := g.code()
	return url.Values{"grant_type": {"urn:example:device"}, "code": {code}}, err
}

// A grant that this package does not have is a type with one method.
func ExampleGrant() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("asked with", req.PostFormValue("code"))
		_, _ = io.WriteString(w, `{"access_token":"access-1","expires_in":300}`)
	}))
	defer server.Close()

	r := &oauth.Refresher{
		TokenURL: server.URL,
		Grant:    device{code: func() (string, error) { return "WDJB-MJHT", nil }},
	}
	tok, err := r.Refresh(context.Background(), reauth.Token{})
	fmt.Println(tok.AccessToken, err)
	// Output:
	// asked with WDJB-MJHT
	// access-1 <nil>
}

// A pod authenticates with the token that Kubernetes keeps in a file, and replaces there.
func ExampleAssertionFile() {
	_ = &oauth.Refresher{
		TokenURL:  "https://login.example.com/tenant/token",
		ClientID:  "billing",
		Assertion: oauth.AssertionFile("/var/run/secrets/tokens/login.example.com"),
		Grant:     oauth.ClientCredentials{},
	}
}

// A user's token at the company's identity provider is exchanged for an assertion to
// another domain (RFC 8693), whose server gives a token for that (RFC 7523): one grant in
// front of another.
func ExampleTokenExchange() {
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("the identity provider gets", req.PostFormValue("subject_token"))
		_, _ = io.WriteString(w, `{"access_token":"assertion-1","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"N_A"}`)
	}))
	defer idp.Close()
	domain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println("the other domain gets", req.PostFormValue("assertion"))
		_, _ = io.WriteString(w, `{"access_token":"access-1","token_type":"Bearer","expires_in":300}`)
	}))
	defer domain.Close()

	exchange := &oauth.Refresher{
		TokenURL: idp.URL,
		ClientID: "portal",
		Grant: oauth.TokenExchange{
			// in a real program the token of the user's session there, from its Transport
			Subject:       func(context.Context) (string, error) { return "id-token-of-ann", nil },
			SubjectType:   oauth.TokenTypeIDToken,
			RequestedType: oauth.TokenTypeJWT,
			Audience:      []string{domain.URL},
		},
	}
	r := &oauth.Refresher{
		TokenURL: domain.URL,
		ClientID: "portal",
		Grant: oauth.JWTBearer{Assertion: func(ctx context.Context) (string, error) {
			tok, err := exchange.Refresh(ctx, reauth.Token{})
			return tok.AccessToken, err
		}},
	}
	tok, err := r.Refresh(context.Background(), reauth.Token{})
	fmt.Println(tok.AccessToken, err)
	// Output:
	// the identity provider gets id-token-of-ann
	// the other domain gets assertion-1
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

// A signInCode is the grant of a sign-in: the authorization code that the browser has brought.
type signInCode string

func (c signInCode) Request(context.Context, reauth.Token) (url.Values, error) {
	return url.Values{"grant_type": {"authorization_code"}, "code": {string(c)}}, nil
}

// The sign-in and all that follows carry proofs of one key, which is kept with the session.
func ExampleDPoP() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Println(req.URL.Path, "has a proof:", req.Header.Get("DPoP") != "")
		if req.URL.Path == "/token" {
			_, _ = io.WriteString(w, `{"access_token":"access-1","refresh_token":"refresh-1","token_type":"DPoP","expires_in":300}`)
		}
	}))
	defer server.Close()
	ctx := context.Background()

	dpop := new(oauth.DPoP)
	refresher := &oauth.Refresher{TokenURL: server.URL + "/token", ClientID: "my-program", DPoP: dpop}
	tr, err := reauth.New(reauth.Config{
		Refresher:  refresher,
		Credential: dpop,
		Origins:    []string{server.URL},
	})
	if err != nil {
		panic(err)
	}

	signIn := *refresher
	signIn.Grant = signInCode("code-1")
	tok, err := signIn.Refresh(ctx, reauth.Token{})
	if err != nil {
		panic(err)
	}
	if err := tr.SignIn(ctx, tok); err != nil {
		panic(err)
	}
	resp, err := (&http.Client{Transport: tr}).Get(server.URL + "/orders")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	// Output:
	// /token has a proof: true
	// /orders has a proof: true
}
