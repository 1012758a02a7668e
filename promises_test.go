package reauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Each of the twelve promises has a test. All run in virtual time, so a time that is
// asserted is exact.

// scenarios are tests that each run in a World of their own.
type scenarios map[string]func(*testing.T, *testworld.World)

func (s scenarios) run(t *testing.T, with ...testworld.Setting) {
	for name, test := range s {
		t.Run(name, func(t *testing.T) { testworld.Run(t, test, with...) })
	}
}

// bounding sets Config.RefreshTimeout.
func bounding(d time.Duration) testworld.Setting {
	return func(c *reauth.Config, _ *testworld.World) { c.RefreshTimeout = d }
}

// temporary checks that err is a *RefreshError that signs nobody out, and returns it.
func temporary(t *testing.T, err error) *reauth.RefreshError {
	t.Helper()
	testworld.AssertTemporary(t, err)
	failed, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok)
	return failed
}

// isCaller checks that err is that of the caller's own context.
func isCaller(t *testing.T, err, want error) {
	t.Helper()
	assert.ErrorIs(t, err, want)
	_, ok := errors.AsType[*reauth.RefreshError](err)
	assert.False(t, ok, "it is not about the refresh")
}

func TestPromise1OneRefresh(t *testing.T) {
	scenarios{
		"for all that are refused at once": func(t *testing.T, w *testworld.World) {
			w.Latency, w.API.Latency = 200*time.Millisecond, 10*time.Millisecond
			w.SignIn(t)
			w.Revoke()
			results := w.Storm(t.Context(), 500)
			testworld.AssertAllOK(t, results)
			assert.Equal(t, 1, w.Refreshes())
			for _, r := range results {
				assert.Equal(t, 220*time.Millisecond, r.Took)
			}
			assert.Equal(t, 1000, w.API.Requests())
		},
		"for all that find the token expired": func(t *testing.T, w *testworld.World) {
			w.Latency, w.Lifetime, w.API.Latency = 200*time.Millisecond, time.Minute, 10*time.Millisecond
			w.SignIn(t)
			time.Sleep(2 * time.Minute)
			results := w.Storm(t.Context(), 500)
			testworld.AssertAllOK(t, results)
			assert.Equal(t, 1, w.Refreshes())
			for _, r := range results {
				assert.Equal(t, 210*time.Millisecond, r.Took)
			}
			assert.Equal(t, 500, w.API.Requests(), "none was sent with the expired token")
		},
		"for refusals that trickle in": func(t *testing.T, w *testworld.World) {
			// 20 requests are refused over 300 ms, most of them after the 50 ms refresh.
			w.Latency = 50 * time.Millisecond
			old := w.SignIn(t)
			var mu sync.Mutex
			n := 0
			w.API.Decide = func(req *http.Request) int {
				if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
					mu.Lock()
					n++
					wait := time.Duration(n) * 15 * time.Millisecond
					mu.Unlock()
					time.Sleep(wait)
				}
				return 0
			}
			w.Revoke()
			testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
			assert.Equal(t, 1, w.Refreshes())
			assert.Equal(t, 40, w.API.Requests())
		},
		"for each session, side by side": func(t *testing.T, w *testworld.World) {
			w.Latency = 100 * time.Millisecond
			w.API.Decide = func(req *http.Request) int {
				if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer secret-access-") {
					return http.StatusOK // the tokens of all sessions are valid
				}
				return 0
			}
			began := time.Now()
			var wg sync.WaitGroup
			for _, name := range []string{"ann", "bob", "cid"} {
				ctx := reauth.WithSession(t.Context(), name)
				require.NoError(t, w.Transport.SignIn(ctx, reauth.Token{AccessToken: "old-" + name, RefreshToken: "r-" + name}))
				wg.Go(func() { testworld.AssertAllOK(t, w.Storm(ctx, 10)) })
			}
			wg.Wait()
			assert.Equal(t, 3, w.Refreshes())
			assert.Equal(t, 1, w.MostSpent())
			assert.Equal(t, 100*time.Millisecond, time.Since(began))
		},
		"for two Transports that share a store": func(t *testing.T, w *testworld.World) {
			second := w.Beside(t)
			w.Latency = 100 * time.Millisecond
			w.SignIn(t)
			second.MustGet(t, http.StatusOK) // has the token cached
			w.Revoke()
			var wg sync.WaitGroup
			for _, w := range []*testworld.World{w, second} {
				wg.Go(func() { testworld.AssertAllOK(t, w.Storm(t.Context(), 50)) })
			}
			wg.Wait()
			assert.Equal(t, 1, w.Refreshes())
			assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted)+second.Events.Count(reauth.EventAdopted))
		},
	}.run(t)
}

