// Package testworld is what tests of a Transport run in: an Authority that decides which
// tokens are good, an API that asks it, a store that fails on demand, and a log of events.
// Nothing in it opens a socket, so that all of it works in virtual time.
package testworld

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

const APIURL = "https://api.example.com/me"

// An Authority is what a token server decides, without the server: which tokens
// are good, and what a refresh answers. Times are those of the bubble it is in.
type Authority struct {
	Lifetime time.Duration // of what it issues; 0: not stated, and endless
	Latency  time.Duration // of a refresh
	Opaque   bool          // issued tokens do not state their expiry

	mu      sync.Mutex
	issued  int
	good    string // the access token the API accepts
	until   time.Time
	spent   map[string]int // refresh tokens, and how often each was presented
	calls   []time.Duration
	answers []func(ctx context.Context) (reauth.Token, error) // used up one by one, before the rule
	began   time.Time
	Entered chan struct{} // if not nil, receives as each refresh arrives
	Gate    chan struct{} // if not nil, each refresh waits for a value or its close
}

func NewAuthority() *Authority {
	return &Authority{spent: map[string]int{}, began: time.Now()}
}

// issue makes the next token; the one before is no longer good.
func (a *Authority) Issue() reauth.Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next()
}

func (a *Authority) next() reauth.Token {
	a.issued++
	tok := reauth.Token{
		AccessToken:  fmt.Sprintf("secret-access-%d", a.issued),
		RefreshToken: fmt.Sprintf("secret-refresh-%d", a.issued),
	}
	a.good, a.until = tok.AccessToken, time.Time{}
	if a.Lifetime != 0 {
		a.until = time.Now().Add(a.Lifetime)
		if !a.Opaque {
			tok.Expiry = a.until
		}
	}
	return tok
}

// revoke makes the API refuse what was issued so far; the refresh token is good.
func (a *Authority) Revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.good = ""
}

// answer makes the next refresh answer with f.
func (a *Authority) Answer(f ...func(context.Context) (reauth.Token, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, f...)
}

func Failing(err error) func(context.Context) (reauth.Token, error) {
	return func(context.Context) (reauth.Token, error) { return reauth.Token{}, err }
}

func (a *Authority) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
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
	if a.Entered != nil {
		a.Entered <- struct{}{}
	}
	if a.Gate != nil {
		<-a.Gate
	}
	if answer != nil {
		return answer(ctx)
	}
	if err := Pass(ctx, a.Latency); err != nil {
		return reauth.Token{}, err
	}
	if old.RefreshToken == "" {
		return reauth.Token{}, fmt.Errorf("nothing to refresh: %w", reauth.ErrSignInRequired)
	}
	return a.Issue(), nil
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

func (a *Authority) Refreshes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

func (a *Authority) CallTimes() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *Authority) MostSpent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	most := 0
	for _, n := range a.spent {
		most = max(most, n)
	}
	return most
}

func (a *Authority) Accepts(authorization string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.good != "" && authorization == "Bearer "+a.good && (a.until.IsZero() || time.Now().Before(a.until))
}

// An api is a base transport that answers as an API behind the Authority would.
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

func (a *API) Requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

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

// A World is an Authority, its API, and a Transport between them and the test.
type World struct {
	*Authority
	API       *API
	Transport *reauth.Transport
	Events    *EventLog
}

func New(t *testing.T, with ...func(*reauth.Config, *World)) *World {
	t.Helper()
	w := &World{Authority: NewAuthority(), Events: &EventLog{}}
	w.API = &API{Authority: w.Authority}
	cfg := reauth.Config{
		Refresher: w.Authority,
		Origins:   []string{"https://api.example.com"},
		Base:      w.API,
		OnEvent:   w.Events.Add,
	}
	for _, f := range with {
		f(&cfg, w)
	}
	var err error
	w.Transport, err = reauth.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Transport.Wait(context.Background())) })
	return w
}

// signIn gives the transport a token that the API accepts.
func (w *World) SignIn(t *testing.T) reauth.Token {
	t.Helper()
	tok := w.Issue()
	require.NoError(t, w.Transport.SignIn(t.Context(), tok))
	return tok
}

// get sends a request and returns the status, or 0 and an error.
func (w *World) Get(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, APIURL, nil)
	if err != nil {
		return 0, err
	}
	return w.Do(req)
}

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
	status, err := w.Get(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, status)
}

// A Result is how a request ended, and how long it took.
type Result struct {
	Status int
	Err    error
	Took   time.Duration
}

// storm sends n requests at once and returns how they ended.
func (w *World) Storm(ctx context.Context, n int) []Result {
	results := make([]Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			status, err := w.Get(ctx)
			results[i] = Result{status, err, time.Since(began)}
		})
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

type EventLog struct {
	mu     sync.Mutex
	events []reauth.Event
}

func (l *EventLog) Add(_ context.Context, e reauth.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *EventLog) Kinds() []reauth.EventKind {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kinds []reauth.EventKind
	for _, e := range l.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (l *EventLog) Count(kind reauth.EventKind) int {
	n := 0
	for _, k := range l.Kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

var ErrFault = errors.New("a fault that will Pass")

// A FaultyStore is a MemoryStore whose calls a test can watch, delay and fail.
type FaultyStore struct {
	reauth.MemoryStore
	mu     sync.Mutex
	before func(ctx context.Context, call string) error // called at each call, with no lock held
	counts map[string]int
}

func (s *FaultyStore) On(f func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *FaultyStore) enter(ctx context.Context, call string) error {
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

func (s *FaultyStore) Count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[call]
}

func (s *FaultyStore) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if err := s.enter(ctx, "Load"); err != nil {
		return reauth.Token{}, false, err
	}
	return s.MemoryStore.Load(ctx, session)
}

func (s *FaultyStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.enter(ctx, "Save"); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *FaultyStore) Delete(ctx context.Context, session string) error {
	if err := s.enter(ctx, "Delete"); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}

func (s *FaultyStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if err := s.enter(ctx, "Lock"); err != nil {
		return nil, nil, err
	}
	return s.MemoryStore.Lock(ctx, session)
}

// stored is what the store holds, without a call that is counted.
func (s *FaultyStore) Stored(t *testing.T, session string) (reauth.Token, bool) {
	t.Helper()
	tok, ok, err := s.MemoryStore.Load(context.Background(), session)
	require.NoError(t, err)
	return tok, ok
}
