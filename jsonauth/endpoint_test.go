package jsonauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
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
			`{"data":{"refreshToken":"r","data":{"accessToken":"a","x":1}},"user":"bob","n":[1, 2]}`, token("a", "r", "user", "bob", "n", "[1,2]", "x", "1"),
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

func TestARefusalInWordsIsFinalAtASignInAlone(t *testing.T) {
	for _, tc := range []struct {
		body                   string
		atSignIn, atTheRefresh bool
	}{
		{"", true, true},
		{`{"detail":"no"}`, true, true},
		{"Unauthorized", true, false},
		{"wrong password\n", true, false},
		{"<html>Blocked</html>", false, false},
		{"\n<!DOCTYPE html>", false, false},
	} {
		e := &jsonauth.Endpoint{URL: endpointURL, Client: testworld.Answering(401, tc.body).Client()}
		_, err := e.Exchange(t.Context(), nil)
		assert.Equal(t, tc.atSignIn, errors.Is(err, reauth.ErrSignInRequired), "%q", tc.body)
		_, err = e.Refresh(t.Context(), reauth.Token{RefreshToken: "refresh-1"})
		assert.Equal(t, tc.atTheRefresh, errors.Is(err, reauth.ErrSignInRequired), "%q", tc.body)
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
			expiryPath string
		}{
			{"", `{"access_token":"a","at":"` + serverTime.Add(time.Minute).Format(time.RFC3339) + `"}`, time.Minute, "at"},
			{"", `{"access_token":"a","at":` + fmt.Sprint(serverTime.Add(time.Minute).Unix()) + `}`, time.Minute, "at"},
			{"", `{"access_token":"a","at":"` + fmt.Sprint(serverTime.Add(time.Minute).UnixMilli()) + `"}`, time.Minute, "at"},
			{"", `{"access_token":"a","at":60}`, 0, "at"},
			{"", `{"access_token":"a","at":"` + serverTime.Add(-time.Minute).Format(time.RFC3339) + `"}`, 0, "at"},
			{"", `{"access_token":"a","expires_in":9,"at":"` + serverTime.Add(time.Minute).Format(time.RFC3339) + `"}`, 9 * time.Second, "at"},
			{"", `{"access_token":"a","expires_in":60}`, time.Minute, ""},
			{"", `{"access_token":"a","ttl":{"s":"1.5"}}`, 0, ""},
			{"", `{"access_token":"a","expires_in":"never"}`, 0, ""},
			{"ttl.s", `{"access_token":"a","expires_in":9,"ttl":{"s":"1.5"}}`, 1500 * time.Millisecond, ""},
			// simplejwt states no lifetime, and copies iat from the refresh token. Its
			// clock is in the Date header.
			{"", `{"access_token":"` + jwt + `"}`, 2 * time.Second, ""},
		} {
			server := testworld.Answering(200, tc.body, "Date", serverTime.Format(http.TimeFormat))
			e := &jsonauth.Endpoint{URL: endpointURL, LifetimePath: tc.path, ExpiryPath: tc.expiryPath, Client: server.Client()}
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
		{"OAuth at heart", 403, `{"error":"invalid_grant"}`, nil, "invalid_grant", true},
		{"OAuth at heart", 429, `{"error":"invalid_grant"}`, nil, "invalid_grant", false},
		{"a firewall", 401, `<html>Unauthorized</html>`, nil, "", false},
		{"a proxy", 401, `Unauthorized`, nil, "", false},
		{"a proxy", 401, `401 Unauthorized`, nil, "", false},
		{"a throttle", 400, `Too many requests`, []int{400}, "", false},
		{"nothing to read", 401, " \n", nil, "", true},
		{"behind a mark", 401, "\ufeff" + `{"msg":"expired"}`, nil, "", true},
		{"an array", 401, `["expired"]`, nil, "", true},
		{"half of it", 401, `{"msg":"exp`, nil, "", false},
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

func TestCodesThatSignOutAndThatDoNot(t *testing.T) {
	for _, tc := range []struct {
		server   string
		status   int
		body     string
		endpoint jsonauth.Endpoint
		code     string
		final    bool
	}{
		{"Firebase", 400, `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`, jsonauth.Endpoint{CodePath: "error.message", FinalCodes: []string{"TOKEN_EXPIRED"}}, "TOKEN_EXPIRED", true},
		{"Firebase, throttled", 400, `{"error":{"code":400,"message":"TOO_MANY_ATTEMPTS_TRY_LATER"}}`, jsonauth.Endpoint{CodePath: "error.message", FinalCodes: []string{"TOKEN_EXPIRED"}}, "TOO_MANY_ATTEMPTS_TRY_LATER", false},
		{"Cognito", 400, `{"__type":"NotAuthorizedException","message":"Refresh Token has expired"}`, jsonauth.Endpoint{CodePath: "__type", FinalCodes: []string{"NotAuthorizedException"}}, "NotAuthorizedException", true},
		{"in an array", 422, `{"errors":[{"code":"session_gone"},{"code":"x"}]}`, jsonauth.Endpoint{CodePath: "errors.0.code", FinalCodes: []string{"session_gone"}}, "session_gone", true},
		{"in another element", 422, `{"errors":[{"code":"x"},{"code":"session_gone"}]}`, jsonauth.Endpoint{CodePath: "errors.0.code", FinalCodes: []string{"session_gone"}}, "x", false},
		{"no such element", 422, `{"errors":[{"code":"x"}]}`, jsonauth.Endpoint{CodePath: "errors.1.code", FinalCodes: []string{"x"}}, "", false},
		{"no index", 422, `{"errors":[{"code":"x"}]}`, jsonauth.Endpoint{CodePath: "errors.-1.code", FinalCodes: []string{"x"}}, "", false},
		{"Slack", 200, `{"ok":false,"error":"invalid_refresh_token"}`, jsonauth.Endpoint{FinalCodes: []string{"invalid_refresh_token"}}, "invalid_refresh_token", true},
		{"Slack, busy", 200, `{"ok":false,"error":"ratelimited"}`, jsonauth.Endpoint{FinalCodes: []string{"invalid_refresh_token"}}, "ratelimited", false},
		{"a number with status 200", 200, `{"code":40140,"msg":"the refresh token has expired"}`, jsonauth.Endpoint{FinalCodes: []string{"40140"}}, "40140", true},
		{"another number", 200, `{"code":40141,"msg":"busy"}`, jsonauth.Endpoint{FinalCodes: []string{"40140"}}, "", false},
		{"a number under a path", 200, `{"ret":{"code":40141}}`, jsonauth.Endpoint{CodePath: "ret.code", FinalCodes: []string{"40140"}}, "40141", false},
		{"a sentence that is named", 400, `{"error":"Session of ann has ended"}`, jsonauth.Endpoint{FinalCodes: []string{"Session of ann has ended"}}, "Session of ann has ended", true},
		{"a sentence under a path", 400, `{"message":"Session of ann"}`, jsonauth.Endpoint{CodePath: "message"}, "", false},
		{"beside invalid_grant", 403, `{"error":"invalid_grant","__type":"x"}`, jsonauth.Endpoint{CodePath: "__type"}, "x", true},
		{"not a code", 400, `{"message":{"a":1}}`, jsonauth.Endpoint{CodePath: "message", FinalCodes: []string{""}}, "", false},
		{"too many requests", 429, `{"error":"gone"}`, jsonauth.Endpoint{FinalCodes: []string{"gone"}, Final: func(int, []byte) bool { return true }}, "gone", false},
		{"down", 503, `{"error":"gone"}`, jsonauth.Endpoint{FinalCodes: []string{"gone"}}, "gone", false},
		{"as Final says", 500, `{"Message":"Token revoked"}`, jsonauth.Endpoint{Final: func(status int, body []byte) bool {
			return status == 500 && strings.Contains(string(body), "revoked")
		}}, "", true},
		{"as Final says", 200, `<html>Please sign in</html>`, jsonauth.Endpoint{Final: func(int, []byte) bool { return true }}, "", true},
		{"as Final does not say", 500, `{"Message":"Deadlock"}`, jsonauth.Endpoint{Final: func(int, []byte) bool { return false }}, "", false},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.server, tc.status), func(t *testing.T) {
			e := tc.endpoint
			e.URL, e.Client = endpointURL, testworld.Answering(tc.status, tc.body).Client()
			testworld.AssertRefused(t, &e, oldToken, tc.status, tc.code, tc.final)
			_, err := e.Exchange(t.Context(), nil)
			assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
		})
	}
	// An answer with a token is one, whatever else it says.
	e := &jsonauth.Endpoint{URL: endpointURL, FinalCodes: []string{"0"}, Final: func(int, []byte) bool { panic("asked") }}
	e.Client = testworld.Answering(200, `{"code":0,"access_token":"a"}`).Client()
	_, err := e.Refresh(t.Context(), oldToken)
	assert.NoError(t, err)
}

