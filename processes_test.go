package reauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of two processes, each with a Transport of its own, that share one store and one
// token server with rotating refresh tokens. None of them may present a spent refresh
// token, bring back a session that was signed out, or act under another sign-in.

// twoProcesses runs a test in two Worlds over one store, both signed in.
func twoProcesses(t *testing.T, f func(t *testing.T, a, b *testworld.World), with ...testworld.Setting) {
	t.Helper()
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t, with...)
		a.SignIn(t)
		b.MustGet(t, http.StatusOK)
		f(t, a, b)
		require.NoError(t, a.Transport.Wait(t.Context()))
		require.NoError(t, b.Transport.Wait(t.Context()))
		assert.LessOrEqual(t, a.MostSpent(), 1, "a spent refresh token was presented again")
	}, with...)
}

func TestATokenThatComesAfterASignOutIsStoredForItToDelete(t *testing.T) {
	var revoked []string
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		// The sign-out can't reach the store while a's answer is on its way. Were that
		// dropped, b would spend the spent token that is stored.
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		failed := a.Go(t.Context())
		<-a.Entered
		a.Entered = nil
		a.Store.Fail("Delete")
		require.ErrorIs(t, a.Transport.SignOut(t.Context()), testworld.ErrFault)
		close(a.Gate)
		require.Error(t, (<-failed).Err)
		require.NoError(t, a.Transport.Wait(t.Context()))
		a.AssertStored(t, "secret-access-2")
		a.AssertSignInRequired(t)
		a.Store.On(nil)
		b.MustGet(t, http.StatusOK)

		require.NoError(t, a.Transport.SignOut(t.Context()))
		_, ok, err := a.Store.MemoryStore.Load(t.Context(), "")
		require.NoError(t, err)
		assert.False(t, ok)
		assert.Contains(t, revoked, "secret-refresh-2", "the SignOut revokes what it deletes")
	}, testworld.RevokingInto(&revoked))
}

func TestATokenThatComesAfterASignOutDoesNotReplaceAnothers(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		failed := a.Go(t.Context())
		<-a.Entered
		a.Entered = nil
		a.Store.Fail("Delete")
		require.Error(t, a.Transport.SignOut(t.Context()))
		theirs := a.Issue()
		a.Store.Put(t, theirs) // by a process that does not lock
		close(a.Gate)
		require.Error(t, (<-failed).Err)
		require.NoError(t, a.Transport.Wait(t.Context()))
		a.AssertStored(t, theirs.AccessToken)
	})
}

func TestATokenThatComesAfterASignOutAndCannotBeStoredIsPending(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		failed := a.Go(t.Context())
		<-a.Entered
		a.Entered = nil
		a.Store.Fail("Delete", "Save")
		require.Error(t, a.Transport.SignOut(t.Context()))
		close(a.Gate)
		require.Error(t, (<-failed).Err)
		time.Sleep(time.Minute)
		a.Store.On(nil)
		b.MustGet(t, http.StatusOK) // which would spend what is spent
		a.AssertSignInRequired(t)
	})
}

func TestAFailedSignOutLeavesAPendingSavePending(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Store.Fail("Save", "Delete")
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		require.Error(t, a.Transport.SignOut(t.Context()))
		time.Sleep(time.Minute)
		a.Store.On(nil)
		b.MustGet(t, http.StatusOK) // which would spend what is spent
		a.AssertSignInRequired(t)
	})
}

func TestASignOutHoldsThoughAnotherProcessRefreshesTheSession(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Store.Fail("Lock")
		require.Error(t, a.Transport.SignOut(t.Context()))
		a.Store.On(nil)
		tok, err := b.Transport.Token(t.Context())
		require.NoError(t, err)
		next := a.Issue()
		next.SignInID = tok.SignInID
		a.Store.Put(t, next) // as if b had refreshed meanwhile
		for range 3 {
			time.Sleep(time.Minute)
			a.AssertSignInRequired(t)
		}
		b.SignIn(t)
		time.Sleep(time.Minute)
		a.MustGet(t, http.StatusOK)
	})
}

