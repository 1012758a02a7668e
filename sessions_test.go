package reauth_test

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// withSmallCache runs a test in a world that caches at most ten sessions.
func withSmallCache(t *testing.T, f func(*testing.T, *testworld.World), with ...testworld.Setting) {
	t.Helper()
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Transport.SetCacheLimit(10)
		f(t, w)
	}, with...)
}

func as(t *testing.T, session string) context.Context {
	return reauth.WithSession(t.Context(), session)
}

func TestTheCacheIsBounded(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		for round := range 2 {
			for i := range 500 {
				name := strconv.Itoa(i)
				if round == 0 {
					w.SignInAs(t, name)
				}
				w.MustGetAs(t, name, http.StatusOK)
				require.LessOrEqual(t, w.Transport.CachedSessions(), 10)
			}
		}
		assert.Zero(t, w.Refreshes(), "a session that comes back is loaded from the store")
	})
}

func TestTheCacheShrinksAgainAfterMoreWereInUseThanItHolds(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		used, leave := make([]any, 100), make([]func(), 100)
		for i := range used {
			used[i], leave[i] = w.Transport.Session(strconv.Itoa(i)).Use()
		}
		assert.Equal(t, 100, w.Transport.CachedSessions(), "none in use is forgotten")
		for i := range used {
			assert.Same(t, used[i], w.Transport.Session(strconv.Itoa(i)).Cached())
			leave[i]()
		}
		w.Transport.Evict()
		assert.LessOrEqual(t, w.Transport.CachedSessions(), 10)
	})
}

func TestTheCachePrefersToKeepWhatIsUsed(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		w.Transport.SetCacheLimit(100)
		use := func(name string) any {
			cached, leave := w.Transport.Session(name).Use()
			leave()
			return cached
		}
		often := use("often")
		for i := range 5000 {
			use(strconv.Itoa(i))
			use("often")
		}
		assert.Same(t, often, w.Transport.Session("often").Cached())
	})
}

func TestTheSessionWithoutANameIsNeverForgotten(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		before, leave := w.Transport.Session("").Use()
		leave()
		w.Transport.Evict()
		after, leave := w.Transport.Session("").Use()
		leave()
		assert.Same(t, before, after)
	})
}

// learnThatItNeedsAToken shows the Transport that its refresher refuses the zero Token.
func learnThatItNeedsAToken(t *testing.T, w *testworld.World) {
	t.Helper()
	_, err := w.Get(as(t, "nobody"))
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
}

func TestTheCacheKeepsWhatWouldBeLost(t *testing.T) {
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World)
		until   time.Duration // when it may be forgotten; 0: not by time alone
	}{
		"a refresh that nobody waits for": {func(t *testing.T, w *testworld.World) {
			w.Latency = 20 * time.Second
			w.Revoke()
			ctx, cancel := context.WithTimeout(as(t, "ann"), time.Second)
			defer cancel()
			_, err := w.Get(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}, 25 * time.Second},
		"a pending save": {func(t *testing.T, w *testworld.World) {
			w.Store.Fail("Save")
			w.Revoke()
			w.MustGetAs(t, "ann", http.StatusOK)
		}, 0},
		"the pause after a refresh": {func(t *testing.T, w *testworld.World) {
			w.Revoke()
			w.MustGetAs(t, "ann", http.StatusOK)
		}, 5 * time.Second},
		"a sign-out, while it isn't known whether the refresher needs a token": {func(t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignOut(as(t, "ann")))
		}, day},
		"a sign-out, until the store may be asked again": {func(t *testing.T, w *testworld.World) {
			learnThatItNeedsAToken(t, w)
			require.NoError(t, w.Transport.SignOut(as(t, "ann")))
		}, 5 * time.Second},
		"a sign-out whose Delete failed": {func(t *testing.T, w *testworld.World) {
			learnThatItNeedsAToken(t, w)
			w.Store.Fail("Delete")
			require.ErrorIs(t, w.Transport.SignOut(as(t, "ann")), testworld.ErrFault)
		}, 0},
		"a sign-out whose Lock and Delete failed": {func(t *testing.T, w *testworld.World) {
			learnThatItNeedsAToken(t, w)
			w.Store.Fail("Lock", "Delete")
			require.ErrorIs(t, w.Transport.SignOut(as(t, "ann")), testworld.ErrFault)
		}, 0},
		"a sign-out that did not get the lock": {func(t *testing.T, w *testworld.World) {
			learnThatItNeedsAToken(t, w)
			w.Store.OnCall("Lock", testworld.Hangs)
			require.Error(t, w.Transport.SignOut(as(t, "ann")))
		}, 0},
		"a final answer whose Delete failed": {func(t *testing.T, w *testworld.World) {
			learnThatItNeedsAToken(t, w)
			w.Store.Fail("Delete")
			w.Revoke()
			w.Answer(testworld.Failing(testworld.ErrFinal))
			_, err := w.Get(as(t, "ann"))
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
		}, 0},
		"a store call that hangs": {func(t *testing.T, w *testworld.World) {
			w.Store.OnCall("Save", func(context.Context) error { time.Sleep(time.Minute); return nil })
			ctx, cancel := context.WithTimeout(as(t, "ann"), time.Second)
			defer cancel()
			require.Error(t, w.Transport.SignIn(ctx, w.IssueFor("ann")))
		}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withSmallCache(t, func(t *testing.T, w *testworld.World) {
				w.SignInAs(t, "ann")
				w.Wait(t)
				tc.arrange(t, w)
				ann := w.Transport.Session("ann")
				before := ann.Cached()
				require.NotNil(t, before)

				w.Transport.Evict()
				assert.Same(t, before, ann.Cached())
				if tc.until == 0 {
					time.Sleep(2 * day)
					w.Transport.Evict()
					assert.Same(t, before, ann.Cached())
					w.Store.On(nil)
					return
				}
				time.Sleep(tc.until + time.Millisecond)
				w.Transport.Evict()
				assert.Nil(t, ann.Cached(), "by now nothing would be lost")
			})
		})
	}
}

