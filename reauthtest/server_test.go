package reauthtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestRealServer(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	assert.True(t, strings.HasPrefix(s.URL, "http://127.0.0.1:") || strings.HasPrefix(s.URL, "http://[::1]:"), s.URL)
	assert.Equal(t, s.URL+"/token", s.TokenURL())
	assert.Equal(t, s.URL+"/revoke", s.RevocationURL())
	assert.Equal(t, s.URL+"/x", s.APIURL("/x"))
	issued := s.SignIn("ann")
	got := call(t, s, "/", issued.AccessToken)
	assert.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, "HTTP/1.1", got.proto)
	assert.Equal(t, http.StatusOK, refresh(t, s, issued.RefreshToken).status)
	assert.Equal(t, 1, s.Counts().Connections)
	assert.Same(t, s.Transport(), s.Client().Transport)
}

func TestTLSSpeaksHTTP2(t *testing.T) {
	for name, start := range map[string]func(testing.TB, reauthtest.Options) *reauthtest.Server{
		"sockets": reauthtest.NewServer,
		"pipes":   reauthtest.NewPipeServer,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, reauthtest.Options{TLS: true})
			assert.True(t, strings.HasPrefix(s.URL, "https://"))
			issued := s.SignIn("ann")
			got := call(t, s, "/", issued.AccessToken)
			assert.Equal(t, http.StatusOK, got.status)
			assert.Equal(t, "HTTP/2.0", got.proto)
			assert.Equal(t, http.StatusOK, refresh(t, s, issued.RefreshToken).status)
			assert.Equal(t, 1, s.Counts().Connections)
		})
	}
}

func TestPipesReachNobodyElse(t *testing.T) {
	s, other := reauthtest.NewPipeServer(t, reauthtest.Options{}), reauthtest.NewPipeServer(t, reauthtest.Options{})
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", other.SignIn("ann").AccessToken).status)
	assert.Zero(t, other.Counts().APIRequests)
}

func TestNewIsAHandlerToMount(t *testing.T) {
	s := reauthtest.New(reauthtest.Options{})
	defer s.Close()
	mounted := httptest.NewServer(s)
	defer mounted.Close()
	s.URL = mounted.URL
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL("/"), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+s.SignIn("ann").AccessToken)
	resp, err := mounted.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, http.StatusOK, call(t, s, "/", s.SignIn("ann").AccessToken).status, "in memory, too")
}

// A bubble fails unless all its goroutines have ended when it does: these tests
// need no more than to leave one behind if Close does.

func TestCloseLeavesNothingBehind(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		opts.APILatency = time.Hour
		s := reauthtest.NewPipeServer(t, opts)
		token := s.SignIn("ann")
		refresh(t, s, token.RefreshToken) // leaves an idle connection
		s.BlockRefresh()                  // never released
		hung := make(chan struct{})
		s.HandlePublic("/hung", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(hung)
			<-r.Context().Done()
		}))
		var group sync.WaitGroup
		fails := func(try func() (answer, error)) {
			group.Go(func() {
				_, err := try()
				assert.Error(t, err)
			})
		}
		fails(func() (answer, error) { return tryRefresh(t.Context(), s, "blocked") })
		fails(func() (answer, error) { return tryCall(t.Context(), s, "/delayed", token.AccessToken) })
		fails(func() (answer, error) { return tryCall(t.Context(), s, "/hung", "") })
		<-hung
		synctest.Wait()
		start := time.Now()
		s.Close()
		s.Close()
		group.Wait()
		assert.Less(t, time.Since(start), 10*time.Second)

		_, err := tryCall(t.Context(), s, "/", "")
		assert.Error(t, err, "the server does not listen any more")
	})
}

func TestHangingRequestsDoNotHinderTheEndOfATest(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts) // closed by t.Cleanup
		s.FailAPI(reauthtest.Hang, -1)
		s.FailRefresh(reauthtest.Hang, -1)
		for range 3 {
			go func() { _, _ = tryCall(t.Context(), s, "/", "") }()
			go func() { _, _ = tryRefresh(t.Context(), s, "x") }()
		}
		synctest.Wait()
	})
}

func TestHangWithoutClientEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{})
		s.FailRefresh(reauthtest.Hang, -1)
		failed := make(chan error)
		go func() {
			_, err := tryRefresh(t.Context(), s, "x")
			failed <- err
		}()
		synctest.Wait()
		s.Close()
		require.Error(t, <-failed)
		assert.Equal(t, 1, s.Counts().RefreshesFailed)
	})
}

func TestCloseLetsGoWhereTheServerIsMountedByHand(t *testing.T) {
	for name, hold := range map[string]func(*reauthtest.Server){
		"hang":  func(s *reauthtest.Server) { s.FailRefresh(reauthtest.Hang, -1) },
		"block": func(s *reauthtest.Server) { s.BlockRefresh() },
	} {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.New(reauthtest.Options{})
			mounted := httptest.NewServer(s)
			defer mounted.Close()
			hold(s)
			failed := make(chan error)
			go func() {
				resp, err := mounted.Client().PostForm(mounted.URL+"/token", nil)
				if err == nil {
					resp.Body.Close()
				}
				failed <- err
			}()
			require.NoError(t, s.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
			s.Close()
			require.Error(t, <-failed)
		})
	}
}

func TestCloseOfAServerNeverUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.New(reauthtest.Options{})
		s.Close()
		_, err := tryCall(t.Context(), s, "/", "")
		require.Error(t, err)
	})
}

func TestRealServerCloses(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	s.FailRefresh(reauthtest.Hang, -1)
	failed := make(chan error)
	go func() {
		_, err := tryRefresh(t.Context(), s, "x")
		failed <- err
	}()
	require.NoError(t, s.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
	s.Close()
	require.Error(t, <-failed)
	_, err := tryCall(t.Context(), s, "/", "")
	require.Error(t, err)
}
