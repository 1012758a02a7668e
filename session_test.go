package reauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// methods are those of a Transport that act on the session which the context picks, and
// of a Session.
type methods interface {
	http.RoundTripper
	SignIn(context.Context, reauth.Token) error
	SignOut(context.Context) error
	SignedIn(context.Context) (bool, error)
	Token(context.Context) (reauth.Token, error)
	Refresh(context.Context, reauth.Token) (reauth.Token, error)
}

// calls call each method once, and return the name of the session in their error.
var calls = map[string]func(context.Context, methods) error{
	"SignIn":   func(ctx context.Context, m methods) error { return m.SignIn(ctx, reauth.Token{AccessToken: "a"}) },
	"SignOut":  func(ctx context.Context, m methods) error { return m.SignOut(ctx) },
	"SignedIn": func(ctx context.Context, m methods) error { _, err := m.SignedIn(ctx); return err },
	"Token":    func(ctx context.Context, m methods) error { _, err := m.Token(ctx); return err },
	"Refresh":  func(ctx context.Context, m methods) error { _, err := m.Refresh(ctx, reauth.Token{}); return err },
	"a request": func(ctx context.Context, m methods) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, testworld.APIURL, nil)
		if err != nil {
			return err
		}
		resp, err := m.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	},
}

func TestWhichSessionIsUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		methods func(*reauth.Transport) methods
		picked  string // by the context
		want    string
	}{
		"a Transport's, by the context":   {func(tr *reauth.Transport) methods { return tr }, "ann", "ann"},
		"a Transport's, without one":      {func(tr *reauth.Transport) methods { return tr }, "", ""},
		"a Session's":                     {func(tr *reauth.Transport) methods { return tr.Session("ann") }, "", "ann"},
		"a Session's over the context's":  {func(tr *reauth.Transport) methods { return tr.Session("ann") }, "bob", "ann"},
		"the empty Session's":             {func(tr *reauth.Transport) methods { return tr.Session("") }, "bob", ""},
		"a Session's that is wrapped":     {func(tr *reauth.Transport) methods { return tr.Session("ann").Wrap(still).(methods) }, "bob", "ann"},
		"a Transport's that is wrapped":   {func(tr *reauth.Transport) methods { return tr.Wrap(still).(methods) }, "bob", "bob"},
		"the last of two WithSession":     {func(tr *reauth.Transport) methods { return tr }, "bob", "bob"},
		"of a name that is not printable": {func(tr *reauth.Transport) methods { return tr.Session("\x00ü") }, "bob", "\x00ü"},
	} {
		for call, f := range calls {
			t.Run(name+"/"+call, func(t *testing.T) {
				used := map[string]bool{}
				testworld.Run(t, func(t *testing.T, w *testworld.World) {
					w.Store.Fail()
					ctx := reauth.WithSession(reauth.WithSession(t.Context(), "eve"), tc.picked)
					assert.Equal(t, tc.picked, reauth.SessionFromContext(ctx))
					err := f(ctx, tc.methods(w.Transport))
					require.ErrorIs(t, err, testworld.ErrFault)
					if tc.want != "" {
						assert.ErrorContains(t, err, fmt.Sprintf("session %q", tc.want))
					}
				}, func(c *reauth.Config, _ *testworld.World) { c.Store = named{c.Store, used} })
				assert.Equal(t, map[string]bool{tc.want: true}, used)
			})
		}
	}
}

// named notes the sessions that a store is asked for.
type named struct {
	reauth.Store
	used map[string]bool
}

func (n named) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	n.used[session] = true
	return n.Store.Load(ctx, session)
}

func (n named) Save(ctx context.Context, session string, tok reauth.Token) error {
	n.used[session] = true
	return n.Store.Save(ctx, session, tok)
}

func (n named) Delete(ctx context.Context, session string) error {
	n.used[session] = true
	return n.Store.Delete(ctx, session)
}

