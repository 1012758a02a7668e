package reauth_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// Sign-ins and sign-outs that meet a flight at an awkward moment.

func TestARequestRefusedDuringASignInIsNotReplayedUnderIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &answersLate{}
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		w.revoke()
		store.by = 50 * time.Millisecond
		var wg sync.WaitGroup
		wg.Go(func() {
			assert.NoError(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "of-bob", RefreshToken: "bobs"}))
		})
		time.Sleep(10 * time.Millisecond) // the store has it, the SignIn has not returned
		_, err := w.get(t.Context())
		wg.Wait()
		require.Error(t, err)
		assert.Equal(t, []string{"Bearer secret-access-1"}, w.api.tokens())
	})
}

// answersLate stores at once and says so later.
type answersLate struct {
	reauth.MemoryStore
	by time.Duration
}

func (s *answersLate) Save(ctx context.Context, session string, tok reauth.Token) error {
	err := s.MemoryStore.Save(ctx, session, tok)
	time.Sleep(s.by)
	return err
}

func TestASignInWhoseContextHasEndedDoesNothing(t *testing.T) {
	for range 50 { // a select would choose at random
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = lockless{new(reauth.MemoryStore)} })
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, w.tr.SignIn(ctx, reauth.Token{AccessToken: "a-token"}), context.Canceled)
			signedIn, err := w.tr.SignedIn(t.Context())
			require.NoError(t, err)
			assert.False(t, signedIn)
		})
	}
}

// lockless hides that a store is a Locker.
type lockless struct{ reauth.Store }

func TestASignInThatTheStoreTookIsNoErrorThoughItsContextEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &answersLate{by: 50 * time.Millisecond}
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		require.NoError(t, w.tr.SignIn(ctx, w.issue()))
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.events.count(reauth.EventSignedIn))
	})
}

func TestASignInWithTheTokenThatIsBeingRefreshedDoesNotSpendItTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = time.Second
		tok := w.signIn(t)
		w.revoke()
		var wg sync.WaitGroup
		wg.Go(func() { assertAllOK(t, w.storm(t.Context(), 5)) })
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, w.tr.SignIn(t.Context(), tok))
		w.mustGet(t, http.StatusOK)
		wg.Wait()
		assert.Equal(t, 1, w.mostSpent())
	})
}

func TestTheLeaseOfAHungFlightIsGivenBackAfterASignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(reauth.MemoryStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		hang := make(chan struct{})
		w.answer(func(context.Context) (reauth.Token, error) { <-hang; return reauth.Token{}, errFault })
		w.signIn(t)
		w.revoke()
		go func() { _, _ = w.get(t.Context()) }()
		time.Sleep(time.Second)
		require.NoError(t, w.tr.SignOut(t.Context()))
		time.Sleep(time.Minute)
		_, unlock, err := store.Lock(t.Context(), "")
		require.NoError(t, err)
		unlock()
		close(hang)
	})
}

func TestNothingIsRefreshedAfterASignOutDuringAnOwedSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		w.revoke()
		store.on(func(_ context.Context, call string) error {
			if call == "Save" {
				return errFault
			}
			return nil
		})
		w.mustGet(t, http.StatusOK) // refreshed, the save is owed
		store.on(func(_ context.Context, call string) error {
			if call == "Save" {
				time.Sleep(time.Second)
			}
			return nil
		})
		time.Sleep(5 * time.Second)
		w.revoke()
		go func() { _, _ = w.get(t.Context()) }() // saves what is owed, then refreshes
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.tr.SignOut(t.Context()))
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestAHandlerOfSignInRequiredMaySignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.OnEvent = func(ctx context.Context, e reauth.Event) {
				if e.Kind == reauth.EventSignInRequired {
					assert.NoError(t, w.tr.SignIn(ctx, w.issue()))
				}
			}
		})
		w.lifetime = time.Minute
		w.signIn(t)
		w.answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(time.Second) // all of the storm wait by then
			return reauth.Token{}, reauth.ErrSignInRequired
		})
		time.Sleep(time.Minute)
		assertAllOK(t, w.storm(t.Context(), 5)) // not sent yet: they go on with the new sign-in
	})
}

