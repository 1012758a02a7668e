package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

var _ reauth.Credential = reauth.HeaderCredential{}

func ExampleHeaderCredential() {
	// As Config.Credential, for an API that takes its token in X-Auth-Token.
	credential := reauth.HeaderCredential{Name: "X-Auth-Token", Bare: true}

	// A Transport does this with each request.
	req, err := http.NewRequest(http.MethodGet, "https://api.example.com/me", nil)
	if err != nil {
		panic(err)
	}
	if err := credential.Apply(req, reauth.Token{AccessToken: "abc"}); err != nil {
		panic(err)
	}
	fmt.Println(req.Header)
	// Output: map[X-Auth-Token:[abc]]
}

func TestHeaderCredentialApply(t *testing.T) {
	for _, tc := range []struct {
		credential reauth.HeaderCredential
		tokenType  string
		want       http.Header
	}{
		{reauth.HeaderCredential{}, "", http.Header{"Authorization": {"Bearer abc"}}},
		{reauth.HeaderCredential{}, "bearer", http.Header{"Authorization": {"Bearer abc"}}},
		{reauth.HeaderCredential{}, "DPoP", http.Header{"Authorization": {"DPoP abc"}}},
		{reauth.HeaderCredential{Scheme: "JWT"}, "DPoP", http.Header{"Authorization": {"JWT abc"}}},
		{reauth.HeaderCredential{Scheme: "bearer"}, "", http.Header{"Authorization": {"bearer abc"}}},
		{reauth.HeaderCredential{Bare: true}, "DPoP", http.Header{"Authorization": {"abc"}}},
		{reauth.HeaderCredential{Bare: true}, "a\nb", http.Header{"Authorization": {"abc"}}},
		{reauth.HeaderCredential{Name: "x-auth-token"}, "", http.Header{"X-Auth-Token": {"Bearer abc"}}},
		{reauth.HeaderCredential{Name: "x_key", Bare: true}, "", http.Header{"X_key": {"abc"}}},
	} {
		t.Run(fmt.Sprintf("%+v/%q", tc.credential, tc.tokenType), func(t *testing.T) {
			req := &http.Request{} // with a nil header
			for range 2 {          // the second time it replaces the value
				require.NoError(t, tc.credential.Apply(req, reauth.Token{AccessToken: "abc", TokenType: tc.tokenType}))
				assert.Equal(t, &http.Request{Header: tc.want}, req)
			}
			require.Len(t, tc.credential.Headers(), 1)
			assert.Contains(t, tc.want, http.CanonicalHeaderKey(tc.credential.Headers()[0]))
		})
	}
}

func TestHeaderCredentialFailsIfNoHeaderCanCarryTheToken(t *testing.T) {
	for _, tc := range []struct {
		credential reauth.HeaderCredential
		tok        reauth.Token
		want       string
	}{
		{reauth.HeaderCredential{}, reauth.Token{RefreshToken: "secret"}, "Token.AccessToken is empty"},
		{reauth.HeaderCredential{}, reauth.Token{AccessToken: "secret\r\nX: y"}, "Token.AccessToken has"},
		{reauth.HeaderCredential{Bare: true}, reauth.Token{AccessToken: "secret\n"}, "Token.AccessToken has"},
		{reauth.HeaderCredential{}, reauth.Token{AccessToken: "secret "}, "Token.AccessToken has"},
		{reauth.HeaderCredential{Name: "a b"}, reauth.Token{AccessToken: "secret"}, "HeaderCredential.Name"},
	} {
		req := &http.Request{}
		err := tc.credential.Apply(req, tc.tok)
		require.ErrorContains(t, err, "reauth: "+tc.want)
		assert.NotContains(t, err.Error(), "secret")
		assert.Empty(t, req.Header)
	}
}

