package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of what a refresher is told of the refusal, and of the refused response.

// A listener is a Refresher that notes which refusals it is told of.
type listener struct {
	reauth.Refresher
	heard *[]reauth.Refusal
}

func (l listener) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	refusal, _ := reauth.RefusalFromContext(ctx)
	*l.heard = append(*l.heard, refusal)
	return l.Refresher.Refresh(ctx, old)
}

func listening(heard *[]reauth.Refusal) testworld.Setting {
	return func(c *reauth.Config, w *testworld.World) { c.Refresher = listener{w.Authority, heard} }
}

// answering is a base transport that refuses with this header and body what the Authority does not accept.
func answering(w *testworld.World, header http.Header, body string) testworld.RoundTripper {
	return func(req *http.Request) (*http.Response, error) {
		if w.Accepts(req.Header.Get("Authorization")) {
			return testworld.Respond(req, http.StatusOK, ""), nil
		}
		resp := testworld.Respond(req, http.StatusUnauthorized, body)
		resp.Header = header
		return resp, nil
	}
}

const claimsChallenge = `Bearer realm="", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`

func TestARefresherIsToldOfTheFirstRefusal(t *testing.T) {
	var heard []reauth.Refusal
	header := http.Header{"Www-Authenticate": {claimsChallenge}}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Latency = time.Second
		const url = "https://user:password@api.example.com/a%2Fb/c?key=secret#part"
		first := make(chan error, 1)
		go func() {
			status, err := w.Do(testworld.Request(t, http.MethodGet, url, nil))
			assert.Equal(t, http.StatusOK, status)
			first <- err
		}()
		synctest.Wait()
		later := w.Start(t.Context())
		require.NoError(t, <-first)
		require.NoError(t, (<-later).Err)
		assert.Equal(t, []reauth.Refusal{{
			StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {claimsChallenge}},
			URL: "https://api.example.com/a%2Fb/c",
		}}, heard)
		header.Set("Www-Authenticate", "changed")
		assert.Equal(t, claimsChallenge, heard[0].Header.Get("Www-Authenticate"), "it is a copy")
	}, listening(&heard), func(c *reauth.Config, w *testworld.World) { c.Base = answering(w, header, "") })
}

func TestARefresherIsToldOfNoRefusalIfThereWasNone(t *testing.T) {
	var heard []reauth.Refusal
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
		w.MustGet(t, http.StatusOK)
		time.Sleep(99 * time.Second)
		w.MustGet(t, http.StatusOK) // early
		w.Wait(t)
		time.Sleep(101 * time.Second)
		w.MustGet(t, http.StatusOK) // expired
		assert.Equal(t, make([]reauth.Refusal, 3), heard)
		_, ok := reauth.RefusalFromContext(t.Context())
		assert.False(t, ok)
	}, listening(&heard))
}

// A refresher may use a client with a Transport of its own, which is refreshed for reasons of its own.
func TestTheRefresherOfAnotherTransportIsNotToldOfThisOnesRefusal(t *testing.T) {
	var heard []reauth.Refusal
	testworld.Run(t, func(t *testing.T, outer *testworld.World) {
		inner := testworld.New(t, listening(&heard))
		require.NoError(t, inner.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "alone"}))
		signedInAndRefused(t, outer)
		outer.Answer(func(ctx context.Context) (reauth.Token, error) {
			_, ok := reauth.RefusalFromContext(ctx)
			assert.True(t, ok)
			_, err := inner.Get(ctx)
			assert.NoError(t, err)
			return outer.Issue(), nil
		})
		outer.MustGet(t, http.StatusOK)
		assert.Equal(t, make([]reauth.Refusal, 1), heard)
	})
}

func TestARefusalWithOtherClaimsCausesOneMoreRefresh(t *testing.T) {
	var heard []reauth.Refusal
	header := http.Header{}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Latency = time.Second
		first := w.Start(t.Context())
		header = http.Header{"Www-Authenticate": {claimsChallenge}}
		var stepUps []<-chan testworld.Result
		for range 3 {
			stepUps = append(stepUps, w.Go(t.Context()))
		}
		for _, request := range append(stepUps, first) {
			r := <-request
			require.NoError(t, r.Err)
			assert.Equal(t, http.StatusOK, r.Status)
		}
		require.Len(t, heard, 2)
		assert.Empty(t, heard[0].Header)
		assert.Equal(t, claimsChallenge, heard[1].Header.Get("Www-Authenticate"))
		w.Revoke()
		for _, r := range w.Storm(t.Context(), 3) { // all with the same claims
			require.NoError(t, r.Err)
		}
		assert.Len(t, heard, 3)
	}, listening(&heard), func(c *reauth.Config, w *testworld.World) {
		c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) { return answering(w, header, "")(req) })
	})
}

