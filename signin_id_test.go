package reauth_test

import (
	"context"
	"errors"
	"fmt"
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

// Tests of what a Token says beside the tokens, and of revocations that fail.

func TestASignInIDIsGivenBySignInAndKeptByRefreshes(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		id := func() string {
			tok, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			stored, _ := w.Store.Stored(t, "")
			assert.Equal(t, stored.SignInID, tok.SignInID)
			return tok.SignInID
		}
		given := w.Issue()
		given.SignInID = "a caller's own"
		require.NoError(t, w.Transport.SignIn(t.Context(), given))
		first := id()
		assert.NotEmpty(t, first)
		assert.NotEqual(t, given.SignInID, first, "each SignIn is another")
		for range 2 {
			time.Sleep(time.Minute)
			w.Revoke()
			w.Answer(func(context.Context) (reauth.Token, error) {
				tok := w.Issue()
				tok.SignInID = "a refresher's own"
				return tok, nil
			})
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, first, id())
		}
		require.NoError(t, w.Transport.SignIn(t.Context(), w.Issue()))
		second := id()
		assert.NotEqual(t, first, second)
		require.NoError(t, w.Transport.SignIn(t.Context(), given))
		assert.NotEqual(t, second, id())
	})
}

func TestATokenWithoutASignInIDIsOfTheSignInAtHand(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Store.Put(t, w.Issue()) // by a program that keeps four fields
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.API.Requests(), "replayed with the adopted token")
	})
}

// expiring answers each refresh with a token of an hour with these other times.
func expiring(w *testworld.World, times func(*reauth.Token)) {
	for range 100 {
		w.Answer(func(context.Context) (reauth.Token, error) {
			tok := w.Issue()
			tok.Expiry = time.Now().Add(time.Hour)
			times(&tok)
			return tok, nil
		})
	}
}

// refreshTimes polls for so long, once a second, and returns when refreshes were sent.
func refreshTimes(t *testing.T, w *testworld.World, during time.Duration) []time.Duration {
	t.Helper()
	began := w.CallTimes()
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(time.Second) {
		w.MustGet(t, http.StatusOK)
	}
	return w.CallTimes()[len(began):]
}

func TestASessionIsRefreshedBeforeItsRefreshTokenExpires(t *testing.T) {
	for name, tc := range map[string]struct {
		early time.Duration
		after time.Duration // 0: not before the expiry of the refresh token
	}{
		"by default": {0, 25 * time.Minute}, "with a window as set": {10 * time.Minute, 20 * time.Minute}, "never early": {-1, 0},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			expiring(w, func(tok *reauth.Token) { tok.RefreshExpiry = time.Now().Add(30 * time.Minute) })
			require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
			calls := refreshTimes(t, w, 31*time.Minute)
			if tc.after == 0 {
				assert.Len(t, calls, 1)
				return
			}
			require.Len(t, calls, 2)
			assert.Greater(t, calls[1], tc.after-7*time.Minute)
			assert.Less(t, calls[1], 30*time.Minute)
		}, func(c *reauth.Config, _ *testworld.World) { c.EarlyRefresh = tc.early })
	}
}

func TestARefreshTokenThatStaysTheSameKeepsItsExpiry(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		expires := time.Now().Add(time.Hour)
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "r", RefreshExpiry: expires}))
		for _, next := range []reauth.Token{{AccessToken: "1"}, {AccessToken: "2", RefreshToken: "r"}} {
			w.Answer(func(context.Context) (reauth.Token, error) { return next, nil })
			tok, err := w.Transport.Token(t.Context())
			require.NoError(t, err)
			if tok.AccessToken != next.AccessToken {
				time.Sleep(5 * time.Second)
				tok, err = w.Transport.Refresh(t.Context(), tok)
				require.NoError(t, err)
			}
			assert.True(t, expires.Equal(tok.RefreshExpiry), "%v", tok.RefreshExpiry)
		}
		w.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{AccessToken: "3", RefreshToken: "another"}, nil
		})
		time.Sleep(5 * time.Second)
		tok, err := w.Transport.Refresh(t.Context(), reauth.Token{AccessToken: "2"})
		require.NoError(t, err)
		assert.True(t, tok.RefreshExpiry.IsZero(), "not known of another one")
	})
}