func TestPromise2EachCallerHasItsOwnContext(t *testing.T) {
	scenarios{
		"canceling the request that started the refresh fails that one alone": func(t *testing.T, w *testworld.World) {
			w.Latency = 500 * time.Millisecond
			w.SignIn(t)
			w.Revoke()
			ctx, cancel := context.WithCancel(t.Context())
			first := w.Start(ctx)
			var others []testworld.Result
			var wg sync.WaitGroup
			wg.Go(func() { others = w.Storm(t.Context(), 20) })
			time.Sleep(100 * time.Millisecond)
			cancel()
			wg.Wait()
			isCaller(t, (<-first).Err, context.Canceled)
			testworld.AssertAllOK(t, others)
			assert.Equal(t, 1, w.Refreshes())
		},
		"a deadline is kept behind a slow refresh, which goes on": func(t *testing.T, w *testworld.World) {
			w.Latency = 700 * time.Millisecond
			w.SignIn(t)
			w.Revoke()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := w.Get(ctx)
			isCaller(t, err, context.DeadlineExceeded)
			assert.Equal(t, 50*time.Millisecond, time.Since(began))
			require.NoError(t, w.Transport.Wait(t.Context()))
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Refreshes())
		},
		"no caller gets the context error of another": func(t *testing.T, w *testworld.World) {
			w.Latency = 300 * time.Millisecond
			w.SignIn(t)
			w.Revoke()
			var wg sync.WaitGroup
			for i := range 40 {
				ctx := t.Context()
				if i%2 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i+1)*5*time.Millisecond)
					defer cancel()
				}
				wg.Go(func() {
					_, err := w.Get(ctx)
					if i%2 == 0 {
						isCaller(t, err, context.DeadlineExceeded)
					} else {
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			assert.Equal(t, 1, w.Refreshes())
		},
		"RefreshTimeout is not a deadline of the caller": func(t *testing.T, w *testworld.World) {
			w.Latency = time.Hour
			w.SignIn(t)
			w.Revoke()
			for _, r := range w.Storm(t.Context(), 10) {
				failed := temporary(t, r.Err)
				assert.EqualError(t, failed, "reauth: the refresher: no answer within Config.RefreshTimeout")
				timeout, ok := errors.AsType[interface {
					error
					Timeout() bool
				}](failed)
				assert.True(t, ok && timeout.Timeout(), "it can be told from other failures")
				assert.Equal(t, 3*time.Second, r.Took)
			}
		},
		"nor is a timeout of the Refresher": func(t *testing.T, w *testworld.World) {
			for _, cause := range []error{
				context.DeadlineExceeded, context.Canceled,
				fmt.Errorf("its client: %w", context.DeadlineExceeded),
				&reauth.RefreshError{StatusCode: 504, Err: context.DeadlineExceeded},
			} {
				w.SignIn(t)
				w.Revoke()
				w.Answer(testworld.Failing(cause))
				_, err := w.Get(t.Context())
				temporary(t, err)
			}
		},
	}.run(t, bounding(3*time.Second))
}