func TestARefusalWithClaimsThatIsSlowGoesOnWithTheNewestTokenOfItsSignIn(t *testing.T) {
	for name, tc := range map[string]struct {
		signIn bool
		last   string // what the slow request is replayed with
		status int
	}{
		"another refusal has caused the refresh": {false, "secret-access-3", http.StatusOK},
		"and then the user has signed in again":  {true, "secret-access-2", http.StatusUnauthorized},
	} {
		var heard []reauth.Refusal
		header := http.Header{}
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			w.Latency = time.Second
			first := w.Start(t.Context())
			header = http.Header{"Www-Authenticate": {claimsChallenge}}
			held := make(chan struct{})
			var slow atomic.Bool
			w.Events.OnKind(reauth.EventWaited, func(ctx context.Context) {
				if ctx.Value(slowKey{}) != nil && slow.CompareAndSwap(false, true) {
					<-held
				}
			})
			stepUp := w.Go(t.Context())
			late := w.Go(context.WithValue(t.Context(), slowKey{}, true))
			require.Equal(t, http.StatusOK, (<-first).Status)
			require.Equal(t, http.StatusOK, (<-stepUp).Status)
			if tc.signIn {
				w.SignIn(t)
			}
			close(held)
			r := <-late
			require.NoError(t, r.Err)
			assert.Equal(t, tc.status, r.Status)
			tokens := bearers(w)
			assert.Equal(t, tc.last, tokens[len(tokens)-1])
			assert.Len(t, heard, 2)
		}, listening(&heard), func(c *reauth.Config, w *testworld.World) {
			c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := w.API.RoundTrip(req)
				if err == nil && resp.StatusCode == http.StatusUnauthorized {
					resp.Header = header
				}
				return resp, err
			})
		})
	}
}

type slowKey struct{}

// sameToken answers each refresh, after a second, with the token that was refused: the
// caller then gets its own refusal.
func sameToken(t *testing.T, w *testworld.World) {
	t.Helper()
	tok := w.SignIn(t)
	w.Revoke()
	w.Answer(func(context.Context) (reauth.Token, error) { time.Sleep(time.Second); return tok, nil })
}

func TestARefusalThatWaitedIsHandedOverWhole(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "short": 10, "64 KiB": 64 << 10} {
		text := strings.Repeat("x", size)
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			sameToken(t, w)
			req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
			resp, err := w.Transport.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			assert.Equal(t, "its own", resp.Header.Get("X-Answer"))
			assert.Same(t, req, resp.Request)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.True(t, text == string(got), "%d bytes of %d", len(got), size)
			require.NoError(t, resp.Body.Close())
		}, func(c *reauth.Config, w *testworld.World) {
			c.Base = answering(w, http.Header{"X-Answer": {"its own"}}, text)
		})
	}
}

func TestARefusalThatIsTooLongToKeepBecomesAnError(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		sameToken(t, w)
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		assert.ErrorContains(t, err, "the refresher returned the token that was refused")
	}, func(c *reauth.Config, w *testworld.World) {
		c.Base = answering(w, http.Header{}, strings.Repeat("x", 64<<10+1))
	})
}

func TestCookiesOfARefusalThatIsReplayedReachTheCaller(t *testing.T) {
	var refusing, accepting []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		for _, tc := range []struct{ first, second, want []string }{
			{[]string{"a=1", "b=1"}, []string{"b=2"}, []string{"a=1", "b=1", "b=2"}},
			{[]string{"a=1"}, nil, []string{"a=1"}},
			{nil, []string{"b=2"}, []string{"b=2"}},
			{nil, nil, nil},
		} {
			signedInAndRefused(t, w)
			refusing, accepting = tc.first, tc.second
			resp, err := w.Transport.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, tc.want, resp.Header.Values("Set-Cookie"), "in the order in which they came")
		}
	}, func(c *reauth.Config, w *testworld.World) {
		c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp := testworld.Respond(req, http.StatusOK, "")
			cookies := accepting
			if !w.Accepts(req.Header.Get("Authorization")) {
				resp.StatusCode, cookies = http.StatusUnauthorized, refusing
			}
			switch {
			case cookies != nil:
				resp.Header["Set-Cookie"] = cookies
			case resp.StatusCode == http.StatusOK:
				resp.Header = nil // as some test doubles have it
			}
			return resp, nil
		})
	})
}

