package reauthtest_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// protocols runs a test over HTTP/1 and HTTP/2, each in a bubble.
func protocols(t *testing.T, test func(t *testing.T, opts reauthtest.Options)) {
	for _, tls := range []bool{false, true} {
		name := map[bool]string{false: "HTTP/1", true: "HTTP/2"}[tls]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, reauthtest.Options{TLS: tls}) })
		})
	}
}

func TestFailRefreshWithAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		failure    reauthtest.Failure
		status     int
		code       string
		retryAfter string
		text       string
	}{
		"zero":           {reauthtest.Failure{}, 503, "", "", "Service Unavailable\n"},
		"status":         {reauthtest.Failure{Status: 500}, 500, "", "", "Internal Server Error\n"},
		"Retry-After":    {reauthtest.Failure{Status: 429, RetryAfter: 1500 * time.Millisecond}, 429, "", "2", "Too Many Requests\n"},
		"code":           {reauthtest.Failure{Code: "invalid_grant"}, 400, "invalid_grant", "", "{\"error\":\"invalid_grant\"}\n"},
		"invalid_client": {reauthtest.Failure{Code: "invalid_client"}, 401, "invalid_client", "", "{\"error\":\"invalid_client\"}\n"},
		"code under 200": {reauthtest.Failure{Status: 200, Code: "server_error"}, 200, "server_error", "", "{\"error\":\"server_error\"}\n"},
		"body":           {reauthtest.Failure{Status: 403, Body: "<h1>Firewall</h1>"}, 403, "", "", "<h1>Firewall</h1>"},
		"broken":         {reauthtest.BrokenAnswer, 200, "", "", `{"access_token":`},
	} {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.NewPipeServer(t, reauthtest.Options{})
			token := s.SignIn("ann").RefreshToken
			s.FailRefresh(test.failure, 2)
			for range 2 {
				got := refresh(t, s, token)
				assert.Equal(t, test.status, got.status)
				assert.Equal(t, test.code, got.string("error"))
				assert.Equal(t, test.retryAfter, got.header.Get("Retry-After"))
				assert.Equal(t, test.text, got.text)
				assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
			}
			assert.Equal(t, http.StatusOK, refresh(t, s, token).status, "the third is no longer to fail")
			counts := s.Counts()
			assert.Equal(t, 3, counts.Refreshes)
			assert.Equal(t, 2, counts.RefreshesFailed)
			assert.Equal(t, 1, counts.RefreshesGranted)
			assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken, "a failed request is no use of the token")
		})
	}
}

func TestFailUntilToldOtherwise(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	token := s.SignIn("ann").RefreshToken
	s.FailRefresh(reauthtest.Failure{Status: 500}, -1)
	for range 5 {
		assert.Equal(t, 500, refresh(t, s, token).status)
	}
	s.FailRefresh(reauthtest.Failure{Status: 502}, 1)
	assert.Equal(t, 502, refresh(t, s, token).status, "the last order counts")
	s.FailRefresh(reauthtest.Failure{}, 0)
	assert.Equal(t, http.StatusOK, refresh(t, s, token).status)
}

func TestFailAPI(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	token := s.SignIn("ann").AccessToken

	s.FailAPI(reauthtest.Failure{Status: 401}, 1)
	got := call(t, s, "/", token)
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assert.Equal(t, `Bearer error="invalid_token"`, got.header.Get("WWW-Authenticate"))

	s.FailAPI(reauthtest.Failure{Status: 403, Code: "insufficient_scope"}, 1)
	got = call(t, s, "/", token)
	assert.Equal(t, http.StatusForbidden, got.status)
	assert.Equal(t, `Bearer error="insufficient_scope"`, got.header.Get("WWW-Authenticate"))

	s.FailAPI(reauthtest.Failure{Status: 401, Header: http.Header{"WWW-Authenticate": nil}}, 1)
	got = call(t, s, "/", token)
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assert.NotContains(t, got.header, "Www-Authenticate")

	assert.Equal(t, http.StatusOK, refresh(t, s, s.SignIn("bob").RefreshToken).status, "refreshes are not concerned")
	assert.Equal(t, http.StatusOK, call(t, s, "/", token).status)
	assert.Equal(t, 3, s.Counts().APIFailed)
	assert.Equal(t, 1, s.Counts().APISucceeded)
	assert.Zero(t, s.Counts().APIRefused)
}

func TestDropDoesNothing(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		issued := s.SignIn("ann")

		s.FailRefresh(reauthtest.Drop, 1)
		_, err := tryRefresh(t.Context(), s, issued.RefreshToken)
		require.Error(t, err)
		assert.Equal(t, http.StatusOK, refresh(t, s, issued.RefreshToken).status)

		// On a connection that has been used before, where net/http would
		// repeat a GET that had got no byte of an answer.
		require.Equal(t, http.StatusOK, call(t, s, "/", issued.AccessToken).status)
		s.FailAPI(reauthtest.Drop, 1)
		_, err = tryCall(t.Context(), s, "/", issued.AccessToken)
		require.Error(t, err)
		assert.Equal(t, 2, s.Counts().APIRequests)
		assert.Equal(t, 1, s.Counts().APIFailed)
		assert.Zero(t, s.Requests()[1].Status)
	})
}

