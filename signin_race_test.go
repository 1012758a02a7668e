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
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of sign-ins and sign-outs that meet a refresh at an awkward moment.

// lateStore stores at once and says so later.
type lateStore struct {
	reauth.MemoryStore
	by time.Duration
}

func (s *lateStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	err := s.MemoryStore.Save(ctx, session, tok)
	time.Sleep(s.by)
	return err
}

func TestARequestRefusedDuringASignInIsNotReplayedUnderIt(t *testing.T) {
	store := new(lateStore)
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		store.by = 50 * time.Millisecond
		signedIn := make(chan error, 1)
		go func() { signedIn <- w.Transport.SignIn(t.Context(), anew) }()
		time.Sleep(10 * time.Millisecond) // the store has it, the SignIn has not returned
		_, err := w.Get(t.Context())
		require.Error(t, err)
		require.NoError(t, <-signedIn)
		assert.Equal(t, []string{"Bearer secret-access-1"}, w.API.Tokens())
	}, testworld.WithStore(store))
}

func TestASignInThatTheStoreTookIsNotAnErrorThoughItsContextIsDone(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		require.NoError(t, w.Transport.SignIn(ctx, w.Issue()))
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignedIn))
	}, testworld.WithStore(&lateStore{by: 50 * time.Millisecond}))
}

func TestASignInWhoseContextIsDoneDoesNothing(t *testing.T) {
	for range 50 { // a select would choose at random
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, w.Transport.SignIn(ctx, anew), context.Canceled)
			w.AssertSignedIn(t, false)
		}, withoutLock)
	}
}

func TestASignInWithTheTokenThatIsBeingRefreshedDoesNotSpendItTwice(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *testworld.World) reauth.Token{
		"the current one": signedInAndRefused,
		"the stored one, of the process before": func(t *testing.T, w *testworld.World) reauth.Token {
			tok := w.Issue()
			tok.Expiry = time.Now().Add(-time.Minute)
			w.Store.Put(t, tok)
			return tok
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Latency = time.Second
			tok := begin(t, w)
			var wg sync.WaitGroup
			wg.Go(func() { testworld.AssertAllOK(t, w.Storm(t.Context(), 5)) })
			time.Sleep(100 * time.Millisecond)
			require.NoError(t, w.Transport.SignIn(t.Context(), tok))
			w.MustGet(t, http.StatusOK)
			wg.Wait()
			assert.Equal(t, 1, w.MostSpent())
		})
	}
}

// A flight that waits for the lock refreshes nothing yet: the process that has the lock
// may sign out.
func TestASignInOfTheTokenOfAWaitingFlightIsStored(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *testworld.World) reauth.Token{
		"the token is known here": func(t *testing.T, w *testworld.World) reauth.Token {
			tok := signedInAndRefused(t, w)
			synctest.Wait() // the lock is given back
			return tok
		},
		"the token is in the store": func(t *testing.T, w *testworld.World) reauth.Token {
			tok := w.Issue()
			tok.Expiry = time.Now()
			w.Store.Put(t, tok)
			return tok
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tok := begin(t, w)
			unlock := w.Store.Hold(t)
			w.Start(t.Context()) // the flight waits for the lock
			w.Store.OnCall("Load", func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil })
			signedIn := make(chan error, 1)
			go func() { signedIn <- w.Transport.SignIn(t.Context(), tok) }()
			synctest.Wait()
			w.Store.Clear(t) // the other process signs out
			unlock()
			require.NoError(t, <-signedIn)
			time.Sleep(time.Second)
			w.AssertSignedIn(t, true)
		})
	}
}

func TestAFailedSignInDoesNotVoidTheRefreshThatIsUp(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Gate = make(chan struct{})
		request := w.Start(t.Context())
		w.Store.Fail("Save")
		require.ErrorIs(t, w.Transport.SignIn(t.Context(), anew), testworld.ErrFault)
		w.Store.On(nil)
		close(w.Gate)
		require.NoError(t, (<-request).Err)
		w.AssertStored(t, "secret-access-2")
	})
}

