package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Tests of the evidence by which a refusal is about the token, or about permission.

const origin = "https://api.example.com"

// getFrom sends a request to a path of the API.
func getFrom(t *testing.T, w *testworld.World, path string) int {
	t.Helper()
	status, err := w.Do(testworld.Request(t, http.MethodGet, origin+path, nil))
	require.NoError(t, err)
	return status
}

// refuse makes the API refuse every token below a path.
func refuse(w *testworld.World, prefix string) {
	w.API.Decide = func(req *http.Request) int {
		if strings.HasPrefix(req.URL.Path, prefix) {
			return http.StatusUnauthorized
		}
		return 0
	}
}

func TestAnEndpointThatAlwaysRefusesDoesNotHideARevocationFromOthers(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		refuse(w, "/admin")
		for second := range 20 * 60 {
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin"))
			if second%10 == 0 {
				require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
			}
			time.Sleep(time.Second)
		}
		polled := w.Refreshes()
		assert.LessOrEqual(t, polled, 9, "the pause there doubles, up to five minutes")
		for range 3 {
			w.Revoke()
			assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"), "refreshed and replayed")
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin"))
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, polled+3, w.Refreshes())
	})
}

// Where several endpoints of a folder refuse every token, a refusal by another of them is
// not believed for longer than RefreshPause, except where the token was accepted before.
func TestAnEndpointIsKnownForAsLongAsOthersInItsFolderRefuse(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		refuse(w, "/admin")
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			time.Sleep(time.Minute)
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin-"+name))
		}
		require.Equal(t, 5, w.Refreshes())
		w.Revoke()
		time.Sleep(time.Minute)
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"), "refreshed and replayed")
		time.Sleep(6 * time.Second) // RefreshPause is over
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		w.Revoke()
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"), "refreshed and replayed")
		assert.Equal(t, 7, w.Refreshes())
	})
}

func TestATokenThatIsRevokedRightAfterARefreshIsRefreshedWhereItWasAccepted(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		for n := range 5 { // the replay shows that /me accepts this session's tokens
			time.Sleep(time.Second)
			w.Revoke()
			require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
			assert.Equal(t, n+2, w.Refreshes())
		}
		w.Revoke()
		assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/other"), "nothing is known of it")
		require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		require.Equal(t, http.StatusOK, getFrom(t, w, "/other"))
		w.Revoke()
		require.Equal(t, http.StatusOK, getFrom(t, w, "/other"))
	})
}

func TestAServerThatIsOverloadedHasNotAcceptedTheToken(t *testing.T) {
	for status, accepts := range map[int]bool{
		200: true, 302: true, 400: true, 403: true, 404: true, 409: true,
		408: false, 425: false, 429: false, 500: false, 502: false, 503: false,
	} {
		testworld.Case(t, strconv.Itoa(status), func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
			answer := status
			w.API.Decide = func(*http.Request) int { return answer }
			require.Equal(t, status, getFrom(t, w, "/admin"))
			answer = http.StatusUnauthorized
			getFrom(t, w, "/admin")
			assert.Equal(t, map[bool]int{true: 2, false: 1}[accepts], w.Refreshes())
		})
	}
}

func TestAnOverloadedServerDoesNotEndThePauseOfRefreshesThatDoNotHelp(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		answers := []int{401, 401, 401, 503, 401, 401, 401}
		w.API.Decide = func(*http.Request) int {
			if len(answers) == 0 {
				return http.StatusUnauthorized
			}
			next := answers[0]
			answers = answers[1:]
			return next
		}
		getFrom(t, w, "/admin") // so the pause is 10 s from here on
		time.Sleep(11 * time.Second)
		require.Equal(t, http.StatusServiceUnavailable, getFrom(t, w, "/admin"))
		time.Sleep(6 * time.Second)
		getFrom(t, w, "/admin") // and 20 s from here on
		time.Sleep(11 * time.Second)
		require.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin"))
		assert.Equal(t, 3, w.Refreshes())
		assert.Empty(t, answers)
	})
}

func TestAnEndpointThatIsPolledHidesNoRevocationFromOneThatIsSeldomAsked(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		refuse(w, "/admin")
		require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		for range 400 {
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin"))
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, w.Refreshes(), 7)
		w.Revoke()
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		w.Revoke()
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		w.Revoke()
		assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/other"), "nothing is known of it")
		time.Sleep(5 * time.Second)
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/other"))
	})
}

