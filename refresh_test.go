package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of a refresh up to the token server's answer: lock, load, compare, ask; and of
// when one starts early. Tests of what follows the answer are in
// refresh_save_test.go and refresh_final_test.go.

// signedInAndRefused is a sign-in whose token the API then refuses.
func signedInAndRefused(t *testing.T, w *testworld.World) reauth.Token {
	t.Helper()
	tok := w.SignIn(t)
	w.Revoke()
	return tok
}

func TestNoRefreshIsSentIfLockOrLoadFails(t *testing.T) {
	for _, call := range []string{"Lock", "Load"} {
		testworld.Case(t, call, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Store.Fail(call)

			_, err := w.Get(t.Context())

			testworld.AssertTemporary(t, err)
			require.ErrorIs(t, err, testworld.ErrFault)
			assert.Zero(t, w.Refreshes(), "another process may have spent the token")
			w.AssertSignedIn(t, true)
			w.Store.On(nil)
			time.Sleep(time.Second)
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Refreshes())
		})
	}
}

func TestARefreshWaitsForTheLockAtMostRefreshTimeout(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Wait(t)
		unlock := w.Store.Hold(t)
		for _, r := range w.Storm(t.Context(), 10) {
			testworld.AssertTemporary(t, r.Err)
			assert.Equal(t, 30*time.Second, r.Took)
		}
		assert.Zero(t, w.Refreshes())
		unlock()
		time.Sleep(time.Second)
		w.MustGet(t, http.StatusOK)
	})
}

// A lateLocker locks after a while, whatever its context.
type lateLocker struct {
	*testworld.FaultyStore
	after atomic.Int64 // a time.Duration
}

func (l *lateLocker) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	time.Sleep(time.Duration(l.after.Load()))
	return l.FaultyStore.Lock(context.WithoutCancel(ctx), session)
}

func TestALockThatIgnoresItsContextIsNotWaitedForAndGivenBackWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lateLocker{FaultyStore: new(testworld.FaultyStore)}
		w := testworld.New(t, testworld.WithStore(store))
		signedInAndRefused(t, w)
		store.after.Store(int64(10 * time.Minute))
		locks := store.Count("Lock")
		for range 5 {
			for _, r := range w.Storm(t.Context(), 10) {
				testworld.AssertTemporary(t, r.Err)
				assert.LessOrEqual(t, r.Took, 31*time.Second)
			}
			time.Sleep(time.Minute)
		}
		assert.Zero(t, w.Refreshes())

		store.after.Store(0)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, 1, store.Count("Lock")-locks, "there was no second call before the first had returned")
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestALockThatReturnsNothingIsAnError(t *testing.T) {
	w := testworld.New(t, testworld.WithStore(emptyLocker{new(reauth.MemoryStore)}))
	err := w.Transport.SignIn(t.Context(), w.Issue())
	assert.ErrorContains(t, err, "neither a lock nor an error")
}

type emptyLocker struct{ reauth.Store }

func (emptyLocker) Lock(context.Context, string) (context.Context, func(), error) {
	return nil, nil, nil
}

