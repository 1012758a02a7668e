package oauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	"github.com/reauth-go/reauth/oauth"
)

var oldToken = reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}

// refreshes checks that r gets a new token.
func refreshes(t *testing.T, r *oauth.Refresher, old reauth.Token) reauth.Token {
	t.Helper()
	tok, err := r.Refresh(t.Context(), old)
	require.NoError(t, err)
	return tok
}

func TestRefusalsThatSignOutAndThatDoNot(t *testing.T) {
	const (
		final         = "final"
		misconfigured = "misconfigured"
		temporary     = "temporary"
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
		// As measured: an invalid refresh token, one used twice, many refreshes at once.
		{"oidc-provider", 400, `{"error":"invalid_grant","error_description":"grant request is invalid"}`, nil, "invalid_grant", final},
		{"hydra", 400, `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid."}`, nil, "invalid_grant", final},
		{"hydra, many at once", 500, `{"error":"server_error","error_description":"could not serialize access"}`, nil, "server_error", temporary},
		{"fosite", 400, `{"error":"invalid_grant","error_description":"token is inactive"}`, nil, "invalid_grant", final},
		{"zitadel", 400, `{"error":"invalid_grant","error_description":"invalid refresh token"}`, nil, "invalid_grant", final},
		{"dex", 400, `{"error":"invalid_request","error_description":"Refresh token is invalid or has already been claimed by another client."}`, nil, "invalid_request", temporary},
		{"dex, with FinalCodes", 400, `{"error":"invalid_request"}`, dex, "invalid_request", final},
		{"django-oauth-toolkit", 400, `{"error": "invalid_grant"}`, nil, "invalid_grant", final},
		{"go-oauth2", 401, `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid"}`, nil, "invalid_grant", final},
		// These do not speak OAuth; packages jsonauth and cookieauth are for them.
		{"simplejwt", 401, `{"detail":"Token is invalid or expired","code":"token_not_valid"}`, nil, "", temporary},
		{"simplejwt, missing field", 400, `{"refresh":["This field is required."]}`, nil, "", temporary},
		{"flask-jwt-extended", 401, `{"msg":"Missing cookie \"refresh_token_cookie\""}`, nil, "", temporary},
		{"flask-jwt-extended, garbage", 422, `{"msg":"Not enough segments"}`, nil, "", temporary},
		{"Google", 400, `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`, nil, "", temporary},
		{"a firewall", 403, `<html>Forbidden</html>`, nil, "", temporary},

		{"Auth0", 403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`, nil, "invalid_grant", final},
		{"", 422, `{"error":"invalid_grant"}`, nil, "invalid_grant", final},
		{"", 408, `{"error":"invalid_grant"}`, nil, "invalid_grant", temporary},
		{"", 425, `{"error":"invalid_grant"}`, nil, "invalid_grant", temporary},
		{"", 429, `{"error":"invalid_grant"}`, nil, "invalid_grant", temporary},
		{"", 429, `{"error":"invalid_request"}`, dex, "invalid_request", temporary},
		{"", 429, `{"error":"invalid_client"}`, nil, "invalid_client", temporary},
		{"", 302, `{"error":"invalid_grant"}`, nil, "invalid_grant", temporary},
		{"", 500, `{"error":"invalid_grant"}`, nil, "invalid_grant", temporary},
		{"", 401, `{"error":"invalid_request"}`, dex, "invalid_request", final},
		{"", 403, `{"error":"invalid_request"}`, dex, "invalid_request", final},
		{"Slack", 200, `{"ok":false,"error":"invalid_refresh_token"}`, []string{"invalid_refresh_token"}, "invalid_refresh_token", final},
		{"GitHub, as a form", 200, `error=bad_refresh_token&error_description=The+refresh+token+is+incorrect.`, []string{"bad_refresh_token"}, "bad_refresh_token", final},
		{"", 503, `{"error":"invalid_request"}`, dex, "invalid_request", temporary},
		{"", 400, `{"error":"Session ended"}`, []string{"Session ended"}, "Session ended", final},
		{"", 400, `{"error":"invalid_client"}`, []string{"invalid_client"}, "invalid_client", final},
		{"", 400, `{"error":"invalid_grant"}`, dex, "invalid_grant", final},
		{"", 400, `{"error":""}`, []string{""}, "", temporary},
		{"", 401, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 400, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 403, `{"error":"unauthorized_client"}`, nil, "unauthorized_client", misconfigured},
		{"", 400, `{"error":"unsupported_grant_type"}`, nil, "unsupported_grant_type", misconfigured},
		{"", 400, `{"error":"invalid_scope"}`, nil, "invalid_scope", misconfigured},
		{"", 503, `{"error":"invalid_client"}`, nil, "invalid_client", temporary},
		{"", 400, `{"error":"something_else"}`, nil, "something_else", temporary},
		{"", 429, `{"error":"slow_down"}`, nil, "slow_down", temporary},
		{"", 400, `{"access_token":"no token with status 400"}`, nil, "", temporary},
		{"", 304, ``, nil, "", temporary},
		{"", 401, ``, nil, "", temporary},
		{"", 404, `not found`, nil, "", temporary},
		{"", 408, ``, nil, "", temporary},
		{"", 425, ``, nil, "", temporary},
		{"", 502, `<html>`, nil, "", temporary},
		{"", 503, `{}`, nil, "", temporary},
		{"", 504, `null`, nil, "", temporary},

		// Status 200 with an error member.
		{"", 200, `{"error":"invalid_grant","access_token":"a"}`, nil, "invalid_grant", final},
		{"", 200, `{"error":"bad_verification_code"}`, nil, "bad_verification_code", temporary},
		{"", 200, `{"error":"bad_refresh_token"}`, []string{"bad_refresh_token"}, "bad_refresh_token", final},
		{"", 200, `{"error":"invalid_client"}`, nil, "invalid_client", misconfigured},
		{"", 200, `{"error":{"code":1},"access_token":"a"}`, nil, "", temporary},
		{"", 200, `{"error":true,"access_token":"a"}`, nil, "", temporary},

		// Answers that are not a token; internal/tokenserver tests the rest.
		{"", 200, `{"access_token":"a\nb"}`, nil, "", temporary},
		{"", 204, ``, nil, "", temporary},
	} {
		t.Run(fmt.Sprintf("%s/%d/%.40s", tc.server, tc.status, tc.body), func(t *testing.T) {
			r := &oauth.Refresher{
				TokenURL: testworld.TokenURL, FinalCodes: tc.finalCodes,
				Client: testworld.Answering(tc.status, tc.body, "Retry-After", "7").Client(),
			}
			failure := testworld.AssertRefused(t, r, oldToken, tc.status, tc.code, tc.want == final)
			assert.Equal(t, 7*time.Second, failure.RetryAfter)
			if strings.Contains(tc.body, `"a\nb"`) {
				assert.ErrorContains(t, failure, "no token in the answer: access_token has a character that a header cannot carry")
			}
			assert.Equal(t, tc.want == misconfigured, strings.Contains(failure.Error(), "misconfigured"), failure)
		})
	}
}

func TestCodePathSaysWhereTheErrorCodeIs(t *testing.T) {
	for _, tc := range []struct {
		path   string
		status int
		body   string
		code   string
		final  bool
	}{
		{"error.message", 400, `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`, "TOKEN_EXPIRED", true},
		{"error.message", 400, `{"error":{"message":"TOO_MANY_ATTEMPTS_TRY_LATER"}}`, "TOO_MANY_ATTEMPTS_TRY_LATER", false},
		{"error.message", 429, `{"error":{"message":"TOKEN_EXPIRED"}}`, "TOKEN_EXPIRED", false},
		{"error.message", 403, `{"error":"invalid_grant"}`, "", true},
		{"errors.0.code", 422, `{"errors":[{"code":"expired"}]}`, "expired", true},
		{"code", 401, `{"code":20026}`, "20026", true},
		{"code", 401, `{"error":"expired"}`, "", false},
	} {
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, CodePath: tc.path, FinalCodes: []string{"TOKEN_EXPIRED", "expired", "20026"},
			Client: testworld.Answering(tc.status, tc.body).Client(),
		}
		testworld.AssertRefused(t, r, oldToken, tc.status, tc.code, tc.final)
	}
}

func TestWithoutARefreshTokenThereIsNoRequest(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"a"}`)
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: server.Client()}
	_, err := r.Refresh(t.Context(), reauth.Token{AccessToken: "a"})
	assert.EqualError(t, err, "reauth: the session has no refresh token: sign-in required")
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.NoError(t, r.Revoke(t.Context(), oldToken), "there is no RevocationURL")
	r.RevocationURL = "https://id.example.com/revoke"
	assert.NoError(t, r.Revoke(t.Context(), reauth.Token{}), "there is nothing to revoke")
	assert.Empty(t, server.Requests())
}

