package reauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of Config.SignIn: one sign-in, shared by all who need it.

// A browser is how a user signs in.
type browser struct {
	opened  atomic.Int32
	most    atomic.Int32 // at once
	open    atomic.Int32
	signIn  func(context.Context) (reauth.Token, error)
	session atomic.Pointer[string] // of the last context
}

func (b *browser) SignIn(ctx context.Context) (reauth.Token, error) {
	b.opened.Add(1)
	b.most.Store(max(b.most.Load(), b.open.Add(1)))
	defer b.open.Add(-1)
	session := reauth.SessionFromContext(ctx)
	b.session.Store(&session)
	return b.signIn(ctx)
}

// withBrowser runs a test in a world where the user needs so long to sign in.
func withBrowser(t *testing.T, takes time.Duration, f func(*testing.T, *testworld.World, *browser), with ...testworld.Setting) {
	t.Helper()
	b := new(browser)
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		b.signIn = func(ctx context.Context) (reauth.Token, error) {
			if err := testworld.Pass(ctx, takes); err != nil {
				return reauth.Token{}, err
			}
			return w.IssueFor(reauth.SessionFromContext(ctx)), nil
		}
		f(t, w, b)
	}, append([]testworld.Setting{func(c *reauth.Config, _ *testworld.World) { c.SignIn = b.SignIn }}, with...)...)
}

func TestTwentyRequestsThatNeedASignInShareOne(t *testing.T) {
	withBrowser(t, 2*time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		for _, r := range w.Storm(t.Context(), 20) {
			require.NoError(t, r.Err)
			assert.Equal(t, http.StatusOK, r.Status)
			assert.Equal(t, 2*time.Minute, r.Took, "it is not bounded by RefreshTimeout")
		}
		assert.EqualValues(t, 1, b.opened.Load())
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignedIn))
		w.AssertStored(t, "secret-access-1")
		w.MustGet(t, http.StatusOK)
		assert.EqualValues(t, 1, b.opened.Load())
	})
}

func TestARequestThatComesLateToASignInDoesNotOpenAnother(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		var held atomic.Bool
		w.Events.OnKind(reauth.EventWaited, func(context.Context) {
			if held.CompareAndSwap(false, true) {
				time.Sleep(2 * time.Minute) // between the news that a sign-in is required and the sign-in
			}
		})
		testworld.AssertAllOK(t, w.Storm(t.Context(), 2))
		assert.EqualValues(t, 1, b.opened.Load())
	})
}

func TestEachSessionHasASignInOfItsOwn(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		ann, bob := w.Start(as(t, "ann")), w.Start(as(t, "bob"))
		require.NoError(t, (<-ann).Err)
		require.NoError(t, (<-bob).Err)
		assert.EqualValues(t, 2, b.opened.Load())
		assert.EqualValues(t, 2, b.most.Load())
		assert.Contains(t, []string{"ann", "bob"}, *b.session.Load())
		tok, err := w.Transport.Token(as(t, "ann"))
		require.NoError(t, err)
		other, err := w.Transport.Token(as(t, "bob"))
		require.NoError(t, err)
		assert.NotEqual(t, tok.AccessToken, other.AccessToken)
	})
}

func TestTheMethodsOfASessionSignInToo(t *testing.T) {
	for name, call := range map[string]func(context.Context, *testworld.World) error{
		"Token": func(ctx context.Context, w *testworld.World) error { _, err := w.Transport.Token(ctx); return err },
		"Refresh": func(ctx context.Context, w *testworld.World) error {
			_, err := w.Transport.Refresh(ctx, anew)
			return err
		},
		"Refresh of a token that the server refuses for good": func(ctx context.Context, w *testworld.World) error {
			tok := w.Issue()
			if err := w.Transport.SignIn(ctx, tok); err != nil {
				return err
			}
			w.Answer(testworld.Failing(testworld.ErrFinal))
			next, err := w.Transport.Refresh(ctx, tok)
			if next.AccessToken == tok.AccessToken {
				return errors.New("the same token")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
				require.NoError(t, call(t.Context(), w))
				assert.EqualValues(t, 1, b.opened.Load())
			})
		})
	}
}

func TestEachRequestWaitsForTheSignInOnItsOwnContext(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := w.Start(impatient) // the one that started it
		second := w.Start(t.Context())
		r := <-first
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, r.Took)
		require.NoError(t, (<-second).Err)
		assert.EqualValues(t, 1, b.opened.Load(), "it goes on while anybody waits")
	})
}