func TestPromise2RefreshHasTheValuesButNotTheTraceOfItsStarter(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		type key struct{}
		w.Answer(func(ctx context.Context) (reauth.Token, error) {
			assert.Equal(t, "own", ctx.Value(key{}))
			assert.Nil(t, httptrace.ContextClientTrace(ctx))
			_, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:1")
			assert.Error(t, err)
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			assert.Equal(t, 30, int(time.Until(deadline)/time.Second), "RefreshTimeout, not the starter's deadline")
			return w.Issue(), nil
		})
		w.SignIn(t)
		w.Revoke()
		ctx := context.WithValue(t.Context(), key{}, "own")
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			ConnectStart: func(string, string) { t.Error("the dial of the refresh is traced") },
		})
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		status, err := w.Get(ctx)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
	})
}

func TestPromise3SavedBeforeUse(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Store.OnCall("Save", func(context.Context) error { time.Sleep(time.Second); return nil })
		w.SignIn(t)
		w.API.Decide = func(req *http.Request) int {
			tok, ok := w.Store.Stored(t, "")
			assert.True(t, ok)
			if auth := req.Header.Get("Authorization"); auth != "Bearer secret-access-1" {
				assert.Equal(t, "Bearer "+tok.AccessToken, auth, "the API sees what the store has")
			}
			return 0
		}
		w.Revoke()
		var wg sync.WaitGroup
		wg.Go(func() { testworld.AssertAllOK(t, w.Storm(t.Context(), 20)) })
		time.Sleep(500 * time.Millisecond) // refreshed, but not saved
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		wg.Wait()
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestPromise4RotatedTokenIsSpentOnce(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		// 50 lifetimes with storms, revocations and a store that fails now and then.
		w.Lifetime, w.Latency = 10*time.Second, 50*time.Millisecond
		w.SignIn(t)
		for i := range 50 {
			w.Store.On(nil)
			if i%5 == 0 {
				w.Store.Fail("Save")
			}
			time.Sleep(9500 * time.Millisecond)
			if i%3 == 0 {
				w.Revoke()
			}
			testworld.AssertAllOK(t, w.Storm(t.Context(), 10))
		}
		assert.Equal(t, 1, w.MostSpent())
		assert.GreaterOrEqual(t, w.Refreshes(), 45)
	}, func(c *reauth.Config, _ *testworld.World) { c.RefreshPause = 100 * time.Millisecond })
}

func TestPromise4RefreshWithoutARefreshTokenKeepsTheOldOne(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Answer(func(context.Context) (reauth.Token, error) {
			tok := w.Issue()
			tok.RefreshToken = ""
			return tok, nil
		})
		w.SignIn(t)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		tok, _ := w.Store.Stored(t, "")
		assert.Equal(t, "secret-refresh-1", tok.RefreshToken)
	})
}

func TestPromise5TemporaryFaultsSignNobodyOut(t *testing.T) {
	for name, fault := range map[string]error{
		"unknown":       testworld.ErrFault,
		"unavailable":   &reauth.RefreshError{StatusCode: 503, Err: testworld.ErrFault},
		"rate limited":  &reauth.RefreshError{StatusCode: 429, RetryAfter: 3 * time.Second, Err: testworld.ErrFault},
		"misconfigured": &reauth.RefreshError{StatusCode: 401, Code: "invalid_client", Err: testworld.ErrFault},
		"no token":      nil,
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(fault))
			_, err := w.Get(t.Context())
			temporary(t, err)
			w.AssertSignedIn(t, true)
			time.Sleep(3 * time.Second)
			w.MustGet(t, http.StatusOK)
			assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
		})
	}
}

