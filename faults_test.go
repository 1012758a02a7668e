package reauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// sees checks what the caller gets, in the words of docs/faults.md.
var sees = map[string]func(t *testing.T, w *faultWorld, status int, err error){
	"its answer": func(t *testing.T, _ *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
	},
	"the 401": func(t *testing.T, _ *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	},
	"the API's answer": func(t *testing.T, w *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, w.answer, status)
		assert.Zero(t, w.server.Counts().Refreshes)
	},
	"the base transport's error": func(t *testing.T, _ *faultWorld, _ int, err error) {
		require.Error(t, err)
		_, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		assert.False(t, isRefreshError)
	},
	"a `*RefreshError`": func(t *testing.T, _ *faultWorld, _ int, err error) {
		_, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		assert.True(t, isRefreshError, "%v", err)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
	},
	"a `*RefreshError` with `RetryAfter`": func(t *testing.T, _ *faultWorld, _ int, err error) {
		refreshErr, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		require.True(t, isRefreshError, "%v", err)
		assert.Equal(t, time.Second, refreshErr.RetryAfter)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	},
	"`ErrSignInRequired`": func(t *testing.T, _ *faultWorld, _ int, err error) {
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
	answer int       // the status of the API's answers
	cold   bool      // the store is first read once the fault is on
	end    func()    // ends the fault
}

// An arrange lets a fault happen in a world. It gets the world's own server, or puts
// another one there.
type arrange func(*testing.T, *faultWorld)

func failRefresh(f reauthtest.Failure) arrange {
	return func(_ *testing.T, w *faultWorld) {
		w.server.FailRefresh(f, -1)
		w.end = func() { w.server.FailRefresh(f, 0) }
	}
}

func failAPI(f reauthtest.Failure) arrange {
	return func(_ *testing.T, w *faultWorld) {
		w.answer = f.Status
		w.server.FailAPI(f, -1)
		w.end = func() { w.server.FailAPI(f, 0) }
	}
}

func failStore(call string) arrange {
	return func(_ *testing.T, w *faultWorld) {
		var over atomic.Bool
		w.store.on(func(_ context.Context, c string) error {
			if c == call && !over.Load() {
				return errors.New("the store is down")
			}
			return nil
		})
		w.cold = call == "Load"
		w.end = func() { over.Store(true) }
	}
}

// afterRefreshing are the faults of a token server that has done what it was asked,
// and then does not say so.
var afterRefreshing = map[string]http.HandlerFunc{
	"its connection breaks": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"no answer":             func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"500":                   func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
	"502":                   func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) },
	"503":                   func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) },
	"no token":              func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, noToken.Body) },
	"broken JSON":           func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, reauthtest.BrokenAnswer.Body) },
}

var noToken = reauthtest.Failure{
	Status: http.StatusOK,
	Header: http.Header{"Content-Type": {"application/json"}},
	Body:   `{"token_type":"Bearer"}`,
}

// spoil puts a proxy before the token server, which passes each request on and gives
// answer in place of the server's.
func spoil(t *testing.T, w *faultWorld, answer http.HandlerFunc) {
	target, err := url.Parse(w.server.URL)
	require.NoError(t, err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	var over atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if over.Load() {
			pass.ServeHTTP(rw, r)
			return
		}
		servers := httptest.NewRecorder()
		pass.ServeHTTP(servers, r)
		assert.Equal(t, http.StatusOK, servers.Code, "the server has refreshed")
		answer(rw, r)
	}))
	t.Cleanup(proxy.Close)
	w.cfg.Refresher = &oauth.Refresher{TokenURL: proxy.URL + "/token"}
	w.cfg.RefreshTimeout = time.Second
	w.end = func() { over.Store(true) }
}