func TestMethodsOfATransportAreThoseOfASession(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ctx, ann := reauth.WithSession(t.Context(), "ann"), w.Transport.Session("ann")
		assert.Equal(t, "ann", ann.Name())
		assert.Empty(t, w.Transport.Session("").Name())
		signedIn := func(want bool) {
			for _, m := range []methods{w.Transport, ann, w.Transport.Session("ann")} {
				got, err := m.SignedIn(ctx)
				require.NoError(t, err)
				assert.Equal(t, want, got)
			}
		}
		for _, m := range [][2]methods{{w.Transport, ann}, {ann, w.Transport}} {
			signedIn(false)
			tok := w.Issue()
			require.NoError(t, m[0].SignIn(ctx, tok))
			signedIn(true)
			got, err := m[1].Token(ctx)
			require.NoError(t, err)
			assert.NotEmpty(t, got.SignInID)
			tok.SignInID = got.SignInID
			assert.Equal(t, tok, got)
			got, err = m[0].Refresh(ctx, tok)
			require.NoError(t, err)
			assert.NotEqual(t, tok, got)
			again, err := m[1].Refresh(ctx, tok)
			require.NoError(t, err)
			assert.Equal(t, got, again)
			require.NoError(t, calls["a request"](ctx, m[0]))
			require.NoError(t, m[0].SignOut(ctx))
			signedIn(false)
		}
		got, err := w.Transport.SignedIn(t.Context())
		require.NoError(t, err)
		assert.False(t, got, "another session")
	})
}

func TestWrapSharesTheSessions(t *testing.T) {
	wraps := map[string]func(*reauth.Transport, http.RoundTripper) http.RoundTripper{
		"Transport": (*reauth.Transport).Wrap,
		"Session": func(tr *reauth.Transport, base http.RoundTripper) http.RoundTripper {
			return tr.Session("").Wrap(base)
		},
	}
	for name, wrap := range wraps {
		for _, reversed := range []bool{false, true} {
			testworld.Case(t, fmt.Sprintf("%s/reversed=%t", name, reversed), func(t *testing.T, w *testworld.World) {
				elsewhere := &testworld.API{Authority: w.Authority}
				wrapped := wrap(w.Transport, elsewhere)
				send := func(rt http.RoundTripper) {
					t.Helper()
					resp, err := rt.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, resp.StatusCode)
				}
				first, second := http.RoundTripper(w.Transport), wrapped
				if reversed {
					first, second = wrapped, w.Transport
				}
				require.NoError(t, first.(methods).SignIn(t.Context(), w.Issue()))
				send(second)
				w.Revoke()
				send(first) // refreshes
				send(second)
				assert.Equal(t, 1, w.Refreshes())
				require.NoError(t, second.(methods).SignOut(t.Context()))
				signedIn, err := first.(methods).SignedIn(t.Context())
				require.NoError(t, err)
				assert.False(t, signedIn)

				for _, api := range []*testworld.API{w.API, elsewhere} {
					assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-2"}, api.Tokens())
				}
			})
		}
	}
}

func TestWrapKeepsTheSettings(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		over := &testworld.API{Authority: w.Authority}
		for _, rt := range []http.RoundTripper{w.Transport.Wrap(over), w.Transport.Session("ann").Wrap(over)} {
			resp, err := rt.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		}
		assert.Zero(t, w.API.Requests())
		assert.Equal(t, 2, over.Requests())
	}, anonymous)
}

// idle counts the calls of CloseIdleConnections.
type idle struct {
	http.RoundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestBaseTransportShowsThrough(t *testing.T) {
	base, over := &idle{RoundTripper: still}, &idle{RoundTripper: still}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		type wrapper interface {
			WrappedRoundTripper() http.RoundTripper
			CloseIdleConnections()
			Wrap(http.RoundTripper) http.RoundTripper
		}
		for i, rt := range []wrapper{w.Transport, w.Transport.Session("ann")} {
			assert.Same(t, base, rt.WrappedRoundTripper())
			wrapped := rt.Wrap(over).(wrapper)
			assert.Same(t, over, wrapped.WrappedRoundTripper())
			assert.Same(t, http.DefaultTransport, rt.Wrap(nil).(wrapper).WrappedRoundTripper())
			(&http.Client{Transport: rt.(http.RoundTripper)}).CloseIdleConnections()
			assert.Equal(t, []int{i + 1, i}, []int{base.closed, over.closed})
			wrapped.CloseIdleConnections()
			assert.Equal(t, []int{i + 1, i + 1}, []int{base.closed, over.closed})
			assert.NotPanics(t, rt.Wrap(still).(wrapper).CloseIdleConnections, "a base that has none to close")
		}
	}, func(c *reauth.Config, _ *testworld.World) { c.Base = base })
}

func TestPrintingShowsNoToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ctx := reauth.WithSession(t.Context(), "ann")
		require.NoError(t, w.Transport.SignIn(ctx, w.Issue()))
		for _, verb := range strings.Fields("%v %+v %#v %s %q %d %x") {
			assert.Equal(t, "*reauth.Transport", fmt.Sprintf(verb, w.Transport))
			assert.Equal(t, `*reauth.Session "ann"`, fmt.Sprintf(verb, w.Transport.Session("ann")))
		}
	})
}

func requireSession(c *reauth.Config, _ *testworld.World) { c.RequireSession = true }

func TestRequireSession(t *testing.T) {
	const want = "reauth: neither WithSession nor Transport.Session names a session, and Config.RequireSession is set"
	for name, call := range calls {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			for _, m := range []methods{w.Transport, w.Transport.Session(""), w.Transport.Wrap(w.API).(methods)} {
				assert.EqualError(t, call(t.Context(), m), want)
				assert.EqualError(t, call(reauth.WithSession(t.Context(), ""), m), want)
			}
			assert.EqualError(t, call(reauth.WithSession(t.Context(), "ann"), w.Transport.Session("")), want)
			assert.Zero(t, w.Store.Count("Load")+w.Store.Count("Save")+w.Store.Count("Delete")+w.Store.Count("Lock"))
			assert.Zero(t, w.API.Requests())
			assert.Zero(t, w.Refreshes())

			for _, m := range []methods{w.Transport, w.Transport.Session("ann")} {
				ctx := reauth.WithSession(t.Context(), "ann")
				require.NoError(t, m.SignIn(ctx, w.Issue()))
				assert.NoError(t, call(ctx, m))
			}
		}, requireSession)
	}
}

func TestRequireSessionClosesTheBody(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		body := testworld.NewBody(t, strings.NewReader("content"))
		_, err := w.Do(testworld.Request(t, http.MethodPost, testworld.APIURL, body))
		require.Error(t, err)
		assert.True(t, body.IsClosed())
	}, requireSession)
}

func TestRequireSessionLeavesRequestsAloneThatNeedNoToken(t *testing.T) {
	for name, change := range passing {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.Everybody()
			status, err := w.Do(change(testworld.Request(t, http.MethodGet, testworld.APIURL, nil)))
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
		}, requireSession)
	}
}

func TestSessionInTheContextOfARefresherIsTheOneThatIsRefreshed(t *testing.T) {
	var sessions []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ann := w.Transport.Session("ann")
		require.NoError(t, ann.SignIn(t.Context(), reauth.Token{RefreshToken: "r"}))
		_, err := ann.Token(reauth.WithSession(t.Context(), "bob"))
		require.NoError(t, err)
		require.NoError(t, ann.SignOut(reauth.WithSession(t.Context(), "bob")))
		assert.Equal(t, []string{"ann", "ann"}, sessions)
	}, func(c *reauth.Config, w *testworld.World) { c.Refresher = noting{w.Authority, &sessions} })
}

// noting notes the sessions of the contexts that a Refresher and Revoker is given.
type noting struct {
	reauth.Refresher
	sessions *[]string
}

func (n noting) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	*n.sessions = append(*n.sessions, reauth.SessionFromContext(ctx))
	return n.Refresher.Refresh(ctx, old)
}

func (n noting) Revoke(ctx context.Context, _ reauth.Token) error {
	*n.sessions = append(*n.sessions, reauth.SessionFromContext(ctx))
	return nil
}

