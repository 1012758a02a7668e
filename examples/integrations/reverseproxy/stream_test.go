package reverseproxy_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// serveEvents adds a stream of events, each of which is sent once it is asked for.
func (f *front) serveEvents() chan<- string {
	events := make(chan string)
	f.Handle("/events", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-events:
				_, _ = io.WriteString(w, "data: "+event+"\n\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	return events
}

// anyTime lets one refusal right after another start a refresh, at any endpoint.
func anyTime(cfg *reauth.Config) { cfg.RefreshPause = -1 }

// golang/go#27816 is about events that came late.
func TestEventsComeAtOnceAndGoOnAfterARevocation(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{}, anyTime)
	events := f.serveEvents()
	f.ExpireAccess()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opened := make(chan *http.Response, 1)
	go func() {
		resp, err := f.client.Do(f.as(ctx, "ann", http.MethodGet, "/events", nil))
		assert.NoError(t, err)
		opened <- resp
	}()
	events <- "first"
	resp := <-opened
	require.NotNil(t, resp)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	read := func() string { // hangs if the proxy waits for more
		text, err := lines.ReadString('\n')
		require.NoError(t, err)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
		return text
	}
	assert.Equal(t, "data: first\n", read())
	assert.Equal(t, 1, f.Counts().Refreshes)

	f.ExpireAccess()
	events <- "second"
	assert.Equal(t, "data: second\n", read())
	_, text := f.mustSend(t, f.as(t.Context(), "ann", http.MethodGet, "/orders/1", nil))
	assert.Contains(t, text, `"user":"ann"`)
	events <- "third"
	assert.Equal(t, "data: third\n", read())
	cancel() // and the stream ends at the API, too, or closing the server would wait for it
}

// serveEcho adds a WebSocket that greets the user, then echoes messages.
func (f *front) serveEcho() {
	f.Handle("/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer conn.CloseNow()
		text := []byte("hello " + reauthtest.UserFromRequest(r))
		for {
			if err := conn.Write(r.Context(), websocket.MessageText, text); err != nil {
				return
			}
			if _, text, err = conn.Read(r.Context()); err != nil {
				return
			}
		}
	}))
}

// dial opens the WebSocket as the user's page does.
func (f *front) dial(ctx context.Context, user, origin string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, f.url+"/echo", &websocket.DialOptions{
		HTTPClient: f.client,
		HTTPHeader: http.Header{"Cookie": {"user=" + user}, "Origin": {origin}},
	})
}

func echo(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(text)))
	_, got, err := conn.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, text, string(got))
}

func TestAWebSocketOpensWithADeadTokenAndStaysAfterARevocation(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]reauthtest.Options{"HTTP/1": {}, "HTTP/2, which has no Upgrade": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, opts, anyTime)
			f.serveEcho()
			for n := range 2 {
				f.ExpireAccess()
				conn, _, err := f.dial(t.Context(), "ann", f.url)
				require.NoError(t, err)
				defer conn.CloseNow()
				_, text, err := conn.Read(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "hello ann", string(text))
				assert.Equal(t, 2*n+1, f.Counts().Refreshes)
				echo(t, conn, "and back")
				f.ExpireAccess()
				echo(t, conn, "still")
				_, answer := f.mustSend(t, f.as(t.Context(), "ann", http.MethodGet, "/orders/1", nil))
				assert.Contains(t, answer, `"user":"ann"`)
				echo(t, conn, "yet")
			}
		})
	}
}

func TestPagesOfOtherSitesCanNotOpenAWebSocket(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	f.serveEcho()
	_, resp, err := f.dial(t.Context(), "ann", "https://evil.example")
	require.Error(t, err)
	require.NotNil(t, resp)
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	assert.Zero(t, f.Counts().APIRequests)
}

// oauth2-proxy/oauth2-proxy#1347: after a handshake that had failed, requests on the same
// connection had no credentials.
func TestAHandshakeThatFailsLeavesTheConnectionAsItWas(t *testing.T) {
	t.Parallel()
	f := newFront(t, reauthtest.Options{})
	f.client.Transport.(*http.Transport).MaxConnsPerHost = 1
	_, resp, err := f.dial(t.Context(), "ann", f.url) // there is none, but JSON
	require.Error(t, err)
	require.NotNil(t, resp)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	_, text := f.mustSend(t, f.as(t.Context(), "ann", http.MethodGet, "/orders/1", nil))
	assert.Contains(t, text, `"user":"ann"`)
}