func TestHeaderCredentialValidate(t *testing.T) {
	for _, c := range []reauth.HeaderCredential{
		{}, {Name: "X-Api-Key"}, {Name: "x_api.key", Bare: true}, {Scheme: "JWT"}, {Name: "Cookies"}, {Name: "X-Host", Scheme: "a"},
	} {
		assert.NoError(t, c.Validate(), "%+v", c)
	}
	for _, tc := range []struct {
		credential reauth.HeaderCredential
		want       []string
	}{
		{reauth.HeaderCredential{Name: "X Api"}, []string{`Name "X Api": is not a header name`}},
		{reauth.HeaderCredential{Name: "X-Api-Key:"}, []string{`Name "X-Api-Key:": is not a header name`}},
		{reauth.HeaderCredential{Name: "host"}, []string{`Name "host": is written by net/http itself`}},
		{reauth.HeaderCredential{Name: "cookie"}, []string{`Name "cookie": would replace the cookies of the request`}},
		{reauth.HeaderCredential{Scheme: "Bearer "}, []string{`Scheme "Bearer ": is not an authentication scheme`}},
		{reauth.HeaderCredential{Scheme: "JWT", Bare: true}, []string{`Scheme "JWT": must be empty, because Bare is set`}},
		{reauth.HeaderCredential{Name: "\n", Scheme: "\n", Bare: true}, []string{
			`Name "\n": is not a header name`, `Scheme "\n": is not an authentication scheme`, `Scheme "\n": must be empty, because Bare is set`,
		}},
	} {
		want := "reauth: HeaderCredential." + strings.Join(tc.want, "\nreauth: HeaderCredential.")
		assert.EqualError(t, tc.credential.Validate(), want)
		_, err := tc.credential.HeaderValue(reauth.Token{AccessToken: "abc"})
		assert.EqualError(t, err, want)
	}
}

// A credential is a user's own, with every optional method. Each can be left out by
// embedding it in an interface that lacks the method.
type credential struct {
	headers       []string
	apply         func(*http.Request, reauth.Token) error
	headerValue   func(reauth.Token) (string, error)
	validateToken func(reauth.Token) error
	strip         func(http.Header)
	validate      func() error
}

type (
	applies    interface{ reauth.Credential }
	hasHeaders interface {
		reauth.Credential
		Headers() []string
	}
	hasHeaderValue interface {
		hasHeaders
		HeaderValue(reauth.Token) (string, error)
	}
	hasValidateToken interface{ ValidateToken(reauth.Token) error }
	hasStrip         interface{ Strip(http.Header) }
)

func (c *credential) Apply(req *http.Request, tok reauth.Token) error { return c.apply(req, tok) }
func (c *credential) Headers() []string                               { return c.headers }
func (c *credential) HeaderValue(tok reauth.Token) (string, error)    { return c.headerValue(tok) }
func (c *credential) ValidateToken(tok reauth.Token) error            { return c.validateToken(tok) }
func (c *credential) Strip(h http.Header)                             { c.strip(h) }
func (c *credential) Validate() error                                 { return c.validate() }
func with(c reauth.Credential) testworld.Setting {
	return func(cfg *reauth.Config, _ *testworld.World) { cfg.Credential = c }
}

// bearer is what the default credential applies.
func bearer(req *http.Request, tok reauth.Token) error {
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	return nil
}

