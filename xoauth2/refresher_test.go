package xoauth2_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/google"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/xoauth2"
)

func (a *authority) clientCredentials() *clientcredentials.Config {
	return &clientcredentials.Config{
		ClientID: "id", ClientSecret: "client-SECRET", TokenURL: a.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader,
	}
}

// sources are programs' credentials, and whether the token server gets a grant of theirs.
func sources(t *testing.T, a *authority) map[string]struct {
	source func(context.Context) (oauth2.TokenSource, error)
	grant  string
} {
	fromJSON := func(typ google.CredentialsType) func(context.Context) (oauth2.TokenSource, error) {
		file := a.keyFile(t, string(typ))
		return func(ctx context.Context) (oauth2.TokenSource, error) {
			creds, err := google.CredentialsFromJSONWithType(ctx, file, typ, "scope")
			if err != nil {
				return nil, err
			}
			return creds.TokenSource, nil
		}
	}
	return map[string]struct {
		source func(context.Context) (oauth2.TokenSource, error)
		grant  string
	}{
		"clientcredentials.Config": {
			func(ctx context.Context) (oauth2.TokenSource, error) {
				return a.clientCredentials().TokenSource(ctx), nil
			},
			"client_credentials",
		},
		"google.Credentials of a service account": {fromJSON(google.ServiceAccount), "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"google.Credentials of a user":            {fromJSON(google.AuthorizedUser), "refresh_token"},
	}
}

// golang/oauth2#367 and #623: a token is revoked, or refused for other reasons, and until it
// expires every request gets a 401.
func TestASourceByItselfReturnsTheRefusedTokenAgain(t *testing.T) {
	for name, tc := range sources(t, newAuthority(t)) {
		src, err := tc.source(t.Context())
		require.NoError(t, err, name)
		first, err := src.Token()
		require.NoError(t, err, name)
		again, err := src.Token()
		require.NoError(t, err, name)
		assert.True(t, first.AccessToken == again.AccessToken, "%s: if this fails there is less need for Source", name)
	}
}

func TestASourceIsAskedAnewWhenItsTokenIsRefused(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range sources(t, a) {
		t.Run(name, func(t *testing.T) {
			tr := a.transport(t, xoauth2.Source(tc.source))
			before := len(a.requests())
			a.storm(t, tr)
			assert.Len(t, a.requests()[before:], 1)
			for range 2 {
				a.refuse()
				a.storm(t, tr)
			}
			sent := a.requests()[before:]
			assert.Len(t, sent, 3, "each time all %d share one refresh", many)
			for _, form := range sent {
				assert.Equal(t, tc.grant, form.Get("grant_type"))
			}
			tok, err := tr.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, a.current(), tok.AccessToken)
			assert.WithinDuration(t, time.Now().Add(time.Hour), tok.Expiry, time.Minute)
		})
	}
}

// golang/go#66620: some servers answer a client credentials grant with a refresh token. And
// a user's credentials in a file are not the session's to keep.
func TestTheRefreshTokenOfASourceIsNotKept(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range sources(t, a) {
		tr := a.transport(t, xoauth2.Source(tc.source))
		a.mustGet(t, tr)
		tok, err := tr.Token(t.Context())
		require.NoError(t, err)
		assert.True(t, tok.RefreshToken == "", name)
	}
}

func TestClientCredentialsAreAskedAnewWhenTheTokenIsRefused(t *testing.T) {
	a := newAuthority(t)
	cfg := a.clientCredentials()
	cfg.Scopes = []string{"read", "write"}
	tr := a.transport(t, xoauth2.ClientCredentials(cfg))
	a.mustGet(t, tr)
	a.refuse()
	a.storm(t, tr)
	require.Len(t, a.requests(), 2)
	for _, form := range a.requests() {
		assert.Equal(t, "client_credentials", form.Get("grant_type"))
		assert.Equal(t, "read write", form.Get("scope"))
		assert.Equal(t, "id:client-SECRET", form.Get("basic"))
	}
}

// Package oauth2/jwt sends its requests without a context.
func TestATokenServerThatHangsIsGivenUp(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range sources(t, a) {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			a.answer(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})
			defer close(release)
			tr := a.transport(t, xoauth2.Source(tc.source), func(c *reauth.Config) { c.RefreshTimeout = 200 * time.Millisecond })
			_, err := a.get(t, tr)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%v", err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			silent, ok := errors.AsType[interface {
				error
				Timeout() bool
			}](failure)
			assert.True(t, ok && silent.Timeout(), "%v", err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			require.NoError(t, tr.Wait(ctx), "its request has not ended, and no other refresh can start")
		})
	}
}

