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
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of Forget and ForgetAll, which a store that tells what other processes do calls.

// forgets are the ways to say that the session "" may have changed.
var forgets = map[string]func(*reauth.Transport){
	"Forget":    func(tr *reauth.Transport) { tr.Forget("") },
	"ForgetAll": func(tr *reauth.Transport) { tr.ForgetAll() },
}

func TestASignOutElsewhereHoldsHereOnceItIsForgotten(t *testing.T) {
	for name, forget := range forgets {
		testworld.Case(t, name, func(t *testing.T, a *testworld.World) {
			b := a.Beside(t)
			a.SignIn(t)
			b.MustGet(t, http.StatusOK)
			require.NoError(t, a.Transport.SignOut(t.Context()))
			b.MustGet(t, http.StatusOK) // it doesn't know
			forget(b.Transport)
			b.AssertSignInRequired(t)
			assert.Equal(t, 1, b.Events.Count(reauth.EventSignInRequired))
			b.AssertSignedIn(t, false)
		})
	}
}

func TestASignInElsewhereHoldsHereOnceItIsForgotten(t *testing.T) {
	for name, forget := range forgets {
		testworld.Case(t, name, func(t *testing.T, a *testworld.World) {
			b := a.Beside(t)
			a.SignIn(t)
			b.MustGet(t, http.StatusOK)
			a.SignIn(t) // as somebody else
			forget(b.Transport)
			tok, err := b.Transport.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "secret-access-2", tok.AccessToken)
			synctest.Wait() // it is told of after it has taken effect
			assert.Equal(t, 1, b.Events.Count(reauth.EventAdopted))
			b.MustGet(t, http.StatusOK)
		})
	}
}

func TestASignInElsewhereAfterASignOutHereIsFoundAtOnceIfItIsForgotten(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		require.NoError(t, b.Transport.SignOut(t.Context()))
		a.SignIn(t)
		b.AssertSignInRequired(t) // the store is asked once per refresh pause
		b.Transport.Forget("")
		b.AssertSignedIn(t, true)
		b.Transport.Forget("")
		b.MustGet(t, http.StatusOK)
	})
}

func TestARefreshElsewhereIsAdoptedOnceItIsForgotten(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		locks := a.Store.Count("Lock")
		b.Transport.Forget("")
		requests := a.API.Requests()
		b.MustGet(t, http.StatusOK)
		assert.Equal(t, requests+1, a.API.Requests(), "without a refusal first")
		assert.Equal(t, 1, a.Refreshes())
		assert.Equal(t, 1, b.Events.Count(reauth.EventAdopted))
		assert.Equal(t, locks, a.Store.Count("Lock"), "a look needs no lock")
	})
}

func TestATokenRenewedInPlaceElsewhereIsAdoptedOnceItIsForgotten(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		w.Everybody()
		renewed, _ := w.Store.Stored(t, "")
		renewed.Expiry = time.Now().Add(time.Hour)
		w.Store.Put(t, renewed)
		w.Transport.Forget("")
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.True(t, renewed.Expiry.Equal(tok.Expiry), "%v", tok.Expiry)
	})
}

func TestForgettingCostsOneLook(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Wait(t)
		loads, locks := w.Store.Count("Load"), w.Store.Count("Lock")
		w.Transport.Forget("")
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		w.MustGet(t, http.StatusOK)
		time.Sleep(time.Minute)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Store.Count("Load")-loads)
		assert.Equal(t, locks, w.Store.Count("Lock"))
		assert.Zero(t, w.Events.Count(reauth.EventAdopted))
	})
}

func TestForgetAllIsAboutAllSessions(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		names := []string{"", "ann", "bob"}
		for _, name := range names {
			a.SignInAs(t, name)
			b.MustGetAs(t, name, http.StatusOK)
			a.SignInAs(t, name)
		}
		b.Transport.ForgetAll()
		for _, name := range names {
			requests := a.API.Requests()
			b.MustGetAs(t, name, http.StatusOK)
			assert.Equal(t, requests+1, a.API.Requests(), name)
		}
		loads := a.Store.Count("Load")
		b.Transport.Forget("ann")
		b.MustGetAs(t, "bob", http.StatusOK)
		assert.Equal(t, loads, a.Store.Count("Load"), "another session")
		b.Transport.Forget("nobody") // is not cached
		b.Transport.Forget("ann")
		b.MustGetAs(t, "ann", http.StatusOK)
		assert.Equal(t, loads+1, a.Store.Count("Load"))
	})
}