func TestPromise5FailureIsShared(t *testing.T) {
	scenarios{
		"and the valid token stays in use": func(t *testing.T, w *testworld.World) {
			w.Lifetime = 100 * time.Second
			w.SignIn(t)
			w.Answer(testworld.Failing(testworld.ErrFault), testworld.Failing(testworld.ErrFault))
			time.Sleep(95 * time.Second)
			for range 50 { // 5 s, in which the pauses of 1 s and 2 s pass
				w.MustGet(t, http.StatusOK)
				time.Sleep(99 * time.Millisecond)
			}
			assert.Equal(t, 3, w.Refreshes(), "two failed")
			assert.Equal(t, 2, w.Events.Count(reauth.EventRefreshFailed))
		},
		"by those refused at once and those refused in the pause": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(func(context.Context) (reauth.Token, error) {
				time.Sleep(100 * time.Millisecond)
				return reauth.Token{}, testworld.ErrFault
			})
			for _, took := range []time.Duration{100 * time.Millisecond, 0} {
				for _, r := range w.Storm(t.Context(), 50) {
					assert.ErrorIs(t, r.Err, testworld.ErrFault)
					assert.Equal(t, took, r.Took)
				}
			}
			assert.Equal(t, 1, w.Refreshes())
		},
		"by those whose token has expired": func(t *testing.T, w *testworld.World) {
			w.Lifetime = time.Minute
			w.SignIn(t)
			w.Answer(testworld.Failing(testworld.ErrFault))
			time.Sleep(time.Hour)
			for _, r := range append(w.Storm(t.Context(), 50), w.Storm(t.Context(), 50)...) {
				assert.ErrorIs(t, r.Err, testworld.ErrFault)
			}
			assert.Equal(t, 1, w.Refreshes())
		},
		"until a sign-in": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(testworld.ErrFault))
			_, err := w.Get(t.Context())
			require.ErrorIs(t, err, testworld.ErrFault)
			w.SignIn(t)
			w.Revoke()
			w.MustGet(t, http.StatusOK)
		},
	}.run(t)
}

func TestPromise5PauseAfterAFailure(t *testing.T) {
	retryAfter := func(asked, want time.Duration) func(*testing.T, *testworld.World) {
		return func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(fmt.Errorf("asked to wait: %w", &reauth.RefreshError{StatusCode: 429, RetryAfter: asked})))
			_, err := w.Get(t.Context())
			require.Error(t, err)
			time.Sleep(want - time.Millisecond)
			_, err = w.Get(t.Context())
			assert.Equal(t, asked, temporary(t, err).RetryAfter)
			assert.Equal(t, 1, w.Refreshes())
			time.Sleep(time.Millisecond)
			w.MustGet(t, http.StatusOK)
		}
	}
	scenarios{
		"doubles up to 30 s": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			for range 100 {
				w.Answer(testworld.Failing(testworld.ErrFault))
			}
			for range 6000 { // 10 minutes of a request every 100 ms
				_, err := w.Get(t.Context())
				require.ErrorIs(t, err, testworld.ErrFault)
				time.Sleep(100 * time.Millisecond)
			}
			calls := w.CallTimes()
			want := time.Second
			for i := 1; i < len(calls); i++ {
				pause := calls[i] - calls[i-1]
				assert.LessOrEqual(t, pause, want+100*time.Millisecond, "pause %d", i)
				assert.GreaterOrEqual(t, pause, want*3/4, "pause %d", i)
				want = min(2*want, 30*time.Second)
			}
			assert.InDelta(t, 25, len(calls), 6)
		},
		"honors RetryAfter":             retryAfter(20*time.Second, 20*time.Second),
		"honors RetryAfter up to 5 min": retryAfter(time.Hour, 5*time.Minute),
	}.run(t)
}

