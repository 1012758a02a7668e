package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestSignIn(t *testing.T) {
	a := startApp(t, nil)
	b := newBrowser(t, a)
	b.assertSignedOut()

	page := b.get("/sign-in")
	assert.Equal(t, http.StatusOK, page.status)
	assert.Contains(t, page.body, `name="password"`)

	require.Equal(t, http.StatusSeeOther, b.signIn("ann", demoPassword).status)
	page = b.get("/")
	assert.Equal(t, http.StatusOK, page.status)
	assert.Contains(t, page.body, "Sign out")
	assert.JSONEq(t, `{"user":"ann","path":"/v1/orders/1","token":1}`, b.get("/api/orders/1").body)
}

func TestAWrongPasswordSignsNobodyIn(t *testing.T) {
	b := newBrowser(t, startApp(t, nil))
	for _, try := range [][2]string{{"ann", "wrong"}, {"nobody", demoPassword}, {"", ""}} {
		got := b.signIn(try[0], try[1])
		assert.Equal(t, http.StatusUnprocessableEntity, got.status)
		assert.Contains(t, got.body, `role="alert"`)
		assert.NotContains(t, got.header, "Set-Cookie")
	}
	assert.Contains(t, b.signIn(`"><script>`, "wrong").body, `value="&#34;&gt;&lt;script&gt;"`)
	b.assertSignedOut()
}

func TestNobodyMakesTheSignInPageReadABody(t *testing.T) {
	a := startApp(t, nil)
	b := newBrowser(t, a)
	form := "--b\r\nContent-Disposition: form-data; name=\"why\"\r\n\r\nended\r\n--b--\r\n"
	got := b.send(http.MethodGet, "/sign-in", strings.NewReader(form), "Content-Type", "multipart/form-data; boundary=b")
	assert.NotContains(t, got.body, "Your session has ended", "the body was read")
}

func TestASignInThatFailsSaysSo(t *testing.T) {
	a := startApp(t, nil)
	b := newBrowser(t, a)
	a.backend.password.Endpoint.TokenURL = "http://127.0.0.1:1/token" // where nobody listens
	got := b.signIn("ann", demoPassword)
	assert.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Contains(t, got.body, "try again in a moment")
	assert.Empty(t, b.cookie())
}

func TestAPasswordGoesToTheTokenServerAlone(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"it repeats the password": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.PostFormValue("password"), http.StatusInternalServerError)
		},
		"it redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, nil)
			server := httptest.NewServer(answer)
			defer server.Close()
			a.backend.password.Endpoint.TokenURL = server.URL
			var log bytes.Buffer
			a.backend.log = slog.New(slog.NewTextHandler(&log, nil))
			assert.Equal(t, http.StatusServiceUnavailable, newBrowser(t, a).signIn("ann", "hunter2").status)
			assert.Contains(t, log.String(), "the token server answered")
			assert.NotContains(t, log.String(), "hunter2")
		})
	}
}

func TestTheCookieIsNotForScriptsAndOtherSites(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*options)
		secure bool
		cookie string
	}{
		"HTTP":          {nil, false, "bff"},
		"HTTPS":         {func(o *options) { o.tls = true }, true, "__Host-bff"},
		"HTTPS outside": {func(o *options) { o.secure = true }, true, "__Host-bff"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, startApp(t, test.change))
			got := b.signIn("ann", demoPassword)
			cookies := (&http.Response{Header: got.header}).Cookies()
			require.Len(t, cookies, 1)
			c := cookies[0]
			assert.Equal(t, test.cookie, c.Name)
			assert.Equal(t, test.secure, c.Secure)
			assert.True(t, c.HttpOnly)
			assert.Equal(t, http.SameSiteLaxMode, c.SameSite)
			assert.Equal(t, "/", c.Path)
			assert.Empty(t, c.Domain)
			assert.GreaterOrEqual(t, len(c.Value), 26, "128 bits in base 32")
		})
	}
}

func TestTheSessionIsCalledByTheHashOfTheCookie(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	sum := sha256.Sum256([]byte(b.cookie()))
	store := a.backend.store
	_, ok, err := store.Load(t.Context(), hex.EncodeToString(sum[:]))
	require.NoError(t, err)
	assert.True(t, ok)
	_, ok, err = store.Load(t.Context(), b.cookie())
	require.NoError(t, err)
	assert.False(t, ok, "who reads the store could become the user")

	thief := newBrowser(t, a)
	thief.setCookie(hex.EncodeToString(sum[:]))
	thief.assertSignedOut()
}

func TestASignInStartsANewSession(t *testing.T) {
	a := startApp(t, nil)
	b, attacker := newBrowser(t, a), newBrowser(t, a)
	b.setCookie("known-to-somebody-else")
	attacker.setCookie("known-to-somebody-else")
	require.Equal(t, http.StatusSeeOther, b.signIn("ann", demoPassword).status)
	assert.NotEqual(t, "known-to-somebody-else", b.cookie())
	attacker.assertSignedOut()

	first := b.cookie()
	require.Equal(t, http.StatusSeeOther, b.signIn("bob", demoPassword).status)
	assert.NotEqual(t, first, b.cookie())
	assert.Contains(t, b.get("/api/orders/1").body, `"user":"bob"`)
	assert.Equal(t, 1, a.demo.Counts().Revocations, "the session before has ended")
	attacker.setCookie(first)
	attacker.assertSignedOut()
}

