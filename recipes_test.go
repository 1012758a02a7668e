package reauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Recipe A: one token is both the access and the refresh token.
func Example_recipeA() {
	s := serverA()
	defer s.Close()
	tr, err := reauth.New(reauth.Config{
		Refresher: &reauth.JSONEndpoint{URL: s.URL + "/refresh", RefreshField: "token", AccessPath: "token", RefreshPath: "token", Client: s.Client()},
		Origins:   []string{s.URL},
		Base:      s.Transport(),
	})
	must(err)
	t := tokenA(s.SignIn("ann"))
	must(tr.SignIn(context.Background(), reauth.Token{AccessToken: t, RefreshToken: t}))
	s.ExpireAccess()
	client := &http.Client{Transport: tr}
	show(client.Get(s.URL + "/orders"))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

// Recipe B: JSON Web Tokens of a Django REST framework, with a refresh token that
// stays.
func Example_recipeB() {
	s := serverB(reauthtest.Options{KeepRefreshToken: true})
	defer s.Close()
	jwt := &reauth.JSONEndpoint{
		URL: s.URL + "/v1/auth/jwt/refresh/", SignInURL: s.URL + "/v1/auth/jwt/create/",
		RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", Client: s.Client(),
	}
	tr, err := reauth.New(reauth.Config{Refresher: jwt, Origins: []string{s.URL}, Base: s.Transport()})
	must(err)
	tok, err := jwt.Exchange(context.Background(), credentials)
	must(err)
	must(tr.SignIn(context.Background(), tok))
	s.ExpireAccess()
	client := &http.Client{Transport: tr}
	show(client.Get(s.URL + "/v1/auth/users/me/"))
	// Output: 200 {"username":"ann"}
}

// Recipe C: an answer with the token deep inside, and an API that wants it bare.
func Example_recipeC() {
	s := serverC()
	defer s.Close()
	tr, err := reauth.New(reauth.Config{
		Refresher:  &reauth.JSONEndpoint{URL: s.URL + "/refresh", AccessPath: "data.data.accessToken", RefreshPath: "data.data.refreshToken", Client: s.Client()},
		Credential: reauth.HeaderCredential{Bare: true},
		Origins:    []string{s.URL},
		Base:       s.Transport(),
	})
	must(err)
	must(tr.SignIn(context.Background(), reauth.Token(s.SignIn("ann"))))
	s.ExpireAccess()
	client := &http.Client{Transport: tr}
	show(client.Get(s.URL + "/orders"))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

// Recipe E: the session lives in cookies, with a CSRF header on every request.
func Example_recipeE() {
	s := serverE(reauthtest.Options{})
	defer s.Close()
	cookies := &reauth.CookieSession{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth", Client: s.Client()}
	tr, err := reauth.New(reauth.Config{Refresher: cookies, Origins: []string{s.URL}, Base: s.Transport()})
	must(err)
	tok, err := cookies.Exchange(context.Background(), credentials)
	must(err)
	must(tr.SignIn(context.Background(), tok))
	s.ExpireAccess()
	client := &http.Client{Transport: tr}
	show(client.Post(s.URL+"/orders", "application/json", strings.NewReader(`{"item":7}`)))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

// A program with a face: what comes before a sign-in, the sign-in, "who am I", a
// session that the server ends, and a sign-out, all through one client.
func Example_signedInState() {
	s := serverB(reauthtest.Options{})
	defer s.Close()
	ctx := context.Background()

	jwt := &reauth.JSONEndpoint{
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
		if errors.Is(err, reauth.ErrSignInRequired) {
			fmt.Println("the session has ended")
			return
		}
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
	// the session has ended
	// signed in: false, who am I: 401
	// signed in: true, who am I: 200 {"username":"ann"}
	// signed in: false, who am I: 401
}

func TestEachRecipeTakesAtMost15Lines(t *testing.T) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "recipes_test.go", nil, 0)
	require.NoError(t, err)
	found := 0
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example_recipe") {
			found++
			list := f.Body.List
			lines := set.Position(list[len(list)-1].End()).Line - set.Position(list[0].Pos()).Line + 1
			assert.LessOrEqual(t, lines, 15, f.Name.Name)
		}
	}
	assert.Equal(t, 4, found)
}

// A flag "already fetching" that a failure leaves up makes all who come later
// wait for ever.
func TestRecipeFailure1AFailedRefreshIsNotInTheWayOfTheNext(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		r.s.FailRefresh(reauthtest.Failure{Status: 503}, 1)
		r.s.ExpireAccess()
		_, _, err := r.get(t)
		require.Error(t, err)

		time.Sleep(2 * time.Second)
		status, _, err := r.get(t)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, 2, r.s.Counts().Refreshes)
	})
}