func TestWithoutAuthAndWithSessionCombine(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ann := w.Transport.Session("ann")
		require.NoError(t, ann.SignIn(t.Context(), w.Issue()))
		for _, ctx := range []context.Context{
			reauth.WithoutAuth(reauth.WithSession(t.Context(), "ann")), reauth.WithSession(reauth.WithoutAuth(t.Context()), "ann"),
		} {
			assert.Equal(t, "ann", reauth.SessionFromContext(ctx))
			status, err := w.Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, status)
		}
		require.NoError(t, calls["a request"](reauth.WithoutAuth(t.Context()), ann), "a Session leaves them alone too")
		assert.Equal(t, make([]string, 3), w.API.Tokens())
		_, err := w.Transport.Token(reauth.WithSession(reauth.WithoutAuth(t.Context()), "ann"))
		assert.NoError(t, err, "it is about requests alone")
	})
}

func TestTokenIsUsableAndTellsItsExpiry(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Lifetime = time.Minute
		w.SignIn(t)
		time.Sleep(2 * time.Minute)
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "secret-access-2", tok.AccessToken)
		assert.Equal(t, time.Minute, time.Until(tok.Expiry))
	})
}

func TestTransportAndSessionAreRefreshers(t *testing.T) {
	for name, refresher := range map[string]func(*reauth.Transport) reauth.Refresher{
		"Transport": func(tr *reauth.Transport) reauth.Refresher { return tr },
		"Session":   func(tr *reauth.Transport) reauth.Refresher { return tr.Session("") },
	} {
		testworld.Case(t, name, func(t *testing.T, inner *testworld.World) {
			inner.SignIn(t)
			outer := testworld.New(t, func(c *reauth.Config, _ *testworld.World) {
				c.Refresher, c.Base = refresher(inner.Transport), inner.API
			})
			outer.MustGet(t, http.StatusOK)
			inner.Revoke()
			time.Sleep(5 * time.Second) // the result of a refresh is not refreshed sooner
			outer.MustGet(t, http.StatusOK)
			assert.Equal(t, 1, inner.Refreshes())
		})
	}
}

type sessionCredential struct{ seen *[]string }

func (c sessionCredential) Apply(req *http.Request, _ reauth.Token) error {
	*c.seen = append(*c.seen, reauth.SessionFromContext(req.Context()))
	return nil
}

func TestTheContextNamesTheSessionOfAHandle(t *testing.T) {
	var seen []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ctx := reauth.WithSession(t.Context(), "bob")
		ann := w.Transport.Session("ann")
		w.Events.On(func(ctx context.Context, e reauth.Event) { seen = append(seen, reauth.SessionFromContext(ctx)) })
		w.Store.On(func(ctx context.Context, _ string) error {
			seen = append(seen, reauth.SessionFromContext(ctx))
			return nil
		})
		require.NoError(t, ann.SignIn(ctx, w.IssueFor("ann")))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, testworld.APIURL, nil)
		require.NoError(t, err)
		resp, err := ann.RoundTrip(req)
		require.NoError(t, err)
		assert.Same(t, req, resp.Request)
		w.Revoke()
		_, err = ann.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, ann.SignOut(ctx))
		for _, name := range seen {
			assert.Equal(t, "ann", name)
		}
		assert.Greater(t, len(seen), 8)
	}, func(c *reauth.Config, _ *testworld.World) { c.Credential = sessionCredential{&seen} })
}

// A context whose type can't be compared.
type oddContext struct {
	context.Context
	_ []int
}

func TestAContextNeedNotBeComparable(t *testing.T) {
	var seen []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		ctx := oddContext{Context: reauth.WithSession(t.Context(), "ann")}
		ann := w.Transport.Session("ann")
		require.NoError(t, ann.SignIn(ctx, w.IssueFor("ann")))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, testworld.APIURL, nil)
		require.NoError(t, err)
		_, err = ann.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, []string{"ann", "ann"}, seen, "and again in the replay of a refusal")
	}, func(c *reauth.Config, _ *testworld.World) { c.Credential = sessionCredential{&seen} })
}
