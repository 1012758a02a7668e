package orders_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/sdk/internal/service"
	"github.com/reauth-go/reauth/examples/sdk/orders"
	"github.com/reauth-go/reauth/reauthtest"
)

// inBubble runs a test in which time passes in an instant, since nothing in it is a
// real socket.
func inBubble(t *testing.T, test func(t *testing.T, s *reauthtest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{AccessLifetime: time.Hour})
		service.Mount(s)
		test(t, s)
	})
}

func newClient(t *testing.T, s *reauthtest.Server, opts orders.Options) *orders.Client {
	t.Helper()
	opts.BaseURL, opts.Transport = s.URL, s.Transport()
	client, err := orders.New(&opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	return client
}

func signedIn(t *testing.T, s *reauthtest.Server, opts orders.Options) *orders.Client {
	t.Helper()
	client := newClient(t, s, opts)
	require.NoError(t, client.SignIn(t.Context(), "ann", service.Password))
	return client
}

// hidesReauth checks that no error of package reauth can be found in err.
func hidesReauth(t *testing.T, err error) {
	t.Helper()
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	_, ok := errors.AsType[*reauth.RefreshError](err)
	assert.False(t, ok, "a *reauth.RefreshError is in the chain of %v", err)
}

func TestManyCallsShareOneRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := signedIn(t, s, orders.Options{})
		s.ExpireAccess()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := client.List(t.Context())
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestADayOfCallsNeedsNoSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := signedIn(t, s, orders.Options{})
		for range 24 * 4 {
			time.Sleep(15 * time.Minute)
			_, err := client.List(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, 1, s.Counts().SignIns)
		assert.Zero(t, s.Counts().APIRefused, "tokens are renewed before they end")
	})
}

func TestARefusedOrderIsPlacedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := signedIn(t, s, orders.Options{})
		s.ExpireAccess()
		placed, err := client.Place(t.Context(), "tea", 3)
		require.NoError(t, err)
		assert.Equal(t, 1, s.Counts().APIRefused)
		all, err := client.List(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []orders.Order{{ID: 1, Item: "tea", Quantity: 3}}, all)
		assert.Equal(t, all[0], placed)
	})
}

func TestSignInRequired(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *reauthtest.Server, client *orders.Client){
		"never signed in":             nil,
		"signed out":                  func(t *testing.T, _ *reauthtest.Server, c *orders.Client) { require.NoError(t, c.SignOut(t.Context())) },
		"session ended at the server": func(_ *testing.T, s *reauthtest.Server, _ *orders.Client) { s.Revoke("ann") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *reauthtest.Server) {
				client := newClient(t, s, orders.Options{})
				if end != nil {
					require.NoError(t, client.SignIn(t.Context(), "ann", service.Password))
					end(t, s, client)
				}
				_, err := client.List(t.Context())
				require.ErrorIs(t, err, orders.ErrSignInRequired)
				hidesReauth(t, err)
				ok, err := client.SignedIn(t.Context())
				require.NoError(t, err)
				assert.False(t, ok)

				require.NoError(t, client.SignIn(t.Context(), "ann", service.Password))
				_, err = client.List(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

func TestSignOutEndsTheSessionAtTheService(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		require.NoError(t, signedIn(t, s, orders.Options{}).SignOut(t.Context()))
		assert.Equal(t, 1, s.Counts().SessionsRevoked)
	})
}

// A forgetful store does not forget.
type forgetful struct{ reauth.MemoryStore }

func (*forgetful) Delete(context.Context, string) error { return io.ErrUnexpectedEOF }

func TestAnErrorIsInTheSDKsOwnWords(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		err := signedIn(t, s, orders.Options{Store: new(forgetful)}).SignOut(t.Context())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Regexp(t, "^orders: SignOut: ", err.Error())
		hidesReauth(t, err)
	})
}

func TestAWrongPassword(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := newClient(t, s, orders.Options{})
		err := client.SignIn(t.Context(), "ann", "battery staple")
		require.ErrorIs(t, err, orders.ErrWrongPassword)
		hidesReauth(t, err)
	})
}