func TestTokenRequest(t *testing.T) {
	const id, secret = "cl:ient ü&=+%", `p@ss:w%rd+ &="/é`
	type form = url.Values
	refresh := form{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-1"}}
	client := form{"grant_type": {"client_credentials"}}
	with := func(a, b form) form {
		both := maps.Clone(a)
		maps.Copy(both, b)
		return both
	}
	params := form{"resource": {"https://a", "https://b"}}
	for name, tc := range map[string]struct {
		refresher  oauth.Refresher
		form       form
		id, secret string // of the Authorization header
	}{
		"no client":     {oauth.Refresher{}, refresh, "", ""},
		"public client": {oauth.Refresher{ClientID: id}, with(refresh, form{"client_id": {id}}), "", ""},
		"none":          {oauth.Refresher{ClientID: id, AuthStyle: oauth.AuthStyleNone}, with(refresh, form{"client_id": {id}}), "", ""},
		"secret":        {oauth.Refresher{ClientID: id, ClientSecret: secret}, refresh, id, secret},
		"basic":         {oauth.Refresher{ClientID: id, ClientSecret: secret, AuthStyle: oauth.AuthStyleBasic}, refresh, id, secret},
		"basic, as it is": {
			oauth.Refresher{ClientID: "cl/ient+=", ClientSecret: secret, AuthStyle: oauth.AuthStyleBasicRaw}, refresh, "cl/ient+=", secret,
		},
		"basic without secret": {
			oauth.Refresher{ClientID: id, AuthStyle: oauth.AuthStyleBasic}, refresh, id, "",
		},
		"form": {
			oauth.Refresher{ClientID: id, ClientSecret: secret, AuthStyle: oauth.AuthStyleForm},
			with(refresh, form{"client_id": {id}, "client_secret": {secret}}), "", "",
		},
		"form without secret": {
			oauth.Refresher{ClientID: id, AuthStyle: oauth.AuthStyleForm}, with(refresh, form{"client_id": {id}}), "", "",
		},
		"scopes and params": {
			oauth.Refresher{Scopes: []string{"read", "write"}, Params: params},
			with(refresh, form{"scope": {"read write"}, "resource": params["resource"]}), "", "",
		},
		"client credentials": {
			oauth.Refresher{Grant: oauth.ClientCredentials{}, ClientID: id, ClientSecret: secret, Scopes: []string{"read"}, Params: params},
			with(client, form{"scope": {"read"}, "resource": params["resource"]}), id, secret,
		},
		"client credentials in the form": {
			oauth.Refresher{Grant: oauth.ClientCredentials{}, ClientID: id, ClientSecret: secret, AuthStyle: oauth.AuthStyleForm},
			with(client, form{"client_id": {id}, "client_secret": {secret}}), "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := testworld.Answering(200, `{"access_token":"access-2"}`)
			r := tc.refresher
			r.TokenURL = testworld.TokenURL + "?key=k%20v" // RFC 6749 section 3.2: a query is kept
			r.Client = server.Client()
			for range 2 { // one refresh leaves no trace in the next
				assert.Equal(t, "access-2", refreshes(t, &r, oldToken).AccessToken)
				got := server.Last()
				assert.Equal(t, "POST "+r.TokenURL, got.Method+" "+got.URL)
				assert.Equal(t, "application/json", got.Header.Get("Accept"))
				assert.Equal(t, tc.form, got.Form(t))
				id, secret, basic := (&http.Request{Header: got.Header}).BasicAuth()
				if r.AuthStyle != oauth.AuthStyleBasicRaw {
					id, secret, basic = got.Basic(t)
				}
				assert.Equal(t, tc.id != "", basic)
				assert.Equal(t, tc.id, id)
				assert.Equal(t, tc.secret, secret)
			}
		})
	}
	assert.Equal(t, form{"resource": {"https://a", "https://b"}}, params)
}