func TestASignInThatNobodyWaitsForIsCancelled(t *testing.T) {
	withBrowser(t, time.Hour, func(t *testing.T, w *testworld.World, b *browser) {
		closed := make(chan struct{})
		wait := b.signIn
		slow := make(chan struct{})
		b.signIn = func(ctx context.Context) (reauth.Token, error) {
			defer close(closed)
			defer func() { <-slow }() // the browser takes a while to close
			return wait(ctx)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, r := range w.Storm(ctx, 3) {
			require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		}
		b.signIn = func(context.Context) (reauth.Token, error) { return w.Issue(), nil }
		next := w.Start(t.Context()) // there is one at a time, and no pause: nothing has failed
		assert.EqualValues(t, 1, b.opened.Load())
		close(slow)
		<-closed
		require.NoError(t, (<-next).Err)
		assert.EqualValues(t, 2, b.opened.Load())
		assert.EqualValues(t, 1, b.most.Load())
	})
}

func TestARequestThatWaitsForACancelledSignInToEndDoesSoOnItsOwnContext(t *testing.T) {
	withBrowser(t, time.Hour, func(t *testing.T, w *testworld.World, b *browser) {
		free := make(chan struct{})
		b.signIn = func(context.Context) (reauth.Token, error) { <-free; return reauth.Token{}, testworld.ErrFault }
		for _, patience := range []time.Duration{time.Minute, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			r := <-w.Go(ctx)
			cancel()
			require.ErrorIs(t, r.Err, context.DeadlineExceeded)
			assert.Equal(t, patience, r.Took)
		}
		close(free)
		assert.EqualValues(t, 1, b.opened.Load())
	})
}

func TestAFailedSignInIsSharedAndNotRepeatedForARefreshPause(t *testing.T) {
	declined := errors.New("the user has declined")
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		b.signIn = func(context.Context) (reauth.Token, error) { time.Sleep(time.Minute); return reauth.Token{}, declined }
		for _, r := range w.Storm(t.Context(), 20) {
			require.ErrorIs(t, r.Err, declined)
			require.ErrorIs(t, r.Err, reauth.ErrSignInRequired)
			_, ok := errors.AsType[*reauth.RefreshError](r.Err)
			assert.True(t, ok, "%T", r.Err)
		}
		assert.EqualValues(t, 1, b.opened.Load())
		for range 49 {
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			_, err := w.Get(t.Context())
			require.ErrorIs(t, err, declined)
			assert.Zero(t, time.Since(began))
		}
		assert.EqualValues(t, 1, b.opened.Load())
		time.Sleep(100 * time.Millisecond)
		b.signIn = func(context.Context) (reauth.Token, error) { return w.Issue(), nil }
		w.MustGet(t, http.StatusOK)
		assert.EqualValues(t, 2, b.opened.Load())
	})
}

func TestAProgramThatSignsInItselfDoesNotWaitForThePauseOfAFailedSignIn(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		b.signIn = func(context.Context) (reauth.Token, error) { return reauth.Token{}, testworld.ErrFault }
		w.AssertSignInRequired(t)
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
	})
}

func TestARefusedRequestIsReplayedAfterTheSignIn(t *testing.T) {
	var bodies []string
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		status, err := w.Do(testworld.Request(t, http.MethodPost, testworld.APIURL, strings.NewReader("7 apples")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.EqualValues(t, 1, b.opened.Load())
		assert.Equal(t, []string{"7 apples", "7 apples"}, bodies)
	}, func(c *reauth.Config, w *testworld.World) {
		c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			text, err := io.ReadAll(req.Body)
			bodies = append(bodies, string(text))
			return testworld.Respond(req, map[bool]int{true: 200, false: 401}[w.Accepts(req.Header.Get("Authorization"))], ""), err
		})
	})
}

// The refusal of one request comes when the sign-in is over that another has needed.
func TestARefusalThatComesAfterTheSignInIsReplayedToo(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		release := w.HoldNext()
		late := w.Start(t.Context())
		w.MustGet(t, http.StatusOK)
		release()
		r := <-late
		require.NoError(t, r.Err)
		assert.Equal(t, http.StatusOK, r.Status)
		assert.EqualValues(t, 1, b.opened.Load())

		// A sign-in of the program may be somebody else's.
		release = w.HoldNext()
		late = w.Start(t.Context())
		w.SignIn(t)
		w.Only(http.StatusOK, reauth.Token{AccessToken: "secret-access-2"})
		release()
		r = <-late
		require.NoError(t, r.Err)
		assert.Equal(t, http.StatusUnauthorized, r.Status)
	})
}