func TestManyEndpointsThatRefuseCostAHandfulOfRefreshes(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		refuse(w, "/admin")
		for i := range 1000 {
			path := fmt.Sprintf("/admin/%c%c%c", 'a'+i/100, 'a'+i/10%10, 'a'+i%10)
			assert.Equal(t, http.StatusUnauthorized, getFrom(t, w, path))
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, w.Refreshes(), 6)
	})
}

func TestAnEndpointThatAcceptsAndRefusesInTurnDoesNotCostARefreshPerRequest(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		forbidden := false
		w.API.Decide = func(*http.Request) int {
			if forbidden {
				return http.StatusUnauthorized
			}
			return 0
		}
		began := time.Now()
		for range 600 { // a minute
			forbidden = !forbidden // as a GraphQL operation is, by what the body asks for
			want := map[bool]int{false: http.StatusOK, true: http.StatusUnauthorized}[forbidden]
			assert.Equal(t, want, getFrom(t, w, "/graphql"))
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, w.Refreshes(), 13, "one per refresh pause")
		assert.GreaterOrEqual(t, w.Refreshes(), 11, "so that a revocation shows there: the pause does not double")

		forbidden = false
		w.API.Decide = nil
		time.Sleep(5 * time.Second)
		w.Revoke()
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/graphql"))
		w.Revoke()
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/graphql"), "a replay that is accepted ends the pause")
		assert.Greater(t, time.Since(began), time.Minute)
	})
}

func TestATokenThatExpiresOnTheWayIsRefreshedThoughItsEndpointIsUnderAPause(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 10 * time.Second
		w.SignIn(t)
		forbidden := false
		w.API.Decide = func(*http.Request) int {
			if forbidden {
				return http.StatusUnauthorized
			}
			return 0
		}
		turn := func(on bool, want int) {
			t.Helper()
			forbidden = on
			require.Equal(t, want, getFrom(t, w, "/graphql"))
		}
		time.Sleep(11 * time.Second)
		turn(false, http.StatusOK) // with a token that a refresh has brought
		time.Sleep(6 * time.Second)
		turn(true, http.StatusUnauthorized) // refreshed in vain: a pause of a minute
		refreshes := w.Refreshes()
		turn(true, http.StatusUnauthorized)
		require.Equal(t, refreshes, w.Refreshes(), "that is a pause")

		time.Sleep(9500 * time.Millisecond)
		forbidden = false
		late := w.API.Decide
		w.API.Decide = func(req *http.Request) int {
			if strings.HasSuffix(req.Header.Get("Authorization"), fmt.Sprint(refreshes+1)) {
				time.Sleep(time.Second)
			}
			return late(req)
		}
		assert.Equal(t, http.StatusOK, getFrom(t, w, "/graphql"))
		assert.Equal(t, refreshes+1, w.Refreshes())
	}, func(c *reauth.Config, _ *testworld.World) { c.EarlyRefresh, c.RefreshPause = -1, time.Minute })
}

// learnsLate makes the API accept a token only some time after it was issued. The one
// before stays good for long enough.
func learnsLate(w *testworld.World, late time.Duration) (refused *int) {
	w.Overlap = true
	refused = new(int)
	var mu sync.Mutex
	first := map[string]time.Time{}
	w.Events.OnKind(reauth.EventRefreshed, func(context.Context) {
		mu.Lock()
		defer mu.Unlock()
		first["Bearer "+fmt.Sprint("secret-access-", w.Refreshes()+1)] = time.Now()
	})
	w.API.Decide = func(req *http.Request) int {
		mu.Lock()
		defer mu.Unlock()
		if since, ok := first[req.Header.Get("Authorization")]; ok && time.Since(since) < late {
			*refused++
			return http.StatusUnauthorized
		}
		return 0
	}
	return refused
}

func TestTheTokenBeforeIsUsedWhileTheAPIDoesNotKnowTheNewOne(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = 100 * time.Second
		w.SignIn(t)
		refused := learnsLate(w, 400*time.Millisecond)
		for range 30000 {
			w.MustGet(t, http.StatusOK)
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, 3, w.Refreshes(), "nothing but the early ones")
		assert.InDelta(t, 3*40, *refused, 3, "each new token, until the API knows it")
		assert.Zero(t, w.Events.Count(reauth.EventRefusalKept))
	})
}

