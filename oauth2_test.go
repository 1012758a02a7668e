package reauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

var oldToken = reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}

// tokenServer serves h and returns its token endpoint.
func tokenServer(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/token"
}

// says answers every request in the same way, without a socket.
func says(status int, body string, header ...string) *http.Client {
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{
			StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, Request: req,
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1,
		}, nil
	})}
}

func TestRefusalsFinalAndPassing(t *testing.T) {
	const (
		final         = "final"
		misconfigured = "misconfigured"
		passing       = "passing"
	)
	dex := []string{"invalid_request"}
	for _, tc := range []struct {
		server     string
		status     int
		body       string
		finalCodes []string
		code       string
		want       string
	}{
		// Servers as measured: a bad refresh token, one used twice, many refreshes at once.
		{"oidc-provider", 400, `{"error":"invalid_grant","error_description":"grant request is invalid"}`, nil, "invalid_grant", final},
		{"hydra", 400, `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid."}`, nil, "invalid_grant", final},
		{"hydra, many at once", 500, `{"error":"server_error","error_description":"could not serialize access"}`, nil, "server_error", passing},
		{"fosite", 400, `{"error":"invalid_grant","error_description":"token is inactive"}`, nil, "invalid_grant", final},
		{"zitadel", 400, `{"error":"invalid_grant","error_description":"invalid refresh token"}`, nil, "invalid_grant", final},
		{"dex", 400, `{"error":"invalid_request","error_description":"Refresh token is invalid or has already been claimed by another client."}`, nil, "invalid_request", passing},
		{"dex, with FinalCodes", 400, `{"error":"invalid_request"}`, dex, "invalid_request", final},
		{"django-oauth-toolkit", 400, `{"error": "invalid_grant"}`, nil, "invalid_grant", final},
		{"go-oauth2", 401, `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid"}`, nil, "invalid_grant", final},
		// These speak no OAuth: see TestRefusalsOfJSONAndCookiesFinalAndPassing.
		{"simplejwt", 401, `{"detail":"Token is invalid or expired","code":"token_not_valid"}`, nil, "", passing},
		{"simplejwt, used twice", 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`, nil, "", passing},
		{"simplejwt, missing field", 400, `{"refresh":["This field is required."]}`, nil, "", passing},
		{"flask-jwt-extended", 401, `{"msg":"Missing cookie \"refresh_token_cookie\""}`, nil, "", passing},
		{"flask-jwt-extended, garbage", 422, `{"msg":"Not enough segments"}`, nil, "", passing},

		// The rest of the table.
		{"", 403, `{"error":"invalid_grant"}`, nil, "invalid_grant", passing},
		{"", 500, `{"error":"invalid_grant"}`, nil, "invalid_grant", passing},
		{"", 401, `{"error":"invalid_request"}`, dex, "invalid_request", final},
		{"", 403, `{"error":"invalid_request"}`, dex, "invalid_request", passing},
		{"", 503, `{"error":"invalid_request"}`, dex, "invalid_request", passing},
		{"", 400, `{"error":"Session ended"}`, []string{"Session ended"}, "Session ended", final},
		{"", 400, `{"error":"invalid_client"}`, []string{"invalid_client"}, "invalid_client", final},
		{"", 400, `{"error":"invalid_grant"}`, dex, "invalid_grant", final},
		{"", 400, `{"error":""}`, []string{""}, "", passing},
		{"", 401, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 400, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 403, `{"error":"unauthorized_client"}`, nil, "unauthorized_client", misconfigured},
		{"", 400, `{"error":"unauthorized_client"}`, nil, "unauthorized_client", misconfigured},
		{"", 400, `{"error":"unsupported_grant_type"}`, nil, "unsupported_grant_type", misconfigured},
		{"", 400, `{"error":"invalid_scope"}`, nil, "invalid_scope", misconfigured},
		{"", 503, `{"error":"invalid_client"}`, nil, "invalid_client", passing},
		{"", 400, `{"error":"something_else"}`, nil, "something_else", passing},
		{"", 400, `{"error":"slow_down"}`, nil, "slow_down", passing},
		{"a firewall", 403, `<html>Forbidden</html>`, nil, "", passing},
		{"Google", 400, `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`, nil, "", passing},
		{"", 401, ``, nil, "", passing},
		{"", 404, `not found`, nil, "", passing},
		{"", 408, ``, nil, "", passing},
		{"", 425, ``, nil, "", passing},
		{"", 429, `{"error":"slow_down"}`, nil, "slow_down", passing},
		{"", 500, ``, nil, "", passing},
		{"", 502, `<html>`, nil, "", passing},
		{"", 503, `{}`, nil, "", passing},
		{"", 504, `null`, nil, "", passing},
		{"not followed, as there is no Location", 304, ``, nil, "", passing},
		{"", 400, `{"access_token":"no token with status 400"}`, nil, "", passing},

		// 200 with an error member.
		{"", 200, `{"error":"invalid_grant"}`, nil, "invalid_grant", final},
		{"", 200, `{"error":"invalid_grant","access_token":"a"}`, nil, "invalid_grant", final},
		{"", 200, `{"error":"bad_verification_code"}`, nil, "bad_verification_code", passing},
		{"", 200, `{"error":"bad_refresh_token"}`, []string{"bad_refresh_token"}, "bad_refresh_token", final},
		{"", 200, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 200, `{"error":{"code":1},"access_token":"a"}`, nil, "", passing},
		{"", 200, `{"error":true,"access_token":"a"}`, nil, "", passing},

		// Answers that are no token.
		{"", 200, ``, nil, "", passing},
		{"", 200, `{}`, nil, "", passing},
		{"", 200, `null`, nil, "", passing},
		{"", 200, `[]`, nil, "", passing},
		{"", 200, `"access_token"`, nil, "", passing},
		{"", 200, `<html>`, nil, "", passing},
		{"", 200, `access_token=a&token_type=bearer`, nil, "", passing},
		{"", 200, `{"access_token":"a"`, nil, "", passing},
		{"", 200, `{"access_token":"a"} {}`, nil, "", passing},
		{"", 200, `{"access_token":null}`, nil, "", passing},
		{"", 200, `{"access_token":""}`, nil, "", passing},
		{"", 200, `{"access_token":1}`, nil, "", passing},
		{"", 200, `{"access_token":{"a":"b"}}`, nil, "", passing},
		{"", 200, `{"access_token":"a\nb"}`, nil, "", passing},
		{"", 200, `{"access_token":"a\u0000"}`, nil, "", passing},
		{"", 200, `{"access_token":"a","token_type":"B\r\nX-Evil: 1"}`, nil, "", passing},
		{"", 200, `{"access_token":"a","token_type":7}`, nil, "", passing},
		{"", 200, `{"access_token":"a","refresh_token":7}`, nil, "", passing},
		{"", 200, `{"Access_Token":"a"}`, nil, "", passing},
		{"", 204, ``, nil, "", passing},
	} {
		t.Run(fmt.Sprintf("%s/%d/%.40s", tc.server, tc.status, tc.body), func(t *testing.T) {
			r := &reauth.OAuth2Refresher{
				TokenURL: "https://id.example.com/token", FinalCodes: tc.finalCodes,
				Client: says(tc.status, tc.body, "Retry-After", "7"),
			}
			tok, err := r.Refresh(t.Context(), oldToken)
			require.Error(t, err)
			assert.Zero(t, tok)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%T", err)
			assert.Equal(t, tc.status, failure.StatusCode)
			assert.Equal(t, tc.code, failure.Code)
			assert.Equal(t, 7*time.Second, failure.RetryAfter)
			assert.Equal(t, tc.want == final, errors.Is(err, reauth.ErrSignInRequired), "final")
			assert.Equal(t, tc.want == misconfigured, strings.Contains(err.Error(), "misconfigured"), err)
			assert.True(t, strings.HasPrefix(err.Error(), "reauth: "), err)
		})
	}
}

func TestAnswerThatIsNoTokenSaysWhatIsMissing(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                                     "access_token is missing",
		`{"access_token":5}`:                     "access_token is no string",
		`{"access_token":"a\u0001"}`:             "access_token has a character that a header cannot carry",
		`{"access_token":"a","refresh_token":5}`: "refresh_token is no string",
		`<html>`:                                 "no JSON object",
	} {
		r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", Client: says(200, body)}
		_, err := r.Refresh(t.Context(), oldToken)
		assert.ErrorContains(t, err, want)
	}
}

func TestNoRefusalOfClientCredentialsIsFinal(t *testing.T) {
	for _, code := range []string{"invalid_grant", "invalid_client", "invalid_request", "unauthorized_client"} {
		for _, status := range []int{200, 400, 401} {
			c := &reauth.ClientCredentials{
				TokenURL: "https://id.example.com/token", ClientID: "id", ClientSecret: "secret",
				Client: says(status, `{"error":"`+code+`"}`),
			}
			_, err := c.Refresh(t.Context(), oldToken)
			require.Error(t, err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Equal(t, code != "invalid_request", strings.Contains(err.Error(), "misconfigured"), err)
		}
	}
}

func TestNoRefreshTokenNoRequest(t *testing.T) {
	r := &reauth.OAuth2Refresher{
		TokenURL: "https://id.example.com/token",
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			t.Error("a request was sent")
			return nil, errors.New("no")
		})},
	}
	_, err := r.Refresh(t.Context(), reauth.Token{AccessToken: "a"})
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.NoError(t, r.Revoke(t.Context(), oldToken), "there is no RevocationURL")
	r.RevocationURL = "https://id.example.com/revoke"
	assert.NoError(t, r.Revoke(t.Context(), reauth.Token{}), "there is nothing to revoke")
}

// received is a request to a token server, as the server understands it.
type received struct {
	method, path, accept, contentType string
	form                              url.Values
	id, secret                        string // from the Authorization header
	basic                             bool
}

func receive(t testing.TB, req *http.Request) received {
	body, err := io.ReadAll(req.Body)
	assert.NoError(t, err)
	form, err := url.ParseQuery(string(body))
	assert.NoError(t, err)
	r := received{
		method: req.Method, path: req.URL.RequestURI(), form: form,
		accept: req.Header.Get("Accept"), contentType: req.Header.Get("Content-Type"),
	}
	r.id, r.secret, r.basic = req.BasicAuth()
	// RFC 6749 section 2.3.1: both are form-encoded before they are put there.
	r.id, err = url.QueryUnescape(r.id)
	assert.NoError(t, err)
	r.secret, err = url.QueryUnescape(r.secret)
	assert.NoError(t, err)
	return r
}

func TestTokenRequest(t *testing.T) {
	var got received
	tokenURL := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		got = receive(t, req)
		_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
	})
	const id, secret = "cl:ient ü&=+%", `p@ss:w%rd+ &="/é`
	params := url.Values{"resource": {"https://a", "https://b"}}
	type form = url.Values
	grant := form{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-1"}}
	with := func(a, b form) form {
		out := form{}
		for _, f := range []form{a, b} {
			for k, v := range f {
				out[k] = v
			}
		}
		return out
	}
	for _, tc := range []struct {
		name      string
		refresher reauth.Refresher
		form      form
		basic     bool
		id        string
		secret    string
	}{
		{"no client", &reauth.OAuth2Refresher{TokenURL: tokenURL}, grant, false, "", ""},
		{
			"public client", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id},
			with(grant, form{"client_id": {id}}), false, "", "",
		},
		{
			"none", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id, AuthStyle: reauth.AuthStyleNone},
			with(grant, form{"client_id": {id}}), false, "", "",
		},
		{
			"secret", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id, ClientSecret: secret},
			grant, true, id, secret,
		},
		{
			"basic", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: reauth.AuthStyleBasic},
			grant, true, id, secret,
		},
		{
			"basic without secret", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id, AuthStyle: reauth.AuthStyleBasic},
			grant, true, id, "",
		},
		{
			"form", &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: reauth.AuthStyleForm},
			with(grant, form{"client_id": {id}, "client_secret": {secret}}), false, "", "",
		},
		{
			"scopes and params", &reauth.OAuth2Refresher{TokenURL: tokenURL, Scopes: []string{"read", "write"}, Params: params},
			with(grant, form{"scope": {"read write"}, "resource": {"https://a", "https://b"}}), false, "", "",
		},
		{
			"client credentials",
			&reauth.ClientCredentials{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, Scopes: []string{"read"}, Params: params},
			form{"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {"https://a", "https://b"}}, true, id, secret,
		},
		{
			"client credentials in the form",
			&reauth.ClientCredentials{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: reauth.AuthStyleForm},
			form{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}, false, "", "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // what one refresh did must not show in the next
				tok, err := tc.refresher.Refresh(t.Context(), oldToken)
				require.NoError(t, err)
				assert.Equal(t, "access-2", tok.AccessToken)
				assert.Equal(t, received{
					method: "POST", path: "/token", accept: "application/json",
					contentType: "application/x-www-form-urlencoded",
					form:        tc.form, basic: tc.basic, id: tc.id, secret: tc.secret,
				}, got)
			}
		})
	}
	assert.Equal(t, url.Values{"resource": {"https://a", "https://b"}}, params)
}

