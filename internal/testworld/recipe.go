package testworld

import (
	"context"
	"errors"
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

// A Recipe is an API whose tokens follow no standard, and the settings of a Transport
// for it.
type Recipe struct {
	Options reauthtest.Options
	Mount   func(*reauthtest.Server)
	SignIn  func(context.Context, *reauthtest.Server) (reauth.Config, reauth.Token)
	Expires bool // the token itself tells when it expires
}

// Test runs what the well-known interceptor recipes of browsers get wrong, each in a
// bubble of its own.
func (r Recipe) Test(t *testing.T) {
	for name, tc := range recipeTests {
		if tc.needsExpiry && !r.Expires {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := r.Options
				opts.RefreshLatency, opts.AccessLifetime = tc.latency, tc.lifetime
				w := &recipeWorld{t: t, server: reauthtest.NewPipeServer(t, opts), events: &EventLog{}}
				r.Mount(w.server)
				cfg, tok := r.SignIn(t.Context(), w.server)
				cfg.Origins, cfg.Base, cfg.OnEvent = []string{w.server.URL}, RoundTripper(w.send), w.events.Add
				var err error
				w.transport, err = reauth.New(cfg)
				require.NoError(t, err)
				require.NoError(t, w.transport.SignIn(t.Context(), tok))
				tc.run(w)
				require.NoError(t, w.transport.Wait(t.Context()))
			})
		})
	}
}

var recipeTests = map[string]struct {
	latency, lifetime time.Duration
	needsExpiry       bool
	run               func(*recipeWorld)
}{
	// A flag "refreshing" that a failure leaves set blocks everything after it.
	"a failed refresh does not block the next": {run: func(w *recipeWorld) {
		w.server.FailRefresh(reauthtest.Failure{Status: 503}, 1)
		w.server.ExpireAccess()
		_, _, err := w.post()
		require.Error(w.t, err)
		time.Sleep(2 * time.Second)
		w.mustPost()
		assert.Equal(w.t, 2, w.server.Counts().Refreshes)
	}},
	// A queue that is not rejected when the refresh fails leaves its members hanging.
	"every waiter gets the error of a failed refresh": {latency: time.Second, run: func(w *recipeWorld) {
		w.server.FailRefresh(reauthtest.Failure{Status: 500}, -1)
		w.server.ExpireAccess()
		began := time.Now()
		w.together(50, func() {
			_, _, err := w.post()
			_, ok := errors.AsType[*reauth.RefreshError](err)
			assert.True(w.t, ok, "%v", err)
		})
		assert.Equal(w.t, time.Second, time.Since(began))
		assert.Equal(w.t, 1, w.server.Counts().Refreshes)
	}},
	// A shared promise that is kept after it was rejected fails forever.
	"a failure is not remembered forever": {run: func(w *recipeWorld) {
		w.server.FailRefresh(reauthtest.Drop, -1)
		w.server.ExpireAccess()
		for range 5 {
			_, _, err := w.post()
			require.Error(w.t, err)
			time.Sleep(time.Minute)
		}
		w.server.FailRefresh(reauthtest.Failure{}, 0)
		for range 5 {
			w.mustPost()
		}
		assert.Equal(w.t, 1, w.server.Counts().RefreshesGranted)
	}},
	// One refresh for each refused request ends the session if refresh tokens rotate.
	"requests refused together share one refresh": {latency: time.Second, run: func(w *recipeWorld) {
		w.server.ExpireAccess()
		w.together(50, w.mustPost)
		c := w.server.Counts()
		assert.Equal(w.t, 1, c.Refreshes)
		assert.Equal(w.t, 1, c.MaxUsesOfOneRefreshToken)
		assert.Zero(w.t, c.SessionsRevoked)
		w.server.ExpireAccess() // the session is alive
		time.Sleep(time.Minute)
		w.mustPost()
	}},
	// The original error, returned while the refresh is in progress, loses the answer.
	"the caller gets the answer to the replay": {latency: 3 * time.Second, run: func(w *recipeWorld) {
		w.server.ExpireAccess()
		began := time.Now()
		status, body, err := w.post()
		require.NoError(w.t, err)
		assert.Equal(w.t, 200, status)
		assert.JSONEq(w.t, `{"path":"/orders","token":2,"user":"ann"}`, body)
		assert.Equal(w.t, 3*time.Second, time.Since(began))
		assert.Equal(w.t, 2, w.server.Counts().APIRequests)
	}},
	// A late refusal of the old token must not refresh the new one.
	"a late refusal starts no refresh": {run: func(w *recipeWorld) {
		w.server.ExpireAccess()
		w.delayNext(10 * time.Minute)
		w.together(1, func() {
			synctest.Wait()
			w.mustPost()
		}, w.mustPost)
		c := w.server.Counts()
		assert.Equal(w.t, 1, c.Refreshes)
		assert.Equal(w.t, 2, c.APIRefused)
		assert.Equal(w.t, 2, c.APISucceeded)
	}},
	// An endpoint that answers 401 to a valid token is about permission.
	"a permission problem does not refresh again and again": {run: func(w *recipeWorld) {
		w.server.HandlePublic("/orders", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(rw, "not for you")
		}))
		for range 20 {
			status, body, err := w.post()
			require.NoError(w.t, err)
			assert.Equal(w.t, 401, status)
			assert.Equal(w.t, "not for you", body)
		}
		assert.Equal(w.t, 1, w.server.Counts().Refreshes)
	}},
	"a failing token server signs nobody out": {run: func(w *recipeWorld) {
		for _, f := range []reauthtest.Failure{reauthtest.Drop, {Status: 502}, {Status: 429}, reauthtest.BrokenAnswer} {
			w.server.FailRefresh(f, -1)
			w.server.ExpireAccess()
			_, _, err := w.post()
			require.Error(w.t, err)
			_, ok := errors.AsType[*reauth.RefreshError](err)
			assert.True(w.t, ok, "%T", err)
			assert.NotErrorIs(w.t, err, reauth.ErrSignInRequired)
			signedIn, err := w.transport.SignedIn(w.t.Context())
			require.NoError(w.t, err)
			assert.True(w.t, signedIn)
			time.Sleep(time.Minute)
		}
		assert.Zero(w.t, w.events.Count(reauth.EventSignInRequired))
		w.server.FailRefresh(reauthtest.Failure{}, 0)
		w.mustPost()
	}},
	// A cookie that scripts cannot read hides its expiry from them.
	"the token is refreshed before it expires": {lifetime: time.Minute, needsExpiry: true, run: func(w *recipeWorld) {
		for range 100 {
			w.mustPost()
			time.Sleep(3 * time.Second)
		}
		c := w.server.Counts()
		assert.Zero(w.t, c.APIRefused)
		assert.InDelta(w.t, 5, c.Refreshes, 1)
	}},
	"a revoked session is reported once": {run: func(w *recipeWorld) {
		w.server.Revoke()
		mustSignIn := func() {
			_, _, err := w.post()
			assert.ErrorIs(w.t, err, reauth.ErrSignInRequired)
		}
		w.together(50, mustSignIn)
		time.Sleep(time.Minute)
		mustSignIn()
		assert.Equal(w.t, 1, w.events.Count(reauth.EventSignInRequired))
		assert.Equal(w.t, 1, w.server.Counts().Refreshes)
		signedIn, err := w.transport.SignedIn(w.t.Context())
		require.NoError(w.t, err)
		assert.False(w.t, signedIn)
	}},
}

