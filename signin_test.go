package reauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// pair returns two worlds, as two processes, that share a store, an authority and
// its API.
func pair(t *testing.T, store reauth.Store) (first, second *world) {
	t.Helper()
	first = newWorld(t, keptIn(store))
	second = newWorld(t, keptIn(store), func(c *reauth.Config, w *world) {
		w.authority, w.api = first.authority, first.api
		c.Refresher, c.Base = w.authority, w.api
	})
	return first, second
}

// revokingWith lets the authority revoke, noting the refresh token.
func revokingWith(revoked *[]string) func(*reauth.Config, *world) {
	var mu sync.Mutex
	return func(c *reauth.Config, _ *world) {
		c.Refresher = revoking{c.Refresher, func(_ context.Context, tok reauth.Token) error {
			mu.Lock()
			defer mu.Unlock()
			*revoked = append(*revoked, tok.RefreshToken)
			return nil
		}}
	}
}

func assertSignedIn(t *testing.T, w *world, want bool) {
	t.Helper()
	got, err := w.tr.SignedIn(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestSignInAndSignOutTakeTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		first, second := pair(t, store)
		tok := first.signIn(t) // the store refuses what is written without a lease
		second.mustGet(t, http.StatusOK)

		// The second process has the lock while it refreshes.
		first.revoke()
		first.gate = make(chan struct{})
		go func() { _, _ = second.get(t.Context()) }()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { close(first.gate) })
		began := time.Now()
		require.NoError(t, first.tr.SignOut(t.Context()))
		assert.Equal(t, time.Second, time.Since(began))
		_, ok := store.stored(t, "")
		assert.False(t, ok, "the other's refresh was saved before, not after")

		require.NoError(t, first.tr.SignIn(t.Context(), tok))
		assertStored(t, &store.faultyStore, tok.AccessToken)
	})
}

func TestSignInWaitsForAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		first, second := pair(t, store)
		first.signIn(t)
		second.mustGet(t, http.StatusOK)
		first.revoke()
		first.gate = make(chan struct{})
		go func() { _, _ = second.get(t.Context()) }()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { close(first.gate) })
		anew := reauth.Token{AccessToken: "anew", RefreshToken: "anew"}
		began := time.Now()
		require.NoError(t, first.tr.SignIn(t.Context(), anew))
		assert.Equal(t, time.Second, time.Since(began))
		assertStored(t, &store.faultyStore, "anew")
	})
}

func TestSignInAndSignOutDoNotWaitForAFlightOfTheirOwnProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.gate = make(chan struct{})
		go func() { _, _ = w.get(t.Context()) }()
		synctest.Wait()
		locks := store.count("Lock")

		began := time.Now()
		anew := w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		require.NoError(t, w.tr.SignIn(t.Context(), anew))

		assert.Zero(t, time.Since(began))
		assert.Equal(t, locks, store.count("Lock"), "they share its lease")
		close(w.gate)
		require.NoError(t, w.tr.Wait(t.Context()))
		assertStored(t, &store.faultyStore, anew.AccessToken)
	})
}

func TestSignInUnderALostLeaseFailsAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		store.on(onCall("Save", func(context.Context) error { store.lose(); return nil }))
		assert.ErrorIs(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "anew"}), errLeaseLost)
		store.on(nil)
		assertStored(t, &store.faultyStore, "secret-access-1")
		w.mustGet(t, http.StatusOK)
		w.signIn(t)
	})
}

func TestLostLeaseIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.gate = make(chan struct{})
		go func() { _, _ = w.get(t.Context()) }()
		synctest.Wait()
		locks := store.count("Lock")
		store.lose()
		w.signIn(t)
		assert.Equal(t, 1, store.count("Lock")-locks)
		close(w.gate)
	})
}

func TestFailedSignInChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		before func(context.Context, string) error
		want   error
		took   time.Duration
	}{
		"save fails":  {onCall("Save", fails), errFault, 0},
		"save hangs":  {onCall("Save", hangs), context.DeadlineExceeded, time.Second},
		"lock fails":  {onCall("Lock", fails), errFault, 0},
		"lock hangs":  {onCall("Lock", hangs), context.DeadlineExceeded, time.Second},
		"save panics": {onCall("Save", func(context.Context) error { panic("in the store") }), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				w.signIn(t)
				w.mustGet(t, http.StatusOK)
				require.NoError(t, w.tr.Wait(t.Context()))
				store.on(c.before)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				err := w.tr.SignIn(ctx, reauth.Token{AccessToken: "anew", RefreshToken: "anew"})
				require.Error(t, err)
				if c.want != nil {
					assert.ErrorIs(t, err, c.want)
				}
				assert.Equal(t, c.took, time.Since(began))
				store.on(nil)

				w.mustGet(t, http.StatusOK)
				require.NoError(t, w.tr.Wait(t.Context()))
				assertStored(t, store, "secret-access-1")
				assert.Equal(t, 1, w.events.count(reauth.EventSignedIn))
				w.revoke() // the session can be refreshed still
				w.mustGet(t, http.StatusOK)
			})
		})
	}
}

func TestFailedSignInDoesNotFenceTheFlightThatIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.gate = make(chan struct{})
		refused := make(chan error, 1)
		go func() { _, err := w.get(t.Context()); refused <- err }()
		synctest.Wait()
		store.on(onCall("Save", fails))
		require.ErrorIs(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "anew"}), errFault)
		store.on(nil)
		close(w.gate)
		require.NoError(t, <-refused)
		assertStored(t, store, "secret-access-2")
	})
}

func TestMethodsReturnWithTheirCallersContextWhileTheStoreHangs(t *testing.T) {
	methods := map[string]func(context.Context, *world) error{
		"SignIn": func(ctx context.Context, w *world) error {
			return w.tr.SignIn(ctx, reauth.Token{AccessToken: "anew"})
		},
		"SignOut":  func(ctx context.Context, w *world) error { return w.tr.SignOut(ctx) },
		"SignedIn": func(ctx context.Context, w *world) error { _, err := w.tr.SignedIn(ctx); return err },
		"Token":    func(ctx context.Context, w *world) error { _, err := w.tr.Token(ctx); return err },
	}
	for name, call := range methods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// Every call ignores its context, so it is the method that leaves.
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				store.on(func(context.Context, string) error { time.Sleep(20 * time.Second); return nil })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				assert.ErrorIs(t, call(ctx, w), context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(began))
				store.on(nil)
			})
		})
	}
}

func TestMethodsOverAHangingStoreEndWithoutADeadlineOfTheirCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		store.on(func(_ context.Context, call string) error {
			if call != "Lock" {
				time.Sleep(time.Minute)
			}
			return errFault
		})
		for name, call := range map[string]func() error{
			"SignIn":   func() error { return w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "anew"}) },
			"SignOut":  func() error { return w.tr.SignOut(t.Context()) },
			"SignedIn": func() error { _, err := newWorld(t, keptIn(store)).tr.SignedIn(t.Context()); return err },
		} {
			began := time.Now()
			err := call()
			require.Error(t, err, name)
			assert.NotErrorIs(t, err, context.DeadlineExceeded, name)
			assert.NotErrorIs(t, err, context.Canceled, name)
			assert.Less(t, time.Since(began), 31*time.Second, name)
		}
		store.on(nil)
	})
}

func TestFailedSignOutIsOutAllTheSame(t *testing.T) {
	for _, call := range []string{"Lock", "Load", "Delete"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				w.signIn(t)
				require.NoError(t, w.tr.Wait(t.Context()))
				store.on(func(_ context.Context, c string) error {
					if c == call || c == "Delete" {
						return errFault
					}
					return nil
				})

				require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)

				assert.ErrorIs(t, w.events.events[1].Err, errFault)
				store.on(nil)
				assertStored(t, store, "secret-access-1")
				for range 10 {
					_, err := w.get(t.Context())
					require.ErrorIs(t, err, reauth.ErrSignInRequired)
					assertSignedIn(t, w, false)
					time.Sleep(6 * time.Second)
				}
				assert.Zero(t, w.refreshes())

				store.put(t, w.issue())
				w.mustGet(t, http.StatusOK)
				assertSignedIn(t, w, true)
			})
		})
	}
}

