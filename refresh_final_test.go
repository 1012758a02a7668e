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
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of the token server's final answer: the user must sign in.

// refuseFinally makes the next refresh end with a final answer, after meanwhile.
func refuseFinally(w *testworld.World, meanwhile func()) {
	w.Answer(func(context.Context) (reauth.Token, error) {
		meanwhile()
		return reauth.Token{}, testworld.ErrFinal
	})
}

func TestAFinalAnswerDeletesTheStoredToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.AssertSignInRequired(t)
		w.AssertStored(t, "")
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventLocked, reauth.EventRefreshFailed,
			reauth.EventSignInRequired, reauth.EventWaited,
		}, w.Events.Kinds())
	})
}

func TestAFinalAnswerYieldsToWhatAnotherProcessStoredMeanwhile(t *testing.T) {
	for name, tc := range map[string]struct {
		expired bool
		spent   []string
		event   reauth.EventKind
	}{
		"a token":                  {false, []string{"secret-refresh-1"}, reauth.EventAdopted},
		"a token that has expired": {true, []string{"secret-refresh-1", "secret-refresh-2"}, reauth.EventRefreshed},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			refuseFinally(w, func() { // by a process that does not lock
				theirs := w.Issue()
				if tc.expired {
					theirs.Expiry = time.Now()
				}
				w.Store.Put(t, theirs)
			})
			testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
			assert.Equal(t, tc.spent, w.Spent())
			assert.Equal(t, 1, w.Events.Count(tc.event))
			assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
			assert.Zero(t, w.Store.Count("Delete"))
		})
	}
}

func TestARefreshDoesNotChaseTokensForEver(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		for n := range 100 {
			refuseFinally(w, func() {
				name := fmt.Sprint("expired-", n)
				w.Store.Put(t, reauth.Token{AccessToken: name, RefreshToken: name, Expiry: time.Now().Add(-time.Second)})
			})
		}
		w.AssertTemporaryFailure(t)
		assert.Equal(t, 3, w.Refreshes())
		assert.Zero(t, w.Store.Count("Delete"))
	})
}

func TestARefusedTokenIsNotAdoptedThoughItReachesTheStoreLate(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		ours, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(6 * time.Second)
		w.Revoke()
		refuseFinally(w, func() { w.Store.Put(t, ours) }) // whose Save, a moment ago, seemed to fail
		w.AssertSignInRequired(t)
		assert.Zero(t, w.Events.Count(reauth.EventAdopted))
		w.AssertStored(t, "")
	})
}

func TestAFinalAnswerIsTemporaryWhileTheStoreCannotBeLoaded(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		refuseFinally(w, func() { w.Store.Fail("Load") })
		for range 10 {
			_, err := w.Get(t.Context())
			testworld.AssertTemporary(t, err)
			require.ErrorIs(t, err, testworld.ErrFault)
			time.Sleep(31 * time.Second)
		}
		assert.Zero(t, w.Store.Count("Delete"))

		w.Store.On(nil)
		w.AssertSignInRequired(t)
		assert.Equal(t, 1, w.Refreshes(), "its answer is known")
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignInRequired))
		w.AssertStored(t, "")
	})
}

func TestAFinalAnswerHoldsThoughTheStoreCannotDelete(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.Store.Fail("Delete")
		for range 10 {
			w.AssertSignInRequired(t)
			time.Sleep(6 * time.Second)
		}
		assert.Equal(t, 1, w.Refreshes())
		w.AssertStored(t, "secret-access-1")
		w.Store.Put(t, w.Issue())
		w.MustGet(t, http.StatusOK)
	})
}

// A final answer gives up every token that the store may still show: none of them is a
// new sign-in.
func TestAFinalAnswerGivesUp(t *testing.T) {
	unwritable := func(t *testing.T, w *testworld.World) {
		leaveSavePending(t, w)
		w.Store.Fail("Save", "Delete")
		time.Sleep(6 * time.Second)
		w.Revoke()
	}
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World)
		shown   string // by the store, afterwards
	}{
		"the refreshed token": {func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
		}, "secret-%s-1"},
		"the refreshed token, which was not current": {func(t *testing.T, w *testworld.World) {
			tok := w.Issue()
			tok.Expiry = time.Now()
			w.Store.Put(t, tok)
		}, "secret-%s-1"},
		"the current token, if it was another's that was refreshed": {func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Store.Put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()})
		}, "secret-%s-1"},
		"a spent token that the store still holds, because a save is pending": {unwritable, "secret-%s-1"},
		"a spent token whose save takes effect late": {func(t *testing.T, w *testworld.World) {
			unwritable(t, w)
			w.MustGet(t, http.StatusOK) // the second token is spent for a third
			time.Sleep(6 * time.Second)
			w.Revoke()
		}, "secret-%s-2"},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tc.arrange(t, w)
			w.Answer(testworld.Failing(testworld.ErrFinal))
			w.AssertSignInRequired(t)
			refreshes := w.Refreshes()
			w.Store.Put(t, reauth.Token{
				AccessToken: fmt.Sprintf(tc.shown, "access"), RefreshToken: fmt.Sprintf(tc.shown, "refresh"),
			})
			for range 3 {
				time.Sleep(6 * time.Second)
				w.AssertSignInRequired(t)
			}
			assert.Equal(t, refreshes, w.Refreshes())
			assert.Zero(t, w.Events.Count(reauth.EventAdopted))
		})
	}
}

