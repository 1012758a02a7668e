package reauthtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// A sign-in, the end of an access token, and a refresh, without a socket.
func Example() {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	client := s.Client()

	get := func(accessToken string) {
		req, _ := http.NewRequest(http.MethodGet, s.APIURL("/orders"), nil)
		req.Header.Set("Authorization", "Bearer "+accessToken)
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
	}

	issued := s.SignIn("ann")
	get(issued.AccessToken)

	s.ExpireAccess("ann")
	get(issued.AccessToken)

	resp, err := client.PostForm(s.TokenURL(), url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {issued.RefreshToken},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)

	counts := s.Counts()
	fmt.Println("refreshes:", counts.Refreshes, "refused by the API:", counts.APIRefused)
	// Output:
	// 200 OK
	// 401 Unauthorized
	// 200 OK
	// refreshes: 1 refused by the API: 1
}

// In a testing/synctest bubble an hour passes in an instant.
func ExampleNewPipeServer() {
	_ = func(t *testing.T) { // func TestTokenLivesAnHour(t *testing.T)
		synctest.Test(t, func(t *testing.T) {
			s := reauthtest.NewPipeServer(t, reauthtest.Options{AccessLifetime: time.Hour})
			issued := s.SignIn("ann")
			time.Sleep(time.Hour)
			req, _ := http.NewRequest(http.MethodGet, s.APIURL("/"), nil)
			req.Header.Set("Authorization", "Bearer "+issued.AccessToken)
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %s, want a refusal", resp.Status)
			}
		})
	}
}

// The token endpoint is down for two requests and then recovers.
func ExampleServer_FailRefresh() {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	s.FailRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}, 2)

	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.SignIn("ann").RefreshToken}}
	for range 3 {
		resp, err := s.Client().PostForm(s.TokenURL(), form)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get("Retry-After"))
	}
	// Output:
	// 429 Too Many Requests 60
	// 429 Too Many Requests 60
	// 200 OK
}

// A server whose refresh endpoint takes and gives JSON of its own making.
func ExampleServer_HandleRefresh() {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	s.HandleRefresh("POST /auth/renew", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued, err := s.Refresh(r.Header.Get("X-Refresh-Token"))
		if err != nil {
			http.Error(w, `{"code":"token_not_valid"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"data":{"accessToken":%q,"refreshToken":%q}}`, issued.AccessToken, issued.RefreshToken)
	}))

	req, _ := http.NewRequest(http.MethodPost, s.APIURL("/auth/renew"), nil)
	req.Header.Set("X-Refresh-Token", "not one of ours")
	resp, err := s.Client().Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, s.Counts().Refreshes)
	// Output: 401 Unauthorized 1
}

// A sign-in page, and a token endpoint that takes its codes, for a program that signs its
// users in by itself. Refreshes go on to the server's own token endpoint.
func ExampleServer_HandlePublic() {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	s.HandlePublic("GET /authorize", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		back := url.Values{"code": {"code-of-ann"}, "state": {r.FormValue("state")}}
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	s.HandlePublic("POST /oauth/token", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "authorization_code" {
			r.URL.Path = "/token"
			s.ServeHTTP(w, r)
			return
		}
		issued := s.SignIn("ann")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","refresh_token":%q,"expires_in":%d}`,
			issued.AccessToken, issued.RefreshToken, int(time.Until(issued.Expiry).Seconds()))
	}))

	post := func(form url.Values) (tok struct {
		RefreshToken string `json:"refresh_token"`
	}) {
		resp, err := s.Client().PostForm(s.APIURL("/oauth/token"), form)
		if err != nil {
			fmt.Println(err)
			return tok
		}
		defer resp.Body.Close()
		_ = json.NewDecoder(resp.Body).Decode(&tok)
		fmt.Println(form.Get("grant_type"), resp.Status)
		return tok
	}
	tok := post(url.Values{"grant_type": {"authorization_code"}, "code": {"code-of-ann"}})
	post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.RefreshToken}})
	fmt.Println("sign-ins:", s.Counts().SignIns, "refreshes:", s.Counts().RefreshesGranted)
	// Output:
	// authorization_code 200 OK
	// refresh_token 200 OK
	// sign-ins: 1 refreshes: 1
}
