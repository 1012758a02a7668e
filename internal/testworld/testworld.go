// Package testworld is what tests of a Transport run in: an Authority that decides which
// tokens are good, an API that asks it, a store that fails on demand, and a log of events.
// Nothing in it opens a socket, so that all of it works in virtual time.
package testworld

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

const APIURL = "https://api.example.com/me"

// ErrFault is a temporary fault.
var ErrFault = errors.New("a fault that will pass")

// A World is an Authority, its API, a store, and a Transport between them and the test.
type World struct {
	*Authority
	API       *API
	Store     *FaultyStore
	Transport *reauth.Transport
	Events    *EventLog
}

// WithStore is a store in place of the World's own. A FaultyStore becomes the World's.
func WithStore(store reauth.Store) Setting {
	return func(cfg *reauth.Config, w *World) {
		cfg.Store = store
		if s, ok := store.(*FaultyStore); ok {
			w.Store = s
		}
	}
}

// Case is Run as a subtest.
func Case(t *testing.T, name string, test func(*testing.T, *World), with ...Setting) {
	t.Helper()
	t.Run(name, func(t *testing.T) { Run(t, test, with...) })
}

// New returns a World. The test ends once its Transport has nothing left to do.
func New(t *testing.T, with ...Setting) *World {
	t.Helper()
	w := &World{Authority: NewAuthority(), Events: &EventLog{}, Store: new(FaultyStore)}
	w.API = &API{Authority: w.Authority}
	cfg := reauth.Config{
		Refresher: w.Authority,
		Origins:   []string{"https://api.example.com"},
		Base:      w.API,
		Store:     w.Store,
		OnEvent:   w.Events.Add,
	}
	for _, f := range with {
		f(&cfg, w)
	}
	var err error
	w.Transport, err = reauth.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { w.Wait(t) })
	return w
}

// Wait waits until the Transport has nothing left to do. If that takes a day it fails,
// because a save that is retried for ever would be a test that never ends.
func (w *World) Wait(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	assert.NoError(t, w.Transport.Wait(ctx))
}

// Beside returns a World that stands for another process: it shares the store, the
// Authority and the API of w.
func (w *World) Beside(t *testing.T, with ...Setting) *World {
	t.Helper()
	shared := func(cfg *reauth.Config, other *World) {
		other.Authority, other.API, other.Store = w.Authority, w.API, w.Store
		cfg.Refresher, cfg.Base, cfg.Store = w.Authority, w.API, w.Store
	}
	return New(t, append([]Setting{shared}, with...)...)
}

// SignIn gives the Transport a token that the API accepts.
func (w *World) SignIn(t *testing.T) reauth.Token {
	t.Helper()
	return w.SignInAs(t, "")
}

// SignInAs is SignIn for a session with a name.
func (w *World) SignInAs(t *testing.T, session string) reauth.Token {
	t.Helper()
	tok := w.IssueFor(session)
	require.NoError(t, w.Transport.Session(session).SignIn(t.Context(), tok))
	return tok
}

// Get sends a request and returns the status, or 0 and an error.
func (w *World) Get(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, APIURL, nil)
	if err != nil {
		return 0, err
	}
	return w.Do(req)
}

// Do sends req, reads the response to its end, and returns its status.
func (w *World) Do(req *http.Request) (int, error) {
	resp, err := w.Transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (w *World) MustGet(t *testing.T, want int) {
	t.Helper()
	w.MustGetAs(t, "", want)
}

func (w *World) MustGetAs(t *testing.T, session string, want int) {
	t.Helper()
	status, err := w.Get(reauth.WithSession(t.Context(), session))
	require.NoError(t, err)
	assert.Equal(t, want, status)
}

// Go sends a request on a goroutine of its own and returns how it ended, later.
func (w *World) Go(ctx context.Context) <-chan Result {
	done := make(chan Result, 1)
	go func() { done <- w.timed(ctx) }()
	return done
}

// A Result is how a request ended, and how long it took.
type Result struct {
	Status int
	Err    error
	Took   time.Duration
}

func (w *World) timed(ctx context.Context) Result {
	began := time.Now()
	status, err := w.Get(ctx)
	return Result{status, err, time.Since(began)}
}

// Storm sends n requests at once and returns how they ended.
func (w *World) Storm(ctx context.Context, n int) []Result {
	results := make([]Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i] = w.timed(ctx) })
	}
	wg.Wait()
	return results
}

