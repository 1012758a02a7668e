package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of a new token that has not reached the store: its save is pending.

// leaveSavePending brings w to its second token, which is in use while the store, whose
// Save fails, holds the first.
func leaveSavePending(t *testing.T, w *testworld.World) {
	t.Helper()
	signedInAndRefused(t, w)
	w.Store.Fail("Save")
	w.MustGet(t, http.StatusOK)
	w.AssertStored(t, "secret-access-1")
}

// leaveOwnSavePending is leaveSavePending with a refresh token that stays the same. Then
// nothing is lost if another process refreshes, so the lock is given back.
func leaveOwnSavePending(t *testing.T, w *testworld.World) {
	t.Helper()
	w.Answer(func(context.Context) (reauth.Token, error) {
		tok := w.Issue()
		tok.RefreshToken = ""
		return tok, nil
	})
	leaveSavePending(t, w)
}

// withSavePending and withOwnSavePending run a test in such a world.
func withSavePending(t *testing.T, f func(*testing.T, *testworld.World), with ...testworld.Setting) {
	t.Helper()
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		leaveSavePending(t, w)
		f(t, w)
	}, with...)
}

func withOwnSavePending(t *testing.T, f func(*testing.T, *testworld.World), with ...testworld.Setting) {
	t.Helper()
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		leaveOwnSavePending(t, w)
		f(t, w)
	}, with...)
}

// lifetimes gives tokens a lifetime, and turns the refresh pause off.
func lifetimes(d time.Duration) testworld.Setting {
	return func(c *reauth.Config, w *testworld.World) { w.Lifetime, c.RefreshPause = d, -1 }
}

func TestATokenThatCannotBeSavedIsUsedAllTheSame(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		testworld.AssertAllOK(t, w.Storm(t.Context(), 10))
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventLocked, reauth.EventRefreshed,
			reauth.EventSaveFailed, reauth.EventWaited, reauth.EventReplayed,
		}, w.Events.Kinds())
		assert.ErrorIs(t, w.Events.Of(reauth.EventSaveFailed)[0].Err, testworld.ErrFault)
		w.Store.On(nil)
	})
}

func TestASaveUnderALostLeaseIsPending(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) { w.Store.LoseLease(); return w.Issue(), nil })
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSaveFailed))
		w.AssertStored(t, "secret-access-1")
		locks := w.Store.Count("Lock")

		w.Wait(t)

		assert.Equal(t, 1, w.Store.Count("Lock")-locks, "under a lock of its own")
		w.AssertStored(t, "secret-access-2")
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAPendingSaveIsTriedUnderItsLockWithoutRequests(t *testing.T) {
	for _, call := range []string{"Save", "Load"} {
		t.Run(call, func(t *testing.T) {
			withSavePending(t, func(t *testing.T, w *testworld.World) {
				w.Store.Fail(call)
				before, locks := w.Store.Count(call), w.Store.Count("Lock")
				time.Sleep(time.Minute)
				assert.InDelta(t, 16, w.Store.Count(call)-before, 1, "after 0.1, 0.2, 0.4 s and so on, up to the refresh pause")
				w.Store.On(nil)
				time.Sleep(5 * time.Second)
				w.AssertStored(t, "secret-access-2")
				assert.Equal(t, locks, w.Store.Count("Lock"), "the lock was kept")
				w.Store.Hold(t)() // and is given back

				saves := w.Store.Count("Save")
				time.Sleep(time.Minute)
				w.MustGet(t, http.StatusOK)
				assert.Equal(t, saves, w.Store.Count("Save"), "once it is done")
				assert.Equal(t, 1, w.Refreshes())
				assert.Equal(t, 1, w.Events.Count(reauth.EventSavedLate))
			})
		})
	}
}

func TestAPendingSaveWhoseLockIsLostIsTriedUnderAnother(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		locks := w.Store.Count("Lock")
		w.Store.LoseLease()
		w.Store.On(nil)
		time.Sleep(time.Second)
		w.AssertStored(t, "secret-access-2")
		assert.Equal(t, locks+1, w.Store.Count("Lock"))
	})
}

