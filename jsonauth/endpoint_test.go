package jsonauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/reauth-go/reauth/jsonauth"
)

const endpointURL = "https://id.example.com/refresh"

var oldToken = reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}

func TestRequestAndAnswerUseThePaths(t *testing.T) {
	old := reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "JWT",
		Extra: map[string]string{"user": "ann", "kept": "yes"},
	}
	// The new token keeps the type and Extra unless the answer has them.
	token := func(access, refresh string, extra ...string) reauth.Token {
		tok := reauth.Token{AccessToken: access, RefreshToken: refresh, TokenType: "JWT", Extra: map[string]string{"user": "ann", "kept": "yes"}}
		for i := 0; i < len(extra); i += 2 {
			tok.Extra[extra[i]] = extra[i+1]
		}
		return tok
	}
	const noType, jsonType, formType = "", "application/json", "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct {
		endpoint       jsonauth.Endpoint
		sent, sentType string
		answer         string
		want           reauth.Token
	}{
		"no settings": {
			jsonauth.Endpoint{}, `{"refresh_token":"refresh-1"}`, jsonType,
			`{"access_token":"a","refresh_token":"r"}`, token("a", "r"),
		},
		"one token for both": {
			jsonauth.Endpoint{RefreshField: "token", AccessPath: "token", RefreshPath: "token"}, `{"token":"refresh-1"}`, jsonType,
			`{"token":"t"}`, token("t", "t"),
		},
		"the refresh token is kept": {
			jsonauth.Endpoint{RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh"}, `{"refresh":"refresh-1"}`, jsonType,
			`{"access":"a","refresh":null}`, token("a", "refresh-1"),
		},
		"nested": {
			jsonauth.Endpoint{RefreshField: "auth.refresh.token", AccessPath: "data.data.accessToken", RefreshPath: "data.refreshToken"},
			`{"auth":{"refresh":{"token":"refresh-1"}}}`, jsonType,
			`{"data":{"refreshToken":"r","data":{"accessToken":"a","x":1}},"user":"bob","n":[1, 2]}`, token("a", "r", "user", "bob", "n", "[1,2]"),
		},
		"no refresh token in the request": {
			jsonauth.Endpoint{RefreshField: "-", Method: "GET"}, ``, noType,
			`{"access_token":"a"}`, token("a", "refresh-1"),
		},
		"a body of its own": {
			jsonauth.Endpoint{Body: func(req *http.Request, old reauth.Token) (any, error) {
				req.Header.Set("Authorization", "Bearer "+old.RefreshToken)
				delete(old.Extra, "kept") // is its own copy
				return map[string]any{"grant": "renew", "device": 7}, nil
			}}, `{"device":7,"grant":"renew"}`, jsonType,
			`{"access_token":"a","token_type":"bearer"}`, token("a", "refresh-1", "token_type", "bearer"),
		},
		"a form": {
			jsonauth.Endpoint{Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return url.Values{"t": {old.RefreshToken}}, nil
			}}, `t=refresh-1`, formType,
			`{"access_token":"a"}`, token("a", "refresh-1"),
		},
		"no error is meant": {
			jsonauth.Endpoint{}, `{"refresh_token":"refresh-1"}`, jsonType,
			`{"error":"none at all","access_token":"a"}`, token("a", "refresh-1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := testworld.Answering(200, tc.answer)
			e := tc.endpoint
			e.URL, e.Header, e.Client = endpointURL, http.Header{"x-api-key": {"key"}}, server.Client()
			tok, err := e.Refresh(t.Context(), old)
			require.NoError(t, err)
			assert.Equal(t, tc.want, tok)
			got := server.Last()
			method := "POST"
			if e.Method != "" {
				method = e.Method
			}
			assert.Equal(t, method+" "+endpointURL, got.Method+" "+got.URL)
			assert.Equal(t, tc.sent, got.Body)
			assert.Equal(t, tc.sentType, got.Header.Get("Content-Type"))
			assert.Equal(t, "key", got.Header.Get("X-Api-Key"))
			assert.Equal(t, "application/json", got.Header.Get("Accept"))
			if name == "a body of its own" {
				assert.Equal(t, "Bearer refresh-1", got.Header.Get("Authorization"))
			}
		})
	}
	assert.Equal(t, map[string]string{"user": "ann", "kept": "yes"}, old.Extra, "the old token is not written to")
}

