package reauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// The tests of the twelve promises, in their order. Everything here runs in
// virtual time: a time that is asserted is exact.

func TestPromise1OneRefreshForManyRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = 200 * time.Millisecond
		w.api.latency = 10 * time.Millisecond
		w.signIn(t)
		w.revoke()

		results := w.storm(t.Context(), 500)

		assertAllOK(t, results)
		assert.Equal(t, 1, w.refreshes())
		for _, r := range results {
			assert.Equal(t, 220*time.Millisecond, r.took)
		}
		assert.Equal(t, 1000, w.api.requests())
	})
}

func TestPromise1OneRefreshForManyThatFindTheTokenExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency, w.lifetime = 200*time.Millisecond, time.Minute
		w.api.latency = 10 * time.Millisecond
		w.signIn(t)
		time.Sleep(2 * time.Minute)

		results := w.storm(t.Context(), 500)

		assertAllOK(t, results)
		assert.Equal(t, 1, w.refreshes())
		for _, r := range results {
			assert.Equal(t, 210*time.Millisecond, r.took)
		}
		assert.Equal(t, 500, w.api.requests(), "nobody was sent with the expired token")
	})
}

func TestPromise1RefusalsThatTrickleInStartNoSecondRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 20 requests leave with the old token and are refused over 300 ms, most of
		// them after the 50 ms refresh is done.
		w := newWorld(t)
		w.latency = 50 * time.Millisecond
		old := w.signIn(t)
		var mu sync.Mutex
		n := 0
		w.api.decide = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
				mu.Lock()
				n++
				wait := time.Duration(n) * 15 * time.Millisecond
				mu.Unlock()
				time.Sleep(wait)
			}
			return 0
		}
		w.revoke()

		assertAllOK(t, w.storm(t.Context(), 20))

		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 40, w.api.requests())
	})
}

func TestPromise1SessionsRefreshApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = 100 * time.Millisecond
		w.api.decide = func(req *http.Request) int { // every session's own tokens are good
			if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer secret-access-") {
				return http.StatusOK
			}
			return 0
		}
		var wg sync.WaitGroup
		for _, name := range []string{"ann", "bob", "cid"} {
			ctx := reauth.WithSession(t.Context(), name)
			require.NoError(t, w.tr.SignIn(ctx, reauth.Token{AccessToken: "old-" + name, RefreshToken: "r-" + name}))
			for range 10 {
				wg.Go(func() {
					status, err := w.get(ctx)
					assert.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
				})
			}
		}
		wg.Wait()
		assert.Equal(t, 3, w.refreshes())
		assert.Equal(t, 1, w.mostSpent())
		assert.Equal(t, 100*time.Millisecond, time.Since(w.began), "side by side, not in a row")
	})
}

func TestPromise1TwoTransportsThatShareAStoreRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(reauth.MemoryStore)
		first := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		second := newWorld(t, func(c *reauth.Config, w *world) {
			c.Store, c.Refresher, c.Base = store, first.authority, first.api
		})
		first.latency = 100 * time.Millisecond
		first.signIn(t)
		second.mustGet(t, http.StatusOK) // has it cached
		first.revoke()

		var wg sync.WaitGroup
		for _, w := range []*world{first, second} {
			wg.Go(func() { assertAllOK(t, w.storm(t.Context(), 50)) })
		}
		wg.Wait()

		assert.Equal(t, 1, first.refreshes())
		assert.Equal(t, 1, first.events.count(reauth.EventAdopted)+second.events.count(reauth.EventAdopted))
	})
}

func TestPromise2CancellationOfTheLeaderFailsTheLeaderAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = 500 * time.Millisecond
		w.signIn(t)
		w.revoke()

		lead, cancel := context.WithCancel(t.Context())
		var leader result
		var wg sync.WaitGroup
		wg.Go(func() { leader.status, leader.err = w.get(lead) })
		synctest.Wait() // its flight is up
		var others []result
		wg.Go(func() { others = w.storm(t.Context(), 20) })
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		cancel()
		wg.Wait()

		assert.ErrorIs(t, leader.err, context.Canceled)
		assertAllOK(t, others)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise2ADeadlineIsKeptBehindASlowRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = 700 * time.Millisecond
		w.signIn(t)
		w.revoke()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()

		began := time.Now()
		_, err := w.get(ctx)

		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 50*time.Millisecond, time.Since(began))
		_, ok := errors.AsType[*reauth.RefreshError](err)
		assert.False(t, ok, "it is the caller's own end, not the refresh's")

		require.NoError(t, w.tr.Wait(t.Context()))
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes(), "the refresh went on and was of use")
	})
}