// An answer may leave scopes out, or name them differently, so nothing follows from it.
func TestScopesAreSentAsTheyAre(t *testing.T) {
	for _, scopes := range [][]string{nil, {"read"}, {"write", "read"}, {"api", "offline_access"}, {"openid", "email"}, {"repo,user"}} {
		for _, granted := range []string{"", "read", "read write", "openid https://www.googleapis.com/auth/userinfo.email", "repo,user"} {
			for _, grant := range []oauth.Grant{nil, oauth.ClientCredentials{}} {
				server := testworld.Answering(200, `{"access_token":"a","scope":"read"}`)
				r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: grant, Scopes: scopes, Client: server.Client()}
				old := oldToken
				old.Extra = map[string]string{"scope": granted}
				refreshes(t, r, refreshes(t, r, old))
				form := server.Last().Form(t)
				assert.Equal(t, strings.Join(scopes, " "), form.Get("scope"), granted)
				assert.Equal(t, scopes != nil, form.Has("scope"))
			}
		}
	}
}

func TestNewRefreshTokenIsReturnedBesideTheError(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"two\nlines","refresh_token":"refresh-2"}`:         "refresh-2",
		`{"refresh_token":"refresh-2","refresh_expires_in":60,"scope":"r"}`: "refresh-2",
		`{"access_token":"access-2","refresh_token":"refresh-2","scope":"r`: "refresh-2",
		`refresh_token=refresh-2`:                           "refresh-2",
		`{"refresh_token":"refresh-1"}`:                     "",
		`{"refresh_token":"refresh-2","error":"try_again"}`: "",
		`<html>Back soon</html>`:                            "",
	} {
		final := func(int, []byte) bool { return want != "" } // is not asked, because the answer brings something
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Final: final, Client: testworld.Answering(200, body).Client()}
		tok, err := r.Refresh(t.Context(), oldToken)
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok, body)
		assert.Equal(t, 200, failure.StatusCode)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.NotContains(t, err.Error(), "refresh-2")
		assert.Equal(t, strings.Contains(body, "refresh_expires_in"), !tok.RefreshExpiry.IsZero())
		tok.RefreshExpiry = time.Time{}
		assert.Equal(t, reauth.Token{RefreshToken: want}, tok, body)

		// Nothing was exchanged where the request is for a new grant.
		r.Grant, r.ClientID = oauth.ClientCredentials{}, "id"
		tok, err = r.Refresh(t.Context(), oldToken)
		assert.Error(t, err)
		assert.Zero(t, tok)
	}
	for _, status := range []int{302, 400, 401, 503} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.Answering(status, `{"refresh_token":"refresh-2"}`).Client()}
		tok, err := r.Refresh(t.Context(), oldToken)
		assert.Error(t, err)
		assert.Zero(t, tok, status)
	}
}

func TestNewRefreshTokenIsReturnedWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			resp := testworld.Respond(req, 200, "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"refresh_token":"refresh-2","id_token":"abc`), hangingReader{req.Context()}))
			return resp, nil
		}).Client()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tok, err := r.Refresh(ctx, oldToken)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, reauth.Token{RefreshToken: "refresh-2"}, tok)
	})
}

// A hangingReader gives nothing until its context ends.
type hangingReader struct{ ctx context.Context }

func (r hangingReader) Read([]byte) (int, error) { return 0, testworld.Pass(r.ctx, time.Hour) }

func TestFinal(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		asked  bool
	}{
		{200, `{"code":40140,"msg":"expired"}`, true},
		{200, `<html>`, true},
		{200, `{"access_token":"a"}`, false},
		{200, `{"error":"invalid_grant"}`, false}, // that is final already
		{302, ``, true},
		{400, `{"error":"x"}`, true},
		{403, `<html>`, true},
		{500, `{"Message":"Token revoked"}`, true},
		{408, ``, false}, {425, ``, false}, {429, ``, false},
	} {
		for _, grant := range []oauth.Grant{nil, oauth.ClientCredentials{}} {
			for _, final := range []bool{false, true} {
				asked := 0
				r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: grant, Client: testworld.Answering(tc.status, tc.body).Client()}
				r.Final = func(status int, body []byte) bool {
					asked++
					assert.Equal(t, tc.status, status)
					assert.Equal(t, tc.body, string(body))
					clear(body) // is its own copy
					return final
				}
				_, err := r.Refresh(t.Context(), oldToken)
				if asksAnyway := grant != nil && strings.Contains(tc.body, "invalid_grant"); asksAnyway {
					assert.Equal(t, 1, asked)
					continue
				}
				assert.Equal(t, tc.asked, asked == 1, "%d %s", tc.status, tc.body)
				if tc.asked {
					assert.Equal(t, final, errors.Is(err, reauth.ErrSignInRequired), "%d %s", tc.status, tc.body)
				}
			}
		}
	}
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Final: func(int, []byte) bool { return true }}
	r.Client = testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		resp := testworld.Respond(req, 400, "")
		resp.Body = testworld.FailingReader(`{"x`, io.ErrUnexpectedEOF)
		return resp, nil
	}).Client()
	testworld.AssertRefused(t, r, oldToken, 400, "", false) // it broke off
}

func TestTimesThatAnAnswerStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		before := reauth.Token{RefreshToken: "refresh-1", RefreshExpiry: now.Add(time.Hour), RefreshAfter: now.Add(time.Minute)}
		for _, tc := range []struct {
			body                                string
			expiry, refreshExpiry, refreshAfter time.Duration // 0: unknown
		}{
			{`{"access_token":"a"}`, 0, time.Hour, 0},
			{`{"access_token":"a","refresh_token":"refresh-1"}`, 0, time.Hour, 0},
			{`{"access_token":"a","refresh_token":"r"}`, 0, 0, 0},
			{`{"access_token":"a","expires_in":3600,"refresh_in":1800,"refresh_token_expires_in":"86400","refresh_token":"r"}`, time.Hour, 24 * time.Hour, 30 * time.Minute},
			{`{"access_token":"a","refresh_expires_in":1800}`, 0, 30 * time.Minute, 0},
			{`{"access_token":"a","refresh_expires_in":0,"refresh_token":"r"}`, 0, 0, 0}, // Keycloak's offline tokens
			{`{"access_token":"a","x_refresh_token_expires_in":8726400,"refresh_token":"r"}`, 0, 101 * 24 * time.Hour, 0},
			{`{"access_token":"a","refresh_expires_in":{},"refresh_in":"soon","refresh_token":"r"}`, 0, 0, 0},
			{`{"access_token":"a","expires_in":3600000,"expires_in_sec":3600}`, time.Hour, time.Hour, 0}, // Zoho once
			{`{"access_token":"a","expires_in":"` + now.Add(time.Hour).UTC().Format(time.RFC3339) + `"}`, time.Hour, time.Hour, 0},
			{`{"access_token":"a","expires_in":` + fmt.Sprint(now.Add(time.Hour).UnixMilli()) + `}`, time.Hour, time.Hour, 0},
			{`{"access_token":"a","expires_in":1e300}`, 0, time.Hour, 0},
		} {
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.Answering(200, tc.body).Client()}
			tok := refreshes(t, r, before)
			for i, at := range []time.Time{tok.Expiry, tok.RefreshExpiry, tok.RefreshAfter} {
				want := []time.Duration{tc.expiry, tc.refreshExpiry, tc.refreshAfter}[i]
				if want == 0 {
					assert.Zero(t, at, "%s, %d", tc.body, i)
				} else {
					assert.Equal(t, want, at.Sub(now), "%s, %d", tc.body, i)
				}
			}
			for name := range tok.Extra {
				assert.Equal(t, "expires_in_sec", name)
			}
		}
	})
}