func TestARefusedTokenIsComparedWithTheStoredOne(t *testing.T) {
	type outcome struct {
		spent []string
		err   error
		event reauth.EventKind
	}
	refreshed := func(spent ...string) outcome { return outcome{spent: spent, event: reauth.EventRefreshed} }
	adopted := outcome{spent: []string{}, event: reauth.EventAdopted}
	for name, tc := range map[string]struct {
		selfStarting bool
		stored       func(w *testworld.World, refused reauth.Token) *reauth.Token // nil: deleted
		want         outcome
	}{
		"it is the same by value": {false, func(_ *testworld.World, tok reauth.Token) *reauth.Token {
			tok.Expiry, tok.Extra = time.Now().Add(time.Hour), map[string]string{"scope": "read"}
			return &tok
		}, refreshed("secret-refresh-1")},
		"another one": {false, func(w *testworld.World, _ reauth.Token) *reauth.Token {
			theirs := w.Issue()
			theirs.Expiry = time.Now().Add(time.Minute) // sooner than the refused one: clocks don't tell which is newer
			return &theirs
		}, adopted},
		"another access token only": {false, func(w *testworld.World, tok reauth.Token) *reauth.Token {
			tok.AccessToken = w.Issue().AccessToken
			return &tok
		}, adopted},
		"another one, which has expired": {false, func(*testworld.World, reauth.Token) *reauth.Token {
			return &reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()}
		}, refreshed("theirs")},
		"none, and the refresher needs one": {false, nil,
			outcome{spent: []string{""}, err: reauth.ErrSignInRequired, event: reauth.EventSignInRequired}},
		"none, and the refresher needs none": {true, nil, refreshed("")},
	} {
		for _, when := range []string{"before the first look", "while the lock is waited for"} {
			testworld.Case(t, name+", "+when, func(t *testing.T, w *testworld.World) {
				w.Lifetime, w.SelfStarting = time.Hour, tc.selfStarting
				refused := signedInAndRefused(t, w)
				var stored reauth.Token
				change := sync.OnceFunc(func() {
					w.Store.Clear(t)
					if tc.stored != nil {
						w.Store.Put(t, *tc.stored(w, refused))
					}
					stored, _ = w.Store.Stored(t, "")
				})
				if when == "before the first look" {
					change()
				}
				w.Store.OnCall("Lock", func(context.Context) error { change(); return nil })
				locks := w.Store.Count("Lock")

				for _, r := range w.Storm(t.Context(), 20) {
					require.ErrorIs(t, r.Err, tc.want.err)
				}

				assert.Equal(t, tc.want.spent, w.Spent())
				assert.Equal(t, 1, w.Events.Count(tc.want.event))
				assert.Equal(t, len(tc.want.spent), w.Events.Count(reauth.EventRefreshStarted))
				taken := 1
				if tc.want.event == reauth.EventAdopted && when == "before the first look" {
					taken = 0 // it was seen without the lock
				}
				assert.Equal(t, taken, w.Store.Count("Lock")-locks, "all under one lock")
				switch tc.want.event {
				case reauth.EventAdopted:
					tok, err := w.Transport.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, stored, tok)
				case reauth.EventRefreshed:
					assert.Equal(t, stored.Extra, w.Asked()[0].Extra, "the stored Token is what is refreshed")
					assert.Zero(t, w.Events.Count(reauth.EventAdopted))
				}
			})
		}
	}
}

func TestAStoredTokenIsAdoptedUnderTheLockWhereNoneWasKnown(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		// It has expired when this process first looks, and has been replaced by the
		// time it asks for the lock.
		w.Lifetime = time.Minute
		w.Store.Put(t, w.Issue())
		time.Sleep(2 * time.Minute)
		w.Store.OnCall("Lock", func(context.Context) error { w.Store.Put(t, w.Issue()); return nil })
		w.MustGet(t, http.StatusOK)
		assert.Zero(t, w.Refreshes())
		assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
	})
}

func TestTheFirstLoadIsNotAnAdoption(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Store.Put(t, w.Issue())
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []reauth.EventKind{reauth.EventWaited}, w.Events.Kinds())
		assert.Zero(t, w.Store.Count("Lock"), "nothing is written")
		w.Revoke() // it starts no pause either
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestARefreshIsNotAbortedByALostLease(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(func(ctx context.Context) (reauth.Token, error) {
			w.Store.LoseLease()
			time.Sleep(time.Second)
			assert.NoError(t, ctx.Err())
			return w.Issue(), nil
		})
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestEachStepOfARefreshHasATimeoutOfItsOwn(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Latency = 29 * time.Second
		locks := w.Store.Count("Lock")
		w.Store.On(func(ctx context.Context, call string) error {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok, "%s is bounded", call)
			if call == "Load" && w.Store.Count("Lock") == locks {
				assert.Equal(t, time.Second, time.Until(deadline), "the look before the lock")
				return nil
			}
			assert.Equal(t, 30*time.Second, time.Until(deadline), call)
			time.Sleep(29 * time.Second)
			return nil
		})
		began := time.Now()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 4*29*time.Second, time.Since(began), "lock, load, refresh, save")
		w.Store.On(nil)
	})
}