func TestAFinalAnswerDoesNotDeleteWhatASignInIsSaving(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Entered, w.Gate = make(chan struct{}, 1), make(chan struct{})
		w.Answer(testworld.Failing(testworld.ErrFinal))
		request := w.Go(t.Context())
		<-w.Entered
		w.Store.OnCall("Load", func(context.Context) error { // after the answer
			saving := make(chan struct{})
			w.Store.OnCall("Save", func(context.Context) error { close(saving); time.Sleep(time.Second); return nil })
			go func() { assert.NoError(t, w.Transport.SignIn(t.Context(), anew)) }()
			<-saving
			return nil
		})
		close(w.Gate)
		require.Error(t, (<-request).Err)
		time.Sleep(2 * time.Second)
		w.AssertStored(t, "anew")
		w.AssertSignedIn(t, true)
		assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
	})
}

func TestTheLeaseOfAHungRefreshIsGivenBackAfterASignOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		hang := make(chan struct{})
		w.Answer(func(context.Context) (reauth.Token, error) { <-hang; return reauth.Token{}, testworld.ErrFault })
		w.Go(t.Context())
		time.Sleep(time.Second)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		time.Sleep(time.Minute)
		w.Store.Hold(t)()
		close(hang)
	})
}

func TestNothingIsRefreshedAfterASignOutDuringAPendingSave(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		time.Sleep(5 * time.Second)
		w.Store.OnCall("Save", func(context.Context) error { time.Sleep(time.Second); return nil })
		w.Revoke()
		w.Go(t.Context()) // saves what is pending, then refreshes
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		w.Wait(t)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAHandlerOfSignInRequiredMaySignIn(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Events.OnKind(reauth.EventSignInRequired, func(ctx context.Context) {
			assert.NoError(t, w.Transport.SignIn(ctx, w.Issue()))
		})
		w.Lifetime = time.Minute
		w.SignIn(t)
		refuseFinally(w, func() { time.Sleep(time.Second) }) // by then all of the storm wait
		time.Sleep(time.Minute)
		testworld.AssertAllOK(t, w.Storm(t.Context(), 5)) // not sent yet: they go on with the new sign-in
	})
}

func TestASignInIsNotFollowedByTheNewsThatOneIsRequired(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Events.OnKind(reauth.EventRefreshFailed, func(context.Context) { w.SignIn(t) })
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		_, err := w.Get(t.Context())
		require.Error(t, err)
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventLocked, reauth.EventRefreshFailed,
			reauth.EventSignedIn, reauth.EventWaited,
		}, w.Events.Kinds())
	})
}

// A count of pending saves, as in otelreauth, would include this one forever.
func TestASignInOrSignOutIsNotFollowedByTheNewsOfAPendingSave(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testworld.World){
		"sign-in":  func(t *testing.T, w *testworld.World) { w.SignIn(t) },
		"sign-out": func(t *testing.T, w *testworld.World) { assert.NoError(t, w.Transport.SignOut(t.Context())) },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Store.Fail("Save")
			w.Events.OnKind(reauth.EventRefreshed, func(context.Context) {
				w.Store.On(nil)
				end(t, w)
			})
			_, _ = w.Get(t.Context())
			w.Wait(t)
			assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshed))
			assert.Zero(t, w.Events.Count(reauth.EventSaveFailed), "%v", w.Events.Kinds())
		})
	}
}

// A handler that is slow, or signs out, hears of the save afterwards.
func TestTheNewsOfAPendingSaveIsToldExactlyIfItIsPending(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(*testing.T, *testworld.World)
		told      int
	}{
		"saved": {func(_ *testing.T, w *testworld.World) {
			w.Store.On(nil)
			time.Sleep(time.Minute)
		}, 0},
		"a sign-out that fails": {func(t *testing.T, w *testworld.World) { assert.Error(t, w.Transport.SignOut(context.Background())) }, 1},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Store.Fail("Save", "Delete")
			w.Events.OnKind(reauth.EventRefreshed, func(context.Context) { tc.meanwhile(t, w) })
			_, _ = w.Get(t.Context())
			assert.Equal(t, tc.told, w.Events.Count(reauth.EventSaveFailed), "%v", w.Events.Kinds())
			w.Store.On(nil)
			w.Wait(t)
			assert.Equal(t, 1, w.Events.Count(reauth.EventSavedLate))
		})
	}
}