func TestPromise6OnlyARefusalSignsOut(t *testing.T) {
	scenarios{
		"once, and for good": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(fmt.Errorf("revoked: %w", reauth.ErrSignInRequired)))
			for _, later := range []time.Duration{0, 0, time.Hour} {
				time.Sleep(later)
				for _, r := range w.Storm(t.Context(), 50) {
					require.ErrorIs(t, r.Err, reauth.ErrSignInRequired)
					_, ok := errors.AsType[*reauth.RefreshError](r.Err)
					assert.True(t, ok)
				}
			}
			assert.Equal(t, 1, w.Refreshes(), "the token server is not asked again")
			assert.Equal(t, 1, w.Store.Count("Delete"))
			w.AssertStored(t, "")
			assert.Equal(t, 1, w.Events.Count(reauth.EventSignInRequired))
			w.SignIn(t)
			w.MustGet(t, http.StatusOK)
		},
		"until another process signs in": func(t *testing.T, w *testworld.World) {
			old := w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(reauth.ErrSignInRequired))
			w.AssertSignInRequired(t)
			w.Store.Put(t, old) // which is not a sign-in
			time.Sleep(5 * time.Second)
			loads := w.Store.Count("Load")
			for range 10 {
				w.AssertSignInRequired(t)
			}
			assert.Equal(t, 1, w.Store.Count("Load")-loads, "at most one look per RefreshPause")
			w.Store.Put(t, w.Issue())
			time.Sleep(5*time.Second - time.Millisecond)
			w.AssertSignInRequired(t)
			time.Sleep(time.Millisecond)
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Refreshes())
		},
	}.run(t)
}

func TestPromise7SignOutWins(t *testing.T) {
	var revoked []string
	scenarios{
		"during a refresh": func(t *testing.T, w *testworld.World) {
			revoked = nil
			w.Gate = make(chan struct{})
			w.SignIn(t)
			w.Revoke()
			refused := w.Start(t.Context())
			require.NoError(t, w.Transport.SignOut(t.Context()), "it does not wait for the refresh")
			require.ErrorIs(t, (<-refused).Err, reauth.ErrSignInRequired, "at once")
			close(w.Gate)
			require.NoError(t, w.Transport.Wait(t.Context()))

			w.AssertStored(t, "") // the result of the refresh is dropped
			assert.Equal(t, []string{"secret-refresh-1", "secret-refresh-2"}, revoked, "and revoked")
			w.AssertSignInRequired(t)
			w.AssertSignedIn(t, false)
			assert.Equal(t, 1, w.Refreshes())
		},
		"while the new token is being saved": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Store.On(func(_ context.Context, call string) error {
				if call == "Save" || call == "Delete" {
					time.Sleep(time.Second)
				}
				return nil
			})
			w.Start(t.Context())
			time.Sleep(500 * time.Millisecond)
			done := make(chan error, 1)
			go func() { done <- w.Transport.SignOut(t.Context()) }()
			time.Sleep(time.Second) // the Save has returned, the Delete has not
			w.AssertSignInRequired(t)
			require.NoError(t, <-done)
			w.AssertStored(t, "")
		},
	}.run(t, testworld.RevokingInto(&revoked))
}

func TestPromise7SignInWins(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Gate = make(chan struct{})
		w.Lifetime = 10 * time.Second
		w.SignIn(t)
		w.Answer(func(context.Context) (reauth.Token, error) {
			return reauth.Token{AccessToken: "of-the-old-session", RefreshToken: "old"}, nil
		})
		// One request is refused under the old sign-in, one has not been sent.
		w.Revoke()
		refused := w.Start(t.Context())
		time.Sleep(10 * time.Second)
		waiting := w.Start(t.Context())

		anew := w.SignIn(t)

		testworld.AssertAllOK(t, []testworld.Result{<-waiting})
		temporary(t, (<-refused).Err)
		close(w.Gate)
		require.NoError(t, w.Transport.Wait(t.Context()))
		w.AssertStored(t, anew.AccessToken)
		w.MustGet(t, http.StatusOK)
		assert.NotContains(t, w.API.Tokens(), "Bearer of-the-old-session")
	})
}

func TestPromise8TokenStaysHome(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		for _, url := range []string{
			"https://evil.example.net/", "http://api.example.com/", "https://api.example.com:8443/",
			"https://api.example.com.evil.net/", "https://sub.api.example.com/",
		} {
			status, err := w.Do(testworld.Request(t, http.MethodGet, url, nil))
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, status)
		}
		assert.Equal(t, make([]string, 5), w.API.Tokens())
		assert.Zero(t, w.Refreshes(), "the refusal of a stranger starts no refresh")
	})
}