func TestPromise2NobodyGetsAnotherCallersContextError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Callers come and go by their deadlines; those without one all succeed.
		w := newWorld(t)
		w.latency = 300 * time.Millisecond
		w.signIn(t)
		w.revoke()
		var wg sync.WaitGroup
		for i := range 40 {
			ctx := t.Context()
			if i%2 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(i+1)*5*time.Millisecond)
				defer cancel()
			}
			wg.Go(func() {
				_, err := w.get(ctx)
				if i%2 == 0 {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				} else {
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise2RefreshTimeoutIsNoDeadlineOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.RefreshTimeout = 3 * time.Second })
		w.latency = time.Hour
		w.signIn(t)
		w.revoke()

		results := w.storm(t.Context(), 10)

		for _, r := range results {
			refresh, ok := errors.AsType[*reauth.RefreshError](r.err)
			require.True(t, ok, "%v", r.err)
			assert.NotErrorIs(t, refresh, context.DeadlineExceeded)
			assert.NotErrorIs(t, refresh, context.Canceled)
			assert.NotErrorIs(t, refresh, reauth.ErrSignInRequired)
			assert.EqualError(t, refresh, "reauth: the refresher: no answer within RefreshTimeout")
			assert.Equal(t, 3*time.Second, r.took)
		}
	})
}

func TestPromise2ARefreshersOwnTimeoutIsNoDeadlineOfTheCaller(t *testing.T) {
	for _, cause := range []error{
		context.DeadlineExceeded, context.Canceled,
		fmt.Errorf("its client: %w", context.DeadlineExceeded),
		&reauth.RefreshError{StatusCode: 504, Err: context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t)
			w.revoke()
			w.answer(failing(cause))
			_, err := w.get(t.Context())
			_, ok := errors.AsType[*reauth.RefreshError](err)
			assert.True(t, ok)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorIs(t, err, context.Canceled)
		})
	}
}

func TestPromise2TheRefreshHasTheValuesButNotTheTraceOfItsStarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var value any
		var trace *httptrace.ClientTrace
		var left int
		w := newWorld(t)
		w.answer(func(ctx context.Context) (reauth.Token, error) {
			value, trace = ctx.Value(key{}), httptrace.ContextClientTrace(ctx)
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			left = int(time.Until(deadline) / time.Second)
			return w.issue(), nil
		})
		w.signIn(t)
		w.revoke()
		ctx := context.WithValue(t.Context(), key{}, "mine")
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{ConnectStart: func(string, string) {}})
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()

		status, err := w.get(ctx)

		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "mine", value)
		assert.Nil(t, trace)
		assert.Equal(t, 30, left, "RefreshTimeout, not the starter's deadline")
	})
}

func TestPromise3SavedBeforeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		store.on(func(_ context.Context, call string) error {
			if call == "Save" {
				time.Sleep(time.Second)
			}
			return nil
		})
		w.signIn(t)
		w.api.decide = func(req *http.Request) int {
			tok, ok := store.stored(t, "")
			assert.True(t, ok)
			if auth := req.Header.Get("Authorization"); auth != "Bearer secret-access-1" {
				assert.Equal(t, "Bearer "+tok.AccessToken, auth, "the API sees what the store has")
			}
			return 0
		}
		w.revoke()
		var wg sync.WaitGroup
		wg.Go(func() { assertAllOK(t, w.storm(t.Context(), 20)) })
		time.Sleep(500 * time.Millisecond) // refreshed, but not saved
		assertAllOK(t, w.storm(t.Context(), 20))
		wg.Wait()
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise4ARotatedTokenIsSpentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 50 lifetimes with storms, a store that fails now and then and a passing
		// fault before anything was spent.
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store, c.RefreshPause = store, 100*time.Millisecond })
		w.lifetime, w.latency = 10*time.Second, 50*time.Millisecond
		w.signIn(t)
		for i := range 50 {
			fails := i%5 == 0
			store.on(func(_ context.Context, call string) error {
				if fails && call == "Save" {
					return errFault
				}
				return nil
			})
			time.Sleep(9500 * time.Millisecond)
			if i%3 == 0 {
				w.revoke()
			}
			assertAllOK(t, w.storm(t.Context(), 10))
		}
		assert.Equal(t, 1, w.mostSpent())
		assert.GreaterOrEqual(t, w.refreshes(), 45)
	})
}

