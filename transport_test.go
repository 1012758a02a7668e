package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// The path of a request, seen from outside and in virtual time. Redirects, bodies and
// real connections have files of their own.

// passing are requests that a Transport sends unchanged.
var passing = map[string]func(*http.Request) *http.Request{
	"WithoutAuth": func(req *http.Request) *http.Request {
		return req.WithContext(reauth.WithoutAuth(req.Context()))
	},
	"the caller's own credential": func(req *http.Request) *http.Request {
		req.Header.Set("Authorization", "Basic own")
		return req
	},
	"a foreign host": func(req *http.Request) *http.Request { req.URL.Host = "evil.example.net"; return req },
	"a subdomain":    func(req *http.Request) *http.Request { req.URL.Host = "sub.api.example.com"; return req },
	"a foreign suffix": func(req *http.Request) *http.Request {
		req.URL.Host = "api.example.com.evil.net"
		return req
	},
	"another port":   func(req *http.Request) *http.Request { req.URL.Host += ":8443"; return req },
	"another scheme": func(req *http.Request) *http.Request { req.URL.Scheme = "http"; return req },
}

func TestRequestsThatNeedNoTokenAreSentUnchanged(t *testing.T) {
	for name, change := range passing {
		for _, signedIn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/signed in=%t", name, signedIn), func(t *testing.T) {
				var sent *http.Request
				testworld.Run(t, func(t *testing.T, w *testworld.World) {
					if signedIn {
						w.SignIn(t)
					}
					req := change(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
					before := req.Header.Get("Authorization")

					status, err := w.Do(req)

					require.NoError(t, err)
					assert.Equal(t, http.StatusUnauthorized, status, "the refusal is the caller's")
					assert.Same(t, req, sent)
					assert.Equal(t, before, sent.Header.Get("Authorization"))
					assert.Zero(t, w.Refreshes())
				}, testworld.Over(func(req *http.Request) (*http.Response, error) {
					sent = req
					return testworld.Respond(req, http.StatusUnauthorized, ""), nil
				}))
			})
		}
	}
}

func TestFirstTokenOfASession(t *testing.T) {
	const issued, refreshed = "Bearer secret-access-1", "Bearer secret-access-2"
	for name, tc := range map[string]struct {
		prepare   func(*testing.T, *testworld.World)
		token     string
		loads     int
		refreshes int
	}{
		"signed in": {func(t *testing.T, w *testworld.World) { w.SignIn(t) },
			issued, 0, 0},
		"signed in with a refresh token alone": {func(t *testing.T, w *testworld.World) {
			tok := w.Issue()
			require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: tok.RefreshToken}))
		}, refreshed, 2, 1}, // the second time under the lock
		"stored": {func(t *testing.T, w *testworld.World) { w.Store.Put(t, w.Issue()) },
			issued, 1, 0},
		"stored and expired": {func(t *testing.T, w *testworld.World) {
			w.Lifetime = time.Minute
			w.Store.Put(t, w.Issue())
			time.Sleep(time.Hour)
		}, refreshed, 2, 1},
		"from the Refresher": {func(_ *testing.T, w *testworld.World) {
			w.Answer(func(context.Context) (reauth.Token, error) { return w.Issue(), nil })
		}, issued, 2, 1},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tc.prepare(t, w)
			for range 2 {
				testworld.AssertAllOK(t, w.Storm(t.Context(), 10))
			}
			for _, token := range w.API.Tokens() {
				assert.Equal(t, tc.token, token)
			}
			assert.Equal(t, tc.loads, w.Store.Count("Load"))
			assert.Equal(t, tc.refreshes, w.Refreshes())
		})
	}
}

func TestErrorWithoutAToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		_, err := w.Get(reauth.WithSession(t.Context(), "ann"))
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		failed, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, "ann", failed.Session)
		assert.Zero(t, w.API.Requests())
		assert.Zero(t, w.Events.Count(reauth.EventSignInRequired), "no token was lost")
	})
}