func TestPromise9AtMostTwice(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		began := time.Now()
		w.SignIn(t)
		w.Nobody()
		w.MustGet(t, http.StatusUnauthorized)
		assert.Equal(t, 2, w.API.Requests())
		w.API.Decide = func(*http.Request) int { return http.StatusServiceUnavailable }
		w.MustGet(t, http.StatusServiceUnavailable)
		assert.Equal(t, 3, w.API.Requests(), "5xx is not retried")
		assert.Zero(t, time.Since(began), "nothing is delayed")
	})
}

func TestPromise10NoSecretIsShown(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		note := func(err error) {
			require.Error(t, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				fmt.Fprintf(&out, "%v %+v %#v %q\n", e, e, e, e)
			}
		}
		get := func() {
			_, err := w.Get(t.Context())
			note(err)
		}
		tok := w.SignIn(t)
		memory := new(reauth.MemoryStore)
		require.NoError(t, memory.Save(t.Context(), "", tok))
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			for _, v := range []any{
				tok, &tok, []reauth.Token{tok}, struct{ T reauth.Token }{tok}, memory, w.Transport, w.Transport.Session("ann"),
			} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		logger.Info("token", "token", tok, "pointer", &tok)

		w.Revoke()
		w.Answer(testworld.Failing(fmt.Errorf("the server refused %s and %s", tok.RefreshToken, tok.AccessToken)))
		get()
		time.Sleep(time.Minute)
		w.Answer(func(context.Context) (reauth.Token, error) { panic("with a secret-of-its-own") })
		get()
		time.Sleep(time.Minute)
		w.Store.On(func(_ context.Context, call string) error {
			return fmt.Errorf("%s of %s failed", call, tok.AccessToken)
		})
		get()
		note(w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: tok.AccessToken + "\n"}))
		note(w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: tok.AccessToken}))
		w.Store.On(nil)
		note(w.Transport.SignOut(t.Context()))
		assert.NotContains(t, out.String(), "secret-")
		assert.Contains(t, out.String(), "[redacted]")
	}, func(c *reauth.Config, w *testworld.World) {
		logged := reauth.LogEvents(logger)
		c.OnEvent = func(ctx context.Context, e reauth.Event) {
			fmt.Fprintf(&out, "%v %+v %#v\n", e, e, e.Err)
			logged(ctx, e)
		}
		c.Refresher = testworld.Revoker{Refresher: w.Authority, RevokeFunc: func(_ context.Context, tok reauth.Token) error {
			return fmt.Errorf("cannot revoke %s", tok.RefreshToken)
		}}
	})
}

func TestPromise10NoTokenInTheRequestOfTheResponse(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke() // so that the response to the replay is looked at
		req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
		resp, err := w.Transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Same(t, req, resp.Request)
		assert.Empty(t, req.Header)
	})
}

// late answers a refresh a minute after it was asked for, whatever the context says.
func late(answer func() (reauth.Token, error)) func(context.Context) (reauth.Token, error) {
	return func(context.Context) (reauth.Token, error) {
		time.Sleep(time.Minute)
		return answer()
	}
}