func TestNoRequestGoesOutWithATokenThatWasSignedOutMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.OnEvent = func(_ context.Context, e reauth.Event) {
				if e.Kind == reauth.EventRefreshed {
					time.Sleep(time.Second)
				}
			}
		})
		require.NoError(t, w.tr.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
		failed := make(chan error, 1)
		go func() { _, err := w.get(t.Context()); failed <- err }()
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.tr.SignOut(t.Context()))
		require.ErrorIs(t, <-failed, reauth.ErrSignInRequired)
		assert.Zero(t, w.api.requests())
	})
}

func TestATokenOfAnUnusableTypeIsKeptAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			tok := w.issue()
			tok.TokenType = "Bearer\r\n"
			return tok, nil
		})
		for range 3 {
			_, err := w.get(t.Context())
			require.ErrorContains(t, err, "TokenType")
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestASignedOutSessionStaysSignedOutWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		store.on(func(context.Context, string) error { return errFault })
		time.Sleep(time.Minute)
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestASignInElsewhereAfterASignOutThatDidNotReachTheStoreIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		store.on(func(context.Context, string) error { return errFault })
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		store.on(nil)
		require.NoError(t, store.Save(t.Context(), "", w.issue()))
		time.Sleep(5 * time.Second)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
	})
}

func TestASignOutGivesUpWhatTheStoreHoldsWhileASaveIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		store.on(func(context.Context, string) error { return errFault })
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		store.on(nil)
		assertStored(t, store, "secret-access-1") // which was spent
		time.Sleep(time.Minute)
		_, err := w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, w.events.count(reauth.EventAdopted))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestASignOutGivesUpAnothersTokenThatWasTurnedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		theirs := w.issue()
		theirs.Expiry = time.Now()
		store.put(t, theirs)
		w.answer(func(context.Context) (reauth.Token, error) {
			store.on(onCall("Load", fails))
			return reauth.Token{}, errTurnedDown
		})
		_, err := w.get(t.Context())
		assertPassing(t, err)
		store.on(func(context.Context, string) error { return errFault })
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		store.on(nil)
		time.Sleep(time.Minute)
		_, err = w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.refreshes(), "it is not presented again")
	})
}

func TestASecondSignOutThatFailsStillKnowsWhatWasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		store.on(func(context.Context, string) error { return errFault })
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		store.on(nil)
		require.NoError(t, store.Save(t.Context(), "", w.issue())) // somebody signs in elsewhere
		time.Sleep(5 * time.Second)
		w.mustGet(t, http.StatusOK)
	})
}

func TestALoadThatIgnoresItsContextDoesNotHoldUpASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = lockless{store} })
		w.signIn(t)
		w.revoke()
		hang := make(chan struct{})
		first := true
		store.on(func(_ context.Context, call string) error {
			if call == "Load" && first {
				first = false
				<-hang
			}
			return nil
		})
		go func() { _, _ = w.get(t.Context()) }()
		time.Sleep(time.Second)
		began := time.Now()
		w.signIn(t)
		assert.Zero(t, time.Since(began))
		w.mustGet(t, http.StatusOK)
		close(hang)
	})
}

func TestASignOutThatOvertakesAnotherStillKnowsWhatWasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store, c.RefreshPause = store, -1 })
		w.signIn(t)
		free := make(chan struct{})
		store.on(func(ctx context.Context, call string) error {
			if call != "Lock" {
				return nil
			}
			<-free
			return errFault
		})
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, w.tr.SignOut(t.Context()), errFault) })
		synctest.Wait() // the first has not reached the store
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { assert.ErrorIs(t, w.tr.SignOut(ctx), context.Canceled) })
		synctest.Wait()
		cancel()
		close(free)
		wg.Wait()

		store.on(nil) // it still holds what was given up
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Empty(t, w.api.tokens())
	})
}