// RFC 6749 section 3.2: a query that the endpoint has must be kept.
func TestQueryOfTokenURLIsKept(t *testing.T) {
	var got received
	tokenURL := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		got = receive(t, req)
		_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
	})
	_, err := (&reauth.OAuth2Refresher{TokenURL: tokenURL + "?key=k%20v"}).Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.Equal(t, "/token?key=k%20v", got.path)
}

func TestTokenOfAnswer(t *testing.T) {
	old := reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "DPoP",
		Extra: map[string]string{"id_token": "id-1", "scope": "read", "expires_in": "60"},
	}
	for _, tc := range []struct {
		name, body string
		refresher  reauth.Token
		client     reauth.Token
	}{
		{
			"all", `{"access_token":"a","token_type":"bearer","refresh_token":"r","expires_in":60,"scope":"x","id_token":"id-2"}`,
			reauth.Token{AccessToken: "a", TokenType: "bearer", RefreshToken: "r", Extra: map[string]string{"scope": "x", "id_token": "id-2"}},
			reauth.Token{AccessToken: "a", TokenType: "bearer", RefreshToken: "r", Extra: map[string]string{"scope": "x", "id_token": "id-2"}},
		},
		{
			"least", `{"access_token":"a"}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: map[string]string{"scope": "read", "id_token": "id-1"}},
			reauth.Token{AccessToken: "a"},
		},
		{
			"null and empty", `{"access_token":"a","refresh_token":null,"token_type":"","scope":null,"id_token":"","error":null}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: map[string]string{"scope": "read", "id_token": ""}},
			reauth.Token{AccessToken: "a", Extra: map[string]string{"id_token": ""}},
		},
		{
			"other types", `{"access_token":"a", "n":1.50, "b":true, "o":{ "k" : [1, "x y"] }, "error":""}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: map[string]string{
				"scope": "read", "id_token": "id-1", "n": "1.50", "b": "true", "o": `{"k":[1,"x y"]}`,
			}},
			reauth.Token{AccessToken: "a", Extra: map[string]string{"n": "1.50", "b": "true", "o": `{"k":[1,"x y"]}`}},
		},
		{
			"members twice", `{"access_token":"b","access_token":"a","scope":"1","scope":"2"}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: map[string]string{"scope": "2", "id_token": "id-1"}},
			reauth.Token{AccessToken: "a", Extra: map[string]string{"scope": "2"}},
		},
		{
			"no error", `{"access_token":"a","error":false}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: map[string]string{"scope": "read", "id_token": "id-1"}},
			reauth.Token{AccessToken: "a"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, status := range []int{200, 201} {
				r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", Client: says(status, tc.body)}
				tok, err := r.Refresh(t.Context(), old)
				require.NoError(t, err)
				tok.Expiry = time.Time{}
				assert.Equal(t, tc.refresher, tok)

				c := &reauth.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "id", Client: says(status, tc.body)}
				tok, err = c.Refresh(t.Context(), old)
				require.NoError(t, err)
				tok.Expiry = time.Time{}
				assert.Equal(t, tc.client, tok)
			}
		})
	}
	assert.Equal(t, map[string]string{"id_token": "id-1", "scope": "read", "expires_in": "60"}, old.Extra, "the old token is not written to")
}

func TestLifetimeCountsFromTheRequest(t *testing.T) {
	serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC) // a clock of its own
	jwt := func(claims string) string {
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(claims)) + ".c2ln"
	}
	exp := strconv.FormatInt(serverTime.Add(90*time.Second).Unix(), 10)
	iat := strconv.FormatInt(serverTime.Add(-time.Hour).Unix(), 10)
	for _, tc := range []struct {
		access, expiresIn string
		date              string
		want              time.Duration // 0: unknown
	}{
		{"opaque", `60`, "", time.Minute},
		{"opaque", `1`, "", time.Second},
		{"opaque", `0.5`, "", 500 * time.Millisecond},
		{"opaque", `"60"`, "", time.Minute},
		{"opaque", `null`, "", 0},
		{"opaque", `{}`, "", 0},
		{"opaque", `"abc"`, "", 0},
		{"opaque", `0`, "", 0},
		{"opaque", `-1`, "", 0},
		{"opaque", `1e999`, "", 0},
		{jwt(`{"exp":` + exp + `,"iat":` + iat + `}`), `30`, serverTime.Format(http.TimeFormat), 30 * time.Second},
		{jwt(`{"exp":` + exp + `,"iat":` + iat + `}`), `null`, serverTime.Format(http.TimeFormat), 90 * time.Second},
		{jwt(`{"exp":` + exp + `,"iat":` + iat + `}`), `null`, "yesterday", time.Hour + 90*time.Second},
	} {
		t.Run(fmt.Sprintf("%.10s/%s/%s", tc.access, tc.expiresIn, tc.date), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := says(200, fmt.Sprintf(`{"access_token":%q,"expires_in":%s}`, tc.access, tc.expiresIn), "Date", tc.date)
				r := &reauth.OAuth2Refresher{
					TokenURL: "https://id.example.com/token",
					Client: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
						time.Sleep(3 * time.Second) // a slow server does not make the token live longer
						return answer.Transport.RoundTrip(req)
					})},
				}
				sent := time.Now()
				tok, err := r.Refresh(t.Context(), oldToken)
				require.NoError(t, err)
				if tc.want == 0 {
					assert.Zero(t, tok.Expiry)
				} else {
					assert.Equal(t, tc.want, tok.Expiry.Sub(sent))
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	date := serverTime.Format(http.TimeFormat)
	for _, tc := range []struct {
		value, date string
		want        time.Duration
	}{
		{"7", "", 7 * time.Second},
		{" 120 ", "", 2 * time.Minute},
		{"0", "", 0},
		{"-5", "", 0},
		{"soon", "", 0},
		{"", "", 0},
		{"99999999999999999999", "", 10 * 365 * 24 * time.Hour},
		{serverTime.Add(time.Minute).Format(http.TimeFormat), date, time.Minute},
		{serverTime.Add(time.Minute).Format(time.RFC850), date, time.Minute},
		{serverTime.Add(time.Minute).Format(time.ANSIC), date, time.Minute},
		{serverTime.Add(-time.Minute).Format(http.TimeFormat), date, 0},
		{date, date, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", date, 10 * 365 * 24 * time.Hour},
	} {
		for _, status := range []int{503, 429, 400, 200} {
			r := &reauth.OAuth2Refresher{
				TokenURL: "https://id.example.com/token",
				Client:   says(status, `{}`, "Retry-After", tc.value, "Date", tc.date),
			}
			_, err := r.Refresh(t.Context(), oldToken)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok)
			assert.Equal(t, tc.want, failure.RetryAfter, "%q, status %d", tc.value, status)
		}
	}

	synctest.Test(t, func(t *testing.T) { // no Date: the local clock
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token",
			Client:   says(503, ``, "Retry-After", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)),
		}
		_, err := r.Refresh(t.Context(), oldToken)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, time.Minute, failure.RetryAfter)
	})
}

func TestBrokenAnswersPass(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		status  int // 0: no answer at all
		want    string
	}{
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a","x":"`+strings.Repeat("x", 1<<20)+`"}`)
		}, 200, "too long"},
		"without end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, 200, "too long"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"access_token":"a"}`)
		}, 200, "broke off"},
		"cut off, status 400": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		}, 400, "passing"},
		"closed": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reauth.OAuth2Refresher{TokenURL: tokenServer(t, tc.handler)}
			_, err := r.Refresh(t.Context(), oldToken)
			require.Error(t, err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.ErrorContains(t, err, tc.want)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			assert.Equal(t, tc.status != 0, ok)
			if ok {
				assert.Equal(t, tc.status, failure.StatusCode)
			}
		})
	}
}