func TestStoreCallsFindTheirLease(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		type key struct{}
		w.Store.RequireLease = true
		w.SignIn(t)
		seen := map[string]int{}
		locked := false
		check := func(ctx context.Context, call string) error {
			if call == "Lock" {
				assert.Nil(t, testworld.LeaseOf(ctx))
				locked = true
				return nil
			}
			if !locked {
				call = "look"
			}
			seen[call]++
			assert.Equal(t, locked, testworld.LeaseOf(ctx) != nil, "%s has the values of held", call)
			assert.Equal(t, "mine", ctx.Value(key{}), "held was made from the request's values")
			assert.Equal(t, "", reauth.SessionFromContext(ctx))
			return nil
		}
		w.Store.On(check)
		ctx := context.WithValue(t.Context(), key{}, "mine")
		w.Revoke()
		_, err := w.Get(ctx)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		w.Revoke()
		w.Answer(testworld.Failing(testworld.ErrFinal))
		locked = false
		_, err = w.Get(ctx)
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, map[string]int{"look": 2, "Load": 3, "Save": 1, "Delete": 1}, seen)

		w.Store.On(nil)
		w.SignIn(t)
		clear(seen)
		w.Store.On(check)
		require.NoError(t, w.Transport.SignIn(ctx, w.Issue()))
		require.NoError(t, w.Transport.SignOut(ctx))
		assert.Equal(t, map[string]int{"Load": 1, "Save": 1, "Delete": 1}, seen)
	})
}

func TestSaveAndDeleteAreBounded(t *testing.T) {
	ignores := func(context.Context) error { time.Sleep(40 * time.Second); return testworld.ErrFault }
	for name, ends := range map[string]func(context.Context) error{"honors its context": testworld.Hangs, "ignores it": ignores} {
		for _, call := range []string{"Save", "Delete"} {
			testworld.Case(t, call+" "+name, func(t *testing.T, w *testworld.World) {
				signedInAndRefused(t, w)
				var want error
				if call == "Delete" {
					w.Answer(testworld.Failing(testworld.ErrFinal))
					want = reauth.ErrSignInRequired
				}
				w.Store.OnCall(call, ends)
				for _, r := range w.Storm(t.Context(), 5) {
					assert.InDelta(t, 30, r.Took.Seconds(), 0.2)
					assert.ErrorIs(t, r.Err, want)
				}
				w.Store.On(nil)
			})
		}
	}
}

// A handler of EventRefreshStarted may take its time. If the refresh has become wrong
// meanwhile, the token is not spent.
func TestNoRefreshIsSentOnceItHasBecomeWrong(t *testing.T) {
	for name, meanwhile := range map[string]func(*testing.T, *testworld.World){
		"the lease is lost":      func(_ *testing.T, w *testworld.World) { w.Store.LoseLease() },
		"the user has signed in": func(t *testing.T, w *testworld.World) { w.SignIn(t) },
		"the user has signed out": func(t *testing.T, w *testworld.World) {
			assert.NoError(t, w.Transport.SignOut(context.WithoutCancel(t.Context())))
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Events.OnKind(reauth.EventRefreshStarted, func(context.Context) { meanwhile(t, w) })
			_, err := w.Get(t.Context())
			require.Error(t, err)
			assert.Zero(t, w.Refreshes())
		})
	}
}

func TestTheSessionIsNotLockedWhileHandlersHearOfARefreshOrSignIn(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Events.On(func(ctx context.Context, e reauth.Event) {
			if e.Kind == reauth.EventRefreshStarted { // the one for which the session is locked
				return
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, unlock, err := w.Store.MemoryStore.Lock(ctx, "")
			if assert.NoError(t, err, "%v", e.Kind) {
				unlock()
			}
		})
		signedInAndRefused(t, w)
		w.MustGet(t, http.StatusOK)
		time.Sleep(5 * time.Second)
		w.Store.Put(t, w.Issue())
		w.MustGet(t, http.StatusOK)
		time.Sleep(5 * time.Second)
		w.Answer(testworld.Failing(testworld.ErrFault), testworld.Failing(testworld.ErrFinal))
		w.Revoke()
		w.AssertTemporaryFailure(t)
		time.Sleep(time.Minute)
		w.AssertSignInRequired(t)
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		heard := slices.DeleteFunc(w.Events.Kinds(), func(k reauth.EventKind) bool {
			return k == reauth.EventRefreshStarted || k == reauth.EventLocked || k == reauth.EventWaited
		})
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshed, reauth.EventReplayed, reauth.EventAdopted, reauth.EventReplayed,
			reauth.EventRefreshFailed, reauth.EventRefreshFailed, reauth.EventSignInRequired, reauth.EventSignedIn, reauth.EventSignedOut,
		}, heard)
	})
}