func TestASessionIsRefreshedWhenTheServerAsksForIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		expiring(w, func(tok *reauth.Token) { tok.RefreshAfter = time.Now().Add(10 * time.Minute) })
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
		calls := refreshTimes(t, w, 19*time.Minute)
		require.Len(t, calls, 2)
		assert.GreaterOrEqual(t, calls[1], 10*time.Minute)
		assert.Less(t, calls[1], 19*time.Minute, "a little later, so that not all clients ask at once")
	})
}

// The spread depends on how soon the server asks, not on the lifetime alone, which may be
// years or unknown.
func TestARefreshThatTheServerAsksForIsNotPutOffByALongLifetime(t *testing.T) {
	for name, expiry := range map[string]func() time.Time{
		"unknown": func() time.Time { return time.Time{} },
		"a year":  func() time.Time { return time.Now().Add(365 * 24 * time.Hour) },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			expiring(w, func(tok *reauth.Token) {
				tok.Expiry, tok.RefreshAfter = expiry(), time.Now().Add(10*time.Minute)
			})
			require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
			calls := refreshTimes(t, w, 11*time.Minute)
			require.Len(t, calls, 2)
			assert.GreaterOrEqual(t, calls[1], 10*time.Minute)
		})
	}
}

func TestTimesThatAreOverAlreadyCauseNoRefreshPerRequest(t *testing.T) {
	for name, times := range map[string]func(*reauth.Token){
		"RefreshAfter":                func(tok *reauth.Token) { tok.RefreshAfter = time.Now().Add(-time.Second) },
		"RefreshAfter, at this time":  func(tok *reauth.Token) { tok.RefreshAfter = time.Now() },
		"RefreshExpiry":               func(tok *reauth.Token) { tok.RefreshExpiry = time.Now().Add(-time.Second) },
		"RefreshExpiry, at this time": func(tok *reauth.Token) { tok.RefreshExpiry = time.Now() },
		"both, far in the past": func(tok *reauth.Token) {
			tok.RefreshExpiry, tok.RefreshAfter = time.Unix(1, 0), time.Unix(1, 0)
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			expiring(w, times)
			require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
			assert.Len(t, refreshTimes(t, w, time.Minute), 1)
		})
	}
}

func TestAStoredTokenThatTheServerAskedToRefreshIsRefreshedAtOnce(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Expiry, tok.RefreshAfter = time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
		w.Store.Put(t, tok)
		w.MustGet(t, http.StatusOK)
		w.MustGet(t, http.StatusOK)
		w.Wait(t)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestWhatAnswersAddToExtraIsBounded(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Extra = map[string]string{"large": strings.Repeat("x", 100<<10)}
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		got, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Len(t, got.Extra["large"], 100<<10, "what a sign-in brings is the caller's own")

		// A refresher that, as all in this module do, keeps what the token had before.
		refresh := func(name, value string) map[string]string {
			t.Helper()
			w.Answer(func(context.Context) (reauth.Token, error) {
				next := w.Issue()
				next.Extra = map[string]string{name: value}
				for k, v := range w.Asked()[w.Refreshes()-1].Extra {
					if k != name {
						next.Extra[k] = v
					}
				}
				return next, nil
			})
			time.Sleep(time.Minute)
			got, err = w.Transport.Refresh(t.Context(), got)
			require.NoError(t, err)
			size := 0
			for k, v := range got.Extra {
				size += len(k) + len(v)
			}
			assert.LessOrEqual(t, size, 64<<10)
			stored, _ := w.Store.Stored(t, "")
			assert.Equal(t, got.Extra, stored.Extra)
			return got.Extra
		}
		extra := refresh("id_token", "first")
		assert.Equal(t, map[string]string{"id_token": "first"}, extra, "the old one that is too large goes")
		for n := range 50 {
			name := fmt.Sprintf("member-%02d", n)
			extra = refresh(name, strings.Repeat("y", 10<<10))
			assert.Contains(t, extra, name, "what the answer brought stays")
			assert.Contains(t, extra, "id_token")
		}
		extra = refresh("huge", strings.Repeat("z", 64<<10))
		assert.NotContains(t, extra, "huge", "unless it is too large by itself")
	})
}