func TestAnswerOfOneMebibyteIsRead(t *testing.T) {
	const start, end = `{"access_token":"a","x":"`, `"}`
	x := strings.Repeat("x", 1<<20-len(start)-len(end))
	r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", Client: says(200, start+x+end)}
	tok, err := r.Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.Equal(t, x, tok.Extra["x"])
}

func TestContextOfTheCallerIsUsed(t *testing.T) {
	stop := make(chan struct{})
	arrived := make(chan struct{}, 1)
	slow := func(begin string) string {
		return tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
			if begin != "" {
				_, _ = io.WriteString(w, begin)
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = io.Copy(io.Discard, req.Body)
			arrived <- struct{}{}
			select {
			case <-stop:
			case <-req.Context().Done():
			}
		})
	}
	t.Cleanup(func() { close(stop) }) // runs before the servers wait for their handlers

	for name, tokenURL := range map[string]string{"no answer": slow(""), "half an answer": slow(`{"access_`)} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := &reauth.OAuth2Refresher{TokenURL: tokenURL}
			go func() { <-arrived; cancel() }()
			_, err := r.Refresh(ctx, oldToken)
			assert.ErrorIs(t, err, context.Canceled)
			_, ok := errors.AsType[*reauth.RefreshError](err)
			assert.False(t, ok, "a RefreshError never matches a context error")

			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			go func() { <-arrived }()
			_, err = r.Refresh(ctx, oldToken)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		})
	}

	type key struct{}
	r := &reauth.OAuth2Refresher{
		TokenURL: "https://id.example.com/token",
		Client: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			assert.Equal(t, "value", req.Context().Value(key{}))
			return nil, errors.New("no network")
		})},
	}
	_, err := r.Refresh(context.WithValue(t.Context(), key{}, "value"), oldToken)
	assert.ErrorContains(t, err, "no network")
}