func TestASignInThatASignOutMeetsIsSignedOutToo(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		deleting, free := make(chan struct{}), make(chan struct{})
		a.Store.OnCall("Delete", func(context.Context) error { close(deleting); <-free; return nil })
		signedOut := make(chan error)
		go func() { signedOut <- a.Transport.SignOut(t.Context()) }()
		<-deleting
		signedIn := make(chan error)
		go func() { signedIn <- a.Transport.SignIn(t.Context(), a.Issue()) }()
		synctest.Wait()
		close(free)
		require.NoError(t, <-signedOut)
		a.Store.On(nil)
		require.NoError(t, <-signedIn)
		a.MustGet(t, http.StatusOK) // it came after the delete
	})
}

func TestASignOutThatCantLockDeletesAndReturnsTheError(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Store.Fail("Lock")
		require.ErrorIs(t, a.Transport.SignOut(t.Context()), testworld.ErrFault)
		a.AssertStored(t, "")
		a.Store.On(nil)
		b.Revoke()
		_, err := b.Get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		unlock := a.Store.Hold(t) // somebody holds the lock: nothing is deleted behind its back
		require.Error(t, a.Transport.SignOut(t.Context()))
		a.AssertStored(t, "secret-access-1")
		unlock()
	})
}

func TestForgetBelievesAnotherSignInOnlyUnderTheLock(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		first, err := a.Transport.Token(t.Context())
		require.NoError(t, err)
		b.SignIn(t)
		second, err := b.Transport.Token(t.Context())
		require.NoError(t, err)
		a.Transport.Forget("")
		got, err := a.Transport.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, second.AccessToken, got.AccessToken)

		// A replica that lags shows the first sign-in to whoever has no lease.
		lagging := first
		a.Store.OnLoad(func(ctx context.Context) (reauth.Token, bool) { return lagging, testworld.LeaseOf(ctx) == nil })
		a.Transport.Forget("")
		got, err = a.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, second.AccessToken, got.AccessToken)
	})
}

func TestALookThatLagsBehindIsNotBelieved(t *testing.T) {
	stored := func(t *testing.T, a *testworld.World) reauth.Token {
		tok, _ := a.Store.Stored(t, "")
		return tok
	}
	for name, tc := range map[string]struct {
		shown func(t *testing.T, a, b *testworld.World) reauth.Token // what was stored before
		found string
	}{
		"it shows the token from before": {func(t *testing.T, a, _ *testworld.World) reauth.Token {
			before := stored(t, a)
			a.Revoke()
			a.MustGet(t, http.StatusOK)
			return before
		}, "secret-access-2"},
		"it shows none yet": {func(*testing.T, *testworld.World, *testworld.World) reauth.Token {
			return reauth.Token{}
		}, "secret-access-1"},
		"it shows a sign-in from before": {func(t *testing.T, a, b *testworld.World) reauth.Token {
			b.SignIn(t)
			before := stored(t, a)
			b.SignIn(t)
			a.Transport.Forget("")
			a.MustGet(t, http.StatusOK)
			return before
		}, "secret-access-3"},
	} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				lagging := tc.shown(t, a, b)
				adopted := a.Events.Count(reauth.EventAdopted)
				a.Store.OnLoad(func(ctx context.Context) (reauth.Token, bool) { return lagging, testworld.LeaseOf(ctx) == nil })
				a.Transport.Forget("")
				got, err := a.Transport.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tc.found, got.AccessToken)
				assert.Equal(t, adopted, a.Events.Count(reauth.EventAdopted))
				assert.Zero(t, a.Events.Count(reauth.EventSignInRequired))
			})
		})
	}
}