// A recipeWorld is a Transport that is signed in at the server of a Recipe.
type recipeWorld struct {
	t         *testing.T
	server    *reauthtest.Server
	transport *reauth.Transport
	events    *EventLog

	mu    sync.Mutex
	delay time.Duration
}

func (w *recipeWorld) send(req *http.Request) (*http.Response, error) {
	resp, err := w.server.Transport().RoundTrip(req)
	w.mu.Lock()
	late := w.delay
	w.delay = 0
	w.mu.Unlock()
	_ = Pass(context.Background(), late)
	return resp, err
}

// delayNext delays the next answer of the API.
func (w *recipeWorld) delayNext(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

// post sends an order. With cookies only methods other than GET need a CSRF header.
func (w *recipeWorld) post() (status int, body string, err error) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+"/orders", strings.NewReader("7 apples"))
	if err != nil {
		return 0, "", err
	}
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

func (w *recipeWorld) mustPost() {
	status, _, err := w.post()
	assert.NoError(w.t, err)
	assert.Equal(w.t, 200, status)
}

// together calls each function n times at once and waits for all.
func (w *recipeWorld) together(n int, fs ...func()) {
	var wg sync.WaitGroup
	for range n {
		for _, f := range fs {
			wg.Go(f)
		}
	}
	wg.Wait()
}

// AssertShort checks that the examples of a file whose names have the prefix are at most
// 15 lines long, and that there are n.
func AssertShort(t *testing.T, file, prefix string, n int) {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, nil, 0)
	require.NoError(t, err)
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, prefix) {
			n--
			list := f.Body.List
			lines := set.Position(list[len(list)-1].End()).Line - set.Position(list[0].Pos()).Line + 1
			assert.LessOrEqual(t, lines, 15, f.Name.Name)
		}
	}
	assert.Zero(t, n)
}
