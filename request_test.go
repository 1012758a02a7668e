package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// The way of a request, step by step, and the table that a refused one meets.

func TestWithoutAuthGoesOutAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		status, err := w.get(reauth.WithoutAuth(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
		assert.Equal(t, []string{""}, w.api.tokens())
		assert.Zero(t, w.refreshes())
	})
}

func TestACallersOwnCredentialIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // nobody is signed in: it must not even be asked
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Basic mine")
		status, err := w.do(req)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
		assert.Equal(t, []string{"Basic mine"}, w.api.tokens())
	})
}

func TestACallersOwnCredentialIsKnownByTheHeaderTheCredentialWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got http.Header
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Credential = &reauth.HeaderCredential{Name: "x-token", Bare: true}
			c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
				got = req.Header
				return respond(req, 200, ""), nil
			})
		})
		w.signIn(t)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Basic mine")
		req.Header.Set("Cookie", "a=b")
		_, err = w.do(req)
		require.NoError(t, err)
		assert.Equal(t, "secret-access-1", got.Get("X-Token"), "another header does not count")
		req.Header.Set("X-Token", "mine")
		_, err = w.do(req)
		require.NoError(t, err)
		assert.Equal(t, "mine", got.Get("X-Token"))
	})
}

func TestACustomCredentialIsAppliedToEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var applied []string
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Credential = credentialFunc(func(req *http.Request, tok reauth.Token) error {
				applied = append(applied, tok.AccessToken)
				req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
				tok.Extra["mine"] = "now"
				return nil
			})
		})
		tok := w.issue()
		tok.Extra = map[string]string{"a": "b"}
		require.NoError(t, w.tr.SignIn(t.Context(), tok))
		w.answer(func(context.Context) (reauth.Token, error) {
			tok := w.issue()
			tok.Extra = map[string]string{"a": "c"}
			return tok, nil
		})
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-access-1", "secret-access-2"}, applied)
		now, err := w.tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "c"}, now.Extra, "what Apply writes to its Token stays there")
	})
}

func TestACredentialsErrorFailsTheRequestAndClosesItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Credential = credentialFunc(func(_ *http.Request, tok reauth.Token) error {
				return fmt.Errorf("cannot sign with %s", tok.AccessToken)
			})
		})
		w.signIn(t)
		body := &countedBody{Reader: strings.NewReader("x")}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, apiURL, body)
		require.NoError(t, err)
		_, err = w.do(req)
		assert.EqualError(t, err, "reauth: credential: cannot sign with [redacted]")
		assert.EqualValues(t, 1, body.closes.Load())
		assert.Zero(t, w.api.requests())
	})
}

type credentialFunc func(*http.Request, reauth.Token) error

func (f credentialFunc) Apply(req *http.Request, tok reauth.Token) error { return f(req, tok) }

type countedBody struct {
	io.Reader
	closes atomic.Int32
}

func (c *countedBody) Close() error { c.closes.Add(1); return nil }

func TestTheFirstRequestLoadsFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		require.NoError(t, store.Save(t.Context(), "", w.issue()))
		assertAllOK(t, w.storm(t.Context(), 20))
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, store.count("Load"), "and nobody after it")
		assert.Zero(t, w.refreshes())
	})
}

func TestAFreshTokenTouchesNeitherStoreNorRefresher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.signIn(t)
		store.on(func(_ context.Context, call string) error { t.Error(call); return nil })
		w.mustGet(t, http.StatusOK)
		assert.Zero(t, w.refreshes())
	})
}

func TestAStoredTokenThatHasExpiredIsRefreshedBeforeUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		w.lifetime = time.Minute
		require.NoError(t, store.Save(t.Context(), "", w.issue()))
		time.Sleep(time.Hour)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer secret-access-2"}, w.api.tokens())
	})
}

func TestASignInWithARefreshTokenAloneRefreshesBeforeUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.NoError(t, w.tr.SignIn(t.Context(), reauth.Token{RefreshToken: "r"}))
		assertAllOK(t, w.storm(t.Context(), 10))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestWithNoTokenTheRefresherGetsTheZeroToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer(func(context.Context) (reauth.Token, error) { return w.issue(), nil })
		assertAllOK(t, w.storm(t.Context(), 10))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestWithNoTokenARequestFailsWithErrSignInRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := reauth.WithSession(t.Context(), "ann")
		_, err := w.get(ctx)
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		refresh, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, "ann", refresh.Session)
		assert.Zero(t, w.api.requests())
		assert.Zero(t, w.events.count(reauth.EventSignInRequired), "it has lost nothing")
	})
}