func TestTheTokenBeforeIsNotUsedOnceTheAPIKnowsTheNewOne(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime, w.Overlap = 100*time.Second, true
		w.SignIn(t)
		time.Sleep(98 * time.Second)
		require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		w.Wait(t)
		require.Equal(t, 1, w.Refreshes(), "early")
		refuse(w, "/admin")
		require.Equal(t, http.StatusOK, getFrom(t, w, "/me"))
		require.Equal(t, http.StatusUnauthorized, getFrom(t, w, "/admin"))
		assert.Equal(t, []string{"secret-access-1", "secret-access-2", "secret-access-2"}, bearers(w))
		assert.Len(t, kept(w), 1)
	})
}

func TestATokenBeforeThatIsRefusedTooIsRefreshedInTheBackground(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Overlap, w.Lifetime = true, 100*time.Second
		w.SignIn(t)
		time.Sleep(98 * time.Second)
		w.MustGet(t, http.StatusOK)
		w.Wait(t)
		require.Equal(t, 1, w.Refreshes(), "early")
		w.Revoke() // the new token, and the one before with it
		w.Latency = time.Second
		began := time.Now()
		w.MustGet(t, http.StatusUnauthorized)
		assert.Zero(t, time.Since(began), "this request has had its two attempts")
		w.Wait(t)
		assert.Equal(t, 2, w.Refreshes())
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-access-1", "secret-access-2", "secret-access-1", "secret-access-3"}, bearers(w))
	})
}

func TestRefreshNeverReturnsTheTokenBefore(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Overlap, w.Lifetime = true, 100*time.Second
		w.SignIn(t)
		time.Sleep(98 * time.Second)
		w.MustGet(t, http.StatusOK)
		w.Wait(t)
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "secret-access-2", tok.AccessToken)
		_, err = w.Transport.Refresh(t.Context(), tok) // who refused it is not known here
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, "%v", err)
		assert.ErrorIs(t, err, reauth.ErrRefusalKept)
		assert.NotZero(t, failure.RetryAfter)
		assert.Equal(t, 1, w.Refreshes())
	})
}

// bearers returns the tokens that the API has seen.
func bearers(w *testworld.World) (tokens []string) {
	for _, authorization := range w.API.Tokens() {
		tokens = append(tokens, strings.TrimPrefix(authorization, "Bearer "))
	}
	return tokens
}

func TestTheTokenBeforeIsNotUsedAfterARefusalOfIt(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		w.Nobody()
		w.MustGet(t, http.StatusUnauthorized)
		assert.Equal(t, []string{"secret-access-1", "secret-access-2", "secret-access-2"}, bearers(w)[:3])
		assert.NotContains(t, bearers(w)[1:], "secret-access-1")
	})
}

// kept returns why refusals were handed over, in order.
func kept(w *testworld.World) (why []string) {
	for _, e := range w.Events.Of(reauth.EventRefusalKept) {
		why = append(why, e.Err.Error())
	}
	return why
}

func TestARefresherThatReturnsTheRefusedTokenHasNotHelped(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.SignIn(t)
		for range 100 { // as any caching token source would
			w.Answer(func(context.Context) (reauth.Token, error) { return tok, nil })
		}
		w.Revoke()
		for range 3600 {
			w.MustGet(t, http.StatusUnauthorized)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, w.Refreshes(), 18, "the pause doubles, up to five minutes")
		require.Len(t, kept(w), 3600)
		assert.Equal(t, "the refresher returned the token that was refused: "+testworld.APIURL, kept(w)[0])
		assert.Equal(t, 3600, w.API.Requests(), "nothing is replayed")
	})
}

func TestARefresherThatRenewsTheTokenInPlaceHasHelped(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		tok := w.SignIn(t)
		refused := true
		w.API.Decide = func(*http.Request) int {
			if refused {
				return http.StatusUnauthorized
			}
			return http.StatusOK
		}
		w.Answer(func(context.Context) (reauth.Token, error) {
			refused = false
			tok.Expiry = time.Now().Add(2 * time.Minute)
			return tok, nil
		})
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, 2, w.API.Requests())
	})
}

