package reauth_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// owing returns a world whose second token is in use but has not reached the
// store, which holds the first.
func owing(t *testing.T, store *faultyStore, with ...func(*reauth.Config, *world)) *world {
	t.Helper()
	w := newWorld(t, append(with, keptIn(store))...)
	w.signIn(t)
	w.revoke()
	store.on(onCall("Save", fails))
	w.mustGet(t, http.StatusOK)
	assertStored(t, store, "secret-access-1")
	return w
}

func assertStored(t *testing.T, store *faultyStore, accessToken string) {
	t.Helper()
	tok, ok := store.stored(t, "")
	assert.True(t, ok)
	assert.Equal(t, accessToken, tok.AccessToken)
}

func TestTokenThatCannotBeSavedIsUsedAndItsSaveOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		assertAllOK(t, w.storm(t.Context(), 10))
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventRefreshed,
			reauth.EventSaveFailed, reauth.EventReplayed,
		}, w.events.kinds())
		for _, e := range w.events.events {
			if e.Kind == reauth.EventSaveFailed {
				assert.ErrorIs(t, e.Err, errFault)
			}
		}
		store.on(nil)
	})
}

func TestSaveUnderALostLeaseIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) { store.lose(); return w.issue(), nil })
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.events.count(reauth.EventSaveFailed))
		assertStored(t, &store.faultyStore, "secret-access-1")
		locks := store.count("Lock")

		require.NoError(t, w.tr.Wait(t.Context()))

		assert.Equal(t, 1, store.count("Lock")-locks, "under a lock of its own")
		assertStored(t, &store.faultyStore, "secret-access-2")
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestOwedSaveIsTriedByLaterRequestsOncePerRefreshPause(t *testing.T) {
	for _, call := range []string{"Save", "Load", "Lock"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := owing(t, store)
				store.on(onCall(call, fails))
				before := store.count(call)
				for range 600 { // a minute, in which 12 pauses of 5 s run out
					w.mustGet(t, http.StatusOK)
					time.Sleep(100 * time.Millisecond)
				}
				assert.InDelta(t, 12, store.count(call)-before, 1)
				assert.Equal(t, 1, w.refreshes())

				store.on(nil)
				time.Sleep(5 * time.Second)
				w.mustGet(t, http.StatusOK)
				synctest.Wait()
				assertStored(t, store, "secret-access-2")
				saves := store.count("Save")
				time.Sleep(time.Minute)
				w.mustGet(t, http.StatusOK)
				assert.Equal(t, saves, store.count("Save"), "once it is paid")
				assert.Equal(t, 1, w.refreshes())
			})
		})
	}
}

func TestRequestsDoNotWaitForAnOwedSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		time.Sleep(5 * time.Second)
		store.on(onCall("Save", hangs))
		for _, r := range w.storm(t.Context(), 10) {
			assert.Equal(t, http.StatusOK, r.status)
			assert.Zero(t, r.took)
		}
		store.on(nil)
	})
}

func TestOwedSaveGivesWayToWhatAnotherProcessStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		store.on(nil)
		theirs := w.issue()
		store.put(t, theirs)
		saves := store.count("Save")

		require.NoError(t, w.tr.Wait(t.Context()))

		assert.Equal(t, saves, store.count("Save"))
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, "Bearer "+theirs.AccessToken, w.api.tokens()[w.api.requests()-1])
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestOwedSaveIsDroppedOnceTheSessionIsDeletedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, asked := new(faultyStore), new(recorder)
		w := owing(t, store, recorded(asked))
		store.on(nil)
		store.clear(t)
		saves := store.count("Save")

		require.NoError(t, w.tr.Wait(t.Context()))

		assert.Equal(t, saves, store.count("Save"), "a save would sign in again what was signed out")
		_, ok := store.stored(t, "")
		assert.False(t, ok)
		assert.Equal(t, []string{"secret-refresh-1", ""}, asked.refreshTokens())
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestOwedSaveIsDroppedOnceTheStoreHoldsAnotherTokenThoughThatIsOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		store.on(nil)
		store.put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now().Add(-time.Second)})
		w.answer(failing(errTurnedDown))

		require.NoError(t, w.tr.Wait(t.Context()))

		assertStored(t, store, "theirs")
		loads := store.count("Load")
		for range 10 { // ours is still good
			w.mustGet(t, http.StatusOK)
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, loads, store.count("Load"))
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestSaveThatSeemedToFailIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		store.on(onCall("Save", func(context.Context) error {
			store.put(t, reauth.Token{AccessToken: "secret-access-2", RefreshToken: "secret-refresh-2"})
			return errFault // the answer was lost on the way
		}))
		w.mustGet(t, http.StatusOK)
		saves := store.count("Save")
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Equal(t, saves, store.count("Save"))
		assert.Zero(t, w.events.count(reauth.EventAdopted))

		time.Sleep(time.Minute)
		w.revoke()
		store.on(nil)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.mostSpent())
	})
}

