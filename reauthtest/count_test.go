package reauthtest_test

import (
	"context"
	"fmt"
	"log/slog"
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

func TestCounts(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	s.Handle("/missing", http.NotFoundHandler())
	ann := s.SignIn("ann")
	call(t, s, "/", ann.AccessToken)
	call(t, s, "/", "")
	call(t, s, "/missing", ann.AccessToken)
	refresh(t, s, ann.RefreshToken)
	refresh(t, s, "unknown")
	post(t, s, s.RevocationURL(), "token", ann.RefreshToken)
	assert.Equal(t, reauthtest.Counts{
		Connections:              1,
		SignIns:                  1,
		Refreshes:                2,
		RefreshesGranted:         1,
		RefreshesRefused:         1,
		MaxUsesOfOneRefreshToken: 1,
		Revocations:              1,
		SessionsRevoked:          1,
		APIRequests:              3,
		APISucceeded:             1,
		APIRefused:               1,
	}, s.Counts())
}

func TestConcurrentRefreshesOfOneToken(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	token := s.SignIn("ann").RefreshToken
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			_, err := tryRefresh(t.Context(), s, token)
			assert.NoError(t, err)
		})
	}
	group.Wait()
	counts := s.Counts()
	assert.Equal(t, 20, counts.Refreshes)
	assert.Equal(t, 1, counts.RefreshesGranted)
	assert.Equal(t, 19, counts.ReusesDetected)
	assert.Equal(t, 20, counts.MaxUsesOfOneRefreshToken)
	assert.Equal(t, 1, counts.SessionsRevoked)
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{APILatency: time.Second})
		s.Handle("POST /abort", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		start := time.Now()
		issued := s.SignIn("ann")
		call(t, s, "/a?access_token=secret", issued.AccessToken)
		s.ExpireAccess()
		call(t, s, "/b", issued.AccessToken)
		call(t, s, "/c", "unknown")
		second, err := s.Refresh(issued.RefreshToken)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL("/abort"), nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+second.AccessToken)
		_, err = send(s, req)
		require.Error(t, err)
		synctest.Wait()
		s.Handle("/empty", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		call(t, s, "/empty", second.AccessToken)

		got := s.Requests()
		require.Len(t, got, 5)
		assert.Equal(t, reauthtest.Request{
			Time: start, Method: "GET", Host: "reauth.test", Path: "/a", User: "ann", Generation: 1, Status: 200,
		}, got[0])
		assert.Equal(t, `GET /b user="ann" generation=1 status=401`, got[1].String())
		assert.Equal(t, `GET /c user="" generation=0 status=401`, got[2].String())
		assert.Equal(t, `POST /abort user="ann" generation=2 status=0`, got[3].String())
		assert.Equal(t, `GET /empty user="ann" generation=2 status=200`, got[4].String())
		assert.Equal(t, time.Second, got[1].Time.Sub(got[0].Time))
	})
}

func TestRequestsAreBounded(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	for i := range 1003 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://x/%d", i), nil)
		require.NoError(t, err)
		s.ServeHTTP(discard{}, req)
	}
	got := s.Requests()
	require.Len(t, got, 1000)
	assert.Equal(t, "/3", got[0].Path)
	assert.Equal(t, "/1002", got[999].Path)
	assert.Equal(t, 1003, s.Counts().APIRequests)
}

func TestAwaitReturnsWhenItsContextIsDoneOrTheServerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{})
		never := func(reauthtest.Counts) bool { return false }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Await(ctx, never), context.DeadlineExceeded)

		failed := make(chan error)
		go func() { failed <- s.Await(t.Context(), never) }()
		synctest.Wait()
		s.Close()
		require.ErrorContains(t, <-failed, "server closed")
		require.NoError(t, s.Await(t.Context(), func(reauthtest.Counts) bool { return true }))
	})
}

func TestNoTokenIsPrinted(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{ClientSecret: "hush"})
	issued := s.SignIn("ann")
	call(t, s, "/", issued.AccessToken)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("signed in", "issued", issued)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("signed in", "issued", issued)
	_, err := s.Refresh(issued.RefreshToken)
	require.NoError(t, err)
	_, err = s.Refresh(issued.RefreshToken)
	require.Error(t, err)

	all := log.String() + err.Error()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb, issued) + fmt.Sprintf(verb, &issued) + fmt.Sprintf(verb, []any{issued}) +
			fmt.Sprintf(verb, s) + fmt.Sprintf(verb, s.Requests()) + fmt.Sprintf(verb, s.Counts())
	}
	assert.Contains(t, all, "[access token, refresh token, expires ")
	for _, secret := range []string{issued.AccessToken, issued.RefreshToken, "hush"} {
		assert.NotContains(t, all, secret)
		assert.NotContains(t, all, fmt.Sprintf("%x", secret))
	}
}

// discard is a http.ResponseWriter that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