func TestASignOutGivesUpWhatTheFlightThatIsUpHasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		theirs := w.issue() // of another process, and expired
		theirs.Expiry = time.Now()
		store.put(t, theirs)
		w.entered, w.gate = make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.get(t.Context())
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		})
		<-w.entered // the refresh from theirs is under way
		store.on(func(context.Context, string) error { return errFault })
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		close(w.gate)
		wg.Wait()
		store.on(nil)
		time.Sleep(time.Minute)
		_, err := w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.refreshes(), "it is not presented again")
	})
}

func TestWhatComesAfterASignInIsNotRevokedThoughThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked []string
		w := newWorld(t, revokingWith(&revoked))
		w.signIn(t)
		w.revoke()
		late := make(chan struct{})
		w.answer(func(context.Context) (reauth.Token, error) { <-late; return w.issue(), nil }, failing(errTurnedDown))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.get(t.Context()) })
		synctest.Wait()
		w.signIn(t) // the flight is void
		w.revoke()
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		close(late)
		wg.Wait()
		require.NoError(t, w.tr.Wait(t.Context()))
		assert.Empty(t, revoked)
	})
}

func TestASignInWithTheStoredTokenThatIsBeingRefreshedDoesNotSpendItTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.latency = time.Second
		tok := w.issue()
		tok.Expiry = time.Now().Add(-time.Minute)
		store.put(t, tok) // by the process before this one
		w.revoke()
		var wg sync.WaitGroup
		wg.Go(func() { assertAllOK(t, w.storm(t.Context(), 5)) })
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, w.tr.SignIn(t.Context(), tok))
		w.mustGet(t, http.StatusOK)
		wg.Wait()
		assert.Equal(t, 1, w.mostSpent())
	})
}

func TestASignOutThatFailsGivesUpWhatAFlightIsStoring(t *testing.T) {
	for name, tc := range map[string]struct {
		patience time.Duration // of who signs out
		fails    []string
	}{
		"the store fails":  {time.Minute, []string{"Load", "Delete"}},
		"its context ends": {10 * time.Millisecond, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				w.signIn(t)
				w.revoke()
				saving := make(chan struct{})
				store.on(onCall("Save", func(context.Context) error {
					close(saving)
					time.Sleep(100 * time.Millisecond)
					return nil
				}))
				go func() { _, _ = w.get(t.Context()) }()
				<-saving
				store.on(func(_ context.Context, call string) error {
					if slices.Contains(tc.fails, call) {
						return errFault
					}
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				defer cancel()
				require.Error(t, w.tr.SignOut(ctx))
				time.Sleep(time.Second) // the Save is done
				store.on(nil)
				time.Sleep(time.Minute)
				assertSignedIn(t, w, false)
				_, err := w.get(t.Context())
				assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			})
		})
	}
}

// A sign-out finds in the store what has been saved; of the rest nobody else knows.
func TestATokenThatIsBeingSavedDuringASignOutIsRevokedOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		save error
		want []string
	}{
		"it is saved":        {nil, []string{"secret-refresh-2"}},
		"it cannot be saved": {errFault, []string{"secret-refresh-1", "secret-refresh-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var revoked []string
				store := new(faultyStore)
				w := newWorld(t, keptIn(store), revokingWith(&revoked))
				w.signIn(t)
				w.revoke()
				saving, free := make(chan struct{}), make(chan struct{})
				store.on(onCall("Save", func(context.Context) error { close(saving); <-free; return tc.save }))
				go func() { _, _ = w.get(t.Context()) }()
				<-saving
				var wg sync.WaitGroup
				wg.Go(func() { assert.NoError(t, w.tr.SignOut(t.Context())) })
				synctest.Wait()
				close(free)
				wg.Wait()
				require.NoError(t, w.tr.Wait(t.Context()))
				slices.Sort(revoked)
				assert.Equal(t, tc.want, revoked)
			})
		})
	}
}

func TestARefusalUnderAnEarlierSignInDoesNotLengthenThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.RefreshPause = time.Second })
		w.signIn(t)
		w.revoke()
		slow := make(chan struct{})
		w.api.decide = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer secret-access-2" {
				<-slow
				return http.StatusUnauthorized
			}
			return 0
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.get(t.Context()) })
		synctest.Wait() // its replay is under way
		tok := w.signIn(t)
		close(slow)
		wg.Wait()
		for range 2 {
			next, err := w.tr.Refresh(t.Context(), tok)
			require.NoError(t, err)
			tok = next
			time.Sleep(1100 * time.Millisecond)
		}
		assert.Equal(t, 3, w.refreshes())
	})
}

