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
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of Update.

// stepUp is what a program might do in an Update: it gets a token with other rights.
func stepUp(w *testworld.World) func(context.Context, reauth.Token) (reauth.Token, error) {
	return func(_ context.Context, old reauth.Token) (reauth.Token, error) {
		tok := w.Issue()
		tok.SignInID = old.SignInID
		tok.Extra = map[string]string{"acr": "gold"}
		return tok, nil
	}
}

func TestUpdateStoresWhatItsFunctionReturnsAndUsesIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedIn := w.SignIn(t)
		var given reauth.Token
		got, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			given = old
			assert.Equal(t, "", reauth.SessionFromContext(ctx))
			return stepUp(w)(ctx, old)
		})
		require.NoError(t, err)
		assert.Equal(t, signedIn.AccessToken, given.AccessToken)
		assert.Equal(t, signedIn.RefreshToken, given.RefreshToken)
		assert.NotEmpty(t, given.SignInID)
		assert.Equal(t, "secret-access-2", got.AccessToken)
		stored, ok := w.Store.Stored(t, "")
		require.True(t, ok)
		assert.Equal(t, got, stored)
		assert.Equal(t, map[string]string{"acr": "gold"}, stored.Extra)
		assert.Equal(t, given.SignInID, stored.SignInID)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-access-2"}, bearers(w))
		assert.Zero(t, w.Refreshes())
		assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshed))
	})
}

func TestUpdateLeavesOutWhatItsFunctionLeavesOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
			return reauth.Token{AccessToken: w.Issue().AccessToken}, nil
		})
		require.NoError(t, err)
		stored, _ := w.Store.Stored(t, "")
		assert.Empty(t, stored.RefreshToken, "unlike a refresh, it is stored as it is")
		assert.NotEmpty(t, stored.SignInID, "it is of the same sign-in")
	})
}

func TestUpdateOfASessionWithoutATokenIsGivenNone(t *testing.T) {
	for name, with := range map[string]testworld.Setting{
		"the refresher can start without one": func(*reauth.Config, *testworld.World) {},
		"the refresher needs one":             func(c *reauth.Config, w *testworld.World) { c.Refresher = needsToken{w.Authority} },
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			_, err := w.Transport.Session("ann").Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
				assert.Zero(t, old)
				assert.Equal(t, "ann", reauth.SessionFromContext(ctx))
				return w.IssueFor("ann"), nil // an import
			})
			require.NoError(t, err)
			w.MustGetAs(t, "ann", http.StatusOK)
			w.AssertStored(t, "")
		}, with)
	}
}

func TestUpdateRunsAlone(t *testing.T) {
	testworld.Run(t, func(t *testing.T, a *testworld.World) {
		b := a.Beside(t)
		a.SignIn(t)
		running, most := 0, 0
		var mu sync.Mutex
		var seen []string
		fn := func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			mu.Lock()
			running++
			most = max(most, running)
			seen = append(seen, old.AccessToken)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			running--
			return a.Issue(), nil
		}
		var wg sync.WaitGroup
		for range 5 {
			for _, w := range []*testworld.World{a, b} {
				wg.Go(func() {
					_, err := w.Transport.Update(t.Context(), fn)
					assert.NoError(t, err)
				})
			}
		}
		wg.Wait()
		assert.Equal(t, 1, most)
		assert.Len(t, seen, 10)
		distinct := map[string]bool{}
		for _, token := range seen {
			distinct[token] = true
		}
		assert.Len(t, distinct, 10, "each starts from what the one before has stored: %v", seen)
		a.AssertStored(t, "secret-access-11")
	})
}

func TestRequestsThatNeedARefreshWaitForAnUpdate(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		updated := make(chan error, 1)
		go func() {
			_, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
				time.Sleep(time.Second)
				return stepUp(w)(ctx, old)
			})
			updated <- err
		}()
		synctest.Wait()
		for _, r := range w.Storm(t.Context(), 5) {
			require.NoError(t, r.Err)
			assert.Equal(t, http.StatusOK, r.Status)
			assert.Equal(t, time.Second, r.Took)
		}
		require.NoError(t, <-updated)
		assert.Zero(t, w.Refreshes())
	})
}

func TestAnUpdateWaitsForTheRefreshThatIsUp(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Latency = time.Second
		request := w.Start(t.Context())
		got, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			assert.Equal(t, "secret-access-2", old.AccessToken)
			return stepUp(w)(ctx, old)
		})
		require.NoError(t, err)
		assert.Equal(t, "secret-access-3", got.AccessToken)
		require.NoError(t, (<-request).Err)
		assert.Equal(t, 1, w.MostSpent())
	})
}