// A slow body runs into the timeout of the client, which says it is a deadline.
func TestTimeoutOfTheClientPasses(t *testing.T) {
	tokenURL := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, `{"access_`)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
	})
	r := &reauth.OAuth2Refresher{TokenURL: tokenURL, Client: &http.Client{Timeout: 50 * time.Millisecond}}
	_, err := r.Refresh(t.Context(), oldToken)
	require.Error(t, err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	if _, ok := errors.AsType[*reauth.RefreshError](err); ok {
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
	}
}

func TestAnswersAreReadToTheEndAndClosed(t *testing.T) {
	for _, status := range []int{200, 400, 503} {
		body := &tokenAnswerBody{Reader: strings.NewReader(`{"access_token":"a","refresh_token":"r"}` + strings.Repeat(" ", 5000))}
		r := &reauth.OAuth2Refresher{
			TokenURL: "https://id.example.com/token", RevocationURL: "https://id.example.com/revoke",
			Client: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: req}, nil
			})},
		}
		_, _ = r.Refresh(t.Context(), oldToken)
		assert.Equal(t, 1, body.closed)
		rest, err := io.ReadAll(body.Reader)
		assert.NoError(t, err)
		assert.Empty(t, rest)
		_ = r.Revoke(t.Context(), oldToken)
		assert.Equal(t, 2, body.closed)
	}
}