func TestRefusedTokenWhoseSaveIsOwedIsSavedAndRefreshedFrom(t *testing.T) {
	for name, saves := range map[string]bool{"the store works again": true, "the store still fails": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, asked := new(faultyStore), new(recorder)
				w := owing(t, store, recorded(asked))
				if saves {
					store.on(nil)
				}
				time.Sleep(6 * time.Second)
				w.revoke()
				var whileAsking reauth.Token
				w.answer(func(context.Context) (reauth.Token, error) {
					whileAsking, _ = store.stored(t, "")
					return w.issue(), nil
				})
				assertAllOK(t, w.storm(t.Context(), 10))
				assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, asked.refreshTokens())
				if saves {
					assert.Equal(t, "secret-access-2", whileAsking.AccessToken, "ours first")
					assertStored(t, store, "secret-access-3")
					return
				}
				assertStored(t, store, "secret-access-1")
				store.on(nil)
				require.NoError(t, w.tr.Wait(t.Context()))
				assertStored(t, store, "secret-access-3")
			})
		})
	}
}

func TestASpentTokenThatReachedTheStoreLateIsNotSpentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		time.Sleep(6 * time.Second)
		w.revoke()
		// The second token is saved after all, though its Save says that it failed, and
		// is spent for the third, whose Save does fail.
		store.on(onCall("Save", func(context.Context) error {
			if w.refreshes() == 1 {
				store.put(t, reauth.Token{AccessToken: "secret-access-2", RefreshToken: "secret-refresh-2"})
			}
			return errFault
		}))
		w.mustGet(t, http.StatusOK)
		require.Equal(t, 2, w.refreshes())
		assertStored(t, store, "secret-access-2")
		store.on(nil)
		time.Sleep(6 * time.Second)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.mostSpent())
		assertStored(t, store, "secret-access-4")
	})
}

func TestRefusalDuringAnOwedSaveIsRefreshedByTheSameFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		store.on(onCall("Load", func(context.Context) error { time.Sleep(time.Second); return nil }))
		time.Sleep(6 * time.Second)
		w.mustGet(t, http.StatusOK) // sets off the save
		synctest.Wait()
		locks := store.count("Lock")
		w.revoke()
		assertAllOK(t, w.storm(t.Context(), 10))
		assert.Equal(t, locks, store.count("Lock"), "no flight but the one that was up")
		assert.Equal(t, 2, w.refreshes())
		assertStored(t, store, "secret-access-3")
	})
}

func TestWaitRetriesAnOwedSaveUntilItIsPaid(t *testing.T) {
	for _, call := range []string{"Save", "Load", "Lock"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := owing(t, store)
				store.on(onCall(call, fails))
				before, began := store.count(call), time.Now()
				time.AfterFunc(time.Minute, func() { store.on(nil) })
				require.NoError(t, w.tr.Wait(t.Context()))
				assertStored(t, store, "secret-access-2")
				assert.InDelta(t, 62, time.Since(began).Seconds(), 4)
				assert.InDelta(t, 13, store.count(call)-before, 1)
			})
		})
	}
}

func TestWaitForAnOwedSaveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		assert.ErrorIs(t, w.tr.Wait(ctx), context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began))
		store.on(nil)
	})
}

func TestWaitForAnOwedSaveDoesNotSpinWhereThereIsNoRefreshPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store, func(c *reauth.Config, _ *world) { c.RefreshPause = -1 })
		time.AfterFunc(time.Minute, func() { store.on(nil) })
		saves := store.count("Save")
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.LessOrEqual(t, store.count("Save")-saves, 601, "ten a second")
	})
}

