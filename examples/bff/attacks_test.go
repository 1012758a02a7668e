package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An API behind a gateway may believe any header that the gateway sets, so no list of
// dangerous ones is complete (Netflix/zuul#2170, alphagov/notifications-admin#5511).
func TestAHeaderThatTheAPIMayTrustDoesNotReachIt(t *testing.T) {
	a := startApp(t, nil)
	var seen http.Header
	a.demo.Handle("/v1/look", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	b := signedIn(t, a, "ann")
	trusted := []string{
		"X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
		"X-Forwarded-User", "X-Forwarded-Client-Cert", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "Via",
		"X-Remote-User", "Remote-User", "X-User-Id", "X-Script-Name", "Proxy", "X-Original-Method", "X-Envoy-Original-Path",
		"X_Original_Url", "X_Forwarded_Host", // which many servers take for the same name
	}
	var header []string
	for _, name := range trusted {
		header = append(header, name, "/v1/admin")
	}
	got := b.post("/api/look", append(header, "Content-Language", "eo", "Idempotency-Key", "7", "Traceparent", "00-1", "If-Match", `"1"`)...)
	require.Equal(t, http.StatusOK, got.status)
	for _, name := range trusted {
		assert.Empty(t, seen[http.CanonicalHeaderKey(name)], name)
	}
	for _, name := range []string{"Content-Language", "Idempotency-Key", "Traceparent", "If-Match", "Authorization", "User-Agent"} {
		assert.NotEmpty(t, seen[name], name)
	}
}

// golang/go#46313 and #50580: a request may name any header as one for the next hop alone.
func TestAConnectionHeaderTakesNoTokenAway(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	got := b.post("/api/orders/1", "Connection", "close, Authorization, Cookie, Content-Type")
	assert.Equal(t, http.StatusOK, got.status)
	assert.Contains(t, got.body, `"user":"ann"`)
}

// The prefix /api/ is all that a browser reaches of the API's server, however it spells ".."
// (traefik/traefik#11746, chimurai/http-proxy-middleware#1168, undertow-io/undertow#1556,
// morcen/passage#129, kortix-ai/suna#5710). The demo's token server is beside it.
func TestNoSpellingOfAPathLeavesTheAPI(t *testing.T) {
	a := startApp(t, nil)
	var seen []string
	a.demo.Handle("/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.RequestURI) }))
	b := signedIn(t, a, "ann")
	before := a.demo.Counts()
	for _, path := range []string{
		"/api/../token", "/api/./../token", "/api/%2e%2e/token", "/api/.%2e/token", "/api/%2e./token", "/api/%2E%2E%2Ftoken",
		"/api/..%2f..%2ftoken", "/api/mine%2F..%2F..%2Ftoken", `/api/..\token`, "/api/..%5ctoken", "/api/..%5C..%5Ctoken", "/api/..%255ctoken",
		"/api/..;/token", "/api/..;x=1/token", "/api/%2e%2e;/token", "/api/..%3b/token", "/api/..%253b/token", "/api/%252e%252e;%25zz/token",
		"/api/%252e%252e/token", "/api/%25252e%25252e/token", "/api/%2525252e%2525252e/token", "/api/%252525252525252e%252525252525252e/token",
		"/api/..%00/token", "/api/..%20/token", "/api/..%09/token", "/api/..%0d%0a/token", "/api/%2500../token",
		"/api/%c0%ae%c0%ae/token", "/api/%u002e%u002e/token", "/api/%25u002e%25u002e/token",
		"/api/%25uff0e%25uff0e/token", "/api/%25U002E%25U002E/token", "/api/%2525uff0e./token", "/api/%25u2024%25u2024%25u2215token",
		"/api/%25u002e./token", "/api/..%25u2216token",
		"//api/../token", "/api//../token", "/api/..//token", "/api/..?/../token", "/api/..%3f/token", "/api/..%23/token",
		"/API/../token", "/%61pi/%2e%2e/token", "/api%2f..%2ftoken", "/api/..", "/api/%2e%2e",
	} {
		status, header := b.raw(t, "POST "+path+" HTTP/1.1", "")
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound, http.StatusTemporaryRedirect, http.StatusMovedPermanently, http.StatusMethodNotAllowed}, status, path)
		if to := header.Get("Location"); to != "" { // the browser's own path, cleaned
			u, err := url.Parse(to)
			require.NoError(t, err)
			assert.Empty(t, u.Host, path)
			assert.True(t, strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//"), to)
		}
	}
	assert.Empty(t, seen)
	assert.Equal(t, before, a.demo.Counts())

	// The address of a request for a proxy is that of this server all the same.
	status, _ := b.raw(t, "POST http://evil.example/api/orders/1 HTTP/1.1", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, before.APIRequests+1, a.demo.Counts().APIRequests)
	for _, path := range []string{"/api/a%2Fb", "/api/..c", "/api/c..", "/api/...", "/api/100%25", "/api/100%25used", "/api/a%25u", "/api/a%252Fb", "/api/gr%C3%BC%C3%9Fe", "/api/a;b=..", "/api/a?q=../..&r=%2e%2e"} {
		assert.Equal(t, http.StatusOK, b.get(path).status, path)
	}
}

// raw sends a request as it is written here, with the browser's cookie.
func (b *browser) raw(t *testing.T, line, body string, header ...string) (int, http.Header) {
	t.Helper()
	conn := b.dial(t)
	_, err := fmt.Fprintf(conn, "%s\r\nHost: %s\r\nCookie: bff=%s\r\nConnection: close\r\n", line, conn.RemoteAddr(), b.cookie())
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		_, err = fmt.Fprintf(conn, "%s: %s\r\n", header[i], header[i+1])
		require.NoError(t, err)
	}
	_, err = io.WriteString(conn, "\r\n"+body)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, line)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, resp.Header
}