func TestLoseAnswerRotatesFirst(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		issued := s.SignIn("ann")

		s.FailRefresh(reauthtest.LoseAnswer, 1)
		_, err := tryRefresh(t.Context(), s, issued.RefreshToken)
		require.Error(t, err)
		assert.Equal(t, 1, s.Counts().RefreshesGranted)
		assert.Zero(t, s.Counts().RefreshesFailed)
		assert.Equal(t, "invalid_grant", refresh(t, s, issued.RefreshToken).string("error"))
		assert.Equal(t, 1, s.Counts().ReusesDetected)

		var done int
		s.Handle("/pay", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			done++
			_ = http.NewResponseController(w).Flush()
		}))
		s.FailAPI(reauthtest.LoseAnswer, 1)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL("/pay"), nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+s.SignIn("ann").AccessToken)
		_, err = s.Client().Do(req)
		require.Error(t, err, "not even a header got through")
		assert.Equal(t, 1, done)
		assert.Equal(t, 1, s.Counts().APISucceeded)
	})
}

func TestHangLastsUntilTheClientGoes(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		issued := s.SignIn("ann")
		s.FailRefresh(reauthtest.Hang, 1)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		_, err := tryRefresh(ctx, s, issued.RefreshToken)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 24*time.Hour, time.Since(start))
		synctest.Wait()
		assert.Equal(t, 1, s.Counts().RefreshesFailed)
		assert.Equal(t, http.StatusOK, refresh(t, s, issued.RefreshToken).status, "nothing was done")
	})
}

func TestHangOnAPIWithBodyNoticesThatTheClientGoes(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		s.FailAPI(reauthtest.Hang, -1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		body := strings.NewReader(strings.Repeat("x", 1<<20))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.APIURL("/"), body)
		require.NoError(t, err)
		_, err = send(s, req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		assert.Equal(t, 1, s.Counts().APIFailed)
	})
}

func TestHangGoesOnWhenTold(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		issued := s.SignIn("ann")
		s.FailAPI(reauthtest.Hang, -1)
		var group sync.WaitGroup
		statuses := make([]int, 3)
		for i := range statuses {
			group.Go(func() {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL("/"), strings.NewReader("body"))
				req.Header.Set("Authorization", "Bearer "+issued.AccessToken)
				got, err := send(s, req)
				assert.NoError(t, err)
				statuses[i] = got.status
				if got.status == http.StatusOK {
					assert.Equal(t, "4", got.header.Get("X-Body-Length"), "the body is still there")
				}
			})
		}
		synctest.Wait()
		assert.Equal(t, 3, s.Counts().APIRequests)
		assert.Zero(t, s.Counts().APIFailed)
		s.FailAPI(reauthtest.Failure{Status: 500}, 1)
		group.Wait()
		assert.ElementsMatch(t, []int{500, 200, 200}, statuses)
	})
}

func TestBlockRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{})
		ann, bob := s.SignIn("ann"), s.SignIn("bob")
		release := s.BlockRefresh()
		releaseToo := s.BlockRefresh()
		var group sync.WaitGroup
		var got answer
		group.Go(func() { got = refresh(t, s, ann.RefreshToken) })
		err := s.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
		require.NoError(t, err)

		release()
		release()
		synctest.Wait()
		assert.Zero(t, got.status, "the other block is still up")
		assert.Equal(t, http.StatusOK, call(t, s, "/", ann.AccessToken).status, "the API is not blocked")
		releaseToo()
		group.Wait()
		assert.Equal(t, http.StatusOK, got.status)
		assert.Equal(t, http.StatusOK, refresh(t, s, bob.RefreshToken).status, "no block is left")
	})
}

func TestBlockedRefreshIsDoneThoughItsClientHasGone(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		release := s.BlockRefresh()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := tryRefresh(ctx, s, s.SignIn("ann").RefreshToken)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, s.Counts().RefreshesGranted)
		release()
		synctest.Wait()
		assert.Equal(t, 1, s.Counts().RefreshesGranted)
	})
}

func TestFailureIsDecidedAfterTheBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{})
		release := s.BlockAPI()
		var group sync.WaitGroup
		var got answer
		group.Go(func() { got = call(t, s, "/", s.SignIn("ann").AccessToken) })
		synctest.Wait()
		s.FailAPI(reauthtest.Failure{Status: 502}, 1)
		release()
		group.Wait()
		assert.Equal(t, 502, got.status)
	})
}

func TestLatency(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		opts.RefreshLatency, opts.APILatency = 700*time.Millisecond, 30*time.Millisecond
		s := reauthtest.NewPipeServer(t, opts)
		issued := s.SignIn("ann")

		start := time.Now()
		assert.Equal(t, http.StatusOK, refresh(t, s, issued.RefreshToken).status)
		assert.Equal(t, 700*time.Millisecond, time.Since(start))

		start = time.Now()
		assert.Equal(t, http.StatusOK, call(t, s, "/", issued.AccessToken).status)
		assert.Equal(t, 30*time.Millisecond, time.Since(start))

		start = time.Now()
		assert.Equal(t, http.StatusOK, post(t, s, s.RevocationURL(), "token", "x").status)
		assert.Zero(t, time.Since(start))
	})
}
