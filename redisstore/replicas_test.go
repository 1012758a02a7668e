package redisstore_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/redisstore"
)

// A shared session whose access token is revoked while many replicas need it.
func TestTheCostOfARefreshDoesNotGrowWithTheReplicas(t *testing.T) {
	for _, replicas := range []int{10, 100} {
		t.Run(strconv.Itoa(replicas), func(t *testing.T) {
			server := startServer(t)
			fleet := newReplicas(t, server, replicas)
			before := commands(t, server)
			first, last := fleet.storm(t)
			each := (commands(t, server) - before) / replicas
			t.Logf("%d replicas: %d commands each; the last answer came %v after the first", replicas, each, last-first)
			assert.LessOrEqual(t, each, 24, "connecting included")
			assert.Equal(t, 1, fleet.refreshes)
		})
	}
}

// replicas are Transports with a client each.
type replicas struct {
	clients   []*http.Client
	mu        sync.Mutex
	good      string // access token
	refreshes int
}

func newReplicas(tb testing.TB, server *server, n int) *replicas {
	tb.Helper()
	r := &replicas{good: "1"}
	for i := range n {
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(r.refresh),
			Origins:   []string{"https://api.example.com"},
			Base:      roundTripper(r.serve),
			Store:     redisstore.New(newClient(tb, &redis.Options{Addr: server.addr}), nil),
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

func (r *replicas) refresh(_ context.Context, old reauth.Token) (reauth.Token, error) {
	time.Sleep(200 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refreshes++
	n, err := strconv.Atoi(old.RefreshToken)
	next := strconv.Itoa(n + 1)
	return reauth.Token{AccessToken: next, RefreshToken: next}, err
}

func (r *replicas) serve(req *http.Request) (*http.Response, error) {
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

// storm revokes the access token and lets all replicas ask at once. It returns when the
// first and the last answer came.
func (r *replicas) storm(tb testing.TB) (first, last time.Duration) {
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

// commands is how many commands the server has processed, those within scripts not
// counted.
func commands(tb testing.TB, s *server) int {
	tb.Helper()
	info, err := s.client(tb).Info(tb.Context(), "commandstats").Result()
	require.NoError(tb, err)
	n := 0
	for _, m := range regexp.MustCompile(`cmdstat_([a-z|]+):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.Atoi(m[2])
		require.NoError(tb, err)
		name, _, _ := strings.Cut(m[1], "|")
		switch name {
		case "eval", "evalsha", "subscribe", "unsubscribe", "hello", "client", "ping", "auth", "select":
			n += calls
		}
	}
	return n
}

// BenchmarkReplicas reports the cost of one refresh that many replicas need at once.
func BenchmarkReplicas(b *testing.B) {
	for _, n := range []int{10, 50, 100, 200, 400} {
		b.Run(fmt.Sprintf("replicas=%d", n), func(b *testing.B) {
			var each int
			var spread time.Duration
			for b.Loop() {
				b.StopTimer()
				server := startServer(b)
				fleet := newReplicas(b, server, n)
				before := commands(b, server)
				b.StartTimer()
				first, last := fleet.storm(b)
				b.StopTimer()
				each += (commands(b, server) - before) / n
				spread += last - first
				b.StartTimer()
			}
			b.ReportMetric(float64(each)/float64(b.N), "commands/replica")
			b.ReportMetric(float64(spread.Milliseconds())/float64(b.N), "ms-first-to-last")
		})
	}
}
