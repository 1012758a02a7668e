package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestTheBrowsersCredentialsDoNotReachTheAPI(t *testing.T) {
	a := startApp(t, nil)
	var seen http.Header
	a.demo.Handle("/v1/look", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	b := signedIn(t, a, "ann")
	got := b.post("/api/look", "Authorization", "Bearer of-my-own", "Cookie", "other=1; bff="+b.cookie(), "Prefer", "kept")
	require.Equal(t, http.StatusOK, got.status)
	assert.NotContains(t, seen, "Cookie")
	tok, err := a.backend.transport.Session(sessionName(b.cookie())).Token(t.Context())
	require.NoError(t, err)
	assert.True(t, len(seen["Authorization"]) == 1 && seen.Get("Authorization") == "Bearer "+tok.AccessToken, "the session's token, and nothing else")
	assert.Equal(t, "kept", seen.Get("Prefer"))
}

func TestTheAPIsCORSAndCookieHeadersDoNotReachTheBrowser(t *testing.T) {
	a := startApp(t, nil)
	a.demo.Handle("/v1/answer", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "bff=planted")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.Header().Set("Refresh", "0; url=https://evil.example")
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		w.Header().Set("Access-Control-Allow-Origin", "https://evil.example")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Content-Security-Policy", "default-src *")
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		w.Header().Set("Cache-Control", "private, max-age=60")
		w.Header().Set("X-Theirs", "kept")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "not yours")
	}))
	b := signedIn(t, a, "ann")
	cookie := b.cookie()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
			return fmt.Errorf("the API's %d has come through", status)
		},
	})
	got, err := b.try(ctx, http.MethodGet, "/api/answer", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, got.status, "about permission: the API's own answer")
	assert.Equal(t, "not yours", got.body)
	for _, name := range []string{"Set-Cookie", "Clear-Site-Data", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Www-Authenticate", "Strict-Transport-Security", "Refresh"} {
		assert.NotContains(t, got.header, name)
	}
	assert.Equal(t, []string{dataPolicy}, got.header.Values("Content-Security-Policy"))
	assert.Equal(t, []string{"nosniff"}, got.header.Values("X-Content-Type-Options"))
	assert.Equal(t, []string{"no-store"}, got.header.Values("Cache-Control"))
	assert.Equal(t, "kept", got.header.Get("X-Theirs"))
	assert.Equal(t, cookie, b.cookie())
	assert.Equal(t, "no-store", b.get("/api/orders/1").header.Get("Cache-Control"))
}

func TestOnlyTheAPIIsReached(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	before := a.demo.Counts()
	for _, path := range []string{"/api/%2e%2e/token", "/api/orders/%2E%2E/%2e%2e/token", "/api/..%2ftoken", "/api/..%2Frevoke", `/api/..%5Ctoken`,
		"/api/..;x/token", "/api/%252e%252e/token", "/api/a%252f..%252f../token", "/api/%25252e./token"} {
		assert.Equal(t, http.StatusBadRequest, b.post(path).status, path)
	}
	assert.Equal(t, before, a.demo.Counts())
	assert.Equal(t, http.StatusMethodNotAllowed, b.send(http.MethodTrace, "/api/orders/1", nil).status)
	assert.Equal(t, before, a.demo.Counts())
	got := b.get("/api/a%2Fb/..c?q=%2e%2e&d=1;2")
	require.Equal(t, http.StatusOK, got.status)
	assert.Contains(t, got.body, `"path":"/v1/a/b/..c"`)
}

func TestNoWebSocketIsOpened(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	before := a.demo.Counts()
	got := b.send(http.MethodGet, "/api/orders/1", nil, "Connection", "Upgrade", "Upgrade", "websocket", "Origin", "https://evil.example")
	assert.Equal(t, http.StatusBadRequest, got.status, "a page of another site may have sent it")
	assert.Equal(t, before, a.demo.Counts())
}

func TestARevokedSessionGoesToTheSignInPage(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	require.Equal(t, http.StatusNoContent, b.post("/api/demo/revoke").status)

	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := b.try(t.Context(), http.MethodGet, "/api/orders/1", nil)
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusUnauthorized, got.status)
				assert.Equal(t, "application/json", got.header.Get("Content-Type"))
				assert.JSONEq(t, `{"error":"sign_in_required"}`, got.body)
			}
		})
	}
	all.Wait()
	assert.Equal(t, 1, a.demo.Counts().Refreshes)
	b.assertSignedOut()
	assert.Contains(t, b.get("/sign-in?why=ended").body, "Your session has ended. Please sign in again.")
	require.Equal(t, http.StatusSeeOther, b.signIn("ann", demoPassword).status)
	assert.Equal(t, http.StatusOK, b.get("/api/orders/1").status)
}