// A store may have a client that itself signs in somewhere.
func TestAStoreThatMustSignInSignsNobodyOut(t *testing.T) {
	for _, call := range []string{"Load", "Lock"} {
		testworld.Case(t, call, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Store.OnCall(call, func(context.Context) error { return fmt.Errorf("the vault: %w", reauth.ErrSignInRequired) })
			w.AssertTemporaryFailure(t)
			w.AssertStored(t, "secret-access-1")
			w.Store.On(nil)
		})
	}
}

func TestNoRefreshIsSentAfterALoadThatReturnsTooLate(t *testing.T) {
	for name, loads := range map[string]int{"without a lock": 1, "under the lock": 2} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Store.Put(t, reauth.Token{RefreshToken: "of a process before"})
			w.Store.OnCall("Load", func(context.Context) error {
				if w.Store.Count("Load") == loads {
					time.Sleep(time.Minute)
				}
				return nil
			})
			w.AssertTemporaryFailure(t)
			w.Wait(t)
			assert.Zero(t, w.Refreshes(), "the lock has been given back by then")
			assert.Zero(t, w.Events.Count(reauth.EventRefreshStarted))
			w.Store.On(nil)
		})
	}
}

func TestAnAbandonedCallThatReturnsWaitsForItsAbandonmentToBeReported(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		load, reported := make(chan struct{}), make(chan struct{})
		w.Events.OnKind(reauth.EventRefreshFailed, func(context.Context) { <-reported })
		w.Store.OnCall("Load", func(context.Context) error { <-load; return nil })
		request := w.Go(t.Context())
		time.Sleep(time.Minute) // a handler is being told that the refresh failed
		close(load)
		synctest.Wait()
		assert.Empty(t, request, "the call overtakes its own abandonment")
		close(reported)
		testworld.AssertTemporary(t, (<-request).Err)
		assert.Zero(t, w.Refreshes())
	})
}

func TestAHandlerThatPanicsAtAnAbandonmentStillReleasesTheWaiters(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Events.OnKind(reauth.EventRefreshFailed, func(context.Context) { panic("in the handler") })
		w.Store.OnCall("Load", func(context.Context) error { time.Sleep(time.Hour); return nil })
		request := <-w.Go(t.Context())
		testworld.AssertTemporary(t, request.Err)
		assert.InDelta(t, 30, request.Took.Seconds(), 0.2)
		w.Store.On(nil)
	})
}

func TestErrorsOfARefreshShowNothingOfTheTokens(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Extra = map[string]string{"id_token": "secret-identity", "scope": "read"}
		w.Store.Put(t, tok)
		w.MustGet(t, http.StatusOK)
		w.Revoke()
		w.Answer(testworld.Failing(fmt.Errorf("can't read with %s, %s and %s", tok.AccessToken, tok.RefreshToken, tok.Extra["id_token"])))
		_, err := w.Get(t.Context())
		require.ErrorContains(t, err, "can't read with [redacted], [redacted] and [redacted]")
	})
}

func TestFailuresOfManySessionsAreNotRetriedAtTheSameMoment(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		const sessions = 20
		session := func(i int) context.Context { return reauth.WithSession(t.Context(), fmt.Sprint(i)) }
		for i := range sessions {
			w.SignInAs(t, fmt.Sprint(i))
			w.Answer(testworld.Failing(testworld.ErrFault))
		}
		w.Revoke()
		for range 110 {
			for i := range sessions {
				_, _ = w.Get(session(i))
			}
			time.Sleep(10 * time.Millisecond)
		}
		retries := map[time.Duration]bool{}
		for _, at := range w.CallTimes()[sessions:] {
			assert.GreaterOrEqual(t, at, 750*time.Millisecond)
			assert.LessOrEqual(t, at, 1010*time.Millisecond)
			retries[at] = true
		}
		assert.Len(t, w.CallTimes(), 2*sessions)
		assert.Greater(t, len(retries), sessions/4)
	})
}

