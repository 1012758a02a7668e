package tokenserver_test

import (
	"encoding/base64"
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
	"github.com/reauth-go/reauth/internal/tokenserver"
)

var nested = tokenserver.Shape{AccessToken: "data.data.accessToken", RefreshToken: "data.refresh", Lifetime: "data.ttl"}

func readJSON(t *testing.T, status int, body string, secrets ...string) *tokenserver.JSONAnswer {
	t.Helper()
	req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, testworld.TokenURL, nil, nil)
	require.NoError(t, err)
	a, err := tokenserver.Send(testworld.Answering(status, body).Client(), req, secrets)
	require.NoError(t, err)
	return tokenserver.ReadJSON(a)
}

func TestTokenOfAnswer(t *testing.T) {
	old := reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "DPoP",
		Extra: map[string]string{"id_token": "id-1", "scope": "read", "expires_in": "60", "data": "x"},
	}
	type extra = map[string]string
	for name, tc := range map[string]struct {
		shape tokenserver.Shape
		body  string
		want  reauth.Token
	}{
		"all": {
			tokenserver.OAuthShape, `{"access_token":"a","token_type":"bearer","refresh_token":"r","scope":"x","id_token":"id-2"}`,
			reauth.Token{AccessToken: "a", TokenType: "bearer", RefreshToken: "r", Extra: extra{"scope": "x", "id_token": "id-2", "data": "x"}},
		},
		"what is left out is kept": {
			tokenserver.OAuthShape, `{"access_token":"a"}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{"scope": "read", "id_token": "id-1", "data": "x"}},
		},
		"a refresh token that is none": {
			tokenserver.OAuthShape, `{"access_token":"a","refresh_token":{"expires_in":3600}}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{"scope": "read", "id_token": "id-1", "data": "x"}},
		},
		"null and empty": {
			tokenserver.OAuthShape, `{"access_token":"a","refresh_token":null,"token_type":"","scope":null,"id_token":"","error":null}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{"scope": "read", "id_token": "", "data": "x"}},
		},
		"other types": {
			tokenserver.OAuthShape, `{"access_token":"a", "n":1.50, "b":true, "data":{ "k" : [1, "x y"] }, "error":""}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{
				"scope": "read", "id_token": "id-1", "n": "1.50", "b": "true", "data": `{"k":[1,"x y"]}`,
			}},
		},
		"text that is not UTF-8": {
			tokenserver.OAuthShape, "{\"access_token\":\"a\",\"data\":{\"k\":\"\x80\"}}",
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{"scope": "read", "id_token": "id-1", "data": "{\"k\":\"\ufffd\"}"}},
		},
		"members twice": {
			tokenserver.OAuthShape, `{"access_token":"b","access_token":"a","scope":"1","scope":"2"}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "refresh-1", Extra: extra{"scope": "2", "id_token": "id-1", "data": "x"}},
		},
		"nested": {
			nested, `{"data":{"refresh":"r","data":{"accessToken":"a","x":1}},"token_type":"bearer","n":[1, 2],"error":false}`,
			reauth.Token{AccessToken: "a", TokenType: "DPoP", RefreshToken: "r", Extra: extra{
				"scope": "read", "id_token": "id-1", "expires_in": "60", "token_type": "bearer", "n": "[1,2]", "x": "1",
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := readJSON(t, 201, tc.body)
			assert.False(t, a.Refused)
			tok, err := a.Token(tc.shape, old, time.Now())
			require.NoError(t, err)
			assert.Equal(t, tc.want, tok)
		})
	}
	assert.Equal(t, extra{"id_token": "id-1", "scope": "read", "expires_in": "60", "data": "x"}, old.Extra, "the old token is not written to")
	tok, err := readJSON(t, 200, `{"access_token":"a","expires_in":null}`).Token(tokenserver.OAuthShape, reauth.Token{}, time.Now())
	require.NoError(t, err)
	assert.Equal(t, reauth.Token{AccessToken: "a"}, tok)
}

func TestAnswerThatIsNotATokenSaysWhy(t *testing.T) {
	const notAnObject = "the answer is not a JSON object"
	for _, tc := range []struct {
		shape      tokenserver.Shape
		body, want string
	}{
		{tokenserver.OAuthShape, ``, notAnObject},
		{tokenserver.OAuthShape, `null`, notAnObject},
		{tokenserver.OAuthShape, `[]`, notAnObject},
		{tokenserver.OAuthShape, `"SECRET"`, notAnObject},
		{tokenserver.OAuthShape, `<html>`, notAnObject},
		{tokenserver.OAuthShape, `{"access_token":"a"`, notAnObject},
		{tokenserver.OAuthShape, `{}`, "access_token is missing"},
		{tokenserver.OAuthShape, `{"access_token":null}`, "access_token is missing"},
		{tokenserver.OAuthShape, `{"access_token":""}`, "access_token is missing"},
		{tokenserver.OAuthShape, `{"Access_Token":"SECRET"}`, "access_token is missing"},
		{tokenserver.OAuthShape, `{"access_token":5}`, "access_token is not a string"},
		{tokenserver.OAuthShape, `{"access_token":{"a":"SECRET"}}`, "access_token is not a string"},
		{tokenserver.OAuthShape, `{"access_token":"SECRET\nb"}`, "access_token has a character that a header cannot carry"},
		{tokenserver.OAuthShape, `{"access_token":"SECRET\u0000"}`, "access_token has a character that a header cannot carry"},
		{nested, `{}`, "data.data.accessToken is missing"},
		{nested, `{"data":null}`, "data.data.accessToken is missing"},
		{nested, `{"data":{"data":"SECRET"}}`, "data.data.accessToken is missing"},
		{nested, `{"data":{"data":{"accesstoken":"SECRET"}}}`, "data.data.accessToken is missing"},
		{nested, `{"data.data.accessToken":"SECRET"}`, "data.data.accessToken is missing"},
		{nested, `{"data":{"data":{"accessToken":["SECRET"]}}}`, "data.data.accessToken is not a string"},
	} {
		tok, err := readJSON(t, 200, tc.body).Token(tc.shape, reauth.Token{AccessToken: "access-1"}, time.Now())
		assert.EqualError(t, err, tc.want, tc.body)
		assert.Zero(t, tok)
	}
}

func TestLifetimeCountsFromTheRequest(t *testing.T) {
	serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC) // a clock of its own
	enc := base64.RawURLEncoding.EncodeToString
	jwt := enc([]byte(`{"alg":"RS256"}`)) + "." + enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`,
		serverTime.Add(-time.Hour).Unix(), serverTime.Add(90*time.Second).Unix())) + ".c2ln"
	date := serverTime.Format(http.TimeFormat)
	for _, tc := range []struct {
		access, expiresIn, date string
		want                    time.Duration // 0: unknown
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
		{jwt, `30`, date, 30 * time.Second},
		{jwt, `null`, date, 90 * time.Second},
		{jwt, `null`, "yesterday", time.Hour + 90*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
				time.Sleep(3 * time.Second) // a slow server does not prolong the token
				resp := testworld.Respond(req, 200, fmt.Sprintf(`{"access_token":%q,"expires_in":%s}`, tc.access, tc.expiresIn))
				resp.Header.Set("Date", tc.date)
				return resp, nil
			})
			req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, testworld.TokenURL, nil, nil)
			require.NoError(t, err)
			sent := time.Now()
			a, err := tokenserver.Send(server.Client(), req, nil)
			require.NoError(t, err)
			tok, err := tokenserver.ReadJSON(a).Token(tokenserver.OAuthShape, reauth.Token{}, sent)
			require.NoError(t, err)
			if tc.want == 0 {
				assert.Zero(t, tok.Expiry, tc)
			} else {
				assert.Equal(t, tc.want, tok.Expiry.Sub(sent), tc)
			}
		})
	}
}