func TestRevoke(t *testing.T) {
	const revocationURL = "https://id.example.com/revoke"
	for _, grant := range []oauth.Grant{nil, oauth.ClientCredentials{}} {
		server := testworld.Answering(200, "")
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, RevocationURL: revocationURL, ClientID: "id", ClientSecret: "secret", Grant: grant,
			Scopes: []string{"read"}, Params: url.Values{"resource": {"x"}}, Client: server.Client(),
		}
		require.NoError(t, r.Revoke(t.Context(), oldToken))
		assert.Equal(t, revocationURL, server.Last().URL)
		assert.Equal(t, url.Values{"token": {"refresh-1"}, "token_type_hint": {"refresh_token"}}, server.Last().Form(t))
		id, secret, _ := server.Last().Basic(t)
		assert.Equal(t, "id secret", id+" "+secret)
		require.NoError(t, r.Revoke(t.Context(), reauth.Token{AccessToken: "access-1"}))
		assert.Equal(t, url.Values{"token": {"access-1"}, "token_type_hint": {"access_token"}}, server.Last().Form(t))
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
		{400, `{"error":"refresh-1"}`, "400 [redacted]"},
		{503, `refresh-1`, "503"},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, RevocationURL: revocationURL, Client: testworld.Answering(tc.status, tc.body).Client()}
		err := r.Revoke(t.Context(), oldToken)
		if tc.want == "" {
			assert.NoError(t, err)
			continue
		}
		assert.EqualError(t, err, "reauth: revoking the token: server answered "+tc.want)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}
}