// A queue that nobody rejects when the refresh fails leaves its members hanging.
func TestRecipeFailure2EveryWaiterHearsOfTheFailure(t *testing.T) {
	eachRecipe(t, reauthtest.Options{RefreshLatency: time.Second}, func(t *testing.T, r *recipe) {
		r.s.FailRefresh(reauthtest.Failure{Status: 500}, -1)
		r.s.ExpireAccess()
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, _, err := r.get(t)
				_, ok := errors.AsType[*reauth.RefreshError](err)
				assert.True(t, ok, "%v", err)
			})
		}
		wg.Wait()
		assert.Equal(t, time.Second, time.Since(began))
		assert.Equal(t, 1, r.s.Counts().Refreshes)
	})
}

// A shared promise that is kept after it was rejected answers for ever.
func TestRecipeFailure3AFailureIsNotRememberedForEver(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		r.s.FailRefresh(reauthtest.Drop, -1)
		r.s.ExpireAccess()
		for range 5 {
			_, _, err := r.get(t)
			require.Error(t, err)
			time.Sleep(time.Minute)
		}
		r.s.FailRefresh(reauthtest.Failure{}, 0)
		for range 5 {
			status, _, err := r.get(t)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		}
		assert.Equal(t, 1, r.s.Counts().RefreshesGranted)
	})
}

// One refresh for each refused request: with refresh tokens that rotate all but
// one fail, and the session with them.
func TestRecipeFailure4RequestsRefusedTogetherShareOneRefresh(t *testing.T) {
	eachRecipe(t, reauthtest.Options{RefreshLatency: time.Second}, func(t *testing.T, r *recipe) {
		r.s.ExpireAccess()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				status, _, err := r.get(t)
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
			})
		}
		wg.Wait()
		c := r.s.Counts()
		assert.Equal(t, 1, c.Refreshes)
		assert.Equal(t, 1, c.MaxUsesOfOneRefreshToken)
		assert.Zero(t, c.SessionsRevoked)

		r.s.ExpireAccess() // the session is alive
		time.Sleep(time.Minute)
		status, _, err := r.get(t)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

// The original error returned while the refresh has only begun throws the
// replay's answer away.
func TestRecipeFailure5TheReplaysAnswerIsTheAnswer(t *testing.T) {
	eachRecipe(t, reauthtest.Options{RefreshLatency: 3 * time.Second}, func(t *testing.T, r *recipe) {
		r.s.ExpireAccess()
		began := time.Now()
		status, body, err := r.get(t)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.JSONEq(t, `{"path":"/orders","token":2,"user":"ann"}`, body)
		assert.Equal(t, 3*time.Second, time.Since(began))
		assert.Equal(t, 2, r.s.Counts().APIRequests)
	})
}

// A refusal of the old token that comes late starts a refresh of the new one.
func TestRecipeFailure6ALateRefusalStartsNoRefresh(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		r.s.ExpireAccess()
		r.delayed(10 * time.Minute) // how long the first answer is on its way
		var wg sync.WaitGroup
		wg.Go(func() {
			status, _, err := r.get(t)
			assert.NoError(t, err)
			assert.Equal(t, 200, status)
		})
		synctest.Wait()
		status, _, err := r.get(t)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		wg.Wait()
		c := r.s.Counts()
		assert.Equal(t, 1, c.Refreshes)
		assert.Equal(t, 2, c.APIRefused)
		assert.Equal(t, 2, c.APISucceeded)
	})
}