func TestAPendingSaveIsTriedUnderItsLockAfterARefreshThatFailed(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		time.Sleep(6 * time.Second)
		w.Revoke()
		w.Answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(10 * time.Second)
			return reauth.Token{}, testworld.ErrFault
		})
		w.AssertTemporaryFailure(t) // meanwhile the time to try again has come
		w.Store.On(nil)
		time.Sleep(10 * time.Second)
		w.AssertStored(t, "secret-access-2")
		w.Store.Hold(t)()
	})
}

// Without a new refresh token nothing is lost if another process refreshes.
func TestAPendingSaveIsTriedByLaterRequestsOncePerRefreshPause(t *testing.T) {
	for _, call := range []string{"Save", "Load", "Lock"} {
		t.Run(call, func(t *testing.T) {
			withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
				w.Store.Fail(call)
				synctest.Wait()
				w.Store.Hold(t)()
				time.Sleep(5 * time.Second)
				before := w.Store.Count(call)
				for range 600 { // a minute, in which 12 pauses of 5 s pass
					w.MustGet(t, http.StatusOK)
					time.Sleep(100 * time.Millisecond)
				}
				assert.InDelta(t, 12, w.Store.Count(call)-before, 1)
				assert.Equal(t, 1, w.Refreshes())

				w.Store.On(nil)
				time.Sleep(5 * time.Second)
				w.MustGet(t, http.StatusOK)
				synctest.Wait()
				w.AssertStored(t, "secret-access-2")
				saves := w.Store.Count("Save")
				time.Sleep(time.Minute)
				w.MustGet(t, http.StatusOK)
				assert.Equal(t, saves, w.Store.Count("Save"), "once it is done")
				assert.Equal(t, 1, w.Refreshes())
			})
		})
	}
}

func TestRequestsDoNotWaitForAPendingSave(t *testing.T) {
	withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
		time.Sleep(5 * time.Second)
		w.Store.OnCall("Save", testworld.Hangs)
		w.MustGet(t, http.StatusOK) // starts the save
		synctest.Wait()
		for _, r := range w.Storm(t.Context(), 10) {
			assert.Equal(t, http.StatusOK, r.Status)
			assert.Zero(t, r.Took)
		}
		w.Store.On(nil)
	})
}

func TestAPendingSaveDoesNotReplaceWhatAnotherProcessHasWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		written   func(w *testworld.World) *reauth.Token // nil: deleted
		spent     []string                               // after the first refresh
		stored    string
		signedOut bool
	}{
		"a token": {func(w *testworld.World) *reauth.Token { tok := w.Issue(); return &tok }, nil, "secret-access-3", false},
		"a token that has expired and is refused": {func(*testworld.World) *reauth.Token {
			return &reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()}
		}, []string{"theirs"}, "theirs", false},
		"a sign-out": {func(*testworld.World) *reauth.Token { return nil }, []string{""}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			withSavePending(t, func(t *testing.T, w *testworld.World) {
				w.Store.On(nil)
				w.Store.Clear(t)
				if tok := tc.written(w); tok != nil {
					w.Store.Put(t, *tok)
				}
				w.Answer(testworld.Failing(testworld.ErrFinal))
				saves := w.Store.Count("Save")

				w.Wait(t)

				assert.Equal(t, saves, w.Store.Count("Save"))
				w.AssertStored(t, tc.stored)
				assert.Equal(t, append([]string{"secret-refresh-1"}, tc.spent...), w.Spent())
				loads := w.Store.Count("Load")
				for range 10 {
					if tc.signedOut {
						w.AssertSignInRequired(t)
						continue
					}
					w.MustGet(t, http.StatusOK) // with what was adopted, or ours, which is still good
					time.Sleep(10 * time.Second)
				}
				assert.Equal(t, loads, w.Store.Count("Load"), "nothing is pending")
			})
		})
	}
}