func TestATemporaryFailureIsTheSameErrorWithASignIn(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		w.SignIn(t)
		w.Revoke()
		w.Answer(testworld.Failing(testworld.ErrFault))
		w.AssertTemporaryFailure(t)
		assert.Zero(t, b.opened.Load(), "a temporary failure needs no sign-in")
		_, err := w.Do(oneShot(t))
		testworld.AssertTemporary(t, err) // as without Config.SignIn
	}, func(c *reauth.Config, _ *testworld.World) { c.ReplayBuffer = -1 })
}

func TestNoBrowserIsOpenedForARequestThatASignOutMeets(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		signedInAndRefused(t, w)
		w.Gate = make(chan struct{})
		request := w.Start(t.Context())
		require.NoError(t, w.Transport.SignOut(t.Context()))
		require.ErrorIs(t, (<-request).Err, reauth.ErrSignInRequired)
		close(w.Gate)
		assert.Zero(t, b.opened.Load())
		assert.Equal(t, []string{"secret-access-1"}, bearers(w), "nothing is replayed under another sign-in")
	})
}

func TestNoBrowserIsOpenedForACallOfRefreshThatASignOutMeets(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		tok := signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			assert.NoError(t, w.Transport.SignOut(context.WithoutCancel(t.Context())))
			return w.Issue(), nil
		})
		_, err := w.Transport.Refresh(t.Context(), tok)
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, b.opened.Load())
	})
}

func TestASignInIsToldOfTheRefusal(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		var refusals []reauth.Refusal
		wait := b.signIn
		b.signIn = func(ctx context.Context) (reauth.Token, error) {
			if refusal, ok := reauth.RefusalFromContext(ctx); ok {
				refusals = append(refusals, refusal)
			}
			return wait(ctx)
		}
		w.MustGet(t, http.StatusOK)
		assert.Empty(t, refusals, "nothing was refused")
		w.Revoke()
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.MustGet(t, http.StatusOK)
		require.Len(t, refusals, 1)
		assert.Equal(t, testworld.APIURL, refusals[0].URL)
	})
}

func TestASignInIsNotCalledWithAnonymous(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		w.MustGet(t, http.StatusUnauthorized)
		_, err := w.Transport.Token(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		_, _ = w.Get(t.Context())
		w.AssertSignedIn(t, false)
		assert.Zero(t, b.opened.Load())
	}, func(c *reauth.Config, _ *testworld.World) { c.Anonymous = true })
}

func TestASignInThatBringsNothingIsAnErrorThatShowsNoSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		signIn func(context.Context) (reauth.Token, error)
		want   string
	}{
		"a panic": {func(context.Context) (reauth.Token, error) { panic("secret-panic") }, "Config.SignIn panicked with a string"},
		"Goexit":  {func(context.Context) (reauth.Token, error) { runtime.Goexit(); return reauth.Token{}, nil }, "Config.SignIn ended its goroutine"},
		"neither": {func(context.Context) (reauth.Token, error) { return reauth.Token{}, nil }, "neither a token nor an error"},
		"an error with the token": {func(context.Context) (reauth.Token, error) {
			return reauth.Token{AccessToken: "secret-access-9"}, errors.New("cannot use secret-access-9")
		}, "cannot use [redacted]"},
		"a token that no header can carry": {func(context.Context) (reauth.Token, error) {
			return reauth.Token{AccessToken: "secret-\nline"}, nil
		}, "no header can carry"},
		"a context error of its own": {func(context.Context) (reauth.Token, error) {
			return reauth.Token{}, context.DeadlineExceeded
		}, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			withBrowser(t, 0, func(t *testing.T, w *testworld.World, b *browser) {
				b.signIn = tc.signIn
				_, err := w.Get(t.Context())
				require.ErrorIs(t, err, reauth.ErrSignInRequired)
				require.ErrorContains(t, err, tc.want)
				assert.NotContains(t, err.Error(), "secret-")
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "it would look like the caller's own")
				w.Wait(t)
			})
		})
	}
}