func TestExchangeSignsIn(t *testing.T) {
	server := testworld.Answering(201, `{"access":"a","refresh":"r","user":{"name":"ann"}}`)
	e := &jsonauth.Endpoint{
		URL: endpointURL, SignInURL: "https://id.example.com/create?x=y", Method: "PUT",
		RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh", LifetimePath: "ttl", Client: server.Client(),
	}
	tok, err := e.Exchange(t.Context(), map[string]string{"username": "ann"})
	require.NoError(t, err)
	assert.Equal(t, reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"user": `{"name":"ann"}`}}, tok)
	assert.Equal(t, `POST https://id.example.com/create?x=y {"username":"ann"}`, server.Last().Method+" "+server.Last().URL+" "+server.Last().Body)

	e.SignInURL = ""
	_, err = e.Exchange(t.Context(), url.Values{"username": {"a b"}})
	require.NoError(t, err)
	assert.Equal(t, "POST "+endpointURL+" username=a+b", server.Last().Method+" "+server.Last().URL+" "+server.Last().Body)

	// A refresh token that the settings name is required; otherwise it is not.
	e.Client = testworld.Answering(200, `{"access":"a"}`).Client()
	_, err = e.Exchange(t.Context(), nil)
	require.EqualError(t, err, "reauth: token server answered 200: no token in the answer: refresh is missing")
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	e.RefreshPath = ""
	tok, err = e.Exchange(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, reauth.Token{AccessToken: "a"}, tok)

	for status, final := range map[int]bool{400: false, 401: true, 403: false, 500: false, 302: false} {
		e.Client = testworld.Answering(status, `{"access":"a"}`).Client()
		_, err = e.Exchange(t.Context(), nil)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, status, failure.StatusCode)
		assert.Equal(t, final, errors.Is(err, reauth.ErrSignInRequired), status)
		assert.ErrorContains(t, err, "the sign-in ")
	}
	for _, body := range []any{func() {}, strings.NewReader(`{"user":"x"}`)} {
		_, err = e.Exchange(t.Context(), body)
		assert.ErrorContains(t, err, "reauth: the body")
	}
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
		enc := base64.RawURLEncoding.EncodeToString
		jwt := enc([]byte(`{"alg":"HS256"}`)) + "." + enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`,
			serverTime.Add(-time.Hour).Unix(), serverTime.Add(2*time.Second).Unix())) + ".c2ln"
		for _, tc := range []struct {
			path, body string
			want       time.Duration
		}{
			{"", `{"access_token":"a","expires_in":60}`, time.Minute},
			{"", `{"access_token":"a","ttl":{"s":"1.5"}}`, 0},
			{"", `{"access_token":"a","expires_in":"never"}`, 0},
			{"ttl.s", `{"access_token":"a","expires_in":9,"ttl":{"s":"1.5"}}`, 1500 * time.Millisecond},
			// simplejwt states no lifetime, and copies iat from the refresh token. Its
			// clock is in the Date header.
			{"", `{"access_token":"` + jwt + `"}`, 2 * time.Second},
		} {
			server := testworld.Answering(200, tc.body, "Date", serverTime.Format(http.TimeFormat))
			e := &jsonauth.Endpoint{URL: endpointURL, LifetimePath: tc.path, Client: server.Client()}
			tok, err := e.Refresh(t.Context(), oldToken)
			require.NoError(t, err)
			if tc.want == 0 {
				assert.Zero(t, tok.Expiry)
			} else {
				assert.Equal(t, tc.want, time.Until(tok.Expiry))
			}
		}
	})
}

func TestWithoutANeededTokenThereIsNoRequest(t *testing.T) {
	body := func(*http.Request, reauth.Token) (any, error) { return nil, nil }
	for _, tc := range []struct {
		field        string
		body         func(*http.Request, reauth.Token) (any, error)
		old          reauth.Token
		sends, needs bool
	}{
		{"", nil, reauth.Token{}, false, true},
		{"", nil, reauth.Token{AccessToken: "a"}, false, true},
		{"refresh", nil, reauth.Token{AccessToken: "a"}, false, true},
		{"", body, reauth.Token{}, false, true},
		{"", body, reauth.Token{AccessToken: "a"}, true, true},
		{"-", body, reauth.Token{}, true, false},
		{"-", nil, reauth.Token{}, true, false},
	} {
		server := testworld.Answering(200, `{"access_token":"a"}`)
		e := &jsonauth.Endpoint{URL: endpointURL, RefreshField: tc.field, Body: tc.body, Client: server.Client()}
		assert.Equal(t, tc.needs, e.NeedsToken())
		_, err := e.Refresh(t.Context(), tc.old)
		if tc.sends {
			assert.NoError(t, err)
			assert.Len(t, server.Requests(), 1)
		} else {
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Empty(t, server.Requests())
		}
	}
}

func TestErrorOfBody(t *testing.T) {
	for _, tc := range []struct {
		body  any
		err   error
		want  string
		final bool
	}{
		{nil, fmt.Errorf("device refresh-1 is locked: %w", reauth.ErrSignInRequired), "jsonauth: Endpoint.Body: device [redacted] is locked: sign-in required", true},
		{nil, context.Canceled, "jsonauth: Endpoint.Body: context canceled", false},
		{map[string]any{"SECRET": make(chan int)}, nil, "reauth: the body, a map[string]interface {}, cannot be encoded as JSON", false},
	} {
		e := &jsonauth.Endpoint{URL: endpointURL, Body: func(*http.Request, reauth.Token) (any, error) { return tc.body, tc.err }}
		_, err := e.Refresh(t.Context(), oldToken)
		assert.EqualError(t, err, tc.want)
		assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
		assert.NotErrorIs(t, err, context.Canceled, "it is not the caller's")
	}
}

func TestRefusalsThatSignOutAndThatDoNot(t *testing.T) {
	for _, tc := range []struct {
		server      string
		status      int
		body        string
		finalStatus []int
		code        string
		final       bool
	}{
		// As measured.
		{"simplejwt", 401, `{"detail":"Token is invalid or expired","code":"token_not_valid"}`, nil, "token_not_valid", true},
		{"simplejwt, used twice", 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`, nil, "token_not_valid", true},
		{"simplejwt, missing field", 400, `{"refresh":["This field is required."]}`, nil, "", false},
		{"flask-jwt-extended, expired", 401, `{"msg":"Token has expired"}`, nil, "", true},
		{"flask-jwt-extended, garbage", 422, `{"msg":"Not enough segments"}`, nil, "", false},
		{"flask-jwt-extended, garbage, as set", 422, `{"msg":"Not enough segments"}`, []int{401, 422}, "", true},

		{"OAuth at heart", 400, `{"error":"invalid_grant"}`, nil, "invalid_grant", true},
		{"OAuth at heart", 403, `{"error":"invalid_grant"}`, nil, "invalid_grant", false},
		{"OAuth at heart", 200, `{"error":"invalid_grant"}`, nil, "invalid_grant", true},
		{"OAuth at heart", 500, `{"error":"invalid_grant"}`, nil, "invalid_grant", false},
		{"as set", 401, `{}`, []int{403}, "", false},
		{"as set", 403, `{}`, []int{403}, "", true},
		{"as set", 401, `{}`, []int{}, "", false},
		{"a sentence", 401, `{"error":"Session of ann@example.com has ended"}`, nil, "", true},
		{"a firewall", 403, `<html>`, nil, "", false},
		{"", 404, ``, nil, "", false},
		{"", 408, ``, nil, "", false},
		{"", 425, ``, nil, "", false},
		{"", 429, ``, nil, "", false},
		{"", 500, ``, nil, "", false},
		{"", 502, `<html>`, nil, "", false},
		{"", 503, ``, nil, "", false},
		{"", 302, ``, nil, "", false},
		{"", 200, ``, nil, "", false},
		{"", 200, `{"msg":"fine"}`, nil, "", false},
		{"", 200, `{"error":"Session ended"}`, nil, "", false},
		{"", 200, `{"code":"authorization"}`, nil, "", false},
		{"", 200, strings.Repeat(" ", 1<<20) + `{}`, nil, "", false},
		{"", 204, ``, nil, "", false},
	} {
		t.Run(fmt.Sprintf("%s/%d/%.40s", tc.server, tc.status, tc.body), func(t *testing.T) {
			e := &jsonauth.Endpoint{URL: endpointURL, FinalStatus: tc.finalStatus, Client: testworld.Answering(tc.status, tc.body, "Retry-After", "7").Client()}
			failure := testworld.AssertRefused(t, e, oldToken, tc.status, tc.code, tc.final)
			assert.Equal(t, 7*time.Second, failure.RetryAfter)
			if tc.status == 200 && !tc.final {
				assert.ErrorContains(t, failure, "no token in the answer: ")
			}
		})
	}
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	body := func(*http.Request, reauth.Token) (any, error) { return nil, nil }
	for _, tc := range []struct {
		endpoint *jsonauth.Endpoint
		want     []string // nil: nothing is wrong
	}{
		{&jsonauth.Endpoint{URL: endpointURL, Method: "GET", RefreshField: "-", Body: body, FinalStatus: []int{400, 401, 403, 422}}, nil},
		{nil, []string{"jsonauth: the Endpoint is a nil pointer"}},
		{&jsonauth.Endpoint{}, []string{`jsonauth: Endpoint.URL "": must be set`}},
		{
			&jsonauth.Endpoint{
				URL: "refresh", SignInURL: "https://user:hidden@", Method: "GET", Header: http.Header{"a b": {"hidden"}, "X": {"hidden\n"}, "host": {"x"}},
				RefreshField: ".x", AccessPath: "data..token", RefreshPath: ".", LifetimePath: "x.", FinalStatus: []int{401, 429, 503, 200},
			},
			[]string{
				`jsonauth: Endpoint.URL "refresh": must begin with https:// or http://`,
				`jsonauth: Endpoint.SignInURL "https://[redacted]@": has no host`,
				`jsonauth: Endpoint.Method "GET": has no body for the refresh token; set RefreshField to "-", or Body`,
				`jsonauth: Endpoint.Header "X": has a value that no header can carry`,
				`jsonauth: Endpoint.Header "a b": is not a header name`,
				`jsonauth: Endpoint.Header "host": is written by net/http itself`,
				`jsonauth: Endpoint.RefreshField ".x": has an empty name in it`,
				`jsonauth: Endpoint.AccessPath "data..token": has an empty name in it`,
				`jsonauth: Endpoint.RefreshPath ".": has an empty name in it`,
				`jsonauth: Endpoint.LifetimePath "x.": has an empty name in it`,
				`jsonauth: Endpoint.FinalStatus 429: means a temporary failure`,
				`jsonauth: Endpoint.FinalStatus 503: is not one of 400 to 499`,
				`jsonauth: Endpoint.FinalStatus 200: is not one of 400 to 499`,
			},
		},
		{
			&jsonauth.Endpoint{URL: endpointURL, Method: "P T", RefreshField: "token", Body: body},
			[]string{`jsonauth: Endpoint.Method "P T": is not an HTTP method`, `jsonauth: Endpoint.RefreshField "token": is set although Body writes the request`},
		},
	} {
		testworld.AssertFaults(t, tc.want, tc.endpoint.Validate())
		if tc.want != nil {
			_, err1 := tc.endpoint.Refresh(t.Context(), oldToken)
			_, err2 := tc.endpoint.Exchange(t.Context(), nil)
			testworld.AssertFaults(t, tc.want, err1, err2)
		}
	}
}