// dial returns a connection that ends with the test.
func (b *browser) dial(t *testing.T) net.Conn {
	t.Helper()
	u, err := url.Parse(b.app.url)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A redirect would act under the origin of this application, whoever the API lets choose
// where it leads.
func TestARedirectLeadsNowhereElse(t *testing.T) {
	a := startApp(t, nil)
	a.demo.Handle("/v1/go/{status}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", strings.ReplaceAll(r.URL.Query().Get("to"), "API", r.Host))
		if r.PathValue("status") == "201" {
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.WriteHeader(http.StatusFound)
	}))
	b := signedIn(t, a, "ann")
	at := func(status, to string) answer { return b.get("/api/go/" + status + "?to=" + url.QueryEscape(to)) }
	for to, want := range map[string]string{
		"http://API/v1/orders/2?x=1#y": "/api/orders/2?x=1#y",
		"//API/v1/orders/2":            "/api/orders/2",
		"/v1/orders/2":                 "/api/orders/2",
		"/v1/":                         "/api/",
		"303":                          "/api/go/303",
		"../orders/2":                  "/api/orders/2",
		"?page=2":                      "/api/go/STATUS?page=2",
		"/v1//evil.example":            "/api//evil.example",
		`/v1/\evil.example`:            "/api/%5Cevil.example",
		`\\evil.example`:               "/api/go/%5C%5Cevil.example",
		"/v1/a%2Fb":                    "/api/a%2Fb",
	} {
		for status, code := range map[string]int{"302": http.StatusFound, "201": http.StatusCreated} {
			got := at(status, to)
			assert.Equal(t, code, got.status, to)
			assert.Equal(t, []string{strings.ReplaceAll(want, "STATUS", status)}, got.header.Values("Location"), to)
		}
	}
	for _, to := range []string{
		"https://evil.example/", "//evil.example/v1/", `/\evil.example/v1/`, `/v1/../\evil.example`, "http:evil.example", "https://API/v1/orders/2",
		"http://API@evil.example/v1/", "http://API.evil.example/v1/", "http://user@API/v1/orders/2", "javascript:alert(1)", "data:text/html,x",
		"/token", "/v1", "/v1x/orders", "/v1/../token", "/v1/%2e%2e/token", "/v1/..;/token", "http://[::1", "/v1/a b%",
	} {
		got := at("302", to)
		assert.Equal(t, http.StatusBadGateway, got.status, to)
		assert.JSONEq(t, `{"error":"bad_redirect"}`, got.body, to)
		assert.NotContains(t, got.header, "Location", to)
		got = at("201", to)
		assert.Equal(t, http.StatusCreated, got.status, to)
		assert.NotContains(t, got.header, "Location", to)
	}
}