func TestThePendingSaveKeepsTheLockUntilItIsDone(t *testing.T) {
	for name, down := range map[string]time.Duration{"for a second": time.Second, "for two hours": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				a.Store.Fail("Save")
				a.Revoke()
				a.MustGet(t, http.StatusOK)
				require.Equal(t, 1, a.Events.Count(reauth.EventSaveFailed))
				theirs := b.Go(t.Context()) // finds the token refused, and waits for the lock
				time.Sleep(down)
				a.Store.On(nil)
				require.NoError(t, a.Transport.Wait(t.Context()))
				a.AssertStored(t, "secret-access-2")
				if r := <-theirs; down < 30*time.Second {
					require.NoError(t, r.Err)
					assert.Equal(t, http.StatusOK, r.Status)
				} else {
					testworld.AssertTemporary(t, r.Err)
				}
				time.Sleep(time.Minute)
				b.MustGet(t, http.StatusOK)
				assert.Equal(t, 1, a.Refreshes(), "%v %v", a.Asked(), a.CallTimes())
				assert.Equal(t, 1, a.Events.Count(reauth.EventSavedLate))
				assert.InDelta(t, 1+int(down/(15*time.Minute)), a.Events.Count(reauth.EventSaveFailed), 1)
			})
		})
	}
}

func TestThePendingSaveGivesTheLockBackWhenItsRefreshTokenExpires(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Store.Fail("Save")
		a.Answer(func(context.Context) (reauth.Token, error) {
			tok := a.Issue()
			tok.RefreshExpiry = time.Now().Add(time.Hour)
			return tok, nil
		})
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, _, err := a.Store.MemoryStore.Lock(ctx, "")
		require.Error(t, err, "the lock is kept")
		time.Sleep(time.Hour)
		unlock := a.Store.Hold(t)
		unlock()
		a.Store.On(nil)
	})
}

func TestNoRefreshIsSentUnderALostLease(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Revoke()
		a.Events.OnKind(reauth.EventRefreshStarted, func(context.Context) { a.Store.LoseLease() })
		_, err := a.Get(t.Context())
		testworld.AssertTemporary(t, err)
		assert.Zero(t, a.Refreshes())
		a.Events.On(nil)
		b.MustGet(t, http.StatusOK)
	})
}

func TestNoRefreshIsSentOnceTheSessionIsSignedOut(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Revoke()
		a.Events.OnKind(reauth.EventRefreshStarted, func(ctx context.Context) {
			assert.NoError(t, a.Transport.SignOut(context.WithoutCancel(ctx)))
		})
		_, err := a.Get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, a.Refreshes())
	})
}

func TestASaveWhoseOutcomeIsUnknownDoesNotReplaceASignInLater(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		// The Save ends by its bound, and takes effect later, if its lease is still held.
		var late func()
		a.Store.OnCall("Save", func(ctx context.Context) error {
			lease := testworld.LeaseOf(ctx)
			if late == nil {
				late = func() {
					if lease.Err() == nil {
						a.Store.Put(t, reauth.Token{AccessToken: "late", RefreshToken: "late"})
					}
				}
				return testworld.Hangs(ctx)
			}
			return nil
		})
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		tok := a.SignIn(t)
		late()
		a.AssertStored(t, tok.AccessToken)
	})
}

func TestARefreshTokenBesideAnErrorIsKeptAndTheOldOneTriedOnce(t *testing.T) {
	broken := errors.New("the response breaks off")
	for name, meant := range map[string]bool{"it is what the server meant": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				a.Answer(func(context.Context) (reauth.Token, error) {
					if meant {
						return reauth.Token{RefreshToken: a.Issue().RefreshToken}, broken
					}
					return reauth.Token{RefreshToken: "a string that is no refresh token"}, broken
				})
				a.Revoke()
				_, err := a.Get(t.Context())
				require.ErrorIs(t, err, broken)
				testworld.AssertTemporary(t, err)
				if !meant {
					a.Answer(testworld.Failing(reauth.ErrSignInRequired)) // to the salvaged one
					a.Forgive("secret-refresh-1")                         // which was not spent
				}
				b.MustGet(t, http.StatusOK) // another process starts from what is stored
				tok, err := b.Transport.Token(t.Context())
				require.NoError(t, err)
				assert.Empty(t, tok.Extra)
			})
		})
	}
}