func TestWaitDoesNotWaitWhereNothingIsGoingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		require.NoError(t, w.tr.Wait(t.Context()))
		w.signIn(t)
		w.mustGet(t, http.StatusOK)
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Zero(t, time.Since(began))

		w.latency = time.Second
		w.revoke()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := w.get(ctx)
		require.Error(t, err)
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Equal(t, time.Second, time.Since(began), "until the flight is over")
	})
}

func TestSignInAndSignOutEndWhatIsOwed(t *testing.T) {
	for name, end := range map[string]func(*world) error{
		"sign-in":  func(w *world) error { return w.tr.SignIn(context.Background(), w.issue()) },
		"sign-out": func(w *world) error { return w.tr.SignOut(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := owing(t, store)
				store.on(nil)
				require.NoError(t, end(w))
				saves, began := store.count("Save"), time.Now()
				require.NoError(t, w.tr.Wait(t.Context()))
				assert.Zero(t, time.Since(began))
				assert.Equal(t, saves, store.count("Save"))
			})
		})
	}
}

func TestAFlightThatIsUpToSaveDoesNotRefreshInThePauseAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store, func(c *reauth.Config, w *world) { w.lifetime, c.RefreshPause = 4*time.Second, -1 })
		time.Sleep(3700 * time.Millisecond) // it is refreshed early
		w.answer(failing(errFault))
		w.mustGet(t, http.StatusOK)
		synctest.Wait()
		require.Equal(t, 2, w.refreshes())
		free := make(chan struct{})
		store.on(onCall("Save", func(context.Context) error { <-free; return nil }))
		time.Sleep(200 * time.Millisecond)
		w.mustGet(t, http.StatusOK) // starts a flight that is up to save
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		_, err := w.get(t.Context()) // the token has ended
		assertPassing(t, err)
		assert.Zero(t, time.Since(began))
		close(free)
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Equal(t, 2, w.refreshes(), "the pause is not over")
	})
}

func TestAFlightThatIsUpToSaveAndRefreshesIsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store, func(c *reauth.Config, w *world) { w.lifetime, c.RefreshPause = 10*time.Second, -1 })
		store.put(t, reauth.Token{AccessToken: "other", RefreshToken: "others", Expiry: time.Now()}) // of another process
		w.answer(failing(errFault))
		before := w.refreshes()
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			w.mustGet(t, http.StatusOK) // the token is good; its save is owed
			synctest.Wait()
		}
		assert.Equal(t, 1, w.refreshes()-before, "then there is a pause")
		assert.Equal(t, 1, w.events.count(reauth.EventRefreshFailed))
	})
}

func TestAFlightThatIsUpToSaveHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store, func(c *reauth.Config, w *world) { w.lifetime, c.RefreshPause = 4*time.Second, -1 })
		time.Sleep(3700 * time.Millisecond) // it is refreshed early
		w.answer(failing(&reauth.RefreshError{RetryAfter: time.Minute, Err: errFault}))
		w.mustGet(t, http.StatusOK)
		synctest.Wait()
		require.Equal(t, 2, w.refreshes())
		store.put(t, reauth.Token{AccessToken: "other", RefreshToken: "others", Expiry: time.Now()})
		time.Sleep(200 * time.Millisecond)
		w.mustGet(t, http.StatusOK) // starts a flight that is up to save
		synctest.Wait()
		store.on(nil)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestASaveThatHangsAgainIsNoFailedRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		hang := make(chan struct{})
		store.on(onCall("Load", func(context.Context) error { <-hang; return errFault }))
		time.Sleep(5 * time.Second)
		w.mustGet(t, http.StatusOK) // starts a flight that is up to save
		time.Sleep(time.Minute)
		assert.Zero(t, w.events.count(reauth.EventRefreshFailed))
		store.on(nil)
		close(hang)
	})
}

func TestAFlightThatWasUpToSaveAndFailsAsARefreshIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		hang := make(chan struct{})
		store.on(onCall("Load", func(context.Context) error { <-hang; return errFault }))
		time.Sleep(5 * time.Second)
		w.mustGet(t, http.StatusOK) // starts a flight that is up to save
		time.Sleep(time.Minute)     // it is given up, and still there
		w.revoke()
		_, err := w.get(t.Context())
		assertPassing(t, err)
		close(hang)
		synctest.Wait()
		assert.Equal(t, 1, w.events.count(reauth.EventRefreshFailed))
		store.on(nil)
	})
}
