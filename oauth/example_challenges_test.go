package oauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// stepUp returns what an API wants of the next sign-in: more scopes (RFC 6750 section 3.1),
// or that the user signs in in another way or again (RFC 9470 section 3). A refresh changes
// neither, so the response has come back as it was.
func stepUp(resp *http.Response) (wanted url.Values, ok bool) {
	for _, c := range oauth.Challenges(resp.Header) {
		switch c.Params["error"] {
		case "insufficient_scope":
			return url.Values{"scope": {c.Params["scope"]}}, true
		case "insufficient_user_authentication":
			wanted = url.Values{}
			for _, name := range []string{"acr_values", "max_age"} {
				if c.Params[name] != "" {
					wanted.Set(name, c.Params[name])
				}
			}
			return wanted, true
		}
	}
	return nil, false
}

// A request that needs more than the token allows is sent again after another sign-in, which
// asks for what the challenge names.
func ExampleChallenges_stepUp() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer access-with-mfa" {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="60"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Println("paid")
	}))
	defer api.Close()
	signInWithBrowser := func(_ context.Context, parameters url.Values) (reauth.Token, error) {
		fmt.Println("sign-in with", parameters.Encode())
		return reauth.Token{AccessToken: "access-with-mfa", RefreshToken: "refresh-2"}, nil
	}

	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: "https://id.example.com/token", ClientID: "cli"},
		Origins:   []string{api.URL},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := tr.SignIn(ctx, reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}); err != nil {
		panic(err)
	}

	client := &http.Client{Transport: tr}
	for attempt := 1; ; attempt++ {
		resp, err := client.Post(api.URL+"/payments", "text/plain", strings.NewReader("10 euros"))
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
		parameters, ok := stepUp(resp)
		if !ok || attempt == 2 { // an API that wants something else each time would go on for ever
			fmt.Println(resp.Status)
			return
		}
		tok, err := signInWithBrowser(ctx, parameters)
		if err != nil {
			panic(err)
		}
		if err := tr.SignIn(ctx, tok); err != nil {
			panic(err)
		}
	}
	// Output:
	// sign-in with acr_values=mfa&max_age=60
	// paid
	// 200 OK
}

// claimsOf is the refresh token grant, with the claims that the API has asked for.
type claimsOf struct{}

func (claimsOf) NeedsToken() bool { return true }

func (claimsOf) Request(ctx context.Context, old reauth.Token) (url.Values, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken}}
	refusal, _ := reauth.RefusalFromContext(ctx)
	for _, c := range oauth.Challenges(refusal.Header) {
		if encoded := c.Params["claims"]; encoded != "" {
			claims, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
			if err != nil {
				return nil, errors.New("the claims of the challenge can't be read")
			}
			form.Set("claims", string(claims))
		}
	}
	return form, nil
}

// Microsoft Entra's continuous access evaluation refuses a token that is good otherwise, and
// says which claims the next one must be asked for with. Where the user has to do something
// for them, the token server says interaction_required.
func ExampleGrant_claimsChallenge() {
	claims := `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/token":
			fmt.Println("asked with claims", req.PostFormValue("claims"))
			_, _ = io.WriteString(w, `{"access_token":"access-2","refresh_token":"refresh-2","expires_in":3600}`)
		case req.Header.Get("Authorization") != "Bearer access-2":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="", error="insufficient_claims", claims=%q`,
				base64.StdEncoding.EncodeToString([]byte(claims))))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()

	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL: server.URL + "/token", ClientID: "cli", Grant: claimsOf{},
			FinalCodes: []string{"interaction_required"},
		},
		Origins: []string{server.URL},
	})
	if err != nil {
		panic(err)
	}
	if err := tr.SignIn(context.Background(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}); err != nil {
		panic(err)
	}
	resp, err := (&http.Client{Transport: tr}).Get(server.URL + "/me")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// asked with claims {"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}
	// 200 OK
}

// An API of the same sign-in, for which the server issues access tokens separately.
func ExampleResource() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			fmt.Println("asked for", req.PostFormValue("resource"))
			_, _ = io.WriteString(w, `{"access_token":"access-to-orders","refresh_token":"refresh-2","expires_in":300}`)
			return
		}
		fmt.Println(req.URL.Path, "is asked with", req.Header.Get("Authorization"))
	}))
	defer server.Close()

	refresher := &oauth.Refresher{TokenURL: server.URL + "/token", ClientID: "cli"}
	tr, err := reauth.New(reauth.Config{Refresher: refresher, Origins: []string{server.URL}})
	if err != nil {
		panic(err)
	}
	orders := &oauth.Resource{Transport: tr, Refresher: refresher, Resource: "https://orders.example.com/"}
	atOrders, err := reauth.New(reauth.Config{Refresher: orders, SignIn: orders.SignIn, Origins: []string{server.URL}})
	if err != nil {
		panic(err)
	}

	if err := tr.SignIn(context.Background(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}); err != nil {
		panic(err)
	}
	for path, transport := range map[string]*reauth.Transport{"/me": tr, "/orders": atOrders} {
		resp, err := (&http.Client{Transport: transport}).Get(server.URL + path)
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
	}
	// Unordered output:
	// /me is asked with Bearer access-1
	// asked for https://orders.example.com/
	// /orders is asked with Bearer access-to-orders
}
