package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestServerThatNeedsNoTokenOpensNoWindow(t *testing.T) {
	w := newWorld(t)
	server := mcp.NewServer(&mcp.Implementation{Name: "open"}, nil)
	open := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	w.Server = reauthtest.New(reauthtest.Options{})
	w.HandlePublic("/mcp", open)
	w.connected(options{})
	assert.Empty(t, w.opened())
}

func TestUserWhoDeclinesIsAskedOnceByAllCalls(t *testing.T) {
	w := newWorld(t)
	w.decline = true
	c := w.client(options{})
	errs := make(chan error, many)
	for range many {
		go func() {
			_, err := c.session.Token(t.Context())
			errs <- err
		}()
	}
	for range many {
		err := <-errs
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.ErrorContains(t, err, "access_denied")
	}
	assert.Len(t, w.opened(), 1)
}

// anomalyco/opencode#35625: each sign-in registered another client.
func TestNextSignInUsesTheRegistrationAndTheRedirectURIOfTheLast(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.Revoke()
	_, err := w.callAll(session, "read", 1)
	require.NoError(t, err)
	require.Len(t, w.opened(), 2)
	assert.Equal(t, 1, w.registrations)
	assert.Equal(t, w.opened()[0].Get("redirect_uri"), w.opened()[1].Get("redirect_uri"))
	assert.NotEqual(t, w.opened()[0].Get("state"), w.opened()[1].Get("state"))
	assert.NotEqual(t, w.opened()[0].Get("code_challenge"), w.opened()[1].Get("code_challenge"))
}

// openai/codex#29630, microsoft/vscode#321834, anthropics/claude-code#84614: a server that
// forgets its registrations locked the program out.
func TestForgottenRegistrationIsReplaced(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.forget()
	w.ExpireAccess()
	w.together(many)
	answered, err := w.callAll(session, "read", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	assert.Equal(t, 2, w.registrations)
	assert.Len(t, w.opened(), 2)
}

// supabase/mcp#355, MoonshotAI/kimi-code#2606, diillson/chatcli#1308: the server says on a page
// that it does not know the program, so the browser never comes back, each time anew.
func TestForgottenRegistrationIsReplacedAfterTheUserHasGivenUp(t *testing.T) {
	w := newWorld(t)
	store, err := filestore.New(t.TempDir(), nil) // which honors contexts
	require.NoError(t, err)
	w.connected(options{store: store})
	require.NoError(t, store.Delete(t.Context(), w.endpoint()))

	browse := func(_ context.Context, url string) error {
		page, err := http.Get(url)
		if err != nil {
			return err
		}
		if page.StatusCode != http.StatusOK {
			err = errors.New(page.Status)
		}
		return errors.Join(err, page.Body.Close())
	}
	ctx, giveUp := context.WithCancel(t.Context())
	stuck, err := newClient(w.endpoint(), options{store: store, browser: func(ctx context.Context, url string) error {
		w.forget() // also one that was made because the port was taken
		assert.ErrorContains(t, browse(ctx, url), "400")
		giveUp()
		return nil
	}})
	require.NoError(t, err)
	_, err = stuck.connect(ctx)
	require.Error(t, err)
	require.NoError(t, stuck.close())
	before := w.registrations

	next, err := newClient(w.endpoint(), options{store: store, browser: browse})
	require.NoError(t, err)
	session, err := next.connect(t.Context())
	require.NoError(t, err)
	require.NoError(t, session.Close())
	require.NoError(t, next.close())
	assert.Equal(t, before+1, w.registrations)
}

func TestErrorOfARegistrationShowsNothingOfTheAnswerButItsCode(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		answer     http.HandlerFunc
	}{
		{"a time that is no number", "failed to decode", func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 201, map[string]any{"client_id": "c", "client_secret": "s3cret", "client_secret_expires_at": "never"})
		}},
		{"no client id", "client_id", func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 201, map[string]any{"client_secret": "s3cret"})
		}},
		{"an error code", "invalid_redirect_uri", func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 400, map[string]any{"error": "invalid_redirect_uri", "error_description": "s3cret"})
		}},
		{"a page", "403 Forbidden", func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "s3cret", http.StatusForbidden) }},
		{"no answer", "EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.registering = tc.answer
			_, err := w.client(options{}).connect(t.Context())
			require.ErrorContains(t, err, tc.want)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// modelcontextprotocol/typescript-sdk#945, punkpeye/mcp-remote#91, neondatabase/mcp-server-neon#186:
// a server that refuses every token opened a hundred windows.
func TestServerThatRefusesEveryTokenOpensOneWindow(t *testing.T) {
	w := newWorld(t)
	w.noRefreshToken = true
	refusal := reauthtest.Failure{Status: http.StatusUnauthorized, Header: http.Header{
		"Www-Authenticate": {`Bearer error="invalid_token", resource_metadata="` + w.url + `/about"`},
	}}
	w.FailAPI(refusal, -1)
	c := w.client(options{})
	for range 3 {
		_, err := c.connect(t.Context())
		require.Error(t, err)
	}
	assert.Len(t, w.opened(), 1)

	// The server may have come to its senses.
	past := time.Now().Add(-signInPause)
	c.unproven.Store(&past)
	_, err := c.signIn(withChallenge(t.Context(), refusal.Header))
	require.NoError(t, err)
	assert.Len(t, w.opened(), 2)
}

func TestAnswersOfOthersAreIgnoredAndRefused(t *testing.T) {
	const issuer = "https://id.example.com"
	for _, tc := range []struct {
		name   string
		named  bool
		answer url.Values
		want   string
	}{
		{"as it should be", true, url.Values{"code": {"c"}, "iss": {issuer}}, ""},
		{"of a server that does not name itself", false, url.Values{"code": {"c"}}, ""},
		{"without the name", true, url.Values{"code": {"c"}}, "does not say which"},
		{"of another server", true, url.Values{"code": {"c"}, "iss": {"https://evil.example.com"}}, "another authorization server"},
		{"of another server, unexpectedly", false, url.Values{"code": {"c"}, "iss": {"https://evil.example.com"}}, "another authorization server"},
		{"with a slash more", true, url.Values{"code": {"c"}, "iss": {issuer + "/"}}, "another authorization server"},
		{"an error of another server", true, url.Values{"error": {"access_denied"}, "iss": {"https://evil.example.com"}}, "another authorization server"},
		{"a refusal", true, url.Values{"error": {"access_denied"}, "iss": {issuer}}, "access_denied"},
		{"nothing", true, url.Values{"iss": {issuer}}, "neither a code nor an error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &codeFlow{issuer: issuer, named: tc.named, uri: "http://127.0.0.1/callback", verifier: "v"}
			got, err := f.codeOf(tc.answer)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, code{"c", f.uri, "v"}, got)
		})
	}

	back, err := listen("", "the state")
	require.NoError(t, err)
	defer back.close()
	for _, tc := range []struct {
		query  string
		status int
	}{
		{"?code=stolen", http.StatusBadRequest},
		{"?code=stolen&state=another", http.StatusBadRequest},
		{"?code=mine&state=the+state", http.StatusOK},
		{"?code=again&state=the+state", http.StatusOK}, // the page was loaded again
	} {
		resp, err := http.Get(back.uri + tc.query)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, tc.status, resp.StatusCode, tc.query)
	}
	got, err := back.wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "mine", got.Get("code"))
}