// An endpoint that answers 401 to a good token is about permission.
func TestRecipeFailure7APermissionProblemDoesNotRefreshAgainAndAgain(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		r.s.HandlePublic("/orders", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "not for you")
		}))
		for range 20 {
			status, body, err := r.get(t)
			require.NoError(t, err)
			assert.Equal(t, 401, status)
			assert.Equal(t, "not for you", body)
		}
		assert.Equal(t, 1, r.s.Counts().Refreshes)
	})
}

// A network that fails is no sign-out, and no secret.
func TestRecipeFailure8ABrokenNetworkSignsNobodyOutAndIsSaid(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		for _, f := range []reauthtest.Failure{reauthtest.Drop, {Status: 502}, {Status: 429}, reauthtest.BrokenAnswer} {
			r.s.FailRefresh(f, -1)
			r.s.ExpireAccess()
			_, _, err := r.get(t)
			require.Error(t, err)
			_, ok := errors.AsType[*reauth.RefreshError](err)
			assert.True(t, ok, "%T", err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			signedIn, err := r.tr.SignedIn(t.Context())
			require.NoError(t, err)
			assert.True(t, signedIn)
			time.Sleep(time.Minute)
		}
		assert.Zero(t, r.events.count(reauth.EventSignInRequired))
		r.s.FailRefresh(reauthtest.Failure{}, 0)
		status, _, err := r.get(t)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

// A cookie that scripts cannot read hides when it ends, so that only the API's
// refusal shows it.
func TestRecipeFailure9ACookieIsRenewedBeforeItEnds(t *testing.T) {
	eachRecipe(t, reauthtest.Options{AccessLifetime: time.Minute}, func(t *testing.T, r *recipe) {
		for range 100 {
			status, _, err := r.get(t)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
			time.Sleep(3 * time.Second)
		}
		c := r.s.Counts()
		assert.Zero(t, c.APIRefused)
		assert.InDelta(t, 5, c.Refreshes, 1)
	}, "B", "E")
}

// A final answer, however many ask: a program shows its sign-in page once.
func TestSignInRequiredIsHeardOnce(t *testing.T) {
	eachRecipe(t, reauthtest.Options{}, func(t *testing.T, r *recipe) {
		r.s.Revoke()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, _, err := r.get(t)
				assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		_, _, err := r.get(t)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, r.events.count(reauth.EventSignInRequired))
		assert.Equal(t, 1, r.s.Counts().Refreshes)
		signedIn, err := r.tr.SignedIn(t.Context())
		require.NoError(t, err)
		assert.False(t, signedIn)
	})
}

// A recipe is a Transport that is signed in, at the server that the recipe is for.
type recipe struct {
	s      *reauthtest.Server
	tr     *reauth.Transport
	events *eventLog

	mu    sync.Mutex
	delay time.Duration
}

// eachRecipe runs f with each of the recipes A, B, C and E, or those named, in a
// bubble of its own.
func eachRecipe(t *testing.T, opts reauthtest.Options, f func(*testing.T, *recipe), names ...string) {
	for _, name := range []string{"A", "B", "C", "E"} {
		if len(names) > 0 && !strings.Contains(strings.Join(names, ""), name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recipe{events: &eventLog{}}
				cfg := reauth.Config{OnEvent: r.events.add}
				var tok reauth.Token
				plain := func(e *reauth.JSONEndpoint) {
					e.URL, e.Client = r.s.URL+"/refresh", r.s.Client()
					cfg.Refresher = e
				}
				switch name {
				case "A":
					r.s = mountA(reauthtest.NewPipeServer(t, optionsA(opts)))
					plain(&reauth.JSONEndpoint{RefreshField: "token", AccessPath: "token", RefreshPath: "token"})
					both := tokenA(r.s.SignIn("ann"))
					tok = reauth.Token{AccessToken: both, RefreshToken: both}
				case "B":
					r.s = mountB(reauthtest.NewPipeServer(t, opts))
					jwt := &reauth.JSONEndpoint{
						URL: r.s.URL + "/v1/auth/jwt/refresh/", SignInURL: r.s.URL + "/v1/auth/jwt/create/",
						RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", Client: r.s.Client(),
					}
					cfg.Refresher = jwt
					var err error
					tok, err = jwt.Exchange(t.Context(), credentials)
					require.NoError(t, err)
				case "C":
					r.s = mountC(reauthtest.NewPipeServer(t, optionsC(opts)))
					plain(&reauth.JSONEndpoint{AccessPath: "data.data.accessToken", RefreshPath: "data.data.refreshToken"})
					cfg.Credential = reauth.HeaderCredential{Bare: true}
					tok = reauth.Token(r.s.SignIn("ann"))
				case "E":
					r.s = mountE(reauthtest.NewPipeServer(t, optionsE(opts)))
					cookies := &reauth.CookieSession{
						RefreshURL: r.s.URL + "/token/refresh", SignInURL: r.s.URL + "/token/auth", Client: r.s.Client(),
					}
					cfg.Refresher = cookies
					var err error
					tok, err = cookies.Exchange(t.Context(), credentials)
					require.NoError(t, err)
				}
				cfg.Origins = []string{r.s.URL}
				cfg.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
					resp, err := r.s.Transport().RoundTrip(req)
					r.mu.Lock()
					late := r.delay
					r.delay = 0
					r.mu.Unlock()
					time.Sleep(late)
					return resp, err
				})
				var err error
				r.tr, err = reauth.New(cfg)
				require.NoError(t, err)
				require.NoError(t, r.tr.SignIn(t.Context(), tok))
				f(t, r)
				require.NoError(t, r.tr.Wait(t.Context()))
			})
		})
	}
}