func TestACookieThatIsMadeUpTakesNoLock(t *testing.T) {
	a := startApp(t, nil)
	locker, ok := a.backend.store.(reauth.Locker)
	require.True(t, ok)
	_, unlock, err := locker.Lock(t.Context(), sessionName("made-up"))
	require.NoError(t, err)
	defer unlock()
	b := newBrowser(t, a)
	b.setCookie("made-up")
	b.assertSignedOut()
}

func TestAFailedRefreshIsNotASignOut(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	a.demo.ExpireAccess("ann")
	a.demo.FailRefresh(reauthtest.Failure{Status: 503, RetryAfter: 7 * time.Second}, -1)
	for range 2 {
		got := b.get("/api/orders/1")
		assert.Equal(t, http.StatusServiceUnavailable, got.status)
		assert.Equal(t, "7", got.header.Get("Retry-After"))
		assert.JSONEq(t, `{"error":"try_again"}`, got.body)
	}
	assert.Equal(t, 1, a.demo.Counts().Refreshes)
	assert.Equal(t, http.StatusOK, b.get("/").status)
}

func TestAnAPIThatDoesNotAnswerIsABadGateway(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	a.demo.FailAPI(reauthtest.Drop, 1)
	got := b.post("/api/orders/1")
	assert.Equal(t, http.StatusBadGateway, got.status)
	assert.JSONEq(t, `{"error":"no_answer"}`, got.body)
	assert.Equal(t, http.StatusOK, b.post("/api/orders/1").status)
}

func TestAnUploadSurvivesA401(t *testing.T) {
	const size = 8 << 20
	for name, stream := range map[string]func(io.Reader) io.Reader{
		"length known":   func(r io.Reader) io.Reader { return r },
		"length unknown": func(r io.Reader) io.Reader { return io.MultiReader(r) },
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, nil)
			b := signedIn(t, a, "ann")
			a.demo.ExpireAccess("ann")

			sum := sha256.New()
			source, sink := io.Pipe()
			written := make(chan struct{})
			go func() { // ends with the upload
				defer close(written)
				_, err := io.CopyN(io.MultiWriter(sink, sum), rand.Reader, size)
				sink.CloseWithError(err)
			}()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, a.url+"/api/uploads", stream(source))
			require.NoError(t, err)
			if name == "length known" {
				req.ContentLength = size
			}
			resp, err := b.client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, fmt.Sprint(size), resp.Header.Get("X-Body-Length"))
			require.NoError(t, source.Close())
			<-written
			assert.Equal(t, hex.EncodeToString(sum.Sum(nil)), resp.Header.Get("X-Body-SHA256"))
			counts := a.demo.Counts()
			assert.Equal(t, 1, counts.APIRefused, "it met a 401")
			assert.Equal(t, 1, counts.Refreshes)
			assert.Equal(t, 2, counts.APIRequests)
		})
	}
}

func TestAnAnswerStreams(t *testing.T) {
	a := startApp(t, nil)
	more := make(chan struct{})
	a.demo.Handle("/v1/stream", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "second")
	}))
	b := signedIn(t, a, "ann")
	resp, err := b.client.Get(a.url + "/api/stream")
	require.NoError(t, err)
	defer resp.Body.Close()
	first := make([]byte, len("first"))
	_, err = io.ReadFull(resp.Body, first) // hangs if the proxy waits for the end
	require.NoError(t, err)
	close(more)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "second", string(rest))
}

func TestUsersDoNotMix(t *testing.T) {
	a := startApp(t, nil)
	var browsers []*browser
	for _, user := range demoUsers {
		browsers = append(browsers, signedIn(t, a, user))
	}
	for range 5 {
		a.demo.ExpireAccess()
		var all sync.WaitGroup
		for i, b := range browsers {
			for range 10 {
				all.Go(func() {
					got, err := b.try(t.Context(), http.MethodGet, "/api/orders/1", nil)
					if assert.NoError(t, err) && assert.Equal(t, http.StatusOK, got.status) {
						assert.Contains(t, got.body, `"user":"`+demoUsers[i]+`"`)
					}
				})
			}
		}
		all.Wait()
	}
	counts := a.demo.Counts()
	assert.Equal(t, 5*len(demoUsers), counts.Refreshes)
	assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken)

	a.demo.Revoke(demoUsers[0])
	assert.Equal(t, http.StatusUnauthorized, browsers[0].get("/api/orders/1").status)
	browsers[0].assertSignedOut()
	for i, b := range browsers[1:] {
		assert.Contains(t, b.get("/api/orders/1").body, `"user":"`+demoUsers[i+1]+`"`)
	}
}