func TestFailedSignOutGivesUpWhatAnotherProcessHadStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		store.put(t, w.issue())
		store.on(onCall("Delete", fails))
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		time.Sleep(6 * time.Second)
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		store.on(nil)
	})
}

func TestSignOutGivesUpATokenWhoseSaveComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := owing(t, store)
		tok, err := w.tr.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.tr.SignOut(t.Context()))
		store.put(t, tok)
		time.Sleep(6 * time.Second)
		_, err = w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestStoreCallOfAMethodEndsWithItsCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		began := time.Now()
		for _, call := range []string{"Save", "Delete"} {
			store.on(onCall(call, hangs))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if call == "Save" {
				require.ErrorIs(t, w.tr.SignIn(ctx, w.issue()), context.DeadlineExceeded)
			} else {
				store.put(t, w.issue())
				require.ErrorIs(t, w.tr.SignOut(ctx), context.DeadlineExceeded)
			}
			require.NoError(t, w.tr.Wait(t.Context()))
		}
		assert.Equal(t, 2*time.Second, time.Since(began), "it is not left to hang until RefreshTimeout")
		store.on(nil)
	})
}

func TestSignOutThatCouldNotLoadStillDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		store.on(onCall("Load", fails))
		require.NoError(t, w.tr.SignOut(t.Context()), "nothing is left to be done")
		_, ok := store.stored(t, "")
		assert.False(t, ok)
	})
}

func TestSignOutOfAnUnknownTokenGivesUpTheFirstThatTheStoreShows(t *testing.T) {
	for name, works := range map[string]string{"no lock": "Load", "no answer": "Lock"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				store.put(t, w.issue())
				store.on(func(_ context.Context, call string) error {
					if call == works {
						return nil
					}
					return errFault
				})
				require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
				store.on(nil)
				for range 3 {
					time.Sleep(6 * time.Second)
					_, err := w.get(t.Context())
					require.ErrorIs(t, err, reauth.ErrSignInRequired)
				}
				store.put(t, w.issue())
				time.Sleep(6 * time.Second)
				w.mustGet(t, http.StatusOK)
			})
		})
	}
}

func TestSignOutOfAnUnknownTokenGivesUpNothingOnceTheStoreIsSeenEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		store.on(onCall("Lock", fails))
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		store.on(nil)
		time.Sleep(6 * time.Second)
		_, err := w.get(t.Context()) // sees that there is none
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		store.put(t, w.issue())
		time.Sleep(6 * time.Second)
		w.mustGet(t, http.StatusOK)
	})
}

func TestSignedOutSessionLooksAtTheStoreOncePerRefreshPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		loads := store.count("Load")
		for range 600 { // a minute
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			time.Sleep(100 * time.Millisecond)
		}
		assert.InDelta(t, 12, store.count("Load")-loads, 1)
		assert.Zero(t, w.refreshes())
	})
}

func TestSelfStartingRefresherIsNotAskedAfterSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), func(c *reauth.Config, w *world) { c.Refresher = selfStarting{w.authority} })
		w.mustGet(t, http.StatusOK)
		require.Equal(t, 1, w.refreshes())
		require.NoError(t, w.tr.SignOut(t.Context()))
		for range 10 {
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, w.refreshes())
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestSignOutRevokesTheNewestToken(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(*testing.T, *world, *faultyStore)
		want    string
	}{
		"its own": {func(*testing.T, *world, *faultyStore) {}, "secret-refresh-1"},
		"the store's": {func(t *testing.T, w *world, store *faultyStore) {
			store.put(t, w.issue())
		}, "secret-refresh-2"},
		"one not yet stored": {func(t *testing.T, w *world, store *faultyStore) {
			store.on(onCall("Save", fails))
			w.revoke()
			w.mustGet(t, http.StatusOK)
		}, "secret-refresh-2"},
		"its own where the store has none": {func(t *testing.T, _ *world, store *faultyStore) {
			store.clear(t)
		}, "secret-refresh-1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var revoked []string
				store := new(faultyStore)
				w := newWorld(t, keptIn(store), revokingWith(&revoked))
				w.signIn(t)
				c.arrange(t, w, store)
				require.NoError(t, w.tr.SignOut(t.Context()))
				assert.Equal(t, []string{c.want}, revoked)
				_, ok := store.stored(t, "")
				assert.False(t, ok)
			})
		})
	}
}