func TestPromise5PassingFaultsSignNobodyOut(t *testing.T) {
	faults := map[string]error{
		"unknown":       errFault,
		"unavailable":   &reauth.RefreshError{StatusCode: 503, Err: errFault},
		"rate limited":  &reauth.RefreshError{StatusCode: 429, RetryAfter: 3 * time.Second, Err: errFault},
		"misconfigured": &reauth.RefreshError{StatusCode: 401, Code: "invalid_client", Err: errFault},
		"no token":      nil,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t)
				w.revoke()
				w.answer(failing(fault))

				_, err := w.get(t.Context())

				refresh, ok := errors.AsType[*reauth.RefreshError](err)
				require.True(t, ok, "%v", err)
				assert.NotErrorIs(t, refresh, reauth.ErrSignInRequired)
				signedIn, err := w.tr.SignedIn(t.Context())
				require.NoError(t, err)
				assert.True(t, signedIn)

				time.Sleep(3 * time.Second)
				w.mustGet(t, http.StatusOK)
				assert.Zero(t, w.events.count(reauth.EventSignInRequired))
			})
		})
	}
}

func TestPromise5AFailedEarlyRefreshLeavesTheValidTokenInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = 100 * time.Second
		w.signIn(t)
		w.answer(failing(errFault), failing(errFault))
		time.Sleep(95 * time.Second)
		for range 50 { // 5 s, in which the pauses of 1 s and 2 s run out
			w.mustGet(t, http.StatusOK)
			time.Sleep(99 * time.Millisecond)
		}
		assert.Equal(t, 3, w.refreshes(), "two failed, the third did it")
		assert.Equal(t, 2, w.events.count(reauth.EventRefreshFailed))
	})
}

func TestPromise5FailureIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(100 * time.Millisecond)
			return reauth.Token{}, errFault
		})

		first := w.storm(t.Context(), 50)
		second := w.storm(t.Context(), 50) // within the pause

		for _, r := range first {
			assert.ErrorIs(t, r.err, errFault)
			assert.Equal(t, 100*time.Millisecond, r.took)
		}
		for _, r := range second {
			assert.ErrorIs(t, r.err, errFault)
			assert.Zero(t, r.took, "at once")
		}
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise5FailureIsSharedByThoseWhoseTokenHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = time.Minute
		w.signIn(t)
		w.answer(failing(errFault))
		time.Sleep(time.Hour)
		for _, r := range append(w.storm(t.Context(), 50), w.storm(t.Context(), 50)...) {
			assert.ErrorIs(t, r.err, errFault)
		}
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise5ThePauseDoublesUpTo30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		for range 100 {
			w.answer(failing(errFault))
		}
		for range 6000 { // 10 minutes of a request every 100 ms
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, errFault)
			time.Sleep(100 * time.Millisecond)
		}
		calls := w.callTimes()
		want := time.Second
		for i := 1; i < len(calls); i++ {
			pause := calls[i] - calls[i-1]
			assert.LessOrEqual(t, pause, want+100*time.Millisecond, "pause %d", i)
			assert.GreaterOrEqual(t, pause, want*3/4, "pause %d", i)
			want = min(2*want, 30*time.Second)
		}
		assert.InDelta(t, 25, len(calls), 6)
	})
}