func TestOwnCredentialIsRecognizedByTheHeaders(t *testing.T) {
	for name, tc := range map[string]struct {
		credential reauth.Credential
		own        string // the header by which a caller's own credential is recognized
		others     []string
	}{
		"HeaderCredential": {&reauth.HeaderCredential{Name: "x-token", Bare: true}, "X-Token", []string{"Authorization", "Cookie"}},
		"Headers":          {struct{ hasHeaders }{&credential{headers: []string{"cookie", "x-csrf"}, apply: bearer}}, "X-Csrf", []string{"Cookie"}},
		"no Headers":       {struct{ applies }{&credential{apply: bearer}}, "Authorization", []string{"X-Token", "Cookie"}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent http.Header
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				w.SignIn(t)
				req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
				for _, other := range tc.others {
					req.Header.Set(other, "other")
				}
				_, err := w.Do(req)
				require.NoError(t, err)
				assert.Contains(t, fmt.Sprint(sent), "secret-access-1")
				for _, values := range [][]string{{"own"}, {"own", "twice"}, {"", "own"}} {
					req.Header[tc.own] = values
					_, err = w.Do(req)
					require.NoError(t, err)
					assert.Equal(t, req.Header, sent)
				}
				for _, values := range [][]string{nil, {}, {""}, {"", ""}} {
					req.Header[tc.own] = values
					_, err = w.Do(req)
					require.NoError(t, err)
					assert.Contains(t, fmt.Sprint(sent), "secret-access-1", "%q has no value, so it is not a credential", values)
				}
			}, with(tc.credential), testworld.Over(func(req *http.Request) (*http.Response, error) {
				sent = req.Header
				return testworld.Respond(req, http.StatusOK, ""), nil
			}))
		})
	}
}

// net/http sends the names of a header as they are, so that two spellings are two headers.
func TestOwnCredentialIsRecognizedInAnySpelling(t *testing.T) {
	var sent http.Header
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		for name, own := range map[string]bool{"authorization": true, "AUTHORIZATION": true, "authorisation": false} {
			req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
			req.Header = http.Header{name: {"own"}, "X-Other": {"other"}}
			_, err := w.Do(req)
			require.NoError(t, err)
			if own {
				assert.Equal(t, req.Header, sent)
			} else {
				assert.Equal(t, http.Header{name: {"own"}, "X-Other": {"other"}, "Authorization": {"Bearer secret-access-1"}}, sent)
			}
			req.Header = http.Header{name: {""}, "X-Other": {"other"}}
			_, err = w.Do(req)
			require.NoError(t, err)
			assert.Equal(t, []string{"Bearer secret-access-1"}, sent["Authorization"])
			assert.Equal(t, own, sent[name] == nil, "one header goes out, not two")
			assert.Equal(t, http.Header{name: {""}, "X-Other": {"other"}}, req.Header, "the caller's stays as it is")
		}
	}, testworld.Over(func(req *http.Request) (*http.Response, error) {
		sent = req.Header
		return testworld.Respond(req, http.StatusOK, ""), nil
	}))
}

func TestHeadersAreNotWrittenTo(t *testing.T) {
	given := []string{"cookie", "x-csrf-token"}
	testworld.Run(t, func(*testing.T, *testworld.World) {}, with(struct{ hasHeaders }{&credential{headers: given}}))
	assert.Equal(t, []string{"cookie", "x-csrf-token"}, given)
}

func TestCredentialIsAppliedToEachAttempt(t *testing.T) {
	var applied []string
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		extra := func(tok reauth.Token) reauth.Token {
			tok.Extra = map[string]string{"a": "b"}
			return tok
		}
		require.NoError(t, w.Transport.SignIn(t.Context(), extra(w.Issue())))
		w.Answer(func(context.Context) (reauth.Token, error) { return extra(w.Issue()), nil })
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"secret-access-1", "secret-access-2"}, applied)
		now, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "b"}, now.Extra, "the Token that it gets is its own")
	}, with(struct{ applies }{&credential{apply: func(req *http.Request, tok reauth.Token) error {
		applied = append(applied, tok.AccessToken)
		tok.Extra["mine"] = "now"
		return bearer(req, tok)
	}}}))
}

