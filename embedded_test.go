package reauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

func TestAHandlerThatSignsInAndPanicsDoesNotTouchTheNewSession(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"after an early refresh": 100 * time.Second, "after one that was needed": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tr *reauth.Transport
				failed := 0
				tr, err := reauth.New(reauth.Config{
					Origins: []string{reauth.AnyOrigin},
					OnEvent: func(ctx context.Context, e reauth.Event) {
						if e.Kind != reauth.EventRefreshFailed {
							return
						}
						if failed++; failed == 1 {
							assert.NoError(t, tr.SignIn(ctx, reauth.Token{RefreshToken: "other"}))
							panic("a handler's fault")
						}
					},
					Refresher: reauth.RefresherFunc(func(_ context.Context, old reauth.Token) (reauth.Token, error) {
						if old.RefreshToken == "other" {
							return reauth.Token{AccessToken: "new"}, nil
						}
						return reauth.Token{}, reauth.ErrSignInRequired
					}),
				})
				require.NoError(t, err)
				require.NoError(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(expiry)}))
				time.Sleep(99 * time.Second)
				_, err = tr.Token(t.Context())
				require.NoError(t, err, "it goes on with the new sign-in")
				require.NoError(t, tr.Wait(t.Context()))
				assert.Equal(t, 1, failed)
				tok, err := tr.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "new", tok.AccessToken)
			})
		})
	}
}

type panickyCredential struct{ reauth.HeaderCredential }

func (c panickyCredential) HeaderValue(tok reauth.Token) (string, error) {
	if strings.HasSuffix(tok.AccessToken, "2") {
		panic("an odd token")
	}
	return c.HeaderCredential.HeaderValue(tok)
}

func TestAPanicInHeaderValueLosesNoToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		w.MustGet(t, http.StatusOK) // by Apply, with the second token
		w.AssertStored(t, "secret-access-2")
		assert.Equal(t, 1, w.MostSpent())
	}, func(c *reauth.Config, _ *testworld.World) { c.Credential = panickyCredential{} })
}

type refresherAndCredential struct {
	reauth.Refresher
	reauth.HeaderCredential
}

func (refresherAndCredential) Validate() error { return nil }

func TestNewTakesAValueThatCannotBeCompared(t *testing.T) {
	both := refresherAndCredential{Refresher: reauth.RefresherFunc(nil)}
	_, err := reauth.New(reauth.Config{Origins: []string{reauth.AnyOrigin}, Refresher: both, Credential: both})
	assert.NoError(t, err)
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

func TestWhatARefreshersOwnErrorSaysOfTheTokenServerStays(t *testing.T) {
	elsewhere := &url.Error{Op: "Post", URL: "https://id.example.com/", Err: reauth.ErrSignInRequired}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.Revoke()
		w.Answer(testworld.Failing(&reauth.RefreshError{StatusCode: 503, RetryAfter: time.Minute, Err: elsewhere}))
		_, err := w.Get(t.Context())
		testworld.AssertTemporary(t, err)
		re, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, 503, re.StatusCode)
		assert.Equal(t, time.Minute, re.RetryAfter)
	})
}