func TestPromise5RetryAfterIsHonouredUpTo5Minutes(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		20 * time.Second: 20 * time.Second,
		time.Hour:        5 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t)
			w.revoke()
			w.answer(failing(fmt.Errorf("asked to wait: %w", &reauth.RefreshError{StatusCode: 429, RetryAfter: asked})))
			_, err := w.get(t.Context())
			require.Error(t, err)
			time.Sleep(want - time.Millisecond)
			_, err = w.get(t.Context())
			refresh, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok)
			assert.Equal(t, asked, refresh.RetryAfter)
			assert.Equal(t, 1, w.refreshes())
			time.Sleep(time.Millisecond)
			w.mustGet(t, http.StatusOK)
		})
	}
}

func TestPromise5SignInEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.answer(failing(errFault))
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, errFault)
		w.signIn(t)
		w.revoke() // needs a refresh, at once
		w.mustGet(t, http.StatusOK)
	})
}

func TestPromise6AFinalAnswerSignsOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		w.revoke()
		w.answer(failing(fmt.Errorf("revoked: %w", reauth.ErrSignInRequired)))

		for _, r := range append(w.storm(t.Context(), 50), w.storm(t.Context(), 50)...) {
			require.ErrorIs(t, r.err, reauth.ErrSignInRequired)
			_, ok := errors.AsType[*reauth.RefreshError](r.err)
			assert.True(t, ok)
		}
		time.Sleep(time.Hour)
		for _, r := range w.storm(t.Context(), 50) {
			require.ErrorIs(t, r.err, reauth.ErrSignInRequired)
		}

		assert.Equal(t, 1, w.refreshes(), "no call to the token server until someone signs in")
		assert.Equal(t, 1, store.count("Delete"))
		_, ok := store.stored(t, "")
		assert.False(t, ok)
		assert.Equal(t, 1, w.events.count(reauth.EventSignInRequired))

		w.signIn(t)
		w.mustGet(t, http.StatusOK)
	})
}

func TestPromise6AnotherProcessSignsInThroughTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		old := w.signIn(t)
		w.revoke()
		w.answer(failing(reauth.ErrSignInRequired))
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)

		// The token that was turned down comes back: no sign-in.
		require.NoError(t, store.Save(t.Context(), "", old))
		time.Sleep(5 * time.Second)
		loads := store.count("Load")
		for range 10 {
			_, err = w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, store.count("Load")-loads, "at most one look per RefreshPause")

		require.NoError(t, store.Save(t.Context(), "", w.issue()))
		time.Sleep(5*time.Second - time.Millisecond)
		_, err = w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		time.Sleep(time.Millisecond)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise7SignOutDuringAFlightWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.gate = make(chan struct{})
		w.signIn(t)
		w.revoke()
		refused := make(chan error, 1)
		go func() { _, err := w.get(t.Context()); refused <- err }()
		synctest.Wait()

		require.NoError(t, w.tr.SignOut(t.Context()), "it does not wait for the flight")
		require.ErrorIs(t, <-refused, reauth.ErrSignInRequired, "at once")
		close(w.gate)
		require.NoError(t, w.tr.Wait(t.Context()))

		_, ok := store.stored(t, "")
		assert.False(t, ok, "what the flight brought is dropped")
		_, err := w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		signedIn, err := w.tr.SignedIn(t.Context())
		require.NoError(t, err)
		assert.False(t, signedIn)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise7SignInDuringAFlightWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.gate = make(chan struct{})
		w.lifetime = 10 * time.Second
		w.signIn(t)
		w.answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{AccessToken: "of-the-old-session", RefreshToken: "old"}, nil
		})
		// One request is refused under the old sign-in, one has not been sent.
		w.revoke()
		refused, waiting := make(chan error, 1), make(chan error, 1)
		go func() { _, err := w.get(t.Context()); refused <- err }()
		time.Sleep(10 * time.Second)
		go func() {
			status, err := w.get(t.Context())
			assert.Equal(t, http.StatusOK, status)
			waiting <- err
		}()
		synctest.Wait()

		anew := w.signIn(t)

		require.NoError(t, <-waiting, "it goes on with the new sign-in")
		err := <-refused
		refresh, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, "%v", err)
		assert.NotErrorIs(t, refresh, reauth.ErrSignInRequired)
		close(w.gate)
		require.NoError(t, w.tr.Wait(t.Context()))
		tok, ok := store.stored(t, "")
		require.True(t, ok)
		assert.Equal(t, anew.AccessToken, tok.AccessToken)
		w.mustGet(t, http.StatusOK)
		assert.NotContains(t, w.api.tokens(), "Bearer of-the-old-session")
	})
}