type tokenAnswerBody struct {
	io.Reader
	closed int
}

func (c *tokenAnswerBody) Close() error { c.closed++; return nil }

func TestRedirectToAStrangerCarriesNothing(t *testing.T) {
	var visits atomic.Int32
	stranger := tokenServer(t, func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_, _ = io.WriteString(w, `{"access_token":"evil"}`)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, stranger+"?refresh_token=refresh-1", status)
		})
		r := &reauth.OAuth2Refresher{
			TokenURL: here, RevocationURL: here, ClientID: "id", ClientSecret: "secret",
			// The client's own rule cannot allow it.
			Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }},
		}
		c := &reauth.ClientCredentials{TokenURL: here, RevocationURL: here, ClientID: "id", ClientSecret: "secret"}
		_, err1 := r.Refresh(t.Context(), oldToken)
		_, err2 := c.Refresh(t.Context(), oldToken)
		for _, err := range []error{err1, err2, r.Revoke(t.Context(), oldToken), c.Revoke(t.Context(), oldToken)} {
			require.Error(t, err, status)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.NotContains(t, err.Error(), "refresh-1")
		}
	}
	assert.Zero(t, visits.Load())
}

func TestRedirectWithinTheOriginIsFollowed(t *testing.T) {
	var got received
	tokenURL := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			http.Redirect(w, req, "/v2/token", http.StatusTemporaryRedirect)
			return
		}
		got = receive(t, req)
		_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
	})
	r := &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: "id", ClientSecret: "secret"}
	tok, err := r.Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.Equal(t, "access-2", tok.AccessToken)
	assert.Equal(t, "refresh-1", got.form.Get("refresh_token"))
	assert.Equal(t, "secret", got.secret)
}