func TestASaveThatSeemedToFailIsNotRepeated(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Store.OnCall("Save", func(context.Context) error {
			w.Store.Put(t, reauth.Token{AccessToken: "secret-access-2", RefreshToken: "secret-refresh-2"})
			return testworld.ErrFault // the answer was lost on the way
		})
		w.MustGet(t, http.StatusOK)
		saves := w.Store.Count("Save")
		w.Wait(t)
		assert.Equal(t, saves, w.Store.Count("Save"))
		assert.Zero(t, w.Events.Count(reauth.EventAdopted))

		time.Sleep(time.Minute)
		w.Revoke()
		w.Store.On(nil)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.MostSpent())
	})
}

func TestARefusedTokenWhoseSaveIsPendingIsSavedAndRefreshedFrom(t *testing.T) {
	for name, works := range map[string]bool{"the store works again": true, "the store still fails": false} {
		t.Run(name, func(t *testing.T) {
			withSavePending(t, func(t *testing.T, w *testworld.World) {
				if works {
					w.Store.On(nil)
				}
				time.Sleep(6 * time.Second)
				w.Revoke()
				var whileAsking reauth.Token
				w.Answer(func(context.Context) (reauth.Token, error) {
					whileAsking, _ = w.Store.Stored(t, "")
					return w.Issue(), nil
				})
				testworld.AssertAllOK(t, w.Storm(t.Context(), 10))
				assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, w.Spent())
				if works {
					assert.Equal(t, "secret-access-2", whileAsking.AccessToken, "ours first")
				} else {
					w.AssertStored(t, "secret-access-1")
					w.Store.On(nil)
					w.Wait(t)
				}
				w.AssertStored(t, "secret-access-3")
			})
		})
	}
}

// While its saves fail a process spends one token after the other. Any of them may be
// stored after all, though its Save seemed to fail.
func TestASpentTokenThatReachesTheStoreLateIsNotSpentAgain(t *testing.T) {
	for _, refreshes := range []int{2, 3} {
		t.Run(map[int]string{2: "the one before", 3: "an older one"}[refreshes], func(t *testing.T) {
			withSavePending(t, func(t *testing.T, w *testworld.World) {
				for range refreshes - 1 {
					time.Sleep(6 * time.Second)
					w.Revoke()
					w.MustGet(t, http.StatusOK)
				}
				w.Store.Put(t, reauth.Token{AccessToken: "secret-access-2", RefreshToken: "secret-refresh-2"})
				w.Store.On(nil)
				time.Sleep(6 * time.Second)
				w.Revoke()
				w.MustGet(t, http.StatusOK)
				assert.Equal(t, 1, w.MostSpent())
				w.AssertStored(t, fmt.Sprint("secret-access-", refreshes+2))
			})
		})
	}
}

func TestARefusalDuringAPendingSaveIsRefreshedByTheSameFlight(t *testing.T) {
	withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Store.OnCall("Load", func(context.Context) error { time.Sleep(time.Second); return nil })
		time.Sleep(6 * time.Second)
		w.MustGet(t, http.StatusOK) // starts the save
		synctest.Wait()
		locks := w.Store.Count("Lock")
		w.Revoke()
		testworld.AssertAllOK(t, w.Storm(t.Context(), 10))
		assert.Equal(t, locks, w.Store.Count("Lock"), "there was no flight but the one that was up")
		assert.Equal(t, 2, w.Refreshes())
		w.AssertStored(t, "secret-access-3")
	})
}