func TestASalvagedRefreshTokenIsKeptWhileTheTokenServerFails(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		large := map[string]string{"large": strings.Repeat("x", 100<<10), "scope": "read"}
		a.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{RefreshToken: a.Issue().RefreshToken, Extra: large}, testworld.ErrFault
		}, testworld.Failing(testworld.ErrFault))
		a.Revoke()
		a.AssertTemporaryFailure(t)
		a.AssertTemporaryFailure(t)
		assert.Equal(t, 1, a.Refreshes(), "there is a pause, as after any failure")
		stored, _ := a.Store.Stored(t, "")
		assert.Empty(t, stored.AccessToken, "it was refused")
		assert.NotContains(t, stored.Extra, "large")
		assert.Equal(t, "read", stored.Extra["scope"])

		b.AssertTemporaryFailure(t)
		time.Sleep(time.Minute)
		b.Forgive("secret-refresh-2") // which the server has not seen
		b.MustGet(t, http.StatusOK)
		for _, asked := range a.Asked() {
			assert.LessOrEqual(t, len(asked.Extra), 1, "a refresher sees nothing of the one from before")
		}
		stored, _ = a.Store.Stored(t, "")
		assert.Empty(t, stored.Extra, "nor is that kept any longer")
		assert.NotContains(t, a.Spent()[1:], "secret-refresh-1")
	})
}

func TestAStoreThatForgetsAWriteIsGivenTheNewerTokenAgain(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		before, _, err := a.Store.MemoryStore.Load(t.Context(), "")
		require.NoError(t, err)
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		a.Store.Put(t, before) // a failover
		time.Sleep(time.Minute)
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, a.Refreshes())
		a.AssertStored(t, "secret-access-3")
	})
}

func TestARequestIsNotReplayedUnderAnotherSignIn(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		b.SignIn(t) // the user came back as somebody else
		status, err := a.Get(t.Context())
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status, "its own response")
		assert.Zero(t, a.Refreshes())
		a.MustGet(t, http.StatusOK) // the next one goes with the new sign-in
	})
}

func TestATokenRenewedInPlaceIsAdopted(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		tok := a.Issue()
		tok.Expiry = time.Now().Add(time.Minute)
		refreshes := 0
		renew := func(c *reauth.Config, _ *testworld.World) {
			c.Refresher = reauth.RefresherFunc(func(_ context.Context, old reauth.Token) (reauth.Token, error) {
				refreshes++
				old.Expiry = time.Now().Add(time.Minute)
				return old, nil
			})
		}
		b, c := a.Beside(t, renew), a.Beside(t, renew)
		require.NoError(t, b.Transport.SignIn(t.Context(), tok))
		c.MustGet(t, http.StatusOK)
		for range 5 {
			time.Sleep(time.Minute)
			b.MustGet(t, http.StatusOK)
			c.MustGet(t, http.StatusOK)
		}
		assert.Equal(t, 5, refreshes, "one for both processes")
	})
}

func TestARequestIsNotReplayedUnderASignInThatFollowsAFinalAnswer(t *testing.T) {
	for name, found := range map[string]bool{"it is known when the refusal comes": true, "it is found because of the refusal": false} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				a.Revoke()
				release := a.HoldNext()
				held := a.Start(t.Context())
				a.Answer(testworld.Failing(reauth.ErrSignInRequired))
				a.AssertSignInRequired(t)
				b.SignIn(t) // as somebody else
				time.Sleep(time.Minute)
				if found {
					a.MustGet(t, http.StatusOK)
				}
				release()
				r := <-held
				require.NoError(t, r.Err)
				assert.Equal(t, http.StatusUnauthorized, r.Status, "its own response")
				a.MustGet(t, http.StatusOK)
			})
		})
	}
}