// Trailers come after every look at the headers (traefik/traefik#13822, #13383).
func TestTrailersEndHere(t *testing.T) {
	for _, tls := range []bool{false, true} {
		a := startApp(t, func(o *options) { o.tls = tls })
		var seen http.Header
		a.demo.Handle("/v1/trailers", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			seen = r.Trailer
			if r.URL.RawQuery == "announced" {
				w.Header().Set("Trailer", "Set-Cookie")
				w.Header().Set(http.TrailerPrefix+"Clear-Site-Data", `"*"`)
			}
			_, _ = io.WriteString(w, "answer")
			w.Header().Set("Set-Cookie", "bff=planted")
			w.Header().Set(http.TrailerPrefix+"Content-Security-Policy", "default-src *")
		}))
		b := signedIn(t, a, "ann")
		for _, query := range []string{"announced", ""} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+"/api/trailers?"+query, io.MultiReader(strings.NewReader("body")))
			require.NoError(t, err)
			req.Trailer = http.Header{"X-Original-Url": {"/v1/admin"}, "Authorization": {"Bearer x"}}
			req.Header.Set("TE", "trailers")
			resp, err := b.client.Do(req)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, "answer", string(text))
			assert.Empty(t, seen)
			assert.Empty(t, resp.Trailer)
		}
	}
}

// forACache are the headers that a cache in front believes in place of Cache-Control (RFC 9213).
var forACache = []string{"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control", "Edge-Control"}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	a := startApp(t, nil)
	a.demo.Handle("/v1/framed", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy", "Cache-Control"} {
			w.Header().Set(name, "theirs")
		}
		w.Header().Set("X-Accel-Redirect", "/secret") // which a proxy in front would follow
		w.Header().Set("X-Sendfile", "/etc/passwd")
		for _, name := range forACache {
			w.Header().Set(name, "max-age=3600")
		}
	}))
	b := signedIn(t, a, "ann")
	out := newBrowser(t, a)
	for name, got := range map[string]answer{
		"page":             b.get("/"),
		"sign-in page":     out.get("/sign-in"),
		"redirect":         out.get("/"),
		"script":           b.get("/static/page.js"),
		"not found":        b.get("/nothing"),
		"no such method":   b.post("/"),
		"cleaned path":     b.get("/x/../api/orders/1"),
		"another site's":   b.post("/sign-out", "Origin", "https://evil.example"),
		"API":              b.get("/api/orders/1"),
		"API's own":        b.get("/api/framed"),
		"API, bad path":    b.get("/api/%2e%2e/token"),
		"API, not allowed": out.get("/api/orders/1"),
		"API, cleaned":     b.get("/api//orders/1"),
		"API, other site":  b.post("/api/orders/1", "Origin", "https://evil.example"),
		"live view":        out.get("/events"),
	} {
		require.Len(t, got.header.Values("Content-Security-Policy"), 1, name)
		policy := got.header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'", name)
		assert.Contains(t, policy, "frame-ancestors 'none'", name)
		assert.Equal(t, strings.HasPrefix(name, "API"), strings.Contains(policy, "sandbox"), name)
		assert.Equal(t, []string{"nosniff"}, got.header.Values("X-Content-Type-Options"), name)
		assert.Equal(t, []string{"same-origin"}, got.header.Values("Referrer-Policy"), name)
		assert.Equal(t, []string{"same-origin"}, got.header.Values("Cross-Origin-Resource-Policy"), name)
		assert.Equal(t, []string{"no-store"}, got.header.Values("Cache-Control"), name)
		assert.NotContains(t, got.header, "X-Accel-Redirect", name)
		assert.NotContains(t, got.header, "X-Sendfile", name)
		for _, forCache := range forACache {
			assert.NotContains(t, got.header, forCache, name)
		}
	}
}

func TestFoldersAreNotListed(t *testing.T) {
	a := startApp(t, nil)
	b := newBrowser(t, a)
	for _, path := range []string{"/static/", "/static", "/static/%2e%2e", "/static/%2e%2e/", "/static/.", "/static/%2e%2e/page.html", "/static/%2e%2e%2fsignin.html", "/static/index.html"} {
		got := b.get(path)
		assert.NotContains(t, got.body, "style.css\"", path)
		assert.NotContains(t, got.body, "page.html", path)
		assert.NotEqual(t, http.StatusOK, got.status, path)
	}
	assert.Equal(t, http.StatusOK, b.get("/static/style.css").status)
}