func TestUnavailableUntilItIsBack(t *testing.T) {
	busy := reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}
	for name, fail := range map[string]func(s *reauthtest.Server){
		"the service itself":      func(s *reauthtest.Server) { s.FailAPI(busy, 1) },
		"renewing of the session": func(s *reauthtest.Server) { s.ExpireAccess(); s.FailRefresh(busy, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *reauthtest.Server) {
				client := signedIn(t, s, orders.Options{})
				fail(s)
				_, err := client.List(t.Context())
				unavailable, ok := errors.AsType[*orders.UnavailableError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, time.Minute, unavailable.RetryAfter)
				hidesReauth(t, err)

				time.Sleep(unavailable.RetryAfter)
				_, err = client.List(t.Context())
				require.NoError(t, err)
				assert.Equal(t, 1, s.Counts().SignIns)
			})
		})
	}
}

func TestAnObjectionOfTheService(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		_, err := signedIn(t, s, orders.Options{}).Place(t.Context(), "tea", 0)
		objection, ok := errors.AsType[*orders.APIError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, orders.APIError{StatusCode: 422, Message: "order one or more of something"}, *objection)
	})
}

func TestTheCallersOwnDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := signedIn(t, s, orders.Options{})
		s.ExpireAccess()
		defer s.BlockRefresh()()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.List(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCloseWaitsForARenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		store := new(reauth.MemoryStore)
		client := signedIn(t, s, orders.Options{Store: store})
		s.ExpireAccess()
		release := s.BlockRefresh()
		ctx, cancel := context.WithCancel(t.Context())
		var call sync.WaitGroup
		call.Go(func() {
			_, err := client.List(ctx)
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		cancel() // the user presses Ctrl-C in the middle of it
		call.Wait()

		closed := false
		var closing sync.WaitGroup
		closing.Go(func() {
			assert.NoError(t, client.Close(t.Context()))
			closed = true
		})
		synctest.Wait()
		require.False(t, closed, "the renewal is still in progress")
		release()
		closing.Wait()

		again := newClient(t, s, orders.Options{Store: store})
		_, err := again.List(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestAStoreKeepsTheSessionsOfManyAccounts(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		store := new(reauth.MemoryStore)
		for _, user := range []string{"ann", "bob"} {
			client := newClient(t, s, orders.Options{Store: store, Account: user})
			require.NoError(t, client.SignIn(t.Context(), user, service.Password))
			_, err := client.Place(t.Context(), "tea for "+user, 1)
			require.NoError(t, err)
		}
		for _, user := range []string{"ann", "bob"} {
			all, err := newClient(t, s, orders.Options{Store: store, Account: user}).List(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []orders.Order{{ID: 1, Item: "tea for " + user, Quantity: 1}}, all)
		}
	})
}

// A program that uses the SDK may use package reauth for something else.
func TestTheCallersOwnSessionIsNotTheSDKs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *reauthtest.Server) {
		client := signedIn(t, s, orders.Options{})
		_, err := client.List(reauth.WithSession(t.Context(), "of another API"))
		require.NoError(t, err)
	})
}

func TestBaseURL(t *testing.T) {
	for _, base := range []string{"orders.example.com", "ftp://orders.example.com", "https://", "https://ann:secret@orders.example.com", "https://orders.example.com/?a=b", "https://x/%zz"} {
		_, err := orders.New(&orders.Options{BaseURL: base})
		assert.EqualError(t, err, "orders: Options.BaseURL: it is not the likes of https://orders.example.com", "%q", base)
	}
	for _, base := range []string{"", "https://orders.example.com/", "http://127.0.0.1:8080/behind/a/proxy"} {
		_, err := orders.New(&orders.Options{BaseURL: base})
		assert.NoError(t, err, "%q", base)
	}
}

func TestNoServiceAtAll(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	client, err := orders.New(&orders.Options{BaseURL: s.URL})
	require.NoError(t, err)
	s.Close()
	err = client.SignIn(t.Context(), "ann", service.Password)
	require.ErrorContains(t, err, "connection refused")
	hidesReauth(t, err)
	assert.NotContains(t, err.Error(), service.Password)
}