func TestNewRefreshTokenIsReturnedBesideTheError(t *testing.T) {
	nested := jsonauth.Endpoint{AccessPath: "data.0.access", RefreshPath: "data.0.refresh"}
	cookie := jsonauth.Endpoint{RefreshCookie: "rt"}
	for _, tc := range []struct {
		endpoint jsonauth.Endpoint
		status   int
		body     string
		header   []string
		want     string
	}{
		{jsonauth.Endpoint{}, 200, `{"access_token":"a\nb","refresh_token":"refresh-2"}`, nil, "refresh-2"},
		{nested, 201, `{"data":[{"refresh":"refresh-2","access":"a`, nil, "refresh-2"},
		{nested, 200, `{"data":[{"refresh":"refresh-2"}],"error":"try_again"}`, nil, ""},
		{nested, 200, `{"refresh":"refresh-2"}`, nil, ""},
		{cookie, 200, `{}`, []string{"Set-Cookie", "rt=refresh-2; Path=/refresh"}, "refresh-2"},
		{cookie, 200, `{"refresh_token":"refresh-2"}`, nil, ""},
		{cookie, 401, `{}`, []string{"Set-Cookie", "rt=refresh-2; Path=/refresh"}, ""},
		{jsonauth.Endpoint{}, 200, `<html>Back soon</html>`, nil, ""},
	} {
		e := tc.endpoint
		e.URL, e.Client = endpointURL, testworld.Answering(tc.status, tc.body, tc.header...).Client()
		e.Final = func(int, []byte) bool { assert.Empty(t, tc.want); return false }
		tok, err := e.Refresh(t.Context(), oldToken)
		require.Error(t, err)
		assert.Equal(t, tc.status == 401, errors.Is(err, reauth.ErrSignInRequired))
		assert.Equal(t, reauth.Token{RefreshToken: tc.want}, tok, tc.body)
		e.Final = nil
		tok, err = e.Exchange(t.Context(), nil)
		assert.Error(t, err)
		assert.Zero(t, tok)
	}
}

func TestLateAnswerIsTheErrorOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &jsonauth.Endpoint{URL: endpointURL, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			resp := testworld.Respond(req, 401, "")
			resp.Body = io.NopCloser(hangingReader{req.Context()})
			return resp, nil
		}).Client()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := e.Refresh(ctx, oldToken)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		_, err = e.Exchange(ctx, nil)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A hangingReader gives nothing until its context ends.
type hangingReader struct{ ctx context.Context }

func (r hangingReader) Read([]byte) (int, error) { return 0, testworld.Pass(r.ctx, time.Hour) }

func TestRefreshTokenInACookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := testworld.Answering(200, `{"access_token":"a","user":{"name":"ann"}}`,
			"Set-Cookie", "rt=refresh-2; Path=/refresh; HttpOnly; Max-Age=60", "Set-Cookie", "theme=dark", "Set-Cookie", "rt=; Path=/old; Max-Age=0")
		e := &jsonauth.Endpoint{
			URL: endpointURL, SignInURL: "https://id.example.com/login", RefreshCookie: "rt",
			Header: http.Header{"Cookie": {"affinity=7"}}, Client: server.Client(),
		}
		assert.NoError(t, e.Validate())
		assert.True(t, e.NeedsToken())
		tok, err := e.Refresh(t.Context(), reauth.Token{RefreshToken: "refresh-1"})
		require.NoError(t, err)
		want := reauth.Token{AccessToken: "a", RefreshToken: "refresh-2", RefreshExpiry: time.Now().Add(time.Minute), Extra: map[string]string{"user": `{"name":"ann"}`}}
		assert.Equal(t, want, tok)
		got := server.Last()
		assert.Equal(t, []string{"affinity=7; rt=refresh-1"}, got.Header["Cookie"])
		assert.Equal(t, "POST ", got.Method+" "+got.Body)

		tok, err = e.Exchange(t.Context(), map[string]string{"user": "ann"})
		require.NoError(t, err)
		assert.Equal(t, want, tok)
		assert.Equal(t, []string{"affinity=7"}, server.Last().Header["Cookie"])

		// An answer that sets none leaves the old one in use.
		e.Client = testworld.Answering(200, `{"access_token":"a"}`).Client()
		e.Body = func(_ *http.Request, old reauth.Token) (any, error) { return map[string]string{"device": "7"}, nil }
		tok, err = e.Refresh(t.Context(), want)
		require.NoError(t, err)
		assert.Equal(t, "refresh-2", tok.RefreshToken)
		assert.Equal(t, want.RefreshExpiry, tok.RefreshExpiry)
		_, err = e.Exchange(t.Context(), nil)
		assert.EqualError(t, err, "reauth: token server answered 200: no token in the answer: rt is missing")

		_, err = e.Refresh(t.Context(), reauth.Token{AccessToken: "a"})
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		_, err = e.Refresh(t.Context(), reauth.Token{RefreshToken: "SECRET; x=y"})
		assert.EqualError(t, err, `reauth: the value of the cookie "rt" has a character that a cookie cannot carry`)
	})
}