func TestARefresherLearnsOfACallThatWouldWaitForItself(t *testing.T) {
	inner := func(t *testing.T, outer *testworld.World) *reauth.Transport {
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(func(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
				return outer.Transport.Token(ctx)
			}),
			Origins: []string{"https://api.example.com"},
		})
		require.NoError(t, err)
		return tr
	}
	for name, tc := range map[string]struct {
		call func(context.Context, *testing.T, *testworld.World) error
		want string
	}{
		"Wait": {func(ctx context.Context, _ *testing.T, w *testworld.World) error {
			return w.Transport.Wait(ctx)
		}, "Wait"},
		"Token": {func(ctx context.Context, _ *testing.T, w *testworld.World) error {
			_, err := w.Transport.Token(ctx)
			return err
		}, "Token"},
		"Token, through the refresher of another Transport": {func(ctx context.Context, t *testing.T, w *testworld.World) error {
			_, err := inner(t, w).Token(ctx)
			return err
		}, "Token"},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Answer(func(ctx context.Context) (reauth.Token, error) {
				assert.ErrorContains(t, tc.call(ctx, t, w), tc.want+` was called by the Refresher, Config.SignIn or function of an Update of session ""`)
				return w.Issue(), nil
			})
			w.MustGet(t, http.StatusOK)
		})
	}
}

// oneShot returns a request whose body can be sent only once.
func oneShot(t *testing.T) *http.Request {
	t.Helper()
	body := io.MultiReader(strings.NewReader("a body of unknown length"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, testworld.APIURL, body)
	require.NoError(t, err)
	require.Nil(t, req.GetBody)
	return req
}

// sendOneShot sends such a request, which must be accepted after a wait.
func sendOneShot(t *testing.T, w *testworld.World, wait time.Duration) {
	t.Helper()
	began := time.Now()
	status, err := w.Do(oneShot(t))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, wait, time.Since(began))
}

func TestEarlyRefreshesUnderSteadyLoadDelayNobody(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Overlap, w.Lifetime, w.Latency, w.API.Latency = true, 2*time.Second, 100*time.Millisecond, 10*time.Millisecond
		w.SignIn(t)
		var wg sync.WaitGroup
		for end := time.Now().Add(200 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			wg.Go(func() { // for 100 lifetimes
				began := time.Now()
				w.MustGet(t, http.StatusOK)
				assert.Equal(t, 10*time.Millisecond, time.Since(began))
			})
		}
		wg.Wait()
		w.Wait(t)
		used := map[string]bool{}
		for _, token := range w.API.Tokens() {
			used[token] = true
		}
		assert.Equal(t, 1, w.MostAtOnce(), "one flight at a time")
		assert.InDelta(t, 200/1.58, w.Refreshes(), 6, "each in the last quarter of the lifetime")
		assert.InDelta(t, w.Refreshes(), len(used), 2, "every token was of use")
		assert.Equal(t, w.Refreshes(), w.Events.Count(reauth.EventRefreshed))
		assert.Equal(t, w.Refreshes(), w.Events.Count(reauth.EventRefreshStarted))
		assert.Zero(t, w.Events.Count(reauth.EventReplayed), "no token had expired")
	})
}

func TestTokensOfOneSecondWork(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Overlap, w.Lifetime, w.Latency, w.API.Latency = true, time.Second, 100*time.Millisecond, 10*time.Millisecond
		w.SignIn(t)
		for range 1000 {
			w.MustGet(t, http.StatusOK)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Zero(t, w.Events.Count(reauth.EventReplayed), "no token had expired")
		assert.Equal(t, 1, w.MostAtOnce())
		assert.LessOrEqual(t, w.Refreshes(), 44, "about one per second")
	})
}

func TestTokensThatExpireBeforeTheyArriveAreNotChased(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Overlap, w.Lifetime, w.Latency = true, 50*time.Millisecond, 100*time.Millisecond
		w.SignIn(t)
		time.Sleep(time.Second)
		began := time.Now()
		w.MustGet(t, http.StatusUnauthorized)
		assert.Less(t, time.Since(began), time.Second)
		assert.LessOrEqual(t, w.Refreshes(), 2)
	})
}

