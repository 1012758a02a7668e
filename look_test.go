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

// Tests of the look at the store before the lock, by which the cost of a refresh grows with
// the number of processes and not with its square.

func TestOfManyProcessesOneTakesTheLockAndTheOthersLook(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Latency = 200 * time.Millisecond
		w.SignIn(t)
		all := []*testworld.World{w}
		for range 99 {
			all = append(all, w.Beside(t))
		}
		for _, w := range all {
			w.MustGet(t, http.StatusOK)
		}
		loads, locks, saves := w.Store.Count("Load"), w.Store.Count("Lock"), w.Store.Count("Save") // all share it
		w.Revoke()
		began := time.Now()
		var answers []<-chan testworld.Result
		for _, w := range all {
			answers = append(answers, w.Go(t.Context()))
		}
		for _, answer := range answers {
			require.NoError(t, (<-answer).Err)
		}
		assert.Equal(t, 200*time.Millisecond, time.Since(began), "the last answer is as early as the first")
		assert.LessOrEqual(t, w.Store.Count("Load")-loads, 2*len(all))
		assert.LessOrEqual(t, w.Store.Count("Lock")-locks, len(all))
		assert.Equal(t, 1, w.Store.Count("Save")-saves)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestALookThatFailsOrHangsCostsNothingButASecond(t *testing.T) {
	for name, look := range map[string]func(context.Context) error{
		"fails": func(context.Context) error { return testworld.ErrFault },
		"hangs": testworld.Hangs,
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			locks := w.Store.Count("Lock")
			w.Store.OnCall("Load", func(ctx context.Context) error {
				if w.Store.Count("Lock") > locks {
					return nil
				}
				return look(ctx)
			})
			began := time.Now()
			w.MustGet(t, http.StatusOK)
			assert.LessOrEqual(t, time.Since(began), time.Second)
			assert.Equal(t, 1, w.Refreshes())
		})
	}
}

func TestALookAdoptsOnlyANewTokenOfTheSameSignIn(t *testing.T) {
	for name, tc := range map[string]struct {
		shown   func(w *testworld.World, first, refused reauth.Token) reauth.Token
		refresh bool
	}{
		"a new one": {func(w *testworld.World, _, refused reauth.Token) reauth.Token {
			tok := w.Issue()
			tok.SignInID = refused.SignInID
			return tok
		}, false},
		"none":                     {func(*testworld.World, reauth.Token, reauth.Token) reauth.Token { return reauth.Token{} }, true},
		"the refused one":          {func(_ *testworld.World, _, refused reauth.Token) reauth.Token { return refused }, true},
		"one that it has replaced": {func(_ *testworld.World, first, _ reauth.Token) reauth.Token { return first }, true},
		"one that has expired": {func(w *testworld.World, _, refused reauth.Token) reauth.Token {
			return reauth.Token{AccessToken: "theirs", RefreshToken: "theirs", Expiry: time.Now(), SignInID: refused.SignInID}
		}, true},
		"one of another sign-in": {func(w *testworld.World, _, _ reauth.Token) reauth.Token {
			tok := w.Issue()
			tok.SignInID = "another"
			return tok
		}, true},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			first, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			w.Revoke()
			w.MustGet(t, http.StatusOK)
			refused, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute)
			w.Revoke()
			shown := tc.shown(w, first, refused)
			locks := w.Store.Count("Lock")
			w.Store.OnLoad(func(context.Context) (reauth.Token, bool) { // of a replica, perhaps
				return shown, w.Store.Count("Lock") == locks
			})
			w.MustGet(t, http.StatusOK)
			if !tc.refresh {
				assert.Equal(t, 1, w.Refreshes())
				assert.Equal(t, locks, w.Store.Count("Lock"))
				return
			}
			assert.Equal(t, 2, w.Refreshes())
			tok, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, refused.SignInID, tok.SignInID)
		})
	}
}