func TestPromise10NoGoroutineStays(t *testing.T) {
	scenarios{ // a bubble fails if a goroutine is left when it returns
		"after timeouts and cancellations": func(t *testing.T, w *testworld.World) {
			w.Lifetime, w.Latency = time.Minute, 100*time.Millisecond
			w.SignIn(t)
			for i := range 20 {
				time.Sleep(time.Duration(i) * 5 * time.Second)
				if i%4 == 0 {
					w.Answer(func(ctx context.Context) (reauth.Token, error) { <-ctx.Done(); return reauth.Token{}, ctx.Err() })
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Millisecond)
				w.Storm(ctx, 5)
				cancel()
			}
			require.NoError(t, w.Transport.Wait(t.Context()))
		},
		"after a Refresher that ignores its context": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(late(func() (reauth.Token, error) { return w.Issue(), nil }))
			for _, r := range w.Storm(t.Context(), 5) {
				temporary(t, r.Err)
				assert.LessOrEqual(t, r.Took, 1100*time.Millisecond)
			}
			for range 50 {
				_, err := w.Get(t.Context())
				require.Error(t, err)
				time.Sleep(time.Second)
			}
			assert.Equal(t, 1, w.Refreshes(), "no other starts before it returns")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			w.AssertStored(t, "secret-access-2") // the late token is saved, though no request needs it
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Refreshes())
		},
		"after one that fails late": func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(late(func() (reauth.Token, error) { return reauth.Token{}, testworld.ErrFault }))
			_, err := w.Get(t.Context())
			require.Error(t, err)
			assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshFailed))
			time.Sleep(2 * time.Minute)
			assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshFailed), "it is reported once")
		},
	}.run(t, bounding(time.Second))
}

func TestPromise11PanicsAreContained(t *testing.T) {
	for name, end := range map[string]func(){
		"panic":         func() { panic("in user code") },
		"runtime error": func() { var none []int; none[len(none)] = 1 },
		"Goexit":        runtime.Goexit,
	} {
		ending := func(context.Context) error { end(); return nil }
		duringARefresh := func(call string) func(*testing.T, *testworld.World) {
			return func(t *testing.T, w *testworld.World) {
				w.SignIn(t)
				w.Revoke()
				w.Store.OnCall(call, ending)
				for _, r := range w.Storm(t.Context(), 20) {
					if call == "Save" {
						assert.NoError(t, r.Err, "the save is pending")
					} else {
						temporary(t, r.Err)
					}
				}
				w.Store.On(nil)
				time.Sleep(5 * time.Second)
				w.MustGet(t, http.StatusOK)
				require.NoError(t, w.Transport.Wait(t.Context()))
				assert.Equal(t, 1, w.Refreshes())
			}
		}
		t.Run(name, func(t *testing.T) {
			scenarios{
				"in Lock": duringARefresh("Lock"), "in Load": duringARefresh("Load"), "in Save": duringARefresh("Save"),
				"in Delete": func(t *testing.T, w *testworld.World) {
					w.SignIn(t)
					w.Store.OnCall("Delete", ending)
					require.Error(t, w.Transport.SignOut(t.Context()))
					w.AssertSignInRequired(t)
					w.Store.On(nil)
					w.SignIn(t)
					w.MustGet(t, http.StatusOK)
				},
				"in Refresh": func(t *testing.T, w *testworld.World) {
					w.SignIn(t)
					w.Revoke()
					w.Answer(func(context.Context) (reauth.Token, error) { end(); return reauth.Token{}, nil })
					for _, r := range w.Storm(t.Context(), 20) {
						temporary(t, r.Err)
					}
					time.Sleep(time.Second)
					w.MustGet(t, http.StatusOK)
				},
			}.run(t)
		})
	}
	t.Run("panic in OnEvent", func(t *testing.T) {
		panics := true
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			for _, r := range w.Storm(t.Context(), 5) {
				temporary(t, r.Err)
			}
			panics = false
			time.Sleep(time.Second)
			w.MustGet(t, http.StatusOK)
		}, func(c *reauth.Config, _ *testworld.World) {
			c.OnEvent = func(_ context.Context, e reauth.Event) {
				if panics && e.Kind == reauth.EventRefreshStarted {
					panic("in OnEvent")
				}
			}
		})
	})
}

