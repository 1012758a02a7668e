package jsonauth_test

import (
	"errors"
	"net/http"
	"os"
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

// A provider is a row of docs/providers.md, with answers as its documentation and public
// reports show them. Values are made up.
type provider struct {
	endpoint jsonauth.Endpoint
	sent     string // the body of the request

	token    string // the answer to a refresh
	want     reauth.Token
	lifetime time.Duration

	refused []answered
	passing []answered
}

type answered struct {
	status int
	body   string
}

// cognito is the request of an operation of Amazon Cognito user pools.
func cognito(operation string) http.Header {
	return http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AWSCognitoIdentityProviderService." + operation}}
}

var providers = map[string]provider{
	"Amazon Cognito": {
		endpoint: jsonauth.Endpoint{
			URL: "https://cognito-idp.eu-west-1.amazonaws.com/", Header: cognito("GetTokensFromRefreshToken"),
			Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return map[string]string{"ClientId": "id", "RefreshToken": old.RefreshToken}, nil
			},
			AccessPath: "AuthenticationResult.AccessToken", RefreshPath: "AuthenticationResult.RefreshToken", LifetimePath: "AuthenticationResult.ExpiresIn",
			CodePath: "__type", FinalCodes: []string{"NotAuthorizedException", "RefreshTokenReuseException", "UserNotFoundException"},
		},
		sent:     `{"ClientId":"id","RefreshToken":"refresh-1"}`,
		token:    `{"AuthenticationResult":{"AccessToken":"access-2","ExpiresIn":3600,"IdToken":"id-2","RefreshToken":"refresh-2","TokenType":"Bearer"},"ChallengeParameters":{}}`,
		want:     reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-2", Extra: map[string]string{"IdToken": "id-2", "TokenType": "Bearer", "ChallengeParameters": "{}"}},
		lifetime: time.Hour,
		refused: []answered{
			{400, `{"__type":"NotAuthorizedException","message":"Refresh Token has been revoked"}`},
			{400, `{"__type":"RefreshTokenReuseException","message":"Refresh token has been invalidated"}`},
		},
		passing: []answered{
			{400, `{"__type":"TooManyRequestsException","message":"Rate exceeded"}`}, {400, `{"__type":"LimitExceededException"}`},
			{403, `{"__type":"ForbiddenException"}`}, {500, `{"__type":"InternalErrorException"}`},
		},
	},
	"Firebase": {
		endpoint: jsonauth.Endpoint{
			URL: "https://securetoken.googleapis.com/v1/token?key=api-key",
			Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return map[string]string{"grant_type": "refresh_token", "refresh_token": old.RefreshToken}, nil
			},
			AccessPath: "id_token",
			CodePath:   "error.message", FinalCodes: []string{"TOKEN_EXPIRED", "INVALID_REFRESH_TOKEN", "USER_DISABLED", "USER_NOT_FOUND"},
		},
		sent:     `{"grant_type":"refresh_token","refresh_token":"refresh-1"}`,
		token:    `{"access_token":"id-2","expires_in":"3600","token_type":"Bearer","refresh_token":"refresh-2","id_token":"id-2","user_id":"u","project_id":"7"}`,
		want:     reauth.Token{AccessToken: "id-2", RefreshToken: "refresh-2", Extra: map[string]string{"access_token": "id-2", "token_type": "Bearer", "user_id": "u", "project_id": "7"}},
		lifetime: time.Hour,
		refused: []answered{
			{400, `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`},
			{400, `{"error":{"code":400,"message":"INVALID_REFRESH_TOKEN","status":"INVALID_ARGUMENT"}}`},
			{400, `{"error":{"code":400,"message":"USER_DISABLED","status":"INVALID_ARGUMENT"}}`},
		},
		passing: []answered{
			{400, `{"error":{"code":400,"message":"TOO_MANY_ATTEMPTS_TRY_LATER"}}`}, {400, `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}`},
			{503, `{"error":{"code":503,"message":"The service is currently unavailable.","status":"UNAVAILABLE"}}`},
		},
	},
	"Lark": {
		endpoint: jsonauth.Endpoint{
			URL:    "https://open.feishu.cn/open-apis/authen/v1/oidc/refresh_access_token",
			Header: http.Header{"Authorization": {"Bearer app-access-token"}},
			Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return map[string]string{"grant_type": "refresh_token", "refresh_token": old.RefreshToken}, nil
			},
			AccessPath: "data.access_token", RefreshPath: "data.refresh_token", LifetimePath: "data.expires_in",
			CodePath: "code", FinalCodes: []string{"20026", "20037", "20064", "20073"},
		},
		sent:     `{"grant_type":"refresh_token","refresh_token":"refresh-1"}`,
		token:    `{"code":0,"msg":"success","data":{"access_token":"access-2","refresh_token":"refresh-2","token_type":"Bearer","expires_in":7199,"refresh_expires_in":2591999,"scope":"auth:user.id:read"}}`,
		want:     reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-2", Extra: map[string]string{"code": "0", "msg": "success", "token_type": "Bearer", "scope": "auth:user.id:read"}},
		lifetime: 7199 * time.Second,
		refused:  []answered{{200, `{"code":20037,"msg":"refresh token expired"}`}, {400, `{"code":20026,"msg":"refresh token invalid"}`}},
		passing:  []answered{{200, `{"code":20050,"msg":"system error"}`}, {429, `{"code":99991400,"msg":"request trigger frequency limit"}`}},
	},
	"simplejwt": {
		endpoint: jsonauth.Endpoint{URL: "https://api.example.com/auth/jwt/refresh/", RefreshField: "refresh", AccessPath: "access", RefreshPath: "refresh"},
		sent:     `{"refresh":"refresh-1"}`,
		token:    `{"access":"access-2","refresh":"refresh-2"}`,
		want:     reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-2"},
		refused:  []answered{{401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`}},
		passing:  []answered{{400, `{"refresh":["This field is required."]}`}, {401, `<html>Access denied</html>`}},
	},
	"Square": {
		endpoint: jsonauth.Endpoint{
			URL: "https://connect.squareup.com/oauth2/token", Header: http.Header{"Square-Version": {"2025-01-23"}},
			Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return map[string]string{"client_id": "id", "client_secret": "secret", "grant_type": "refresh_token", "refresh_token": old.RefreshToken}, nil
			},
			ExpiryPath: "expires_at", CodePath: "type", FinalCodes: []string{"service.not_authorized"}, FinalStatus: []int{},
		},
		sent:     `{"client_id":"id","client_secret":"secret","grant_type":"refresh_token","refresh_token":"refresh-1"}`,
		token:    `{"access_token":"access-2","token_type":"bearer","expires_at":"2000-01-31T00:00:00Z","merchant_id":"M","refresh_token":"refresh-1","short_lived":false}`,
		want:     reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-1", Extra: map[string]string{"token_type": "bearer", "merchant_id": "M", "short_lived": "false"}},
		lifetime: 30 * 24 * time.Hour, // the clock of a synctest bubble begins with the year 2000
		refused:  []answered{{401, `{"message":"Invalid refresh token","type":"service.not_authorized"}`}},
		passing:  []answered{{401, `{"message":"Not Authorized","type":"unauthorized"}`}, {500, `{"message":"x","type":"internal_error"}`}},
	},
	"Supabase": {
		endpoint: jsonauth.Endpoint{
			URL: "https://project.supabase.co/auth/v1/token?grant_type=refresh_token", Header: http.Header{"Apikey": {"anon-key"}},
			CodePath: "error_code", FinalCodes: []string{"refresh_token_not_found", "refresh_token_already_used", "session_not_found", "session_expired"},
		},
		sent:     `{"refresh_token":"refresh-1"}`,
		token:    `{"access_token":"access-2","token_type":"bearer","expires_in":3600,"expires_at":946688400,"refresh_token":"refresh-2","user":{"id":"u"}}`,
		want:     reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-2", Extra: map[string]string{"token_type": "bearer", "expires_at": "946688400", "user": `{"id":"u"}`}},
		lifetime: time.Hour,
		refused: []answered{
			{400, `{"code":400,"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token: Refresh Token Not Found"}`},
			{400, `{"code":"refresh_token_already_used","error_code":"refresh_token_already_used","message":"Invalid Refresh Token: Already Used"}`},
			{400, `{"error":"invalid_grant","error_description":"Invalid Refresh Token: Refresh Token Not Found"}`}, // of older servers
		},
		passing: []answered{{429, `{"code":429,"error_code":"over_request_rate_limit"}`}, {500, `{"code":500,"error_code":"unexpected_failure"}`}},
	},
}

func TestProviders(t *testing.T) {
	for name, p := range providers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := p.endpoint
				require.NoError(t, e.Validate())
				server := testworld.Answering(200, p.token)
				e.Client = server.Client()
				tok, err := e.Refresh(t.Context(), oldToken)
				require.NoError(t, err)
				assert.Equal(t, p.sent, server.Last().Body)
				for name := range e.Header {
					assert.Equal(t, e.Header[name], server.Last().Header[name])
				}
				if p.lifetime != 0 {
					assert.Equal(t, p.lifetime, time.Until(tok.Expiry))
				}
				assert.Equal(t, name == "Lark", !tok.RefreshExpiry.IsZero())
				tok.Expiry, tok.RefreshExpiry = time.Time{}, time.Time{}
				assert.Equal(t, p.want, tok)

				for i, a := range append(p.refused, p.passing...) {
					e.Client = testworld.Answering(a.status, a.body).Client()
					tok, err := e.Refresh(t.Context(), oldToken)
					assert.Zero(t, tok)
					assert.Equal(t, i < len(p.refused), errors.Is(err, reauth.ErrSignInRequired), "%d %s: %v", a.status, a.body, err)
				}
			})
		})
	}
}

func TestProvidersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	for name, p := range providers {
		_, row, ok := strings.Cut(string(text), "\n| "+name+" |")
		require.True(t, ok, name)
		row, _, _ = strings.Cut(row, "\n")
		for _, setting := range append(p.endpoint.FinalCodes, p.endpoint.AccessPath, p.endpoint.ExpiryPath) {
			assert.Contains(t, row, setting, name)
		}
		if p.endpoint.CodePath != "" {
			assert.Contains(t, row, "`"+p.endpoint.CodePath+"`", name)
		}
	}
}
