package reauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

const jsonURL = "https://id.example.com/refresh"

// capturing keeps each request, and its body, that it answers with a client's answer.
func capturing(answer *http.Client, to *http.Request, body *string) *http.Client {
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		*to, *body = *req.Clone(context.Background()), ""
		if req.Body != nil {
			b, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			*body = string(b)
			if req.ContentLength != int64(len(b)) {
				return nil, fmt.Errorf("Content-Length %d of %d bytes", req.ContentLength, len(b))
			}
		}
		return answer.Transport.RoundTrip(req)
	})}
}

func TestJSONEndpointAsksAndReadsByItsPaths(t *testing.T) {
	old := reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "JWT",
		Extra: map[string]string{"user": "ann", "kept": "yes"},
	}
	for name, tc := range map[string]struct {
		endpoint reauth.JSONEndpoint
		sent     string
		answer   string
		want     reauth.Token
	}{
		"no settings": {
			reauth.JSONEndpoint{}, `{"refresh_token":"refresh-1"}`,
			`{"access_token":"a","refresh_token":"r"}`,
			reauth.Token{AccessToken: "a", RefreshToken: "r", TokenType: "JWT", Extra: old.Extra},
		},
		"one token for both": {
			reauth.JSONEndpoint{RefreshField: "token", AccessPath: "token", RefreshPath: "token"}, `{"token":"refresh-1"}`,
			`{"token":"t"}`,
			reauth.Token{AccessToken: "t", RefreshToken: "t", TokenType: "JWT", Extra: old.Extra},
		},
		"the refresh token is kept": {
			reauth.JSONEndpoint{RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh"}, `{"refresh":"refresh-1"}`,
			`{"access":"a","refresh":null}`,
			reauth.Token{AccessToken: "a", RefreshToken: "refresh-1", TokenType: "JWT", Extra: old.Extra},
		},
		"nested": {
			reauth.JSONEndpoint{RefreshField: "auth.refresh.token", AccessPath: "data.data.accessToken", RefreshPath: "data.refreshToken"},
			`{"auth":{"refresh":{"token":"refresh-1"}}}`,
			`{"data":{"refreshToken":"r","data":{"accessToken":"a","x":1}},"user":"bob","n":[1, 2]}`,
			reauth.Token{AccessToken: "a", RefreshToken: "r", TokenType: "JWT", Extra: map[string]string{"user": "bob", "kept": "yes", "n": "[1,2]"}},
		},
		"no refresh token in the request": {
			reauth.JSONEndpoint{RefreshField: "-", Method: "GET"}, ``,
			`{"access_token":"a"}`,
			reauth.Token{AccessToken: "a", RefreshToken: "refresh-1", TokenType: "JWT", Extra: old.Extra},
		},
		"a body of its own": {
			reauth.JSONEndpoint{Body: func(req *http.Request, old reauth.Token) (any, error) {
				req.Header.Set("Authorization", "Bearer "+old.RefreshToken)
				delete(old.Extra, "kept") // is its own copy
				return map[string]any{"grant": "renew", "device": 7}, nil
			}}, `{"device":7,"grant":"renew"}`,
			`{"access_token":"a","token_type":"bearer"}`,
			reauth.Token{AccessToken: "a", RefreshToken: "refresh-1", TokenType: "JWT", Extra: map[string]string{"user": "ann", "kept": "yes", "token_type": "bearer"}},
		},
		"a form": {
			reauth.JSONEndpoint{Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return url.Values{"t": {old.RefreshToken}}, nil
			}}, `t=refresh-1`,
			`{"access_token":"a"}`,
			reauth.Token{AccessToken: "a", RefreshToken: "refresh-1", TokenType: "JWT", Extra: old.Extra},
		},
		"no error is meant": {
			reauth.JSONEndpoint{}, `{"refresh_token":"refresh-1"}`,
			`{"error":"none at all","access_token":"a"}`,
			reauth.Token{AccessToken: "a", RefreshToken: "refresh-1", TokenType: "JWT", Extra: old.Extra},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var req http.Request
			var body string
			e := tc.endpoint
			e.URL, e.Header = jsonURL, http.Header{"x-api-key": {"key"}}
			e.Client = capturing(says(200, tc.answer), &req, &body)
			tok, err := e.Refresh(t.Context(), old)
			require.NoError(t, err)
			assert.Equal(t, tc.want, tok)
			assert.Equal(t, tc.sent, body)
			assert.Equal(t, jsonURL, req.URL.String())
			assert.Equal(t, "key", req.Header.Get("X-Api-Key"))
			assert.Equal(t, "application/json", req.Header.Get("Accept"))
			switch {
			case tc.sent == "":
				assert.Equal(t, "GET", req.Method)
				assert.Empty(t, req.Header.Get("Content-Type"))
			case tc.sent[0] == '{':
				assert.Equal(t, "POST", req.Method)
				assert.Equal(t, "application/json", req.Header.Get("Content-Type"))
			default:
				assert.Equal(t, "application/x-www-form-urlencoded", req.Header.Get("Content-Type"))
			}
			if name == "a body of its own" {
				assert.Equal(t, "Bearer refresh-1", req.Header.Get("Authorization"))
			}
		})
	}
	assert.Equal(t, map[string]string{"user": "ann", "kept": "yes"}, old.Extra, "the old token is not written to")
}

