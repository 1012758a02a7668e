package reauth_test

import (
	"context"
	"errors"
	"fmt"
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

const apiURL = "https://api.example.com/me"

// An authority is what a token server decides, without the server: which tokens
// are good, and what a refresh answers. Times are those of the bubble it is in.
type authority struct {
	lifetime time.Duration // of what it issues; 0: not stated, and endless
	latency  time.Duration // of a refresh
	opaque   bool          // issued tokens do not state their expiry

	mu      sync.Mutex
	issued  int
	good    string // the access token the API accepts
	until   time.Time
	spent   map[string]int // refresh tokens, and how often each was presented
	calls   []time.Duration
	answers []func(ctx context.Context) (reauth.Token, error) // used up one by one, before the rule
	began   time.Time
	entered chan struct{} // if not nil, receives as each refresh arrives
	gate    chan struct{} // if not nil, each refresh waits for a value or its close
}

func newAuthority() *authority {
	return &authority{spent: map[string]int{}, began: time.Now()}
}

// issue makes the next token; the one before is no longer good.
func (a *authority) issue() reauth.Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next()
}

func (a *authority) next() reauth.Token {
	a.issued++
	tok := reauth.Token{
		AccessToken:  fmt.Sprintf("secret-access-%d", a.issued),
		RefreshToken: fmt.Sprintf("secret-refresh-%d", a.issued),
	}
	a.good, a.until = tok.AccessToken, time.Time{}
	if a.lifetime != 0 {
		a.until = time.Now().Add(a.lifetime)
		if !a.opaque {
			tok.Expiry = a.until
		}
	}
	return tok
}

// revoke makes the API refuse what was issued so far; the refresh token is good.
func (a *authority) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.good = ""
}

// answer makes the next refresh answer with f.
func (a *authority) answer(f ...func(context.Context) (reauth.Token, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, f...)
}

func failing(err error) func(context.Context) (reauth.Token, error) {
	return func(context.Context) (reauth.Token, error) { return reauth.Token{}, err }
}

func (a *authority) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	a.mu.Lock()
	a.calls = append(a.calls, time.Since(a.began))
	if old.RefreshToken != "" {
		a.spent[old.RefreshToken]++
	}
	var answer func(context.Context) (reauth.Token, error)
	if len(a.answers) > 0 {
		answer, a.answers = a.answers[0], a.answers[1:]
	}
	a.mu.Unlock()
	if a.entered != nil {
		a.entered <- struct{}{}
	}
	if a.gate != nil {
		<-a.gate
	}
	if answer != nil {
		return answer(ctx)
	}
	if err := pass(ctx, a.latency); err != nil {
		return reauth.Token{}, err
	}
	if old.RefreshToken == "" {
		return reauth.Token{}, fmt.Errorf("nothing to refresh: %w", reauth.ErrSignInRequired)
	}
	return a.issue(), nil
}

// pass lets time go by, unless ctx ends before. A timer of no length is avoided: in
// a bubble the race detector's runtime can crash on one (golang/go#78156).
func pass(ctx context.Context, d time.Duration) error {
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

func (a *authority) refreshes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

func (a *authority) callTimes() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *authority) mostSpent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	most := 0
	for _, n := range a.spent {
		most = max(most, n)
	}
	return most
}

func (a *authority) accepts(authorization string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.good != "" && authorization == "Bearer "+a.good && (a.until.IsZero() || time.Now().Before(a.until))
}

// An api is a base transport that answers as an API behind the authority would.
type api struct {
	authority *authority
	latency   time.Duration
	decide    func(*http.Request) int // unless nil or 0, the status

	mu   sync.Mutex
	seen []string // the Authorization of each request
}

func (a *api) RoundTrip(req *http.Request) (*http.Response, error) {
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
	if a.decide != nil {
		status = a.decide(req)
	}
	switch {
	case status != 0:
	case a.authority.accepts(req.Header.Get("Authorization")):
		status = http.StatusOK
	default:
		status = http.StatusUnauthorized
	}
	if err := pass(req.Context(), a.latency); err != nil {
		return nil, err
	}
	return respond(req, status, http.StatusText(status)), nil
}