func TestContextReachesTheClient(t *testing.T) {
	type key struct{}
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		assert.Equal(t, "value", req.Context().Value(key{}))
		return nil, req.Context().Err()
	}).Client()}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	cancel()
	_, err := r.Refresh(ctx, oldToken)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	const url1 = testworld.TokenURL
	client := oauth.ClientCredentials{}
	for _, tc := range []struct {
		refresher *oauth.Refresher
		want      []string // nil: nothing is wrong
	}{
		{&oauth.Refresher{TokenURL: url1}, nil},
		{&oauth.Refresher{TokenURL: "http://localhost:8080/token?x=y", RevocationURL: url1, ClientID: "id", AuthStyle: oauth.AuthStyleBasic}, nil},
		{&oauth.Refresher{TokenURL: "HTTPS://user@id.example.com", Grant: client, ClientID: "id", Params: url.Values{"refresh_token": {"x"}}}, nil},
		{&oauth.Refresher{TokenURL: url1, Grant: &userGrant{}}, nil},
		{nil, []string{`oauth: the Refresher is a nil pointer`}},
		{&oauth.Refresher{}, []string{`oauth: Refresher.TokenURL "": must be set`}},
		{&oauth.Refresher{TokenURL: url1, Grant: client}, []string{`oauth: Refresher.ClientID "": must be set for the Grant, a oauth.ClientCredentials`}},
		{&oauth.Refresher{TokenURL: url1, Grant: client, ClientSecret: "hidden"}, []string{`oauth: Refresher.ClientID "": must be set, because ClientSecret is`}},
		{&oauth.Refresher{TokenURL: url1, Grant: (*userGrant)(nil)}, []string{`oauth: Refresher.Grant *oauth_test.userGrant: is a nil pointer`}},
		{&oauth.Refresher{TokenURL: "/token"}, []string{`oauth: Refresher.TokenURL "/token": must begin with https:// or http://`}},
		{&oauth.Refresher{TokenURL: "id.example.com:443/token"}, []string{`"id.example.com:443/token": must begin with https:// or http://`}},
		{&oauth.Refresher{TokenURL: "ftp://id.example.com"}, []string{`"ftp://id.example.com": must begin with https:// or http://`}},
		{&oauth.Refresher{TokenURL: "https:///token"}, []string{`"https:///token": has no host`}},
		{&oauth.Refresher{TokenURL: "https://:443/token"}, []string{`"https://:443/token": has no host`}},
		{&oauth.Refresher{TokenURL: "https:token"}, []string{`"https:token": has no host`}},
		{&oauth.Refresher{TokenURL: url1 + "#"}, []string{`must have no fragment`}},
		{&oauth.Refresher{TokenURL: url1 + "#x"}, []string{`must have no fragment`}},
		{&oauth.Refresher{TokenURL: "https://user:hidden@id.example.com/%zz?key=hidden"}, []string{`"https://[redacted]@id.example.com/%zz?...": is not a URL`}},
		{
			&oauth.Refresher{
				TokenURL: "token", RevocationURL: "revoke", ClientSecret: "hidden", AuthStyle: 7,
				Params: url.Values{"grant_type": nil, "refresh_token": {"x"}, "client_id": {"x"}, "client_secret": {"x"}, "scope": {"x"}, "resource": {"x"}},
			},
			[]string{
				`oauth: Refresher.TokenURL "token": `, `oauth: Refresher.RevocationURL "revoke": `,
				`oauth: Refresher.ClientID "": must be set, because ClientSecret is`, `oauth: Refresher.AuthStyle 7: is not one of the constants`,
				`oauth: Refresher.Params "client_id": belongs in ClientID`, `oauth: Refresher.Params "client_secret": belongs in ClientSecret`,
				`oauth: Refresher.Params "grant_type": is sent by the Grant`, `oauth: Refresher.Params "refresh_token": is sent by the Grant`,
				`oauth: Refresher.Params "scope": belongs in Scopes`,
			},
		},
		{&oauth.Refresher{TokenURL: url1, CodePath: "error..code"}, []string{`oauth: Refresher.CodePath "error..code": has an empty name in it`}},
		{&oauth.Refresher{TokenURL: url1, AuthStyle: -1}, []string{`oauth: Refresher.AuthStyle -1: is not one of the constants`}},
		{&oauth.Refresher{TokenURL: url1, AuthStyle: oauth.AuthStyleBasic}, []string{`oauth: Refresher.ClientID "": must be set for AuthStyleBasic`}},
		{&oauth.Refresher{TokenURL: url1, AuthStyle: oauth.AuthStyleBasicRaw}, []string{`oauth: Refresher.ClientID "": must be set for AuthStyleBasicRaw`}},
		{&oauth.Refresher{TokenURL: url1, ClientID: "a:b", AuthStyle: oauth.AuthStyleBasicRaw}, []string{`oauth: Refresher.ClientID "a:b": has a colon, which AuthStyleBasicRaw cannot send`}},
		{&oauth.Refresher{TokenURL: url1, Grant: client, ClientID: "id", Params: url.Values{"scope": nil}}, []string{`oauth: Refresher.Params "scope": `}},
	} {
		testworld.AssertFaults(t, tc.want, tc.refresher.Validate())
		if tc.want != nil {
			_, err := tc.refresher.Refresh(t.Context(), oldToken)
			testworld.AssertFaults(t, tc.want, err, tc.refresher.Revoke(t.Context(), oldToken))
		}
	}
}