func TestAnIdleSessionIsNotRefreshed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(time.Hour)
		assert.Zero(t, w.Refreshes(), "there is no timer")
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestEarlyRefreshMovesTheWindow(t *testing.T) {
	for _, tc := range []struct {
		setting        time.Duration
		before, during time.Duration // ages of a token of 100 s
	}{
		{0, 74 * time.Second, 81 * time.Second},
		{50 * time.Second, 49 * time.Second, 61 * time.Second},
		{time.Hour, 24 * time.Second, 41 * time.Second}, // at most three quarters
		{-1, 100*time.Second - 1, 100 * time.Second},
	} {
		testworld.Case(t, tc.setting.String(), func(t *testing.T, w *testworld.World) {
			w.Lifetime = 100 * time.Second
			w.SignIn(t)
			time.Sleep(tc.before)
			w.MustGet(t, http.StatusOK)
			synctest.Wait()
			assert.Zero(t, w.Refreshes())
			time.Sleep(tc.during - tc.before)
			w.MustGet(t, http.StatusOK)
			synctest.Wait()
			assert.Equal(t, 1, w.Refreshes())
		}, func(c *reauth.Config, _ *testworld.World) { c.EarlyRefresh = tc.setting })
	}
}

func TestARequestThatFindsTheTokenExpiredJoinsTheEarlyRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime, w.Latency = 100*time.Second, 10*time.Second
		w.SignIn(t)
		time.Sleep(95 * time.Second)
		w.MustGet(t, http.StatusOK) // starts it
		time.Sleep(6 * time.Second)
		for _, r := range w.Storm(t.Context(), 10) {
			require.NoError(t, r.Err)
			assert.Equal(t, 4*time.Second, r.Took)
		}
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestABodyThatCannotBeSentTwiceWaitsForTheEarlyRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime, w.Latency = 100*time.Second, time.Second
		w.SignIn(t)
		time.Sleep(50 * time.Second)
		sendOneShot(t, w, 0) // far from the expiry

		time.Sleep(45 * time.Second)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { sendOneShot(t, w, time.Second) })
		}
		wg.Wait()
		assert.Equal(t, 1, w.Refreshes())
		assert.Equal(t, 5, strings.Count(strings.Join(w.API.Tokens(), "\n"), "Bearer secret-access-2"))
	})
}

func TestABodyThatCannotBeSentTwiceGoesWithTheValidTokenIfTheEarlyRefreshFails(t *testing.T) {
	for name, err := range map[string]error{"temporary": testworld.ErrFault, "final": testworld.ErrFinal} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Lifetime = 100 * time.Second
			w.SignIn(t)
			time.Sleep(95 * time.Second)
			w.Answer(func(context.Context) (reauth.Token, error) { time.Sleep(time.Second); return reauth.Token{}, err })
			sendOneShot(t, w, time.Second)
			sendOneShot(t, w, 0) // during the pause nobody waits
			assert.Equal(t, 1, w.Refreshes())
		})
	}
}

func TestABodyThatCannotBeSentTwiceFailsIfTheTokenExpiresWhileTheRefreshFails(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		w.SignIn(t)
		time.Sleep(95 * time.Second)
		w.Answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(6 * time.Second)
			return reauth.Token{}, testworld.ErrFault
		})
		_, err := w.Do(oneShot(t))
		testworld.AssertTemporary(t, err)
		assert.Zero(t, w.API.Requests())
	})
}

func TestABodyThatCannotBeSentTwiceDoesNotWaitForAPendingSave(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		leaveSavePending(t, w)
		time.Sleep(6 * time.Second)
		w.Store.OnCall("Save", testworld.Hangs)
		sendOneShot(t, w, 0)
		w.Store.On(nil)
	})
}

func TestTheRefreshPauseDoublesWhileRefreshesDoNotHelp(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		refuseEverything := func(during time.Duration) (gaps []time.Duration) {
			w.API.Decide = func(*http.Request) int { return http.StatusUnauthorized }
			before := w.Refreshes()
			for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				w.MustGet(t, http.StatusUnauthorized)
			}
			w.API.Decide = nil
			calls := w.CallTimes()[before:]
			for i := range calls[1:] {
				gaps = append(gaps, calls[i+1]-calls[i])
			}
			return gaps
		}
		doubling := []time.Duration{
			10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute,
		}
		assert.Equal(t, doubling, refuseEverything(20*time.Minute))

		time.Sleep(5 * time.Minute)
		w.Revoke()
		w.MustGet(t, http.StatusOK) // a replay that is accepted ends it
		time.Sleep(5 * time.Second)
		assert.Equal(t, append([]time.Duration{5 * time.Second}, doubling[:2]...), refuseEverything(time.Minute),
			"at first the endpoint is known to have taken the token before")

		w.SignIn(t) // and so does a sign-in
		assert.Equal(t, doubling[:2], refuseEverything(time.Minute))
	})
}