func TestErrorOfACredentialFailsTheRequest(t *testing.T) {
	refuses := func(tok reauth.Token) error { return fmt.Errorf("cannot sign with %s", tok.AccessToken) }
	for name, c := range map[string]reauth.Credential{
		"Apply": struct{ applies }{&credential{apply: func(_ *http.Request, tok reauth.Token) error { return refuses(tok) }}},
		"HeaderValue, then Apply": struct{ hasHeaderValue }{&credential{
			headers: []string{"Authorization"},
			apply:   func(_ *http.Request, tok reauth.Token) error { return refuses(tok) },
			headerValue: func(tok reauth.Token) (string, error) {
				if tok.AccessToken == "secret-access-1" { // SignIn asks
					return "x", nil
				}
				return "x", refuses(tok)
			},
		}},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			tok := w.SignIn(t)
			w.Everybody()
			_, err := w.Transport.Refresh(t.Context(), tok)
			require.NoError(t, err, "a token that requests cannot carry is kept: the one before it is spent")
			body := testworld.NewBody(t, strings.NewReader("x"))
			_, err = w.Do(testworld.Request(t, http.MethodPost, testworld.APIURL, body))
			assert.EqualError(t, err, "reauth: credential: cannot sign with [redacted]")
			assert.True(t, body.IsClosed())
			assert.Zero(t, w.API.Requests())
			assert.Equal(t, 1, w.Refreshes(), "none for the error")
		}, with(c))
	}
}

// fast returns a credential with a HeaderValue that counts its calls, and whose Apply
// is not called.
func fast(t *testing.T, calls *atomic.Int64) reauth.Credential {
	return struct{ hasHeaderValue }{&credential{
		headers: []string{"authorization"},
		apply:   func(*http.Request, reauth.Token) error { t.Error("Apply is called"); return nil },
		headerValue: func(tok reauth.Token) (string, error) {
			calls.Add(1)
			return "Bearer " + tok.AccessToken, nil
		},
	}}
}

func TestHeaderValueIsAskedOncePerGeneration(t *testing.T) {
	var calls atomic.Int64
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		atSignIn := calls.Load() // which also asks whether requests can carry the token
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		assert.Equal(t, atSignIn, calls.Load())
		w.Revoke()
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		assert.Equal(t, atSignIn+1, calls.Load())
		tokens := w.API.Tokens()
		assert.Equal(t, "Bearer secret-access-2", tokens[len(tokens)-1])
	}, with(fast(t, &calls)))
	assert.LessOrEqual(t, calls.Load(), int64(3))
}

func TestHeaderValueIsNotAskedWithoutAnAccessToken(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{RefreshToken: "r"}))
		w.MustGet(t, http.StatusOK)
	}, with(struct{ hasHeaderValue }{&credential{
		headers: []string{"Authorization"},
		headerValue: func(tok reauth.Token) (string, error) {
			assert.NotEmpty(t, tok.AccessToken)
			return "Bearer " + tok.AccessToken, nil
		},
	}}))
}

func TestFastPathOfUsersOwnCredentials(t *testing.T) {
	var calls atomic.Int64
	for name, tc := range map[string]struct {
		credential reauth.Credential
		value      string
	}{
		"with HeaderValue":             {fast(t, &calls), "Bearer a"},
		"embedding HeaderCredential":   {struct{ reauth.HeaderCredential }{reauth.HeaderCredential{Bare: true}}, "a"},
		"embedding *HeaderCredential":  {struct{ *reauth.HeaderCredential }{new(reauth.HeaderCredential)}, "Bearer a"},
		"embedding a fast credential":  {struct{ hasHeaderValue }{fast(t, &calls).(hasHeaderValue)}, "Bearer a"},
		"HeaderCredential as built in": {reauth.HeaderCredential{}, "Bearer a"},
	} {
		t.Run(name, func(t *testing.T) {
			assertFloor(t, t.Context(), signedInOver(t, t.Context(), tc.credential), tc.value)
		})
	}
}

