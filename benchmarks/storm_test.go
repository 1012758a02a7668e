package benchmarks_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reauth-go/reauth/benchmarks"
)

const mostCallers = 10_000

// BenchmarkStorm measures the time from the first of many callers to the answer of the
// last, when all find that the token has expired. The token server takes as long as
// the callers take to arrive, so that the rest is goroutines and locks. The floor is
// one goroutine that refreshes, and a channel for the others.
func BenchmarkStorm(b *testing.B) {
	makeGoroutines(mostCallers)
	for _, callers := range []int{1, 100, mostCallers} {
		for _, lib := range slices.Concat([]library{stormFloor}, libraries) {
			b.Run(fmt.Sprintf("lib=%s/case=%d", lib.name, callers), func(b *testing.B) {
				requests := make([]*http.Request, callers)
				for i := range requests {
					requests[i] = newRequest(b, newCaller(b.Context()), 3)
				}
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					var arrived atomic.Int64
					rt := lib.new(b, setup{base: instant{}, first: ended(), refresh: func(context.Context) (token, error) {
						for arrived.Load() < int64(callers) {
							runtime.Gosched()
						}
						return fresh(), nil
					}})
					b.StartTimer()
					var all sync.WaitGroup
					for _, req := range requests {
						all.Go(func() {
							arrived.Add(1)
							if _, err := rt.RoundTrip(req); err != nil {
								b.Error(err)
							}
						})
					}
					all.Wait()
				}
			})
		}
	}
}

// makeGoroutines starts n goroutines that exist at the same time, and ends them. The
// runtime keeps the memory to run them for later ones and never frees it. Without
// this, the first benchmark would pay for it.
func makeGoroutines(n int) {
	end := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() { <-end })
	}
	close(end)
	all.Wait()
}

// ended returns a token that expired a while ago.
func ended() token {
	t := fresh()
	t.expiry = time.Now().Add(-time.Hour)
	return t
}

var stormFloor = library{"floor", func(_ testing.TB, s setup) http.RoundTripper {
	return &oneFlight{setup: s, landed: make(chan struct{})}
}}

// A oneFlight is the least that can be done about one expired token.
type oneFlight struct {
	setup
	leader   atomic.Bool
	landed   chan struct{}
	attached benchmarks.Floor
}

func (f *oneFlight) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.leader.CompareAndSwap(false, true) {
		next, err := f.refresh(req.Context())
		if err != nil {
			return nil, err
		}
		f.attached = benchmarks.Floor{Base: f.base, Value: []string{"Bearer " + next.access}}
		close(f.landed)
	}
	select {
	case <-f.landed:
		return f.attached.RoundTrip(req)
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
}

// BenchmarkWaiting measures the memory of a caller that waits for a refresh, including
// its goroutine's stack.
func BenchmarkWaiting(b *testing.B) {
	const callers = mostCallers
	makeGoroutines(callers)
	for _, lib := range slices.Concat([]library{stormFloor}, libraries) {
		b.Run("lib="+lib.name+"/case="+strconv.Itoa(callers), func(b *testing.B) {
			requests := make([]*http.Request, callers)
			for i := range requests {
				requests[i] = newRequest(b, newCaller(b.Context()), 3)
			}
			for range b.N {
				land := make(chan struct{})
				rt := lib.new(b, setup{base: instant{}, first: ended(), refresh: func(context.Context) (token, error) {
					<-land
					return fresh(), nil
				}})
				before := memoryInUse()
				var all sync.WaitGroup
				for _, req := range requests {
					all.Go(func() {
						if _, err := rt.RoundTrip(req); err != nil {
							b.Error(err)
						}
					})
				}
				for goroutinesWaiting() < callers {
					runtime.Gosched()
				}
				after := memoryInUse()
				close(land)
				all.Wait()
				b.ReportMetric(float64(after-before)/callers, "B/caller")
			}
		})
	}
}