func TestRefreshKnowsTheRefusedTokenByItsAccessToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		w.Store.Put(t, tok) // not cached yet: it is a refusal all the same
		refresh := func(refused reauth.Token) (string, error) {
			got, err := w.Transport.Refresh(t.Context(), refused)
			return got.AccessToken, err
		}
		for _, refused := range []reauth.Token{
			{AccessToken: tok.AccessToken}, // as from an oauth2.Token
			tok,                            // replaced already
			{},                             // not a refusal
		} {
			got, err := refresh(refused)
			require.NoError(t, err)
			assert.Equal(t, "secret-access-2", got)
			assert.Equal(t, 1, w.Refreshes())
		}
		_, err := refresh(reauth.Token{AccessToken: "secret-access-2"})
		tooSoon, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, 5*time.Second, tooSoon.RetryAfter)
	})
}

func TestRefreshOfATokenThatStays(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World) reauth.Token
		want    string
	}{
		"nothing to refresh with": {func(t *testing.T, w *testworld.World) reauth.Token {
			tok := w.Issue()
			tok.RefreshToken = ""
			require.NoError(t, w.Transport.SignIn(t.Context(), tok))
			return tok
		}, "the session has nothing to refresh with"},
		"the refresher returns it": {func(t *testing.T, w *testworld.World) reauth.Token {
			tok := w.SignIn(t)
			w.Answer(func(context.Context) (reauth.Token, error) { return tok, nil })
			return tok
		}, "the refresher returned the token that was refused"},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tok := tc.arrange(t, w)
			_, err := w.Transport.Refresh(t.Context(), tok)
			testworld.AssertTemporary(t, err)
			assert.ErrorContains(t, err, tc.want)
			assert.ErrorIs(t, err, reauth.ErrRefusalKept)
			w.AssertStored(t, tok.AccessToken)
			w.MustGet(t, http.StatusOK)
			_, err = w.Transport.Refresh(t.Context(), tok) // too soon
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%v", err)
			assert.NotZero(t, failure.RetryAfter)
		})
	}
}

func TestRefreshThatASignOutMeetsIsAnError(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			assert.NoError(t, w.Transport.SignOut(context.WithoutCancel(t.Context())))
			return w.Issue(), nil
		})
		_, err := w.Transport.Refresh(t.Context(), tok)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestRefreshGoesOnAfterAnUpdateThatFailed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := signedInAndRefused(t, w)
		go func() {
			_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
				time.Sleep(time.Second)
				return reauth.Token{}, testworld.ErrFault
			})
			assert.ErrorIs(t, err, testworld.ErrFault)
		}()
		synctest.Wait()
		got, err := w.Transport.Refresh(t.Context(), tok)
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken)
	})
}

func TestAnExpiredTokenThatTheRefresherReturnsAgainIsUsed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Expiry = time.Now().Add(time.Minute)
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		time.Sleep(time.Minute)
		w.Answer(func(context.Context) (reauth.Token, error) { return tok, nil }) // its stated end has passed
		w.MustGet(t, http.StatusOK)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestEventsTellHowLongItTook(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		took := func(kind reauth.EventKind) time.Duration {
			t.Helper()
			events := w.Events.Of(kind)
			require.Len(t, events, 1, "%v", kind)
			return events[0].Took
		}
		w.Latency = time.Second
		signedInAndRefused(t, w)
		synctest.Wait()
		time.AfterFunc(2*time.Second, w.Store.Hold(t))
		w.Store.Fail("Save")
		time.AfterFunc(10*time.Second, func() { w.Store.On(nil) })
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2*time.Second, took(reauth.EventLocked))
		assert.Equal(t, time.Second, took(reauth.EventRefreshed))
		assert.Equal(t, 3*time.Second, took(reauth.EventWaited))
		assert.Equal(t, 3*time.Second, took(reauth.EventReplayed))
		w.Wait(t)
		late := took(reauth.EventSavedLate)
		assert.GreaterOrEqual(t, late, 7*time.Second, "since it first failed")
		assert.LessOrEqual(t, late, 12*time.Second)
	})
}