func TestSignInAsksWhetherRequestsCanCarryTheToken(t *testing.T) {
	refuses := func(tok reauth.Token) error {
		if tok.AccessToken == "good" {
			return nil
		}
		return errors.New("cannot carry it")
	}
	value := func(tok reauth.Token) (string, error) { return tok.AccessToken, refuses(tok) }
	for name, c := range map[string]reauth.Credential{
		"ValidateToken": struct {
			applies
			hasValidateToken
		}{&credential{}, &credential{validateToken: refuses}},
		"HeaderValue": struct{ hasHeaderValue }{&credential{headers: []string{"X-Token"}, headerValue: value}},
		"ValidateToken rather than HeaderValue": struct {
			hasHeaderValue
			hasValidateToken
		}{&credential{headers: []string{"X-Token"}, headerValue: func(reauth.Token) (string, error) { return "x", nil }}, &credential{validateToken: refuses}},
	} {
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			err := w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: "bad"})
			assert.ErrorContains(t, err, `reauth: SignIn: cannot carry it`)
			assert.Zero(t, w.Store.Count("Save"))
			assert.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: "good"}))
		}, with(c))
	}
}

func TestStripIsCalledForRequestsThatGoWithoutAToken(t *testing.T) {
	stripped := 0
	c := &credential{headers: []string{"Authorization"}, apply: bearer, strip: func(h http.Header) {
		stripped++
		h.Del("X-Trace")
	}}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.API.Decide = func(req *http.Request) int {
			assert.Empty(t, req.Header)
			return 0
		}
		req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
		req.Header.Set("X-Trace", "of an earlier session")
		status, err := w.Do(req)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
		assert.Equal(t, "of an earlier session", req.Header.Get("X-Trace"), "of the copy alone")
		assert.Equal(t, 1, stripped)

		w.API.Decide = nil
		w.SignIn(t)
		_, err = w.Do(req)
		require.NoError(t, err)
		_, err = w.Do(req.WithContext(reauth.WithoutAuth(t.Context())))
		require.NoError(t, err)
		assert.Equal(t, 1, stripped, "for no other request")
	}, anonymous, with(struct {
		hasHeaders
		hasStrip
	}{c, c}))
}

func TestNeedsTokenKeepsTheRefresherFromBeingAsked(t *testing.T) {
	for _, needs := range []bool{true, false} {
		testworld.Case(t, fmt.Sprintf("NeedsToken=%t", needs), func(t *testing.T, w *testworld.World) {
			ctx := reauth.WithSession(t.Context(), "ann")
			_, err := w.Get(ctx)
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
			if needs {
				assert.EqualError(t, err, `reauth: session "ann": not signed in: sign-in required`)
				assert.Zero(t, w.Refreshes())
				assert.Zero(t, w.Events.Count(reauth.EventRefreshStarted))
			} else {
				assert.Equal(t, 1, w.Refreshes())
			}
			require.NoError(t, w.Transport.SignIn(ctx, w.Issue()))
			w.Revoke()
			status, err := w.Get(ctx)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
		}, func(c *reauth.Config, w *testworld.World) { c.Refresher = needing{w.Authority, needs} })
	}
}

// A session that is signed out stays cached for a day if the Refresher may answer without
// a token. One that says it can't is not asked, so nothing is lost.
func TestNeedsTokenLetsSignedOutSessionsBeForgotten(t *testing.T) {
	for _, needs := range []bool{true, false} {
		testworld.Case(t, fmt.Sprintf("NeedsToken=%t", needs), func(t *testing.T, w *testworld.World) {
			w.Transport.SetCacheLimit(10)
			w.SignInAs(t, "ann")
			require.NoError(t, w.Transport.Session("ann").SignOut(t.Context()))
			time.Sleep(time.Minute)
			w.Transport.Evict()
			assert.Equal(t, needs, w.Transport.Session("ann").Cached() == nil)
		}, func(c *reauth.Config, w *testworld.World) { c.Refresher = needing{w.Authority, needs} })
	}
}

type needing struct {
	reauth.Refresher
	needs bool
}

func (n needing) NeedsToken() bool { return n.needs }

