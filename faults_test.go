package reauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// What a caller sees of a fault, in the words of the README.
var sees = map[string]func(t *testing.T, status int, err error){
	"its answer": func(t *testing.T, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
	},
	"the 401": func(t *testing.T, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	},
	"the API's answer": func(t *testing.T, status int, err error) {
		assert.NoError(t, err)
		assert.True(t, status == http.StatusForbidden || status == http.StatusServiceUnavailable, "%d", status)
	},
	"the base transport's error": func(t *testing.T, _ int, err error) {
		require.Error(t, err)
		_, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		assert.False(t, isRefreshError)
	},
	"a `*RefreshError`": func(t *testing.T, _ int, err error) {
		_, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		assert.True(t, isRefreshError, "%v", err)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
	},
	"a `*RefreshError` with `RetryAfter`": func(t *testing.T, _ int, err error) {
		refreshErr, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		require.True(t, isRefreshError, "%v", err)
		assert.Equal(t, time.Second, refreshErr.RetryAfter)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	},
	"`ErrSignInRequired`": func(t *testing.T, _ int, err error) {
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	},
}

// A faultWorld is a server, a store and a Transport on real sockets, whose access
// token has just ended.
type faultWorld struct {
	server *reauthtest.Server
	store  *faultyStore
	cfg    reauth.Config
	body   io.Reader // of the request; nil: a GET
	end    func()    // ends the fault
}