func TestWithoutACookieThereIsNoSession(t *testing.T) {
	a := startApp(t, nil)
	require.NoError(t, a.backend.store.Save(t.Context(), "", reauth.Token(a.demo.SignIn("ann"))))
	newBrowser(t, a).assertSignedOut()
	b := newBrowser(t, a)
	b.setCookie("")
	b.assertSignedOut()
}

func TestSignOut(t *testing.T) {
	a := startApp(t, nil)
	b, thief := signedIn(t, a, "ann"), newBrowser(t, a)
	cookie := b.cookie()
	thief.setCookie(cookie)
	require.Equal(t, http.StatusOK, thief.get("/api/orders/1").status, "while it lasts")

	got := b.post("/sign-out")
	assert.Equal(t, http.StatusSeeOther, got.status)
	assert.Equal(t, "/sign-in?why=signed-out", got.header.Get("Location"))
	gone := (&http.Response{Header: got.header}).Cookies()
	require.Len(t, gone, 1)
	assert.Equal(t, -1, gone[0].MaxAge)
	assert.Empty(t, b.cookie())
	b.assertSignedOut()
	assert.Contains(t, b.get("/sign-in?why=signed-out").body, "You have signed out.")

	thief.assertSignedOut()
	_, ok, err := a.backend.store.Load(t.Context(), sessionName(cookie))
	require.NoError(t, err)
	assert.False(t, ok)
	counts := a.demo.Counts()
	assert.Equal(t, 1, counts.SessionsRevoked, "at the token server, too")
	assert.Zero(t, counts.Refreshes)

	assert.Equal(t, http.StatusSeeOther, b.post("/sign-out").status, "once more does no harm")
}

func TestASignOutIsDoneEvenIfTheBrowserGoesAway(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	cookie := b.cookie()
	ctx, leave := context.WithCancel(t.Context())
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, a.url+"/sign-out", nil)
	req.AddCookie(a.backend.cookie(cookie))
	leave()
	a.backend.handler().ServeHTTP(httptest.NewRecorder(), req)
	assert.Equal(t, 1, a.demo.Counts().SessionsRevoked)
	_, ok, err := a.backend.store.Load(t.Context(), sessionName(cookie))
	require.NoError(t, err)
	assert.False(t, ok, "else another replica would still accept the cookie")
}

func TestASignOutOfWhichTheServerDoesNotHearSaysSo(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	require.NoError(t, a.demoServer.Close())
	got := b.post("/sign-out")
	assert.Equal(t, "/sign-in?why=half", got.header.Get("Location"))
	assert.Contains(t, b.get("/sign-in?why=half").body, "could not be told")
	b.assertSignedOut()
}

func TestAPostFromElsewhereIsRefused(t *testing.T) {
	a := startApp(t, nil)
	form := url.Values{"user": {"eve"}, "password": {demoPassword}}.Encode()
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"}, // another host of the same domain, which gets the cookie sent along
		{"Origin", "https://evil.example"},
	} {
		b := signedIn(t, a, "ann")
		cookie := b.cookie()
		before := a.demo.Counts().APIRequests
		for _, path := range []string{"/sign-in", "/sign-out", "/api/orders/1", "/api/demo/revoke"} {
			got := b.send(http.MethodPost, path, strings.NewReader(form), append(header, "Content-Type", "application/x-www-form-urlencoded")...)
			assert.Equal(t, http.StatusForbidden, got.status, "%s %s", header, path)
		}
		assert.Equal(t, before, a.demo.Counts().APIRequests)
		assert.Equal(t, cookie, b.cookie())
		assert.Contains(t, b.get("/api/orders/1").body, `"user":"ann"`)
	}
	b := signedIn(t, a, "ann")
	assert.Equal(t, http.StatusOK, b.post("/api/orders/1", "Sec-Fetch-Site", "same-origin", "Origin", a.url).status, "our own page may")
}

func TestPagesAreConfined(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	for _, path := range []string{"/", "/sign-in", "/static/page.js"} {
		got := b.get(path)
		require.Equal(t, http.StatusOK, got.status, path)
		policy := got.header.Values("Content-Security-Policy")
		require.Len(t, policy, 1)
		assert.Contains(t, policy[0], "default-src 'none'; script-src 'self'; ")
		assert.Contains(t, policy[0], "frame-ancestors 'none'")
		assert.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
		assert.NotContains(t, got.body, "<script>", "nothing inline")
		assert.NotContains(t, got.body, " style=")
	}
	assert.Equal(t, http.StatusNotFound, b.get("/static/page.html").status)
	assert.Equal(t, http.StatusNotFound, b.get("/elsewhere").status)
	assert.NotContains(t, b.get("/sign-in?why=<script>").body, "script")
}