func anonymous(c *reauth.Config, _ *testworld.World) { c.Anonymous = true }

func TestAnonymousRequestsAreSentWithoutAToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		for range 10 {
			w.MustGet(t, http.StatusUnauthorized)
		}
		assert.Equal(t, make([]string, 10), w.API.Tokens())
		assert.Equal(t, 3, w.Store.Count("Load"), "for the first request alone")
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
	}, anonymous)
}

func TestAnonymousRequestsFailIfTheStoreDoes(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Store.Fail()
		_, err := w.Get(t.Context())
		require.ErrorIs(t, err, testworld.ErrFault, "there may be a token")
		assert.Zero(t, w.API.Requests())
	}, anonymous)
}

func TestHeadersAreCopied(t *testing.T) {
	for _, fields := range []int{0, 1, 2, 7, 8, 14} { // not all are copied in the same way
		testworld.Case(t, strconv.Itoa(fields), func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
			values := append(make([]string, 0, 4), "one")
			for i := range fields {
				req.Header.Set(fmt.Sprintf("X-Other-%d", i), "value")
			}
			if fields > 0 {
				req.Header["X-Other-0"] = values
			} else {
				req.Header = nil
			}
			w.API.Decide = func(req *http.Request) int {
				assert.Len(t, req.Header, fields+1)
				req.Header.Add("X-Other-0", "two")
				return 0
			}
			_, err := w.Do(req)
			require.NoError(t, err)
			assert.Empty(t, values[:2][1], "not written behind the caller's values either")
			assert.Len(t, req.Header, fields)
		})
	}
}

func TestResultsOfTheBaseTransport(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []func(*http.Request) (*http.Response, error)
		want    func(*testing.T, error)
	}{
		"an error": {
			[]func(*http.Request) (*http.Response, error){faulty},
			func(t *testing.T, err error) { assert.Equal(t, testworld.ErrFault, err) },
		},
		"an error of the replay": {
			[]func(*http.Request) (*http.Response, error){refusing, faulty},
			func(t *testing.T, err error) { assert.Equal(t, testworld.ErrFault, err) },
		},
		"neither a response nor an error": {
			[]func(*http.Request) (*http.Response, error){func(*http.Request) (*http.Response, error) { return nil, nil }},
			func(t *testing.T, err error) {
				assert.EqualError(t, err, "reauth: the base transport, a testworld.RoundTripper, returned neither a response nor an error")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				w.SignIn(t)
				_, err := w.Get(t.Context())
				tc.want(t, err)
				assert.Equal(t, len(tc.answers), n)
			}, testworld.Over(func(req *http.Request) (*http.Response, error) {
				n++
				return tc.answers[n-1](req)
			}))
		})
	}
}

func faulty(*http.Request) (*http.Response, error) { return nil, testworld.ErrFault }

func refusing(req *http.Request) (*http.Response, error) {
	return testworld.Respond(req, http.StatusUnauthorized, ""), nil
}

func TestResponseToTheReplayIsTheResponse(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusTeapot} {
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			w.Only(status, w.SignIn(t))
			w.MustGet(t, status)
			assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-2"}, w.API.Tokens())
			assert.Equal(t, 1, w.Events.Count(reauth.EventReplayed))
		})
	}
}

func TestEventsOfARefreshInOrder(t *testing.T) {
	var took []time.Duration
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Latency, w.API.Latency = 200*time.Millisecond, 10*time.Millisecond
		w.SignIn(t)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventLocked, reauth.EventRefreshed,
			reauth.EventWaited, reauth.EventReplayed, reauth.EventSignedOut,
		}, w.Events.Kinds())
		assert.Equal(t, []time.Duration{
			0, 0, 0, 200 * time.Millisecond, 200 * time.Millisecond, 210 * time.Millisecond, 0,
		}, took)
	}, func(c *reauth.Config, w *testworld.World) {
		c.OnEvent = func(ctx context.Context, e reauth.Event) {
			took = append(took, e.Took)
			w.Events.Add(ctx, e)
		}
	})
}