// TestFaults is the table in docs/faults.md: what the caller gets, and what
// becomes of the session.
func TestFaults(t *testing.T) {
	// The two ways on from an answer that is lost after the server has rotated.
	takenAgain, lost := make(map[string]arrange), make(map[string]arrange)
	for name, answer := range afterRefreshing {
		takenAgain[name] = func(t *testing.T, w *faultWorld) {
			w.server = reauthtest.NewServer(t, reauthtest.Options{ReuseInterval: time.Minute})
			w.cfg.Origins = []string{w.server.URL}
			spoil(t, w, answer)
		}
		lost[name] = func(t *testing.T, w *faultWorld) {
			spoil(t, w, answer)
			tr, err := reauth.New(w.cfg)
			require.NoError(t, err)
			tok := reauth.Token(w.server.SignIn("ann"))
			require.NoError(t, tr.SignIn(t.Context(), tok))
			_, err = tr.Refresh(t.Context(), tok)
			sees["a `*RefreshError`"](t, w, 0, err) // the first time it is a passing fault
			w.end()
		}
	}
	only := func(f arrange) map[string]arrange { return map[string]arrange{"": f} }
	const kept, gone = "kept", "signed out"
	for _, c := range []struct {
		fault   string
		sees    string
		session string
		ways    map[string]arrange
	}{
		{"the API refuses the access token, or it has expired", "its answer", kept, only(func(*testing.T, *faultWorld) {})},
		{"the token server is down", "a `*RefreshError`", kept, only(func(t *testing.T, w *faultWorld) {
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
			w.cfg.Refresher = &oauth.Refresher{TokenURL: w.server.TokenURL(), Client: &http.Client{Transport: transport}}
			w.end = func() { down.Store(false) }
		})},
		{"the token server's connection breaks before it has refreshed", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Drop))},
		{"the token server does not answer within `RefreshTimeout`, and has not refreshed", "a `*RefreshError`", kept, only(func(_ *testing.T, w *faultWorld) {
			w.cfg.RefreshTimeout = time.Second
			w.server.FailRefresh(reauthtest.Hang, 1) // for good: what is released late would be a refresh whose answer is lost
		})},
		{"the token server answers 500, 502 or 503, and has not refreshed", "a `*RefreshError`", kept, map[string]arrange{
			"500": failRefresh(reauthtest.Failure{Status: http.StatusInternalServerError}),
			"502": failRefresh(reauthtest.Failure{Status: http.StatusBadGateway}),
			"503": failRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable}),
		}},
		{"the token server's answer has no token, or is broken JSON, and it has not refreshed", "a `*RefreshError`", kept, map[string]arrange{
			"no token":    failRefresh(noToken),
			"broken JSON": failRefresh(reauthtest.BrokenAnswer),
		}},
		{"one of these four after it has refreshed, and it accepts the old token again", "a `*RefreshError`", kept, takenAgain},
		{"one of these four after it has refreshed, and it does not accept the old token: the next attempt", "`ErrSignInRequired`", gone, lost},
		{"the token server answers 429 with `Retry-After`", "a `*RefreshError` with `RetryAfter`", kept, only(failRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Second}))},
		{"a firewall answers 403 in place of the token server", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Failure{Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<h1>Forbidden</h1>"}))},
		{"the token server redirects to another host", "a `*RefreshError`", kept, only(func(t *testing.T, w *faultWorld) {
			stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("a token request has reached a stranger")
			}))
			t.Cleanup(stranger.Close)
			failRefresh(reauthtest.Failure{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {stranger.URL}}, Body: "-"})(t, w)
		})},
		{"the token server does not know the client (`invalid_client`)", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Failure{Code: "invalid_client"}))},
		{"the token server refuses the refresh token (`invalid_grant`)", "`ErrSignInRequired`", gone, only(failRefresh(reauthtest.Failure{Code: "invalid_grant"}))},
		{"the token server refuses the refresh token with 200 and an `error` member", "`ErrSignInRequired`", gone, only(failRefresh(reauthtest.Failure{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"invalid_grant"}`}))},
		{"the API refuses every token", "the 401", kept, only(failAPI(reauthtest.Failure{Status: http.StatusUnauthorized}))},
		{"the API requires more rights (`insufficient_scope`), or answers 5xx", "the API's answer", kept, map[string]arrange{
			"401 insufficient_scope": failAPI(reauthtest.Failure{Status: http.StatusUnauthorized, Code: "insufficient_scope"}),
			"403 insufficient_scope": failAPI(reauthtest.Failure{Status: http.StatusForbidden, Code: "insufficient_scope"}),
			"503":                    failAPI(reauthtest.Failure{Status: http.StatusServiceUnavailable}),
		}},
		{"the API's connection breaks", "the base transport's error", kept, only(failAPI(reauthtest.Drop))},
		{"the API refuses a request whose body cannot be sent twice", "the 401", kept, only(func(_ *testing.T, w *faultWorld) {
			w.cfg.ReplayBuffer = -1
			w.body = struct{ io.Reader }{io.LimitReader(zeros{}, 1000)}
		})},
		{"the store cannot be read", "a `*RefreshError`", kept, only(failStore("Load"))},
		{"the store cannot be locked", "a `*RefreshError`", kept, only(failStore("Lock"))},
		{"the store does not accept the new token, whose save is then pending", "its answer", kept, only(failStore("Save"))},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			table, err := os.ReadFile("docs/faults.md")
			require.NoError(t, err)
			require.Contains(t, string(table), "| "+c.fault+" | "+c.sees+" | "+c.session+" |")
			for way, arrange := range c.ways {
				if way == "" {
					live(t, arrange, c.sees, c.session == kept)
					continue
				}
				t.Run(way, func(t *testing.T) {
					t.Parallel()
					live(t, arrange, c.sees, c.session == kept)
				})
			}
		})
	}
}

// live lets a fault happen, and looks at what comes of it.
func live(t *testing.T, arrange arrange, seen string, kept bool) {
	w := &faultWorld{server: reauthtest.NewServer(t, reauthtest.Options{}), store: new(faultyStore), end: func() {}}
	w.cfg = reauth.Config{
		Refresher:    &oauth.Refresher{TokenURL: w.server.TokenURL()},
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
	arrange(t, w)
	tr, err := reauth.New(w.cfg)
	require.NoError(t, err)
	if w.server != before {
		require.NoError(t, tr.SignIn(t.Context(), reauth.Token(w.server.SignIn("ann"))))
	} else if !w.cold {
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
	sees[seen](t, w, status, err)

	w.end()
	signedIn, err := tr.SignedIn(t.Context())
	require.NoError(t, err)
	assert.Equal(t, kept, signedIn)
	if kept {
		assert.Eventually(t, func() bool { // once the pause after a failure is over
			status, err := fetch(bounded(t), tr, w.server.APIURL("/"))
			return err == nil && status == http.StatusOK
		}, time.Minute, 50*time.Millisecond, "requests do not work again")
	}
	require.NoError(t, tr.Wait(bounded(t)))
	tok, ok := w.store.stored(t, "")
	assert.Equal(t, kept, ok, "whether the store has a token")
	if ok {
		current, err := tr.Token(t.Context())
		require.NoError(t, err)
		assert.True(t, current.AccessToken == tok.AccessToken, "the store has the current token")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