// revoking is a Revoker that fails as long as it is told to, and notes what it was given.
type revoking struct {
	reauth.Refresher
	fails   bool
	revoked []string
}

func (r *revoking) Revoke(_ context.Context, tok reauth.Token) error {
	r.revoked = append(r.revoked, tok.RefreshToken)
	if r.fails {
		return errors.New("the revocation endpoint is down, and so is " + tok.RefreshToken)
	}
	return nil
}

// withRevoking runs a test whose revocations fail.
func withRevoking(t *testing.T, f func(*testing.T, *testworld.World, *revoking)) {
	t.Helper()
	r := &revoking{fails: true}
	testworld.Run(t, func(t *testing.T, w *testworld.World) { f(t, w, r) }, func(c *reauth.Config, w *testworld.World) {
		r.Refresher = w.Authority
		c.Refresher = r
	})
}

func TestASignOutRevokesWhatAnEarlierOneCouldNot(t *testing.T) {
	withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
		w.SignIn(t)
		for range 2 {
			err := w.Transport.SignOut(t.Context())
			require.ErrorContains(t, err, "the revocation endpoint is down")
			assert.NotContains(t, err.Error(), "secret-")
			w.AssertStored(t, "")
		}
		w.SignIn(t)
		require.Error(t, w.Transport.SignOut(t.Context()))
		r.fails, r.revoked = false, nil
		require.NoError(t, w.Transport.Session("another").SignOut(t.Context()))
		assert.Empty(t, r.revoked)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.ElementsMatch(t, []string{"secret-refresh-1", "secret-refresh-2"}, r.revoked)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.Len(t, r.revoked, 2, "once that is done")
	})
}

func TestARevocationThatFailsIsRetriedForAnHour(t *testing.T) {
	for after, want := range map[time.Duration]int{time.Hour: 1, time.Hour + time.Nanosecond: 0} {
		withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
			w.SignIn(t)
			require.Error(t, w.Transport.SignOut(t.Context()))
			r.fails, r.revoked = false, nil
			time.Sleep(after)
			require.NoError(t, w.Transport.SignOut(t.Context()))
			assert.Len(t, r.revoked, want)
		})
	}
}

func TestRevocationsThatFailAreKeptOf1024Sessions(t *testing.T) {
	withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
		name := func(i int) string { return fmt.Sprint("user-", i) }
		for i := range 1025 {
			w.SignInAs(t, name(i))
			require.Error(t, w.Transport.Session(name(i)).SignOut(t.Context()))
		}
		r.fails = false
		for i, want := range map[int]int{0: 0, 1: 1, 1024: 1} {
			r.revoked = nil
			require.NoError(t, w.Transport.Session(name(i)).SignOut(t.Context()))
			assert.Len(t, r.revoked, want, "the oldest goes")
		}
	})
}

func TestATokenThatCameTooLateAndCouldNotBeRevokedIsRevokedByTheNextSignOut(t *testing.T) {
	withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
		signedInAndRefused(t, w)
		w.Gate = make(chan struct{})
		request := w.Start(t.Context())
		r.fails = false
		require.NoError(t, w.Transport.SignOut(t.Context()))
		r.fails = true
		close(w.Gate)
		require.Error(t, (<-request).Err)
		w.Wait(t)
		r.fails, r.revoked = false, nil
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.Equal(t, []string{"secret-refresh-2"}, r.revoked)
	})
}