func TestJSONEndpointSignsIn(t *testing.T) {
	var req http.Request
	var body string
	e := &reauth.JSONEndpoint{
		URL: jsonURL, SignInURL: "https://id.example.com/create?x=y", Method: "PUT",
		RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", LifetimePath: "ttl",
		Client: capturing(says(201, `{"access":"a","refresh":"r","user":{"name":"ann"}}`), &req, &body),
	}
	tok, err := e.Exchange(t.Context(), map[string]string{"username": "ann"})
	require.NoError(t, err)
	assert.Equal(t, reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"user": `{"name":"ann"}`}}, tok)
	assert.Equal(t, `{"username":"ann"}`, body)
	assert.Equal(t, "POST https://id.example.com/create?x=y", req.Method+" "+req.URL.String())

	e.SignInURL = ""
	_, err = e.Exchange(t.Context(), url.Values{"username": {"a b"}})
	require.NoError(t, err)
	assert.Equal(t, "username=a+b", body)
	assert.Equal(t, "POST "+jsonURL, req.Method+" "+req.URL.String())

	// A refresh token that the settings name must be there; one that they do not
	// name need not.
	e.Client = says(200, `{"access":"a"}`)
	_, err = e.Exchange(t.Context(), nil)
	require.ErrorContains(t, err, "the answer is no token: refresh is missing")
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	e.RefreshPath = ""
	tok, err = e.Exchange(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, reauth.Token{AccessToken: "a"}, tok)

	for status, final := range map[int]bool{400: false, 401: true, 403: false, 500: false, 302: false} {
		e.Client = says(status, `{"access":"a"}`)
		_, err = e.Exchange(t.Context(), nil)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, status, failure.StatusCode)
		assert.Equal(t, final, errors.Is(err, reauth.ErrSignInRequired), status)
		assert.ErrorContains(t, err, "sign-in")
	}
	_, err = e.Exchange(t.Context(), func() {})
	assert.ErrorContains(t, err, "the body, a func(), cannot be written as JSON")
}

func TestJSONAnswerThatLacksWhatIsNamedSaysWhat(t *testing.T) {
	e := &reauth.JSONEndpoint{URL: jsonURL, AccessPath: "data.data.accessToken", RefreshPath: "data.refresh"}
	for body, want := range map[string]string{
		`{}`:                          "data.data.accessToken is missing",
		`{"data":null}`:               "data.data.accessToken is missing",
		`{"data":{"data":"SECRET"}}`:  "data.data.accessToken is missing",
		`{"data":{"data":["SECRET"]}`: "no JSON object",
		`{"data":{"data":{"accesstoken":"SECRET"}}}`:                   "data.data.accessToken is missing",
		`{"data.data.accessToken":"SECRET"}`:                           "data.data.accessToken is missing",
		`{"data":{"data":{"accessToken":["SECRET"]}}}`:                 "data.data.accessToken is no string",
		`{"data":{"data":{"accessToken":""}}}`:                         "data.data.accessToken is missing",
		`{"data":{"data":{"accessToken":"SECRET\n"}}}`:                 "data.data.accessToken has a character that a header cannot carry",
		`{"data":{"data":{"accessToken":"a"},"refresh":{"x":"SECRET"}`: "no JSON object",
		`{"data":{"data":{"accessToken":"a"},"refresh":{"x":"S"}}}`:    "data.refresh is no string",
		`"SECRET"`: "no JSON object",
		``:         "no JSON object",
	} {
		e.Client = says(200, body)
		_, err := e.Refresh(t.Context(), oldToken)
		require.ErrorContains(t, err, "the answer is no token: ", body)
		assert.ErrorContains(t, err, want, body)
		assert.NotContains(t, err.Error(), "SECRET", body)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, 200, failure.StatusCode)
	}
}

func TestJSONEndpointLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for body, want := range map[string]time.Duration{
			`{"access_token":"a","expires_in":60}`:      time.Minute,
			`{"access_token":"a","ttl":{"s":"1.5"}}`:    0,
			`{"access_token":"a","expires_in":"never"}`: 0,
		} {
			tok, err := (&reauth.JSONEndpoint{URL: jsonURL, Client: says(200, body)}).Refresh(t.Context(), oldToken)
			require.NoError(t, err)
			if want == 0 {
				assert.Zero(t, tok.Expiry)
			} else {
				assert.Equal(t, want, time.Until(tok.Expiry))
			}
		}
		e := &reauth.JSONEndpoint{URL: jsonURL, LifetimePath: "ttl.s", Client: says(200, `{"access_token":"a","expires_in":9,"ttl":{"s":"1.5"}}`)}
		tok, err := e.Refresh(t.Context(), oldToken)
		require.NoError(t, err)
		assert.Equal(t, 1500*time.Millisecond, time.Until(tok.Expiry))

		// simplejwt states no lifetime, and copies iat from the refresh token; the
		// server's own clock is in its Date header.
		serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
		e = &reauth.JSONEndpoint{URL: jsonURL, AccessPath: "access", Client: says(200, fmt.Sprintf(
			`{"access":%q}`, unsignedJWT(serverTime.Add(-time.Hour), serverTime.Add(2*time.Second)),
		), "Date", serverTime.Format(http.TimeFormat))}
		tok, err = e.Refresh(t.Context(), oldToken)
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Until(tok.Expiry))
	})
}

func TestJSONEndpointWithoutARefreshTokenAsksNobody(t *testing.T) {
	asked := 0
	client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		asked++
		return says(200, `{"access_token":"a"}`).Transport.RoundTrip(req)
	})}
	body := func(*http.Request, reauth.Token) (any, error) { return nil, nil }
	for _, tc := range []struct {
		field string
		body  func(*http.Request, reauth.Token) (any, error)
		old   reauth.Token
		asks  bool
	}{
		{"", nil, reauth.Token{}, false},
		{"", nil, reauth.Token{AccessToken: "a"}, false},
		{"refresh", nil, reauth.Token{AccessToken: "a"}, false},
		{"", body, reauth.Token{}, false},
		{"", body, reauth.Token{AccessToken: "a"}, true},
		{"-", body, reauth.Token{}, true},
		{"-", nil, reauth.Token{}, true},
	} {
		asked = 0
		e := &reauth.JSONEndpoint{URL: jsonURL, RefreshField: tc.field, Body: tc.body, Client: client}
		_, err := e.Refresh(t.Context(), tc.old)
		if tc.asks {
			assert.NoError(t, err)
			assert.Equal(t, 1, asked)
		} else {
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Zero(t, asked)
		}
	}

	e := &reauth.JSONEndpoint{URL: jsonURL, Client: client, Body: func(_ *http.Request, old reauth.Token) (any, error) {
		return nil, fmt.Errorf("device %s is locked: %w", old.RefreshToken, reauth.ErrSignInRequired)
	}}
	_, err := e.Refresh(t.Context(), oldToken)
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.EqualError(t, err, "reauth: JSONEndpoint.Body: device [redacted] is locked: sign-in required")
}

