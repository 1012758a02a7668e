package reauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// sees is what a caller sees of a fault, in the words of docs/faults.md.
var sees = map[string]func(t *testing.T, w *faultWorld, status int, err error){
	"its answer": func(t *testing.T, _ *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
	},
	"the 401": func(t *testing.T, _ *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	},
	"the API's answer": func(t *testing.T, w *faultWorld, status int, err error) {
		assert.NoError(t, err)
		assert.Equal(t, w.answer, status)
		assert.Zero(t, w.server.Counts().Refreshes)
	},
	"the base transport's error": func(t *testing.T, _ *faultWorld, _ int, err error) {
		require.Error(t, err)
		_, isRefreshError := errors.AsType[*reauth.RefreshError](err)
		assert.False(t, isRefreshError)
	},
	"a `*RefreshError`": func(t *testing.T, _ *faultWorld, _ int, err error) {
		temporary(t, err)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
	},
	"a `*RefreshError` with `RetryAfter`": func(t *testing.T, _ *faultWorld, _ int, err error) {
		assert.Equal(t, time.Second, temporary(t, err).RetryAfter)
	},
	"`ErrSignInRequired`": func(t *testing.T, _ *faultWorld, _ int, err error) {
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	},
}

// A faultWorld is a server, a store and a Transport whose access token has just expired.
// They speak HTTP over pipes, in virtual time.
type faultWorld struct {
	server *reauthtest.Server
	store  *testworld.FaultyStore
	cfg    reauth.Config
	body   io.Reader // of the request; nil: a GET
	answer int       // the status of the API's answers
	cold   bool      // the store is first read once the fault is there
	end    func()    // ends the fault
}

// An arrange lets a fault happen. It uses the world's own server, or puts another one
// there.
type arrange func(*testing.T, *faultWorld)

func failRefresh(f reauthtest.Failure) arrange {
	return func(_ *testing.T, w *faultWorld) {
		w.server.FailRefresh(f, -1)
		w.end = func() { w.server.FailRefresh(f, 0) }
	}
}

func failAPI(f reauthtest.Failure) arrange {
	return func(_ *testing.T, w *faultWorld) {
		w.answer = f.Status
		w.server.FailAPI(f, -1)
		w.end = func() { w.server.FailAPI(f, 0) }
	}
}

func failStore(call string) arrange {
	return func(_ *testing.T, w *faultWorld) {
		w.store.Fail(call)
		w.cold = call == "Load"
		w.end = func() { w.store.On(nil) }
	}
}

// failToken replaces the client that reaches the token server, until the fault ends.
func failToken(fails func(base http.RoundTripper) http.RoundTripper) arrange {
	return func(_ *testing.T, w *faultWorld) {
		over := false
		base := http.RoundTripper(w.server.Transport())
		broken := fails(base)
		w.cfg.Refresher = &oauth.Refresher{TokenURL: w.server.TokenURL(), Client: &http.Client{
			Transport: testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				if over {
					return base.RoundTrip(req)
				}
				return broken.RoundTrip(req)
			}),
		}}
		w.cfg.RefreshTimeout = time.Second
		w.end = func() { over = true }
	}
}

// lost are the ways in which the answer of a token server is lost that has done what
// it was asked for.
var lost = map[string]func(*http.Request) (*http.Response, error){
	"its connection breaks": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	"no answer": func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	},
	"500":      func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 500, ""), nil },
	"502":      func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 502, ""), nil },
	"503":      func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 503, ""), nil },
	"no token": func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 200, noToken.Body), nil },
	"broken JSON": func(req *http.Request) (*http.Response, error) {
		return testworld.Respond(req, 200, reauthtest.BrokenAnswer.Body), nil
	},
}

var jsonType = http.Header{"Content-Type": {"application/json"}}

var noToken = reauthtest.Failure{Status: http.StatusOK, Header: jsonType, Body: `{"token_type":"Bearer"}`}

func lose(answer func(*http.Request) (*http.Response, error)) arrange {
	return failToken(func(base http.RoundTripper) http.RoundTripper {
		return testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				return nil, errors.New("the server has not refreshed")
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			return answer(req)
		})
	})
}