func TestAnonymousRequestsGoOutBareAndTheirAnswerIsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Anonymous, c.Store = true, store })
		for range 10 {
			w.mustGet(t, http.StatusUnauthorized)
		}
		assert.Equal(t, 10, w.api.requests())
		assert.Equal(t, 3, store.count("Load"), "all of them for the first request")
		w.signIn(t)
		w.mustGet(t, http.StatusOK)
	})
}

func TestAnonymousRequestsFailWhenTheStoreDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Anonymous, c.Store = true, store })
		store.on(func(context.Context, string) error { return errFault })
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, errFault, "whether somebody is signed in is not known")
		assert.Zero(t, w.api.requests())
	})
}

func TestASharedHeaderIsNotWrittenTo(t *testing.T) {
	for _, fields := range []int{1, 2, 7, 8, 12, 14} { // not all are copied in the same way
		t.Run(strconv.Itoa(fields), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t)
				values := make([]string, 1, 4)
				values[0] = "one"
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
				require.NoError(t, err)
				for i := range fields - 1 {
					req.Header.Set(fmt.Sprintf("X-Other-%d", i), "value")
				}
				req.Header["X-Values"] = values
				w.api.decide = func(req *http.Request) int {
					assert.Len(t, req.Header, fields+1)
					assert.Equal(t, []string{"one"}, req.Header["X-Values"])
					req.Header.Add("X-Values", "two")
					return 0
				}
				_, err = w.do(req)
				require.NoError(t, err)
				assert.Empty(t, values[:2][1])
				assert.Len(t, req.Header, fields)
			})
		})
	}
}

func TestTheBasesOwnErrorIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Base = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errFault })
		})
		w.signIn(t)
		_, err := w.get(t.Context())
		assert.Equal(t, errFault, err)
	})
}

func TestABaseThatReturnsNothingIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Base = roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })
		})
		w.signIn(t)
		_, err := w.get(t.Context())
		assert.ErrorContains(t, err, "returned neither a response nor an error")
	})
}

// The table: what the refused attempt carried.

func TestRefusedFromBeforeASignInHandsOverItsOwn401(t *testing.T) {
	for name, turn := range map[string]func(*testing.T, *world){
		"SignIn":  func(t *testing.T, w *world) { w.signIn(t) },
		"SignOut": func(t *testing.T, w *world) { require.NoError(t, w.tr.SignOut(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.api.latency = 100 * time.Millisecond
				w.signIn(t)
				w.revoke()
				got := make(chan int, 1)
				go func() {
					status, err := w.get(t.Context())
					assert.NoError(t, err)
					got <- status
				}()
				synctest.Wait() // sent, not answered
				turn(t, w)
				assert.Equal(t, http.StatusUnauthorized, <-got)
				assert.Equal(t, 1, w.api.requests())
				assert.Zero(t, w.refreshes())
			})
		})
	}
}

func TestRefusedAfterRotationReplaysWithoutRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old := w.signIn(t)
		release := make(chan struct{})
		slow := true
		w.api.decide = func(req *http.Request) int {
			if slow && req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
				slow = false
				<-release
			}
			return 0
		}
		late := make(chan int, 1)
		go func() {
			status, err := w.get(t.Context())
			assert.NoError(t, err)
			late <- status
		}()
		synctest.Wait()
		w.revoke()
		w.mustGet(t, http.StatusOK) // refreshes
		close(release)
		assert.Equal(t, http.StatusOK, <-late)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestRefusedWhileAFlightIsUpWaitsOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency = time.Second
		w.signIn(t)
		w.revoke()
		go func() { _, _ = w.get(t.Context()) }()
		time.Sleep(600 * time.Millisecond)
		began := time.Now()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 400*time.Millisecond, time.Since(began))
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestRefusedAfterAFailedRefreshGetsTheSameError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.answer(failing(errFault))
		_, first := w.get(t.Context())
		_, second := w.get(t.Context())
		require.ErrorIs(t, first, errFault)
		assert.Equal(t, first.Error(), second.Error())
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestRefusedJustAfterARefreshHandsOverThe401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK) // refreshed now
		w.api.decide = func(*http.Request) int { return http.StatusUnauthorized }
		time.Sleep(5*time.Second - time.Nanosecond)
		w.mustGet(t, http.StatusUnauthorized)
		assert.Equal(t, 1, w.refreshes())
		assert.Equal(t, 3, w.api.requests(), "not replayed")
		time.Sleep(time.Nanosecond)
		w.mustGet(t, http.StatusUnauthorized)
		assert.Equal(t, 2, w.refreshes(), "the pause is over")
	})
}