func TestWaitRetriesAPendingSaveUntilItIsDone(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World)
		call    string
		tries   int
	}{
		"Save, under the lock that is kept":     {leaveSavePending, "Save", 17},
		"Load, under the lock that is kept":     {leaveSavePending, "Load", 17},
		"Save, with the same refresh token":     {leaveOwnSavePending, "Save", 13},
		"Load, with the same refresh token":     {leaveOwnSavePending, "Load", 13},
		"the lock, with the same refresh token": {leaveOwnSavePending, "Lock", 13},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tc.arrange(t, w)
			w.Store.Fail(tc.call)
			before, began := w.Store.Count(tc.call), time.Now()
			time.AfterFunc(time.Minute, func() { w.Store.On(nil) })
			w.Wait(t)
			w.AssertStored(t, "secret-access-2")
			assert.InDelta(t, 62, time.Since(began).Seconds(), 4)
			assert.InDelta(t, tc.tries, w.Store.Count(tc.call)-before, 2)
		})
	}
}

func TestWaitForAPendingSaveEndsWithItsContext(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		assert.ErrorIs(t, w.Transport.Wait(ctx), context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began))
		w.Store.On(nil)
	})
}

func TestWaitForAPendingSaveDoesNotSpinWithoutARefreshPause(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		time.AfterFunc(time.Minute, func() { w.Store.On(nil) })
		saves := w.Store.Count("Save")
		w.Wait(t)
		assert.LessOrEqual(t, w.Store.Count("Save")-saves, 601, "ten per second")
	}, lifetimes(0))
}

func TestWaitReturnsOnceNothingIsInProgress(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		began := time.Now()
		w.Wait(t)
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
		w.Wait(t)
		assert.Zero(t, time.Since(began))

		w.Latency = time.Second
		w.Revoke()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := w.Get(ctx)
		require.Error(t, err)
		w.Wait(t)
		assert.Equal(t, time.Second, time.Since(began), "until the refresh is over")
		assert.NoError(t, w.Transport.Wait(ctx), "nothing to wait for, though its context is done")
	})
}

func TestASignInOrSignOutEndsAPendingSave(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testworld.World){
		"sign-in":  func(t *testing.T, w *testworld.World) { w.SignIn(t) },
		"sign-out": func(t *testing.T, w *testworld.World) { require.NoError(t, w.Transport.SignOut(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			withSavePending(t, func(t *testing.T, w *testworld.World) {
				w.Store.On(nil)
				end(t, w)
				assert.Equal(t, 1, w.Events.Count(reauth.EventSavedLate), "it goes first")
				saves, began := w.Store.Count("Save"), time.Now()
				w.Wait(t)
				assert.Zero(t, time.Since(began))
				assert.Equal(t, saves, w.Store.Count("Save"))
			})
		})
	}
}

// A write that has ended without an answer may still arrive, as long as its lock is held.

func TestNothingIsRefreshedWhileItIsNotKnownWhetherTheLastTokenWasSaved(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Store.OnCall("Save", testworld.Hangs)
		w.MustGet(t, http.StatusOK)
		time.Sleep(6 * time.Second)
		w.Revoke()
		w.AssertTemporaryFailure(t)
		assert.Equal(t, 1, w.Refreshes())
		w.Store.On(nil)
		time.Sleep(time.Minute)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.Refreshes())
		assert.Equal(t, 1, w.MostSpent())
		w.AssertStored(t, "secret-access-3")
	})
}

func TestARefreshIsNotAskedForUnderALockWithAWriteThatMayStillArrive(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		var leases []context.Context // of the Saves
		trying, free := make(chan struct{}), make(chan struct{})
		w.Store.OnCall("Save", func(ctx context.Context) error {
			leases = append(leases, testworld.LeaseOf(ctx))
			switch len(leases) {
			case 1:
				return testworld.Hangs(ctx)
			case 2:
				close(trying)
				<-free
			}
			return nil
		})
		w.MustGet(t, http.StatusOK)
		<-trying // the save that is pending, under its lock
		time.Sleep(6 * time.Second)
		w.Revoke()
		request := w.Start(t.Context())
		close(free)
		require.NoError(t, (<-request).Err)
		require.Len(t, leases, 3)
		assert.True(t, leases[0] == leases[1], "that is the same write again")
		assert.False(t, leases[1] == leases[2])
		assert.Equal(t, 1, w.Events.Count(reauth.EventSaveFailed))
		w.AssertStored(t, "secret-access-3")
	})
}