func TestRevoke(t *testing.T) {
	var got received
	status, body := 200, ""
	server := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		got = receive(t, req)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	r := &reauth.OAuth2Refresher{
		TokenURL: "https://id.example.com/token", RevocationURL: server, ClientID: "id", ClientSecret: "secret",
		Scopes: []string{"read"}, Params: url.Values{"resource": {"x"}},
	}
	c := &reauth.ClientCredentials{TokenURL: "https://id.example.com/token", RevocationURL: server, ClientID: "id", ClientSecret: "secret"}

	for _, revoker := range []reauth.Revoker{r, c} {
		require.NoError(t, revoker.Revoke(t.Context(), oldToken))
		assert.Equal(t, url.Values{"token": {"refresh-1"}, "token_type_hint": {"refresh_token"}}, got.form)
		assert.Equal(t, "id", got.id)
		assert.Equal(t, "secret", got.secret)
		require.NoError(t, revoker.Revoke(t.Context(), reauth.Token{AccessToken: "access-1"}))
		assert.Equal(t, url.Values{"token": {"access-1"}, "token_type_hint": {"access_token"}}, got.form)
	}

	for _, tc := range []struct {
		status int
		body   string
		want   string // "": no error
	}{
		{200, `{"error":"whatever"}`, ""},
		{200, `OK`, ""},
		{204, ``, ""},
		{400, `{"error":"invalid_token"}`, ""},
		{400, `{"error":"unsupported_token_type"}`, "400 unsupported_token_type"},
		{400, `{"error":"invalid_grant"}`, "400 invalid_grant"},
		{401, `{"error":"invalid_client","error_description":"refresh-1"}`, "401 invalid_client"},
		{503, `refresh-1`, "503"},
	} {
		status, body = tc.status, tc.body
		err := r.Revoke(t.Context(), oldToken)
		if tc.want == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, tc.want)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.NotContains(t, err.Error(), "refresh-1")
	}
}

// The client may be one that signs in elsewhere, with this very library.
func TestSignInRequiredElsewhereIsNotFinalHere(t *testing.T) {
	r := &reauth.OAuth2Refresher{
		TokenURL: "https://id.example.com/token",
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &reauth.RefreshError{StatusCode: 400, Err: reauth.ErrSignInRequired}
		})},
	}
	_, err := r.Refresh(t.Context(), oldToken)
	require.Error(t, err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	const good = "https://id.example.com/token"
	for _, tc := range []struct {
		refresher reauth.Refresher
		want      []string // nil: nothing is wrong
	}{
		{&reauth.OAuth2Refresher{TokenURL: good}, nil},
		{&reauth.OAuth2Refresher{TokenURL: "http://localhost:8080/token?x=y", RevocationURL: good, ClientID: "id", AuthStyle: reauth.AuthStyleBasic}, nil},
		{&reauth.ClientCredentials{TokenURL: "HTTPS://user@id.example.com", ClientID: "id", Params: url.Values{"refresh_token": {"x"}}}, nil},
		{(*reauth.OAuth2Refresher)(nil), []string{`reauth: Refresher is a nil *OAuth2Refresher`}},
		{(*reauth.ClientCredentials)(nil), []string{`reauth: Refresher is a nil *ClientCredentials`}},
		{&reauth.OAuth2Refresher{}, []string{`reauth: OAuth2Refresher.TokenURL "": must be set`}},
		{&reauth.ClientCredentials{TokenURL: good}, []string{`reauth: ClientCredentials.ClientID "": must be set`}},
		{&reauth.OAuth2Refresher{TokenURL: "/token"}, []string{`reauth: OAuth2Refresher.TokenURL "/token": must begin with https:// or http://`}},
		{&reauth.OAuth2Refresher{TokenURL: "id.example.com:443/token"}, []string{`"id.example.com:443/token": must begin with https:// or http://`}},
		{&reauth.OAuth2Refresher{TokenURL: "ftp://id.example.com"}, []string{`"ftp://id.example.com": must begin with https:// or http://`}},
		{&reauth.OAuth2Refresher{TokenURL: "https:///token"}, []string{`"https:///token": has no host`}},
		{&reauth.OAuth2Refresher{TokenURL: "https://:443/token"}, []string{`"https://:443/token": has no host`}},
		{&reauth.OAuth2Refresher{TokenURL: "https:token"}, []string{`"https:token": has no host`}},
		{&reauth.OAuth2Refresher{TokenURL: good + "#"}, []string{`must have no fragment`}},
		{&reauth.OAuth2Refresher{TokenURL: good + "#x"}, []string{`must have no fragment`}},
		{&reauth.OAuth2Refresher{TokenURL: "https://id.example.com/%zz"}, []string{`"https://id.example.com/%zz": is no URL`}},
		{
			&reauth.OAuth2Refresher{
				TokenURL: "token", RevocationURL: "revoke", ClientSecret: "hidden", AuthStyle: 7,
				Params: url.Values{"grant_type": nil, "refresh_token": {"x"}, "client_id": {"x"}, "client_secret": {"x"}, "scope": {"x"}, "resource": {"x"}},
			},
			[]string{
				`reauth: OAuth2Refresher.TokenURL "token"`,
				`reauth: OAuth2Refresher.RevocationURL "revoke"`,
				`reauth: OAuth2Refresher.ClientID "": must be set, since ClientSecret is`,
				`reauth: OAuth2Refresher.AuthStyle 7`,
				`reauth: OAuth2Refresher.Params "client_id"`,
				`reauth: OAuth2Refresher.Params "client_secret"`,
				`reauth: OAuth2Refresher.Params "grant_type"`,
				`reauth: OAuth2Refresher.Params "refresh_token"`,
				`reauth: OAuth2Refresher.Params "scope"`,
			},
		},
		{&reauth.OAuth2Refresher{TokenURL: good, AuthStyle: -1}, []string{`reauth: OAuth2Refresher.AuthStyle -1`}},
		{&reauth.OAuth2Refresher{TokenURL: good, AuthStyle: reauth.AuthStyleBasic}, []string{`reauth: OAuth2Refresher.ClientID "": must be set for AuthStyleBasic`}},
		{&reauth.ClientCredentials{TokenURL: good, ClientSecret: "hidden"}, []string{`reauth: ClientCredentials.ClientID "": must be set, since ClientSecret is`}},
		{&reauth.ClientCredentials{TokenURL: good, ClientID: "id", Params: url.Values{"scope": nil}}, []string{`reauth: ClientCredentials.Params "scope"`}},
	} {
		errs := []error{refreshFault(t, tc.refresher)}
		if tc.want == nil {
			assert.ErrorContains(t, errs[0], "no network")
			continue
		}
		errs = append(errs, tc.refresher.(reauth.Revoker).Revoke(t.Context(), oldToken))
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
}

// refreshFault is what Refresh says without a network.
func refreshFault(t *testing.T, r reauth.Refresher) error {
	client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("no network")
	})}
	switch r := r.(type) {
	case *reauth.OAuth2Refresher:
		if r != nil {
			r.Client = client
		}
	case *reauth.ClientCredentials:
		if r != nil {
			r.Client = client
		}
	}
	_, err := r.Refresh(t.Context(), oldToken)
	return err
}