func TestTheLookAfterForgetTakesASecondAtMost(t *testing.T) {
	for name, hangs := range map[string]func(context.Context) error{
		"the store honors its context": func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) > time.Second {
				return nil // the look would go on without anybody who waits
			}
			return testworld.Hangs(ctx)
		},
		"the store ignores it": func(context.Context) error { time.Sleep(10 * time.Second); return nil },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Store.OnCall("Load", hangs)
			w.Transport.Forget("")
			for _, r := range w.Storm(t.Context(), 10) {
				require.NoError(t, r.Err)
				assert.Equal(t, http.StatusOK, r.Status, "with what there is")
				assert.Equal(t, time.Second, r.Took)
			}
			w.Store.On(nil)
			w.Wait(t)
			assert.Zero(t, w.Events.Count(reauth.EventRefreshFailed))
		})
	}
}

func TestTheLookAfterForgetWaitsForNoLockLongerThanASecond(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.Overlap = true // the first token stays good
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		a.SignIn(t)
		synctest.Wait()
		unlock := a.Store.Hold(t) // another sign-in is believed only under the lock
		b.Transport.Forget("")
		r := <-b.Go(t.Context())
		require.NoError(t, r.Err)
		assert.Equal(t, time.Second, r.Took)
		unlock()
		b.Wait(t)
		requests := a.API.Requests()
		b.MustGet(t, http.StatusOK)
		assert.Equal(t, requests+1, a.API.Requests(), "with the new one")
	})
}

func TestAStoreThatFailsTheLookAfterForgetIsNotMentioned(t *testing.T) {
	for _, call := range []string{"Load", "Lock"} {
		testworld.Case(t, call, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			if call == "Lock" {
				w.Store.Clear(t) // absence is believed only under the lock
			}
			w.Store.Fail(call)
			w.Transport.Forget("")
			for range 3 {
				w.MustGet(t, http.StatusOK)
			}
			w.Store.On(nil)
			w.Wait(t)
			assert.Equal(t, []reauth.EventKind{reauth.EventSignedIn, reauth.EventWaited}, w.Events.Kinds())
		})
	}
}

func TestForgetKeepsAPendingSave(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		w.Transport.Forget("")
		w.MustGet(t, http.StatusOK)
		w.AssertStored(t, "secret-access-1")
		w.Store.On(nil)
		w.Transport.Forget("")
		w.MustGet(t, http.StatusOK)
		w.Wait(t)
		w.AssertStored(t, "secret-access-2")
		assert.Equal(t, 1, w.Refreshes())
		assert.Zero(t, w.Events.Count(reauth.EventAdopted))
	})
}

func TestForgetKeepsASignOut(t *testing.T) {
	for name, fail := range map[string][]string{"it was done": {"none"}, "it failed": {"Delete"}} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Store.Fail(fail...)
			err := w.Transport.SignOut(t.Context())
			require.Equal(t, name == "it failed", err != nil)
			w.Store.On(nil)
			for range 3 {
				w.Transport.Forget("")
				w.AssertSignInRequired(t)
				w.Transport.ForgetAll()
				w.AssertSignedIn(t, false)
			}
			assert.Zero(t, w.Refreshes())
		})
	}
}

func TestForgetShowsASignInElsewhereAfterASignOutThatFailed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		a.Store.Fail("Delete")
		require.Error(t, b.Transport.SignOut(t.Context()))
		a.Store.On(nil)
		b.AssertSignInRequired(t)
		a.SignIn(t)
		b.Transport.Forget("")
		b.MustGet(t, http.StatusOK)
	})
}

func TestForgetKeepsAFlight(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Gate = make(chan struct{})
		request := w.Start(t.Context())
		w.Transport.Forget("")
		close(w.Gate)
		require.NoError(t, (<-request).Err)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestForgetDuringALookCausesAnother(t *testing.T) {
	for name, refreshed := range map[string]bool{"it shows the same token": false, "it shows a newer one": true} {
		testworld.Case(t, name, func(t *testing.T, a *testworld.World) {
			b := a.Beside(t)
			a.SignIn(t)
			b.MustGet(t, http.StatusOK)
			if refreshed {
				a.Revoke()
				a.MustGet(t, http.StatusOK)
			}
			// The first look has left the store when another process signs out.
			before, _ := a.Store.Stored(t, "")
			first := true
			a.Store.OnLoad(func(context.Context) (reauth.Token, bool) {
				if !first {
					return reauth.Token{}, false
				}
				first = false
				require.NoError(t, a.Transport.SignOut(t.Context()))
				b.Transport.Forget("")
				return before, true
			})
			b.Everybody() // the API accepts the old token, so that only the store says that it is over
			b.Transport.Forget("")
			_, _ = b.Get(t.Context())
			b.AssertSignInRequired(t)
		})
	}
}

func TestAnExpiredTokenThatIsForgottenIsRefreshed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(time.Hour)
		w.Transport.Forget("")
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
		loads := w.Store.Count("Load")
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, loads, w.Store.Count("Load"), "the refresh has looked")
	})
}