// The answers of simplejwt and flask-jwt-extended as measured, and the rest of
// the rules, for the refreshers that are for them.
func TestRefusalsOfJSONAndCookiesFinalAndPassing(t *testing.T) {
	onlyForbidden := []int{403}
	nothing := []int{}
	for _, tc := range []struct {
		server string
		status int
		body   string
		json   bool // final for a JSONEndpoint
		cookie bool // final for a CookieSession
		final  []int
		code   string
	}{
		{"simplejwt", 401, `{"detail":"Token is invalid or expired","code":"token_not_valid"}`, true, true, nil, "token_not_valid"},
		{"simplejwt, used twice", 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`, true, true, nil, "token_not_valid"},
		{"simplejwt, missing field", 400, `{"refresh":["This field is required."]}`, false, false, nil, ""},
		{"flask-jwt-extended, no cookie", 401, `{"msg":"Missing cookie \"refresh_token_cookie\""}`, true, true, nil, ""},
		{"flask-jwt-extended, expired", 401, `{"msg":"Token has expired"}`, true, true, nil, ""},
		{"flask-jwt-extended, blocklist", 401, `{"msg":"Token has been revoked"}`, true, true, nil, ""},
		{"flask-jwt-extended, CSRF", 401, `{"msg":"CSRF double submit tokens do not match"}`, true, true, nil, ""},
		{"flask-jwt-extended, garbage", 422, `{"msg":"Not enough segments"}`, false, true, nil, ""},
		{"flask-jwt-extended, garbage, as set", 422, `{"msg":"Not enough segments"}`, true, true, []int{401, 422}, ""},
		{"oauth at heart", 400, `{"error":"invalid_grant"}`, true, false, nil, "invalid_grant"},
		{"oauth at heart", 403, `{"error":"invalid_grant"}`, false, false, nil, "invalid_grant"},
		{"oauth at heart", 200, `{"error":"invalid_grant"}`, true, false, nil, "invalid_grant"},
		{"oauth at heart", 500, `{"error":"invalid_grant"}`, false, false, nil, "invalid_grant"},
		{"as set", 401, `{}`, false, false, onlyForbidden, ""},
		{"as set", 403, `{}`, true, true, onlyForbidden, ""},
		{"as set", 401, `{}`, false, false, nothing, ""},
		{"a sentence", 401, `{"error":"Session of ann@example.com has ended"}`, true, true, nil, ""},
		{"a word that is too long", 401, `{"code":"` + strings.Repeat("x", 41) + `"}`, true, true, nil, ""},
		{"a number", 401, `{"code":4711}`, true, true, nil, ""},
		{"an object", 401, `{"error":{"code":"x"}}`, true, true, nil, ""},
		{"a firewall", 403, `<html>`, false, false, nil, ""},
		{"", 404, ``, false, false, nil, ""},
		{"", 408, ``, false, false, nil, ""},
		{"", 425, ``, false, false, nil, ""},
		{"", 429, ``, false, false, nil, ""},
		{"", 500, ``, false, false, nil, ""},
		{"", 502, `<html>`, false, false, nil, ""},
		{"", 503, ``, false, false, nil, ""},
		{"", 302, ``, false, false, nil, ""},
		{"", 200, ``, false, false, nil, ""},
		{"", 200, `{"msg":"fine"}`, false, false, nil, ""},
		{"", 200, `{"error":"Session ended"}`, false, false, nil, ""},
		{"", 200, `{"code":"authorization"}`, false, false, nil, ""},
		{"", 204, ``, false, false, nil, ""},
	} {
		t.Run(fmt.Sprintf("%s/%d/%.40s", tc.server, tc.status, tc.body), func(t *testing.T) {
			answer := says(tc.status, tc.body, "Retry-After", "7")
			for _, r := range []reauth.Refresher{
				&reauth.JSONEndpoint{URL: jsonURL, FinalStatus: tc.final, Client: answer},
				&reauth.CookieSession{RefreshURL: jsonURL, FinalStatus: tc.final, Client: answer},
			} {
				tok, err := r.Refresh(t.Context(), oldToken)
				require.Error(t, err)
				assert.Zero(t, tok)
				failure, ok := errors.AsType[*reauth.RefreshError](err)
				require.True(t, ok, "%T", err)
				assert.Equal(t, tc.status, failure.StatusCode)
				assert.Equal(t, 7*time.Second, failure.RetryAfter)
				want, code := tc.json, tc.code
				if _, ok := r.(*reauth.CookieSession); ok {
					want, code = tc.cookie, ""
				}
				assert.Equal(t, code, failure.Code, "%T", r)
				assert.Equal(t, want, errors.Is(err, reauth.ErrSignInRequired), "%T is final", r)
				assert.True(t, strings.HasPrefix(err.Error(), "reauth: "), err)
			}
		})
	}
}

func TestEveryBadFieldOfJSONAndCookiesIsNamed(t *testing.T) {
	body := func(*http.Request, reauth.Token) (any, error) { return nil, nil }
	for _, tc := range []struct {
		refresher reauth.Refresher
		want      []string
	}{
		{(*reauth.JSONEndpoint)(nil), []string{"reauth: Refresher is a nil *JSONEndpoint"}},
		{(*reauth.CookieSession)(nil), []string{"reauth: the CookieSession is a nil pointer"}},
		{&reauth.JSONEndpoint{}, []string{`reauth: JSONEndpoint.URL "": must be set`}},
		{&reauth.CookieSession{}, []string{`reauth: CookieSession.RefreshURL "": must be set`}},
		{
			&reauth.JSONEndpoint{
				URL: "refresh", SignInURL: "https://user:hidden@", Method: "GET", Header: http.Header{"a b": {"hidden"}, "X": {"hidden\n"}, "host": {"x"}},
				AccessPath: "data..token", RefreshPath: ".", LifetimePath: "x.", FinalStatus: []int{401, 429, 503, 200},
			},
			[]string{
				`reauth: JSONEndpoint.URL "refresh": must begin with https:// or http://`,
				`reauth: JSONEndpoint.SignInURL "https://[redacted]@": has no host`,
				`reauth: JSONEndpoint.Method "GET": has no body for the refresh token; set RefreshField to "-", or Body`,
				`reauth: JSONEndpoint.Header "a b": is no header name`,
				`reauth: JSONEndpoint.Header "X": has a value that no header can carry`,
				`reauth: JSONEndpoint.Header "host": is written by net/http itself`,
				`reauth: JSONEndpoint.AccessPath "data..token": has an empty name in it`,
				`reauth: JSONEndpoint.RefreshPath ".": has an empty name in it`,
				`reauth: JSONEndpoint.LifetimePath "x.": has an empty name in it`,
				`reauth: JSONEndpoint.FinalStatus 429: means that the fault will pass`,
				`reauth: JSONEndpoint.FinalStatus 503: is none of 400 to 499`,
				`reauth: JSONEndpoint.FinalStatus 200: is none of 400 to 499`,
			},
		},
		{
			&reauth.JSONEndpoint{URL: jsonURL, Method: "P T", RefreshField: "token", Body: body},
			[]string{`reauth: JSONEndpoint.Method "P T": is no method`, `reauth: JSONEndpoint.RefreshField "token": is set, and Body`},
		},
		{
			&reauth.CookieSession{
				RefreshURL: "ftp://x", SignInURL: "x", AccessCookie: "-", RefreshCookie: "a b", AccessCSRFCookie: "same", RefreshCSRFCookie: "a b",
				CSRFHeader: "cookie", FinalStatus: []int{408}, Header: http.Header{"X": {" hidden"}},
			},
			[]string{
				`reauth: CookieSession.RefreshURL "ftp://x": must begin`,
				`reauth: CookieSession.SignInURL "x": must begin`,
				`reauth: CookieSession.AccessCookie "-": is the one cookie that there must be`,
				`reauth: CookieSession.RefreshCookie "a b": is no name of a cookie`,
				`reauth: CookieSession.RefreshCSRFCookie "a b": is no name of a cookie`,
				`reauth: CookieSession.CSRFHeader "cookie": would replace the cookies`,
				`reauth: CookieSession.FinalStatus 408: means that the fault will pass`,
				`reauth: CookieSession.Header "X": has a value`,
			},
		},
		{
			&reauth.CookieSession{RefreshURL: jsonURL, AccessCookie: "x", RefreshCookie: "x", AccessCSRFCookie: "x", RefreshCSRFCookie: "x", CSRFHeader: "a:"},
			[]string{
				`reauth: CookieSession.RefreshCookie "x": is the name of another cookie`,
				`reauth: CookieSession.AccessCSRFCookie "x": is the name of another cookie`,
				`reauth: CookieSession.CSRFHeader "a:": is no header name`,
			},
		},
	} {
		_, err1 := tc.refresher.Refresh(t.Context(), oldToken)
		_, err2 := tc.refresher.(interface {
			Exchange(context.Context, any) (reauth.Token, error)
		}).Exchange(t.Context(), nil)
		errs := []error{err1, err2}
		if !strings.Contains(tc.want[0], " is a nil ") { // of which New has its own words
			_, err3 := reauth.New(reauth.Config{Refresher: tc.refresher, Origins: []string{reauth.AnyOrigin}})
			errs = append(errs, err3)
		}
		for _, err := range errs {
			require.Error(t, err)
			assert.Len(t, strings.Split(err.Error(), "\n"), len(tc.want), err)
			for _, want := range tc.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "hidden")
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		}
	}
	for _, good := range []reauth.Refresher{
		&reauth.CookieSession{RefreshURL: jsonURL, AccessCSRFCookie: "XSRF-TOKEN", RefreshCSRFCookie: "XSRF-TOKEN", CSRFHeader: "X-XSRF-TOKEN"},
		&reauth.CookieSession{RefreshURL: jsonURL, AccessCookie: "session", RefreshCookie: "-", AccessCSRFCookie: "-", CSRFHeader: "-"},
		&reauth.JSONEndpoint{URL: jsonURL, Method: "GET", RefreshField: "-", Body: body, FinalStatus: []int{400, 401, 403, 422}},
	} {
		_, err := reauth.New(reauth.Config{Refresher: good, Origins: []string{reauth.AnyOrigin}})
		assert.NoError(t, err)
	}
	_, err := (&reauth.CookieSession{RefreshURL: jsonURL}).Exchange(t.Context(), nil)
	assert.EqualError(t, err, `reauth: CookieSession.SignInURL "": must be set for Exchange`)
}