func TestASignedOutSessionBelievesAnotherSignInOnlyUnderTheLock(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		require.NoError(t, a.Transport.SignOut(t.Context()))
		b.SignIn(t)
		theirs, ok := b.Store.Stored(t, "")
		require.True(t, ok)
		require.NoError(t, b.Transport.SignOut(t.Context()))
		a.Store.OnLoad(func(ctx context.Context) (reauth.Token, bool) { return theirs, testworld.LeaseOf(ctx) == nil }) // a replica that lags
		requests := a.API.Requests()
		time.Sleep(time.Minute)
		a.AssertSignInRequired(t)
		time.Sleep(time.Minute)
		a.AssertSignedIn(t, true) // which is no more than a look
		a.AssertSignInRequired(t)
		assert.Equal(t, requests, a.API.Requests())
	})
}

func TestTheRefreshTokenFromBeforeIsNotTriedOnceTheSessionIsSignedOut(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{RefreshToken: a.Issue().RefreshToken}, errors.New("the response breaks off")
		}, func(ctx context.Context) (reauth.Token, error) {
			assert.NoError(t, a.Transport.SignOut(t.Context()))
			return reauth.Token{}, reauth.ErrSignInRequired
		})
		a.Revoke()
		_, err := a.Get(t.Context())
		testworld.AssertTemporary(t, err)
		time.Sleep(time.Minute)
		a.AssertSignInRequired(t)
		require.NoError(t, a.Transport.Wait(t.Context()))
		assert.Equal(t, 2, a.Refreshes())
	})
}

func TestATokenThatComesWhileADeleteHasNoAnswerIsStored(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Revoke()
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		_ = a.Start(t.Context())
		<-a.Entered                   // a refresh is in progress
		waits := b.Start(t.Context()) // for the lock
		a.Store.OnCall("Delete", testworld.Hangs)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, a.Transport.SignOut(ctx))
		a.Store.On(nil)
		close(a.Gate)
		r := <-waits
		require.NoError(t, r.Err)
		assert.Equal(t, http.StatusOK, r.Status, "it adopts what came")
		assert.Equal(t, 1, a.Refreshes())
		a.AssertSignInRequired(t)
	})
}

func TestATokenThatComesAfterAnEarlierSignOutIsNotStored(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		_ = a.Start(t.Context())
		<-a.Entered // a refresh is in progress
		require.NoError(t, a.Transport.SignOut(t.Context()))
		saves := a.Store.Count("Save")
		first, second := make(chan struct{}), make(chan struct{}) // until when a look lasts
		looks, looking := make(chan chan struct{}, 2), make(chan struct{}, 2)
		looks <- first
		looks <- second
		a.Store.On(func(_ context.Context, call string) error {
			if call == "Load" {
				looking <- struct{}{}
				until := <-looks
				<-until
			}
			return testworld.ErrFault
		})
		close(a.Gate)
		<-looking // for what would be stored for the sign-out to delete
		again := make(chan error, 1)
		go func() { again <- a.Transport.SignOut(t.Context()) }()
		synctest.Wait()
		close(first)
		synctest.Wait() // the token has come while the other sign-out is in progress
		close(second)
		require.Error(t, <-again)
		a.Store.On(nil)
		require.NoError(t, a.Transport.SignOut(t.Context()))
		assert.Equal(t, saves, a.Store.Count("Save"))
		time.Sleep(time.Minute)
		a.AssertStored(t, "")
		a.AssertSignInRequired(t)
	})
}

