package fleet

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// Replicas are Transports in this process that share a session, each with a Store of its
// own. Their API has no latency, and a refresh takes 200 ms.
type Replicas struct {
	clients []*http.Client

	mu        sync.Mutex
	good      string // access token
	refreshes int
}

// NewReplicas returns n Replicas that are signed in. open opens a Store for each.
func NewReplicas(tb testing.TB, n int, open func(testing.TB) reauth.Store) *Replicas {
	tb.Helper()
	r := &Replicas{good: "1"}
	for i := range n {
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(r.refresh),
			Origins:   []string{"https://api.example.com"},
			Base:      roundTripper(r.serve),
			Store:     open(tb),
		})
		require.NoError(tb, err)
		if i == 0 {
			require.NoError(tb, tr.SignIn(context.Background(), reauth.Token{AccessToken: "1", RefreshToken: "1"}))
		}
		r.clients = append(r.clients, &http.Client{Transport: tr})
		tb.Cleanup(func() { _ = tr.Wait(context.Background()) })
	}
	return r
}

func (r *Replicas) refresh(_ context.Context, old reauth.Token) (reauth.Token, error) {
	time.Sleep(200 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refreshes++
	n, err := strconv.Atoi(old.RefreshToken)
	next := strconv.Itoa(n + 1)
	return reauth.Token{AccessToken: next, RefreshToken: next}, err
}

func (r *Replicas) serve(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}
	if req.Header.Get("Authorization") != "Bearer "+r.good {
		resp.StatusCode = http.StatusUnauthorized
	}
	return resp, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Refreshes returns how often a token was refreshed.
func (r *Replicas) Refreshes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refreshes
}

// Storm revokes the access token of all that are signed in for the first time, and lets
// them ask at once. It returns when the first and the last answer came.
func (r *Replicas) Storm(tb testing.TB) (first, last time.Duration) {
	tb.Helper()
	r.mu.Lock()
	r.good = "2"
	r.mu.Unlock()
	var mu sync.Mutex
	var wg sync.WaitGroup
	first = time.Hour
	began := time.Now()
	for _, client := range r.clients {
		wg.Go(func() {
			resp, err := client.Get("https://api.example.com/me")
			if assert.NoError(tb, err) {
				assert.Equal(tb, http.StatusOK, resp.StatusCode)
				resp.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			first, last = min(first, time.Since(began)), time.Since(began)
		})
	}
	wg.Wait()
	return first, last
}

// BenchmarkReplicas reports what it costs a store when many replicas need a new token at
// once, by their number: the calls that reach it for each of them, connecting included,
// and the time between the first answer and the last. start prepares an empty store. It
// returns how to open it, and how many calls have reached it so far.
func BenchmarkReplicas(b *testing.B, store string, start func(testing.TB) (open func(testing.TB) reauth.Store, calls func() int)) {
	for _, n := range []int{10, 50, 100, 200, 400} {
		b.Run(fmt.Sprintf("lib=%s/case=%d", store, n), func(b *testing.B) {
			var each float64
			var spread time.Duration
			for b.Loop() {
				b.StopTimer()
				open, calls := start(b)
				replicas := NewReplicas(b, n, open)
				before := calls()
				b.StartTimer()
				first, last := replicas.Storm(b)
				b.StopTimer()
				require.Equal(b, 1, replicas.Refreshes())
				each += float64(calls()-before) / float64(n)
				spread += last - first
				b.StartTimer()
			}
			b.ReportMetric(each/float64(b.N), "calls/replica")
			b.ReportMetric(float64(spread.Microseconds())/1000/float64(b.N), "ms-to-last")
		})
	}
}
