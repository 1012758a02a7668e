package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// The tests of what happens inside a flight up to the refresh: lock, load,
// compare, ask. What becomes of the answer is in flight_save_test.go and
// flight_final_test.go.

func keptIn(store reauth.Store) func(*reauth.Config, *world) {
	return func(c *reauth.Config, _ *world) { c.Store = store }
}

// A recorder notes what its Refresher is given.
type recorder struct {
	reauth.Refresher
	mu    sync.Mutex
	asked []reauth.Token
}

func (r *recorder) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	r.mu.Lock()
	r.asked = append(r.asked, old)
	r.mu.Unlock()
	return r.Refresher.Refresh(ctx, old)
}

// refreshTokens is what was spent, in order.
func (r *recorder) refreshTokens() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tokens := []string{}
	for _, tok := range r.asked {
		tokens = append(tokens, tok.RefreshToken)
	}
	return tokens
}

// recorded puts a recorder before the authority.
func recorded(r *recorder) func(*reauth.Config, *world) {
	return func(c *reauth.Config, w *world) {
		r.Refresher = w.authority
		c.Refresher = r
	}
}

// selfStarting is a Refresher that needs no token to start from, as one for
// client credentials.
type selfStarting struct{ *authority }

func (s selfStarting) Refresh(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
	return s.authority.Refresh(ctx, reauth.Token{RefreshToken: "of the client"})
}

// put stores tok as another process would.
func (s *faultyStore) put(t *testing.T, tok reauth.Token) {
	t.Helper()
	require.NoError(t, s.MemoryStore.Save(context.Background(), "", tok))
}

// clear deletes the token as another process would.
func (s *faultyStore) clear(t *testing.T) {
	t.Helper()
	require.NoError(t, s.MemoryStore.Delete(context.Background(), ""))
}

// onCall makes only one call answer with f.
func onCall(call string, f func(context.Context) error) func(context.Context, string) error {
	return func(ctx context.Context, c string) error {
		if c != call {
			return nil
		}
		return f(ctx)
	}
}

func fails(context.Context) error { return errFault }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// assertPassing asserts that err is a passing fault.
func assertPassing(t *testing.T, err error) {
	t.Helper()
	_, ok := errors.AsType[*reauth.RefreshError](err)
	assert.True(t, ok, "%v", err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	assert.NotErrorIs(t, err, context.Canceled)
}

func TestFlightWhoseLockOrLoadFailsSendsNoRefresh(t *testing.T) {
	for _, call := range []string{"Lock", "Load"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				w.signIn(t)
				w.revoke()
				store.on(onCall(call, fails))

				_, err := w.get(t.Context())

				assertPassing(t, err)
				require.ErrorIs(t, err, errFault)
				assert.Zero(t, w.refreshes(), "another process may have spent the token")
				signedIn, err := w.tr.SignedIn(t.Context())
				require.NoError(t, err)
				assert.True(t, signedIn)
				store.on(nil)
				time.Sleep(time.Second)
				w.mustGet(t, http.StatusOK)
				assert.Equal(t, 1, w.refreshes())
			})
		})
	}
}

func TestFlightWaitsForTheLockAtMostRefreshTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		require.NoError(t, w.tr.Wait(t.Context()))
		_, unlock, err := store.MemoryStore.Lock(t.Context(), "") // another process
		require.NoError(t, err)

		for _, r := range w.storm(t.Context(), 10) {
			assertPassing(t, r.err)
			assert.Equal(t, 30*time.Second, r.took)
		}
		assert.Zero(t, w.refreshes())
		unlock()
		time.Sleep(time.Second)
		w.mustGet(t, http.StatusOK)
	})
}

func TestFlightDoesNotWaitForALockThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		locks := store.count("Lock")
		store.on(onCall("Lock", func(context.Context) error { time.Sleep(10 * time.Minute); return nil }))

		for range 5 {
			for _, r := range w.storm(t.Context(), 10) {
				assertPassing(t, r.err)
				assert.LessOrEqual(t, r.took, 31*time.Second)
			}
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, store.count("Lock")-locks, "no second one before the first has returned")
		assert.Zero(t, w.refreshes())

		store.on(nil)
		time.Sleep(10 * time.Minute)
		w.mustGet(t, http.StatusOK) // what the late Lock got was given back
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestFlightOfALockThatReturnsNothingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keptIn(emptyLocker{new(reauth.MemoryStore)}))
		err := w.tr.SignIn(t.Context(), w.issue())
		assert.ErrorContains(t, err, "neither a lock nor an error")
	})
}

type emptyLocker struct{ reauth.Store }

func (emptyLocker) Lock(context.Context, string) (context.Context, func(), error) {
	return nil, nil, nil
}

func TestFlightRefreshesFromWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, asked := new(faultyStore), new(recorder)
		w := newWorld(t, keptIn(store), recorded(asked))
		tok := w.issue()
		require.NoError(t, w.tr.SignIn(t.Context(), tok))
		w.revoke()
		// The same by value, whatever else another process has written there.
		tok.Expiry, tok.Extra = time.Now().Add(time.Hour), map[string]string{"scope": "read"}
		store.put(t, tok)
		w.mustGet(t, http.StatusOK)
		require.Len(t, asked.asked, 1)
		assert.Equal(t, tok.Extra, asked.asked[0].Extra)
		assert.Equal(t, []string{"secret-refresh-1"}, asked.refreshTokens())
	})
}

func TestFlightOfASessionDeletedElsewhereAsksWithTheZeroToken(t *testing.T) {
	for name, starts := range map[string]bool{"a user's": false, "a client's": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, asked := new(faultyStore), new(recorder)
				w := newWorld(t, keptIn(store), recorded(asked), func(_ *reauth.Config, w *world) {
					if starts {
						asked.Refresher = selfStarting{w.authority}
					}
				})
				w.signIn(t)
				w.revoke()
				store.clear(t)

				status, err := w.get(t.Context())

				assert.Equal(t, []string{""}, asked.refreshTokens(), "the old one is not spent")
				if starts {
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
					return
				}
				require.ErrorIs(t, err, reauth.ErrSignInRequired)
				assert.Equal(t, 1, w.events.count(reauth.EventSignInRequired))
			})
		})
	}
}

func TestFlightAdoptsWhatAnotherProcessStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.lifetime = time.Hour
		w.signIn(t)
		theirs := w.issue()
		// It ends before ours does: which is newer is not a matter of clocks.
		theirs.Expiry = time.Now().Add(time.Minute)
		store.put(t, theirs)

		assertAllOK(t, w.storm(t.Context(), 20))

		assert.Zero(t, w.refreshes())
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
		assert.Zero(t, w.events.count(reauth.EventRefreshStarted))
		tok, err := w.tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, theirs, tok)
	})
}

func TestFlightAdoptsATokenOfWhichOnlyOnePartDiffers(t *testing.T) {
	for name, change := range map[string]func(*reauth.Token){
		"access token":  func(tok *reauth.Token) { tok.AccessToken = "theirs" },
		"refresh token": func(tok *reauth.Token) { tok.RefreshToken = "theirs" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				tok := w.signIn(t)
				w.revoke()
				change(&tok)
				store.put(t, tok)
				w.mustGet(t, http.StatusUnauthorized)
				assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
				assert.Zero(t, w.refreshes())
			})
		})
	}
}

func TestFlightRefreshesFromAnExpiredTokenThatAnotherProcessStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, asked := new(faultyStore), new(recorder)
		w := newWorld(t, keptIn(store), recorded(asked))
		w.lifetime = time.Minute
		w.signIn(t)
		time.Sleep(30 * time.Second)
		store.put(t, w.issue())
		time.Sleep(2 * time.Minute)
		locks := store.count("Lock")

		w.mustGet(t, http.StatusOK)

		assert.Equal(t, []string{"secret-refresh-2"}, asked.refreshTokens())
		assert.Equal(t, 1, store.count("Lock")-locks, "under the same lock")
		assert.Equal(t, 1, w.events.count(reauth.EventRefreshed))
		assert.Zero(t, w.events.count(reauth.EventAdopted))
	})
}

func TestFlightTakesTheTokenUnderTheLockWhereNoneWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The store's token has expired when this process first looks, and has been
		// replaced by the time it gets the lock.
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.lifetime = time.Minute
		store.put(t, w.issue())
		time.Sleep(2 * time.Minute)
		_, unlock, err := store.MemoryStore.Lock(t.Context(), "") // another process
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() {
			store.put(t, w.issue())
			unlock()
		})
		w.mustGet(t, http.StatusOK)
		assert.Zero(t, w.refreshes())
		assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
	})
}

func TestFirstLoadFromTheStoreIsNoAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		store.put(t, w.issue())
		w.mustGet(t, http.StatusOK)
		assert.Empty(t, w.events.kinds())
		assert.Zero(t, store.count("Lock"), "nothing is written")
		// It starts no pause either.
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestRefreshIsNotAbortedByALostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.answer(func(ctx context.Context) (reauth.Token, error) {
			store.lose()
			time.Sleep(time.Second)
			assert.NoError(t, ctx.Err())
			return w.issue(), nil
		})
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestEachStepOfAFlightHasATimeoutOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		w.revoke()
		w.latency = 29 * time.Second
		store.on(func(ctx context.Context, call string) error {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok, "%s is bounded", call)
			assert.Equal(t, 30*time.Second, time.Until(deadline), call)
			time.Sleep(29 * time.Second)
			return nil
		})
		began := time.Now()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 4*29*time.Second, time.Since(began), "lock, load, refresh, save")
		store.on(nil)
	})
}

func TestStoreCallsOfAFlightFindTheirLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		store := new(leasingStore)
		w := newWorld(t, keptIn(store))
		w.signIn(t)
		seen := map[string]int{}
		check := func(ctx context.Context, call string) error {
			if call == "Lock" {
				assert.Nil(t, ctx.Value(leaseKey{}))
				return nil
			}
			seen[call]++
			assert.NotNil(t, ctx.Value(leaseKey{}), "%s has the values of held", call)
			assert.Equal(t, "mine", ctx.Value(key{}), "held was made from the request's values")
			assert.Equal(t, "", reauth.SessionFromContext(ctx))
			return nil
		}
		store.on(check)
		ctx := context.WithValue(t.Context(), key{}, "mine")
		w.revoke()
		_, err := w.get(ctx)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		w.revoke()
		w.answer(failing(reauth.ErrSignInRequired))
		_, err = w.get(ctx)
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, map[string]int{"Load": 3, "Save": 1, "Delete": 1}, seen)

		store.on(nil)
		w.signIn(t)
		clear(seen)
		store.on(check)
		require.NoError(t, w.tr.SignIn(ctx, w.issue()))
		require.NoError(t, w.tr.SignOut(ctx))
		assert.Equal(t, map[string]int{"Load": 1, "Save": 1, "Delete": 1}, seen)
	})
}

func TestSaveAndDeleteAreBounded(t *testing.T) {
	ignores := func(context.Context) error { time.Sleep(40 * time.Second); return errFault }
	for name, ends := range map[string]func(context.Context) error{"heeds its context": hangs, "ignores it": ignores} {
		for _, call := range []string{"Save", "Delete"} {
			t.Run(call+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := new(faultyStore)
					w := newWorld(t, keptIn(store))
					w.signIn(t)
					w.revoke()
					if call == "Delete" {
						w.answer(failing(reauth.ErrSignInRequired))
					}
					store.on(onCall(call, ends))
					for _, r := range w.storm(t.Context(), 5) {
						assert.InDelta(t, 30, r.took.Seconds(), 0.2)
						if call == "Delete" {
							assert.ErrorIs(t, r.err, reauth.ErrSignInRequired)
						} else {
							assert.NoError(t, r.err)
						}
					}
					store.on(nil)
				})
			})
		}
	}
}

// What a handler of EventRefreshStarted takes its time for may make the refresh
// wrong: then the token that it would spend is not spent.
func TestNoRefreshIsBegunOnceItHasBecomeWrong(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(*testing.T, *world, *leasingStore)
	}{
		{"the lock is lost", func(_ *testing.T, _ *world, store *leasingStore) { store.lose() }},
		{"the user has signed in", func(t *testing.T, w *world, _ *leasingStore) { w.signIn(t) }},
		{"the user has signed out", func(t *testing.T, w *world, _ *leasingStore) {
			assert.NoError(t, w.tr.SignOut(t.Context()))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &leasingStore{}
				w := newWorld(t, func(c *reauth.Config, w *world) {
					c.Store = store
					c.OnEvent = func(_ context.Context, e reauth.Event) {
						if e.Kind == reauth.EventRefreshStarted {
							tc.meanwhile(t, w, store)
						}
					}
				})
				w.signIn(t)
				w.revoke()
				_, err := w.get(t.Context())
				require.Error(t, err)
				assert.Zero(t, w.refreshes())
			})
		})
	}
}

func TestHandlersKeepNobodyOffTheSessionInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		var heard []reauth.EventKind
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Store = store
			c.OnEvent = func(ctx context.Context, e reauth.Event) {
				if e.Kind == reauth.EventRefreshStarted { // the one for which the session is locked
					return
				}
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, unlock, err := store.MemoryStore.Lock(ctx, "")
				if assert.NoError(t, err, "%v", e.Kind) {
					unlock()
				}
				heard = append(heard, e.Kind)
			}
		})
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		time.Sleep(5 * time.Second)
		store.put(t, w.issue())
		w.mustGet(t, http.StatusOK)
		time.Sleep(5 * time.Second)
		w.answer(failing(errFault))
		w.revoke()
		_, err := w.get(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		w.answer(failing(errTurnedDown))
		_, err = w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		w.signIn(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshed, reauth.EventReplayed, reauth.EventAdopted, reauth.EventReplayed,
			reauth.EventRefreshFailed, reauth.EventRefreshFailed, reauth.EventSignInRequired, reauth.EventSignedIn, reauth.EventSignedOut,
		}, heard)
	})
}

// A store may have a client that itself signs in somewhere.
func TestAStoreThatMustSignInSignsNobodyOut(t *testing.T) {
	elsewhere := fmt.Errorf("the vault: %w", reauth.ErrSignInRequired)
	for _, call := range []string{"Load", "Lock"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, keptIn(store))
				w.signIn(t)
				w.revoke()
				store.on(onCall(call, func(context.Context) error { return elsewhere }))
				_, err := w.get(t.Context())
				assertPassing(t, err)
				assertStored(t, store, "secret-access-1")
				store.on(nil)
			})
		})
	}
}