func TestNewChecksOneCookieSessionOnce(t *testing.T) {
	bad := &reauth.CookieSession{}
	for _, credential := range []reauth.Credential{nil, bad} {
		_, err := reauth.New(reauth.Config{Refresher: bad, Credential: credential, Origins: []string{reauth.AnyOrigin}})
		assert.EqualError(t, err, `reauth: CookieSession.RefreshURL "": must be set`)
	}
	_, err := reauth.New(reauth.Config{
		Refresher:  &reauth.CookieSession{RefreshURL: jsonURL},
		Credential: &reauth.CookieSession{RefreshURL: "x"}, Origins: []string{reauth.AnyOrigin},
	})
	assert.ErrorContains(t, err, `CookieSession.RefreshURL "x"`)
}

func TestJSONAndCookiesFollowNoRedirectToAStranger(t *testing.T) {
	var visits atomic.Int32
	stranger := tokenServer(t, func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_, _ = io.WriteString(w, `{"access_token":"evil"}`)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, stranger+"?t=refresh-1", status)
		})
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		e := &reauth.JSONEndpoint{URL: here, Client: client}
		c := &reauth.CookieSession{RefreshURL: here, SignInURL: here, Client: client}
		_, err1 := e.Refresh(t.Context(), oldToken)
		_, err2 := e.Exchange(t.Context(), oldToken)
		_, err3 := c.Refresh(t.Context(), oldToken)
		_, err4 := c.Exchange(t.Context(), oldToken)
		for _, err := range []error{err1, err2, err3, err4} {
			require.ErrorContains(t, err, "not followed", status)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.NotContains(t, err.Error(), "refresh-1")
		}
	}
	assert.Zero(t, visits.Load())

	// Within the origin a JSONEndpoint follows, and the body goes along.
	var body []byte
	here := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			http.Redirect(w, req, "/token/", http.StatusPermanentRedirect)
			return
		}
		body, _ = io.ReadAll(req.Body)
		_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
	})
	_, err := (&reauth.JSONEndpoint{URL: here}).Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.JSONEq(t, `{"refresh_token":"refresh-1"}`, string(body))
}