// TestFaults is the table in docs/faults.md: what the caller sees, and what becomes of
// the session.
func TestFaults(t *testing.T) {
	takenAgain, notTakenAgain := make(map[string]arrange), make(map[string]arrange)
	for name, answer := range lost {
		takenAgain[name] = func(t *testing.T, w *faultWorld) {
			w.server = reauthtest.NewPipeServer(t, reauthtest.Options{ReuseInterval: time.Minute})
			w.cfg.Origins, w.cfg.Base = []string{w.server.URL}, w.server.Transport()
			lose(answer)(t, w)
		}
		notTakenAgain[name] = func(t *testing.T, w *faultWorld) {
			lose(answer)(t, w)
			tr, err := reauth.New(w.cfg)
			require.NoError(t, err)
			tok := reauth.Token(w.server.SignIn("ann"))
			require.NoError(t, tr.SignIn(t.Context(), tok))
			_, err = tr.Refresh(t.Context(), tok)
			sees["a `*RefreshError`"](t, w, 0, err) // the first time it is a temporary fault
			w.end()
		}
	}
	only := func(f arrange) map[string]arrange { return map[string]arrange{"": f} }
	status := func(codes ...int) map[string]arrange {
		ways := make(map[string]arrange)
		for _, code := range codes {
			ways[http.StatusText(code)] = failRefresh(reauthtest.Failure{Status: code})
		}
		return ways
	}
	const kept, gone = "kept", "signed out"
	cases := []struct {
		fault   string
		sees    string
		session string
		ways    map[string]arrange
	}{
		{"the API refuses the access token, or it has expired", "its answer", kept, only(func(*testing.T, *faultWorld) {})},
		{"the token server is down", "a `*RefreshError`", kept, only(failToken(func(http.RoundTripper) http.RoundTripper {
			return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}}
		}))},
		{"the token server's connection breaks before it has refreshed", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Drop))},
		{"the token server does not answer within `RefreshTimeout`, and has not refreshed", "a `*RefreshError`", kept, only(func(_ *testing.T, w *faultWorld) {
			w.server.FailRefresh(reauthtest.Hang, 1) // released late it would be a refresh whose answer is lost
		})},
		{"the token server answers 500, 502 or 503, and has not refreshed", "a `*RefreshError`", kept, status(500, 502, 503)},
		{"the token server's answer has no token, or is broken JSON, and it has not refreshed", "a `*RefreshError`", kept, map[string]arrange{
			"no token": failRefresh(noToken), "broken JSON": failRefresh(reauthtest.BrokenAnswer),
		}},
		{"one of these four after it has refreshed, and it accepts the old token again", "a `*RefreshError`", kept, takenAgain},
		{"one of these four after it has refreshed, and it does not accept the old token: the next attempt", "`ErrSignInRequired`", gone, notTakenAgain},
		{"the token server answers 429 with `Retry-After`", "a `*RefreshError` with `RetryAfter`", kept, only(failRefresh(reauthtest.Failure{
			Status: http.StatusTooManyRequests, RetryAfter: time.Second,
		}))},
		{"a firewall answers 403 in place of the token server", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Failure{
			Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<h1>Forbidden</h1>",
		}))},
		{"the token server redirects to another host", "a `*RefreshError`", kept, only(func(t *testing.T, w *faultWorld) {
			w.server.HandlePublic("stranger.test/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("a token request has reached a stranger")
			}))
			failRefresh(reauthtest.Failure{
				Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://stranger.test/"}}, Body: "-",
			})(t, w)
		})},
		{"the token server does not know the client (`invalid_client`)", "a `*RefreshError`", kept, only(failRefresh(reauthtest.Failure{Code: "invalid_client"}))},
		{"the token server refuses the refresh token (`invalid_grant`)", "`ErrSignInRequired`", gone, only(failRefresh(reauthtest.Failure{Code: "invalid_grant"}))},
		{"the token server refuses the refresh token with 200 and an `error` member", "`ErrSignInRequired`", gone, only(failRefresh(reauthtest.Failure{
			Status: http.StatusOK, Header: jsonType, Body: `{"error":"invalid_grant"}`,
		}))},
		{"the API refuses every token", "the 401", kept, only(failAPI(reauthtest.Failure{Status: http.StatusUnauthorized}))},
		{"the API requires more rights (`insufficient_scope`), or answers 5xx", "the API's answer", kept, map[string]arrange{
			"401 insufficient_scope": failAPI(reauthtest.Failure{Status: http.StatusUnauthorized, Code: "insufficient_scope"}),
			"403 insufficient_scope": failAPI(reauthtest.Failure{Status: http.StatusForbidden, Code: "insufficient_scope"}),
			"503":                    failAPI(reauthtest.Failure{Status: http.StatusServiceUnavailable}),
		}},
		{"the API's connection breaks", "the base transport's error", kept, only(failAPI(reauthtest.Drop))},
		{"the API refuses a request whose body cannot be sent twice", "the 401", kept, only(func(_ *testing.T, w *faultWorld) {
			w.cfg.ReplayBuffer = -1
			w.body = struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1000))}
		})},
		{"the store cannot be read", "a `*RefreshError`", kept, only(failStore("Load"))},
		{"the store cannot be locked", "a `*RefreshError`", kept, only(failStore("Lock"))},
		{"the store does not accept the new token, whose save is then pending", "its answer", kept, only(failStore("Save"))},
	}
	for _, c := range cases {
		t.Run(c.fault, func(t *testing.T) {
			for way, arrange := range c.ways {
				t.Run(way, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { live(t, arrange, c.sees, c.session == kept) })
				})
			}
		})
	}
	t.Run("AsTheTableSays", func(t *testing.T) {
		var rows []string
		for _, c := range cases {
			rows = append(rows, "| "+c.fault+" | "+c.sees+" | "+c.session+" |")
		}
		page, err := os.ReadFile("docs/faults.md")
		require.NoError(t, err)
		table := regexp.MustCompile(`(?m)^\| failure \|.*\n\| ---.*\n((?:\|.*\n)+)`).FindSubmatch(page)
		require.NotNil(t, table)
		assert.Equal(t, rows, strings.Split(strings.TrimSpace(string(table[1])), "\n"))
	})
}