func TestASignInThatCannotBeStoredIsAnError(t *testing.T) {
	withBrowser(t, time.Second, func(t *testing.T, w *testworld.World, _ *browser) {
		w.Store.Fail("Save")
		_, err := w.Get(t.Context())
		require.ErrorIs(t, err, testworld.ErrFault)
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		w.Store.On(nil)
		w.AssertStored(t, "")
	})
}

func TestRequestsOfASignInItselfGoWithoutAToken(t *testing.T) {
	withBrowser(t, 0, func(t *testing.T, w *testworld.World, b *browser) {
		b.signIn = func(ctx context.Context) (reauth.Token, error) {
			status, err := w.Get(ctx)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, status)
			_, err = w.Transport.Token(ctx)
			assert.ErrorContains(t, err, "would wait")
			_, err = w.Transport.Session("other").Token(ctx)
			assert.ErrorIs(t, err, reauth.ErrSignInRequired, "one sign-in opens no other")
			return w.Issue(), nil
		}
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"", "secret-access-1"}, bearers(w))
	})
}

func TestTheLockIsFreeWhileTheUserSignsIn(t *testing.T) {
	withBrowser(t, time.Hour, func(t *testing.T, w *testworld.World, _ *browser) {
		request := w.Start(t.Context())
		w.Store.Hold(t)()
		require.NoError(t, (<-request).Err)
	})
}

func TestWaitWaitsForASignIn(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, _ *browser) {
		request := w.Start(t.Context())
		began := time.Now()
		w.Wait(t)
		assert.Equal(t, time.Minute, time.Since(began))
		require.NoError(t, (<-request).Err)
	})
}

func TestASignInThatSucceedsIsStoredThoughNobodyWaitsAnyLonger(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		b.signIn = func(context.Context) (reauth.Token, error) { // the user is quicker than the cancellation
			time.Sleep(time.Minute)
			return w.Issue(), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := w.Get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.Wait(t)
		w.AssertStored(t, "secret-access-1")
		w.MustGet(t, http.StatusOK)
		assert.EqualValues(t, 1, b.opened.Load())
	})
}

func TestWhatASignInBringsAfterASignOutIsNotUsed(t *testing.T) {
	for _, waits := range []bool{true, false} {
		var revoked []string
		withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
			b.signIn = func(context.Context) (reauth.Token, error) {
				time.Sleep(time.Minute)
				return w.Issue(), nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := w.Start(ctx)
			if !waits {
				cancel()
			}
			require.NoError(t, w.Transport.SignOut(t.Context()))
			err := (<-done).Err
			if waits {
				require.ErrorIs(t, err, reauth.ErrSignInRequired)
			}
			w.Wait(t)
			w.AssertStored(t, "")
			w.AssertSignedIn(t, false)
			assert.Equal(t, []string{"secret-refresh-1"}, revoked)
			assert.EqualValues(t, 1, b.opened.Load())
			assert.Zero(t, w.Events.Count(reauth.EventSignedIn))
		}, testworld.RevokingInto(&revoked))
	}
}

func TestASignInOfTheProgramMeanwhileWins(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		w.Everybody()
		done := w.Start(t.Context())
		own := w.SignIn(t)
		require.NoError(t, (<-done).Err)
		assert.Equal(t, []string{own.AccessToken}, bearers(w))
		w.AssertStored(t, own.AccessToken)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignedIn))
	})
}

func TestAHandlerThatPanicsAtASharedSignInHarmsNobodyElse(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		w.Events.OnKind(reauth.EventSignedIn, func(context.Context) { panic("no disk for logs") })
		_, err := w.Get(t.Context())
		require.ErrorContains(t, err, "OnEvent panicked")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, "the sign-in has been done")
		w.MustGet(t, http.StatusOK)
		assert.EqualValues(t, 1, b.opened.Load())
	})
}

func TestNothingIsReplayedUnderASignInOfTheProgram(t *testing.T) {
	withBrowser(t, time.Minute, func(t *testing.T, w *testworld.World, b *browser) {
		w.SignIn(t)
		w.Revoke()
		w.Answer(testworld.Failing(testworld.ErrFinal))
		w.Events.OnKind(reauth.EventWaited, func(ctx context.Context) { // it has heard that a sign-in is required
			assert.NoError(t, w.Transport.SignIn(ctx, w.Issue())) // as somebody else, maybe
		})
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		assert.Equal(t, []string{"secret-access-1"}, bearers(w))
		w.MustGet(t, http.StatusOK)
		assert.Zero(t, b.opened.Load())
	})
}
