package reauth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of SignIn, SignOut and SignedIn. Those that meet a refresh at an awkward moment
// are in signin_race_test.go.

var anew = reauth.Token{AccessToken: "anew", RefreshToken: "anew"}

func TestSignInAndSignOutWaitForTheLockOfAnotherProcess(t *testing.T) {
	for name, tc := range map[string]struct {
		call   func(*testing.T, *testworld.World) error
		stored string
	}{
		"SignIn":  {func(t *testing.T, w *testworld.World) error { return w.Transport.SignIn(t.Context(), anew) }, "anew"},
		"SignOut": {func(t *testing.T, w *testworld.World) error { return w.Transport.SignOut(t.Context()) }, ""},
	} {
		testworld.Case(t, name, func(t *testing.T, first *testworld.World) {
			first.Store.RequireLease = true
			second := first.Beside(t)
			first.SignIn(t)
			second.MustGet(t, http.StatusOK)
			first.Revoke()
			first.Gate = make(chan struct{})
			second.Go(t.Context())
			synctest.Wait() // the second process refreshes, and has the lock
			time.AfterFunc(time.Second, func() { close(first.Gate) })

			began := time.Now()
			require.NoError(t, tc.call(t, first))

			assert.Equal(t, time.Second, time.Since(began))
			first.AssertStored(t, tc.stored) // the other's token was saved before, not after
			require.NoError(t, first.Transport.SignIn(t.Context(), anew))
			first.AssertStored(t, "anew")
		})
	}
}

func TestSignInAndSignOutDoNotWaitForARefreshOfTheirOwnProcess(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Store.RequireLease = true
		signedInAndRefused(t, w)
		w.Gate = make(chan struct{})
		w.Start(t.Context())
		locks, began := w.Store.Count("Lock"), time.Now()

		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		require.NoError(t, w.Transport.SignIn(t.Context(), anew))

		assert.Zero(t, time.Since(began))
		assert.Equal(t, locks, w.Store.Count("Lock"), "they share its lease")
		w.Store.LoseLease()
		w.SignIn(t)
		assert.Equal(t, locks+1, w.Store.Count("Lock"), "unless that is lost")
		require.NoError(t, w.Transport.SignIn(t.Context(), anew))
		close(w.Gate)
		w.Wait(t)
		w.AssertStored(t, "anew")
	})
}

func TestAFailedSignInChangesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		call string
		does func(context.Context, *testworld.World) error
		want error
		took time.Duration
	}{
		"save fails":                  {"Save", func(context.Context, *testworld.World) error { return testworld.ErrFault }, testworld.ErrFault, 0},
		"save hangs":                  {"Save", func(ctx context.Context, _ *testworld.World) error { return testworld.Hangs(ctx) }, context.DeadlineExceeded, time.Second},
		"save panics":                 {"Save", func(context.Context, *testworld.World) error { panic("in the store") }, nil, 0},
		"the lease is lost meanwhile": {"Save", func(_ context.Context, w *testworld.World) error { w.Store.LoseLease(); return nil }, testworld.ErrLeaseLost, 0},
		"lock fails":                  {"Lock", func(context.Context, *testworld.World) error { return testworld.ErrFault }, testworld.ErrFault, 0},
		"lock hangs":                  {"Lock", func(ctx context.Context, _ *testworld.World) error { return testworld.Hangs(ctx) }, context.DeadlineExceeded, time.Second},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.MustGet(t, http.StatusOK)
			w.Wait(t)
			w.Store.OnCall(tc.call, func(ctx context.Context) error { return tc.does(ctx, w) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			err := w.Transport.SignIn(ctx, anew)
			require.Error(t, err)
			if tc.want != nil {
				assert.ErrorIs(t, err, tc.want)
			}
			assert.Equal(t, tc.took, time.Since(began))
			w.Store.On(nil)

			w.MustGet(t, http.StatusOK)
			w.Wait(t)
			w.AssertStored(t, "secret-access-1")
			assert.Equal(t, 1, w.Events.Count(reauth.EventSignedIn))
			w.Revoke() // the session can still be refreshed
			w.MustGet(t, http.StatusOK)
		})
	}
}

func TestALockOutlivesTheFirstCallThatWaitsForIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		unlock := w.Store.Hold(t)
		time.AfterFunc(2*time.Second, unlock)
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := make(chan error, 1)
		go func() { left <- w.Transport.SignIn(first, w.Issue()) }()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, w.Transport.SignIn(t.Context(), anew)) // waits for the same lock
		assert.Equal(t, 2*time.Second, time.Since(began))
		require.ErrorIs(t, <-left, context.DeadlineExceeded)
		assert.Equal(t, 1, w.Store.Count("Lock"))
	})
}