func TestAnErrorOfAnUpdateReachesItsCallerAlone(t *testing.T) {
	denied := errors.New("the user has denied it")
	for name, cause := range map[string]error{
		"temporary": denied, "final": errors.Join(denied, reauth.ErrSignInRequired),
		"of its own context": errors.Join(denied, context.DeadlineExceeded),
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Only(http.StatusOK, reauth.Token{AccessToken: "secret-access-1"})
			updated := make(chan error, 1)
			go func() {
				_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
					time.Sleep(time.Second)
					return reauth.Token{}, cause
				})
				updated <- err
			}()
			synctest.Wait()
			request := w.Start(t.Context()) // is refused, and waits
			err := <-updated
			require.ErrorContains(t, err, denied.Error())
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			r := <-request
			require.NoError(t, r.Err)
			assert.Equal(t, http.StatusOK, r.Status, "it goes on with a refresh")
			assert.Equal(t, 1, w.Refreshes())
			assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshFailed), "as each that was started has an end")
			assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
			w.AssertStored(t, "secret-access-2")
			w.MustGet(t, http.StatusOK)
		})
	}
}

func TestAFailedUpdateStartsNoPause(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		for range 3 {
			_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
				return reauth.Token{}, testworld.ErrFault
			})
			require.ErrorIs(t, err, testworld.ErrFault)
		}
		w.MustGet(t, http.StatusOK)
		w.Store.Fail("Lock")
		_, err := w.Transport.Update(t.Context(), stepUp(w))
		require.ErrorIs(t, err, testworld.ErrFault)
		w.Store.On(nil)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 3, w.Events.Count(reauth.EventRefreshFailed), "of the functions")
	})
}

func TestAnUpdateThatASignInMeetsIsDropped(t *testing.T) {
	var revoked []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		_, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			w.SignIn(t)
			return stepUp(w)(ctx, old)
		})
		testworld.AssertTemporary(t, err)
		w.Wait(t)
		w.AssertStored(t, "secret-access-2")
		assert.Empty(t, revoked)
	}, testworld.RevokingInto(&revoked))
}

func TestAnUpdateThatASignOutMeetsIsRevoked(t *testing.T) {
	var revoked []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		_, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			assert.NoError(t, w.Transport.SignOut(context.WithoutCancel(t.Context())))
			return stepUp(w)(ctx, old)
		})
		require.Error(t, err)
		w.Wait(t)
		w.AssertStored(t, "")
		w.AssertSignInRequired(t)
		assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, revoked)
	}, testworld.RevokingInto(&revoked))
}

func TestAnUpdateWithinAnUpdateIsAnError(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		_, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			_, inner := w.Transport.Update(ctx, stepUp(w))
			assert.ErrorContains(t, inner, "would wait")
			_, inner = w.Transport.Token(ctx)
			assert.ErrorContains(t, inner, "would wait")
			_, inner = w.Transport.Session("other").Update(ctx, func(context.Context, reauth.Token) (reauth.Token, error) {
				return w.IssueFor("other"), nil
			})
			assert.NoError(t, inner, "of another session")
			status, inner := w.Get(ctx)
			assert.NoError(t, inner)
			assert.Equal(t, http.StatusUnauthorized, status, "without a token")
			return stepUp(w)(ctx, old)
		})
		require.NoError(t, err)
	})
}

func TestAnUpdateFindsTheTokenOfAnotherProcessFirst(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"a good one": time.Hour, "one that has expired": -time.Second} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			theirs := w.Issue()
			theirs.Expiry = time.Now().Add(expiry)
			w.Store.Put(t, theirs)
			got, err := w.Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
				assert.Equal(t, "secret-access-2", old.AccessToken)
				return stepUp(w)(ctx, old)
			})
			require.NoError(t, err)
			assert.Equal(t, "secret-access-3", got.AccessToken)
			w.AssertStored(t, "secret-access-3")
		})
	}
}

func TestAnUpdateWaitsOnItsOwnContext(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.Transport.Update(ctx, func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, 30*time.Second, time.Until(deadline))
			time.Sleep(2 * time.Second)
			return stepUp(w)(ctx, old)
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.AssertStored(t, "secret-access-1")
		w.Wait(t)
		w.AssertStored(t, "secret-access-2") // it goes on all the same
	})
}