// delayed makes the next answer come late.
func (r *recipe) delayed(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// get posts an order: with cookies, only what is no GET needs a CSRF header.
func (r *recipe) get(t *testing.T) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.s.URL+"/orders", strings.NewReader("7 apples"))
	if err != nil {
		return 0, "", err
	}
	resp, err := r.tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

// credentials are those of ann, at every server here.
var credentials = map[string]string{"username": "ann", "password": "secret"}

func serverA() *reauthtest.Server { return mountA(reauthtest.New(optionsA(reauthtest.Options{}))) }

func serverB(opts reauthtest.Options) *reauthtest.Server { return mountB(reauthtest.New(opts)) }

func serverC() *reauthtest.Server { return mountC(reauthtest.New(optionsC(reauthtest.Options{}))) }

func serverE(opts reauthtest.Options) *reauthtest.Server {
	return mountE(reauthtest.New(optionsE(opts)))
}

// cookieServer is the server of recipe E, on a port.
func cookieServer(t *testing.T) *reauthtest.Server {
	return mountE(reauthtest.NewServer(t, optionsE(reauthtest.Options{})))
}

// tokenA makes one token of two.
func tokenA(i reauthtest.Issued) string { return i.AccessToken + "~" + i.RefreshToken }

func optionsA(opts reauthtest.Options) reauthtest.Options {
	opts.AccessToken = func(r *http.Request) string {
		both, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		access, _, _ := strings.Cut(both, "~")
		return access
	}
	return opts
}

func mountA(s *reauthtest.Server) *reauthtest.Server {
	s.HandleRefresh("POST /refresh", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, refresh, _ := strings.Cut(readJSON(r)["token"], "~")
		issued, err := s.Refresh(refresh)
		if err != nil {
			writeJSON(w, 401, map[string]string{"msg": "expired"})
			return
		}
		writeJSON(w, 200, map[string]string{"token": tokenA(issued)})
	}))
	return s
}