func TestJSONAnswersThatAreTooLongOrBreakOffPass(t *testing.T) {
	long := says(200, `{"access_token":"a","x":"`+strings.Repeat("x", 1<<20)+`"}`)
	_, err := (&reauth.JSONEndpoint{URL: jsonURL, Client: long}).Refresh(t.Context(), oldToken)
	require.ErrorContains(t, err, "too long")
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)

	// What a CookieSession needs is in the header.
	long = says(200, strings.Repeat("x", 1<<21), "Set-Cookie", "access_token_cookie=a")
	tok, err := (&reauth.CookieSession{RefreshURL: jsonURL, Client: long}).Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.Equal(t, "a", tok.AccessToken)
}

func TestRequestsThatCannotBeMadeAreErrorsWithoutValues(t *testing.T) {
	e := &reauth.JSONEndpoint{URL: jsonURL, Body: func(*http.Request, reauth.Token) (any, error) {
		return map[string]any{"SECRET": make(chan int)}, nil
	}}
	_, err := e.Refresh(t.Context(), oldToken)
	assert.EqualError(t, err, "reauth: the body, a map[string]interface {}, cannot be written as JSON")

	c := &reauth.CookieSession{RefreshURL: jsonURL, SignInURL: jsonURL}
	_, err = c.Exchange(t.Context(), make(chan int))
	assert.EqualError(t, err, "reauth: the body, a chan int, cannot be written as JSON")
	for _, tok := range []reauth.Token{
		{AccessToken: "a", RefreshToken: "SECRET;"},
		{AccessToken: "SECRET;", RefreshToken: "r"},
		{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_refresh_token": "SECRET\n"}},
	} {
		_, err = c.Refresh(t.Context(), tok)
		require.ErrorContains(t, err, "may carry")
		assert.NotContains(t, err.Error(), "SECRET")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}
}

// The end of the caller's own context shows, also where the text is redacted.
func TestRedactedErrorKeepsTheContextsEnd(t *testing.T) {
	e := &reauth.JSONEndpoint{URL: jsonURL, Client: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("sending refresh-1: %w", context.Canceled)
	})}}
	_, err := e.Refresh(t.Context(), oldToken)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualError(t, err, `reauth: POST "`+jsonURL+`": sending [redacted]: context canceled`)
}

