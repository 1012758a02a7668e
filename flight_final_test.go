package reauth_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

var errTurnedDown = fmt.Errorf("turned down: %w", reauth.ErrSignInRequired)

func TestFinalAnswerAdoptsWhatAnotherProcessStoredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The other process has no lock: it spent the token before this one did.
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			store.put(t, w.issue())
			return reauth.Token{}, errTurnedDown
		})
		assertAllOK(t, w.storm(t.Context(), 20))
		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
		assert.Zero(t, w.events.count(reauth.EventSignInRequired))
		assert.Zero(t, store.count("Delete"))
		assertStored(t, store, "secret-access-2")
	})
}

func TestFinalAnswerRefreshesFromAnExpiredTokenStoredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, asked := new(faultyStore), new(recorder)
		w := newWorld(t, keptIn(store), recorded(asked))
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			store.put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now().Add(-time.Second)})
			return reauth.Token{}, errTurnedDown
		})
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-refresh-1", "theirs"}, asked.refreshTokens())
		assert.Zero(t, w.events.count(reauth.EventSignInRequired))
	})
}

func TestFlightDoesNotChaseTokensForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		n := 0
		for range 100 {
			w.answer(func(context.Context) (reauth.Token, error) {
				n++
				name := fmt.Sprint("expired-", n)
				store.put(t, reauth.Token{AccessToken: name, RefreshToken: name, Expiry: time.Now().Add(-time.Second)})
				return reauth.Token{}, errTurnedDown
			})
		}
		_, err := w.get(t.Context())
		assertPassing(t, err)
		assert.LessOrEqual(t, w.refreshes(), 3)
		assert.Zero(t, store.count("Delete"))
	})
}

func TestFinalAnswerDeletesTheStoredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(failing(errTurnedDown))
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		_, ok := store.stored(t, "")
		assert.False(t, ok)
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventRefreshFailed, reauth.EventSignInRequired,
		}, w.events.kinds())
	})
}

func TestATokenThatWasTurnedDownIsNotAdoptedThoughItReachedTheStoreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		ours, err := w.tr.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(6 * time.Second)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			store.put(t, ours) // whose Save, a moment ago, seemed to fail
			return reauth.Token{}, errTurnedDown
		})
		_, err = w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, w.events.count(reauth.EventAdopted))
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestFinalAnswerIsPassingWhileTheStoreCannotBeLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			store.on(onCall("Load", fails))
			return reauth.Token{}, errTurnedDown
		})
		_, err := w.get(t.Context())
		assertPassing(t, err)
		require.ErrorIs(t, err, errFault)
		for range 10 {
			time.Sleep(31 * time.Second)
			_, err = w.get(t.Context())
			assertPassing(t, err)
		}
		assert.Zero(t, store.count("Delete"))

		store.on(nil)
		time.Sleep(31 * time.Second)
		_, err = w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.refreshes(), "its answer is known")
		assert.Equal(t, 1, w.events.count(reauth.EventSignInRequired))
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestFinalAnswerOutlivesAStoreThatCannotDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(failing(errTurnedDown))
		store.on(onCall("Delete", fails))
		for range 10 {
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			time.Sleep(6 * time.Second)
		}
		assert.Equal(t, 1, w.refreshes())
		assertStored(t, store, "secret-access-1")
		store.put(t, w.issue())
		w.mustGet(t, http.StatusOK)
	})
}