func TestATokenThatComesAfterASignInAndASignOutIsNotPending(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		gate := make(chan struct{})
		a.Answer(func(context.Context) (reauth.Token, error) { <-gate; return a.Issue(), nil })
		a.Revoke()
		_ = a.Start(t.Context())
		synctest.Wait() // a refresh is in progress
		a.SignIn(t)
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		_ = a.Start(t.Context())
		<-a.Entered // another one is
		a.Store.Fail("Load", "Save", "Delete")
		require.Error(t, a.Transport.SignOut(t.Context()))
		close(a.Gate)
		synctest.Wait()
		close(gate) // of the first sign-in, whose token is stored nowhere
		synctest.Wait()
		a.Store.On(nil)
		time.Sleep(time.Minute)
		tok, _ := a.Store.Stored(t, "")
		assert.NotEqual(t, "secret-access-4", tok.AccessToken)
	})
}

// Whichever comes first: the sign-in that asks for a lease of its own, because the save
// that is in progress under the present one has no answer, or the refresh that keeps that.
func TestASaveWithoutAnAnswerKeepsTheLockThoughASignInWaits(t *testing.T) {
	for range 30 {
		twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
			a.Store.OnCall("Delete", func(context.Context) error { // a write that nobody waits for any more
				time.Sleep(40 * time.Second)
				return testworld.ErrFault
			})
			require.Error(t, a.Transport.SignOut(t.Context()))
			time.Sleep(time.Minute) // it has returned
			a.Store.On(nil)
			a.SignIn(t)
			b.Transport.Forget("")
			b.MustGet(t, http.StatusOK)

			saves := 0
			a.Store.OnCall("Save", func(ctx context.Context) error {
				if saves++; saves == 1 {
					return testworld.Hangs(ctx)
				}
				return testworld.ErrFault
			})
			a.Revoke()
			answer := a.Start(t.Context())
			time.Sleep(time.Second)
			const signIns = 3
			signedIn := make(chan error, signIns)
			for range signIns {
				go func() { signedIn <- a.Transport.SignIn(t.Context(), a.Issue()) }()
			}
			require.NoError(t, (<-answer).Err)
			answer = b.Start(t.Context())
			time.Sleep(time.Second)
			a.Store.On(nil)
			require.NoError(t, (<-answer).Err)
			for range signIns {
				<-signedIn
			}
		})
	}
}

func TestAPendingSaveDoesNotKeepTheLockFromItsOwnProcess(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Revoke()
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		_ = a.Start(t.Context())
		<-a.Entered                                            // a refresh is in progress
		a.Store.OnCall("Delete", func(context.Context) error { // which ignores its context
			time.Sleep(time.Minute)
			return testworld.ErrFault
		})
		signOut := make(chan error, 1)
		go func() { signOut <- a.Transport.SignOut(t.Context()) }()
		time.Sleep(time.Second)
		close(a.Gate) // what it brings waits for the Delete, in vain
		require.Error(t, <-signOut)
		require.NoError(t, a.Transport.SignIn(t.Context(), anew), "under another lease, for which it has to wait")
	})
}

func TestAnUpdateThatIsLateLeavesThePendingSaveItsLock(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Store.Fail("Save")
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		a.Store.On(func(ctx context.Context, call string) error {
			switch call {
			case "Save":
				return testworld.ErrFault
			case "Delete":
				return testworld.Hangs(ctx)
			}
			return nil
		})
		answer := make(chan (<-chan testworld.Result))
		_, err := a.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			require.Error(t, a.Transport.SignOut(t.Context()))
			time.Sleep(time.Minute)    // ignoring its context
			waits := b.Go(t.Context()) // which would spend what is spent
			time.Sleep(time.Second)
			defer func() { answer <- waits }()
			old.Extra = map[string]string{"updated": "yes"}
			return old, nil
		})
		require.Error(t, err)
		waits := <-answer
		time.Sleep(time.Second)
		a.Store.On(nil)
		require.NoError(t, (<-waits).Err)
	})
}