func TestAnUpdateDoesNotWaitForCodeThatIgnoresItsContext(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *testworld.World, chan struct{}){
		"a refresher": func(t *testing.T, w *testworld.World, hang chan struct{}) {
			signedInAndRefused(t, w)
			w.Answer(func(context.Context) (reauth.Token, error) { <-hang; return reauth.Token{}, testworld.ErrFault })
			w.AssertTemporaryFailure(t)
		},
		"another Update": func(t *testing.T, w *testworld.World, hang chan struct{}) {
			w.SignIn(t)
			_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
				<-hang
				return reauth.Token{}, testworld.ErrFault
			})
			testworld.AssertTemporary(t, err)
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			hang := make(chan struct{})
			begin(t, w, hang)
			_, err := w.Transport.Update(t.Context(), stepUp(w))
			testworld.AssertTemporary(t, err)
			close(hang)
			synctest.Wait()
			_, err = w.Transport.Update(t.Context(), stepUp(w))
			require.NoError(t, err)
		})
	}
}

func TestAnUpdateThatPanicsOrBringsNothingIsAnError(t *testing.T) {
	for want, fn := range map[string]func(context.Context, reauth.Token) (reauth.Token, error){
		"the function of Update panicked with a string": func(context.Context, reauth.Token) (reauth.Token, error) { panic("secret-panic") },
		"neither an access token nor an error":          func(context.Context, reauth.Token) (reauth.Token, error) { return reauth.Token{}, nil },
		"cannot use [redacted]": func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			return reauth.Token{}, errors.New("cannot use " + old.RefreshToken)
		},
		"fn is nil": nil,
	} {
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			_, err := w.Transport.Update(t.Context(), fn)
			require.ErrorContains(t, err, want)
			assert.NotContains(t, err.Error(), "secret-")
			assert.ErrorContains(t, err, "reauth: Update")
			w.MustGet(t, http.StatusOK)
			w.AssertStored(t, "secret-access-1")
		})
	}
}

func TestAnUpdateThatCannotBeSavedIsUsedAllTheSame(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Store.Fail("Save")
		_, err := w.Transport.Update(t.Context(), stepUp(w))
		require.NoError(t, err)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSaveFailed))
		w.MustGet(t, http.StatusOK)
		w.Store.On(nil)
		w.Wait(t)
		w.AssertStored(t, "secret-access-2")
	})
}

func TestANewRefreshTokenThatComesWithAnErrorOfAnUpdateIsKept(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		odd := errors.New("an odd answer")
		_, err := w.Transport.Update(t.Context(), func(context.Context, reauth.Token) (reauth.Token, error) {
			return reauth.Token{RefreshToken: "secret-refresh-rotated"}, odd
		})
		assert.ErrorIs(t, err, odd)
		stored, _ := w.Store.Stored(t, "")
		assert.Equal(t, "secret-refresh-rotated", stored.RefreshToken)
		assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshFailed))

		w.MustGet(t, http.StatusOK)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-refresh-rotated"}, w.Spent())
	})
}

func TestTheFunctionOfAnUpdateIsCalledOnceThoughItIsNotCertainWhichRefreshTokenIsGood(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		odd := errors.New("an odd answer")
		rotate := func(context.Context, reauth.Token) (reauth.Token, error) {
			return reauth.Token{RefreshToken: "secret-refresh-rotated"}, odd
		}
		_, err := w.Transport.Update(t.Context(), rotate)
		require.ErrorIs(t, err, odd)
		var given []string
		_, err = w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			given = append(given, old.RefreshToken)
			return reauth.Token{}, testworld.ErrFinal
		})
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, []string{"secret-refresh-rotated"}, given)
	})
}

// keeping is an Update that takes a while and changes nothing.
func keeping(_ context.Context, old reauth.Token) (reauth.Token, error) {
	time.Sleep(time.Second)
	return old, nil
}

func TestAnUpdateThatKeepsTheTokenIsNoRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		go func() { _, _ = w.Transport.Update(t.Context(), keeping) }()
		synctest.Wait()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-2"}, w.API.Tokens(), "it is not sent twice")
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAnUpdateThatKeepsAnExpiredTokenIsNoRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Expiry = time.Now().Add(time.Second)
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		go func() { _, _ = w.Transport.Update(t.Context(), keeping) }()
		synctest.Wait()
		time.Sleep(time.Second - 1)
		time.Sleep(time.Nanosecond)
		got, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", got.AccessToken)
	})
}

func TestAnUpdateThatKeepsARefusedTokenDoesNotAskAgain(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(55 * time.Second)
		w.Answer(testworld.Failing(reauth.ErrSignInRequired))
		w.MustGet(t, http.StatusOK) // the early refresh is refused, and the token still good
		require.NoError(t, w.Transport.Wait(t.Context()))
		_, err := w.Transport.Update(t.Context(), keeping)
		require.NoError(t, err)
		time.Sleep(3500 * time.Millisecond) // within the early window again
		w.MustGet(t, http.StatusOK)
		require.NoError(t, w.Transport.Wait(t.Context()))
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAnUpdateThatKeepsTheTokenDoesNotEndThePauseAfterAFailure(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(2 * time.Minute)
		w.Answer(testworld.Failing(testworld.ErrFault))
		_, err := w.Get(t.Context())
		require.Error(t, err)
		_, err = w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) { return old, nil })
		require.NoError(t, err)
		_, err = w.Get(t.Context())
		require.Error(t, err)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestAnErrorOfAnUpdateShowsNoToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Expiry = time.Now().Add(-time.Minute)
		w.Store.Put(t, tok)
		_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			return reauth.Token{}, errors.New("no rights with " + old.RefreshToken)
		})
		require.ErrorContains(t, err, "no rights")
		assert.NotContains(t, err.Error(), tok.RefreshToken)
	})
}