func TestASignOutElsewhereHoldsHereAfterAFailedUpdate(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		require.NoError(t, a.Transport.SignOut(t.Context()))
		b.Transport.Forget("")
		_, err := b.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
			return reauth.Token{}, testworld.ErrFault
		})
		require.ErrorIs(t, err, testworld.ErrFault)
		b.AssertSignInRequired(t)
	})
}

func TestASignOutElsewhereHoldsHereDuringThePauseAfterAFailure(t *testing.T) {
	needs := func(c *reauth.Config, _ *testworld.World) { c.Refresher = needing{c.Refresher, true} }
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t, needs)
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		a.Revoke()
		a.Answer(testworld.Failing(testworld.ErrFault))
		b.AssertTemporaryFailure(t)
		require.NoError(t, a.Transport.SignOut(t.Context()))
		b.Transport.Forget("")
		b.Everybody()
		b.AssertSignInRequired(t)
	})
}

func TestARequestAfterForgetWaitsForTheLookOfARefreshToo(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		tok := a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		require.NoError(t, a.Transport.SignOut(t.Context()))
		a.Store.OnCall("Load", func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil })
		b.Transport.Forget("")
		go func() { _, _ = b.Transport.Refresh(t.Context(), tok) }()
		synctest.Wait()
		b.AssertSignInRequired(t)
	})
}

func TestARequestAfterForgetGoesOnThoughARefreshBringsARefreshTokenAlone(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(55 * time.Second)
		w.Answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(100 * time.Millisecond)
			return reauth.Token{RefreshToken: "secret-refresh-kept"}, testworld.ErrFault
		})
		w.MustGet(t, http.StatusOK) // starts an early refresh
		w.Transport.Forget("")
		w.MustGet(t, http.StatusOK) // waits for it
		assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-1"}, w.API.Tokens())
	})
}

func TestALookThatForgetAsksForAndThatFailsIsRepeated(t *testing.T) {
	for name, tc := range map[string]struct {
		keepOff func(t *testing.T, w *testworld.World) (end func())
		signIn  bool
	}{
		"another process has the lock":        {func(t *testing.T, w *testworld.World) func() { return w.Store.Hold(t) }, true},
		"the store can't lock":                {func(_ *testing.T, w *testworld.World) func() { w.Store.Fail("Lock"); return func() { w.Store.On(nil) } }, true},
		"the store can't be read":             {func(_ *testing.T, w *testworld.World) func() { w.Store.Fail("Load"); return func() { w.Store.On(nil) } }, true},
		"the store can't be read: no sign-in": {func(_ *testing.T, w *testworld.World) func() { w.Store.Fail("Load"); return func() { w.Store.On(nil) } }, false},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Wait(t)
			theirs := w.Issue()
			if tok, err := w.Transport.Token(t.Context()); tc.signIn {
				theirs.SignInID = "another"
			} else {
				require.NoError(t, err)
				theirs.SignInID = tok.SignInID
			}
			w.Everybody()
			w.Store.Put(t, theirs)
			end := tc.keepOff(t, w)
			w.Transport.Forget("")
			w.MustGet(t, http.StatusOK)
			w.Wait(t)
			loads := w.Store.Count("Load")
			testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
			assert.Equal(t, loads, w.Store.Count("Load"), "not at once")
			end()
			time.Sleep(5 * time.Second)
			w.MustGet(t, http.StatusOK)
			tok, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, theirs.AccessToken, tok.AccessToken)
			loads = w.Store.Count("Load")
			time.Sleep(time.Minute)
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, loads, w.Store.Count("Load"), "it has seen what there is")
		})
	}
}

// Whatever the flight is up for, it may have looked before.
func TestAForgetDuringTheFirstLoadIsNotLost(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		old := a.SignIn(t)
		b.Store.OnLoad(func(context.Context) (reauth.Token, bool) {
			b.Store.OnLoad(nil)
			assert.NoError(t, a.Transport.SignOut(t.Context()))
			b.Transport.Forget("")
			return old, true // which it has read before that
		})
		_, err := b.Get(t.Context())
		require.NoError(t, err)
		_, err = b.Get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

// An endpoint that has refused one user's tokens says nothing about another's.
func TestASignInElsewhereEndsThePausesOfThisSession(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		denied := func() {
			status, err := b.Do(testworld.Request(t, http.MethodGet, "https://api.example.com/denied", nil))
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, status)
		}
		a.API.Decide = func(req *http.Request) int {
			if req.URL.Path == "/denied" {
				return http.StatusUnauthorized
			}
			return http.StatusOK
		}
		for range 5 { // the pause doubles to more than a minute
			denied()
			time.Sleep(2 * time.Minute)
		}
		b.Transport.Forget("")
		denied()
		refreshes := a.Refreshes()
		a.SignIn(t)
		b.Transport.Forget("")
		b.MustGet(t, http.StatusOK)
		time.Sleep(6 * time.Second) // since a token was adopted
		denied()
		assert.Equal(t, refreshes+1, a.Refreshes())
	})
}