func TestNoRequestGoesOutWithATokenThatWasSignedOutMeanwhile(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Events.OnKind(reauth.EventRefreshed, func(context.Context) { time.Sleep(time.Second) })
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
		request := w.Go(t.Context())
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		require.ErrorIs(t, (<-request).Err, reauth.ErrSignInRequired)
		assert.Zero(t, w.API.Requests())
	})
}

func TestASecondSignOutThatFailsGivesUpNoSignInElsewhere(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		w.Store.Fail()
		require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)
		w.Store.On(nil)
		w.Store.Put(t, w.Issue())
		time.Sleep(5 * time.Second)
		w.MustGet(t, http.StatusOK)
	})
}

func TestASignOutThatOvertakesAnotherKnowsWhatThatGaveUp(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		free := make(chan struct{})
		w.Store.OnCall("Lock", func(context.Context) error { <-free; return testworld.ErrFault })
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault) })
		synctest.Wait() // the first has not reached the store
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { assert.ErrorIs(t, w.Transport.SignOut(ctx), context.Canceled) })
		synctest.Wait()
		cancel()
		close(free)
		wg.Wait()

		w.Store.On(nil) // it still holds what was given up
		w.AssertSignInRequired(t)
		assert.Empty(t, w.API.Tokens())
	}, lifetimes(0))
}

func TestALoadThatIgnoresItsContextDoesNotHoldUpASignIn(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		hang := make(chan struct{})
		w.Store.OnCall("Load", func(context.Context) error {
			if w.Store.Count("Load") == 1 {
				<-hang
			}
			return nil
		})
		w.Go(t.Context())
		time.Sleep(time.Second)
		began := time.Now()
		w.SignIn(t)
		assert.Zero(t, time.Since(began))
		w.MustGet(t, http.StatusOK)
		close(hang)
	}, withoutLock)
}

func TestAFailedSignOutGivesUpWhatTheRefreshThatIsUpHasSeen(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Store.Put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()})
		w.Revoke()
		w.Entered, w.Gate = make(chan struct{}), make(chan struct{})
		request := w.Go(t.Context())
		<-w.Entered // the refresh from theirs is in progress
		w.Store.Fail()
		require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)
		close(w.Gate)
		assert.ErrorIs(t, (<-request).Err, reauth.ErrSignInRequired)
		w.Store.On(nil)
		time.Sleep(time.Minute)
		w.AssertSignInRequired(t)
		assert.Equal(t, 1, w.Refreshes(), "it is not spent again")
	})
}

func TestAFailedSignOutGivesUpWhatTheRefreshThatIsUpHasLoaded(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		loading, free := make(chan struct{}), make(chan struct{})
		refuseFinally(w, func() { // and another process has stored a token, which has expired
			w.Store.Put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()})
			seen := w.Store.Count("Load") + 1
			w.Store.OnCall("Load", func(context.Context) error {
				if w.Store.Count("Load") > seen { // it is loaded again, to be refreshed
					close(loading)
					<-free
				}
				return nil
			})
		})
		request := w.Start(t.Context())
		<-loading
		w.Store.Fail()
		require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)
		close(free)
		assert.ErrorIs(t, (<-request).Err, reauth.ErrSignInRequired)
		w.Store.On(nil)
		time.Sleep(time.Minute)
		w.AssertSignInRequired(t)
		assert.Equal(t, 1, w.Refreshes(), "it is not spent")
	})
}

func TestAFailedSignOutGivesUpWhatARefreshIsSaving(t *testing.T) {
	for name, tc := range map[string]struct {
		patience time.Duration // of the sign-out
		fails    []string
	}{
		"the store fails":     {time.Minute, []string{"Load", "Delete"}},
		"its context is done": {10 * time.Millisecond, []string{"none"}},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Store.Put(t, w.Issue()) // without a SignInID, which would tell that what is saved is of the same sign-in
			w.MustGet(t, http.StatusOK)
			w.Revoke()
			saving := make(chan struct{})
			w.Store.OnCall("Save", func(context.Context) error {
				close(saving)
				time.Sleep(100 * time.Millisecond)
				return nil
			})
			w.Go(t.Context())
			<-saving
			w.Store.Fail(tc.fails...)
			ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
			defer cancel()
			require.Error(t, w.Transport.SignOut(ctx))
			time.Sleep(time.Second) // the Save is done
			w.Store.On(nil)
			time.Sleep(time.Minute)
			w.AssertSignedIn(t, false)
			w.AssertSignInRequired(t)
		})
	}
}