func TestNothingIsWrittenUnderALockWithAnotherWriteThatMayStillArrive(t *testing.T) {
	for name, tc := range map[string]struct {
		write  func(*testing.T, *testworld.World) error
		stored string
	}{
		"a sign-in":  {func(t *testing.T, w *testworld.World) error { return w.Transport.SignIn(t.Context(), anew) }, anew.AccessToken},
		"a sign-out": {func(t *testing.T, w *testworld.World) error { return w.Transport.SignOut(t.Context()) }, ""},
	} {
		for when, delay := range map[string]time.Duration{"that began before": time.Millisecond, "that begins after": 1500 * time.Millisecond} {
			testworld.Case(t, name+" "+when, func(t *testing.T, w *testworld.World) {
				signedInAndRefused(t, w)
				gate := make(chan struct{})
				w.Gate = gate
				w.Start(t.Context()) // its refresh holds the lock
				var hung context.Context
				under := 0
				w.Store.On(func(ctx context.Context, call string) error {
					switch lease := testworld.LeaseOf(ctx); {
					case call == "Save" && hung == nil:
						hung = lease
						return testworld.Hangs(ctx)
					case call == "Save" && hung == lease:
						under++
						select {
						case <-gate:
						default:
							t.Error("the sign-in is saved under that lock")
						}
					case call == "Delete":
						assert.False(t, hung == lease)
					}
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				written := make(chan error, 1)
				time.AfterFunc(delay, func() {
					time.AfterFunc(2*time.Second, func() { close(gate) })
					written <- tc.write(t, w)
				})
				other := reauth.Token{AccessToken: "other", RefreshToken: "other"}
				require.ErrorIs(t, w.Transport.SignIn(ctx, other), context.DeadlineExceeded)
				require.NoError(t, <-written)
				w.Wait(t)
				w.AssertStored(t, tc.stored)
				assert.Equal(t, 1, under, "what the refresh brought, which can't wait for another lock")
				assert.Equal(t, 1, w.MostSpent())
			})
		}
	}
}

func TestWhatARefreshBringsIsSavedUnderItsLockThoughASignInThereMayStillArrive(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		other := w.Beside(t)
		w.SignIn(t)
		other.MustGet(t, http.StatusOK)
		w.Revoke()
		gate := make(chan struct{})
		w.Gate = gate
		first := w.Start(t.Context()) // its refresh holds the lock
		synctest.Wait()
		second := other.Start(t.Context()) // waits for it
		w.Store.OnCall("Save", func(ctx context.Context) error {
			w.Store.On(nil)
			return testworld.Hangs(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, w.Transport.SignIn(ctx, anew))
		close(gate)
		require.NoError(t, (<-first).Err)
		require.NoError(t, (<-second).Err)
		assert.Equal(t, 1, w.MostSpent())
	})
}

// A flight that is up only to save becomes a refresh when a request needs one.

func TestAPendingSaveDoesNotRefreshDuringThePauseAfterAFailure(t *testing.T) {
	withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
		time.Sleep(3700 * time.Millisecond) // the token is refreshed early
		w.Answer(testworld.Failing(testworld.ErrFault))
		w.MustGet(t, http.StatusOK)
		synctest.Wait()
		require.Equal(t, 2, w.Refreshes())
		free := make(chan struct{})
		w.Store.OnCall("Save", func(context.Context) error { <-free; return nil })
		time.Sleep(200 * time.Millisecond)
		w.MustGet(t, http.StatusOK) // starts the save
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		w.AssertTemporaryFailure(t) // the token has expired
		assert.Zero(t, time.Since(began))
		close(free)
		w.Wait(t)
		assert.Equal(t, 2, w.Refreshes(), "the pause is not over")
	}, lifetimes(4*time.Second))
}