func TestMethodsReturnWithTheirCallersContextWhileTheStoreIgnoresIt(t *testing.T) {
	for name, call := range map[string]func(context.Context, *testworld.World) error{
		"SignIn":   func(ctx context.Context, w *testworld.World) error { return w.Transport.SignIn(ctx, anew) },
		"SignOut":  func(ctx context.Context, w *testworld.World) error { return w.Transport.SignOut(ctx) },
		"SignedIn": func(ctx context.Context, w *testworld.World) error { _, err := w.Transport.SignedIn(ctx); return err },
		"Token":    func(ctx context.Context, w *testworld.World) error { _, err := w.Transport.Token(ctx); return err },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Store.On(func(context.Context, string) error { time.Sleep(20 * time.Second); return nil })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			assert.ErrorIs(t, call(ctx, w), context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
			w.Store.On(nil)
		})
		testworld.Case(t, name+" without a deadline", func(t *testing.T, w *testworld.World) {
			w.Store.On(func(_ context.Context, call string) error {
				if call != "Lock" {
					time.Sleep(time.Minute)
				}
				return testworld.ErrFault
			})
			began := time.Now()
			err := call(t.Context(), w)
			require.Error(t, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorIs(t, err, context.Canceled)
			assert.Less(t, time.Since(began), 31*time.Second)
			w.Store.On(nil)
		})
	}
}

func TestAStoreCallOfAMethodEndsWithTheCallersContext(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		began := time.Now()
		for call, method := range map[string]func(context.Context) error{
			"Save":   func(ctx context.Context) error { return w.Transport.SignIn(ctx, w.Issue()) },
			"Delete": func(ctx context.Context) error { w.Store.Put(t, anew); return w.Transport.SignOut(ctx) },
		} {
			w.Store.OnCall(call, testworld.Hangs)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, method(ctx), context.DeadlineExceeded)
			w.Wait(t)
		}
		assert.Equal(t, 2*time.Second, time.Since(began), "it is not left to hang until RefreshTimeout")
		w.Store.On(nil)
	})
}

func TestAFailedSignOutIsASignOutAllTheSame(t *testing.T) {
	for _, call := range []string{"Lock", "Load", "Delete"} {
		testworld.Case(t, call, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Wait(t)
			w.Store.Fail(call, "Delete")

			require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)

			assert.ErrorIs(t, w.Events.Of(reauth.EventSignedOut)[0].Err, testworld.ErrFault)
			w.Store.On(nil)
			w.AssertStored(t, "secret-access-1")
			for range 10 {
				w.AssertSignInRequired(t)
				w.AssertSignedIn(t, false)
				time.Sleep(6 * time.Second)
			}
			assert.Zero(t, w.Refreshes())

			w.Store.Put(t, w.Issue()) // another process signs in
			w.MustGet(t, http.StatusOK)
			w.AssertSignedIn(t, true)
			assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
		})
	}
}

// Of what a failed sign-out has given up, nothing is a new sign-in when the store shows it.
func TestAFailedSignOutGivesUp(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World) (shown reauth.Token) // zero: what is stored
		fails   []string
	}{
		"what another process had stored": {func(t *testing.T, w *testworld.World) reauth.Token {
			w.SignIn(t)
			w.Store.Put(t, w.Issue())
			return reauth.Token{}
		}, []string{"Delete"}},
		"a spent token that the store holds while a save is pending": {func(t *testing.T, w *testworld.World) reauth.Token {
			leaveSavePending(t, w)
			return reauth.Token{}
		}, nil},
		"the token whose save is pending, if that comes late": {func(t *testing.T, w *testworld.World) reauth.Token {
			leaveSavePending(t, w)
			tok, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			return tok
		}, nil},
		"another's token that the token server has refused": {func(t *testing.T, w *testworld.World) reauth.Token {
			w.SignIn(t)
			w.Store.Put(t, reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now()})
			w.Revoke()
			refuseFinally(w, func() { w.Store.Fail("Load") })
			w.AssertTemporaryFailure(t)
			return reauth.Token{}
		}, nil},
		"the first token it shows, if the lock failed": {func(t *testing.T, w *testworld.World) reauth.Token {
			w.Store.Put(t, w.Issue())
			return reauth.Token{}
		}, []string{"Lock"}},
		"the first token it shows, if it could not be read": {func(t *testing.T, w *testworld.World) reauth.Token {
			w.Store.Put(t, w.Issue())
			return reauth.Token{}
		}, []string{"Load", "Delete"}},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			shown := tc.arrange(t, w)
			w.Store.Fail(tc.fails...)
			require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)
			w.Store.On(nil)
			if shown.AccessToken != "" {
				w.Store.Put(t, shown)
			}
			refreshes := w.Refreshes()
			for range 3 {
				time.Sleep(6 * time.Second)
				w.AssertSignInRequired(t)
			}
			assert.Equal(t, refreshes, w.Refreshes(), "it is not spent again")
			assert.Zero(t, w.Events.Count(reauth.EventAdopted))
			w.Store.Put(t, w.Issue())
			time.Sleep(6 * time.Second)
			w.MustGet(t, http.StatusOK)
		})
	}
}