// refusedEarly runs a test in a world whose token expires in 8 s and whose early refresh
// has just got a final answer.
func refusedEarly(t *testing.T, f func(*testing.T, *testworld.World)) {
	t.Helper()
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		w.SignIn(t)
		time.Sleep(92 * time.Second) // whatever the jitter
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.MustGet(t, http.StatusOK)
		synctest.Wait()
		require.Equal(t, 1, w.Refreshes())
		f(t, w)
	})
}

func TestAFinalAnswerToAnEarlyRefreshTakesEffectAtExpiry(t *testing.T) {
	refusedEarly(t, func(t *testing.T, w *testworld.World) {
		locks := w.Store.Count("Lock")
		for range 79 { // until 100 ms before the expiry
			w.MustGet(t, http.StatusOK)
			sendOneShot(t, w, 0)
			time.Sleep(100 * time.Millisecond)
		}
		w.AssertSignedIn(t, true)
		assert.Equal(t, locks, w.Store.Count("Lock"), "there was no other flight")
		assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
		w.AssertStored(t, "secret-access-1")

		time.Sleep(100 * time.Millisecond)
		for _, r := range w.Storm(t.Context(), 10) {
			require.ErrorIs(t, r.Err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, w.Refreshes(), "there was no other attempt")
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignInRequired))
		w.AssertStored(t, "")
	})
}

func TestAFinalAnswerToAnEarlyRefreshTakesEffectAtARefusal(t *testing.T) {
	refusedEarly(t, func(t *testing.T, w *testworld.World) {
		w.Revoke()
		w.AssertSignInRequired(t)
		assert.Equal(t, 1, w.Refreshes(), "there was no other attempt")
		w.AssertStored(t, "")
	})
}

func TestAFinalAnswerToAnEarlyRefreshYieldsToAnotherToken(t *testing.T) {
	for name, tc := range map[string]struct {
		renew     func(*testing.T, *testworld.World)
		refreshes int
	}{
		"of another process": {func(t *testing.T, w *testworld.World) { w.Store.Put(t, w.Issue()) }, 1},
		"of another process, which has expired by then": {func(t *testing.T, w *testworld.World) {
			w.Store.Put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now().Add(time.Second)})
		}, 2},
		"of a sign-in": {func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			time.Sleep(90 * time.Second)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			refusedEarly(t, func(t *testing.T, w *testworld.World) {
				tc.renew(t, w)
				time.Sleep(10 * time.Second)
				w.MustGet(t, http.StatusOK)
				assert.Equal(t, tc.refreshes, w.Refreshes())
				assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
			})
		})
	}
}

func TestAnEarlyRefreshThatARefusalJoinsIsNoLongerEarly(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		w.SignIn(t)
		w.Gate = make(chan struct{})
		time.Sleep(95 * time.Second)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.MustGet(t, http.StatusOK)
		synctest.Wait()
		w.Revoke()
		refused := w.Start(t.Context())
		close(w.Gate)
		assert.ErrorIs(t, (<-refused).Err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignInRequired))
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAFinalAnswerToAnEarlyRefreshEndsTheBackoffOfAnEarlierFailure(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		w.SignIn(t)
		time.Sleep(92 * time.Second)
		w.Answer(testworld.Failing(testworld.ErrFault), testworld.Failing(testworld.ErrFinal))
		for range 2 { // the second time after the pause
			w.MustGet(t, http.StatusOK)
			time.Sleep(time.Second)
		}
		require.Equal(t, 2, w.Refreshes())
		time.Sleep(10 * time.Second)
		w.Store.Fail("Lock")
		w.AssertTemporaryFailure(t)
		w.Store.On(nil)
		time.Sleep(time.Second)
		w.AssertSignInRequired(t) // the pause is that after a first failure
	})
}