func TestACallThatJoinsAnEarlierAttemptToLockHasItsOwnTime(t *testing.T) {
	for name, call := range map[string]func(*testing.T, *testworld.World) error{
		"SignIn":  func(t *testing.T, w *testworld.World) error { return w.Transport.SignIn(t.Context(), anew) },
		"SignOut": func(t *testing.T, w *testworld.World) error { return w.Transport.SignOut(t.Context()) },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			synctest.Wait()
			unlock := w.Store.Hold(t)
			request := w.Start(t.Context()) // its attempt lasts 30 s
			time.Sleep(29 * time.Second)
			time.AfterFunc(5*time.Second, unlock)
			began := time.Now()
			require.NoError(t, call(t, w))
			assert.Equal(t, 5*time.Second, time.Since(began))
			require.Error(t, (<-request).Err)
		})
		testworld.Case(t, name+", and nobody unlocks", func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			synctest.Wait()
			unlock := w.Store.Hold(t)
			w.Start(t.Context())
			time.Sleep(29 * time.Second)
			began := time.Now()
			require.Error(t, call(t, w))
			assert.InDelta(t, 31, time.Since(began).Seconds(), 1)
			unlock()
		})
	}
}

// observed is a Store, or a refresher, that uses a Transport of its own.
type observed struct {
	reauth.MemoryStore
	see func(context.Context)
}

func (o *observed) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	o.see(ctx)
	return o.MemoryStore.Load(ctx, session)
}

func (o *observed) Save(ctx context.Context, session string, tok reauth.Token) error {
	o.see(ctx)
	return o.MemoryStore.Save(ctx, session, tok)
}

func (o *observed) Delete(ctx context.Context, session string) error {
	o.see(ctx)
	return o.MemoryStore.Delete(ctx, session)
}

func (o *observed) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	o.see(ctx)
	return o.MemoryStore.Lock(ctx, session)
}

// The session that a caller picks means nothing to the Transport that a store or a
// refresher uses: there it would name another identity, or none.
func TestNamesOfSessionsDoNotReachTheTransportsOfAStoreOrARefresher(t *testing.T) {
	for name, use := range map[string]func(context.Context, *testing.T, *testworld.World){
		"SignIn": func(ctx context.Context, t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignIn(ctx, w.IssueFor("ann")))
		},
		"SignedIn": func(ctx context.Context, t *testing.T, w *testworld.World) {
			_, err := w.Transport.SignedIn(ctx)
			require.NoError(t, err)
		},
		"SignOut": func(ctx context.Context, t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignOut(ctx))
		},
		"a request": func(ctx context.Context, t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignIn(ctx, reauth.Token{RefreshToken: "alone"}))
			_, err := w.Get(ctx)
			require.NoError(t, err)
		},
	} {
		inner := func(t *testing.T) (*testworld.World, func(context.Context)) {
			w := testworld.New(t)
			w.SignIn(t)
			return w, func(ctx context.Context) {
				status, err := w.Get(ctx)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
			}
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				theirs, see := inner(t)
				w := testworld.New(t, func(c *reauth.Config, w *testworld.World) {
					c.Store = &observed{see: see}
					c.Refresher = reauth.RefresherFunc(func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
						see(ctx)
						return w.IssueFor(reauth.SessionFromContext(ctx)), nil
					})
				})
				use(reauth.WithSession(t.Context(), "ann"), t, w)
				assert.NotZero(t, theirs.API.Requests())
			})
		})
	}
}

func TestASignOutRevokesBothRefreshTokensWhileItIsNotCertainWhichIsGood(t *testing.T) {
	withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
		r.fails = false
		signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{RefreshToken: "secret-refresh-salvaged"}, testworld.ErrFault
		})
		w.AssertTemporaryFailure(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-salvaged"}, r.revoked)
	})
}

func TestASignOutRevokesTheNewestTokenThoughTheStoreHasForgottenIt(t *testing.T) {
	withRevoking(t, func(t *testing.T, w *testworld.World, r *revoking) {
		r.fails = false
		signedInAndRefused(t, w)
		first, _ := w.Store.Stored(t, "")
		w.MustGet(t, http.StatusOK)
		w.Store.Put(t, first)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.Equal(t, []string{"secret-refresh-2"}, r.revoked)
	})
}