// The next step of a refused request depends on what has become of the token that it
// carried.

func TestRefusedUnderAnEarlierSignInGetsTheRefusal(t *testing.T) {
	for name, turn := range map[string]func(*testing.T, *testworld.World){
		"SignIn": func(t *testing.T, w *testworld.World) { w.SignIn(t) },
		"SignOut": func(t *testing.T, w *testworld.World) {
			require.NoError(t, w.Transport.SignOut(t.Context()))
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			release := w.HoldNext()
			refused := w.Start(t.Context())
			turn(t, w)
			release()
			got := <-refused
			require.NoError(t, got.Err)
			assert.Equal(t, http.StatusUnauthorized, got.Status)
			assert.Equal(t, 1, w.API.Requests())
			assert.Zero(t, w.Refreshes())
		})
	}
}

func TestRefusedAfterRotationReplaysWithoutRefresh(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		release := w.HoldNext()
		late := w.Start(t.Context())
		w.Revoke()
		w.MustGet(t, http.StatusOK) // refreshes
		release()
		testworld.AssertAllOK(t, []testworld.Result{<-late})
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestRefusedDuringARefreshWaitsForIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Latency = time.Second
		w.SignIn(t)
		w.Revoke()
		first := w.Start(t.Context())
		time.Sleep(600 * time.Millisecond)
		began := time.Now()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 400*time.Millisecond, time.Since(began))
		testworld.AssertAllOK(t, []testworld.Result{<-first})
		assert.Equal(t, 1, w.Refreshes())
	})
}

func TestRefusedAfterAFailedRefreshGetsTheSameError(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		w.Answer(testworld.Failing(testworld.ErrFault))
		_, first := w.Get(t.Context())
		_, second := w.Get(t.Context())
		require.ErrorIs(t, first, testworld.ErrFault)
		assert.Equal(t, first.Error(), second.Error())
		assert.Equal(t, 1, w.Refreshes())
	})
}

// A token is not refreshed again for a while after a refresh, unless it can have
// expired. Servers that count in whole seconds expire one up to a second early.
func TestRefusedSoonAfterARefresh(t *testing.T) {
	lasting := func(d time.Duration) func(*testing.T, *testworld.World) {
		return func(t *testing.T, w *testworld.World) {
			w.Lifetime = d
			w.SignIn(t)
			w.Revoke()
		}
	}
	for name, tc := range map[string]struct {
		pause    time.Duration // 0: the default
		prepare  func(*testing.T, *testworld.World)
		refusals time.Duration // how long the refusals are handed over
	}{
		"pause by default":                    {0, lasting(time.Hour), 5 * time.Second},
		"pause as set":                        {time.Minute, lasting(time.Hour), time.Minute},
		"no pause":                            {-1, lasting(time.Hour), 0},
		"expiry unknown":                      {0, lasting(0), 5 * time.Second},
		"the token has a last second":         {0, lasting(4 * time.Second), 3 * time.Second},
		"half of a lifetime shorter than two": {0, lasting(time.Second), 500 * time.Millisecond},
		"a lifetime counts from the request": {0, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(func(context.Context) (reauth.Token, error) {
				tok := w.Issue()
				tok.Expiry = time.Now().Add(2 * time.Second)
				time.Sleep(400 * time.Millisecond)
				return tok, nil
			})
		}, 600 * time.Millisecond},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tc.prepare(t, w)
			w.MustGet(t, http.StatusOK)
			require.Equal(t, 1, w.Refreshes())
			w.Revoke()
			if tc.refusals > 0 {
				time.Sleep(tc.refusals - time.Nanosecond)
				sent := w.API.Requests()
				require.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/other"), "nothing shows that it takes this session's tokens")
				assert.Equal(t, 1, w.Refreshes())
				assert.Equal(t, sent+1, w.API.Requests(), "not replayed")
				time.Sleep(time.Nanosecond)
			}
			require.Equal(t, http.StatusOK, getFrom(t, w, "/other"))
			assert.Equal(t, 2, w.Refreshes())
		}, func(c *reauth.Config, _ *testworld.World) { c.RefreshPause, c.EarlyRefresh = tc.pause, -1 })
	}
}

