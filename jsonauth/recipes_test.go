package jsonauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/jsonauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// One token is both the access and the refresh token.
func ExampleEndpoint_recipeOneTokenForBoth() {
	s := reauthtest.New(oneToken.Options)
	defer s.Close()
	oneToken.Mount(s)

	tr, err := reauth.New(reauth.Config{
		Refresher: &jsonauth.Endpoint{URL: s.URL + "/refresh", RefreshField: "token", AccessPath: "token", RefreshPath: "token", Client: s.Client()},
		Origins:   []string{s.URL},
		Base:      s.Transport(),
	})
	must(err)
	t := joined(s.SignIn("ann"))
	must(tr.SignIn(context.Background(), reauth.Token{AccessToken: t, RefreshToken: t}))
	s.ExpireAccess()
	show((&http.Client{Transport: tr}).Get(s.URL + "/orders"))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

// JSON Web Tokens of a Django REST framework, with a refresh token that stays.
func ExampleEndpoint_recipeJSONWebTokens() {
	s := reauthtest.New(reauthtest.Options{KeepRefreshToken: true})
	defer s.Close()
	jsonWebTokens.Mount(s)

	jwt := &jsonauth.Endpoint{
		URL: s.URL + "/v1/auth/jwt/refresh/", SignInURL: s.URL + "/v1/auth/jwt/create/",
		RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", Client: s.Client(),
	}
	tr, err := reauth.New(reauth.Config{Refresher: jwt, Origins: []string{s.URL}, Base: s.Transport()})
	must(err)
	tok, err := jwt.Exchange(context.Background(), credentials)
	must(err)
	must(tr.SignIn(context.Background(), tok))
	s.ExpireAccess()
	show((&http.Client{Transport: tr}).Get(s.URL + "/v1/auth/users/me/"))
	// Output: 200 {"username":"ann"}
}

// An answer with the tokens deep inside, and an API that wants the bare token.
func ExampleEndpoint_recipeBareToken() {
	s := reauthtest.New(bareToken.Options)
	defer s.Close()
	bareToken.Mount(s)

	tr, err := reauth.New(reauth.Config{
		Refresher:  &jsonauth.Endpoint{URL: s.URL + "/refresh", AccessPath: "data.data.accessToken", RefreshPath: "data.data.refreshToken", Client: s.Client()},
		Credential: reauth.HeaderCredential{Bare: true},
		Origins:    []string{s.URL},
		Base:       s.Transport(),
	})
	must(err)
	must(tr.SignIn(context.Background(), reauth.Token(s.SignIn("ann"))))
	s.ExpireAccess()
	show((&http.Client{Transport: tr}).Get(s.URL + "/orders"))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

// A program with a user interface: requests before a sign-in, the sign-in, "who am I", a
// session that the server ends, and a sign-out, all through one client.
func ExampleEndpoint_signedInState() {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	jsonWebTokens.Mount(s)
	ctx := context.Background()

	jwt := &jsonauth.Endpoint{
		URL: s.URL + "/v1/auth/jwt/refresh/", SignInURL: s.URL + "/v1/auth/jwt/create/",
		RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh",
	}
	tr, err := reauth.New(reauth.Config{
		Refresher: jwt, Origins: []string{s.URL}, Base: s.Transport(), Anonymous: true,
		OnEvent: func(_ context.Context, e reauth.Event) {
			if e.Kind == reauth.EventSignInRequired { // once for each loss
				fmt.Println("-> the sign-in page")
			}
		},
	})
	must(err)
	client := &http.Client{Transport: tr}
	jwt.Client = client // a refresher may use the client that it serves

	whoAmI := func() {
		signedIn, err := tr.SignedIn(ctx)
		must(err)
		resp, err := client.Get(s.URL + "/v1/auth/users/me/")
		fmt.Print("signed in: ", signedIn, ", who am I: ")
		show(resp, err)
	}
	login := func(password string) {
		tok, err := jwt.Exchange(reauth.WithoutAuth(ctx), map[string]string{"username": "ann", "password": password})
		if errors.Is(err, reauth.ErrSignInRequired) {
			fmt.Println("wrong password")
			return
		}
		must(err)
		must(tr.SignIn(ctx, tok))
	}

	show(client.Get(s.URL + "/v1/news/"))
	whoAmI()
	login("guessed")
	login("secret")
	whoAmI()

	s.Revoke("ann")
	whoAmI()
	whoAmI()

	login("secret")
	whoAmI()
	must(tr.SignOut(ctx))
	whoAmI()
	// Output:
	// 200 no sign-in needed
	// signed in: false, who am I: 401
	// wrong password
	// signed in: true, who am I: 200 {"username":"ann"}
	// -> the sign-in page
	// signed in: true, who am I: 401
	// signed in: false, who am I: 401
	// signed in: true, who am I: 200 {"username":"ann"}
	// signed in: false, who am I: 401
}

func TestRecipesAreShort(t *testing.T) {
	testworld.AssertShort(t, "recipes_test.go", "ExampleEndpoint_recipe", 3)
}

func TestRecipes(t *testing.T) {
	t.Run("one token for both", oneToken.Test)
	t.Run("JSON Web Tokens", jsonWebTokens.Test)
	t.Run("bare token", bareToken.Test)
}

// credentials are those of ann.
var credentials = map[string]string{"username": "ann", "password": "secret"}

var oneToken = testworld.Recipe{
	Options: reauthtest.Options{AccessToken: func(r *http.Request) string {
		both, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		access, _, _ := strings.Cut(both, "~")
		return access
	}},
	Mount: func(s *reauthtest.Server) {
		handleRefresh(s, "/refresh", func(sent map[string]string) string {
			_, refresh, _ := strings.Cut(sent["token"], "~")
			return refresh
		}, func(i reauthtest.Issued) any { return map[string]string{"token": joined(i)} })
	},
	SignIn: func(_ context.Context, s *reauthtest.Server) (reauth.Config, reauth.Token) {
		both := joined(s.SignIn("ann"))
		return reauth.Config{
			Refresher: &jsonauth.Endpoint{URL: s.URL + "/refresh", RefreshField: "token", AccessPath: "token", RefreshPath: "token", Client: s.Client()},
		}, reauth.Token{AccessToken: both, RefreshToken: both}
	},
}

// joined makes one token of two.
func joined(i reauthtest.Issued) string { return i.AccessToken + "~" + i.RefreshToken }

var jsonWebTokens = testworld.Recipe{
	Expires: true,
	Mount: func(s *reauthtest.Server) {
		pair := func(i reauthtest.Issued) any {
			answer := map[string]string{"access": i.AccessToken}
			if i.RefreshToken != "" {
				answer["refresh"] = i.RefreshToken
			}
			return answer
		}
		s.HandlePublic("POST /v1/auth/jwt/create/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c := readJSON(r); c["password"] == credentials["password"] {
				writeJSON(w, 200, pair(s.SignIn(c["username"])))
			} else {
				writeJSON(w, 401, map[string]string{"detail": "No active account found with the given credentials"})
			}
		}))
		handleRefresh(s, "/v1/auth/jwt/refresh/", func(sent map[string]string) string { return sent["refresh"] }, pair)
		s.HandlePublic("/v1/news/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "no sign-in needed")
		}))
		s.Handle("/v1/auth/users/me/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, 200, map[string]string{"username": reauthtest.UserFromRequest(r)})
		}))
	},
	SignIn: func(ctx context.Context, s *reauthtest.Server) (reauth.Config, reauth.Token) {
		jwt := &jsonauth.Endpoint{
			URL: s.URL + "/v1/auth/jwt/refresh/", SignInURL: s.URL + "/v1/auth/jwt/create/",
			RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", Client: s.Client(),
		}
		tok, err := jwt.Exchange(ctx, credentials)
		must(err)
		return reauth.Config{Refresher: jwt}, tok
	},
}

