package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A discoverable is a token server with metadata at the place of RFC 8414. Each answer
// takes a second of virtual time.
type discoverable struct {
	*testworld.TokenServer
	token   atomic.Pointer[string] // its token endpoint
	status  atomic.Int64           // of the metadata
	refuses atomic.Int64           // the status of the token endpoint, 0: there is a token; 1: no answer
	hangs   atomic.Bool            // the metadata do
}

func newDiscoverable() *discoverable {
	d := &discoverable{}
	token := "https://id.example.com/token"
	d.token.Store(&token)
	d.status.Store(200)
	d.TokenServer = testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		if !strings.Contains(req.URL.Path, ".well-known") {
			switch status := d.refuses.Load(); status {
			case 0:
				return testworld.Respond(req, 200, `{"access_token":"a"}`), nil
			case 1:
				return nil, errors.New("no route to host")
			default:
				return testworld.Respond(req, int(status), ""), nil
			}
		}
		if err := testworld.Pass(req.Context(), time.Second); err != nil {
			return nil, err
		}
		if d.hangs.Load() {
			return nil, testworld.Pass(req.Context(), time.Hour)
		}
		resp := testworld.Respond(req, int(d.status.Load()), `{"issuer":"`+issuer+`","token_endpoint":"`+*d.token.Load()+`","revocation_endpoint":"https://id.example.com/revoke"}`)
		resp.Header.Set("Retry-After", "7")
		return resp, nil
	})
	return d
}

// asked returns how often the metadata and the token endpoint were asked for.
func (d *discoverable) asked() (metadata, tokens int) {
	for _, req := range d.Requests() {
		if strings.Contains(req.URL, ".well-known") {
			metadata++
		} else {
			tokens++
		}
	}
	return metadata, tokens
}

func (d *discoverable) refresher() *oauth.Refresher {
	return &oauth.Refresher{Issuer: issuer, ClientID: "client", Client: d.Client()}
}

// discovers runs a test in a bubble, with a server that can be discovered.
func discovers(t *testing.T, test func(*testing.T, *discoverable)) {
	synctest.Test(t, func(t *testing.T) { test(t, newDiscoverable()) })
}

func TestEndpointsAreDiscoveredAtFirstUse(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		r := d.refresher()
		r.ClientKey = oauth.ClientKey{Signer: ecKey}
		require.NoError(t, r.Validate())
		assert.Empty(t, d.Requests())
		_, err := r.Refresh(t.Context(), reauth.Token{})
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Empty(t, d.Requests(), "there is nothing to refresh")
		refreshes(t, r, oldToken)
		require.NoError(t, r.Revoke(t.Context(), oldToken))
		require.NoError(t, r.Revoke(t.Context(), reauth.Token{}))
		assert.Equal(t, []string{
			"GET https://id.example.com/.well-known/oauth-authorization-server", "POST https://id.example.com/token", "POST https://id.example.com/revoke",
		}, urls(d.TokenServer))
		claims := jwt.MapClaims{}
		_, _, err = jwt.NewParser().ParseUnverified(d.Last().Form(t).Get("client_assertion"), claims)
		require.NoError(t, err)
		assert.Equal(t, issuer, claims["aud"])

		own := d.refresher()
		own.RevocationURL = "https://id.example.com/own"
		require.NoError(t, own.Revoke(t.Context(), oldToken))
		assert.Equal(t, "https://id.example.com/own", d.Last().URL)
		both := d.refresher()
		both.TokenURL = "https://id.example.com/own"
		refreshes(t, both, oldToken)
		require.NoError(t, both.Revoke(t.Context(), oldToken), "there is no RevocationURL")
		asked, _ := d.asked()
		assert.Equal(t, 1, asked)
		without := testworld.Answering(200, `{"issuer":"`+issuer+`","token_endpoint":"https://id.example.com/token"}`)
		require.NoError(t, (&oauth.Refresher{Issuer: issuer, Client: without.Client()}).Revoke(t.Context(), oldToken), "the server has no such endpoint")
		assert.Len(t, without.Requests(), 1)
		assert.Equal(t, `[oauth.Refresher "https://id.example.com"]`, fmt.Sprint(own))
	})
}

func TestConcurrentCallersShareOneDiscovery(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		r := d.refresher()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := r.Refresh(t.Context(), oldToken)
				assert.NoError(t, err)
				_ = fmt.Sprint(r) // which copies it
			})
		}
		wg.Wait()
		metadata, tokens := d.asked()
		assert.Equal(t, 1, metadata)
		assert.Equal(t, 50, tokens)
	})
}

func TestConcurrentCallersShareOneFailedDiscovery(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		d.status.Store(503)
		r := d.refresher()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := r.Refresh(t.Context(), oldToken)
				failure, ok := errors.AsType[*reauth.RefreshError](err)
				if assert.True(t, ok, "%v", err) {
					assert.Equal(t, 503, failure.StatusCode)
					assert.Equal(t, 7*time.Second, failure.RetryAfter)
				}
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			})
		}
		wg.Wait()
		metadata, tokens := d.asked()
		assert.Equal(t, 2, metadata, "one in each place")
		assert.Zero(t, tokens)

		d.status.Store(200)
		refreshes(t, r, oldToken) // a failure is not remembered
	})
}