func TestASignInElsewhereThatWasSeenIsNotForgottenWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		theirs := w.issue()
		theirs.Expiry = time.Now()
		store.put(t, theirs)
		time.Sleep(time.Minute)
		w.answer(failing(errFault))
		_, err := w.get(t.Context())
		assertPassing(t, err)
		time.Sleep(time.Minute)
		store.on(onCall("Load", fails))
		_, err = w.get(t.Context())
		assertPassing(t, err)

		store.on(nil)
		store.clear(t) // and nobody is signed in any more
		time.Sleep(time.Minute)
		_, err = w.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestASignInElsewhereThatHasGoneAgainLeavesTheSessionSignedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), func(c *reauth.Config, w *world) {
			c.Refresher = reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) { return w.issue(), nil })
		})
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		theirs := w.issue()
		theirs.Expiry = time.Now()
		store.put(t, theirs)
		time.Sleep(time.Minute)
		store.on(onCall("Lock", func(context.Context) error { store.clear(t); return nil }))
		for range 2 {
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired, "a refresher that needs no token is not asked")
			time.Sleep(time.Minute)
		}
	})
}

func TestASignInIsNotFollowedByTheNewsThatOneIsRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.OnEvent = func(ctx context.Context, e reauth.Event) {
				w.events.add(ctx, e)
				if e.Kind == reauth.EventRefreshFailed {
					w.signIn(t) // as by a request that has been told in the meantime
				}
			}
		})
		w.signIn(t)
		w.revoke()
		w.answer(failing(errTurnedDown))
		_, err := w.get(t.Context())
		require.Error(t, err)
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventRefreshFailed, reauth.EventSignedIn,
		}, w.events.kinds())
	})
}

func TestTheLockIsFreeWhileWhatCameTooLateIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		free := make(chan struct{})
		w := newWorld(t, keptIn(store), func(c *reauth.Config, w *world) {
			w.latency = time.Second
			c.Refresher = revoking{c.Refresher, func(context.Context, reauth.Token) error { <-free; return nil }}
		})
		w.signIn(t)
		w.revoke()
		go func() { _, _ = w.get(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		go func() { _ = w.tr.SignOut(t.Context()) }()
		time.Sleep(2 * time.Second) // the refresh is done, and void
		began := time.Now()
		_, unlock, err := store.MemoryStore.Lock(t.Context(), "")
		require.NoError(t, err)
		unlock()
		assert.Zero(t, time.Since(began))
		close(free)
	})
}

// A flight that waits for the lock refreshes nothing yet: whoever has the lock may
// sign out.
func TestASignInOfTheTokenOfAWaitingFlightIsStored(t *testing.T) {
	for name, arrange := range map[string]func(*testing.T, *world, *faultyStore) reauth.Token{
		"the token is known here": func(t *testing.T, w *world, _ *faultyStore) reauth.Token {
			tok := w.signIn(t)
			w.revoke()
			synctest.Wait() // the lock is given back
			return tok
		},
		"the token is in the store": func(t *testing.T, w *world, store *faultyStore) reauth.Token {
			tok := w.issue()
			tok.Expiry = time.Now()
			store.put(t, tok)
			return tok
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				tok := arrange(t, w, store)
				_, unlock, err := store.MemoryStore.Lock(t.Context(), "") // another process
				require.NoError(t, err)
				go func() { _, _ = w.get(t.Context()) }()
				synctest.Wait() // the flight waits for the lock
				store.on(onCall("Load", func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil }))
				var wg sync.WaitGroup
				wg.Go(func() { assert.NoError(t, w.tr.SignIn(t.Context(), tok)) })
				synctest.Wait()
				store.clear(t) // the other process signs out
				unlock()
				wg.Wait()
				time.Sleep(time.Second)
				assertSignedIn(t, w, true)
			})
		})
	}
}