func (a *api) requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

func (a *api) tokens() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)), Request: req,
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A world is an authority, its API, and a Transport between them and the test.
type world struct {
	*authority
	api    *api
	tr     *reauth.Transport
	events *eventLog
}

func newWorld(t *testing.T, with ...func(*reauth.Config, *world)) *world {
	t.Helper()
	w := &world{authority: newAuthority(), events: &eventLog{}}
	w.api = &api{authority: w.authority}
	cfg := reauth.Config{
		Refresher: w.authority,
		Origins:   []string{"https://api.example.com"},
		Base:      w.api,
		OnEvent:   w.events.add,
	}
	for _, f := range with {
		f(&cfg, w)
	}
	var err error
	w.tr, err = reauth.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.tr.Wait(context.Background())) })
	return w
}

// signIn gives the transport a token that the API accepts.
func (w *world) signIn(t *testing.T) reauth.Token {
	t.Helper()
	tok := w.issue()
	require.NoError(t, w.tr.SignIn(t.Context(), tok))
	return tok
}

// get sends a request and returns the status, or 0 and an error.
func (w *world) get(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiURL, nil)
	if err != nil {
		return 0, err
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) (int, error) {
	resp, err := w.tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (w *world) mustGet(t *testing.T, want int) {
	t.Helper()
	status, err := w.get(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, status)
}

// A result is how a request ended, and when after its start.
type result struct {
	status int
	err    error
	took   time.Duration
}

// storm sends n requests at once and returns how they ended.
func (w *world) storm(ctx context.Context, n int) []result {
	results := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			status, err := w.get(ctx)
			results[i] = result{status, err, time.Since(began)}
		})
	}
	wg.Wait()
	return results
}

func assertAllOK(t *testing.T, results []result) {
	t.Helper()
	for i, r := range results {
		if r.err != nil || r.status != http.StatusOK {
			t.Errorf("request %d of %d: status %d, error %v", i, len(results), r.status, r.err)
		}
	}
}

type eventLog struct {
	mu     sync.Mutex
	events []reauth.Event
}

func (l *eventLog) add(_ context.Context, e reauth.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) kinds() []reauth.EventKind {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kinds []reauth.EventKind
	for _, e := range l.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (l *eventLog) count(kind reauth.EventKind) int {
	n := 0
	for _, k := range l.kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

var errFault = errors.New("a fault that will pass")

// A faultyStore is a MemoryStore whose calls a test can watch, delay and fail.
type faultyStore struct {
	reauth.MemoryStore
	mu     sync.Mutex
	before func(ctx context.Context, call string) error // called at each call, with no lock held
	counts map[string]int
}

func (s *faultyStore) on(f func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *faultyStore) enter(ctx context.Context, call string) error {
	s.mu.Lock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[call]++
	f := s.before
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, call)
}

func (s *faultyStore) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[call]
}

func (s *faultyStore) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if err := s.enter(ctx, "Load"); err != nil {
		return reauth.Token{}, false, err
	}
	return s.MemoryStore.Load(ctx, session)
}

func (s *faultyStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.enter(ctx, "Save"); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *faultyStore) Delete(ctx context.Context, session string) error {
	if err := s.enter(ctx, "Delete"); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}

func (s *faultyStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if err := s.enter(ctx, "Lock"); err != nil {
		return nil, nil, err
	}
	return s.MemoryStore.Lock(ctx, session)
}

// stored is what the store holds, without a call that is counted.
func (s *faultyStore) stored(t *testing.T, session string) (reauth.Token, bool) {
	t.Helper()
	tok, ok, err := s.MemoryStore.Load(context.Background(), session)
	require.NoError(t, err)
	return tok, ok
}

func keptIn(store reauth.Store) func(*reauth.Config, *world) {
	return func(c *reauth.Config, _ *world) { c.Store = store }
}

// put stores tok as another process would.
func (s *faultyStore) put(t *testing.T, tok reauth.Token) {
	t.Helper()
	require.NoError(t, s.MemoryStore.Save(context.Background(), "", tok))
}
