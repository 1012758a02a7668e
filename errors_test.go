package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

func TestRefreshErrorText(t *testing.T) {
	for want, err := range map[string]*reauth.RefreshError{
		`reauth: refresh failed`:                            {},
		`reauth: session "a\nb": refresh failed`:            {Session: "a\nb"},
		`reauth: it broke`:                                  {Err: errors.New("it broke")},
		`reauth: it broke, twice`:                           {Err: errors.New("reauth: it broke, twice")},
		`reauth: token server answered 503: refresh failed`: {StatusCode: 503},
		`reauth: session "ann": token server answered 400 invalid_grant: sign-in required`: {Session: "ann", StatusCode: 400, Code: "invalid_grant", Err: reauth.ErrSignInRequired},
		`reauth: refresh failed, though it has a code`:                                     {Code: "c", Err: errors.New("refresh failed, though it has a code")},
	} {
		assert.EqualError(t, err, want)
		assert.Equal(t, err.Err, errors.Unwrap(err))
	}
}

// An error says once that it is of this package, and once what the token server answered.
func TestTextOfARefresherThatFails(t *testing.T) {
	unavailable := &reauth.RefreshError{StatusCode: 503, Err: errors.New("the session is kept")}
	for want, err := range map[string]error{
		"reauth: the refresher: it broke":                                 errors.New("it broke"),
		"reauth: the refresher: POST https://id.test: it broke":           errors.New("reauth: POST https://id.test: it broke"),
		"reauth: the refresher: it broke, too":                            &reauth.RefreshError{Err: errors.New("reauth: it broke, too")},
		"reauth: the refresher: refresh failed":                           &reauth.RefreshError{},
		"reauth: token server answered 503: the session is kept":          unavailable,
		"reauth: token server answered 503: gateway: the session is kept": fmt.Errorf("gateway: %w", unavailable),
		"reauth: token server answered 400 c: gone: sign-in required":     &reauth.RefreshError{StatusCode: 400, Code: "c", Err: fmt.Errorf("gone: %w", reauth.ErrSignInRequired)},
		"reauth: token server answered 500: refresh failed":               &reauth.RefreshError{Session: "other", StatusCode: 500},
		"reauth: the refresher: gateway: it broke again":                  fmt.Errorf("gateway: %w", &reauth.RefreshError{Session: "other", Err: errors.New("it broke again")}),
		"reauth: the refresher: sign-in required":                         reauth.ErrSignInRequired,
	} {
		testworld.Case(t, want, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(err))
			_, got := w.Get(t.Context())
			assert.EqualError(t, got, want)
			assert.ErrorIs(t, got, err)
		})
	}
}

func TestTextOfAMethodWhoseStoreFails(t *testing.T) {
	for _, tc := range []struct {
		call, method, want string
	}{
		{"Lock", "SignIn", "reauth: SignIn: lock: it broke"},
		{"Save", "SignIn", "reauth: SignIn: the store's Save: it broke"},
		{"Delete", "SignOut", "reauth: SignOut: the store's Delete: it broke"},
		{"Load", "SignedIn", "reauth: SignedIn: the store's Load: it broke"},
		{"Load", "a request", "reauth: the store's Load: it broke"},
	} {
		testworld.Case(t, tc.call+"/"+tc.method, func(t *testing.T, w *testworld.World) {
			w.Store.Put(t, w.Issue())
			w.Store.OnCall(tc.call, func(context.Context) error { return errors.New("reauth: it broke") })
			assert.EqualError(t, calls[tc.method](t.Context(), w.Transport), tc.want)
			w.Store.On(nil)
		})
	}
}

// Only the Refresher's own word is final. Its client may have run into a session of its
// own that needs a sign-in.
func TestWhoseSignInIsRequired(t *testing.T) {
	other := &reauth.RefreshError{Session: "other", Err: reauth.ErrSignInRequired}
	for name, tc := range map[string]struct {
		err   error
		final bool
	}{
		"the Refresher's":                     {reauth.ErrSignInRequired, true},
		"wrapped":                             {fmt.Errorf("revoked: %w", reauth.ErrSignInRequired), true},
		"in a *RefreshError":                  {other, true},
		"joined":                              {errors.Join(testworld.ErrFault, reauth.ErrSignInRequired), true},
		"of a type with Is":                   {isSignInRequired{}, true},
		"below a *url.Error":                  {&url.Error{Op: "Post", URL: "https://id.test", Err: other}, false},
		"below a wrapped *url.Error":          {fmt.Errorf("token server: %w", &url.Error{Op: "Post", URL: "https://id.test", Err: other}), false},
		"below a *url.Error that is joined":   {errors.Join(testworld.ErrFault, &url.Error{Op: "Post", URL: "https://id.test", Err: other}), false},
		"beside a *url.Error":                 {errors.Join(reauth.ErrSignInRequired, &url.Error{Op: "Post", URL: "https://id.test", Err: testworld.ErrFault}), true},
		"nowhere, with a type that has an Is": {isNothing{}, false},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			w.Revoke()
			w.Answer(testworld.Failing(tc.err))
			_, err := w.Get(t.Context())
			_, stored := w.Store.Stored(t, "")
			assert.Equal(t, !tc.final, stored)
			if tc.final {
				assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			} else {
				temporary(t, err)
				time.Sleep(time.Second)
				w.MustGet(t, http.StatusOK)
			}
		})
	}
}

type isSignInRequired struct{}

func (isSignInRequired) Error() string        { return "signed out" }
func (isSignInRequired) Is(target error) bool { return target == reauth.ErrSignInRequired }