func TestEveryRefusalThatACallerGetsIsReportedWithItsEndpoint(t *testing.T) {
	var endpoints []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Nobody()
		for range 2 { // the first is replayed in vain, the second is not
			_, err := w.Do(testworld.Request(t, http.MethodGet, "https://user:password@api.example.com/a?key=secret#b", nil))
			require.NoError(t, err)
		}
		assert.Equal(t, []string{
			"a refresh just now did not help at this endpoint: https://api.example.com/a",
			"a refresh just now did not help at this endpoint: https://api.example.com/a",
		}, kept(w))
		assert.Equal(t, []string{"replayed https://api.example.com/a", "refusal_kept https://api.example.com/a", "refusal_kept https://api.example.com/a"}, endpoints)
	}, func(c *reauth.Config, w *testworld.World) {
		hear := c.OnEvent
		c.OnEvent = func(ctx context.Context, e reauth.Event) {
			hear(ctx, e)
			if r, ok := reauth.RefusalFromContext(ctx); ok && (e.Kind == reauth.EventReplayed || e.Kind == reauth.EventRefusalKept) {
				endpoints = append(endpoints, e.Kind.String()+" "+r.URL)
			}
		}
	})
}

func TestARefusalFromAnOriginThatIsNotListedSaysSo(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		for url, want := range map[string]int{
			"http://localhost:8080/me?key=secret":     1, // 127.0.0.1 is listed
			"https://user:password@other.example.com": 1,
			"http://127.0.0.1:8080/":                  0,
		} {
			before := w.Events.Count(reauth.EventRefusalKept)
			status, err := w.Do(testworld.Request(t, http.MethodGet, url, nil))
			require.NoError(t, err)
			if want == 0 {
				assert.Equal(t, http.StatusOK, status)
				continue
			}
			assert.Equal(t, http.StatusUnauthorized, status)
			kept := w.Events.Of(reauth.EventRefusalKept)[before:]
			require.Len(t, kept, 1)
			assert.ErrorContains(t, kept[0].Err, "not in Config.Origins")
			assert.NotContains(t, kept[0].Err.Error(), "password")
			assert.NotContains(t, kept[0].Err.Error(), "secret")
			assert.ErrorContains(t, kept[0].Err, map[bool]string{true: "http://localhost:8080", false: "https://other.example.com"}[strings.Contains(url, "localhost")])
		}
		w.Everybody()
		before := w.Events.Count(reauth.EventRefusalKept)
		_, err := w.Do(testworld.Request(t, http.MethodGet, "https://other.example.com", nil))
		require.NoError(t, err)
		assert.Equal(t, before, w.Events.Count(reauth.EventRefusalKept), "nothing was refused")
	}, func(c *reauth.Config, _ *testworld.World) { c.Origins = []string{"http://127.0.0.1:8080"} })
}

// A closer notes that it was closed.
type closer struct {
	io.Reader
	close func()
}

func (c closer) Close() error { c.close(); return nil }

func TestAPanicOfTheProgramsOwnCodeClosesTheResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		with   testworld.Setting
		url    string
		bodies int                            // of responses until the panic
		req    func(*testing.T) *http.Request // nil: a GET of url
	}{
		"Refused, at the first response": {func(c *reauth.Config, _ *testworld.World) {
			c.Refused = func(*http.Response) bool { panic("in Refused") }
		}, testworld.APIURL, 1, nil},
		"Refused, at the replay": {func(c *reauth.Config, _ *testworld.World) {
			n := 0
			c.Refused = func(resp *http.Response) bool {
				if n++; n == 2 {
					panic("in Refused")
				}
				return true
			}
		}, testworld.APIURL, 2, nil},
		"OnEvent, at replayed": {panicAt(reauth.EventReplayed), testworld.APIURL, 2, nil},
		"OnEvent, at refusal_kept of a body that is gone": {func(c *reauth.Config, w *testworld.World) {
			panicAt(reauth.EventRefusalKept)(c, w)
			c.ReplayBuffer = -1
		}, "", 1, oneShot},
		"OnEvent, at waited":       {panicAt(reauth.EventWaited), testworld.APIURL, 1, nil},
		"OnEvent, at refusal_kept": {panicAt(reauth.EventRefusalKept), "https://other.example.com", 1, nil},
	} {
		closed, opened := map[int]bool{}, 0
		if tc.req == nil {
			tc.req = func(t *testing.T) *http.Request { return testworld.Request(t, http.MethodGet, tc.url, nil) }
		}
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			signedInAndRefused(t, w)
			assert.Panics(t, func() { _, _ = w.Transport.RoundTrip(tc.req(t)) })
			assert.Equal(t, tc.bodies, opened)
			assert.Len(t, closed, opened)
		}, tc.with, func(c *reauth.Config, w *testworld.World) {
			c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				opened++
				n := opened
				if req.Body != nil {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				resp, err := answering(w, http.Header{}, "")(req)
				resp.Body, resp.ContentLength = closer{strings.NewReader("text"), func() { closed[n] = true }}, 4
				return resp, err
			})
		})
	}
}