// Two sessions that shared a Jar were answered as each other.
func TestEachSessionHasItsOwnRefreshCookie(t *testing.T) {
	e := &jsonauth.Endpoint{URL: endpointURL, RefreshCookie: "rt", Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		c, err := req.Cookie("rt")
		require.NoError(t, err)
		resp := testworld.Respond(req, 200, `{"access_token":"of `+c.Value+`"}`)
		resp.Header.Set("Set-Cookie", "rt="+c.Value+"'; Path=/")
		return resp, nil
	}).Client()}
	for range 3 {
		for _, who := range []string{"ann", "bob"} {
			tok := reauth.Token{RefreshToken: who}
			for i := range 3 {
				var err error
				tok, err = e.Refresh(t.Context(), tok)
				require.NoError(t, err)
				assert.Equal(t, "of "+who+strings.Repeat("'", i), tok.AccessToken)
			}
		}
	}
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	const want = `jsonauth: Endpoint.Client.Jar (set): would be shared by all sessions; name the cookie in RefreshCookie instead`
	for _, e := range []*jsonauth.Endpoint{{RefreshField: "-"}, {RefreshCookie: "rt"}, {RefreshField: "-", Body: e.Body}} {
		e.URL, e.Client = endpointURL, &http.Client{Jar: jar}
		assert.EqualError(t, e.Validate(), want)
		_, err := reauth.New(reauth.Config{Refresher: e, Origins: []string{"https://api.example.com"}})
		assert.ErrorContains(t, err, "name the cookie in RefreshCookie instead")
	}
	assert.NoError(t, (&jsonauth.Endpoint{URL: endpointURL, Client: &http.Client{Jar: jar}}).Validate(), "the request has the session's refresh token")
}