func TestRefusedJustAfterARefreshButPastItsExpiryRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.RefreshPause, c.EarlyRefresh = time.Minute, -1 })
		w.lifetime = 2 * time.Second
		w.api.latency = time.Second
		w.signIn(t)
		time.Sleep(2 * time.Second)
		w.mustGet(t, http.StatusOK) // refreshed at 2 s
		time.Sleep(500 * time.Millisecond)
		w.revoke()
		// Sent half a second before its end, refused half a second after it.
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestRefusedInTheLastSecondOfItsLifetimeRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Servers that count in whole seconds end a token up to a second early.
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.EarlyRefresh = -1 })
		w.lifetime = 4 * time.Second
		w.signIn(t)
		time.Sleep(4 * time.Second)
		w.mustGet(t, http.StatusOK)
		w.revoke()
		time.Sleep(3*time.Second - time.Nanosecond)
		w.mustGet(t, http.StatusUnauthorized)
		time.Sleep(time.Nanosecond)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestTheLastSecondIsThatOfTheLifetimeNotOfWhatIsLeftOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.EarlyRefresh = -1 })
		w.signIn(t)
		w.revoke()
		w.answer(func(context.Context) (reauth.Token, error) {
			sent := time.Now()
			time.Sleep(400 * time.Millisecond)
			tok := w.issue()
			tok.Expiry = sent.Add(2 * time.Second)
			return tok, nil
		})
		w.mustGet(t, http.StatusOK)
		w.revoke()
		time.Sleep(600 * time.Millisecond) // a second after it was asked for
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.refreshes())
	})
}

func TestTheLastSecondOfAnAdoptedTokenIsAWholeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// How long it has lived by then nobody here knows: of the 1.2 s that are left of
		// it, half would be less than the second that the server may have cut off.
		store := new(faultyStore)
		w := newWorld(t, keptIn(store), func(c *reauth.Config, _ *world) { c.EarlyRefresh = -1 })
		w.signIn(t)
		theirs := w.issue()
		theirs.Expiry = time.Now().Add(1200 * time.Millisecond)
		store.put(t, theirs)
		w.mustGet(t, http.StatusOK)
		require.Equal(t, 1, w.events.count(reauth.EventAdopted))
		w.revoke()
		time.Sleep(200*time.Millisecond - time.Nanosecond)
		w.mustGet(t, http.StatusUnauthorized)
		time.Sleep(time.Nanosecond)
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestRefusedAfterASignInOrAFirstLoadRefreshesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, w.refreshes(), "a sign-in starts no pause")

		store := new(faultyStore)
		v := newWorld(t, func(c *reauth.Config, _ *world) { c.Store = store })
		require.NoError(t, store.Save(t.Context(), "", v.issue()))
		v.revoke()
		v.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, v.refreshes(), "a first load starts no pause")
	})
}

func TestRefusedWithNoCurrentGenerationIsAsIfItHadNoToken(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		t.Run(fmt.Sprintf("anonymous=%v", anonymous), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *reauth.Config, _ *world) { c.Anonymous = anonymous })
				w.signIn(t)
				w.answer(failing(reauth.ErrSignInRequired))
				release := make(chan struct{})
				first := true
				w.api.decide = func(*http.Request) int {
					if first {
						first = false
						<-release
					}
					return 0
				}
				got := make(chan result, 1)
				go func() {
					status, err := w.get(t.Context())
					got <- result{status: status, err: err}
				}()
				synctest.Wait()
				w.revoke()
				_, err := w.get(t.Context())
				require.ErrorIs(t, err, reauth.ErrSignInRequired, "its refresh failed for good")
				close(release)
				late := <-got
				if anonymous {
					require.NoError(t, late.err)
					assert.Equal(t, http.StatusUnauthorized, late.status)
					assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-1", ""}, w.api.tokens())
				} else {
					require.ErrorIs(t, late.err, reauth.ErrSignInRequired)
				}
				assert.Equal(t, 1, w.refreshes())
			})
		})
	}
}