func TestNothingShowsASecret(t *testing.T) {
	const word = testworld.Secret
	tok := reauth.Token{AccessToken: "access-" + word + "+/==", RefreshToken: "refresh-" + word + "%22+/==", Extra: map[string]string{"id_token": "id-" + word}}
	basic := base64.StdEncoding.EncodeToString([]byte("x:" + word))
	const at = "https://user-" + word + ":pass-" + word + "@id.example.com/token?key=" + word
	signIns := []any{
		map[string]any{"username": "ann", "password": "pass " + word + ` "&+é`, "otp": []string{"otp-" + word}},
		url.Values{"username": {"ann"}, "password": {"pass " + word + ` "&+é`}},
	}
	for name, e := range map[string]jsonauth.Endpoint{
		"header": {URL: at, Header: http.Header{"X-Api-Key": {"key-" + word}, "Proxy-Authorization": {"Basic " + basic}}},
		"nested": {URL: at, RefreshField: "a.b", AccessPath: "a.b"},
		"body": {URL: at, Body: func(req *http.Request, old reauth.Token) (any, error) {
			req.Header.Set("Authorization", "Bearer "+old.RefreshToken)
			return map[string]any{"secret": "body-" + word, "old": old}, nil
		}},
		"form": {URL: at, Body: func(_ *http.Request, old reauth.Token) (any, error) {
			return url.Values{"secret": {"body " + word}, "t": {old.RefreshToken}}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			testworld.AssertNoLeak(t, func(client *http.Client) reauth.Refresher {
				e := e
				e.Client = client
				return &e
			}, tok, signIns, basic, url.QueryEscape("pass "+word))
		})
	}
	assert.Equal(t, `[jsonauth.Endpoint "https://id.example.com/refresh"]`, fmt.Sprintf("%#v", jsonauth.Endpoint{URL: endpointURL}))
}

