package reauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A clerk is a Refresher whose tokens are good until they end, also after the
// next has been issued, and the API that accepts them.
type clerk struct {
	lifetime, latency, apiLatency time.Duration

	mu      sync.Mutex
	until   map[string]time.Time
	used    map[string]int // requests by token
	expired int            // requests with a token that had ended
	up      int            // refreshes in progress
	mostUp  int
}

func newClerk(lifetime time.Duration) *clerk {
	return &clerk{lifetime: lifetime, latency: 100 * time.Millisecond, apiLatency: 10 * time.Millisecond,
		until: map[string]time.Time{}, used: map[string]int{}}
}

func (c *clerk) issue(lives time.Duration) reauth.Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprint("token-", len(c.until)+1)
	c.until[name] = time.Now().Add(lives)
	return reauth.Token{AccessToken: name, RefreshToken: "r-" + name, Expiry: c.until[name]}
}

func (c *clerk) Refresh(context.Context, reauth.Token) (reauth.Token, error) {
	c.mu.Lock()
	c.up++
	c.mostUp = max(c.mostUp, c.up)
	c.mu.Unlock()
	// As if its clock were at the moment the request arrived.
	tok := c.issue(c.lifetime)
	time.Sleep(c.latency)
	c.mu.Lock()
	c.up--
	c.mu.Unlock()
	return tok, nil
}

func (c *clerk) RoundTrip(req *http.Request) (*http.Response, error) {
	name := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	c.used[name]++
	status := http.StatusOK
	if !time.Now().Before(c.until[name]) {
		c.expired++
		status = http.StatusUnauthorized
	}
	c.mu.Unlock()
	time.Sleep(c.apiLatency)
	return respond(req, status, ""), nil
}

func servedBy(c *clerk) func(*reauth.Config, *world) {
	return func(cfg *reauth.Config, _ *world) { cfg.Refresher, cfg.Base = c, c }
}

func TestEarlyRefreshesUnderSteadyLoadDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClerk(2 * time.Second)
		w := newWorld(t, servedBy(c))
		require.NoError(t, w.tr.SignIn(t.Context(), c.issue(2*time.Second)))
		var wg sync.WaitGroup
		ends := time.Now().Add(200 * time.Second) // 100 lifetimes
		for time.Now().Before(ends) {
			wg.Go(func() {
				began := time.Now()
				status, err := w.get(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, 10*time.Millisecond, time.Since(began))
			})
			time.Sleep(50 * time.Millisecond)
		}
		wg.Wait()
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Zero(t, c.expired)
		assert.Equal(t, 1, c.mostUp, "one flight at a time")
		// Each is refreshed in the last tenth of its life, no sooner.
		assert.InDelta(t, 200/1.85, len(c.until)-1, 6)
		assert.InDelta(t, len(c.until), len(c.used), 1, "every one was of use")
		assert.Equal(t, len(c.until)-1, w.events.count(reauth.EventRefreshed))
		assert.Equal(t, len(c.until)-1, w.events.count(reauth.EventRefreshStarted))
		assert.Zero(t, w.events.count(reauth.EventReplayed))
	})
}

func TestTokensThatLiveOneSecondWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClerk(time.Second)
		w := newWorld(t, servedBy(c))
		require.NoError(t, w.tr.SignIn(t.Context(), c.issue(time.Second)))
		for range 1000 {
			w.mustGet(t, http.StatusOK)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Zero(t, c.expired)
		assert.Equal(t, 1, c.mostUp)
		assert.LessOrEqual(t, len(c.until), 45, "about one per second")
	})
}

func TestTokensThatEndBeforeTheyArriveAreNotChased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The refresh takes longer than what it brings is good for.
		c := newClerk(50 * time.Millisecond)
		w := newWorld(t, servedBy(c))
		require.NoError(t, w.tr.SignIn(t.Context(), c.issue(-time.Second)))
		began := time.Now()
		w.mustGet(t, http.StatusUnauthorized)
		assert.Less(t, time.Since(began), time.Second)
		assert.LessOrEqual(t, w.events.count(reauth.EventRefreshed), 2)
	})
}

func TestIdleSessionIsNotRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = time.Minute
		w.signIn(t)
		time.Sleep(time.Hour)
		assert.Zero(t, w.refreshes(), "there is no timer")
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestEarlyRefreshSettingMovesTheWindow(t *testing.T) {
	for _, c := range []struct {
		setting        time.Duration
		before, during time.Duration // ages of a token of 100 s
	}{
		{0, 89 * time.Second, 93 * time.Second},
		{50 * time.Second, 49 * time.Second, 61 * time.Second},
		{time.Hour, 24 * time.Second, 41 * time.Second}, // at most three quarters
		{-1, 100*time.Second - 1, 100 * time.Second},
	} {
		t.Run(c.setting.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(cfg *reauth.Config, _ *world) { cfg.EarlyRefresh = c.setting })
				w.lifetime = 100 * time.Second
				w.signIn(t)
				time.Sleep(c.before)
				w.mustGet(t, http.StatusOK)
				synctest.Wait()
				assert.Zero(t, w.refreshes())
				time.Sleep(c.during - c.before)
				w.mustGet(t, http.StatusOK)
				synctest.Wait()
				assert.Equal(t, 1, w.refreshes())
			})
		})
	}
}

func TestRequestPastTheEndJoinsTheEarlyFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime, w.latency = 100*time.Second, 10*time.Second
		w.signIn(t)
		time.Sleep(95 * time.Second)
		w.mustGet(t, http.StatusOK) // sets it off
		time.Sleep(6 * time.Second)
		for _, r := range w.storm(t.Context(), 10) {
			require.NoError(t, r.err)
			assert.Equal(t, 4*time.Second, r.took)
		}
		assert.Equal(t, 1, w.refreshes())
	})
}

// stream returns a request whose body can be sent only once.
func stream(t *testing.T) *http.Request {
	t.Helper()
	body := io.MultiReader(strings.NewReader("a body of unknown length"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, apiURL, body)
	require.NoError(t, err)
	require.Nil(t, req.GetBody)
	return req
}

func TestPatientRequestWaitsForTheEarlyRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime, w.latency = 100*time.Second, time.Second
		w.signIn(t)
		time.Sleep(50 * time.Second)
		began := time.Now()
		status, err := w.do(stream(t))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Zero(t, time.Since(began), "far from the end it goes at once")

		time.Sleep(45 * time.Second)
		began = time.Now()
		status, err = w.do(stream(t))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-2"}, w.api.tokens())
	})
}

func TestPatientRequestsShareTheEarlyRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime, w.latency = 100*time.Second, time.Second
		w.signIn(t)
		time.Sleep(95 * time.Second)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				began := time.Now()
				status, err := w.do(stream(t))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, time.Second, time.Since(began))
			})
		}
		wg.Wait()
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPatientRequestGoesWithTheValidTokenIfTheEarlyRefreshFails(t *testing.T) {
	for name, err := range map[string]error{"passing": errFault, "final": errTurnedDown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.lifetime = 100 * time.Second
				w.signIn(t)
				time.Sleep(95 * time.Second)
				w.answer(func(context.Context) (reauth.Token, error) {
					time.Sleep(time.Second)
					return reauth.Token{}, err
				})
				for i := range 2 {
					began := time.Now()
					status, err := w.do(stream(t))
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
					if i == 0 {
						assert.Equal(t, time.Second, time.Since(began))
					} else {
						assert.Zero(t, time.Since(began), "in the pause nobody waits")
					}
				}
				assert.Equal(t, 1, w.refreshes())
			})
		})
	}
}

func TestPatientRequestFailsIfTheTokenEndsWhileTheRefreshFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = 100 * time.Second
		w.signIn(t)
		time.Sleep(95 * time.Second)
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(6 * time.Second)
			return reauth.Token{}, errFault
		})
		_, err := w.do(stream(t))
		assertPassing(t, err)
		assert.Zero(t, w.api.requests())
	})
}

func TestPatientRequestDoesNotWaitForAnOwedSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		time.Sleep(6 * time.Second)
		store.on(onCall("Save", hangs))
		began := time.Now()
		_, err := w.do(stream(t))
		require.NoError(t, err)
		assert.Zero(t, time.Since(began))
		store.on(nil)
	})
}