func TestAFailedSignOutGivesUpNothingOnceTheStoreWasSeenEmpty(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Store.Fail("Lock")
		require.ErrorIs(t, w.Transport.SignOut(t.Context()), testworld.ErrFault)
		w.Store.On(nil)
		time.Sleep(6 * time.Second)
		w.AssertSignInRequired(t)
		w.Store.Put(t, w.Issue())
		time.Sleep(6 * time.Second)
		w.MustGet(t, http.StatusOK)
	})
}

func TestASignOutThatCannotLoadStillDeletes(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Store.Fail("Load")
		require.NoError(t, w.Transport.SignOut(t.Context()), "nothing is left to be done")
		w.AssertStored(t, "")
	})
}

func TestASignOutDeletesNothingOnceItHasReturned(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Store.OnCall("Load", func(context.Context) error { // which ignores its context
			time.Sleep(time.Minute)
			return nil
		})
		require.Error(t, w.Transport.SignOut(t.Context()))
		deletes := w.Store.Count("Delete")
		require.NoError(t, w.Transport.Wait(t.Context()))
		assert.Equal(t, deletes, w.Store.Count("Delete"), "another process may have signed in by now")
	}, withoutLock)
}

func TestASignedOutSessionLooksAtTheStoreOncePerRefreshPause(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		loads := w.Store.Count("Load")
		for range 600 { // a minute
			w.AssertSignInRequired(t)
			w.AssertSignedIn(t, false)
			time.Sleep(100 * time.Millisecond)
		}
		assert.InDelta(t, 12, w.Store.Count("Load")-loads, 1)
		assert.Zero(t, w.Refreshes())

		w.Store.Fail("Load")
		loads = w.Store.Count("Load")
		for range 100 {
			_, _ = w.Transport.SignedIn(t.Context())
			time.Sleep(100 * time.Millisecond)
		}
		assert.InDelta(t, 2, w.Store.Count("Load")-loads, 1, "also one that fails")
		w.AssertSignInRequired(t)
	})
}

func TestASelfStartingRefresherIsNotAskedAfterASignOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SelfStarting = true
		w.MustGet(t, http.StatusOK)
		require.Equal(t, 1, w.Refreshes())
		require.NoError(t, w.Transport.SignOut(t.Context()))
		for range 10 {
			w.AssertSignInRequired(t)
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, w.Refreshes())
		signedInAndRefused(t, w)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.Refreshes())
	})
}

func TestASignOutRevokesTheNewestToken(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *testworld.World)
		want    string
		err     error
	}{
		"its own": {func(t *testing.T, w *testworld.World) { w.SignIn(t) }, "secret-refresh-1", nil},
		"the stored one": {func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Store.Put(t, w.Issue())
		}, "secret-refresh-2", nil},
		"the stored one, which was not loaded yet": {func(t *testing.T, w *testworld.World) { w.Store.Put(t, w.Issue()) }, "secret-refresh-1", nil},
		"its own, whose save is pending":           {leaveSavePending, "secret-refresh-2", nil},
		"its own, if none is stored": {func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Store.Clear(t)
		}, "secret-refresh-1", nil},
		"its own, though the store fails": {func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Store.Fail("Delete")
		}, "secret-refresh-1", testworld.ErrFault},
	} {
		var revoked []string
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tc.arrange(t, w)
			require.ErrorIs(t, w.Transport.SignOut(t.Context()), tc.err)
			assert.Equal(t, []string{tc.want}, revoked)
			if tc.err == nil {
				w.AssertStored(t, "")
			}
			w.Store.On(nil)
		}, testworld.RevokingInto(&revoked))
	}
}