func TestMembersBesideTheTokensAreKept(t *testing.T) {
	for _, tc := range []struct {
		access, refresh, body string
		want                  map[string]string
	}{
		{
			"AuthenticationResult.AccessToken", "AuthenticationResult.RefreshToken",
			`{"AuthenticationResult":{"AccessToken":"a","IdToken":"id","ExpiresIn":60},"ChallengeParameters":{}}`,
			map[string]string{"IdToken": "id", "ExpiresIn": "60", "ChallengeParameters": "{}"},
		},
		{
			"data.tokens.0.value", "data.tokens.1.value",
			`{"id":"outer","data":{"id":"inner","user":"ann","tokens":[{"value":"a","kind":"access"},{"value":"r","kind":"refresh"},{"value":"x"}]}}`,
			map[string]string{"id": "outer", "user": "ann", "kind": "access"},
		},
		{"data.access", "data.refresh", `{"data":{"access":"a","refresh":"r","refresh_expires_in":60,"refresh_in":30,"x":null}}`, nil},
	} {
		e := &jsonauth.Endpoint{URL: endpointURL, AccessPath: tc.access, RefreshPath: tc.refresh, Client: testworld.Answering(200, tc.body).Client()}
		tok, err := e.Refresh(t.Context(), oldToken)
		require.NoError(t, err)
		assert.Equal(t, "a", tok.AccessToken)
		assert.Equal(t, tc.want, tok.Extra)
		assert.Equal(t, strings.Contains(tc.body, "refresh_in"), !tok.RefreshExpiry.IsZero() && !tok.RefreshAfter.IsZero())
	}
}

func TestExtraIsBounded(t *testing.T) {
	tok := oldToken
	for i := range 50 { // each answer with a new member
		name := fmt.Sprintf("trace%d", i)
		e := &jsonauth.Endpoint{URL: endpointURL, Client: testworld.Answering(200, `{"access_token":"a","`+name+`":"`+strings.Repeat("x", 10<<10)+`","id":"me"}`).Client()}
		var err error
		tok, err = e.Refresh(t.Context(), tok)
		require.NoError(t, err)
		assert.Contains(t, tok.Extra, name, "the answer's own come first")
		assert.Equal(t, "me", tok.Extra["id"])
		size := 0
		for name, value := range tok.Extra {
			size += len(name) + len(value)
		}
		assert.LessOrEqual(t, size, 64<<10)
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
				RefreshField: ".x", AccessPath: "data..token", RefreshPath: ".", LifetimePath: "x.", ExpiryPath: "..", CodePath: "a..b", FinalStatus: []int{401, 429, 503, 200},
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
				`jsonauth: Endpoint.ExpiryPath "..": has an empty name in it`,
				`jsonauth: Endpoint.CodePath "a..b": has an empty name in it`,
				`jsonauth: Endpoint.FinalStatus 429: means a temporary failure`,
				`jsonauth: Endpoint.FinalStatus 503: is not one of 400 to 499`,
				`jsonauth: Endpoint.FinalStatus 200: is not one of 400 to 499`,
			},
		},
		{
			&jsonauth.Endpoint{URL: endpointURL, Method: "P T", RefreshField: "token", Body: body},
			[]string{`jsonauth: Endpoint.Method "P T": is not an HTTP method`, `jsonauth: Endpoint.RefreshField "token": is set although Body writes the request`},
		},
		{
			&jsonauth.Endpoint{URL: endpointURL, Method: "GET", RefreshCookie: "r t", RefreshField: "-", RefreshPath: "refresh"},
			[]string{
				`jsonauth: Endpoint.RefreshCookie "r t": is not a cookie name`, `jsonauth: Endpoint.RefreshField "-": is set although RefreshCookie carries`,
				`jsonauth: Endpoint.RefreshPath "refresh": is set although RefreshCookie carries`,
			},
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
			if tok.RefreshToken != "" { // salvaged
				require.NotErrorIs(t, err, reauth.ErrSignInRequired)
				require.NotEqual(t, refresh, tok.RefreshToken)
				require.Equal(t, 2, status/100)
				tok.RefreshToken, tok.RefreshExpiry = "", time.Time{}
			}
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