func TestTheReplaysAnswerIsTheAnswer(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTeapot} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			old := w.signIn(t)
			w.api.decide = func(req *http.Request) int {
				if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
					return http.StatusUnauthorized
				}
				return status
			}
			w.mustGet(t, status)
			assert.Equal(t, 2, w.api.requests())
			assert.Equal(t, 1, w.events.count(reauth.EventReplayed))
		})
	}
}

func TestAFailingReplayIsItsOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n int
		w := newWorld(t, func(c *reauth.Config, _ *world) {
			c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return respond(req, http.StatusUnauthorized, ""), nil
				}
				return nil, errFault
			})
		})
		w.signIn(t)
		_, err := w.get(t.Context())
		assert.Equal(t, errFault, err)
	})
}

func TestAnEndpointThatAlwaysRefusesDoesNotRefreshEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t)
		w.api.decide = func(*http.Request) int { return http.StatusUnauthorized }
		for range 36000 { // an hour of ten requests a second
			w.mustGet(t, http.StatusUnauthorized)
			time.Sleep(100 * time.Millisecond)
		}
		calls := w.callTimes()
		// After 0 s: pauses of 10 s, 20 s, 40 s ... up to 5 minutes.
		want := []time.Duration{10, 20, 40, 80, 160, 300, 300, 300}
		for i, pause := range want {
			assert.Equal(t, pause*time.Second, calls[i+1]-calls[i], "pause %d", i)
		}
	})
}

func TestConfigRefusedReplacesTheRuleAndMayReadTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Refused = func(resp *http.Response) bool {
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				return resp.StatusCode == http.StatusForbidden && strings.Contains(string(body), "Forbidden")
			}
		})
		old := w.signIn(t)
		w.api.decide = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer "+old.AccessToken {
				return http.StatusForbidden
			}
			return http.StatusUnauthorized // is no refusal here
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
		require.NoError(t, err)
		resp, err := w.tr.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "Unauthorized", string(body), "put back")
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestTokenReturnsAUsableTokenWithItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lifetime = time.Minute
		w.signIn(t)
		time.Sleep(2 * time.Minute)
		tok, err := w.tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", tok.AccessToken)
		assert.Equal(t, time.Minute, time.Until(tok.Expiry))
	})
}

func TestRefreshReportsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.signIn(t)

		same, err := w.tr.Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
		assert.Equal(t, first.AccessToken, same.AccessToken, "the zero Token is no refusal")

		second, err := w.tr.Refresh(t.Context(), first)
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", second.AccessToken)

		again, err := w.tr.Refresh(t.Context(), first)
		require.NoError(t, err)
		assert.Equal(t, second, again, "it has been replaced already")
		assert.Equal(t, 1, w.refreshes())

		time.Sleep(time.Second)
		_, err = w.tr.Refresh(t.Context(), second)
		refresh, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, 4*time.Second, refresh.RetryAfter)
		assert.Equal(t, 1, w.refreshes())
	})
}

func TestATransportIsARefresher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newWorld(t)
		inner.signIn(t)
		outer := newWorld(t, func(c *reauth.Config, _ *world) { c.Refresher, c.Base = inner.tr, inner.api })
		outer.mustGet(t, http.StatusOK)
		inner.revoke()
		time.Sleep(5 * time.Second) // what the outer one got from a refresh is not refreshed sooner
		outer.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, inner.refreshes())
	})
}

func TestTheEventsOfARefreshInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.latency, w.api.latency = 200*time.Millisecond, 10*time.Millisecond
		w.signIn(t)
		w.revoke()
		w.mustGet(t, http.StatusOK)
		require.NoError(t, w.tr.SignOut(t.Context()))
		assert.Equal(t, []reauth.EventKind{
			reauth.EventSignedIn, reauth.EventRefreshStarted, reauth.EventRefreshed,
			reauth.EventReplayed, reauth.EventSignedOut,
		}, w.events.kinds())
		assert.Equal(t, 200*time.Millisecond, w.events.events[2].Took)
		assert.Equal(t, 210*time.Millisecond, w.events.events[3].Took)
	})
}