func FuzzJSONEndpointAnswer(f *testing.F) {
	for _, body := range []string{
		`{"data":{"access":"a","refresh":"r"},"ttl":60}`, `{"data":[],"error":"invalid_grant"}`,
		`{"code":"token_not_valid"}`, `{"data":{"access":"\u0000"}}`, `null`, `[`, ``, `{"error":"token-to-hide"}`,
	} {
		f.Add(200, []byte(body))
		f.Add(401, []byte(body))
	}
	const refresh = "token-to-hide"
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := &reauth.JSONEndpoint{
			URL: jsonURL, AccessPath: "data.access", RefreshPath: "data.refresh", LifetimePath: "ttl",
			Client: says(status, string(body)),
		}
		tok, err := e.Refresh(t.Context(), reauth.Token{RefreshToken: refresh})
		if err != nil {
			require.Zero(t, tok)
			require.NotContains(t, err.Error(), refresh)
			if failure, ok := errors.AsType[*reauth.RefreshError](err); ok && errors.Is(err, reauth.ErrSignInRequired) {
				require.True(t, status == 401 || failure.Code == "invalid_grant")
			}
			return
		}
		require.Equal(t, 2, status/100)
		require.NotEmpty(t, tok.AccessToken)
		require.NotEmpty(t, tok.RefreshToken)
		_, err = json.Marshal(tok)
		require.NoError(t, err)
	})
}