var bareToken = testworld.Recipe{
	Options: reauthtest.Options{AccessToken: func(r *http.Request) string { return r.Header.Get("Authorization") }},
	Mount: func(s *reauthtest.Server) {
		handleRefresh(s, "/refresh", func(sent map[string]string) string { return sent["refresh_token"] }, func(i reauthtest.Issued) any {
			return map[string]any{"data": map[string]any{"data": map[string]string{"accessToken": i.AccessToken, "refreshToken": i.RefreshToken}}}
		})
	},
	SignIn: func(_ context.Context, s *reauthtest.Server) (reauth.Config, reauth.Token) {
		return reauth.Config{
			Refresher:  &jsonauth.Endpoint{URL: s.URL + "/refresh", AccessPath: "data.data.accessToken", RefreshPath: "data.data.refreshToken", Client: s.Client()},
			Credential: reauth.HeaderCredential{Bare: true},
		}, reauth.Token(s.SignIn("ann"))
	},
}

// handleRefresh serves a refresh that takes the refresh token from the JSON that was
// sent, and answers with JSON.
func handleRefresh(s *reauthtest.Server, path string, token func(sent map[string]string) string, answer func(reauthtest.Issued) any) {
	s.HandleRefresh("POST "+path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued, err := s.Refresh(token(readJSON(r)))
		if err != nil {
			writeJSON(w, 401, map[string]string{"detail": "Token is invalid or expired", "code": "token_not_valid"})
			return
		}
		writeJSON(w, 200, answer(issued))
	}))
}

func readJSON(r *http.Request) map[string]string {
	var members map[string]string
	_ = json.NewDecoder(r.Body).Decode(&members)
	return members
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// show prints an answer: its status, and its body unless it is an error.
func show(resp *http.Response, err error) {
	must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(err)
	if resp.StatusCode >= 400 {
		fmt.Println(resp.StatusCode)
		return
	}
	fmt.Println(resp.StatusCode, strings.TrimSpace(string(text)))
}