// A sign-in has asked for another lease meanwhile, because a write may still arrive under
// this one, and the store has failed it.
func TestATokenThatComesAfterASignOutKeepsTheLockThoughASignInCouldNotLock(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Revoke()
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		failed := a.Go(t.Context())
		<-a.Entered // a refresh is in progress
		a.Entered = nil
		locks := 0
		a.Store.On(func(ctx context.Context, call string) error {
			switch call {
			case "Delete":
				return testworld.Hangs(ctx)
			case "Save":
				return testworld.ErrFault
			case "Lock":
				if locks++; locks == 1 {
					return testworld.ErrFault
				}
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.Transport.SignOut(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, a.Transport.SignIn(t.Context(), anew), testworld.ErrFault)
		close(a.Gate)
		require.Error(t, (<-failed).Err)
		time.Sleep(time.Second)
		waits := b.Go(t.Context()) // which would spend what is spent
		time.Sleep(time.Second)
		assert.Equal(t, 1, a.MostSpent())
		a.Store.On(nil)
		require.NoError(t, (<-waits).Err)
		assert.Equal(t, 1, a.MostSpent())
	})
}

// The flight has first saved what was pending, so the store holds another token than it
// loaded.
func TestATokenThatComesAfterASignOutIsStoredAlsoAfterASaveThatWasPending(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		a.Store.Fail("Save")
		a.Revoke()
		a.MustGet(t, http.StatusOK)
		a.Store.On(nil)
		a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
		a.Revoke()
		failed := a.Go(t.Context())
		<-a.Entered
		a.Entered = nil
		a.AssertStored(t, "secret-access-2")
		a.Store.Fail("Delete")
		require.ErrorIs(t, a.Transport.SignOut(t.Context()), testworld.ErrFault)
		close(a.Gate)
		require.Error(t, (<-failed).Err)
		require.NoError(t, a.Transport.Wait(t.Context()))
		a.AssertStored(t, "secret-access-3")
		a.Store.On(nil)
		b.MustGet(t, http.StatusOK)
	})
}

// However many tokens ago that was.
func TestALookDoesNotAdoptWhatAPendingSaveIsToReplace(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, _ *testworld.World) {
		a.Store.Fail("Save")
		for range 20 {
			a.Revoke()
			a.MustGet(t, http.StatusOK)
			time.Sleep(time.Minute)
		}
		refreshes := a.Refreshes()
		a.Transport.Forget("")
		a.MustGet(t, http.StatusOK)
		assert.Equal(t, refreshes, a.Refreshes())
		assert.Zero(t, a.Events.Count(reauth.EventAdopted))
		a.Store.On(nil)
	})
}

func TestAPendingSaveIsNotDoneOverANewerToken(t *testing.T) {
	for range 20 {
		twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
			a.Store.Fail("Save")
			a.Revoke()
			a.MustGet(t, http.StatusOK) // its save is pending
			a.Entered, a.Gate = make(chan struct{}), make(chan struct{})
			a.Revoke()
			failed := a.Go(t.Context())
			<-a.Entered // the one after it comes
			a.Entered = nil
			a.Store.Fail("Save", "Delete")
			require.Error(t, a.Transport.SignOut(t.Context()))
			saving, save := make(chan struct{}), make(chan struct{})
			saves := 0
			a.Store.OnCall("Save", func(context.Context) error {
				if saves++; saves == 1 {
					close(saving)
					<-save
				}
				return nil
			})
			close(a.Gate)
			<-saving
			go func() { assert.NoError(t, a.Transport.SignIn(t.Context(), a.Issue())) }() // waits for its turn
			synctest.Wait()
			close(save)
			synctest.Wait()
			assert.Equal(t, 2, saves, "that of the newest, and the sign-in")
			require.Error(t, (<-failed).Err)
			a.Store.On(nil)
		})
	}
}