type isNothing struct{}

func (isNothing) Error() string   { return "nothing" }
func (isNothing) Is(error) bool   { return false }
func (isNothing) Unwrap() []error { return nil }

func TestRefresherWhoseClientIsSignedOutSignsNobodyOut(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		gateway := testworld.New(t) // through which the token server is reached; nobody is signed in
		client := &http.Client{Transport: gateway.Transport}
		w.SignIn(t)
		w.Revoke()
		w.Answer(func(ctx context.Context) (reauth.Token, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, testworld.APIURL, nil)
			require.NoError(t, err)
			_, err = client.Do(req)
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			return reauth.Token{}, err
		})
		_, err := w.Get(t.Context())
		temporary(t, err)
		_, ok := w.Store.Stored(t, "")
		assert.True(t, ok)
		assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
		time.Sleep(time.Second)
		w.MustGet(t, http.StatusOK)
	})
}

// A remoteStore keeps tokens with a server that itself is reached through a Transport.
// Each call sends a request there first.
type remoteStore struct {
	reauth.MemoryStore
	client *reauth.Transport
	on     atomic.Value // a string: the call that sends one
}

func (s *remoteStore) ask(ctx context.Context, call string) error {
	if call != s.on.Load() {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, testworld.APIURL, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (s *remoteStore) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if err := s.ask(ctx, "Load"); err != nil {
		return reauth.Token{}, false, err
	}
	return s.MemoryStore.Load(ctx, session)
}

func (s *remoteStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.ask(ctx, "Save"); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *remoteStore) Delete(ctx context.Context, session string) error {
	if err := s.ask(ctx, "Delete"); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}

func (s *remoteStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if err := s.ask(ctx, "Lock"); err != nil {
		return nil, nil, err
	}
	return s.MemoryStore.Lock(ctx, session)
}

// A store's own sign-in says nothing about the session that it keeps.
func TestStoreThatNeedsASignInItself(t *testing.T) {
	for _, call := range []string{"Load", "Lock", "Save", "Delete"} {
		t.Run(call, func(t *testing.T) {
			store := new(remoteStore)
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				store.client = testworld.New(t).Transport // nobody is signed in there
				tok := w.Issue()
				require.NoError(t, store.MemoryStore.Save(t.Context(), "", tok))
				if call != "Load" {
					w.MustGet(t, http.StatusOK)
				}
				store.on.Store(call)
				w.Revoke()
				if call == "Delete" {
					w.Answer(testworld.Failing(reauth.ErrSignInRequired))
					err := w.Transport.SignOut(t.Context())
					require.ErrorContains(t, err, "reauth: SignOut: ")
					require.NotErrorIs(t, err, reauth.ErrSignInRequired)
					return
				}
				_, err := w.Get(t.Context())
				if call == "Save" {
					require.NoError(t, err, "the save is pending")
					assert.Equal(t, 1, w.Events.Count(reauth.EventSaveFailed))
				} else {
					temporary(t, err)
					signIn := w.Transport.SignIn(t.Context(), w.Issue())
					if call == "Lock" {
						require.Error(t, signIn)
						require.NotErrorIs(t, signIn, reauth.ErrSignInRequired)
					}
				}
				assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
				_, ok, err := store.MemoryStore.Load(t.Context(), "")
				require.NoError(t, err)
				assert.True(t, ok, "nothing is deleted")
				store.on.Store("")
				time.Sleep(5 * time.Second)
				w.MustGet(t, http.StatusOK)
				require.NoError(t, w.Transport.Wait(t.Context()))
			}, func(c *reauth.Config, _ *testworld.World) { c.Store = store })
		})
	}
}

// In the store's own Transport somebody signs in while the store waits for a refresh
// there. Its error must not pass for one about the session that the store keeps.
func TestStoreWhoseOwnSessionIsReplacedMeanwhile(t *testing.T) {
	for _, call := range []string{"Load", "Lock", "Save"} {
		for name, turn := range map[string]func(*testing.T, *testworld.World){
			"SignIn":  func(t *testing.T, w *testworld.World) { w.SignIn(t) },
			"SignOut": func(t *testing.T, w *testworld.World) { require.NoError(t, w.Transport.SignOut(t.Context())) },
		} {
			t.Run(call+"/"+name, func(t *testing.T) {
				store := new(remoteStore)
				testworld.Run(t, func(t *testing.T, w *testworld.World) {
					inner := testworld.New(t)
					inner.Gate = make(chan struct{})
					inner.SignIn(t)
					inner.Revoke()
					store.client = inner.Transport
					require.NoError(t, store.MemoryStore.Save(t.Context(), "", w.Issue()))
					if call != "Load" {
						w.MustGet(t, http.StatusOK)
					}
					store.on.Store(call)
					w.Revoke()

					outer := w.Start(t.Context()) // waits for a refresh of the store's own session
					turn(t, inner)
					synctest.Wait()

					got := <-outer
					if call == "Save" {
						require.NoError(t, got.Err, "the save is pending")
					} else {
						temporary(t, got.Err)
						assert.Zero(t, got.Took)
					}
					close(inner.Gate)
					store.on.Store("")
					time.Sleep(5 * time.Second)
					w.MustGet(t, http.StatusOK)
					require.NoError(t, w.Transport.Wait(t.Context()))
					assert.Equal(t, 1, w.Refreshes())
					assert.Zero(t, w.Events.Count(reauth.EventSignInRequired))
				}, func(c *reauth.Config, _ *testworld.World) { c.Store = store })
			})
		}
	}
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