func mountB(s *reauthtest.Server) *reauthtest.Server {
	pair := func(w http.ResponseWriter, issued reauthtest.Issued) {
		answer := map[string]string{"access": issued.AccessToken}
		if issued.RefreshToken != "" {
			answer["refresh"] = issued.RefreshToken
		}
		writeJSON(w, 200, answer)
	}
	s.HandlePublic("POST /v1/auth/jwt/create/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := readJSON(r); c["password"] != credentials["password"] {
			writeJSON(w, 401, map[string]string{"detail": "No active account found with the given credentials"})
		} else {
			pair(w, s.SignIn(c["username"]))
		}
	}))
	s.HandleRefresh("POST /v1/auth/jwt/refresh/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued, err := s.Refresh(readJSON(r)["refresh"])
		if err != nil {
			writeJSON(w, 401, map[string]string{"detail": "Token is invalid or expired", "code": "token_not_valid"})
			return
		}
		pair(w, issued)
	}))
	s.HandlePublic("/v1/news/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "no sign-in needed")
	}))
	s.Handle("/v1/auth/users/me/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, map[string]string{"username": reauthtest.UserFromRequest(r)})
	}))
	return s
}

func optionsC(opts reauthtest.Options) reauthtest.Options {
	opts.AccessToken = func(r *http.Request) string { return r.Header.Get("Authorization") }
	return opts
}

func mountC(s *reauthtest.Server) *reauthtest.Server {
	s.HandleRefresh("POST /refresh", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued, err := s.Refresh(readJSON(r)["refresh_token"])
		if err != nil {
			writeJSON(w, 401, map[string]any{"data": nil})
			return
		}
		writeJSON(w, 200, map[string]any{"data": map[string]any{"data": map[string]string{
			"accessToken": issued.AccessToken, "refreshToken": issued.RefreshToken,
		}}})
	}))
	return s
}

// csrf is the CSRF value that goes with a token; flask-jwt-extended has it in the
// token.
func csrf(tok string) string {
	sum := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(sum[:8])
}

func optionsE(opts reauthtest.Options) reauthtest.Options {
	opts.AccessToken = func(r *http.Request) string {
		cookie, err := r.Cookie("access_token_cookie")
		if err != nil || r.Method != http.MethodGet && r.Header.Get("X-CSRF-TOKEN") != csrf(cookie.Value) {
			return ""
		}
		return cookie.Value
	}
	return opts
}

func mountE(s *reauthtest.Server) *reauthtest.Server {
	set := func(w http.ResponseWriter, issued reauthtest.Issued) {
		for _, c := range []http.Cookie{
			{Name: "access_token_cookie", Value: issued.AccessToken, Path: "/", HttpOnly: true},
			{Name: "csrf_access_token", Value: csrf(issued.AccessToken), Path: "/"},
			{Name: "refresh_token_cookie", Value: issued.RefreshToken, Path: "/token/refresh", HttpOnly: true},
			{Name: "csrf_refresh_token", Value: csrf(issued.RefreshToken), Path: "/"},
		} {
			c.MaxAge = 31540000
			http.SetCookie(w, &c)
		}
	}
	s.HandlePublic("POST /token/auth", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set(w, s.SignIn(readJSON(r)["username"]))
		writeJSON(w, 200, map[string]bool{"login": true})
	}))
	s.HandleRefresh("POST /token/refresh", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("refresh_token_cookie")
		if err != nil || r.Header.Get("X-CSRF-TOKEN") != csrf(cookie.Value) {
			writeJSON(w, 401, map[string]string{"msg": "CSRF double submit tokens do not match"})
			return
		}
		issued, err := s.Refresh(cookie.Value)
		if err != nil {
			writeJSON(w, 401, map[string]string{"msg": "Token has been revoked"})
			return
		}
		set(w, issued)
		writeJSON(w, 200, map[string]bool{"refresh": true})
	}))
	return s
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

func isFinal(err error) bool { return errors.Is(err, reauth.ErrSignInRequired) }

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