// Every place that a secret can be put into, or come back from, holds one here,
// and each of them contains this word.
const hush = "SECRET"

func TestNoErrorHoldsASecret(t *testing.T) {
	tok := reauth.Token{AccessToken: "access-" + hush + "+/=", RefreshToken: `refresh-"\` + hush + "+/="}
	const clientSecret = "client " + hush + "/+&"
	params := url.Values{"assertion": {"params-" + hush}}
	// A server can give away only what it knows.
	server := clientsThatTell(t, clientSecret, tok.RefreshToken, tok.AccessToken)
	serverOfProgram := clientsThatTell(t, clientSecret)

	urls := []string{
		"https://user" + hush + ":pass" + hush + "@id.example.com/token?key=" + hush,
		"https://" + hush + "@id.example.com/token?" + hush + "@x",
		// None of these is sent anywhere.
		"https://user:" + hush + "@id.example.com/%zz?key=" + hush,
		"https://user:" + hush + "@id.example.com/token?#" + hush,
		"https://user:a/" + hush + "@id.example.com/token#",
		"https://user:a?" + hush + "@id.example.com/token#",
		"https://user:a#" + hush + "@id.example.com/token#",
		"https://user:" + hush + " \x00@id.example.com:port/token",
		"https:" + hush + "@id.example.com",
		"https:/user:" + hush + "@id.example.com",
		"://" + hush + "@id.example.com",
		hush + "://id@id.example.com",
		"user:" + hush + "@id.example.com/token",
		"ftp://user:" + hush + "@id.example.com/token",
	}
	for name, client := range server {
		for _, u := range urls {
			for _, style := range []reauth.AuthStyle{reauth.AuthStyleBasic, reauth.AuthStyleForm} {
				r := &reauth.OAuth2Refresher{TokenURL: u, RevocationURL: u, ClientID: "id", ClientSecret: clientSecret, AuthStyle: style, Client: client, Params: params}
				c := &reauth.ClientCredentials{TokenURL: u, RevocationURL: u, ClientID: "id", ClientSecret: clientSecret, AuthStyle: style, Client: serverOfProgram[name], Params: params}
				if name == "transport error with all of the form" {
					r.Params, c.Params = nil, nil // what they hold is not known to be secret
				}
				_, err1 := r.Refresh(t.Context(), tok)
				_, err2 := c.Refresh(t.Context(), tok)
				require.Error(t, err1, name)
				require.Error(t, err2, name)
				for _, err := range []error{err1, err2, r.Revoke(t.Context(), tok), c.Revoke(t.Context(), tok)} {
					if err == nil {
						continue // revoked
					}
					for e := err; e != nil; e = errors.Unwrap(e) {
						assert.NotContains(t, e.Error(), hush, "%s: %T", name, e)
					}
					if failure, ok := errors.AsType[*reauth.RefreshError](err); ok {
						assert.NotContains(t, failure.Code, hush, name)
					}
				}
				for _, v := range []any{r, *r, c, *c, struct{ R reauth.Refresher }{r}, []reauth.ClientCredentials{*c}} {
					for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
						text := fmt.Sprintf(verb, v)
						assert.NotContains(t, text, hush, "%s of %T", verb, v)
						assert.NotContains(t, text, fmt.Sprintf("%x", hush), "%s of %T", verb, v)
					}
				}
				for _, v := range []any{r, *r, c, *c} {
					var log bytes.Buffer
					slog.New(slog.NewTextHandler(&log, nil)).Info("x", "r", v)
					slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "r", v)
					assert.Contains(t, log.String(), "id.example.com")
					assert.NotContains(t, log.String(), hush)
				}
			}
		}
	}
	for _, v := range []any{(*reauth.OAuth2Refresher)(nil), (*reauth.ClientCredentials)(nil)} {
		assert.Equal(t, "<nil>", fmt.Sprint(v))
	}
}

// clientsThatTell repeats secrets wherever an answer or an error can.
func clientsThatTell(t *testing.T, secrets ...string) map[string]*http.Client {
	echo := url.Values{"s": secrets}.Encode() + strings.Join(secrets, " ")
	quoted, err := json.Marshal(echo)
	require.NoError(t, err)

	fails := func(text func(*http.Request) error) *http.Client {
		return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			return nil, text(req)
		})}
	}
	return map[string]*http.Client{
		"transport error with all of the form": fails(func(req *http.Request) error {
			b, _ := io.ReadAll(req.Body)
			return fmt.Errorf("sent %s %s to %s", b, echo, req.URL)
		}),
		"transport error with a URL": fails(func(req *http.Request) error {
			return fmt.Errorf("wrapped: %w", &url.Error{Op: "Dial", URL: req.URL.String(), Err: errors.New("no network")})
		}),
		"redirect":                  says(307, "", "Location", "https://evil.example.com/"+url.PathEscape(echo)+"?"+echo),
		"redirect to something bad": says(307, "", "Location", "https://evil.example.com/%zz"+secrets[len(secrets)-1]),
		"description":               says(400, `{"error":"invalid_grant","error_description":`+string(quoted)+`}`),
		"error":                     says(400, `{"error":`+string(quoted)+`}`),
		"error object":              says(400, `{"error":{"message":`+string(quoted)+`}}`),
		"200 with error":            says(200, `{"error":`+string(quoted)+`,"access_token":"a"}`),
		"text":                      says(500, echo),
		"no JSON":                   says(200, echo),
		"no token":                  says(200, `{"token":`+string(quoted)+`}`),
		"wrong type":                says(200, `{"access_token":[`+string(quoted)+`]}`),
		"wrong character":           says(200, `{"access_token":"\n`+hush+`"}`),
		"wrong token type":          says(200, `{"access_token":"a","token_type":"\n`+hush+`"}`),
		"header":                    says(503, ``, "Retry-After", echo, "Date", echo),
		"body that breaks": {Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			body := io.NopCloser(io.MultiReader(strings.NewReader("{"), errReader{errors.New(echo)}))
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body, Request: req}, nil
		})},
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A program compares codes: a session whose refresh token is a common word must
// not change them.
func TestErrorCodeIsKeptWhateverTheTokenIs(t *testing.T) {
	r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", Client: says(400, `{"error":"invalid_grant"}`)}
	_, err := r.Refresh(t.Context(), reauth.Token{RefreshToken: "r"})
	failure, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok)
	assert.Equal(t, "invalid_grant", failure.Code)
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

func FuzzTokenAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","token_type":"bearer","refresh_token":"r","expires_in":3600,"scope":"x"}`,
		`{"access_token":"a","expires_in":"1.5","id_token":null,"o":{"k":[1]}}`,
		`{"access_token":"a","error":""}`, `{"access_token":"a","error":{}}`, `{"access_token":"\u0000"}`,
		`{"error":"invalid_grant"}`, `{"error":"invalid_client"}`, `{"error":{"code":400}}`,
		`null`, `[]`, `{`, ``, `{"access_token":"a","access_token":1}`, `{"error":"token-to-hide"}`,
		"{\"access_token\":\"a\",\"o\":{\"\x80\":[1]}}",
	} {
		f.Add(200, []byte(body), "7", "Thu, 01 May 2031 12:00:00 GMT")
		f.Add(400, []byte(body), "Thu, 01 May 2031 12:01:00 GMT", "")
	}
	f.Add(503, []byte(``), "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT")
	f.Add(307, []byte(``), "-1", "x")
	const refresh, secret = "token-to-hide", "secret-to-hide"
	f.Fuzz(func(t *testing.T, status int, body []byte, retryAfter, date string) {
		client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}, "Date": {date}},
				Body: io.NopCloser(bytes.NewReader(body)), Request: req,
			}, nil
		})}
		r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", ClientID: "id", ClientSecret: secret, Client: client}
		sent := time.Now()
		tok, err := r.Refresh(t.Context(), reauth.Token{RefreshToken: refresh})
		if err != nil {
			require.Zero(t, tok)
			require.NotContains(t, err.Error(), refresh)
			require.NotContains(t, err.Error(), secret)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok)
			require.Equal(t, status, failure.StatusCode)
			require.GreaterOrEqual(t, failure.RetryAfter, time.Duration(0))
			if errors.Is(err, reauth.ErrSignInRequired) {
				require.Equal(t, "invalid_grant", failure.Code)
				require.True(t, status == 400 || status == 401 || status/100 == 2)
			}
			return
		}
		require.Equal(t, 2, status/100)
		require.NotEmpty(t, tok.RefreshToken)
		require.True(t, tok.Expiry.IsZero() || tok.Expiry.After(sent))
		req, err := http.NewRequest(http.MethodGet, "https://api.example.com/", nil)
		require.NoError(t, err)
		require.NoError(t, reauth.HeaderCredential{}.Apply(req, tok))
		_, err = json.Marshal(tok)
		require.NoError(t, err)
	})
}

func TestNewChecksTheBuiltInRefreshers(t *testing.T) {
	origins := []string{"https://api.example.com"}
	_, err := reauth.New(reauth.Config{Origins: origins, Refresher: &reauth.OAuth2Refresher{TokenURL: "token", ClientSecret: "hidden"}})
	require.ErrorContains(t, err, `reauth: OAuth2Refresher.TokenURL "token"`)
	assert.ErrorContains(t, err, `reauth: OAuth2Refresher.ClientID ""`)
	assert.NotContains(t, err.Error(), "hidden")
	_, err = reauth.New(reauth.Config{Origins: origins, Refresher: &reauth.ClientCredentials{}})
	assert.ErrorContains(t, err, `reauth: ClientCredentials.TokenURL ""`)
}