func TestPromise7SignOutWhileTheNewTokenIsBeingSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		w.revoke()
		store.on(func(_ context.Context, call string) error {
			if call == "Save" || call == "Delete" {
				time.Sleep(time.Second)
			}
			return nil
		})
		go func() { _, _ = w.get(t.Context()) }()
		time.Sleep(500 * time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- w.tr.SignOut(t.Context()) }()
		time.Sleep(time.Second) // the save has ended, the deletion has not
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		require.NoError(t, <-done)
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestPromise7ATokenBroughtAfterSignOutIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked []string
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Refresher = revoking{w.authority, func(_ context.Context, tok reauth.Token) error {
				revoked = append(revoked, tok.RefreshToken)
				return nil
			}}
		})
		w.gate = make(chan struct{})
		w.signIn(t)
		w.revoke()
		go func() { _, _ = w.get(t.Context()) }()
		synctest.Wait()
		require.NoError(t, w.tr.SignOut(t.Context()))
		close(w.gate)
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, revoked)
	})
}

// revoking is a Refresher that is a Revoker.
type revoking struct {
	reauth.Refresher
	revoke func(context.Context, reauth.Token) error
}

func (r revoking) Revoke(ctx context.Context, tok reauth.Token) error { return r.revoke(ctx, tok) }

func TestPromise8TheTokenStaysHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.api.decide = func(req *http.Request) int {
			if req.URL.Host != "api.example.com" {
				assert.Empty(t, req.Header.Get("Authorization"))
				return http.StatusUnauthorized
			}
			return 0
		}
		for _, url := range []string{
			"https://evil.example.net/", "http://api.example.com/", "https://api.example.com:8443/",
			"https://api.example.com.evil.net/", "https://sub.api.example.com/",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			require.NoError(t, err)
			resp, err := w.tr.RoundTrip(req)
			require.NoError(t, err)
			if req.URL.Host != "api.example.com" {
				assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			}
			require.NoError(t, resp.Body.Close())
		}
		assert.Zero(t, w.refreshes(), "a stranger's 401 starts nothing")
	})
}

func TestPromise9AtMostTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.api.decide = func(*http.Request) int { return http.StatusUnauthorized }
		w.mustGet(t, http.StatusUnauthorized)
		assert.Equal(t, 2, w.api.requests())

		// 5xx is not ours to retry.
		w.api.decide = func(*http.Request) int { return http.StatusServiceUnavailable }
		w.mustGet(t, http.StatusServiceUnavailable)
		assert.Equal(t, 3, w.api.requests())
	})
}

func TestPromise9NothingIsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		began := time.Now()
		w.mustGet(t, http.StatusOK)
		assert.Zero(t, time.Since(began))
	})
}

func TestPromise10NoSecretInErrorsEventsAndLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Store = store
			logged := reauth.LogEvents(logger)
			c.OnEvent = func(ctx context.Context, e reauth.Event) {
				fmt.Fprintf(&out, "%v %+v %#v\n", e, e, e.Err)
				logged(ctx, e)
			}
			c.Refresher = revoking{w.authority, func(_ context.Context, tok reauth.Token) error {
				return fmt.Errorf("cannot revoke %s", tok.RefreshToken)
			}}
		})
		note := func(err error) {
			require.Error(t, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				fmt.Fprintf(&out, "%v %+v %#v %q\n", e, e, e, e)
			}
		}
		tok := w.signIn(t)
		fmt.Fprintf(&out, "%v %+v %#v %s %q %d %x %v %+v\n", tok, tok, tok, tok, tok, tok, tok, &tok, []reauth.Token{tok})
		memory := new(reauth.MemoryStore)
		require.NoError(t, memory.Save(t.Context(), "", tok))
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			fmt.Fprintf(&out, verb+verb+verb+"\n", w.tr, memory, struct{ T reauth.Token }{tok})
		}
		logger.Info("token", "token", tok, "pointer", &tok)
		w.revoke()

		leak := func(context.Context) (reauth.Token, error) {
			return reauth.Token{}, fmt.Errorf("the server did not like %s and %s", tok.RefreshToken, tok.AccessToken)
		}
		w.answer(leak)
		_, err := w.get(t.Context())
		note(err)
		time.Sleep(time.Minute)
		w.answer(func(context.Context) (reauth.Token, error) { panic("with a secret-of-its-own") })
		_, err = w.get(t.Context())
		note(err)
		time.Sleep(time.Minute)
		store.on(func(_ context.Context, call string) error {
			return fmt.Errorf("%s of %s failed", call, tok.AccessToken)
		})
		_, err = w.get(t.Context())
		note(err)
		note(w.tr.SignIn(t.Context(), reauth.Token{AccessToken: tok.AccessToken + "\n"}))
		note(w.tr.SignIn(t.Context(), reauth.Token{AccessToken: tok.AccessToken}))
		store.on(nil)
		note(w.tr.SignOut(t.Context()))

		assert.NotContains(t, out.String(), "secret-")
		assert.Contains(t, out.String(), "[redacted]")
	})
}

func TestPromise10NoTokenInTheResponsesRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke() // the second answer is looked at as well
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
		require.NoError(t, err)
		resp, err := w.tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Same(t, req, resp.Request)
		assert.Empty(t, req.Header)
	})
}

func TestPromise10NoGoroutineStays(t *testing.T) {
	// synctest.Test fails if a goroutine of the bubble is left when it returns.
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.RefreshTimeout = time.Second })
		w.lifetime, w.latency = time.Minute, 100*time.Millisecond
		w.signIn(t)
		for i := range 20 {
			time.Sleep(time.Duration(i) * 5 * time.Second)
			if i%4 == 0 {
				w.answer(func(ctx context.Context) (reauth.Token, error) { <-ctx.Done(); return reauth.Token{}, ctx.Err() })
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Millisecond)
			w.storm(ctx, 5)
			cancel()
		}
		require.NoError(t, w.tr.Wait(t.Context()))
	})
}

func TestPromise10ARefresherThatIgnoresItsContextIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store, c.RefreshTimeout = store, time.Second })
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(time.Minute) // whatever the context says
			return w.issue(), nil
		})
		for _, r := range w.storm(t.Context(), 5) {
			_, ok := errors.AsType[*reauth.RefreshError](r.err)
			assert.True(t, ok)
			assert.LessOrEqual(t, r.took, 1100*time.Millisecond)
		}
		for range 50 {
			_, err := w.get(t.Context())
			require.Error(t, err)
			time.Sleep(time.Second)
		}
		assert.Equal(t, 1, w.refreshes(), "no second one before the first returns")

		require.NoError(t, w.tr.Wait(t.Context()))
		tok, _ := store.stored(t, "")
		assert.Equal(t, "secret-access-2", tok.AccessToken, "the late answer is saved")
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestPromise10ALateAnswerIsSavedThoughNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store, c.RefreshTimeout = store, time.Second })
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(time.Minute) // whatever the context says
			return w.issue(), nil
		})
		_, err := w.get(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		tok, _ := store.stored(t, "")
		assert.Equal(t, "secret-access-2", tok.AccessToken)
	})
}

func TestARefreshThatFailsOnceItsWaitersWereLetGoIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.RefreshTimeout = time.Second })
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(time.Minute) // whatever the context says
			return reauth.Token{}, errFault
		})
		_, err := w.get(t.Context())
		require.Error(t, err)
		assert.Equal(t, 1, w.events.count(reauth.EventRefreshFailed))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 1, w.events.count(reauth.EventRefreshFailed))
	})
}