func TestARequestWithoutAnAnswerIsANetError(t *testing.T) {
	a := newAuthority(t)
	a.answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := xoauth2.ClientCredentials(a.clientCredentials()).Refresh(t.Context(), reauth.Token{})
	silent, ok := errors.AsType[net.Error](err)
	require.True(t, ok, "%v", err)
	assert.False(t, silent.Timeout())
	_, leaks := errors.AsType[*url.Error](err)
	assert.False(t, leaks, "it has the URL")

	for name, fails := range map[string]func() error{
		"a key file that is absent": func() error { _, err := os.ReadFile(filepath.Join(t.TempDir(), "key.json")); return err },
		"an answer":                 func() error { return &oauth2.RetrieveError{Response: &http.Response{StatusCode: 500}} },
	} {
		_, err := xoauth2.Source(func(context.Context) (oauth2.TokenSource, error) { return nil, fails() }).Refresh(t.Context(), reauth.Token{})
		_, ok := errors.AsType[net.Error](err)
		assert.False(t, ok, name)
	}
}

// http.DefaultClient of a program can be the one that reauth serves.
func TestASourceMayUseTheClientThatItServes(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range sources(t, a) {
		t.Run(name, func(t *testing.T) {
			tr := a.transport(t, xoauth2.Source(tc.source), func(c *reauth.Config) { c.RefreshTimeout = 5 * time.Second })
			ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: tr})
			_, err := tr.Token(ctx)
			require.NoError(t, err)
		})
	}
}

func TestTokenRequestsFollowNoRedirectToAnotherOrigin(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it has come") }))
	defer stranger.Close()
	a := newAuthority(t)
	for name, tc := range sources(t, a) {
		a.answer(answering(307, "", "Location", stranger.URL+"/token"))
		_, err := a.get(t, a.transport(t, xoauth2.Source(tc.source)))
		assert.Error(t, err, name)
	}
}

func TestNoErrorOfASourceIsFinalOrShowsASecret(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range map[string]struct {
		answer        http.HandlerFunc
		status        int
		code          string
		retry         time.Duration
		misconfigured bool
	}{
		"invalid_grant":   {answering(400, `{"error":"invalid_grant","error_description":"SECRET"}`), 400, "invalid_grant", 0, true},
		"invalid_client":  {answering(401, `{"error":"invalid_client"}`), 401, "invalid_client", 0, true},
		"an error in 200": {answering(200, `{"error":"invalid_scope"}`), 200, "invalid_scope", 0, true},
		"busy":            {answering(503, "SECRET", "Retry-After", "17"), 503, "", 17 * time.Second, false},
		"invalid_grant, but only for now": {
			answering(503, `{"error":"invalid_grant"}`), 503, "invalid_grant", 0, false,
		},
		"throttled": {answering(429, `{"error":"invalid_grant","x":"SECRET"}`, "Retry-After", "90"), 429, "invalid_grant", 90 * time.Second, false},
		"a page":    {answering(502, "<html>SECRET</html>", "Content-Type", "text/html"), 502, "", 0, false},
		"a firewall": {
			answering(403, "SECRET assertion=SECRET", "Content-Type", "text/plain"), 403, "", 0, false,
		},
	} {
		for kind, src := range sources(t, a) {
			if tc.status == 200 && strings.Contains(kind, "service") { // package jwt takes it for a token without one
				continue
			}
			t.Run(name+", "+kind, func(t *testing.T) {
				tr := a.transport(t, xoauth2.Source(src.source))
				a.answer(tc.answer)
				_, err := a.get(t, tr)
				failure, ok := errors.AsType[*reauth.RefreshError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, tc.status, failure.StatusCode)
				assert.Equal(t, tc.code, failure.Code)
				if tc.retry != 0 {
					assert.Equal(t, tc.retry, failure.RetryAfter)
				}
				assert.Equal(t, tc.misconfigured, strings.Contains(err.Error(), "misconfigured"), "%v", err)
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
				assert.NotContains(t, err.Error(), "SECRET")
				_, leaks := errors.AsType[*oauth2.RetrieveError](err)
				assert.False(t, leaks, "its Body is the answer")
			})
		}
	}
}

func TestTheErrorCodeOfClientCredentialsDoesNotRepeatTheSecret(t *testing.T) {
	a := newAuthority(t)
	a.answer(answering(401, `{"error":"no client id:client-SECRET"}`))
	_, err := xoauth2.ClientCredentials(a.clientCredentials()).Refresh(t.Context(), reauth.Token{})
	failure, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, 401, failure.StatusCode)
	assert.NotContains(t, failure.Code+err.Error(), "SECRET")
}

