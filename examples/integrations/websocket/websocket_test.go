package websocket_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/examples/integrations/websocket"
	"github.com/reauth-go/reauth/reauthtest"
)

const pathFeed = "/feed"

// newWorld adds a WebSocket that greets the user, then echoes messages.
func newWorld(t *testing.T) *world.World {
	t.Helper()
	w := world.New(t, reauthtest.Options{})
	w.Handle(pathFeed, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := coder.Accept(rw, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer conn.CloseNow()
		text := []byte("hello " + reauthtest.UserFromRequest(r))
		for {
			if err := conn.Write(r.Context(), coder.MessageText, text); err != nil {
				return
			}
			if _, text, err = conn.Read(r.Context()); err != nil {
				return
			}
		}
	}))
	return w
}

// A dialer opens the WebSocket, listens to the greeting, says something and returns the
// echo of that.
type dialer func(ctx context.Context, w *world.World, say string) (greeting, echo string, err error)

var dialers = map[string]dialer{
	"http.Client": func(ctx context.Context, w *world.World, say string) (string, string, error) {
		conn, err := websocket.Dial(ctx, w.Transport, w.APIURL(pathFeed))
		if err != nil {
			return "", "", err
		}
		defer conn.CloseNow()
		_, greeting, err := conn.Read(ctx)
		if err != nil {
			return "", "", err
		}
		if err := conn.Write(ctx, coder.MessageText, []byte(say)); err != nil {
			return "", "", err
		}
		_, echo, err := conn.Read(ctx)
		return string(greeting), string(echo), err
	},
	"header": func(ctx context.Context, w *world.World, say string) (string, string, error) {
		conn, err := websocket.DialWithHeader(ctx, w.Transport, toWS(w.APIURL(pathFeed)))
		if err != nil {
			return "", "", err
		}
		defer conn.Close()
		_, greeting, err := conn.ReadMessage()
		if err != nil {
			return "", "", err
		}
		if err := conn.WriteMessage(gorilla.TextMessage, []byte(say)); err != nil {
			return "", "", err
		}
		_, echo, err := conn.ReadMessage()
		return string(greeting), string(echo), err
	},
}

// toWS returns the address as gorilla/websocket wants it.
func toWS(url string) string { return "ws" + strings.TrimPrefix(url, "http") }

// eachDialer runs test for both ways to dial.
func eachDialer(t *testing.T, test func(*testing.T, *world.World, dialer)) {
	t.Parallel()
	for name, dial := range dialers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t), dial)
		})
	}
}

func TestNoHandshakeIsLostWhenTheTokenIsRevoked(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world.World, dial dialer) {
		w.RevokeUnderWay(t, func(ctx context.Context) error {
			greeting, echo, err := dial(ctx, w, "and back")
			if err == nil {
				assert.Equal(t, []string{"hello ann", "and back"}, []string{greeting, echo})
			}
			return err
		})
	})
}

func TestAHandshakeIsSentAtMostTwice(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world.World, dial dialer) {
		w.FailAPI(reauthtest.Failure{Status: http.StatusUnauthorized}, -1)
		for attempt := range 2 {
			_, _, err := dial(t.Context(), w, "")
			assert.ErrorContains(t, err, "handshake")
			assert.Equal(t, 2+attempt, w.Counts().APIRequests, "a new token is not what is wrong")
			assert.Equal(t, 1, w.Counts().Refreshes)
		}
	})
}

func TestARedirectOfAHandshakeGetsNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	_, err := websocket.DialWithHeader(t.Context(), w.Transport, toWS(here.URL))
	assert.ErrorIs(t, err, gorilla.ErrBadHandshake)
}

func TestAForbiddenHandshakeStartsNothing(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world.World, dial dialer) {
		w.FailAPI(reauthtest.Failure{Status: http.StatusForbidden}, -1)
		_, _, err := dial(t.Context(), w, "")
		assert.Error(t, err)
		assert.Equal(t, 1, w.Counts().APIRequests)
		assert.Zero(t, w.Counts().Refreshes)
	})
}

func TestAHandshakeReportsSignInRequired(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world.World, dial dialer) {
		w.Revoke()
		for range 2 {
			_, _, err := dial(t.Context(), w, "")
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, w.Counts().APIRequests, "nothing is sent without a token")
		assert.Equal(t, 1, w.Counts().Refreshes)
	})
}

func TestAHandshakeTellsThatTheRefreshFailed(t *testing.T) {
	eachDialer(t, func(t *testing.T, w *world.World, dial dialer) {
		w.ExpireAccess()
		w.FailRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}, -1)
		_, _, err := dial(t.Context(), w, "")
		_, ok := errors.AsType[*reauth.RefreshError](err)
		assert.True(t, ok)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token(w.SignIn("ann"))))
		greeting, _, err := dial(t.Context(), w, "")
		require.NoError(t, err)
		assert.Equal(t, "hello ann", greeting)
	})
}