func TestRefusedSoonAfterAnAdoption(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		theirs := w.Issue()
		theirs.Expiry = time.Now().Add(1200 * time.Millisecond) // of a lifetime that is not known here
		w.Store.Put(t, theirs)
		w.MustGet(t, http.StatusOK)
		require.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
		w.Revoke()
		time.Sleep(200*time.Millisecond - time.Nanosecond)
		require.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/other"))
		time.Sleep(time.Nanosecond)
		require.Equal(t, http.StatusOK, getFrom(t, w, "/other"))
		assert.Equal(t, 1, w.Refreshes())
	}, func(c *reauth.Config, _ *testworld.World) { c.EarlyRefresh = -1 })
}

func TestRefusedAfterItsExpiryIsRefreshedWhateverThePause(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime, w.API.Latency = 2*time.Second, time.Second
		w.SignIn(t)
		time.Sleep(2 * time.Second)
		w.MustGet(t, http.StatusOK) // refreshed at 2 s
		time.Sleep(500 * time.Millisecond)
		w.Revoke()
		w.MustGet(t, http.StatusOK) // sent half a second before the expiry, refused half a second after
		assert.Equal(t, 2, w.Refreshes())
	}, func(c *reauth.Config, _ *testworld.World) { c.RefreshPause, c.EarlyRefresh = time.Minute, -1 })
}

func TestRefusedAfterASignInOrAFirstLoadIsRefreshedAtOnce(t *testing.T) {
	for _, stored := range []bool{false, true} {
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			if stored {
				w.Store.Put(t, w.Issue())
			} else {
				w.SignIn(t)
			}
			w.Revoke()
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Refreshes())
		})
	}
}

func TestRefusedOnceTheTokenIsLost(t *testing.T) {
	for _, isAnonymous := range []bool{false, true} {
		for _, later := range []time.Duration{0, time.Minute} { // when the store is asked again
			testworld.Case(t, fmt.Sprintf("anonymous=%t/after=%s", isAnonymous, later), func(t *testing.T, w *testworld.World) {
				w.SignIn(t)
				release := w.HoldNext()
				refused := w.Start(t.Context())
				w.Revoke()
				w.Answer(testworld.Failing(reauth.ErrSignInRequired))
				status, err := w.Get(t.Context())
				if isAnonymous {
					require.NoError(t, err)
					assert.Equal(t, http.StatusUnauthorized, status)
				} else {
					require.ErrorIs(t, err, reauth.ErrSignInRequired)
				}
				time.Sleep(later)
				release()
				late := <-refused
				if isAnonymous {
					require.NoError(t, late.Err)
					assert.Equal(t, http.StatusUnauthorized, late.Status)
					assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-1", "", ""}, w.API.Tokens())
				} else {
					require.ErrorIs(t, late.Err, reauth.ErrSignInRequired)
				}
				assert.Equal(t, 1, w.Refreshes())
			}, func(c *reauth.Config, _ *testworld.World) { c.Anonymous = isAnonymous })
		}
	}
}

func TestRefusedOnceTheTokenIsLostIsAnErrorThoughTheBodyIsGone(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		release := w.HoldNext()
		refused := make(chan error, 1)
		go func() {
			_, err := w.Do(oneShot(t))
			refused <- err
		}()
		synctest.Wait()
		w.Revoke()
		w.Answer(testworld.Failing(reauth.ErrSignInRequired))
		_, err := w.Transport.Refresh(t.Context(), reauth.Token{AccessToken: "secret-access-1"})
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		release()
		assert.ErrorIs(t, <-refused, reauth.ErrSignInRequired)
	}, func(c *reauth.Config, _ *testworld.World) { c.ReplayBuffer = -1 })
}

