package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// firezone/firezone#14659 is about a nonce that nobody checked.
func TestAnIDTokenOfAnotherSignInIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ claims, want string }{
		"right":            {`{"nonce":"NONCE","aud":"me","iss":"https://id.test"}`, ""},
		"another issuer":   {`{"nonce":"NONCE","aud":"me","iss":"https://id.test/"}`, "another issuer"},
		"no issuer":        {`{"nonce":"NONCE","aud":"me"}`, "another issuer"},
		"one of several":   {`{"nonce":"NONCE","aud":["you","me"],"iss":"https://id.test"}`, ""},
		"another nonce":    {`{"nonce":"another","aud":"me"}`, "nonce is another"},
		"no nonce":         {`{"aud":"me"}`, "nonce is another"},
		"another client":   {`{"nonce":"NONCE","aud":"you","iss":"https://id.test"}`, "another client"},
		"no client":        {`{"nonce":"NONCE","iss":"https://id.test"}`, "cannot be read"},
		"other clients":    {`{"nonce":"NONCE","aud":["you"],"iss":"https://id.test"}`, "another client"},
		"no JSON":          {`NONCE`, "cannot be read"},
		"no ID token":      {``, "leave openid out"},
		"no OpenID at all": {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var nonce string
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				answer := map[string]string{"access_token": "a", "token_type": "Bearer"}
				if c.claims != "" {
					payload := strings.ReplaceAll(c.claims, "NONCE", nonce)
					answer["id_token"] = "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".x"
				}
				w.Header().Set("Content-Type", "application/json")
				assert.NoError(t, json.NewEncoder(w).Encode(answer))
			}))
			defer provider.Close()
			conf := &oauth2.Config{ClientID: "me", Scopes: []string{"openid"}, Endpoint: oauth2.Endpoint{
				AuthURL: "https://id.test/auth", TokenURL: provider.URL, AuthStyle: oauth2.AuthStyleInParams}}
			if name == "no OpenID at all" {
				conf.Scopes = nil
			}
			var visit sync.WaitGroup
			tok, err := signIn(t.Context(), conf, "https://id.test", "127.0.0.1:0", func(address string) {
				u, err := url.Parse(address)
				require.NoError(t, err)
				nonce = u.Query().Get("nonce")
				assert.Equal(t, conf.Scopes != nil, nonce != "")
				visit.Go(func() {
					resp, err := http.Get(callbackOf(t, address, url.Values{"code": {"c"}, "state": {stateOf(t, address)}}))
					if assert.NoError(t, err) {
						assert.NoError(t, resp.Body.Close())
					}
				})
			})
			visit.Wait()
			if c.want == "" {
				require.NoError(t, err)
				assert.Equal(t, "a", tok.AccessToken)
				return
			}
			assert.ErrorContains(t, err, c.want)
			assert.Nil(t, tok)
		})
	}
}

// A provider that is an attacker's sends the user on to another one (RFC 9207).
func TestAnAnswerOfAnotherIssuerIsRefused(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{"https://id.test": "", "https://evil.test": "another issuer", "https://id.test/": "another issuer"} {
		answers := make(chan answer, 1)
		w := httptest.NewRecorder()
		query := url.Values{"state": {"s"}, "code": {"c"}, "iss": {issuer}}
		callback("s", "https://id.test", answers).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/callback?"+query.Encode(), nil))
		got := <-answers
		if want == "" {
			assert.Equal(t, answer{code: "c"}, got)
			continue
		}
		assert.ErrorContains(t, got.err, want)
		assert.Empty(t, got.code)
		assert.Contains(t, w.Body.String(), "not signed in")
	}
}

// symfony/symfony#65677 and cashubtc/cashu-ts#1160 are about documents that do so.
func TestAnIssuerWithHTTPSHasNoEndpointWithout(t *testing.T) {
	var endpoints string
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"issuer":"`+s.URL+`",`+endpoints+`}`)
	})
	before := http.DefaultTransport
	http.DefaultTransport = s.Client().Transport // which knows the certificate
	defer func() { http.DefaultTransport = before }()
	all := []string{"authorization", "token", "revocation", "userinfo"}
	for _, bad := range append(all, "") {
		for _, address := range []string{"http://id.test/x", "HTTP://id.test/x", "//id.test/x", "id.test", "https:/x", "ftp://id.test", "%"} {
			var members []string
			for _, name := range all {
				at := "https://id.test/" + name
				if name == bad {
					at = address
				}
				members = append(members, `"`+name+`_endpoint":"`+at+`"`)
			}
			endpoints = strings.Join(members, ",")
			to := target{issuer: s.URL}
			err := to.complete(t.Context())
			if bad == "" {
				assert.NoError(t, err)
				continue
			}
			assert.ErrorContains(t, err, "the "+bad+" endpoint of the issuer is not at https://", address)
			assert.Equal(t, target{issuer: s.URL}, to, "nothing is taken over")
		}
	}
}

// olivertgwalton/riven-rs#20: the redirect may lead to plain HTTP.
func TestTheDiscoveryDocumentIsNotElsewhere(t *testing.T) {
	t.Parallel()
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer s.Close()
	to := target{issuer: s.URL}
	assert.ErrorContains(t, to.complete(t.Context()), "no discovery document: it answers 302")
	assert.False(t, asked)
}

// The reason phrase of an answer is the server's own.
func TestAStatusDoesNotChangeTheTerminal(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = io.WriteString(conn, "HTTP/1.1 500 \x1b[2J\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		}
	}))
	defer api.Close()
	to := target{issuer: api.URL}
	err := to.complete(t.Context())
	require.ErrorContains(t, err, "500")
	assert.NotContains(t, err.Error(), "\x1b")

	s, err := newSession(target{apiURL: api.URL, tokenURL: api.URL, clientID: "me"}, nil)
	require.NoError(t, err)
	require.NoError(t, s.begin(t.Context(), &oauth2.Token{AccessToken: "a"}))
	_, err = s.ask(t.Context())
	require.ErrorContains(t, err, "the API says 500 Internal Server Error")
	assert.NotContains(t, err.Error(), "\x1b")
}
