package cookieauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/reauthtest"
)

// The session lives in cookies, with a CSRF header on every request that changes
// something.
func ExampleCookies() {
	s := reauthtest.New(flask.Options)
	defer s.Close()
	flask.Mount(s)

	cookies := &cookieauth.Cookies{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth", Client: s.Client()}
	tr, err := reauth.New(reauth.Config{Refresher: cookies, Origins: []string{s.URL}, Base: s.Transport()})
	must(err)
	tok, err := cookies.Exchange(context.Background(), map[string]string{"username": "ann", "password": "secret"})
	must(err)
	must(tr.SignIn(context.Background(), tok))
	s.ExpireAccess()
	show((&http.Client{Transport: tr}).Post(s.URL+"/orders", "application/json", strings.NewReader(`{"item":7}`)))
	// Output: 200 {"path":"/orders","token":2,"user":"ann"}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// show prints an answer.
func show(resp *http.Response, err error) {
	must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(err)
	fmt.Printf("%d %s", resp.StatusCode, text)
}

func TestRecipe(t *testing.T) { flask.Test(t) }

func TestRecipeIsShort(t *testing.T) {
	testworld.AssertShort(t, "transport_test.go", "ExampleCookies", 1)
}

// flask is an API of flask-jwt-extended with its JWTs in cookies.
var flask = testworld.Recipe{
	Expires: true,
	Options: reauthtest.Options{AccessToken: func(r *http.Request) string {
		cookie, err := r.Cookie("access_token_cookie")
		if err != nil || r.Method != http.MethodGet && r.Header.Get("X-CSRF-TOKEN") != csrf(cookie.Value) {
			return ""
		}
		return cookie.Value
	}},
	Mount: func(s *reauthtest.Server) {
		s.HandlePublic("POST /token/auth", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var sent map[string]string
			_ = json.NewDecoder(r.Body).Decode(&sent)
			setCookies(w, s.SignIn(sent["username"]))
		}))
		s.HandleRefresh("POST /token/refresh", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cookie, err := r.Cookie("refresh_token_cookie")
			if err != nil || r.Header.Get("X-CSRF-TOKEN") != csrf(cookie.Value) {
				http.Error(w, `{"msg":"CSRF double submit tokens do not match"}`, http.StatusUnauthorized)
				return
			}
			issued, err := s.Refresh(cookie.Value)
			if err != nil {
				http.Error(w, `{"msg":"Token has been revoked"}`, http.StatusUnauthorized)
				return
			}
			setCookies(w, issued)
		}))
	},
	SignIn: func(ctx context.Context, s *reauthtest.Server) (reauth.Config, reauth.Token) {
		c := &cookieauth.Cookies{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth", Client: s.Client()}
		tok, err := c.Exchange(ctx, map[string]string{"username": "ann"})
		must(err)
		return reauth.Config{Refresher: c}, tok
	},
}

// csrf is the CSRF value that goes with a token. In flask-jwt-extended it is a part of
// the token.
func csrf(tok string) string {
	sum := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(sum[:8])
}

func setCookies(w http.ResponseWriter, issued reauthtest.Issued) {
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

// flaskServer returns such an API on a socket, and a Transport for it.
func flaskServer(t *testing.T) (*reauthtest.Server, *cookieauth.Cookies, *reauth.Transport) {
	s := reauthtest.NewServer(t, flask.Options)
	flask.Mount(s)
	c := &cookieauth.Cookies{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth"}
	tr, err := reauth.New(reauth.Config{Refresher: c, Credential: c, Origins: []string{s.URL}})
	require.NoError(t, err)
	return s, c, tr
}

// send sends a request and returns the status and body of the answer.
func send(t *testing.T, client *http.Client, ctx context.Context, method, url string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("x"))
	require.NoError(t, err)
	req.Header = header.Clone()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, header["X-Csrf-Token"], req.Header["X-Csrf-Token"], "the caller's request is not written to")
	return resp.StatusCode, string(text)
}