func TestNothingShowsASecret(t *testing.T) {
	const word = testworld.Secret
	tok := reauth.Token{AccessToken: "access-" + word + "+/=", RefreshToken: "refresh-" + word + "%22+/=", Extra: map[string]string{"id_token": "id-" + word}}
	const at = "https://user-" + word + ":pass-" + word + "@id.example.com/token?key=" + word
	params := url.Values{"subject_token": {"params " + word}}
	key := oauth.ClientKey{Signer: ecKey}
	for name, r := range map[string]oauth.Refresher{
		"URL":                      {TokenURL: at},
		"basic":                    {TokenURL: "https://id.example.com/token", ClientSecret: "client " + word + "/+&", Params: params},
		"form":                     {TokenURL: at, ClientSecret: "client " + word + "/+&", AuthStyle: oauth.AuthStyleForm, Params: params},
		"assertion":                {TokenURL: at, ClientKey: key},
		"program":                  {TokenURL: "https://id.example.com/token", ClientSecret: "client " + word + `"\`, Params: params, Grant: oauth.ClientCredentials{}},
		"assertion from elsewhere": {TokenURL: "https://id.example.com/token", Assertion: returning("assertion " + word + "/+&")},
		"JWT bearer":               {TokenURL: "https://id.example.com/token", Grant: oauth.JWTBearer{Assertion: returning("assertion " + word)}},
		"exchange": {TokenURL: "https://id.example.com/token", Grant: oauth.TokenExchange{
			Subject: returning("subject " + word), Actor: returning("actor " + word),
		}},
		"grant": {TokenURL: "https://id.example.com/token", Grant: &userGrant{form: url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"assertion " + word},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			testworld.AssertNoLeak(t, func(client *http.Client) reauth.Refresher {
				r := r
				r.RevocationURL, r.ClientID, r.Client = r.TokenURL, "client", client
				return &r
			}, tok, nil, url.QueryEscape("client "+word))
		})
	}
	assert.Equal(t, "<nil>", fmt.Sprint((*oauth.Refresher)(nil)))
	assert.Equal(t, `[oauth.Refresher "https://id.example.com/token"]`, fmt.Sprintf("%#v", oauth.Refresher{TokenURL: testworld.TokenURL}))
}

// Programs compare codes, so that a session whose refresh token is a common word must
// not change them.
func TestErrorCodeDoesNotDependOnTheToken(t *testing.T) {
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.Answering(400, `{"error":"invalid_grant"}`).Client()}
	testworld.AssertRefused(t, r, reauth.Token{RefreshToken: "grant"}, 400, "invalid_grant", true)
}

// embedding has a field of its own beside those of a Refresher.
type embedding struct {
	oauth.Refresher
	Tenant string
}

func TestEmbeddedRefresherKeepsItsMethods(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"access-2"}`)
	var r reauth.Refresher = &embedding{Refresher: oauth.Refresher{TokenURL: testworld.TokenURL, RevocationURL: testworld.TokenURL, Client: server.Client()}}
	tok, err := r.Refresh(t.Context(), oldToken)
	require.NoError(t, err)
	assert.Equal(t, "access-2", tok.AccessToken)
	assert.NoError(t, r.(reauth.Revoker).Revoke(t.Context(), tok))
	assert.Len(t, server.Requests(), 2)
	assert.True(t, r.(interface{ NeedsToken() bool }).NeedsToken())
	assert.NoError(t, r.(interface{ Validate() error }).Validate())
	assert.ErrorContains(t, new(embedding).Validate(), "oauth: Refresher.TokenURL")
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
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", ClientSecret: secret, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}, "Date": {date}},
				Body: io.NopCloser(bytes.NewReader(body)), Request: req,
			}, nil
		}).Client()}
		sent := time.Now()
		tok, err := r.Refresh(t.Context(), reauth.Token{RefreshToken: refresh})
		if err != nil {
			if tok.RefreshToken != "" { // salvaged
				require.NotErrorIs(t, err, reauth.ErrSignInRequired)
				require.NotEqual(t, refresh, tok.RefreshToken)
				if len(tok.RefreshToken) > 40 {
					require.NotContains(t, err.Error(), tok.RefreshToken)
				}
				require.Equal(t, 2, status/100)
				tok.RefreshToken, tok.RefreshExpiry = "", time.Time{}
			}
			require.Zero(t, tok)
			require.NotContains(t, err.Error(), refresh)
			require.NotContains(t, err.Error(), secret)
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok)
			require.Equal(t, status, failure.StatusCode)
			require.GreaterOrEqual(t, failure.RetryAfter, time.Duration(0))
			if errors.Is(err, reauth.ErrSignInRequired) {
				require.Equal(t, "invalid_grant", failure.Code)
				require.True(t, status/100 == 4 || status/100 == 2)
				require.NotContains(t, []int{408, 425, 429}, status)
			}
			return
		}
		require.Equal(t, 2, status/100)
		require.NotEmpty(t, tok.RefreshToken)
		require.True(t, tok.Expiry.IsZero() || tok.Expiry.After(sent))
		req, err := http.NewRequest(http.MethodGet, testworld.APIURL, nil)
		require.NoError(t, err)
		require.NoError(t, reauth.HeaderCredential{}.Apply(req, tok))
		_, err = json.Marshal(tok)
		require.NoError(t, err)
	})
}