func TestAnUpdateThatKeepsTheTokenKeepsWhatIsKnownOfIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.MustGet(t, http.StatusOK) // this endpoint accepts the new token
		for range 3 {
			_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) { return old, nil })
			require.NoError(t, err)
		}
		w.Revoke()
		w.MustGet(t, http.StatusOK) // so its refusal starts a refresh, though the pause is on
		assert.Equal(t, 2, w.Refreshes())
	})
}

func TestAnUpdateThatKeepsATokenWhoseSaveIsPendingKeepsTheLock(t *testing.T) {
	withSavePending(t, func(t *testing.T, w *testworld.World) {
		_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) { return old, nil })
		require.NoError(t, err)
		time.Sleep(time.Second)
		b := w.Beside(t)
		_, err = b.Get(t.Context())
		testworld.AssertTemporary(t, err)
		assert.Equal(t, 1, w.MostSpent())
		w.Store.On(nil)
	})
}

func TestAnExpiredTokenThatAnUpdateKeepsStaysExpired(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(2 * time.Minute)
		_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) {
			old.Extra = map[string]string{"seen": "today"}
			return old, nil
		})
		require.NoError(t, err)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer secret-access-2"}, w.API.Tokens())
	})
}

func TestAnUpdateThatKeepsTheTokenLeavesTheOneBeforeGood(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime, w.Overlap = time.Minute, true
		w.SignIn(t)
		time.Sleep(55 * time.Second)
		w.MustGet(t, http.StatusOK) // starts an early refresh
		require.NoError(t, w.Transport.Wait(t.Context()))
		_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) { return old, nil })
		require.NoError(t, err)
		w.Only(http.StatusOK, reauth.Token{AccessToken: "secret-access-2"}) // which is not known everywhere yet
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestARefusedRequestRefreshesWhatAnUpdateLeavesWithoutAnAccessToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		under, free := make(chan struct{}), make(chan struct{})
		go func() {
			_, err := w.Transport.Update(t.Context(), func(_ context.Context, old reauth.Token) (reauth.Token, error) {
				close(under)
				<-free
				return reauth.Token{RefreshToken: old.RefreshToken}, nil
			})
			assert.NoError(t, err)
		}()
		<-under
		w.Revoke()
		answer := w.Start(t.Context())
		close(free)
		r := <-answer
		require.NoError(t, r.Err)
		assert.Equal(t, http.StatusOK, r.Status)
		assert.Equal(t, 1, w.Refreshes())
	})
}

// Each of them has the same first token. Some start when it has been refreshed.
func TestOfSeveralProcessesOneBringsTheFirstTokenIn(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		first := w.Issue()
		start := func(processes ...*testworld.World) {
			var all sync.WaitGroup
			for _, p := range processes {
				all.Go(func() {
					_, err := p.Transport.Update(t.Context(), func(_ context.Context, stored reauth.Token) (reauth.Token, error) {
						if stored.RefreshToken != "" {
							return stored, nil
						}
						return first, nil
					})
					assert.NoError(t, err)
				})
			}
			all.Wait()
			for _, p := range processes {
				p.MustGet(t, http.StatusOK)
			}
		}
		start(w, w.Beside(t))
		w.Revoke()
		w.MustGet(t, http.StatusOK) // with the next
		start(w.Beside(t), w.Beside(t))
		w.AssertStored(t, "secret-access-2")
		assert.Equal(t, 1, w.MostSpent())
	})
}

// Another process has exchanged the refresh token alone, as an Update for a second audience
// does. The access token that it has left is the one that is refused, so adopting it is no
// answer, and it is not new either.
func TestARefusedAccessTokenThatAnotherProcessHasLeftIsRefreshed(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
		_, err := w.Beside(t).Transport.Update(t.Context(), func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			next, err := w.Authority.Refresh(ctx, old)
			old.RefreshToken = next.RefreshToken
			return old, err
		})
		require.NoError(t, err)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.Refreshes(), "that of the Update, and one that is needed")
		assert.Equal(t, 1, w.MostSpent())
		assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
	})
}
