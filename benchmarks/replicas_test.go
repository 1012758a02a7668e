package benchmarks_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/benchmarks"
)

const (
	replicaAPI     = 5 * time.Millisecond
	replicaRefresh = 200 * time.Millisecond
)

// TestReplicas has replicas with one session, each with a Transport of its own, over a shared
// store. The API has revoked their token, and all ask it at once. Sizes that no test in real time
// could run show the law: each replica costs the store three calls, a look, the lock and
// another look. The last answer comes after the refresh, two requests to the API, a constant
// number of round trips, and the time that the store needs for those calls.
func TestReplicas(t *testing.T) {
	for _, replicas := range []int{1, 10, 100, 1000, 10_000} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			var o benchmarks.Outcome
			synctest.Test(t, func(t *testing.T) { o = runReplicas(t, newModel(), replicas) })
			assert.Equal(t, replicas, o.Answered)
			assert.Equal(t, 1, o.Refreshes)
			assert.Equal(t, 2*replicas, o.Requests)
			assert.Equal(t, 3*replicas+2, o.StoreCalls, "three each; that which refreshes locks, looks, saves and unlocks")
			served := time.Duration(o.StoreCalls) * storeService
			trips := o.Last - replicaRefresh - 2*replicaAPI - served
			assert.GreaterOrEqual(t, trips, 2*storeRoundTrip, "the last answer came at %s", o.Last)
			assert.LessOrEqual(t, trips, 5*storeRoundTrip, "the last answer came at %s", o.Last)
			report(t, o)
		})
	}
}

// If the token server fails, the replicas ask it one after the other, and only the next of
// them wakes.
func TestReplicasWhoseTokenServerFails(t *testing.T) {
	for _, replicas := range []int{10, 100} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			m.down = true
			o := runReplicas(t, m, replicas)
			assert.Equal(t, replicas, o.Failed)
			assert.Equal(t, replicas, o.Refreshes)
			assert.Equal(t, 5*replicas-1, o.StoreCalls, "a look, the lock twice, a look, and the unlock; the first locks once")
		})
	}
}

func runReplicas(t *testing.T, m *model, replicas int) benchmarks.Outcome {
	m.refreshing, m.answering = replicaRefresh, func(*http.Request) time.Duration { return replicaAPI }
	shared := new(sharedStore)
	transports := make([]*reauth.Transport, replicas)
	for i := range transports {
		transports[i] = newTransport(t, setup{base: m, refresh: m.refresh, bubble: true}, replicaStore{shared})
	}
	require.NoError(t, transports[0].SignIn(t.Context(), reauthToken(m.issue())))
	s := &scenario{model: m, library: libraries[0]}
	all := func() []call {
		calls := make([]call, replicas)
		var done sync.WaitGroup
		for i, tr := range transports {
			done.Go(func() {
				one := scenario{model: m, rt: tr}
				calls[i] = one.call(t, t.Context(), i)
			})
		}
		done.Wait()
		for _, tr := range transports {
			require.NoError(t, tr.Wait(t.Context()))
		}
		return calls
	}
	all() // so that each has the token
	time.Sleep(time.Minute)

	m.revoke()
	m.requests, m.refreshes, shared.calls = 0, 0, 0
	o := s.outcome(fmt.Sprintf("replicas-%d", replicas), all())
	o.StoreCalls = shared.calls
	return o
}