func TestBearerIsSpeltAsAPIsCompareIt(t *testing.T) {
	for typ, want := range map[string]string{
		"": "Bearer x", "bearer": "Bearer x", "BEARER": "Bearer x", "Bearer": "Bearer x", "DPoP": "DPoP x",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			require.NoError(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "x", TokenType: typ}))
			w.api.decide = func(*http.Request) int { return http.StatusOK }
			w.mustGet(t, http.StatusOK)
			assert.Equal(t, []string{want}, w.api.tokens())
		})
	}
}

func TestSignInRefusesWhatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tok := w.signIn(t)
		assert.EqualError(t, w.tr.SignIn(t.Context(), reauth.Token{}),
			"reauth: SignIn: Token has neither an AccessToken nor a RefreshToken")
		assert.EqualError(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "a\nb"}),
			"reauth: SignIn: Token.AccessToken has characters that no header can carry")
		assert.ErrorContains(t, w.tr.SignIn(t.Context(), reauth.Token{AccessToken: "a", TokenType: "b\r"}), "TokenType")
		w.mustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer " + tok.AccessToken}, w.api.tokens())
	})
}

func TestNewReportsEveryFaultAtOnce(t *testing.T) {
	_, err := reauth.New(reauth.Config{
		Origins: []string{
			"", "api.example.com", "https://api.example.com/v1", "https://api.example.com?k=v",
			"https://user:hunter2@api.example.com", "ftp://api.example.com", "https://api.*.example.com",
			"https://api.example.com",
		},
		RefreshTimeout: -time.Second,
		Credential:     reauth.HeaderCredential{Name: "a b"},
	})
	require.Error(t, err)
	text := err.Error()
	for _, want := range []string{
		"Config.Refresher is nil", "Config.RefreshTimeout -1s", `HeaderCredential.Name "a b"`,
		`Config.Origins[0] ""`, `Config.Origins[1] "api.example.com"`, `Config.Origins[2] "https://api.example.com/v1"`,
		"Config.Origins[3]", "Config.Origins[4]", `Config.Origins[5] "ftp://api.example.com"`,
		`Config.Origins[6] "https://api.*.example.com"`,
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "hunter2")
	assert.NotContains(t, text, "Config.Origins[7]")

	_, err = reauth.New(reauth.Config{Refresher: (*oauth.Refresher)(nil)})
	assert.ErrorContains(t, err, "Config.Refresher is a nil *oauth.Refresher")
	assert.ErrorContains(t, err, "Config.Origins is empty")
	_, err = reauth.New(reauth.Config{Refresher: &oauth.Refresher{TokenURL: "/token"}, Origins: []string{reauth.AnyOrigin}})
	assert.ErrorContains(t, err, `OAuth2Refresher.TokenURL "/token"`)
}

func TestNewCopiesItsConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		origins := []string{"https://api.example.com"}
		w := newWorld(t, func(c *reauth.Config, _ *world) { c.Origins = origins })
		origins[0] = "https://elsewhere.example.com"
		w.signIn(t)
		w.mustGet(t, http.StatusOK)
	})
}

func TestNilBaseIsTheDefaultTransportOfThatMoment(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	a := newAuthority()
	http.DefaultTransport = &api{authority: a}
	tr, err := reauth.New(reauth.Config{Refresher: a, Origins: []string{"https://api.example.com"}})
	require.NoError(t, err)
	http.DefaultTransport = tr
	require.NoError(t, tr.SignIn(t.Context(), a.issue()))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
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

func TestTheHotPathAllocatesNoMoreThanTheFloor(t *testing.T) {
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	base := roundTripper(func(*http.Request) (*http.Response, error) { return answer, nil })
	tr, err := reauth.New(reauth.Config{Refresher: newAuthority(), Origins: []string{"https://api.example.com"}, Base: base})
	require.NoError(t, err)
	named := reauth.WithSession(t.Context(), "ann")
	for name, ctx := range map[string]context.Context{"one session": t.Context(), "named session": named} {
		require.NoError(t, tr.SignIn(ctx, reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}))
		for _, headers := range []int{0, 3, 12} {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiURL, nil)
			require.NoError(t, err)
			for i := range headers {
				req.Header.Set(fmt.Sprintf("X-Header-%d", i), "value")
			}
			measure := func(rt http.RoundTripper) float64 {
				return testing.AllocsPerRun(200, func() {
					if _, err := rt.RoundTrip(req); err != nil {
						t.Error(err)
					}
				})
			}
			least := measure(floor{base, []string{"Bearer a"}})
			assert.Equal(t, least, measure(tr), "%s, %d headers", name, headers)
		}
	}
}
