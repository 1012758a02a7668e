package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// A world is an MCP server of the SDK behind reauthtest's API, and an authorization server
// that adds to reauthtest's token endpoint what a sign-in needs.
type world struct {
	*reauthtest.Server
	t   *testing.T
	url string

	noRefreshToken bool
	withoutPKCE    bool
	resourceIs     func(string) string // what the document says; nil: the URL of the MCP server
	issuerIs       func(string) string // what the MCP server calls the authorization server
	decline        bool                // the user does not agree
	registering    http.Handler        // nil: each client is registered
	grants         func(string) string // the scopes of those that are asked for; nil: all

	mu            sync.Mutex
	windows       []url.Values // authorization requests, in their order
	registrations int
	discoveries   int
	clients       map[string]bool
	codes         map[string]url.Values // authorization requests by code
	scopes        map[string]string     // by access token
	tokenForms    []url.Values
	gate          *gate
	late          *late
}

// A late answer is held back.
type late struct{ held, release chan struct{} }

// A gate holds requests back until so many have arrived.
type gate struct {
	left int
	open chan struct{}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clients: map[string]bool{}, codes: map[string]url.Values{}, scopes: map[string]string{}}
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(rw, r) }))
	t.Cleanup(front.Close)
	w.url = front.URL
	w.Server = reauthtest.New(reauthtest.Options{
		Refusal: reauthtest.Failure{Header: http.Header{
			"Www-Authenticate": {`Bearer error="invalid_token", scope="tools", resource_metadata="` + w.url + `/about"`},
		}},
	})
	w.URL = w.url
	server := mcp.NewServer(&mcp.Implementation{Name: "world"}, nil)
	for _, name := range []string{"read", "write"} {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name}}}, nil, nil
		})
	}
	w.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/about":
		named := func(f func(string) string, usual string) string {
			if f == nil {
				return usual
			}
			return f(usual)
		}
		answer(rw, 200, map[string]any{
			"resource":              named(w.resourceIs, w.endpoint()),
			"authorization_servers": []string{named(w.issuerIs, w.url)},
		})
	case "/.well-known/oauth-authorization-server":
		w.mu.Lock()
		w.discoveries++
		w.mu.Unlock()
		challenges := []string{"S256"}
		if w.withoutPKCE {
			challenges = nil
		}
		answer(rw, 200, map[string]any{
			"issuer":                                         w.url,
			"authorization_endpoint":                         w.url + "/authorize",
			"token_endpoint":                                 w.TokenURL(),
			"revocation_endpoint":                            w.RevocationURL(),
			"registration_endpoint":                          w.url + "/register",
			"code_challenge_methods_supported":               challenges,
			"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic"},
			"authorization_response_iss_parameter_supported": true,
		})
	case "/register":
		if w.registering != nil {
			w.registering.ServeHTTP(rw, r)
			return
		}
		w.register(rw)
	case "/authorize":
		w.authorize(rw, r)
	case "/token":
		w.token(rw, r)
	default:
		if r.Method == http.MethodPost {
			w.wait(r)
			if strings.Contains(r.Header.Get("Mcp-Name")+peek(r), `"write"`) && !w.may(r, "write") {
				rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="write", resource_metadata="`+w.url+`/about"`)
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			if l := w.takeLate(); l != nil {
				kept := httptest.NewRecorder()
				w.ServeHTTP(kept, r)
				close(l.held)
				<-l.release
				maps.Copy(rw.Header(), kept.Header())
				rw.WriteHeader(kept.Code)
				_, _ = rw.Write(kept.Body.Bytes())
				return
			}
		}
		w.ServeHTTP(rw, r)
	}
}

func (w *world) takeLate() *late {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.late
	w.late = nil
	return l
}

// holdNext holds back the answer to the next call.
func (w *world) holdNext() *late {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = &late{make(chan struct{}), make(chan struct{})}
	return w.late
}

func (w *world) register(rw http.ResponseWriter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.registrations++
	id := "client " + string(rune('0'+w.registrations))
	w.clients[id] = true
	answer(rw, 201, map[string]any{"client_id": id, "token_endpoint_auth_method": "none"})
}

// authorize is a page on which the user agrees at once, or does not.
func (w *world) authorize(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	query := r.URL.Query()
	w.windows = append(w.windows, query)
	if !w.clients[query.Get("client_id")] {
		http.Error(rw, "no such client", http.StatusBadRequest) // and no way back
		return
	}
	back := url.Values{"state": {query.Get("state")}, "iss": {w.url}}
	if w.decline {
		back.Set("error", "access_denied")
	} else {
		code := "code " + string(rune('0'+len(w.windows)))
		w.codes[code] = query
		back.Set("code", code)
	}
	http.Redirect(rw, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (w *world) token(rw http.ResponseWriter, r *http.Request) {
	body := peek(r)
	form, _ := url.ParseQuery(body)
	w.mu.Lock()
	w.tokenForms = append(w.tokenForms, form)
	asked, isCode := w.codes[form.Get("code")]
	delete(w.codes, form.Get("code"))
	known := w.clients[form.Get("client_id")]
	w.mu.Unlock()
	switch {
	case !known && form.Get("grant_type") != "client_credentials":
		answer(rw, 401, map[string]any{"error": "invalid_client"})
	case !isCode:
		w.ServeHTTP(rw, r)
	default:
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || form.Get("redirect_uri") != asked.Get("redirect_uri") ||
			form.Get("resource") != asked.Get("resource") || form.Get("client_id") != asked.Get("client_id") {
			answer(rw, 400, map[string]any{"error": "invalid_grant"})
			return
		}
		issued := w.SignIn("ann")
		w.mu.Lock()
		granted := asked.Get("scope")
		if w.grants != nil {
			granted = w.grants(granted)
		}
		w.scopes[issued.AccessToken] = granted
		w.mu.Unlock()
		if w.noRefreshToken {
			issued.RefreshToken = ""
		}
		answer(rw, 200, map[string]any{"access_token": issued.AccessToken, "token_type": "Bearer", "refresh_token": issued.RefreshToken, "expires_in": 3600, "scope": granted})
	}
}

// may reports whether the token of a request has a scope. One that is not known may do
// anything, since its session decides about it.
func (w *world) may(r *http.Request, scope string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	scopes, known := w.scopes[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	return !known || strings.Contains(" "+scopes+" ", " "+scope+" ")
}

// together makes the next n calls wait for each other, so that all of them carry the token
// of before.
func (w *world) together(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate = &gate{left: n, open: make(chan struct{})}
}

func (w *world) wait(r *http.Request) {
	w.mu.Lock()
	g := w.gate
	if g != nil {
		if g.left--; g.left == 0 {
			w.gate = nil
			close(g.open)
		}
	}
	w.mu.Unlock()
	if g != nil {
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
	}
}

func (w *world) endpoint() string { return w.url + "/mcp" }

func (w *world) opened() []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.windows
}

// forget makes the authorization server forget all registrations.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.clients)
}

// client returns a client of the MCP server.
func (w *world) client(opts options) *client {
	w.t.Helper()
	opts.name, opts.browser = "a test", headless
	c, err := newClient(w.endpoint(), opts)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { assert.NoError(w.t, c.close()) })
	return c
}

// connected returns a client's session with the MCP server.
func (w *world) connected(opts options) *mcp.ClientSession {
	w.t.Helper()
	session, err := w.client(opts).connect(w.t.Context())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = session.Close() })
	return session
}

// callAll calls a tool n times at once, and returns how often it has answered, and an error.
func (w *world) callAll(session *mcp.ClientSession, tool string, n int) (answered int, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			result, callErr := session.CallTool(w.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
			mu.Lock()
			defer mu.Unlock()
			if callErr != nil {
				err = callErr
			} else if text, ok := result.Content[0].(*mcp.TextContent); ok && text.Text == tool {
				answered++
			}
		})
	}
	wg.Wait()
	return answered, err
}

func answer(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body)
}
