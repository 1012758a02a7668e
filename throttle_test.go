package reauth_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// throttled is what a token server answers that is overloaded.
func throttled(status int, retryAfter time.Duration) func(context.Context) (reauth.Token, error) {
	return testworld.Failing(&reauth.RefreshError{StatusCode: status, RetryAfter: retryAfter, Err: testworld.ErrFault})
}

// signInMany signs in sessions whose names begin with prefix, and returns the names.
func signInMany(t *testing.T, w *testworld.World, prefix string, n int) (names []string) {
	t.Helper()
	for i := range n {
		names = append(names, fmt.Sprint(prefix, i))
		w.SignInAs(t, names[i])
	}
	return names
}

func TestWhileTheTokenServerAsksForAPauseSessionsAskOneAtATimeASecondApart(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		names := signInMany(t, w, "s", 200)
		w.Revoke()
		began := len(w.CallTimes())
		for range 200 {
			w.Answer(throttled(http.StatusTooManyRequests, time.Minute))
		}
		for _, name := range names { // over 20 seconds
			w.Start(reauth.WithSession(t.Context(), name))
			time.Sleep(100 * time.Millisecond)
		}
		calls := w.CallTimes()[began:]
		assert.GreaterOrEqual(t, len(calls), 18, "those that need a token do ask")
		for i := range calls[1:] {
			assert.GreaterOrEqual(t, calls[i+1]-calls[i], time.Second)
		}
		assert.Equal(t, 1, w.MostAtOnce())
	})
}

func TestWhileTheTokenServerAsksForAPauseNoTokenIsRefreshedEarly(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(context.Context) (reauth.Token, error)
		putOff bool
	}{
		"429":                     {throttled(429, time.Minute), true},
		"503":                     {throttled(503, time.Minute), true},
		"503 without Retry-After": {throttled(503, 0), false},
		"502 with Retry-After":    {throttled(502, time.Minute), false},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Lifetime, w.Overlap = 1000*time.Second, true
			names := signInMany(t, w, "s", 20)
			time.Sleep(850 * time.Second) // all are in their early window
			w.Answer(tc.answer)
			w.MustGetAs(t, names[0], http.StatusOK)
			synctest.Wait()
			require.Equal(t, 1, w.Refreshes())

			early := map[bool]int{true: 1, false: 20}[tc.putOff]
			time.Sleep(59 * time.Second)
			for _, name := range names[1:] {
				w.MustGetAs(t, name, http.StatusOK)
			}
			synctest.Wait()
			assert.Equal(t, early, w.Refreshes())
			time.Sleep(time.Second)
			for _, name := range names[1:] {
				w.MustGetAs(t, name, http.StatusOK)
			}
			synctest.Wait()
			assert.Equal(t, 20, w.Refreshes(), "after the pause")
		})
	}
}

func TestASessionWhoseTurnDoesNotComeFailsInTimeAndTriesAgain(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignInAs(t, "first")
		w.SignInAs(t, "slow")
		w.SignInAs(t, "late")
		w.Revoke()
		w.Answer(throttled(http.StatusTooManyRequests, time.Hour), func(ctx context.Context) (reauth.Token, error) {
			time.Sleep(2 * time.Minute) // whatever its context says
			return reauth.Token{}, testworld.ErrFault
		})
		_, err := w.Get(reauth.WithSession(t.Context(), "first"))
		testworld.AssertTemporary(t, err)
		w.Start(reauth.WithSession(t.Context(), "slow"))
		time.Sleep(500 * time.Millisecond)

		began := time.Now()
		_, err = w.Get(reauth.WithSession(t.Context(), "late"))
		testworld.AssertTemporary(t, err)
		assert.ErrorContains(t, err, "the token server has asked for a pause")
		assert.Equal(t, 30*time.Second, time.Since(began), "as RefreshTimeout says")
		assert.Equal(t, 2, w.Refreshes())
		time.Sleep(2 * time.Second) // the slow one is abandoned, and its turn is over
		w.MustGetAs(t, "late", http.StatusOK)
		w.Wait(t)
	})
}

func TestThePauseOfTheTokenServerEndsForThoseWhoWait(t *testing.T) {
	for _, latency := range []time.Duration{0, 5 * time.Second} {
		testworld.Case(t, latency.String(), func(t *testing.T, w *testworld.World) {
			names := signInMany(t, w, "s", 20)
			w.Revoke()
			w.Answer(throttled(http.StatusTooManyRequests, 10500*time.Millisecond))
			_, err := w.Get(reauth.WithSession(t.Context(), names[0]))
			testworld.AssertTemporary(t, err)
			w.Latency = latency
			began := time.Now()
			var waiting []<-chan testworld.Result
			for _, name := range names {
				waiting = append(waiting, w.Go(reauth.WithSession(t.Context(), name)))
			}
			for _, r := range waiting[1:] {
				require.NoError(t, (<-r).Err)
			}
			assert.Equal(t, 10500*time.Millisecond+latency, time.Since(began))
		})
	}
}

func TestATokenInTheStoreIsAdoptedThoughTheTokenServerAsksForAPause(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		other := w.Beside(t)
		w.SignInAs(t, "ann")
		w.SignInAs(t, "bob")
		other.MustGetAs(t, "ann", http.StatusOK)
		w.Revoke()
		w.MustGetAs(t, "ann", http.StatusOK)
		other.Answer(throttled(http.StatusServiceUnavailable, time.Minute))
		_, err := other.Get(reauth.WithSession(t.Context(), "bob"))
		testworld.AssertTemporary(t, err)
		began := time.Now()
		other.MustGetAs(t, "ann", http.StatusOK)
		assert.Zero(t, time.Since(began))
		assert.Equal(t, 2, w.Refreshes())
	})
}