// What packages of x/oauth2 say, with an answer or a URL in it (googleapis/google-api-go-client#548).
func TestErrorsOfASourceAreReadableAndShowNoAnswerAndNoQuery(t *testing.T) {
	for text, want := range map[string]string{
		"google: could not find default credentials. See https://cloud.google.com/docs for more information": "google: could not find default credentials. See https://cloud.google.com/docs for more information",
		"oauth2/google: status code 403: {\"a\":\n\"SECRET\"}":                                               "oauth2/google: status code 403",
		"oauth2/google/externalaccount: unable to parse executable output\nResponse: SECRET":                 "oauth2/google/externalaccount: unable to parse executable output",
		"oauth2/google/externalaccount: unable to retrieve AWS session token - SECRET":                       "oauth2/google/externalaccount: unable to retrieve AWS session token",
		"downscope: unable to exchange token; 400. Server responded: SECRET":                                 "downscope: unable to exchange token; 400. Server responded",
		"oauth2/google: failed to find \"account\" attribute in map[auth:map[client_secret:SECRET]]":         `oauth2/google: failed to find "account" attribute`,
		`oauth2: cannot fetch token: Post "https://u:SECRET@id.example.com/token?key=SECRET": EOF`:           `oauth2: cannot fetch token: Post "https://id.example.com/token": EOF`,
	} {
		r := xoauth2.Source(func(context.Context) (oauth2.TokenSource, error) { return nil, errors.New(text) })
		_, err := r.Refresh(t.Context(), reauth.Token{})
		assert.EqualError(t, errors.Unwrap(err), want)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, strings.Contains(text, "status code"), failure.StatusCode == 403)
	}
	for name, r := range map[string]reauth.Refresher{
		"no source": xoauth2.Source(func(context.Context) (oauth2.TokenSource, error) { return nil, nil }),
		"a source that is another session's": xoauth2.Source(func(ctx context.Context) (oauth2.TokenSource, error) {
			return nil, &reauth.RefreshError{StatusCode: 400, Err: fmt.Errorf("gone: %w", reauth.ErrSignInRequired)}
		}),
	} {
		_, err := r.Refresh(t.Context(), reauth.Token{})
		require.Error(t, err, name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, name)
	}
	_, err := reauth.New(reauth.Config{Refresher: xoauth2.Source(nil), Origins: []string{"https://api.example.com"}})
	assert.EqualError(t, err, "xoauth2: the function of Source is required")
}

func (a *authority) config() *oauth2.Config {
	return &oauth2.Config{
		ClientID: "id", ClientSecret: "client-SECRET", Scopes: []string{"all"},
		Endpoint: oauth2.Endpoint{AuthURL: a.URL + "/authorize", TokenURL: a.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
}

func TestAConfigSaysHowItsClientIsAuthenticated(t *testing.T) {
	a := newAuthority(t)
	for name, tc := range map[string]struct {
		set   func(*oauth2.Config)
		style oauth.AuthStyle
		want  string
	}{
		"in the header":     {func(*oauth2.Config) {}, oauth.AuthStyleBasic, ""},
		"in the parameters": {func(c *oauth2.Config) { c.Endpoint.AuthStyle = oauth2.AuthStyleInParams }, oauth.AuthStyleForm, ""},
		"not at all": {
			func(c *oauth2.Config) { c.ClientSecret, c.Endpoint.AuthStyle = "", oauth2.AuthStyleAutoDetect }, oauth.AuthStyleNone, "",
		},
		"not said":   {func(c *oauth2.Config) { c.Endpoint.AuthStyle = oauth2.AuthStyleAutoDetect }, 0, "set AuthStyleInHeader, or AuthStyleInParams"},
		"unknown":    {func(c *oauth2.Config) { c.Endpoint.AuthStyle = 7 }, 0, "AuthStyle 7 is unknown"},
		"no address": {func(c *oauth2.Config) { c.Endpoint.TokenURL = "" }, oauth.AuthStyleBasic, "TokenURL"},
	} {
		cfg := a.config()
		tc.set(cfg)
		r, err := xoauth2.Refresher(cfg)
		if tc.want != "" {
			assert.ErrorContains(t, err, tc.want, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, tc.style, r.AuthStyle, name)
	}
}

func TestTheRefreshTokenOfAConfigIsSentOnce(t *testing.T) {
	a := newAuthority(t)
	shared := new(reauth.MemoryStore)
	r, err := xoauth2.Refresher(a.config())
	require.NoError(t, err)
	store := func(c *reauth.Config) { c.Store = shared }
	tr := a.transport(t, r, store)
	require.NoError(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "old", RefreshToken: "refresh-0"}))
	a.answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) // the answer is lost
	_, err = a.get(t, tr)
	_, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok, "%v", err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	require.Len(t, a.requests(), 1)
	tr = a.transport(t, r, store) // which has not failed, so it need not wait
	a.storm(t, tr)
	require.Len(t, a.requests(), 2)
	form := a.requests()[1]
	assert.Equal(t, "refresh-0", form.Get("refresh_token"))
	assert.Equal(t, "id:client-SECRET", form.Get("basic"))
	assert.False(t, form.Has("scope"))

	a.answer(answering(400, `{"error":"invalid_grant","error_description":"refresh-1"}`))
	a.refuse()
	_, err = a.get(t, tr)
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.NotContains(t, err.Error(), "refresh-1")
}

// Why there is no Refresher around the sources of oauth2.Config: if it is not said where the
// secret belongs, a request that fails is sent again.
func TestPackageOAuth2SendsARefreshTokenTwice(t *testing.T) {
	a := newAuthority(t)
	cfg := a.config()
	cfg.Endpoint.AuthStyle = oauth2.AuthStyleAutoDetect
	a.answer(answering(503, ""))
	_, err := cfg.TokenSource(t.Context(), &oauth2.Token{RefreshToken: "refresh-0"}).Token()
	require.NoError(t, err)
	require.Len(t, a.requests(), 2, "if this fails there is less need for Refresher")
	for _, form := range a.requests() {
		assert.Equal(t, "refresh-0", form.Get("refresh_token"))
	}
}
