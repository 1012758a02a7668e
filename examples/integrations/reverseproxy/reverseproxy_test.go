package reverseproxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/examples/integrations/reverseproxy"
	"github.com/reauth-go/reauth/reauthtest"
)

// A front is a proxy before a World's API. It takes the cookie "user" at its word.
type front struct {
	*world.World
	url    string
	client *http.Client
}

func newFront(t *testing.T, opts reauthtest.Options, change ...func(*reauth.Config)) *front {
	t.Helper()
	w := world.New(t, opts, append(change, func(cfg *reauth.Config) {
		// http.DefaultTransport has one as well, of a second.
		cfg.Base.(*http.Transport).ExpectContinueTimeout = time.Minute
	})...)
	for _, user := range []string{"ann", "bob"} {
		require.NoError(t, w.Transport.Session(user).SignIn(t.Context(), reauth.Token(w.SignIn(user))))
	}
	api, err := url.Parse(w.URL)
	require.NoError(t, err)
	server := httptest.NewServer(reverseproxy.New(api, w.Transport, func(r *http.Request) string {
		user, err := r.Cookie("user")
		if err != nil {
			return ""
		}
		return user.Value
	}))
	t.Cleanup(server.Close)
	base := server.Client().Transport.(*http.Transport).Clone()
	base.ExpectContinueTimeout = time.Minute
	base.MaxIdleConnsPerHost = world.Many
	t.Cleanup(base.CloseIdleConnections)
	return &front{w, server.URL, &http.Client{Transport: base}}
}

// as returns a request of the user.
func (f *front) as(ctx context.Context, user, method, path string, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, f.url+path, body)
	if err != nil {
		panic(err) // the test is wrong
	}
	req.AddCookie(&http.Cookie{Name: "user", Value: user})
	return req
}

// send returns the response to req, whose body has been read.
func (f *front) send(req *http.Request) (*http.Response, string, error) {
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func (f *front) mustSend(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, text, err := f.send(req)
	require.NoError(t, err)
	return resp, text
}

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	f.RevokeUnderWay(t, func(ctx context.Context) error {
		resp, text, err := f.send(f.as(ctx, "ann", http.MethodGet, "/orders/1", nil))
		if err == nil {
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Contains(t, text, `"user":"ann"`)
		}
		return err
	})
}

func TestUsersDoNotMix(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	f.ExpireAccess()
	var all sync.WaitGroup
	for range 10 {
		for _, user := range []string{"ann", "bob"} {
			all.Go(func() {
				_, text, err := f.send(f.as(t.Context(), user, http.MethodGet, "/orders/1", nil))
				assert.NoError(t, err)
				assert.Contains(t, text, `"user":"`+user+`"`)
			})
		}
	}
	all.Wait()
	assert.Equal(t, 2, f.Counts().Refreshes)
}

func TestTheUsersOwnCredentialsStayHere(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	var seen http.Header
	f.Handle("/look", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	// golang/go#50580: a proxy must not drop what it adds itself because a user names it here.
	for _, connection := range []string{"X-Named", "X-Named, Authorization"} {
		req := f.as(t.Context(), "ann", http.MethodGet, "/look", nil)
		for name, value := range map[string]string{
			"Connection":          connection,
			"X-Named":             "for this hop",
			"Keep-Alive":          "timeout=5",
			"Proxy-Authorization": "Basic b2YtbXktb3du",
			"Authorization":       "Bearer of-my-own",
			"X-Kept":              "kept",
		} {
			req.Header.Set(name, value)
		}
		resp, _ := f.mustSend(t, req)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		for _, name := range []string{"Cookie", "Connection", "X-Named", "Keep-Alive", "Proxy-Authorization"} {
			assert.NotContains(t, seen, name)
		}
		assert.Equal(t, "kept", seen.Get("X-Kept"))
		tok, err := f.Transport.Session("ann").Token(t.Context())
		require.NoError(t, err)
		assert.True(t, len(seen["Authorization"]) == 1 && seen.Get("Authorization") == "Bearer "+tok.AccessToken, "the session's token, and nothing else")
	}
}

func TestPagesOfOtherSitesCanNotWrite(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	for method, want := range map[string]int{
		http.MethodGet: http.StatusOK, http.MethodPost: http.StatusForbidden, http.MethodDelete: http.StatusForbidden,
	} {
		req := f.as(t.Context(), "ann", method, "/orders/1", nil)
		req.Header.Set("Origin", "https://evil.example")
		resp, _ := f.mustSend(t, req)
		assert.Equal(t, want, resp.StatusCode, method)
		req = f.as(t.Context(), "ann", method, "/orders/1", nil)
		req.Header.Set("Origin", f.url)
		resp, _ = f.mustSend(t, req)
		assert.Equal(t, http.StatusOK, resp.StatusCode, method)
	}
}

func TestNothingIsSentForAnUnknownUser(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	resp, err := f.client.Get(f.url + "/orders/1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Zero(t, f.Counts().APIRequests)
}

func TestATraceIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	resp, _ := f.mustSend(t, f.as(t.Context(), "ann", http.MethodTrace, "/orders/1", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	assert.Zero(t, f.Counts().APIRequests)
}

func TestEachFailureHasAStatus(t *testing.T) {
	t.Parallel()
	for want, breakIt := range map[int]func(*front){
		http.StatusUnauthorized: func(f *front) { f.Revoke() },
		http.StatusServiceUnavailable: func(f *front) {
			f.ExpireAccess()
			f.FailRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute}, -1)
		},
		http.StatusBadGateway: func(f *front) { f.FailAPI(reauthtest.Drop, -1) },
	} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			t.Parallel()
			f := newFront(t, reauthtest.Options{})
			breakIt(f)
			resp, _ := f.mustSend(t, f.as(t.Context(), "ann", http.MethodGet, "/orders/1", nil))
			assert.Equal(t, want, resp.StatusCode)
			assert.Equal(t, want == http.StatusServiceUnavailable, resp.Header.Get("Retry-After") != "")
			assert.LessOrEqual(t, f.Counts().Refreshes, 1)
		})
	}
}

// caddyserver/caddy#7546 is about bodies that the first attempt had closed, golang/go#53808
// about those of users who wait for a 100 themselves.
func TestAnUploadArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	for _, size := range []int{200 << 10, 8 << 20} {
		for _, known := range []bool{true, false} {
			for _, expect := range []string{"", "100-continue"} {
				t.Run(fmt.Sprintf("size=%d/known=%t/expect=%s", size, known, expect), func(t *testing.T) {
					t.Parallel()
					f := newFront(t, reauthtest.Options{RefuseEarly: true})
					data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
					sum := sha256.Sum256(data)
					var body io.Reader = bytes.NewReader(data)
					if !known {
						body = io.MultiReader(body)
					}
					req := f.as(t.Context(), "ann", http.MethodPut, "/orders/1", body)
					if expect != "" {
						req.Header.Set("Expect", expect)
					}
					f.ExpireAccess()
					resp, _ := f.mustSend(t, req)
					assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header.Get("X-Body-SHA256"))
					counts := f.Counts()
					assert.Equal(t, 1, counts.APIRefused)
					assert.Equal(t, 2, counts.APIRequests)
				})
			}
		}
	}
}