func TestPromise12NoSelfDeadlock(t *testing.T) {
	during := func(refresher func(context.Context, *testing.T, *testworld.World)) func(*testing.T, *testworld.World) {
		return func(t *testing.T, w *testworld.World) {
			w.Answer(func(ctx context.Context) (reauth.Token, error) {
				refresher(ctx, t, w)
				return w.Issue(), nil
			})
			w.SignIn(t)
			w.Revoke()
			began := time.Now()
			w.MustGet(t, http.StatusOK)
			assert.Zero(t, time.Since(began))
		}
	}
	scenarios{
		"if a Refresher uses the client that it serves": during(func(ctx context.Context, t *testing.T, w *testworld.World) {
			status, err := w.Get(ctx)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, status)
			assert.Equal(t, []string{"Bearer secret-access-1", ""}, w.API.Tokens(), "without a token")
		}),
		"if it uses another Transport, with its token": during(func(ctx context.Context, t *testing.T, _ *testworld.World) {
			other := testworld.New(t)
			other.SignIn(t)
			status, err := other.Get(reauth.WithSession(ctx, ""))
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
		}),
		"if it calls a method that would wait for it": during(func(ctx context.Context, t *testing.T, w *testworld.World) {
			_, err := w.Transport.Token(ctx)
			assert.EqualError(t, err, `reauth: Token was called by the Refresher, Config.SignIn or function of an Update of session "", for which it would wait`)
			_, err = w.Transport.Refresh(ctx, reauth.Token{})
			assert.EqualError(t, err, `reauth: Refresh was called by the Refresher, Config.SignIn or function of an Update of session "", for which it would wait`)
			assert.EqualError(t, w.Transport.Wait(ctx), `reauth: Wait was called by the Refresher, Config.SignIn or function of an Update of session "", for which it would wait`)
			_, err = w.Transport.Session("ann").Token(ctx)
			assert.ErrorIs(t, err, reauth.ErrSignInRequired, "another session can be waited for")
		}),
	}.run(t)
}

func TestPromise13ASignOutElsewhereHoldsOnceItIsKnown(t *testing.T) {
	elsewhere := func(learn func(*testing.T, *testworld.World)) func(*testing.T, *testworld.World) {
		return func(t *testing.T, w *testworld.World) {
			other := w.Beside(t)
			w.SignIn(t)
			other.MustGet(t, http.StatusOK)
			require.NoError(t, w.Transport.SignOut(t.Context()))
			w.AssertSignInRequired(t)
			other.MustGet(t, http.StatusOK) // nothing has told it
			learn(t, other)
			other.AssertSignInRequired(t)
			other.AssertSignedIn(t, false)
			assert.Equal(t, 1, other.Events.Count(reauth.EventSignInRequired))
		}
	}
	scenarios{
		"once it is forgotten":       elsewhere(func(_ *testing.T, w *testworld.World) { w.Transport.Forget("") }),
		"once all are forgotten":     elsewhere(func(_ *testing.T, w *testworld.World) { w.Transport.ForgetAll() }),
		"once the token is refused":  elsewhere(func(_ *testing.T, w *testworld.World) { w.Revoke() }),
		"though the process is slow": elsewhere(func(_ *testing.T, w *testworld.World) { w.Transport.Forget(""); time.Sleep(time.Hour) }),
	}.run(t)
}

func TestPromise14NothingIsReplayedUnderAnotherSignIn(t *testing.T) {
	other := func(signIn func(*testing.T, *testworld.World)) func(*testing.T, *testworld.World) {
		return func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			release := w.HoldNext()
			request := w.Start(t.Context()) // as the first user
			w.Revoke()
			signIn(t, w)
			release()
			r := <-request
			require.NoError(t, r.Err)
			assert.Equal(t, http.StatusUnauthorized, r.Status, "its own response")
			assert.Equal(t, []string{"Bearer secret-access-1"}, w.API.Tokens())
			w.MustGet(t, http.StatusOK)
			assert.Zero(t, w.Refreshes())
		}
	}
	scenarios{
		"in this process": other(func(t *testing.T, w *testworld.World) { w.SignIn(t) }),
		"after a sign-out": other(func(t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignOut(t.Context()))
			w.SignIn(t)
		}),
		"in another process": other(func(t *testing.T, w *testworld.World) { w.Beside(t).SignIn(t) }),
	}.run(t)
}