func TestARevocationThatFailsOrHangsIsAnErrorOfSignOut(t *testing.T) {
	for name, tc := range map[string]struct {
		revoke func(context.Context, reauth.Token) error
		want   string
		took   time.Duration
	}{
		"fails": {func(context.Context, reauth.Token) error { return testworld.ErrFault }, "reauth: SignOut: signed out, but the token could not be revoked: " + testworld.ErrFault.Error(), 0},
		"hangs": {func(ctx context.Context, _ reauth.Token) error { return testworld.Hangs(ctx) },
			"reauth: SignOut: signed out, but the token could not be revoked: no answer within Config.RefreshTimeout", 30 * time.Second},
		"shows the token": {func(_ context.Context, tok reauth.Token) error {
			return &reauth.RefreshError{Err: assert.AnError, Code: "400", Session: tok.RefreshToken}
		}, "reauth: SignOut: signed out, but the token could not be revoked: ", 0},
		"fails with an error of this package": {func(context.Context, reauth.Token) error { return errors.New("reauth: POST: it broke") },
			"reauth: SignOut: signed out, but the token could not be revoked: POST: it broke", 0},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			began := time.Now()
			err := w.Transport.SignOut(t.Context())
			require.ErrorContains(t, err, tc.want)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.NotContains(t, err.Error(), "secret-")
			assert.Equal(t, tc.took, time.Since(began))
			w.AssertStored(t, "")
			w.AssertSignedIn(t, false)
		}, func(c *reauth.Config, w *testworld.World) {
			c.Refresher = testworld.Revoker{Refresher: w.Authority, RevokeFunc: tc.revoke}
		})
	}
}

func TestASignOutThatFailsTwiceDoesNotSaySignedOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ann := w.Transport.Session("ann")
		require.NoError(t, ann.SignIn(t.Context(), w.Issue()))
		w.Store.OnCall("Delete", func(context.Context) error { return errors.New("reauth: the disk is full") })
		err := ann.SignOut(t.Context())
		assert.EqualError(t, err, "reauth: SignOut: session \"ann\": the store's Delete: the disk is full\n"+
			"the token could not be revoked: "+testworld.ErrFault.Error())
		assert.ErrorIs(t, err, testworld.ErrFault)
		w.Store.On(nil)
	}, func(c *reauth.Config, w *testworld.World) {
		c.Refresher = testworld.Revoker{Refresher: w.Authority, RevokeFunc: func(context.Context, reauth.Token) error { return testworld.ErrFault }}
	})
}

func TestAnErrorOfTheStoreThatShowsTheTokenIsRedacted(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		w.Store.Put(t, tok) // not known here
		w.Store.OnCall("Delete", func(context.Context) error { return errors.New("DEL " + tok.RefreshToken) })
		err := w.Transport.SignOut(t.Context())
		require.ErrorContains(t, err, "DEL [redacted]")
		w.Store.OnCall("Save", func(context.Context) error { return errors.New("SET " + anew.RefreshToken) })
		require.ErrorContains(t, w.Transport.SignIn(t.Context(), anew), "SET [redacted]")
		w.Store.On(nil)
	})
}

func TestOtherProcessesNoticeASignOutAtTheirNextRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, first *testworld.World) {
		second := first.Beside(t)
		first.SignIn(t)
		second.MustGet(t, http.StatusOK)
		require.NoError(t, first.Transport.SignOut(t.Context()))
		second.MustGet(t, http.StatusOK)
		first.Revoke()
		second.AssertSignInRequired(t)
		assert.Zero(t, first.MostSpent())
	})
}

func TestASignInOfATokenThatCannotBeUsedIsRefused(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		require.Error(t, w.Transport.SignIn(t.Context(), reauth.Token{}))
		require.Error(t, w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: "two\nlines"}))
		assert.Zero(t, w.Store.Count("Save"))
		w.AssertSignedIn(t, false)
	})
}

func TestASignInWithARefreshTokenAloneRefreshesBeforeTheFirstRequest(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.AccessToken = ""
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		assert.Equal(t, 1, w.Refreshes())
		assert.Equal(t, 20, w.API.Requests())
	})
}

func TestASignedOutSessionStaysSoThoughTheStoreHangs(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		time.Sleep(time.Minute)
		w.Store.OnCall("Load", func(context.Context) error { time.Sleep(time.Hour); return nil })
		w.AssertSignInRequired(t)
		assert.Zero(t, w.Events.Count(reauth.EventRefreshFailed))
	})
}

func TestASignInElsewhereThatHasGoneAgainIsNotLookedForAtOnce(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		other := w.Beside(t)
		w.SignIn(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		other.SignIn(t)
		time.Sleep(time.Minute)
		w.Store.OnCall("Lock", func(ctx context.Context) error { // between the look and the lock
			w.Store.On(nil)
			return other.Transport.SignOut(ctx)
		})
		w.AssertSignInRequired(t)
		loads := w.Store.Count("Load")
		w.AssertSignInRequired(t)
		assert.Equal(t, loads, w.Store.Count("Load"), "the store has just been asked")
	})
}