// embedding has a field of its own beside those of an Endpoint.
type embedding struct {
	jsonauth.Endpoint
	Tenant string
}

func TestEmbeddedEndpointKeepsItsMethods(t *testing.T) {
	var r reauth.Refresher = &embedding{Endpoint: jsonauth.Endpoint{URL: endpointURL, RefreshField: "-", Client: testworld.Answering(200, `{"access_token":"a"}`).Client()}}
	tok, err := r.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, "a", tok.AccessToken)
	assert.False(t, r.(interface{ NeedsToken() bool }).NeedsToken())
	assert.True(t, new(embedding).NeedsToken())
	assert.NoError(t, r.(interface{ Validate() error }).Validate())
	assert.ErrorContains(t, new(embedding).Validate(), "jsonauth: Endpoint.URL")
}

func FuzzEndpointAnswer(f *testing.F) {
	for _, body := range []string{
		`{"data":{"access":"a","refresh":"r"},"ttl":60}`, `{"data":[],"error":"invalid_grant"}`,
		`{"code":"token_not_valid"}`, `{"data":{"access":"\u0000"}}`, `null`, `[`, ``, `{"error":"token-to-hide"}`,
	} {
		f.Add(200, []byte(body))
		f.Add(401, []byte(body))
	}
	const refresh = "token-to-hide"
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := &jsonauth.Endpoint{
			URL: endpointURL, AccessPath: "data.access", RefreshPath: "data.refresh", LifetimePath: "ttl",
			Client: testworld.Answering(status, string(body)).Client(),
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