func TestAStrayRefusalOfATokenThatCannotBeRefreshedLeavesTheSessionAlone(t *testing.T) {
	for name, with := range map[string]testworld.Setting{
		"the refresher says so": func(*reauth.Config, *testworld.World) {},
		"the refresher needs a token": func(c *reauth.Config, w *testworld.World) {
			c.Refresher = needsToken{w.Authority}
		},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tok := w.Issue()
			tok.RefreshToken = ""
			require.NoError(t, w.Transport.SignIn(t.Context(), tok))
			w.API.Decide = func(*http.Request) int { return http.StatusUnauthorized }
			resp, err := w.Transport.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, http.StatusText(http.StatusUnauthorized), string(text))
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			assert.Equal(t, []string{"the session has nothing to refresh with: " + testworld.APIURL}, kept(w))
			assert.Equal(t, 1, w.API.Requests())

			w.AssertStored(t, tok.AccessToken)
			w.AssertSignedIn(t, true)
			assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
			w.API.Decide = nil
			w.MustGet(t, http.StatusOK) // it is good elsewhere

			w.Nobody()
			loads := w.Store.Count("Load")
			w.MustGet(t, http.StatusUnauthorized)
			assert.Equal(t, loads, w.Store.Count("Load"), "the store is asked once per refresh pause")
			time.Sleep(5 * time.Second)
			w.MustGet(t, http.StatusUnauthorized)
			assert.Greater(t, w.Store.Count("Load"), loads)

			time.Sleep(5 * time.Second)
			w.API.Decide = nil
			w.Store.Put(t, w.Issue()) // another process has a newer one
			w.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, w.Events.Count(reauth.EventAdopted))
		}, with)
	}
}

// needsToken is a Refresher without anything to start from.
type needsToken struct{ reauth.Refresher }

func (needsToken) NeedsToken() bool { return true }

func TestATokenThatCannotBeRefreshedRequiresASignInOnceItHasExpired(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		tok := w.Issue()
		tok.RefreshToken = ""
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		w.Nobody()
		w.MustGet(t, http.StatusUnauthorized)
		time.Sleep(time.Minute)
		w.AssertSignInRequired(t)
		assert.Equal(t, 1, w.Events.Count(reauth.EventSignInRequired))
		w.AssertStored(t, "")
	})
}

func TestAnUploadWaitsBrieflyForTheRefreshThatARefusalStarted(t *testing.T) {
	for _, tc := range []struct {
		refresh, wait time.Duration
		token         string
		status        int
	}{
		{500 * time.Millisecond, 500 * time.Millisecond, "secret-access-2", http.StatusOK},
		{10 * time.Second, time.Second, "secret-access-1", http.StatusUnauthorized},
	} {
		testworld.Case(t, tc.refresh.String(), func(t *testing.T, w *testworld.World) {
			tok := w.SignIn(t)
			w.Latency = tc.refresh
			w.Only(http.StatusOK, tok)
			refused := w.Start(t.Context())
			uploads := make(chan int, 51)
			began := time.Now()
			for range cap(uploads) {
				go func() {
					status, err := w.Do(oneShot(t))
					assert.NoError(t, err)
					assert.Equal(t, tc.wait, time.Since(began))
					uploads <- status
				}()
			}
			for range cap(uploads) {
				assert.Equal(t, tc.status, <-uploads)
			}
			require.NoError(t, (<-refused).Err)
			sent := map[string]int{}
			for _, token := range bearers(w) {
				sent[token]++
			}
			assert.GreaterOrEqual(t, sent[tc.token], cap(uploads))
			assert.Equal(t, 1, w.Refreshes())
		}, func(c *reauth.Config, _ *testworld.World) { c.ReplayBuffer = -1 })
	}
}

func TestAnUploadGoesWithWhatThereIsIfTheRefreshThatARefusalStartedFails(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(500 * time.Millisecond)
			return reauth.Token{}, testworld.ErrFault
		})
		first := true
		w.API.Decide = func(*http.Request) int {
			if first {
				first = false
				return http.StatusUnauthorized
			}
			return 0
		}
		refused := w.Start(t.Context())
		sendOneShot(t, w, 500*time.Millisecond)
		require.Error(t, (<-refused).Err)
	})
}

func TestAnUploadIsNotSentIfTheRefreshThatARefusalStartedIsRefusedForGood(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		signedInAndRefused(t, w)
		w.Answer(func(context.Context) (reauth.Token, error) {
			time.Sleep(500 * time.Millisecond)
			return reauth.Token{}, testworld.ErrFinal
		})
		refused := w.Start(t.Context())
		_, err := w.Do(oneShot(t))
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		require.ErrorIs(t, (<-refused).Err, reauth.ErrSignInRequired)
		assert.Equal(t, 1, w.API.Requests(), "the token was given up")
	})
}
