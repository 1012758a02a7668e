package benchmarks_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/benchmarks"
)

const apiLatency = 10 * time.Millisecond

// want is compared with an Outcome.
type want struct {
	answered, refused, failed int
	refreshes                 int
	last                      time.Duration
}

func TestStorm(t *testing.T) {
	const callers, refreshing = 10_000, 200 * time.Millisecond
	once := want{answered: callers, refreshes: 1, last: refreshing + apiLatency}
	replayed := want{answered: callers, refreshes: 1, last: apiLatency + refreshing + apiLatency}
	handedOver := want{refused: callers, last: apiLatency}
	// The token has been revoked, which the callers learn from a 401.
	scenarios(t, "storm-refused", map[string]want{
		"reauth": replayed, "oauth2": handedOver, "azcore": replayed, "appkit": replayed, "cloudauth": handedOver,
	}, func(t *testing.T, s *scenario) []call {
		s.refreshing, s.spans = refreshing, map[benchmarks.Span]int{}
		s.start(t, s.issue())
		s.revoke()
		return s.storm(t, callers)
	})
	// The token is known to have expired.
	scenarios(t, "storm-ended", map[string]want{
		"reauth": once, "oauth2": once, "azcore": once, "cloudauth": once,
	}, func(t *testing.T, s *scenario) []call {
		s.refreshing, s.spans = refreshing, map[benchmarks.Span]int{}
		s.start(t, token{access: "ended", expiry: time.Now().Add(-time.Second)})
		return s.storm(t, callers)
	})
}

// TestLateRefusals revokes the token of requests that are under way. The API refuses
// them one after the other, long after the first refusal has led to a new token.
func TestLateRefusals(t *testing.T) {
	const callers = 50
	last := callers*20*time.Millisecond + apiLatency
	once := want{answered: callers, refreshes: 1, last: last}
	handedOver := want{refused: callers, last: callers * 20 * time.Millisecond}
	scenarios(t, "late-refusals", map[string]want{
		"reauth": once, "oauth2": handedOver, "appkit": once, "cloudauth": handedOver,
		"azcore": {answered: callers, refreshes: callers, last: last + 5*time.Millisecond},
	}, func(t *testing.T, s *scenario) []call {
		s.refreshing = 5 * time.Millisecond
		s.answering = func(req *http.Request) time.Duration {
			if time.Since(s.began) > 0 {
				return apiLatency
			}
			i, err := strconv.Atoi(req.Header.Get("X-Caller"))
			assert.NoError(t, err)
			return time.Duration(i+1) * 20 * time.Millisecond
		}
		s.start(t, s.issue())
		s.revoke()
		return s.storm(t, callers)
	})
}

// TestFailingTokenServer has callers with an expired token, and a token server that
// takes 200 ms to answer with an error.
func TestFailingTokenServer(t *testing.T) {
	const callers, refreshing = 50, 200 * time.Millisecond
	shared := want{failed: callers, refreshes: 1, last: refreshing}
	inTurn := want{failed: callers, refreshes: callers, last: callers * refreshing}
	scenarios(t, "failing-token-server", map[string]want{
		"reauth": shared, "oauth2": inTurn, "azcore": inTurn, "cloudauth": inTurn,
	}, func(t *testing.T, s *scenario) []call {
		s.refreshing, s.down, s.spans = refreshing, true, map[benchmarks.Span]int{}
		s.start(t, token{access: "ended", expiry: time.Now().Add(-time.Second)})
		return s.storm(t, callers)
	})
}

// TestDeadline has a caller with a deadline of 50 ms wait for a refresh that takes
// 700 ms and was started by another caller.
func TestDeadline(t *testing.T) {
	const refreshing = 700 * time.Millisecond
	const deadline = 50 * time.Millisecond
	kept := want{failed: 1, refreshes: 1, last: deadline}
	missed := want{failed: 1, refreshes: 1, last: refreshing - time.Millisecond}
	scenarios(t, "deadline", map[string]want{
		"reauth": kept, "oauth2": missed, "azcore": missed, "cloudauth": missed,
	}, func(t *testing.T, s *scenario) []call {
		s.refreshing = refreshing
		s.start(t, token{access: "ended", expiry: time.Now().Add(-time.Second)})
		var other sync.WaitGroup
		other.Go(func() { s.call(t, t.Context(), 0) })
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		c := s.call(t, ctx, 1)
		other.Wait()
		return []call{c}
	})
}

// A scenario is a model of the world around one library.
type scenario struct {
	*model
	library library
	early   time.Duration
	rt      http.RoundTripper
}

// A call is a request that a caller has sent.
type call struct {
	took   time.Duration
	status int // 0: an error
}

// scenarios runs a scenario with each library that supports it, since go-appkit leaves
// much to its user. The function run returns what the callers got.
func scenarios(t *testing.T, name string, wants map[string]want, run func(*testing.T, *scenario) []call) {
	for _, lib := range libraries {
		expected, ok := wants[lib.name]
		if !ok {
			continue
		}
		t.Run(name+"/"+lib.name, func(t *testing.T) {
			var o benchmarks.Outcome
			synctest.Test(t, func(t *testing.T) {
				s := &scenario{model: newModel(), library: lib}
				o = s.outcome(name, run(t, s))
			})
			assert.Equal(t, expected, want{o.Answered, o.Refused, o.Failed, o.Refreshes, o.Last})
			report(t, o)
		})
	}
}

// report hands an outcome to cmd/report.
func report(t *testing.T, o benchmarks.Outcome) {
	text, err := json.Marshal(o)
	require.NoError(t, err)
	t.Attr("outcome", string(text))
}

// start makes the library, with its first token.
func (s *scenario) start(t *testing.T, first token) {
	s.rt = s.library.new(t, setup{base: s.model, first: first, refresh: s.refresh, early: s.early, bubble: true})
}

// storm sends a request of each caller at once.
func (s *scenario) storm(t *testing.T, callers int) []call {
	calls := make([]call, callers)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() { calls[i] = s.call(t, t.Context(), i) })
	}
	all.Wait()
	return calls
}

func (s *scenario) call(t *testing.T, ctx context.Context, i int) call {
	req := newRequest(t, ctx, 3)
	req.Header.Set("X-Caller", strconv.Itoa(i))
	return s.send(t, req)
}

func (s *scenario) send(t *testing.T, req *http.Request) call {
	began := time.Now()
	resp, err := s.rt.RoundTrip(req)
	c := call{took: time.Since(began)}
	if err == nil {
		c.status = resp.StatusCode
		assert.NoError(t, resp.Body.Close())
	}
	return c
}

func (s *scenario) outcome(name string, calls []call) benchmarks.Outcome {
	o := benchmarks.Outcome{
		Scenario: name, Library: s.library.name, Callers: len(calls),
		Requests: s.requests, Refreshes: s.refreshes, Spans: s.timeline(),
	}
	for _, c := range calls {
		switch c.status {
		case http.StatusOK:
			o.Answered++
		case http.StatusUnauthorized:
			o.Refused++
		default:
			o.Failed++
		}
		o.Last = max(o.Last, c.took)
	}
	return o
}