// live lets a fault happen, and looks at what comes of it.
func live(t *testing.T, arrange arrange, seen string, kept bool) {
	server := reauthtest.NewPipeServer(t, reauthtest.Options{})
	w := &faultWorld{server: server, store: new(testworld.FaultyStore), end: func() {}}
	w.cfg = reauth.Config{
		Refresher:    &oauth.Refresher{TokenURL: server.TokenURL(), Client: server.Client()},
		Origins:      []string{server.URL},
		Base:         server.Transport(),
		Store:        w.store,
		RefreshPause: time.Nanosecond,
	}
	seed, err := reauth.New(w.cfg)
	require.NoError(t, err)
	require.NoError(t, seed.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	arrange(t, w)
	tr, err := reauth.New(w.cfg)
	require.NoError(t, err)
	if w.server != server {
		require.NoError(t, tr.SignIn(t.Context(), reauth.Token(w.server.SignIn("ann"))))
	} else if !w.cold {
		_, err = tr.Token(t.Context())
		require.NoError(t, err)
	}
	w.server.ExpireAccess()

	method := http.MethodGet
	if w.body != nil {
		method = http.MethodPost
	}
	status := 0
	resp, err := tr.RoundTrip(testworld.Request(t, method, w.server.APIURL("/"), w.body))
	if err == nil {
		status = resp.StatusCode
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	sees[seen](t, w, status, err)

	w.end()
	signedIn, err := tr.SignedIn(t.Context())
	require.NoError(t, err)
	assert.Equal(t, kept, signedIn)
	if kept {
		time.Sleep(time.Second) // the pause after a failure
		status, err := fetch(t.Context(), tr, w.server.APIURL("/"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status, "requests work again")
	}
	require.NoError(t, tr.Wait(t.Context()))
	tok, ok := w.store.Stored(t, "")
	assert.Equal(t, kept, ok, "whether the store has a token")
	if ok {
		current, err := tr.Token(t.Context())
		require.NoError(t, err)
		assert.True(t, current.AccessToken == tok.AccessToken, "the store has the current token")
	}
}
