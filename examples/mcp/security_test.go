package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// An MCP server redirects a call to a stranger, who demands a sign-in and says where: at an
// authorization server whose token endpoint is the stranger's own, for example.
func TestAStrangersChallengeOpensNoWindow(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	var status, asked atomic.Int64
	var stranger *httptest.Server
	stranger = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		assert.Empty(t, r.Header.Get("Authorization"))
		if r.URL.Path == "/mcp" {
			rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="all", resource_metadata="`+stranger.URL+`/about"`)
			rw.WriteHeader(int(status.Load()))
			return
		}
		answer(rw, 200, map[string]any{"resource": w.endpoint(), "authorization_servers": []string{w.url}})
	}))
	defer stranger.Close()
	w.HandlePublic("/elsewhere", http.RedirectHandler(stranger.URL+"/mcp", http.StatusTemporaryRedirect))
	for _, signedIn := range []bool{false, true} {
		if signedIn {
			_, err := c.session.Token(t.Context())
			require.NoError(t, err)
		}
		windows := len(w.opened())
		for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			status.Store(int64(code))
			asked.Store(0)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/elsewhere", strings.NewReader("{}"))
			require.NoError(t, err)
			resp, err := c.httpClient().Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, code, resp.StatusCode)
			assert.EqualValues(t, 1, asked.Load())
			assert.Len(t, w.opened(), windows)
		}
	}
}

func TestARegistrationIsNotTakenElsewhere(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.register(rw)
	}))
	defer elsewhere.Close()
	w.registering = http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect)
	_, err := w.client(options{}).connect(t.Context())
	require.ErrorContains(t, err, "307")
	assert.Zero(t, asked.Load())
}

// A server chooses the names of its tools, and what it says.
func TestTextOfAServerDoesNotChangeTheTerminal(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;title\a\u202etool\u0085"
	server := mcp.NewServer(&mcp.Implementation{Name: "evil"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "tool", Description: evil}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: evil + "\nGrüße"}}}, nil, nil
	})
	w := newWorld(t)
	w.Server = reauthtest.New(reauthtest.Options{})
	w.HandlePublic("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	var out bytes.Buffer
	require.NoError(t, talk(t.Context(), w.client(options{}), "tool", &out))
	assert.Equal(t, "tool -  [2J ]0;title  tool \n [2J ]0;title  tool \nGrüße\n", out.String())
}