func TestFinalAnswerGivesUpASpentTokenThatTheStoreStillHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The save of the second token is owed when that is turned down, and the
		// first, which is spent, cannot be deleted.
		store := new(faultyStore)
		w := owing(t, store)
		store.on(func(_ context.Context, call string) error {
			if call == "Save" || call == "Delete" {
				return errFault
			}
			return nil
		})
		time.Sleep(6 * time.Second)
		w.revoke()
		w.answer(failing(errTurnedDown))
		for range 10 {
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			time.Sleep(6 * time.Second)
		}
		assert.Equal(t, 1, w.mostSpent())
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestFinalAnswerGivesUpASpentTokenThatReachesTheStoreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		store.on(func(_ context.Context, call string) error {
			if call == "Save" || call == "Delete" {
				return errFault
			}
			return nil
		})
		time.Sleep(6 * time.Second)
		w.revoke()
		w.mustGet(t, http.StatusOK) // the second token is spent for a third; the store has the first
		time.Sleep(6 * time.Second)
		w.revoke()
		w.answer(failing(errTurnedDown))
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assertStored(t, store, "secret-access-1")

		// The Save of the second, which seemed to fail, takes effect.
		store.put(t, reauth.Token{AccessToken: "secret-access-2", RefreshToken: "secret-refresh-2"})
		time.Sleep(6 * time.Second)
		_, err = w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.mostSpent())
	})
}

// dying returns a world whose token ends in 10 s and whose early refresh has just
// been turned down for good.
func dying(t *testing.T, store *faultyStore) *world {
	t.Helper()
	w := newWorld(t, keptIn(store))
	w.lifetime = 100 * time.Second
	w.signIn(t)
	time.Sleep(90 * time.Second)
	w.answer(failing(errTurnedDown))
	time.Sleep(2 * time.Second) // whatever the jitter
	w.mustGet(t, http.StatusOK)
	synctest.Wait()
	require.Equal(t, 1, w.refreshes())
	return w
}

func TestFinalAnswerToAnEarlyRefreshTakesEffectAtExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := dying(t, store)
		locks := store.count("Lock")
		for range 79 { // until 100 ms before the end
			w.mustGet(t, http.StatusOK)
			time.Sleep(100 * time.Millisecond)
		}
		signedIn, err := w.tr.SignedIn(t.Context())
		require.NoError(t, err)
		assert.True(t, signedIn)
		assert.Equal(t, locks, store.count("Lock"), "no further flight")
		assert.Zero(t, w.events.count(reauth.EventSignInRequired))
		assertStored(t, store, "secret-access-1")

		time.Sleep(100 * time.Millisecond)
		for _, r := range w.storm(t.Context(), 10) {
			require.ErrorIs(t, r.err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, w.refreshes(), "no further attempt")
		assert.Equal(t, 1, w.events.count(reauth.EventSignInRequired))
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestFinalAnswerToAnEarlyRefreshTakesEffectAtRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := dying(t, store)
		w.revoke()
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.refreshes(), "no further attempt")
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestFinalAnswerToAnEarlyRefreshYieldsToAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := dying(t, store)
		store.put(t, w.issue())
		time.Sleep(10 * time.Second)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
	})
}

func TestFinalAnswerToAnEarlyRefreshIsEndedBySignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := dying(t, new(faultyStore))
		w.signIn(t)
		time.Sleep(100 * time.Second)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestEarlyRefreshThatARefusalJoinsIsNoLongerEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = 100 * time.Second
		w.signIn(t)
		w.gate = make(chan struct{})
		time.Sleep(95 * time.Second)
		w.answer(failing(errTurnedDown))
		w.mustGet(t, http.StatusOK)
		synctest.Wait()
		w.revoke()
		refused := make(chan error, 1)
		go func() { _, err := w.get(t.Context()); refused <- err }()
		synctest.Wait()
		close(w.gate)
		assert.ErrorIs(t, <-refused, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.events.count(reauth.EventSignInRequired))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestFinalAnswerToAnEarlyRefreshDoesNotSpeakForAnotherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := dying(t, store)
		store.put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now().Add(time.Second)})
		time.Sleep(10 * time.Second)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
		assert.Zero(t, w.events.count(reauth.EventSignInRequired))
	})
}

func TestPatientRequestMakesNoFurtherAttemptAfterAFinalAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := dying(t, store)
		locks := store.count("Lock")
		for range 5 {
			began := time.Now()
			status, err := w.do(stream(t))
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.Zero(t, time.Since(began))
			time.Sleep(time.Second)
		}
		assert.Equal(t, locks, store.count("Lock"))
	})
}
