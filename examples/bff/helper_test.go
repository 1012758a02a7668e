package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// patience is how long tests wait for anything.
const patience = 30 * time.Second

// startApp starts a backend as the program does, on a free port. Tokens live for a
// minute, unless change says otherwise. It ends with the test.
func startApp(t *testing.T, change func(*options)) *app {
	t.Helper()
	opts := options{addr: "127.0.0.1:0", demoAddr: "127.0.0.1:0", store: "memory", lifetime: time.Minute}
	if change != nil {
		change(&opts)
	}
	a, err := start(t.Context(), opts, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.stop()) })
	return a
}

// A browser is a client that keeps cookies, and follows no redirect.
type browser struct {
	t      *testing.T
	app    *app
	client *http.Client
}

func newBrowser(t *testing.T, a *app) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, a, &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn returns a browser in which user has signed in.
func signedIn(t *testing.T, a *app, user string) *browser {
	t.Helper()
	b := newBrowser(t, a)
	got := b.signIn(user, demoPassword)
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, "/", got.header.Get("Location"))
	return b
}

func (b *browser) signIn(user, password string) answer {
	form := url.Values{"user": {user}, "password": {password}}
	return b.send(http.MethodPost, "/sign-in", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// An answer is what came back, with its body read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) get(path string) answer { return b.send(http.MethodGet, path, nil) }

func (b *browser) post(path string, header ...string) answer {
	return b.send(http.MethodPost, path, nil, header...)
}

func (b *browser) send(method, path string, body io.Reader, header ...string) answer {
	b.t.Helper()
	got, err := b.try(b.t.Context(), method, path, body, header...)
	require.NoError(b.t, err)
	return got
}

// try is for goroutines.
func (b *browser) try(ctx context.Context, method, path string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.app.url+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	return answer{resp.StatusCode, resp.Header, text.String()}, err
}

// cookie returns the browser's only cookie, "" if it has none.
func (b *browser) cookie() string {
	b.t.Helper()
	address, err := url.Parse(b.app.url)
	require.NoError(b.t, err)
	cookies := b.client.Jar.Cookies(address)
	if len(cookies) == 0 {
		return ""
	}
	require.Len(b.t, cookies, 1)
	return cookies[0].Value
}

// setCookie plants a cookie of the session's name.
func (b *browser) setCookie(value string) {
	b.t.Helper()
	address, err := url.Parse(b.app.url)
	require.NoError(b.t, err)
	b.client.Jar.SetCookies(address, []*http.Cookie{b.app.backend.cookie(value)})
}

// assertSignedOut checks that the browser is sent to the sign-in page.
func (b *browser) assertSignedOut() {
	b.t.Helper()
	page := b.get("/")
	assert.Equal(b.t, http.StatusSeeOther, page.status)
	assert.Equal(b.t, "/sign-in", page.header.Get("Location"))
	call := b.get("/api/orders/1")
	assert.JSONEq(b.t, `{"error":"sign_in_required"}`, call.body)
	require.Equal(b.t, http.StatusUnauthorized, call.status) // else the view would not end
	assert.Equal(b.t, http.StatusUnauthorized, b.get("/events").status)
}

func await(t *testing.T, s *reauthtest.Server, reached func(reauthtest.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Await(ctx, reached))
}