func TestAWaitForTheLockEndsOnceTheTokenHasChanged(t *testing.T) {
	twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
		unlock := a.Store.Hold(t) // by a third process
		a.Revoke()
		answer := b.Go(t.Context())
		synctest.Wait()
		tok, err := a.Transport.Token(t.Context())
		require.NoError(t, err)
		next := a.Issue()
		next.SignInID = tok.SignInID
		a.Store.Put(t, next)
		require.NoError(t, (<-answer).Err, "though the lock is still held")
		assert.Equal(t, 1, b.Events.Count(reauth.EventAdopted))
		assert.Zero(t, b.Refreshes())
		unlock()
	})
}

// A signed-out session is not signed in again by a look, so a wait that ends because the
// token has changed goes on.
func TestAWaitForTheLockGoesOnWhereTheChangeIsOfNoUse(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, w *testworld.World){
		"deleted": func(t *testing.T, w *testworld.World) { w.Store.Clear(t) },
		"another sign-in": func(t *testing.T, w *testworld.World) {
			tok := w.Issue()
			tok.SignInID = "another"
			w.Store.Put(t, tok)
		},
	} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				unlock := a.Store.Hold(t)
				a.Revoke()
				answer := b.Go(t.Context())
				synctest.Wait()
				change(t, a)
				synctest.Wait()
				select {
				case <-answer:
					require.Fail(t, "it was answered by what only the lock can show")
				default:
				}
				unlock()
				r := <-answer
				if name == "deleted" {
					require.ErrorIs(t, r.Err, reauth.ErrSignInRequired)
					return
				}
				require.NoError(t, r.Err)
				assert.Equal(t, http.StatusUnauthorized, r.Status, "it was refused under the other sign-in")
			})
		})
	}
}

func TestASignInOrSignOutWaitsForTheLockWhateverChanges(t *testing.T) {
	for name, call := range map[string]func(context.Context, *testworld.World) error{
		"SignIn":  func(ctx context.Context, w *testworld.World) error { return w.Transport.SignIn(ctx, w.Issue()) },
		"SignOut": func(ctx context.Context, w *testworld.World) error { return w.Transport.SignOut(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			twoProcesses(t, func(t *testing.T, a, b *testworld.World) {
				unlock := a.Store.Hold(t)
				done := make(chan error, 1)
				go func() { done <- call(t.Context(), b) }()
				for range 10 {
					synctest.Wait()
					a.Store.Put(t, a.Issue())
				}
				synctest.Wait()
				assert.Empty(t, done)
				unlock()
				require.NoError(t, <-done)
			})
		})
	}
}

// The time for the lock is RefreshTimeout in all, however often the token changes.
func TestALockThatTheTokensChangesKeepFromNobodyIsWaitedForOnceOnly(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Store.OnCall("Lock", func(context.Context) error {
			time.Sleep(time.Second)
			return fmt.Errorf("another process: %w", reauth.ErrChanged)
		})
		began := time.Now()
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		assert.False(t, errors.Is(err, reauth.ErrChanged))
		assert.Equal(t, 30*time.Second, time.Since(began))
		began = time.Now()
		require.Error(t, w.Transport.SignIn(t.Context(), w.Issue()))
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
}

// As fast as it answers, that would be thousands of calls a second, for RefreshTimeout.
func TestAStoreThatOnlySaysChangedIsAskedNowAndThen(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Store.OnCall("Lock", func(context.Context) error {
			time.Sleep(time.Millisecond)
			return reauth.ErrChanged
		})
		locks := w.Store.Count("Lock")
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		locks = w.Store.Count("Lock") - locks
		assert.LessOrEqual(t, locks, 320, "in 30 s")

		locks = w.Store.Count("Lock")
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, w.Transport.SignIn(ctx, w.Issue()), context.DeadlineExceeded)
		assert.Equal(t, 150*time.Millisecond, time.Since(began))
		assert.Greater(t, w.Store.Count("Lock")-locks, 5, "at first at once")
	})
}

func TestAnUpdateDoesNotLookBeforeTheLock(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		loads := w.Store.Count("Load")
		_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) { return w.Issue(), nil })
		require.NoError(t, err)
		assert.Equal(t, 1, w.Store.Count("Load")-loads)
	})
}