func AssertAllOK(t *testing.T, results []Result) {
	t.Helper()
	for i, r := range results {
		if r.Err != nil || r.Status != http.StatusOK {
			t.Errorf("request %d of %d: status %d, error %v", i, len(results), r.Status, r.Err)
		}
	}
}

// AssertTemporary asserts that err is that of a refresh that failed and may succeed later.
func AssertTemporary(t *testing.T, err error) {
	t.Helper()
	_, ok := errors.AsType[*reauth.RefreshError](err)
	assert.True(t, ok, "%v", err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	assert.NotErrorIs(t, err, context.Canceled)
}

// AssertTemporaryFailure asserts that a request fails for now.
func (w *World) AssertTemporaryFailure(t *testing.T) {
	t.Helper()
	_, err := w.Get(t.Context())
	AssertTemporary(t, err)
}

// AssertSignInRequired asserts that a request fails until somebody signs in.
func (w *World) AssertSignInRequired(t *testing.T) {
	t.Helper()
	_, err := w.Get(t.Context())
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

// AssertSignedIn asserts what SignedIn says.
func (w *World) AssertSignedIn(t *testing.T, want bool) {
	t.Helper()
	got, err := w.Transport.SignedIn(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// AssertStored asserts which access token the store holds; "" is none.
func (w *World) AssertStored(t *testing.T, accessToken string) {
	t.Helper()
	tok, ok := w.Store.Stored(t, "")
	assert.Equal(t, accessToken != "", ok, "whether a token is stored")
	assert.Equal(t, accessToken, tok.AccessToken)
}

// Pass lets time go by, unless ctx ends before. A timer of no length is avoided: in
// a bubble the race detector's runtime can crash on one (golang/go#78156).
func Pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// An API is a base transport that answers as an API behind the Authority would.
type API struct {
	Authority *Authority
	Latency   time.Duration
	Decide    func(*http.Request) int // unless nil or 0, the status

	mu   sync.Mutex
	seen []string // the Authorization of each request
}

func (a *API) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.seen = append(a.seen, req.Header.Get("Authorization"))
	a.mu.Unlock()
	if req.Body != nil {
		defer req.Body.Close()
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	status := 0
	if a.Decide != nil {
		status = a.Decide(req)
	}
	switch {
	case status != 0:
	case a.Authority.Accepts(req.Header.Get("Authorization")):
		status = http.StatusOK
	default:
		status = http.StatusUnauthorized
	}
	if err := Pass(req.Context(), a.Latency); err != nil {
		return nil, err
	}
	return Respond(req, status, http.StatusText(status)), nil
}

func (a *API) Requests() int { return len(a.Tokens()) }

// Tokens returns the Authorization of each request, in order.
func (a *API) Tokens() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func Respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)), Request: req,
	}
}

type RoundTripper func(*http.Request) (*http.Response, error)

func (f RoundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// An EventLog keeps the events that it hears.
type EventLog struct {
	mu     sync.Mutex
	events []reauth.Event
	then   func(context.Context, reauth.Event)
}

// On makes f hear each event, too, before what reports it goes on.
func (l *EventLog) On(f func(context.Context, reauth.Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.then = f
}

// OnKind is On for one kind of event.
func (l *EventLog) OnKind(kind reauth.EventKind, f func(context.Context)) {
	l.On(func(ctx context.Context, e reauth.Event) {
		if e.Kind == kind {
			f(ctx)
		}
	})
}

func (l *EventLog) Add(ctx context.Context, e reauth.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	then := l.then
	l.mu.Unlock()
	if then != nil {
		then(ctx, e)
	}
}

func (l *EventLog) All() []reauth.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *EventLog) Kinds() []reauth.EventKind {
	var kinds []reauth.EventKind
	for _, e := range l.All() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// Of returns the events of one kind.
func (l *EventLog) Of(kind reauth.EventKind) []reauth.Event {
	return slices.DeleteFunc(l.All(), func(e reauth.Event) bool { return e.Kind != kind })
}

func (l *EventLog) Count(kind reauth.EventKind) int { return len(l.Of(kind)) }
