package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

type dialer = func(context.Context, *reauth.Transport, string) (*websocket.Conn, error)

// eachDialer runs test for both ways to dial.
func eachDialer(t *testing.T, test func(*testing.T, *world, dialer)) {
	t.Parallel()
	for name, d := range map[string]dialer{"http.Client": dial, "header": dialWithHeader} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, reauthtest.Options{}), d)
		})
	}
}

func TestHandshakesWithADeadTokenSucceedAfterOneRefresh(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world, dial dialer) {
		w.ExpireAccess()
		got := w.storm(t, func() error {
			conn, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
			if err != nil {
				return err
			}
			defer conn.CloseNow()
			if _, text, err := conn.Read(t.Context()); err != nil || string(text) != "hello ann" {
				return errors.Join(errors.New("not the greeting"), err)
			}
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("and back")); err != nil {
				return err
			}
			_, text, err := conn.Read(t.Context())
			assert.Equal(t, "and back", string(text))
			return err
		})
		got.APISucceeded = many // a 101 is not counted as such
		assert.Equal(t, refusedOnce, got)
		assert.Equal(t, 2*many, w.Counts().APIRequests)
	})
}

func TestAHandshakeIsSentAtMostTwice(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world, dial dialer) {
		w.refuse()
		for attempt := range 2 {
			_, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
			assert.ErrorContains(t, err, "401")
			assert.Equal(t, 2+attempt, w.Counts().APIRequests, "a new token is not what is wrong")
			assert.Equal(t, 1, w.Counts().Refreshes)
		}
	})
}

func TestARedirectOfAHandshakeGetsNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	_, err := dialWithHeader(t.Context(), w.transport, here.URL)
	assert.ErrorContains(t, err, "307")
}

func TestAForbiddenHandshakeStartsNothing(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world, dial dialer) {
		w.forbid()
		_, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
		assert.ErrorContains(t, err, "403")
		assert.Equal(t, 1, w.Counts().APIRequests)
		assert.Zero(t, w.Counts().Refreshes)
	})
}

func TestAHandshakeReportsSignInRequired(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world, dial dialer) {
		w.Revoke()
		for range 2 {
			_, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, w.Counts().APIRequests, "nothing is sent without a token")
		assert.Equal(t, 1, w.Counts().Refreshes)
	})
}

func TestAHandshakeTellsThatTheRefreshFailed(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world, dial dialer) {
		w.ExpireAccess()
		w.FailRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}, -1)
		_, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
		_, ok := errors.AsType[*reauth.RefreshError](err)
		assert.True(t, ok)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		require.NoError(t, w.transport.SignIn(t.Context(), reauth.Token(w.SignIn("ann"))))
		conn, err := dial(t.Context(), w.transport, w.APIURL(pathFeed))
		require.NoError(t, err)
		assert.NoError(t, conn.CloseNow())
	})
}