// A struct that embeds a built-in type is served like that type.
func TestEmbeddedBuiltInTypesKeepTheirMethods(t *testing.T) {
	t.Run("oauth.Refresher", func(t *testing.T) {
		type mine struct{ *oauth.Refresher }
		_, err := reauth.New(reauth.Config{Refresher: mine{&oauth.Refresher{TokenURL: "/token"}}, Origins: []string{reauth.AnyOrigin}})
		assert.ErrorContains(t, err, `oauth: Refresher.TokenURL "/token"`)

		server := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			t.Error("the token server is asked")
			return refusing(req)
		})
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			_, err := w.Get(t.Context())
			assert.EqualError(t, err, "reauth: not signed in: sign-in required")
		}, func(c *reauth.Config, _ *testworld.World) {
			c.Refresher = mine{&oauth.Refresher{TokenURL: "https://id.example.com/token", Client: &http.Client{Transport: server}}}
		})
	})
	t.Run("oauth.Refresher that revokes", func(t *testing.T) {
		revoked := 0
		server := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			revoked++
			return testworld.Respond(req, http.StatusOK, ""), nil
		})
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			require.NoError(t, w.Transport.SignOut(t.Context()))
			assert.Equal(t, 1, revoked)
		}, func(c *reauth.Config, _ *testworld.World) {
			c.Refresher = struct{ *oauth.Refresher }{&oauth.Refresher{
				TokenURL: "https://id.example.com/token", RevocationURL: "https://id.example.com/revoke", Client: &http.Client{Transport: server},
			}}
		})
	})
	t.Run("cookieauth.Cookies", func(t *testing.T) {
		type mine struct{ *cookieauth.Cookies }
		_, err := reauth.New(reauth.Config{Refresher: mine{new(cookieauth.Cookies)}, Origins: []string{reauth.AnyOrigin}})
		assert.ErrorContains(t, err, "cookieauth: Cookies.RefreshURL")

		var cookies []string
		testworld.Run(t, func(t *testing.T, w *testworld.World) {
			jar := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
			jar.Header.Set("Cookie", "access_token_cookie=stale; theme=dark")
			send := func() {
				_, err := w.Do(jar)
				require.NoError(t, err)
			}
			send()
			assert.ErrorContains(t, w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: "a;b"}), "SignIn")
			require.NoError(t, w.Transport.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r"}))
			send()
			jar.Header.Set("Authorization", "Basic own")
			send()
			assert.Equal(t, []string{
				"theme=dark", "theme=dark; access_token_cookie=a", "access_token_cookie=stale; theme=dark",
			}, cookies)
		}, anonymous, func(c *reauth.Config, _ *testworld.World) {
			c.Refresher = mine{&cookieauth.Cookies{RefreshURL: "https://api.example.com/refresh"}}
		}, testworld.Over(func(req *http.Request) (*http.Response, error) {
			cookies = append(cookies, req.Header.Get("Cookie"))
			return testworld.Respond(req, http.StatusOK, ""), nil
		}))
	})
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

func TestOnlyARegisteredSchemeIsSent(t *testing.T) {
	for tokenType, want := range map[string]string{
		"": "Bearer", "bearer": "Bearer", "BEARER": "Bearer", "Bearer": "Bearer",
		"DPoP": "DPoP", "dpop": "DPoP", "BASIC": "Basic", "oauth": "OAuth", "GNAP": "GNAP", "scram-sha-256": "SCRAM-SHA-256", "Vapid": "vapid",
		"BearerToken": "Bearer", "bot": "Bearer", "N_A": "Bearer", "mac": "Bearer", "JWT": "Bearer", "7": "Bearer", "Bearer ": "Bearer",
		"two\r\nlines": "Bearer", "urn:ietf:params:oauth:token-type:jwt": "Bearer",
	} {
		tok := reauth.Token{AccessToken: "secret", TokenType: tokenType}
		assert.Equal(t, want, tok.Type(), "%q", tokenType)
		value, err := reauth.HeaderCredential{}.HeaderValue(tok)
		require.NoError(t, err, "%q", tokenType)
		assert.Equal(t, want+" secret", value)
	}
}