// The jar of the caller's http.Client knows nothing of the session, or something stale.
func TestJarOfTheCallerDoesNotMatter(t *testing.T) {
	s, c, tr := flaskServer(t)
	s.HandlePublic("/visit", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"theme", "access_token_cookie", "csrf_access_token"} {
			http.SetCookie(w, &http.Cookie{Name: name, Value: "stale", Path: "/"})
		}
	}))
	s.Handle("/cookies", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, cookie := range req.Cookies() {
			_, _ = io.WriteString(w, cookie.Name+" ")
		}
	}))
	tok, err := c.Exchange(t.Context(), map[string]string{"username": "ann"})
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), tok))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Transport: tr, Jar: jar}
	// That the caller sets the CSRF header, as a browser would, changes nothing.
	fromJar := http.Header{"X-Csrf-Token": {"what the caller read from the jar"}}
	for _, path := range []string{"/visit", "/visit", "/cookies"} {
		s.ExpireAccess()
		status, text := send(t, client, t.Context(), http.MethodPost, s.URL+path, fromJar)
		assert.Equal(t, http.StatusOK, status)
		if path == "/cookies" {
			assert.Equal(t, "theme access_token_cookie csrf_access_token ", text)
		}
	}
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestSessionsOfTwoUsersDoNotMix(t *testing.T) {
	s, c, tr := flaskServer(t)
	for _, user := range []string{"ann", "bob"} {
		tok, err := c.Exchange(t.Context(), map[string]string{"username": user})
		require.NoError(t, err)
		require.NoError(t, tr.SignIn(reauth.WithSession(t.Context(), user), tok))
	}
	s.ExpireAccess()
	for range 2 {
		for _, user := range []string{"ann", "bob"} {
			_, text := send(t, &http.Client{Transport: tr}, reauth.WithSession(t.Context(), user), http.MethodPost, s.URL+"/me", http.Header{})
			assert.Contains(t, text, user)
		}
	}
	assert.Equal(t, 2, s.Counts().Refreshes)
}

// transport returns a Transport over an API that answers with the given status and
// cookies, and keeps the headers of its requests.
func transport(t *testing.T, anonymous bool, cookie string, statuses ...int) (*reauth.Transport, *[]http.Header) {
	t.Helper()
	var seen []http.Header
	tr, err := reauth.New(reauth.Config{
		Refresher: &cookieauth.Cookies{
			RefreshURL: refreshURL, Client: setting(200, "access_token_cookie=access-2", "csrf_access_token=csrf-access-2").Client(),
		},
		Origins: []string{"https://api.example.com"}, Anonymous: anonymous,
		Base: testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp := testworld.Respond(req, statuses[min(len(seen), len(statuses)-1)], "")
			resp.Header.Set("Set-Cookie", cookie)
			seen = append(seen, req.Header.Clone())
			return resp, nil
		}),
	})
	require.NoError(t, err)
	return tr, &seen
}

func TestReplayCarriesTheNewCookiesAndCSRFValue(t *testing.T) {
	tr, seen := transport(t, false, "theme=dark", 401, 200)
	require.NoError(t, tr.SignIn(t.Context(), signedIn()))
	stale := http.Header{"X-CSRF-TOKEN": {"stale-csrf"}, "cookie": {"access_token_cookie=stale"}}
	status, _ := send(t, &http.Client{Transport: tr}, t.Context(), http.MethodPost, testworld.APIURL, stale)
	assert.Equal(t, 200, status)
	require.Len(t, *seen, 2)
	assert.NotContains(t, fmt.Sprint(*seen), "stale")
	assert.Equal(t, "csrf-access-2", (*seen)[1].Get("X-CSRF-TOKEN"))
	assert.Contains(t, (*seen)[1].Get("Cookie"), "access-2")
}

func TestRequestWithItsOwnAuthorizationIsLeftAlone(t *testing.T) {
	tr, seen := transport(t, false, "theme=dark", 200)
	require.NoError(t, tr.SignIn(t.Context(), signedIn()))
	send(t, &http.Client{Transport: tr}, t.Context(), http.MethodGet, testworld.APIURL, http.Header{"Authorization": {"Bearer of the caller"}})
	send(t, &http.Client{Transport: tr}, t.Context(), http.MethodGet, testworld.APIURL, http.Header{})
	assert.Empty(t, (*seen)[0].Get("Cookie"))
	assert.NotEmpty(t, (*seen)[1].Get("Cookie"))
}

func TestAnonymousRequestCarriesNoCookieOfAnotherSession(t *testing.T) {
	tr, seen := transport(t, true, "access_token_cookie=of-A; Path=/", 200) // flask's documented implicit refresh
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Transport: tr, Jar: jar}
	a, b := reauth.WithSession(t.Context(), "A"), reauth.WithSession(t.Context(), "B")
	require.NoError(t, tr.SignIn(a, signedIn()))
	send(t, client, a, http.MethodGet, testworld.APIURL, http.Header{})
	send(t, client, b, http.MethodGet, testworld.APIURL, http.Header{})
	require.NoError(t, tr.SignOut(a))
	send(t, client, a, http.MethodGet, testworld.APIURL, http.Header{})
	assert.Contains(t, (*seen)[0].Get("Cookie"), "access-1")
	assert.NotContains(t, (*seen)[1].Get("Cookie"), "of-A")
	assert.NotContains(t, (*seen)[2].Get("Cookie"), "of-A")
}

func TestSignInRefusesACookieThatCannotBeSent(t *testing.T) {
	tr, _ := transport(t, false, "", 200)
	assert.Error(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "a; theme=x", RefreshToken: "r"}))
	assert.Error(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "a\nb"}}))
}