func TestErrorCodes(t *testing.T) {
	for _, tc := range []struct {
		status      int
		body        string
		refused     bool
		code, named string
	}{
		{200, `{"access_token":"a"}`, false, "", ""},
		{200, `{"error":false}`, false, "", ""},
		{200, `{"error":0}`, false, "", ""},
		{200, `{"error":"invalid_grant"}`, true, "invalid_grant", "invalid_grant"},
		{200, `{"error":true}`, true, "", ""},
		{200, `{"code":"ok"}`, false, "", ""},
		{401, `{"code":"token_not_valid"}`, true, "", "token_not_valid"},
		{401, `{"code":4711}`, true, "", ""},
		{401, `{"error":"Token-Expired.x","code":"y"}`, true, "Token-Expired.x", "Token-Expired.x"},
		{401, `{"error":"Session of ann"}`, true, "Session of ann", ""},
		{401, `{"code":"` + strings.Repeat("x", 41) + `"}`, true, "", ""},
		{401, `{"code":"` + strings.Repeat("x", 40) + `"}`, true, "", strings.Repeat("x", 40)},
		{400, `{"error":"my-secret"}`, true, "[redacted]", "[redacted]"},
		{400, `{"error":"known-secret"}`, true, "known-secret", "[redacted]"},
		{400, `{"error":{"code":1}}`, true, "", ""},
		{400, `{"error":{"code":"refresh_token_reused"}}`, true, "refresh_token_reused", "refresh_token_reused"},
		{400, `{"error":{"code":"my-secret"}}`, true, "[redacted]", "[redacted]"},
		{503, `<html>`, true, "", ""},
	} {
		a := readJSON(t, tc.status, tc.body, "my-secret", "known-secret", "invalid_grant")
		assert.Equal(t, tc.refused, a.Refused, tc.body)
		assert.Equal(t, tc.code, a.Code([]string{"known-secret"}), tc.body)
		assert.Equal(t, tc.named, a.NamedCode("", nil), tc.body)
	}
}