// Little time passes on a clock that is coarse, and none here, unless the store takes it.
func TestARefreshThatFailedTookNoTimeOnlyIfItsRefresherWasNotAsked(t *testing.T) {
	update := func(t *testing.T, w *testworld.World) error {
		_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) { return reauth.Token{}, testworld.ErrFault })
		return err
	}
	get := func(t *testing.T, w *testworld.World) error { _, err := w.Get(t.Context()); return err }
	for name, tc := range map[string]struct {
		fails func(*testworld.World)
		call  func(*testing.T, *testworld.World) error
		asked bool
	}{
		"for now":  {func(w *testworld.World) { w.Answer(testworld.Failing(testworld.ErrFault)) }, get, true},
		"for good": {func(w *testworld.World) { w.Answer(testworld.Failing(testworld.ErrFinal)) }, get, true},
		"Update":   {func(*testworld.World) {}, update, true},
		"the lock": {func(w *testworld.World) { w.Store.Fail("Lock") }, get, false},
		"a store that does not answer": {func(w *testworld.World) {
			w.Store.OnCall("Load", func(context.Context) error { time.Sleep(40 * time.Second); return testworld.ErrFault })
		}, get, false},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			tc.fails(w)
			require.Error(t, tc.call(t, w))
			failed := w.Events.Of(reauth.EventRefreshFailed)
			require.Len(t, failed, 1)
			assert.Equal(t, tc.asked, failed[0].Took != 0)
		})
	}
}

func TestAStoreThatDoesNotLockReportsNoLock(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.MustGet(t, http.StatusOK)
		assert.Zero(t, w.Events.Count(reauth.EventLocked))
	}, withoutLock)
}

// The store has shown the sign-in of another process, but the refresh that its token needs
// failed. Loading the next one is an adoption all the same.
func TestASignInElsewhereIsAnAdoptionThoughItWasSeenBefore(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testworld.World){
		"signed out": func(t *testing.T, w *testworld.World) { require.NoError(t, w.Transport.SignOut(t.Context())) },
		"refused": func(t *testing.T, w *testworld.World) {
			w.Revoke()
			w.Answer(testworld.Failing(testworld.ErrFinal))
			w.AssertSignInRequired(t)
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Lifetime = time.Minute
			w.SignIn(t)
			end(t, w)
			w.Store.Put(t, w.Issue())
			time.Sleep(2 * time.Minute)
			w.Store.Fail("Lock")
			w.AssertTemporaryFailure(t)
			w.Store.On(nil)
			w.Store.Put(t, w.Issue())
			time.Sleep(30 * time.Second)

			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
		})
	}
}

func TestAHandlerThatSignsInAndPanicsDoesNotTouchTheNewSession(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"after an early refresh": 100 * time.Second, "after one that was needed": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tr *reauth.Transport
				failed := 0
				tr, err := reauth.New(reauth.Config{
					Origins: []string{reauth.AnyOrigin},
					OnEvent: func(ctx context.Context, e reauth.Event) {
						if e.Kind != reauth.EventRefreshFailed {
							return
						}
						if failed++; failed == 1 {
							assert.NoError(t, tr.SignIn(ctx, reauth.Token{RefreshToken: "other"}))
							panic("a handler's fault")
						}
					},
					Refresher: reauth.RefresherFunc(func(_ context.Context, old reauth.Token) (reauth.Token, error) {
						if old.RefreshToken == "other" {
							return reauth.Token{AccessToken: "new"}, nil
						}
						return reauth.Token{}, reauth.ErrSignInRequired
					}),
				})
				require.NoError(t, err)
				require.NoError(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(expiry)}))
				time.Sleep(99 * time.Second)
				_, err = tr.Token(t.Context())
				require.NoError(t, err, "it goes on with the new sign-in")
				require.NoError(t, tr.Wait(t.Context()))
				assert.Equal(t, 1, failed)
				tok, err := tr.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "new", tok.AccessToken)
			})
		})
	}
}