func TestConfigRefusedMayReadTheBody(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		old := w.SignIn(t)
		w.API.Decide = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
				return http.StatusForbidden
			}
			return http.StatusUnauthorized // is not a refusal here
		}
		resp, err := w.Transport.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "Unauthorized", string(body), "put back")
		assert.Equal(t, 1, w.Refreshes())
	}, func(c *reauth.Config, w *testworld.World) {
		c.Refused = func(resp *http.Response) bool {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusForbidden && strings.Contains(string(body), "Forbidden")
		}
	})
}

func TestConfigRefusedIsNotAskedAboutSwitchedProtocols(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.API.Decide = func(*http.Request) int { return http.StatusSwitchingProtocols }
		w.MustGet(t, http.StatusSwitchingProtocols)
		assert.Equal(t, 1, w.API.Requests())
	}, func(c *reauth.Config, w *testworld.World) {
		c.Refused = func(*http.Response) bool { t.Error("asked"); return true }
	})
}

// floor is the least that a RoundTripper which keeps its contract can do.
type floor struct {
	base  http.RoundTripper
	value []string
}

func (f floor) RoundTrip(req *http.Request) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	header := make(http.Header, len(req.Header)+1)
	for k, v := range req.Header {
		header[k] = v
	}
	header["Authorization"] = f.value
	clone.Header = header
	return f.base.RoundTrip(clone)
}

// still is a base transport that allocates nothing.
var still = testworld.RoundTripper(func() func(*http.Request) (*http.Response, error) {
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	return func(*http.Request) (*http.Response, error) { return answer, nil }
}())

// signedInOver returns a Transport over still, signed in as the context's session.
func signedInOver(tb testing.TB, ctx context.Context, credential reauth.Credential) *reauth.Transport {
	tb.Helper()
	tr, err := reauth.New(reauth.Config{
		Refresher: testworld.NewAuthority(), Origins: []string{"https://api.example.com"}, Base: still, Credential: credential,
	})
	require.NoError(tb, err)
	tok := reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}
	require.NoError(tb, tr.SignIn(ctx, tok))
	return tr
}

// withHeaders returns a request with so many headers.
func withHeaders(tb testing.TB, ctx context.Context, headers int) *http.Request {
	tb.Helper()
	req := testworld.Request(tb, http.MethodGet, testworld.APIURL, nil).WithContext(ctx)
	for i := range headers {
		req.Header.Set(fmt.Sprintf("X-Header-%d", i), "value")
	}
	return req
}

// assertFloor checks that a request through rt allocates what the floor does.
func assertFloor(t *testing.T, ctx context.Context, rt http.RoundTripper, value string) {
	t.Helper()
	for _, headers := range []int{0, 3, 12} {
		req := withHeaders(t, ctx, headers)
		measure := func(rt http.RoundTripper) float64 {
			return testing.AllocsPerRun(200, func() {
				if _, err := rt.RoundTrip(req); err != nil {
					t.Error(err)
				}
			})
		}
		assert.Equal(t, measure(floor{still, []string{value}}), measure(rt), "%d headers", headers)
	}
}

func TestHotPathAllocatesNoMoreThanTheFloor(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"one session": t.Context(), "named session": reauth.WithSession(t.Context(), "ann"),
	} {
		t.Run(name, func(t *testing.T) { assertFloor(t, ctx, signedInOver(t, ctx, nil), "Bearer a") })
	}
	t.Run("Session", func(t *testing.T) {
		ann := reauth.WithSession(t.Context(), "ann")
		assertFloor(t, t.Context(), signedInOver(t, ann, nil).Session("ann"), "Bearer a")
	})
}