// TestFaults is the README's table of faults: what the caller sees, and what
// becomes of the session.
func TestFaults(t *testing.T) {
	fail := func(f reauthtest.Failure) func(*testing.T, *faultWorld) {
		return func(_ *testing.T, w *faultWorld) {
			w.server.FailRefresh(f, -1)
			w.end = func() { w.server.FailRefresh(f, 0) }
		}
	}
	failStore := func(call string) func(*testing.T, *faultWorld) {
		return func(_ *testing.T, w *faultWorld) {
			var over atomic.Bool
			w.store.on(func(_ context.Context, c string) error {
				if c == call && !over.Load() {
					return errors.New("the store is down")
				}
				return nil
			})
			w.end = func() { over.Store(true) }
		}
	}
	const kept, gone = "kept", "signed out"
	for _, c := range []struct {
		fault   string
		sees    string
		session string
		arrange func(*testing.T, *faultWorld)
	}{
		{"the access token was refused, or has ended", "its answer", kept, func(*testing.T, *faultWorld) {}},
		{"the token server is down", "a `*RefreshError`", kept, func(t *testing.T, w *faultWorld) {
			var down atomic.Bool
			down.Store(true)
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down.Load() {
					addr = "127.0.0.1:1"
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			transport := &http.Transport{DialContext: dial}
			t.Cleanup(transport.CloseIdleConnections)
			w.cfg.Refresher = &reauth.OAuth2Refresher{TokenURL: w.server.TokenURL(), Client: &http.Client{Transport: transport}}
			w.end = func() { down.Store(false) }
		}},
		{"its connection breaks before it has done anything", "a `*RefreshError`", kept, fail(reauthtest.Drop)},
		{"it gives no answer within `RefreshTimeout`", "a `*RefreshError`", kept, func(_ *testing.T, w *faultWorld) {
			w.cfg.RefreshTimeout = time.Second
			w.server.FailRefresh(reauthtest.Hang, 1) // for good: what is released late would be a refresh whose answer is lost
		}},
		{"it answers 500, 502 or 503", "a `*RefreshError`", kept, fail(reauthtest.Failure{Status: http.StatusBadGateway})},
		{"it answers 429 with `Retry-After`", "a `*RefreshError` with `RetryAfter`", kept, fail(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Second})},
		{"its answer is no token, or broken JSON", "a `*RefreshError`", kept, fail(reauthtest.BrokenAnswer)},
		{"a firewall answers 403 in its place", "a `*RefreshError`", kept, fail(reauthtest.Failure{Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<h1>Forbidden</h1>"})},
		{"it redirects to another host", "a `*RefreshError`", kept, func(t *testing.T, w *faultWorld) {
			stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("a token request has reached a stranger")
			}))
			t.Cleanup(stranger.Close)
			fail(reauthtest.Failure{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {stranger.URL}}, Body: "-"})(t, w)
		}},
		{"it knows nothing of the client (`invalid_client`)", "a `*RefreshError`", kept, fail(reauthtest.Failure{Code: "invalid_client"})},
		{"it turns the refresh token down (`invalid_grant`)", "`ErrSignInRequired`", gone, fail(reauthtest.Failure{Code: "invalid_grant"})},
		{"it says so with 200 and an `error` member", "`ErrSignInRequired`", gone, fail(reauthtest.Failure{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"invalid_grant"}`})},
		{"its answer is lost, and it takes the old token again", "a `*RefreshError`", kept, func(t *testing.T, w *faultWorld) {
			w.server = reauthtest.NewServer(t, reauthtest.Options{ReuseInterval: time.Minute})
			w.cfg.Refresher = &reauth.OAuth2Refresher{TokenURL: w.server.TokenURL()}
			w.cfg.Origins = []string{w.server.URL}
			fail(reauthtest.LoseAnswer)(t, w)
		}},
		{"its answer is lost, and it does not: next time", "`ErrSignInRequired`", gone, func(t *testing.T, w *faultWorld) {
			w.server.FailRefresh(reauthtest.LoseAnswer, 1)
			tr, err := reauth.New(w.cfg)
			require.NoError(t, err)
			tok := reauth.Token(w.server.SignIn("ann"))
			require.NoError(t, tr.SignIn(t.Context(), tok))
			_, err = tr.Refresh(t.Context(), tok)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired, "the first time it is a passing fault")
		}},
		{"the API refuses every token", "the 401", kept, func(_ *testing.T, w *faultWorld) {
			w.server.FailAPI(reauthtest.Failure{Status: http.StatusUnauthorized}, -1)
			w.end = func() { w.server.FailAPI(reauthtest.Failure{}, 0) }
		}},
		{"the API wants more rights (`insufficient_scope`), or answers 5xx", "the API's answer", kept, func(_ *testing.T, w *faultWorld) {
			w.server.FailAPI(reauthtest.Failure{Code: "insufficient_scope", Status: http.StatusForbidden}, -1)
			w.end = func() { w.server.FailAPI(reauthtest.Failure{}, 0) }
		}},
		{"the API's connection breaks", "the base transport's error", kept, func(_ *testing.T, w *faultWorld) {
			w.server.FailAPI(reauthtest.Drop, -1)
			w.end = func() { w.server.FailAPI(reauthtest.Failure{}, 0) }
		}},
		{"the refused body cannot be sent twice", "the 401", kept, func(_ *testing.T, w *faultWorld) {
			w.cfg.ReplayBuffer = -1
			w.body = struct{ io.Reader }{io.LimitReader(zeros{}, 1000)}
		}},
		{"the store cannot be read", "a `*RefreshError`", kept, failStore("Load")},
		{"the store's lock cannot be had", "a `*RefreshError`", kept, failStore("Lock")},
		{"the store takes no new token: its save is owed", "its answer", kept, failStore("Save")},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			readme, err := os.ReadFile("README.md")
			require.NoError(t, err)
			require.Contains(t, string(readme), "| "+c.fault+" | "+c.sees+" | "+c.session+" |")

			w := &faultWorld{server: reauthtest.NewServer(t, reauthtest.Options{}), store: new(faultyStore), end: func() {}}
			w.cfg = reauth.Config{
				Refresher:    &reauth.OAuth2Refresher{TokenURL: w.server.TokenURL()},
				Origins:      []string{w.server.URL},
				Base:         http.DefaultTransport.(*http.Transport).Clone(),
				Store:        w.store,
				RefreshPause: time.Nanosecond,
			}
			t.Cleanup(w.cfg.Base.(*http.Transport).CloseIdleConnections)
			seed, err := reauth.New(w.cfg)
			require.NoError(t, err)
			require.NoError(t, seed.SignIn(t.Context(), reauth.Token(w.server.SignIn("ann"))))
			before := w.server
			c.arrange(t, w)
			tr, err := reauth.New(w.cfg)
			require.NoError(t, err)
			if w.server != before {
				require.NoError(t, tr.SignIn(t.Context(), reauth.Token(w.server.SignIn("ann"))))
			} else if c.fault != "the store cannot be read" {
				_, err = tr.Token(t.Context())
				require.NoError(t, err)
			}
			w.server.ExpireAccess()

			method := http.MethodGet
			if w.body != nil {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(bounded(t), method, w.server.APIURL("/"), w.body)
			require.NoError(t, err)
			status := 0
			resp, err := tr.RoundTrip(req)
			if err == nil {
				status = resp.StatusCode
				_, _ = io.Copy(io.Discard, resp.Body)
				require.NoError(t, resp.Body.Close())
			}
			sees[c.sees](t, status, err)

			w.end()
			signedIn, err := tr.SignedIn(t.Context())
			require.NoError(t, err)
			assert.Equal(t, c.session == kept, signedIn)
			if c.session == kept {
				assert.Eventually(t, func() bool { // once the pause after a failure is over
					status, err := fetch(bounded(t), tr, w.server.APIURL("/"))
					return err == nil && status == http.StatusOK
				}, time.Minute, 50*time.Millisecond, "requests do not work again")
			}
			require.NoError(t, tr.Wait(bounded(t)))
			tok, ok := w.store.stored(t, "")
			assert.Equal(t, c.session == kept, ok, "whether the store has a token")
			if ok {
				current, err := tr.Token(t.Context())
				require.NoError(t, err)
				assert.True(t, current.AccessToken == tok.AccessToken, "the store has the current token")
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
