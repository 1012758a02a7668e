package cookieauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// An api answers each request with what it returns.
type api func(*http.Request) *http.Response

func (f api) RoundTrip(req *http.Request) (*http.Response, error) { return f(req), nil }

// A countingStore counts what is saved.
type countingStore struct {
	reauth.MemoryStore
	saves atomic.Int32
	fails atomic.Bool
}

func (s *countingStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	s.saves.Add(1)
	if s.fails.Load() {
		return errors.New("disk full")
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

// renewing returns a client of the session "ann" whose API is base.
func renewing(t *testing.T, base http.RoundTripper, tok reauth.Token) (*http.Client, *reauth.Session, *countingStore) {
	c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: setting(500).Client()}
	store := new(countingStore)
	tr, err := reauth.New(reauth.Config{Refresher: c, Origins: []string{"https://api.example.com"}, Base: base, Store: store})
	require.NoError(t, err)
	s := tr.Session("ann")
	require.NoError(t, s.SignIn(t.Context(), tok))
	store.saves.Store(0)
	return &http.Client{Transport: c.Renewed(s)}, s, store
}

func get(t *testing.T, client *http.Client) int {
	resp, err := client.Get("https://api.example.com/me")
	require.NoError(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

func TestCookiesThatTheAPISetsRenewTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := time.Now().Add(time.Hour)
		extra := func(access, refresh string) map[string]string {
			return map[string]string{"csrf_access_token": access, "csrf_refresh_token": refresh, "own": "x"}
		}
		before := signedIn()
		before.Expiry, before.RefreshExpiry = hour, hour
		usual := reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1", Expiry: hour, RefreshExpiry: hour, Extra: extra("csrf-access-1", "csrf-refresh-1")}
		for name, tc := range map[string]struct {
			status int
			set    []string
			change func(*reauth.Token) // nil: nothing is stored
		}{
			"nothing":            {200, nil, nil},
			"others":             {200, []string{"theme=dark"}, nil},
			"the same":           {200, []string{"access_token_cookie=access-1; Max-Age=3600", "csrf_access_token=csrf-access-1"}, nil},
			"the same, longer":   {200, []string{"access_token_cookie=access-1; Max-Age=7200"}, func(tok *reauth.Token) { tok.Expiry = hour.Add(time.Hour) }},
			"the same, a little": {200, []string{"access_token_cookie=access-1; Max-Age=3700"}, nil},
			"access":             {204, []string{"access_token_cookie=access-2; Max-Age=60"}, func(tok *reauth.Token) { tok.AccessToken, tok.Expiry = "access-2", time.Now().Add(time.Minute) }},
			"a CSRF value alone": {302, []string{"csrf_access_token=c"}, func(tok *reauth.Token) { tok.Extra = extra("c", "csrf-refresh-1") }},
			"refresh alone":      {200, []string{"refresh_token_cookie=r; Max-Age=60"}, func(tok *reauth.Token) { tok.RefreshToken, tok.RefreshExpiry = "r", time.Now().Add(time.Minute) }},
			"deleted":            {200, []string{"access_token_cookie=; Max-Age=0"}, nil},
			"with an error":      {500, []string{"access_token_cookie=access-2"}, nil},
			"with a refusal":     {403, []string{"access_token_cookie=access-2"}, nil},
		} {
			client, s, store := renewing(t, api(func(req *http.Request) *http.Response {
				resp := testworld.Respond(req, tc.status, "")
				resp.Header["Set-Cookie"] = tc.set
				return resp
			}), before)
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			want := usual
			if tc.change != nil {
				tc.change(&want)
			}
			for range 3 { // the same answer again changes nothing
				assert.Equal(t, tc.status, get(t, client))
			}
			assert.Equal(t, tc.change != nil, store.saves.Load() == 1, "%s: %d", name, store.saves.Load())
			stored, ok, err := store.Load(t.Context(), "ann")
			require.True(t, ok && err == nil)
			tok, err := s.Token(t.Context())
			require.NoError(t, err)
			for _, got := range []reauth.Token{stored, tok} {
				assert.NotEmpty(t, got.SignInID)
				got.SignInID = ""
				assert.True(t, want.Expiry.Equal(got.Expiry) && want.RefreshExpiry.Equal(got.RefreshExpiry), name)
				got.Expiry, got.RefreshExpiry = want.Expiry, want.RefreshExpiry
				assert.Equal(t, want, got, name)
			}
		}
	})
}

func TestLateAnswerDoesNotReplaceNewerCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		client, s, store := renewing(t, api(func(req *http.Request) *http.Response {
			n := sent.Add(1)
			if n == 1 {
				time.Sleep(time.Minute)
			}
			resp := testworld.Respond(req, 200, "")
			resp.Header.Set("Set-Cookie", map[int32]string{1: "access_token_cookie=late", 2: "access_token_cookie=access-2"}[n])
			return resp
		}), signedIn())
		var wg sync.WaitGroup
		wg.Go(func() { get(t, client) })
		synctest.Wait()
		get(t, client)
		wg.Wait()
		tok, err := s.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-2", tok.AccessToken)
		assert.EqualValues(t, 1, store.saves.Load())
	})
}

func TestAnswerIsReturnedThoughItsCookiesAreNotStored(t *testing.T) {
	client, s, store := renewing(t, api(func(req *http.Request) *http.Response {
		resp := testworld.Respond(req, 200, "")
		resp.Header.Set("Set-Cookie", "access_token_cookie=access-2")
		return resp
	}), signedIn())
	store.fails.Store(true)
	assert.Equal(t, 200, get(t, client))

	// Nothing is renewed of a session that is signed out, nor by a request that carried none of it.
	store.fails.Store(false)
	require.NoError(t, s.SignOut(t.Context()))
	req, err := http.NewRequestWithContext(reauth.WithoutAuth(t.Context()), http.MethodGet, "https://api.example.com/", nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	ok, err := s.SignedIn(t.Context())
	require.NoError(t, err)
	assert.False(t, ok)
}
