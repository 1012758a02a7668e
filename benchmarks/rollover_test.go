package benchmarks_test

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth/benchmarks"
)

const (
	rollovers     = 100
	tokenLifetime = time.Minute
	earlyRefresh  = tokenLifetime / 10 // for all libraries; it is the default of reauth, which subtracts up to a fifth
	workers       = 100                // each sends a request every second
	secondsShown  = 300
)

// TestRollover sends 100 requests a second, evenly spaced, while a token of one minute
// is replaced 100 times by refreshes of 200 ms.
func TestRollover(t *testing.T) {
	quiet := runRollover(t, "none", libraries[0], 0)
	assert.Equal(t, apiLatency, quiet.Worst)
	const waiting = 200*time.Millisecond + apiLatency
	worst := map[string]time.Duration{"reauth": quiet.Worst, "oauth2": waiting, "azcore": waiting, "cloudauth": quiet.Worst}
	for _, lib := range libraries {
		expected, ok := worst[lib.name]
		if !ok {
			continue // its user decides when to refresh
		}
		t.Run(lib.name, func(t *testing.T) {
			o := runRollover(t, lib.name, lib, tokenLifetime)
			assert.Equal(t, expected, o.Worst)
			assert.Equal(t, rollovers, o.Rollovers)
			assert.Equal(t, o.Rollovers, o.Refreshes)
			assert.Equal(t, o.Requests, o.Answered, "nothing is refused, and nothing is sent twice")
		})
	}
}

// runRollover runs until there were 100 rollovers, or until there should have been. A
// lifetime of 0 means that the token does not expire.
func runRollover(t *testing.T, name string, lib library, lifetime time.Duration) benchmarks.Outcome {
	var o benchmarks.Outcome
	synctest.Test(t, func(t *testing.T) {
		s := &scenario{model: newModel(), library: lib, early: earlyRefresh}
		s.lifetime, s.refreshing = lifetime, 200*time.Millisecond
		s.start(t, s.issue())

		var mu sync.Mutex
		took := map[time.Duration]int{}
		seconds := make([]time.Duration, secondsShown)
		var calls []call // all but those that were answered
		var all sync.WaitGroup
		for i := range workers {
			all.Go(func() {
				req := newRequest(t, t.Context(), 3)
				time.Sleep(time.Duration(i+1) * time.Second / workers)
				next := time.NewTicker(time.Second)
				defer next.Stop()
				for second := 0; s.rollovers() < rollovers && second < rollovers*60; second++ {
					c := s.send(t, req)
					mu.Lock()
					took[c.took]++
					if second < secondsShown {
						seconds[second] = max(seconds[second], c.took)
					}
					if c.status != http.StatusOK {
						calls = append(calls, c)
					}
					mu.Unlock()
					<-next.C
				}
			})
		}
		all.Wait()

		o = s.outcome("rollover", calls)
		for _, n := range took {
			o.Callers += n
		}
		o.Callers -= len(calls)
		o.Answered = o.Callers - o.Refused - o.Failed
		o.Library, o.Rollovers, o.Seconds = name, s.rollovers(), seconds
		o.Median, o.P999, o.Worst = quantile(took, 0.5), quantile(took, 0.999), quantile(took, 1)
	})
	report(t, o)
	return o
}

// quantile returns the time within which a part of the requests were done.
func quantile(took map[time.Duration]int, part float64) time.Duration {
	total, sum := 0, 0
	for _, n := range took {
		total += n
	}
	var d time.Duration
	for _, d = range slices.Sorted(maps.Keys(took)) {
		if sum += took[d]; float64(sum) >= part*float64(total) {
			break
		}
	}
	return d
}