func TestAPendingSaveThatRefreshesIsARefresh(t *testing.T) {
	withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Store.Put(t, reauth.Token{AccessToken: "other", RefreshToken: "others", Expiry: time.Now()})
		w.Answer(testworld.Failing(testworld.ErrFault))
		before := w.Refreshes()
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			w.MustGet(t, http.StatusOK) // the token is good; its save is pending
			synctest.Wait()
		}
		assert.Equal(t, 1, w.Refreshes()-before, "then there is a pause")
		assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshFailed))
	}, lifetimes(10*time.Second))
}

func TestAPendingSaveHonorsRetryAfter(t *testing.T) {
	withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
		time.Sleep(3700 * time.Millisecond) // the token is refreshed early
		w.Answer(testworld.Failing(&reauth.RefreshError{RetryAfter: time.Minute, Err: testworld.ErrFault}))
		w.MustGet(t, http.StatusOK)
		synctest.Wait()
		require.Equal(t, 2, w.Refreshes())
		w.Store.Put(t, reauth.Token{AccessToken: "other", RefreshToken: "others", Expiry: time.Now()})
		time.Sleep(200 * time.Millisecond)
		w.MustGet(t, http.StatusOK) // starts the save
		synctest.Wait()
		w.Store.On(nil)
		assert.Equal(t, 2, w.Refreshes())
	}, lifetimes(4*time.Second))
}

func TestAPendingSaveThatHangsIsAFailedRefreshOnlyIfARequestNeedsOne(t *testing.T) {
	for name, needed := range map[string]int{"nobody does": 0, "a request does": 1} {
		t.Run(name, func(t *testing.T) {
			withOwnSavePending(t, func(t *testing.T, w *testworld.World) {
				hang := make(chan struct{})
				w.Store.OnCall("Load", func(context.Context) error { <-hang; return testworld.ErrFault })
				time.Sleep(5 * time.Second)
				w.MustGet(t, http.StatusOK) // starts the save
				time.Sleep(time.Minute)     // its waiters would be released by now, if it had any
				if needed > 0 {
					w.Revoke()
					w.AssertTemporaryFailure(t)
				}
				close(hang)
				synctest.Wait()
				assert.Equal(t, needed, w.Events.Count(reauth.EventRefreshFailed))
				w.Store.On(nil)
			})
		})
	}
}

func TestTheRefreshTokenBesideAnAccessTokenThatNoHeaderCanCarryIsKept(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			tok := w.Issue()
			tok.AccessToken += "\n"
			return tok, nil
		})
		w.AssertTemporaryFailure(t)
		stored, _ := w.Store.Stored(t, "")
		assert.Equal(t, "secret-refresh-2", stored.RefreshToken)
		time.Sleep(time.Minute)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, w.Spent())
	})
}

func TestAStoredAccessTokenThatNoHeaderCanCarryIsRefreshedBeforeItsFirstUse(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.AccessToken += "\n" // as a tool might have stored it
		w.Store.Put(t, tok)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-refresh-1"}, w.Spent())
		assert.Equal(t, 1, w.API.Requests())
	})
}

func TestAPendingSaveIsKnownHoweverManyRefreshesFollow(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		for range 12 {
			w.Revoke()
			w.MustGet(t, http.StatusOK)
		}
		assert.Equal(t, 1, w.MostSpent())
		w.Store.On(nil)
		require.NoError(t, w.Transport.Wait(t.Context()))
		w.AssertStored(t, "secret-access-14")
	}, lifetimes(0))
}

func TestARefreshTokenBesideAnErrorIsKeptThoughItCannotBeSaved(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{RefreshToken: w.Issue().RefreshToken}, errors.New("the response breaks off")
		})
		w.Store.Fail("Save")
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		time.Sleep(time.Minute)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.MostSpent())
		w.Store.On(nil)
	})
}

