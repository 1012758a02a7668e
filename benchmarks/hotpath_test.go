package benchmarks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

const manySessions = 100_000

// BenchmarkHotPath is a request with a fresh token and without a body. The base
// answers at once, without a network. The libraries to compare run one after the
// other.
func BenchmarkHotPath(b *testing.B) {
	made := map[string]http.RoundTripper{}
	all := slices.Concat([]library{base, floor}, libraries)
	for _, lib := range all {
		made[lib.name] = lib.new(b, setup{base: instant{}, first: fresh(), refresh: noRefresh})
	}
	for _, headers := range []int{3, 12} {
		for _, lib := range all {
			rt := made[lib.name]
			b.Run(fmt.Sprintf("lib=%s/case=alone/headers=%d", lib.name, headers), func(b *testing.B) {
				req := newRequest(b, newCaller(b.Context()), headers)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := rt.RoundTrip(req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		for _, lib := range all {
			rt := made[lib.name]
			b.Run(fmt.Sprintf("lib=%s/case=cores/headers=%d", lib.name, headers), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					req := newRequest(b, newCaller(b.Context()), headers)
					for pb.Next() {
						if _, err := rt.RoundTrip(req); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkManySessions is the hot path with another of 100,000 sessions each time.
// They come in the order in which they signed in, or at random, which makes the
// processor wait for memory. As in a program, requests are made shortly before they
// are sent, but outside the measured time. Only the sessions are therefore not in the
// processor's caches. The floor gets the same requests.
func BenchmarkManySessions(b *testing.B) {
	tr := newTransport(b, setup{base: instant{}, refresh: noRefresh}, nil)
	tok := fresh()
	for i := range manySessions {
		require.NoError(b, tr.SignIn(reauth.WithSession(b.Context(), sessionName(i)), reauthToken(tok)))
	}
	random := rand.New(rand.NewPCG(1, 2))
	turn := 0
	for _, scene := range []struct {
		name    string
		workers int
		next    func() int
	}{
		{"alone", 1, func() int { turn++; return turn % manySessions }},
		{"cores", runtime.GOMAXPROCS(0), func() int { turn++; return turn % manySessions }},
		{"random", 1, func() int { return random.IntN(manySessions) }},
	} {
		for _, headers := range []int{3, 12} {
			for _, lib := range []struct {
				name string
				rt   http.RoundTripper
			}{{"floor", floor.new(b, setup{base: instant{}, first: tok})}, {"reauth", tr}} {
				b.Run(fmt.Sprintf("lib=%s/case=%s/headers=%d", lib.name, scene.name, headers), func(b *testing.B) {
					sendInBatches(b, lib.rt, scene.workers, headers, func() context.Context {
						return reauth.WithSession(b.Context(), sessionName(scene.next()))
					})
				})
			}
		}
	}
}

// sendInBatches sends b.N requests with the contexts that next returns.
func sendInBatches(b *testing.B, rt http.RoundTripper, workers, headers int, next func() context.Context) {
	const batch = 1024 // few enough to stay in the caches, many enough to make starting workers irrelevant
	model := newRequest(b, b.Context(), headers)
	requests := make([][]*http.Request, workers)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		b.StopTimer()
		for i := range requests {
			requests[i] = make([]*http.Request, min(batch, left))
			left -= len(requests[i])
			c := newCaller(b.Context())
			for j := range requests[i] {
				requests[i][j] = model.WithContext(&caller{next(), c.answer})
			}
		}
		b.StartTimer()
		var all sync.WaitGroup
		for _, own := range requests {
			all.Go(func() {
				for _, req := range own {
					if _, err := rt.RoundTrip(req); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
}

func TestTheHotPathAllocatesWhatTheFloorDoes(t *testing.T) {
	const runs = 200
	first := fresh()
	s := setup{base: instant{}, first: first, refresh: noRefresh}
	attached := floor.new(t, s)
	for name, sessions := range map[string]int{"one session, without a name": 0, "one session": 1, "100,000 sessions": manySessions} {
		t.Run(name, func(t *testing.T) {
			tr := newReauth(t, s)
			for i := range sessions {
				require.NoError(t, tr.(*reauth.Transport).SignIn(reauth.WithSession(t.Context(), sessionName(i)), reauthToken(first)))
			}
			for _, headers := range []int{0, 3, 7, 8, 12, 14, 28} {
				requests := make([]*http.Request, runs+1) // one to warm up with
				for i := range requests {
					ctx := t.Context()
					if sessions > 0 {
						ctx = reauth.WithSession(ctx, sessionName(i*sessions/len(requests)))
					}
					requests[i] = newRequest(t, newCaller(ctx), headers)
				}
				allocations := func(rt http.RoundTripper) float64 {
					next := 0
					return testing.AllocsPerRun(runs, func() {
						_, err := rt.RoundTrip(requests[next])
						assert.NoError(t, err)
						next++
					})
				}
				assert.Equal(t, allocations(attached), allocations(tr), "%d headers", headers)
			}
		})
	}
}

// fresh returns a token of a usual length that does not expire during a benchmark.
func fresh() token {
	return token{access: strings.Repeat("x", 256), expiry: time.Now().Add(24 * time.Hour)}
}

func sessionName(i int) string { return fmt.Sprintf("session-%06d", i) }

func newRequest(tb testing.TB, ctx context.Context, headers int) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiURL, nil)
	require.NoError(tb, err)
	for i := range headers {
		req.Header.Set(fmt.Sprintf("X-Header-%d", i), "value")
	}
	return req
}

// A caller is the context of a goroutine that sends requests. It holds the response
// that they get, so that answering allocates nothing, and no two goroutines write to
// the same response.
type caller struct {
	context.Context
	answer *http.Response
}

type callerKey struct{}

func newCaller(ctx context.Context) *caller {
	return &caller{ctx, &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
}

func (c *caller) Value(key any) any {
	if key == (callerKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// instant is a base that answers at once. It reads no body.
type instant struct{}

func (instant) RoundTrip(req *http.Request) (*http.Response, error) { return answerOf(req), nil }

func answerOf(req *http.Request) *http.Response {
	c, ok := req.Context().(*caller)
	if !ok { // a library has wrapped the context
		c = req.Context().Value(callerKey{}).(*caller)
	}
	return c.answer
}