func TestServerWithoutPKCEGetsNoUser(t *testing.T) {
	w := newWorld(t)
	w.withoutPKCE = true
	_, err := w.client(options{}).connect(t.Context())
	require.ErrorContains(t, err, "PKCE")
	assert.Empty(t, w.opened())
	assert.Zero(t, w.registrations)
}

func TestPortThatIsTakenIsNotWaitedFor(t *testing.T) {
	first, err := listen("", "")
	require.NoError(t, err)
	defer first.close()
	second, err := listen(first.uri, "")
	require.NoError(t, err)
	defer second.close()
	assert.NotEqual(t, first.uri, second.uri)
	second.close()
	third, err := listen(second.uri, "")
	require.NoError(t, err)
	defer third.close()
	assert.Equal(t, second.uri, third.uri)
}

func TestMachineSignsInAndRenewsWithoutAWindow(t *testing.T) {
	w := newWorld(t)
	c, err := newClient(w.endpoint(), options{grant: asItself, clientID: "machine", secret: "secret"})
	require.NoError(t, err)
	session, err := c.connect(t.Context())
	require.NoError(t, err)
	defer session.Close()
	first := w.Counts().Refreshes
	w.ExpireAccess()
	w.together(many)
	answered, err := w.callAll(session, "read", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	assert.Equal(t, 1, first)
	assert.Equal(t, 2, w.Counts().Refreshes)
	assert.Empty(t, w.opened())
	assert.Equal(t, "tools", w.tokenForms[1].Get("scope"))

	w.ExpireAccess()
	answered, err = w.callAll(session, "read", 1)
	require.NoError(t, err)
	assert.Equal(t, 1, answered)
	assert.Equal(t, 3, w.Counts().Refreshes)
	assert.Equal(t, 1, w.discoveries, "the token says where the next one comes from")
}

// modelcontextprotocol/python-sdk#3328, vercel/ai#15966: an MCP server that names another
// authorization server got the program's secret sent there.
func TestSecretGoesToItsAuthorizationServerOnly(t *testing.T) {
	for name, grant := range map[string]func(account) oauth.Grant{"browser": nil, "machine": asItself} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.clients["registered"] = true
			_, err := w.client(options{clientID: "registered", secret: "s3cret", grant: grant, issuer: "https://id.example.com"}).connect(t.Context())
			require.ErrorContains(t, err, "another authorization server")
			assert.Empty(t, w.opened())
			assert.Empty(t, w.tokenForms)

			w.connected(options{clientID: "registered", grant: grant, issuer: w.url + "/"})
		})
	}
	t.Setenv("MCP_CLIENT_SECRET", "s3cret")
	assert.ErrorContains(t, run(t.Context(), []string{"-client-id", "registered", "https://mcp.example.com/mcp"}), "-issuer")
}

func TestClientNeedsAWayToSignIn(t *testing.T) {
	_, err := newClient("https://mcp.example.com/mcp", options{})
	assert.ErrorContains(t, err, "neither a browser nor a grant")
	_, err = newClient("mcp", options{browser: headless})
	assert.ErrorContains(t, err, "cannot be read")
	assert.False(t, errors.Is(err, reauth.ErrSignInRequired))
}