func TestFinalAnswers(t *testing.T) {
	var seen []string
	said := func(status int, body []byte) bool {
		seen = append(seen, fmt.Sprint(status, " ", string(body)))
		return strings.Contains(string(body), "gone")
	}
	oauth := tokenserver.Finality{Codes: []string{"invalid_grant", "session_expired"}}
	own := tokenserver.Finality{Codes: []string{"invalid_grant"}, Statuses: []int{401, 500}, Func: said}
	const refused = `{"error":"invalid_grant"}`
	for _, tc := range []struct {
		rule   tokenserver.Finality
		status int
		body   string
		want   bool
	}{
		{oauth, 400, refused, true},
		{oauth, 401, refused, true},
		{oauth, 403, refused, true},
		{oauth, 404, refused, true},
		{oauth, 200, refused, true},
		{oauth, 302, refused, false},
		{oauth, 500, refused, false},
		{oauth, 403, `{"error":"session_expired"}`, true},
		{oauth, 403, `{"error":"access_denied"}`, false},
		{oauth, 403, `{}`, false},
		{oauth, 401, ``, false},
		{own, 401, ``, true},
		{own, 401, `{"detail":"no"}`, true},
		{own, 401, `<html>blocked</html>`, false},
		{own, 403, `<html>the session is gone</html>`, true},
		{own, 503, `gone`, true},
		{own, 500, `{}`, false},
		{own, 408, `{"error":"invalid_grant","detail":"gone"}`, false},
		{own, 425, `{"error":"invalid_grant","detail":"gone"}`, false},
		{own, 429, `{"error":"invalid_grant","detail":"gone"}`, false},
	} {
		a := readJSON(t, tc.status, tc.body)
		assert.Equal(t, tc.want, tc.rule.IsFinal(a, a.Code(tc.rule.Codes)), "%d %s", tc.status, tc.body)
	}
	assert.Equal(t, []string{
		"401 <html>blocked</html>", "403 <html>the session is gone</html>", "503 gone", "500 {}",
	}, seen, "asked only where nothing else has decided")
}

func TestSecretsOfARequest(t *testing.T) {
	header := http.Header{"Authorization": {"Bearer secret-1"}, "Accept": {"application/json"}, "X-Short": {"abc"}}
	assert.Equal(t, []string{"secret-1", "Bearer secret-1"}, tokenserver.RequestSecrets(header, nil))
	for _, body := range []any{
		url.Values{"grant_type": {"password"}, "password": {"a b"}},
		map[string]any{"grant_type": "refresh_token", "x": []any{"a b", 1}},
	} {
		assert.Equal(t, []string{"a b", "a+b", "a b", "a b", "a b"}, tokenserver.RequestSecrets(nil, body))
	}
	assert.Empty(t, tokenserver.RequestSecrets(nil, func() {}))
	assert.Subset(t, tokenserver.TokenSecrets(reauth.Token{AccessToken: "a b", RefreshToken: "r", Extra: map[string]string{"id": "id-token", "short": "abc"}}),
		[]string{"a+b", "r", "id-token"})
	assert.NotContains(t, tokenserver.TokenSecrets(reauth.Token{Extra: map[string]string{"short": "abc"}}), "abc")
}