func TestAFailedSignOutIsForgottenOnceTheStoreShowsNoToken(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		learnThatItNeedsAToken(t, w)
		w.SignInAs(t, "ann")
		w.Store.Fail("Delete")
		require.ErrorIs(t, w.Transport.SignOut(as(t, "ann")), testworld.ErrFault)
		w.Store.On(nil)
		require.NoError(t, w.Store.MemoryStore.Delete(t.Context(), "ann")) // by another process
		time.Sleep(6 * time.Second)
		_, err := w.Get(as(t, "ann")) // looks at the store
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		time.Sleep(6 * time.Second)
		w.Transport.Evict()
		assert.Nil(t, w.Transport.Session("ann").Cached())
	})
}

func TestASignOutThatReachesTheStoreAtTheSecondAttemptIsForgotten(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		learnThatItNeedsAToken(t, w)
		w.SignInAs(t, "ann")
		w.Store.Fail("Delete")
		require.ErrorIs(t, w.Transport.SignOut(as(t, "ann")), testworld.ErrFault)
		w.Store.On(nil)
		require.NoError(t, w.Transport.SignOut(as(t, "ann")))
		time.Sleep(6 * time.Second)
		w.Transport.Evict()
		assert.Nil(t, w.Transport.Session("ann").Cached())
	})
}

func TestASignedOutSessionOfASelfStartingRefresherIsNeverForgotten(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		w.SelfStarting = true
		w.MustGetAs(t, "ann", http.StatusOK) // the zero Token is answered
		require.NoError(t, w.Transport.SignOut(as(t, "ann")))
		for range 5 {
			time.Sleep(25 * time.Hour)
			w.Transport.Evict()
			_, err := w.Get(as(t, "ann"))
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestTheCacheKeepsARefreshOverAStoreThatDoesNotLock(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		w.SignInAs(t, "ann")
		w.Revoke()
		w.Latency = 10 * time.Second
		ctx, cancel := context.WithTimeout(as(t, "ann"), time.Second)
		defer cancel()
		_, err := w.Get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.Transport.Evict()
		w.MustGetAs(t, "ann", http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	}, withoutLock)
}

func TestARequestInProgressAcrossEvictionsIsReplayedWithoutASecondRefresh(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		old := w.SignInAs(t, "ann")
		gate := make(chan struct{})
		w.API.Decide = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
				<-gate
				return http.StatusUnauthorized
			}
			return 0
		}
		slow := w.Start(as(t, "ann"))
		_, err := w.Transport.Refresh(as(t, "ann"), old)
		require.NoError(t, err)
		time.Sleep(time.Hour) // no pause protects it
		w.Transport.Evict()

		close(gate)
		assert.Equal(t, http.StatusOK, (<-slow).Status)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestASessionThatComesBackComparesWhatWasRefusedByValue(t *testing.T) {
	withSmallCache(t, func(t *testing.T, w *testworld.World) {
		old := w.SignInAs(t, "ann")
		w.Revoke()
		w.MustGetAs(t, "ann", http.StatusOK)
		time.Sleep(time.Hour)
		w.Transport.Evict()
		require.Nil(t, w.Transport.Session("ann").Cached())

		tok, err := w.Transport.Refresh(as(t, "ann"), old) // a refusal that is reported late
		require.NoError(t, err)
		assert.NotEqual(t, old.AccessToken, tok.AccessToken)

		// The token that it loaded is refused, because another process has replaced it.
		require.NoError(t, w.Store.Save(t.Context(), "ann", w.IssueFor("ann")))
		w.MustGetAs(t, "ann", http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestSessionsAtRestHaveNoGoroutine(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Hour
		before := runtime.NumGoroutine()
		for i := range 1000 {
			name := strconv.Itoa(i)
			w.SignInAs(t, name)
			if i%2 == 0 {
				w.Revoke()
			}
			w.MustGetAs(t, name, http.StatusOK)
		}
		synctest.Wait()
		assert.Less(t, runtime.NumGoroutine(), before+100)
		assert.Equal(t, 1000, w.Transport.CachedSessions())
	})
}