func TestTheTokenBeforeAKeptRefreshTokenIsKnownToBeSpent(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		before, _ := w.Store.Stored(t, "")
		w.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{RefreshToken: w.Issue().RefreshToken}, errors.New("the response breaks off")
		})
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		w.Store.Put(t, before) // a failover
		time.Sleep(time.Minute)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.MostSpent())
	})
}

func TestAPendingSaveIsTriedAgainAfterAFailedSignOut(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Store.On(func(_ context.Context, call string) error {
			if call == "Load" {
				time.Sleep(time.Second)
				return nil
			}
			return testworld.ErrFault
		})
		time.Sleep(200 * time.Millisecond) // a flight is up to save
		require.Error(t, w.Transport.SignOut(t.Context()))
		w.Store.On(nil)
		time.Sleep(time.Minute)
		w.AssertStored(t, "secret-access-2") // so that no other process spends the one before
	})
}

func TestAPendingSaveIsTriedAgainAfterAnyFlight(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Store.OnCall("Load", func(context.Context) error {
			time.Sleep(time.Second)
			return testworld.ErrFault
		})
		time.Sleep(200 * time.Millisecond) // a flight is up to save
		w.Revoke()
		w.AssertTemporaryFailure(t) // which this request makes a refresh
		w.Store.On(nil)
		time.Sleep(time.Minute)
		w.AssertStored(t, "secret-access-2")
	})
}

func TestTheLockIsFreeThoughAHandlerPanicsAtALateSave(t *testing.T) {
	for name, method := range map[string]func(context.Context, *testworld.World){
		"SignIn":  func(ctx context.Context, w *testworld.World) { _ = w.Transport.SignIn(ctx, anew) },
		"SignOut": func(ctx context.Context, w *testworld.World) { _ = w.Transport.SignOut(ctx) },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			leaveSavePending(t, w)
			w.Store.On(nil)
			w.Events.OnKind(reauth.EventSavedLate, func(context.Context) { panic("no disk for logs") })
			assert.Panics(t, func() { method(t.Context(), w) })
			assert.NoError(t, w.Beside(t).Transport.SignIn(t.Context(), anew))
		})
	}
}

func TestNoRefreshIsSentUnderALeaseThatCouldNotSaveIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Store.OnCall("Save", func(ctx context.Context) error {
			w.Store.On(nil)
			return testworld.Hangs(ctx)
		})
		signIn := make(chan error, 1)
		go func() { signIn <- w.Transport.SignIn(t.Context(), anew) }()
		time.Sleep(29 * time.Second)
		w.MustGet(t, http.StatusOK) // its refresh waits for that Save, under the same lease
		require.Error(t, <-signIn)
		w.AssertStored(t, "secret-access-2")
		assert.Zero(t, w.Events.Count(reauth.EventSaveFailed))
	})
}

func TestThePendingSaveKeepsTheLockThoughTheNextTokenComesTooLate(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Answer(func(context.Context) (reauth.Token, error) { // which ignores its context
			time.Sleep(time.Minute)
			return w.Issue(), nil
		})
		w.Revoke()
		w.AssertTemporaryFailure(t)
		time.Sleep(20 * time.Second)
		r := <-w.Beside(t).Start(t.Context()) // waits for the lock when the token comes
		testworld.AssertTemporary(t, r.Err)
		assert.Equal(t, 1, w.MostSpent())
		w.Store.On(nil)
	})
}

func TestAnAccessTokenThatNoHeaderCanCarryStaysIfThereIsNothingToRefreshWith(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		sealed := reauth.Token{AccessToken: "\nencrypted"} // and the program has forgotten to decrypt it
		w.Store.Put(t, sealed)
		for range 2 {
			_, err := w.Get(t.Context())
			require.ErrorContains(t, err, "characters that no header can carry")
			time.Sleep(time.Minute)
		}
		assert.Zero(t, w.Refreshes())
		w.AssertStored(t, sealed.AccessToken)
	})
}