func TestSignOutRevokesATokenItHasNotLoadedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked []string
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), revokingWith(&revoked))
		store.put(t, w.issue())
		require.NoError(t, w.tr.SignOut(t.Context()))
		assert.Equal(t, []string{"secret-refresh-1"}, revoked)
	})
}

func TestSignOutRevokesEvenIfTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked []string
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), revokingWith(&revoked))
		w.signIn(t)
		store.on(onCall("Delete", fails))
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		assert.Equal(t, []string{"secret-refresh-1"}, revoked)
		store.on(nil)
	})
}

func TestSignOutReturnsTheErrorOfRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), func(c *reauth.Config, w *world) {
			c.Refresher = revoking{w.authority, func(context.Context, reauth.Token) error { return errFault }}
		})
		w.signIn(t)
		require.ErrorIs(t, w.tr.SignOut(t.Context()), errFault)
		_, ok := store.stored(t, "")
		assert.False(t, ok)
		assertSignedIn(t, w, false)
	})
}

func TestRevokeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Refresher = revoking{w.authority, func(ctx context.Context, _ reauth.Token) error {
				<-ctx.Done()
				return ctx.Err()
			}}
		})
		w.signIn(t)
		began := time.Now()
		err := w.tr.SignOut(t.Context())
		require.Error(t, err)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
}

func TestOtherProcessesNoticeASignOutAtTheirNextFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		first, second := pair(t, store)
		first.signIn(t)
		second.mustGet(t, http.StatusOK)
		require.NoError(t, first.tr.SignOut(t.Context()))
		second.mustGet(t, http.StatusOK)
		first.revoke()
		_, err := second.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, first.mostSpent())
	})
}

func TestSignInOfATokenThatCannotBeUsedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		require.Error(t, w.tr.SignIn(t.Context(), reauth.Token{}))
		require.Error(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "two\nlines"}))
		assert.Zero(t, store.count("Save"))
		assertSignedIn(t, w, false)
	})
}

func TestSignInWithARefreshTokenAloneRefreshesBeforeTheFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tok := w.issue()
		tok.AccessToken = ""
		require.NoError(t, w.tr.SignIn(t.Context(), tok))
		assertAllOK(t, w.storm(t.Context(), 20))
		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 20, w.api.requests())
	})
}

func TestRefreshOfATokenThatIsNotCachedYetIsStillARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		tok := w.issue()
		store.put(t, tok)
		got, err := w.tr.Refresh(t.Context(), tok)
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken)
		got, err = w.tr.Refresh(t.Context(), tok)
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken, "replaced already")
		assert.Equal(t, 1, w.refreshes())
		_, err = w.tr.Refresh(t.Context(), got)
		refresh, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, 5*time.Second, refresh.RetryAfter)
	})
}

func TestWaitForNothingReturnsAtOnceThoughItsContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		require.NoError(t, w.tr.Wait(t.Context())) // for the lock to be given back
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.NoError(t, w.tr.Wait(ctx))
	})
}

func TestRefreshKnowsTheRefusedTokenByItsAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tok := w.signIn(t)
		got, err := w.tr.Refresh(t.Context(), reauth.Token{AccessToken: tok.AccessToken}) // as from an oauth2.Token
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken)
		got, err = w.tr.Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken, "the zero Token is no refusal")
		assert.Equal(t, 1, w.refreshes())
	})
}