func TestCallerWhoseContextEndsLeavesTheDiscoveryToOthers(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		r := d.refresher()
		brief, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := r.Refresh(brief, oldToken)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		synctest.Wait() // it is looking
		wg.Go(func() {
			_, err := r.Refresh(t.Context(), oldToken)
			assert.NoError(t, err)
		})
		wg.Go(func() { // waits in line, and leaves
			_, err := r.Refresh(brief, oldToken)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		})
		wg.Wait()
	})
}

func TestEndpointsAreDiscoveredAgainAfterAnHour(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		r := d.refresher()
		refreshes(t, r, oldToken)
		moved := "https://id2.example.com/token"
		d.token.Store(&moved)
		time.Sleep(time.Hour - time.Minute)
		refreshes(t, r, oldToken)
		assert.Equal(t, "https://id.example.com/token", d.Last().URL)
		time.Sleep(2 * time.Minute)
		refreshes(t, r, oldToken)
		assert.Equal(t, moved, d.Last().URL)
		metadata, _ := d.asked()
		assert.Equal(t, 2, metadata)
	})
}

func TestEndpointsThatDoNotAnswerAreDiscoveredAgain(t *testing.T) {
	for status, again := range map[int64]bool{1: true, 404: true, 405: true, 410: true, 400: false, 401: false, 429: false, 503: false} {
		discovers(t, func(t *testing.T, d *discoverable) {
			r := d.refresher()
			refreshes(t, r, oldToken)
			d.refuses.Store(status)
			_, err := r.Refresh(t.Context(), oldToken)
			require.Error(t, err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			d.refuses.Store(0)
			moved := "https://id2.example.com/token"
			d.token.Store(&moved)
			refreshes(t, r, oldToken)
			assert.Equal(t, again, d.Last().URL == moved, "%d", status)
		})
	}
}

func TestKnownEndpointsAreUsedWhileTheServerCannotBeAsked(t *testing.T) {
	for name, fails := range map[string]func(*discoverable){
		"it answers with an error": func(d *discoverable) { d.status.Store(500) },
		"it hangs":                 func(d *discoverable) { d.hangs.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			discovers(t, func(t *testing.T, d *discoverable) {
				r := d.refresher()
				refreshes(t, r, oldToken)
				fails(d)
				time.Sleep(2 * time.Hour)
				began := time.Now()
				for range 10 {
					refreshes(t, r, oldToken)
				}
				assert.LessOrEqual(t, time.Since(began), 5*time.Second)
				tried, _ := d.asked()
				assert.LessOrEqual(t, tried, 3, "once, and the first time")
				time.Sleep(2 * time.Minute)
				refreshes(t, r, oldToken)
				again, _ := d.asked()
				assert.Greater(t, again, tried)
				d.hangs.Store(false)
				d.status.Store(200)
				moved := "https://id2.example.com/token"
				d.token.Store(&moved)
				time.Sleep(2 * time.Minute)
				refreshes(t, r, oldToken)
				assert.Equal(t, moved, d.Last().URL)
			})
		})
	}
}

func TestDiscoveryThatFailsIsATemporaryFailure(t *testing.T) {
	for name, client := range map[string]*http.Client{
		"down":                           testworld.Answering(503, "").Client(),
		"absent":                         testworld.Answering(404, "").Client(),
		"another issuer":                 testworld.Answering(200, metadata("https://id.example.com/")).Client(),
		"no token endpoint":              testworld.Answering(200, `{"issuer":"`+issuer+`"}`).Client(),
		"a page that says invalid_grant": testworld.Answering(400, `{"error":"invalid_grant"}`).Client(),
		"no network":                     testworld.AnsweringWith(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }).Client(),
		"signed out of the proxy": testworld.AnsweringWith(func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("the proxy: %w", reauth.ErrSignInRequired)
		}).Client(),
	} {
		t.Run(name, func(t *testing.T) {
			store := new(reauth.MemoryStore)
			tr, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{Issuer: issuer, Client: client, Final: func(int, []byte) bool { return true }}, Origins: []string{"https://api.example.com"}, Store: store,
				Base: roundTripper(func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 401, ""), nil }),
			})
			require.NoError(t, err)
			require.NoError(t, tr.SignIn(t.Context(), oldToken))
			_, err = (&http.Client{Transport: tr}).Get("https://api.example.com/me")
			require.ErrorContains(t, err, "oauth: discovering")
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.NotContains(t, err.Error(), "refresh-1")
			_, ok, err := store.Load(t.Context(), "")
			require.NoError(t, err)
			assert.True(t, ok, "the session is kept")
			assert.Error(t, tr.SignOut(t.Context()), "what could not be revoked")
			require.NoError(t, tr.Wait(t.Context()))
		})
	}
}

// The endpoints that a Refresher knows go with it.
func TestDiscoveredEndpointsAreForgottenWithTheRefresher(t *testing.T) {
	d := testworld.Answering(200, metadata(issuer))
	for range 20 {
		r := &oauth.Refresher{Issuer: issuer, Client: d.Client()}
		_, err := r.Refresh(t.Context(), oldToken)
		require.Error(t, err) // the answer has no token
	}
	before := oauth.Discoveries()
	assert.GreaterOrEqual(t, before, 1)
	require.Eventually(t, func() bool {
		runtime.GC()
		return oauth.Discoveries() < 20
	}, 10*time.Second, time.Millisecond)
}