// A sign-out finds in the store what has been saved; of the rest nobody else knows.
func TestATokenThatIsBeingSavedDuringASignOutIsRevokedOnce(t *testing.T) {
	for name, save := range map[string]error{"it is saved": nil, "it cannot be saved": testworld.ErrFault} {
		var revoked []string
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			saving, free := make(chan struct{}), make(chan struct{})
			w.Store.OnCall("Save", func(context.Context) error { close(saving); <-free; return save })
			w.Go(t.Context())
			<-saving
			signedOut := make(chan error, 1)
			go func() { signedOut <- w.Transport.SignOut(t.Context()) }()
			synctest.Wait()
			close(free)
			require.NoError(t, <-signedOut)
			w.Wait(t)
			revoked = slices.DeleteFunc(revoked, func(token string) bool { return token == "secret-refresh-1" }) // it is spent
			assert.Equal(t, []string{"secret-refresh-2"}, revoked)
		}, testworld.RevokingInto(&revoked))
	}
}

func TestWhatARefreshBringsAfterASignInIsNotRevokedThoughThatHasEnded(t *testing.T) {
	var revoked []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		late := make(chan struct{})
		w.Answer(func(context.Context) (reauth.Token, error) { <-late; return w.Issue(), nil }, testworld.Failing(testworld.ErrFinal))
		request := w.Start(t.Context())
		signedInAndRefused(t, w) // the refresh is void
		w.AssertSignInRequired(t)
		close(late)
		<-request
		w.Wait(t)
		assert.Empty(t, revoked)
	}, testworld.RevokingInto(&revoked))
}

func TestTheLockIsFreeWhileWhatCameTooLateIsRevoked(t *testing.T) {
	var free chan struct{}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		free = make(chan struct{})
		w.Latency = time.Second
		signedInAndRefused(t, w)
		w.Go(t.Context())
		time.Sleep(100 * time.Millisecond)
		go func() { _ = w.Transport.SignOut(t.Context()) }()
		time.Sleep(2 * time.Second) // the refresh is done, and void
		began := time.Now()
		w.Store.Hold(t)()
		assert.Zero(t, time.Since(began))
		close(free)
	}, func(c *reauth.Config, w *testworld.World) {
		c.Refresher = testworld.Revoker{Refresher: w.Authority, RevokeFunc: func(context.Context, reauth.Token) error { <-free; return nil }}
	})
}

func TestASignInElsewhereThatWasSeenIsNotForgottenWhenTheStoreFails(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		theirs := w.Issue()
		theirs.Expiry = time.Now()
		w.Store.Put(t, theirs)
		time.Sleep(time.Minute)
		w.Answer(testworld.Failing(testworld.ErrFault))
		w.AssertTemporaryFailure(t)
		time.Sleep(time.Minute)
		w.Store.Fail("Load")
		w.AssertTemporaryFailure(t)

		w.Store.On(nil)
		w.Store.Clear(t) // and nobody is signed in any more
		time.Sleep(time.Minute)
		w.AssertSignInRequired(t)
	})
}

func TestASignInElsewhereThatHasGoneAgainLeavesTheSessionSignedOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SelfStarting = true
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		theirs := w.Issue()
		theirs.Expiry = time.Now()
		w.Store.Put(t, theirs)
		time.Sleep(time.Minute)
		w.Store.OnCall("Lock", func(context.Context) error { w.Store.Clear(t); return nil })
		for range 2 {
			w.AssertSignInRequired(t) // a refresher that needs no token is not asked
			time.Sleep(time.Minute)
		}
		assert.Zero(t, w.Refreshes())
	})
}