func TestAPanicOfTheProgramsOwnCodeClosesTheRequestsBody(t *testing.T) {
	for name, tc := range map[string]struct {
		with  testworld.Setting
		token func(*testworld.World) reauth.Token
		sent  int
	}{
		"OnEvent, before it is sent": {panicAt(reauth.EventWaited), func(w *testworld.World) reauth.Token { return reauth.Token{RefreshToken: w.Issue().RefreshToken} }, 0},
		"OnEvent, after a refusal":   {panicAt(reauth.EventWaited), func(w *testworld.World) reauth.Token { defer w.Revoke(); return w.Issue() }, 1},
		"Apply": {func(c *reauth.Config, _ *testworld.World) {
			c.Credential = struct{ applies }{&credential{apply: func(*http.Request, reauth.Token) error { panic("in Apply") }}}
		}, (*testworld.World).Issue, 0},
	} {
		for _, again := range []bool{false, true} {
			testworld.Case(t, fmt.Sprintf("%s/GetBody=%t", name, again), func(t *testing.T, w *testworld.World) {
				require.NoError(t, w.Transport.SignIn(t.Context(), tc.token(w)))
				var bodies []*testworld.Body
				body := func() *testworld.Body {
					b := testworld.NewBody(t, strings.NewReader("text"))
					bodies = append(bodies, b)
					return b
				}
				req := testworld.Request(t, http.MethodPost, testworld.APIURL, body())
				req.ContentLength = 4
				if again {
					req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
				}
				assert.Panics(t, func() { _, _ = w.Transport.RoundTrip(req) })
				assert.Equal(t, tc.sent, w.API.Requests())
				for _, b := range bodies {
					assert.True(t, b.IsClosed())
				}
			}, tc.with)
		}
	}
}

func panicAt(kind reauth.EventKind) testworld.Setting {
	return func(c *reauth.Config, w *testworld.World) {
		c.OnEvent = func(_ context.Context, e reauth.Event) {
			if e.Kind == kind {
				panic("in OnEvent")
			}
		}
	}
}

func TestAFailedRefreshTellsWhenToTryAgain(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFault), testworld.Failing(&reauth.RefreshError{RetryAfter: time.Minute, Err: testworld.ErrFault}))
		retryAfter := func() time.Duration {
			_, err := w.Get(t.Context())
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%v", err)
			return failure.RetryAfter
		}
		own := retryAfter()
		assert.LessOrEqual(t, own, time.Second)
		assert.GreaterOrEqual(t, own, 750*time.Millisecond)
		time.Sleep(own - time.Nanosecond)
		assert.Equal(t, own, retryAfter())
		assert.Equal(t, 1, w.Refreshes())
		time.Sleep(time.Nanosecond)
		assert.Equal(t, time.Minute, retryAfter(), "the token server's word counts")
		assert.Equal(t, 2, w.Refreshes())
	})
}

func TestAFinalErrorTellsNotToTryAgain(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(testworld.Failing(testworld.ErrFinal))
		_, err := w.Get(t.Context())
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Zero(t, failure.RetryAfter)
	})
}

// demandingClaims is an API that wants claims, of which the token must have been made, for
// each request to /claims.
func demandingClaims(heard *[]reauth.Refusal, claims func() string) testworld.Setting {
	made := map[string]string{} // the challenge that each access token is the answer to
	return func(c *reauth.Config, w *testworld.World) {
		c.Refresher = reauth.RefresherFunc(func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
			tok, err := w.Refresh(ctx, old)
			r, _ := reauth.RefusalFromContext(ctx)
			*heard = append(*heard, r)
			made["Bearer "+tok.AccessToken] = r.Header.Get("Www-Authenticate")
			return tok, err
		})
		c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := w.API.RoundTrip(req)
			want := fmt.Sprintf("Bearer claims=%q", claims())
			if err == nil && req.URL.Path == "/claims" && made[req.Header.Get("Authorization")] != want {
				resp.StatusCode = http.StatusUnauthorized
				resp.Header.Set("Www-Authenticate", want)
			}
			return resp, err
		})
	}
}

func TestAnAPIThatDemandsClaimsOfATokenThatIsNewGetsThem(t *testing.T) {
	var heard []reauth.Refusal
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/claims"))
		require.Len(t, heard, 2)
		assert.Equal(t, `Bearer claims="abc"`, heard[1].Header.Get("Www-Authenticate"))
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/claims"))
		assert.Len(t, heard, 2)
	}, demandingClaims(&heard, func() string { return "abc" }))
}

func TestAnAPIThatDemandsOtherClaimsEachTimeCostsAHandfulOfRefreshes(t *testing.T) {
	var heard []reauth.Refusal
	n := 0
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		for range 100 {
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/claims"))
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, len(heard), 3)
	}, demandingClaims(&heard, func() string { n++; return fmt.Sprint(n) }))
}