func TestPromise11PanicsStayPut(t *testing.T) {
	ends := map[string]func(){
		"panic":         func() { panic("in user code") },
		"runtime error": func() { var none []int; none[len(none)] = 1 },
		"Goexit":        runtime.Goexit,
	}
	for name, end := range ends {
		t.Run("refresher "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t)
				w.revoke()
				w.answer(func(context.Context) (reauth.Token, error) { end(); return reauth.Token{}, nil })
				for _, r := range w.storm(t.Context(), 20) {
					refresh, ok := errors.AsType[*reauth.RefreshError](r.err)
					require.True(t, ok, "%v", r.err)
					assert.NotErrorIs(t, refresh, reauth.ErrSignInRequired)
				}
				time.Sleep(time.Second)
				w.mustGet(t, http.StatusOK)
			})
		})
		for _, call := range []string{"Lock", "Load", "Save"} {
			t.Run(call+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := new(faultyStore)
					w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
					w.signIn(t)
					w.revoke()
					store.on(func(_ context.Context, c string) error {
						if c == call {
							end()
						}
						return nil
					})
					for _, r := range w.storm(t.Context(), 20) {
						if call == "Save" {
							assert.NoError(t, r.err, "a failed save is owed")
							continue
						}
						_, ok := errors.AsType[*reauth.RefreshError](r.err)
						assert.True(t, ok, "%v", r.err)
					}
					store.on(nil)
					time.Sleep(5 * time.Second)
					w.mustGet(t, http.StatusOK)
					require.NoError(t, w.tr.Wait(t.Context()))
					assert.Equal(t, 1, w.refreshes())
				})
			})
		}
		t.Run("Delete "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
				w.signIn(t)
				store.on(func(_ context.Context, c string) error {
					if c == "Delete" {
						end()
					}
					return nil
				})
				require.Error(t, w.tr.SignOut(t.Context()))
				_, err := w.get(t.Context())
				require.ErrorIs(t, err, reauth.ErrSignInRequired)
				store.on(nil)
				w.signIn(t)
				w.mustGet(t, http.StatusOK)
			})
		})
	}
}

func TestPromise11APanickingOnEventFailsItsFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := true
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.OnEvent = func(_ context.Context, e reauth.Event) {
				if panics && e.Kind == reauth.EventRefreshStarted {
					panic("in OnEvent")
				}
			}
		})
		w.signIn(t)
		w.revoke()
		for _, r := range w.storm(t.Context(), 5) {
			require.Error(t, r.err)
		}
		panics = false
		time.Sleep(time.Second)
		w.mustGet(t, http.StatusOK)
	})
}

func TestPromise12ARefresherMayUseTheClientItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inner error
		w := newWorld(t)
		w.answer(func(ctx context.Context) (reauth.Token, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.com/token", nil)
			require.NoError(t, err)
			_, inner = w.do(req)
			return w.issue(), nil
		})
		w.signIn(t)
		w.revoke()
		began := time.Now()
		w.mustGet(t, http.StatusOK)
		assert.NoError(t, inner)
		assert.Zero(t, time.Since(began))
		assert.Equal(t, []string{"Bearer secret-access-1", "", "Bearer secret-access-2"}, w.api.tokens())
	})
}

func TestPromise12OnlyTheTransportBeingServedIsBypassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newWorld(t)
		other.signIn(t)
		w := newWorld(t)
		w.answer(func(ctx context.Context) (reauth.Token, error) {
			status, err := other.get(reauth.WithSession(ctx, ""))
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			return w.issue(), nil
		})
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer secret-access-1"}, other.api.tokens())
	})
}

func TestPromise12MethodsCalledByTheirOwnRefresherFailAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer(func(ctx context.Context) (reauth.Token, error) {
			_, err := w.tr.Token(ctx)
			assert.ErrorContains(t, err, "Token was called by the refresher")
			_, err = w.tr.Refresh(ctx, reauth.Token{})
			assert.ErrorContains(t, err, "Refresh was called by the refresher")
			assert.ErrorContains(t, w.tr.Wait(ctx), "Wait was called by the refresher")
			return w.issue(), nil
		})
		w.signIn(t)
		w.revoke()
		began := time.Now()
		w.mustGet(t, http.StatusOK)
		assert.Zero(t, time.Since(began))
	})
}

func TestARefreshThatBringsNoRefreshTokenKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.answer(func(context.Context) (reauth.Token, error) {
			tok := w.issue()
			tok.RefreshToken = ""
			return tok, nil
		})
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		tok, _ := store.stored(t, "")
		assert.Equal(t, "secret-refresh-1", tok.RefreshToken)
	})
}
