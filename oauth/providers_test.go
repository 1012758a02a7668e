package oauth_test

import (
	"bytes"
	"errors"
	"net/url"
	"os"
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

// A provider is a row of docs/providers.md, with answers as its documentation and public
// reports show them. Values are made up.
type provider struct {
	refresher oauth.Refresher
	form      url.Values // of the request, besides the grant and the refresh token

	token           string // the answer to a refresh
	kept            bool   // it brings no refresh token
	lifetime        time.Duration
	refreshLifetime time.Duration
	extra           map[string]string // some of it

	refused answered
	passing []answered
}

type answered struct {
	status int
	body   string
}

const (
	day       = 24 * time.Hour
	inTheForm = oauth.AuthStyleForm
)

// saying returns a Final for an answer with the text in it.
func saying(text string) func(int, []byte) bool {
	return func(_ int, body []byte) bool { return bytes.Contains(body, []byte(text)) }
}

var inForm = url.Values{"client_id": {"id"}, "client_secret": {"secret"}}

var providers = map[string]provider{
	"Atlassian": {
		refresher: oauth.Refresher{TokenURL: "https://auth.atlassian.com/oauth/token", AuthStyle: inTheForm}, form: inForm,
		token:    `{"access_token":"access-2","refresh_token":"refresh-2","expires_in":3600,"scope":"read:jira-work offline_access"}`,
		lifetime: time.Hour,
		refused:  answered{403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`},
		passing:  []answered{{403, `{"error":"access_denied","error_description":"Unauthorized"}`}}, // a wrong secret
	},
	"Auth0": {
		refresher: oauth.Refresher{TokenURL: "https://tenant.auth0.com/oauth/token", AuthStyle: inTheForm}, form: inForm,
		token:    `{"access_token":"access-2","refresh_token":"refresh-2","id_token":"id-2","scope":"openid offline_access","expires_in":86400,"token_type":"Bearer"}`,
		lifetime: day, extra: map[string]string{"id_token": "id-2"},
		refused: answered{403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`},
		passing: []answered{{429, `{"error":"too_many_requests","error_description":"Global limit has been reached"}`}, {403, `{"error":"unauthorized_client"}`}},
	},
	"Dropbox": {
		refresher: oauth.Refresher{TokenURL: "https://api.dropboxapi.com/oauth2/token"},
		token:     `{"access_token":"access-2","token_type":"bearer","expires_in":14400}`, kept: true,
		lifetime: 4 * time.Hour,
		refused:  answered{400, `{"error":"invalid_grant","error_description":"refresh token is invalid or revoked"}`},
		passing:  []answered{{429, `{"error":{".tag":"too_many_requests"},"error_summary":"too_many_requests/."}`}},
	},
	"Fitbit": {
		refresher: oauth.Refresher{TokenURL: "https://api.fitbit.com/oauth2/token", Final: saying(`"errorType":"invalid_grant"`)},
		token:     `{"access_token":"access-2","expires_in":28800,"refresh_token":"refresh-2","token_type":"Bearer","user_id":"26FWFL"}`,
		lifetime:  8 * time.Hour, extra: map[string]string{"user_id": "26FWFL"},
		refused: answered{400, `{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid: refresh-1. Visit https://dev.fitbit.com/docs/oauth2"}],"success":false}`},
		passing: []answered{{400, `{"errors":[{"errorType":"invalid_request","message":"Missing parameters"}],"success":false}`}, {429, `{"errors":[{"errorType":"system"}]}`}},
	},
	"GitHub": {
		refresher: oauth.Refresher{TokenURL: "https://github.com/login/oauth/access_token", AuthStyle: inTheForm, FinalCodes: []string{"bad_refresh_token"}}, form: inForm,
		token:    `{"access_token":"access-2","expires_in":28800,"refresh_token":"refresh-2","refresh_token_expires_in":15897600,"scope":"","token_type":"bearer"}`,
		lifetime: 8 * time.Hour, refreshLifetime: 184 * day,
		refused: answered{200, `{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}`},
		passing: []answered{{200, `{"error":"incorrect_client_credentials"}`}, {404, `{"error":"Not Found"}`}},
	},
	"GitHub, in a form": { // without the Accept that is always sent
		refresher: oauth.Refresher{TokenURL: "https://github.com/login/oauth/access_token", AuthStyle: inTheForm, FinalCodes: []string{"bad_refresh_token"}}, form: inForm,
		token:    `access_token=access-2&expires_in=28800&refresh_token=refresh-2&refresh_token_expires_in=15897600&scope=&token_type=bearer`,
		lifetime: 8 * time.Hour, refreshLifetime: 184 * day,
		refused: answered{200, `error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.`},
	},
	"Google": {
		refresher: oauth.Refresher{TokenURL: "https://oauth2.googleapis.com/token", RevocationURL: "https://oauth2.googleapis.com/revoke", AuthStyle: inTheForm}, form: inForm,
		token: `{"access_token":"access-2","expires_in":3599,"scope":"https://www.googleapis.com/auth/userinfo.email","token_type":"Bearer"}`, kept: true,
		lifetime: 3599 * time.Second,
		refused:  answered{400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`},
		passing:  []answered{{401, `{"error":"invalid_client"}`}, {503, `{"error":"backend_error"}`}},
	},
	"HubSpot": {
		refresher: oauth.Refresher{TokenURL: "https://api.hubapi.com/oauth/v1/token", AuthStyle: inTheForm, Final: saying(`"BAD_REFRESH_TOKEN"`)}, form: inForm,
		token:    `{"token_type":"bearer","refresh_token":"refresh-2","access_token":"access-2","expires_in":1800}`,
		lifetime: 30 * time.Minute,
		refused:  answered{400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token","correlationId":"x"}`},
		passing:  []answered{{400, `{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}`}, {429, `{"status":"error","errorType":"RATE_LIMIT"}`}},
	},
	"Keycloak": {
		refresher: oauth.Refresher{TokenURL: "https://id.example.com/realms/main/protocol/openid-connect/token"},
		token:     `{"access_token":"access-2","expires_in":300,"refresh_expires_in":1800,"refresh_token":"refresh-2","token_type":"Bearer","not-before-policy":0,"session_state":"s","scope":"profile email"}`,
		lifetime:  5 * time.Minute, refreshLifetime: 30 * time.Minute, extra: map[string]string{"session_state": "s", "not-before-policy": "0"},
		refused: answered{400, `{"error":"invalid_grant","error_description":"Token is not active"}`},
		passing: []answered{{401, `{"error":"unauthorized_client","error_description":"Invalid client credentials"}`}},
	},
	"Keycloak, offline": {
		refresher: oauth.Refresher{TokenURL: "https://id.example.com/realms/main/protocol/openid-connect/token", Scopes: []string{"openid", "offline_access"}},
		form:      url.Values{"scope": {"openid offline_access"}},
		token:     `{"access_token":"access-2","expires_in":300,"refresh_expires_in":0,"refresh_token":"refresh-2","token_type":"Bearer"}`,
		lifetime:  5 * time.Minute,
		refused:   answered{400, `{"error":"invalid_grant","error_description":"Offline user session not found"}`},
	},
	"LinkedIn": {
		refresher: oauth.Refresher{TokenURL: "https://www.linkedin.com/oauth/v2/accessToken", AuthStyle: inTheForm}, form: inForm,
		token:    `{"access_token":"access-2","expires_in":5184000,"refresh_token":"refresh-2","refresh_token_expires_in":26438400,"scope":"r_basicprofile"}`,
		lifetime: 60 * day, refreshLifetime: 306 * day,
		refused: answered{400, `{"error":"invalid_grant","error_description":"The provided authorization grant or refresh token is invalid, expired or revoked"}`},
		passing: []answered{{401, `{"error":"invalid_client"}`}},
	},
	"Microsoft Entra": {
		refresher: oauth.Refresher{
			TokenURL: "https://login.microsoftonline.com/common/oauth2/v2.0/token", AuthStyle: inTheForm,
			Scopes: []string{"User.Read", "offline_access"}, FinalCodes: []string{"interaction_required"},
		},
		form:     url.Values{"client_id": {"id"}, "client_secret": {"secret"}, "scope": {"User.Read offline_access"}},
		token:    `{"token_type":"Bearer","scope":"User.Read","expires_in":86399,"ext_expires_in":86399,"refresh_in":43199,"access_token":"access-2","refresh_token":"refresh-2"}`,
		lifetime: 86399 * time.Second,
		refused:  answered{400, `{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired due to inactivity.","error_codes":[700082],"timestamp":"2026-01-01 00:00:00Z"}`},
		passing:  []answered{{401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`}, {503, `{"error":"temporarily_unavailable"}`}},
	},
	"Okta": {
		refresher: oauth.Refresher{TokenURL: "https://tenant.okta.com/oauth2/default/v1/token", RevocationURL: "https://tenant.okta.com/oauth2/default/v1/revoke", Scopes: []string{"openid", "offline_access"}},
		form:      url.Values{"scope": {"openid offline_access"}},
		token:     `{"token_type":"Bearer","expires_in":3600,"access_token":"access-2","scope":"openid offline_access","refresh_token":"refresh-2","id_token":"id-2"}`,
		lifetime:  time.Hour,
		refused:   answered{400, `{"error":"invalid_grant","error_description":"The refresh token is invalid or expired."}`},
		passing:   []answered{{429, `{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit"}`}},
	},
	"QuickBooks": {
		refresher: oauth.Refresher{TokenURL: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer", RevocationURL: "https://developer.api.intuit.com/v2/oauth2/tokens/revoke"},
		token:     `{"token_type":"bearer","expires_in":3600,"refresh_token":"refresh-2","x_refresh_token_expires_in":8726400,"access_token":"access-2"}`,
		lifetime:  time.Hour, refreshLifetime: 101 * day,
		refused: answered{400, `{"error":"invalid_grant"}`},
		passing: []answered{{401, `{"error":"invalid_client"}`}, {429, ``}},
	},
	"Salesforce": {
		refresher: oauth.Refresher{TokenURL: "https://login.salesforce.com/services/oauth2/token", RevocationURL: "https://login.salesforce.com/services/oauth2/revoke", AuthStyle: inTheForm}, form: inForm,
		token: `{"access_token":"access-2","signature":"s","scope":"refresh_token api","instance_url":"https://org.my.salesforce.com","id":"https://login.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1767225600000"}`, kept: true,
		extra:   map[string]string{"instance_url": "https://org.my.salesforce.com"},
		refused: answered{400, `{"error":"invalid_grant","error_description":"expired access/refresh token"}`},
		passing: []answered{{400, `{"error":"invalid_client_id","error_description":"client identifier invalid"}`}, {400, `{"error":"inactive_org"}`}},
	},
	"Shopify": {
		refresher: oauth.Refresher{TokenURL: "https://shop.myshopify.com/admin/oauth/access_token", AuthStyle: inTheForm}, form: inForm,
		token:    `{"access_token":"access-2","scope":"read_products","expires_in":3600,"refresh_token":"refresh-2","refresh_token_expires_in":7776000}`,
		lifetime: time.Hour, refreshLifetime: 90 * day,
		refused: answered{400, `{"error":"invalid_grant"}`},
		passing: []answered{{400, `<!DOCTYPE html><title>Oauth error invalid_request</title>`}, {429, ``}},
	},
	"Slack": {
		refresher: oauth.Refresher{TokenURL: "https://slack.com/api/oauth.v2.access", FinalCodes: []string{"invalid_refresh_token"}},
		token:     `{"ok":true,"app_id":"A0","access_token":"access-2","expires_in":43200,"refresh_token":"refresh-2","token_type":"bot","scope":"chat:write","bot_user_id":"U0","team":{"id":"T0"}}`,
		lifetime:  12 * time.Hour, extra: map[string]string{"team": `{"id":"T0"}`},
		refused: answered{200, `{"ok":false,"error":"invalid_refresh_token"}`},
		passing: []answered{{200, `{"ok":false,"error":"internal_error"}`}, {200, `{"ok":false,"error":"ratelimited"}`}, {200, `{"ok":false,"error":"bad_client_secret"}`}},
	},
	"Spotify": {
		refresher: oauth.Refresher{TokenURL: "https://accounts.spotify.com/api/token"},
		token:     `{"access_token":"access-2","token_type":"Bearer","expires_in":3600,"scope":"user-read-private"}`, kept: true,
		lifetime: time.Hour,
		refused:  answered{400, `{"error":"invalid_grant","error_description":"Refresh token revoked"}`},
		passing:  []answered{{400, `{"error":"invalid_client","error_description":"Invalid client"}`}, {503, `upstream connect error`}},
	},
	"Strava": {
		refresher: oauth.Refresher{TokenURL: "https://www.strava.com/oauth/token", AuthStyle: inTheForm, Final: saying(`"resource":"RefreshToken"`)}, form: inForm,
		token:    `{"token_type":"Bearer","access_token":"access-2","expires_at":1568775134,"expires_in":20566,"refresh_token":"refresh-2"}`,
		lifetime: 20566 * time.Second,
		refused:  answered{400, `{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}`},
		passing:  []answered{{400, `{"message":"Bad Request","errors":[{"resource":"Application","field":"client_id","code":"invalid"}]}`}, {429, `{"message":"Rate Limit Exceeded"}`}},
	},
	"Twitch": {
		refresher: oauth.Refresher{TokenURL: "https://id.twitch.tv/oauth2/token", RevocationURL: "https://id.twitch.tv/oauth2/revoke", AuthStyle: inTheForm, Final: saying(`"Invalid refresh token"`)}, form: inForm,
		token:    `{"access_token":"access-2","expires_in":14124,"refresh_token":"refresh-2","scope":["channel:moderate","chat:read"],"token_type":"bearer"}`,
		lifetime: 14124 * time.Second, extra: map[string]string{"scope": `["channel:moderate","chat:read"]`},
		refused: answered{400, `{"status":400,"message":"Invalid refresh token"}`},
		passing: []answered{{400, `{"status":400,"message":"missing client id"}`}, {403, `{"status":403,"message":"invalid client secret"}`}},
	},
	"Xero": {
		refresher: oauth.Refresher{TokenURL: "https://identity.xero.com/connect/token", RevocationURL: "https://identity.xero.com/connect/revocation"},
		token:     `{"id_token":"id-2","access_token":"access-2","expires_in":1800,"token_type":"Bearer","refresh_token":"refresh-2","scope":"accounting.transactions offline_access"}`,
		lifetime:  30 * time.Minute,
		refused:   answered{400, `{"error":"invalid_grant"}`},
		passing:   []answered{{400, `{"error":"invalid_client"}`}},
	},
	"Zoho": {
		refresher: oauth.Refresher{TokenURL: "https://accounts.zoho.com/oauth/v2/token", AuthStyle: inTheForm, FinalCodes: []string{"invalid_code"}}, form: inForm,
		token: `{"access_token":"access-2","expires_in_sec":3600,"api_domain":"https://www.zohoapis.com","token_type":"Bearer","expires_in":3600000}`, kept: true,
		lifetime: time.Hour, extra: map[string]string{"api_domain": "https://www.zohoapis.com"},
		refused: answered{200, `{"error":"invalid_code"}`},
		passing: []answered{{400, `{"error_description":"You have made too many requests continuously.","error":"Access Denied","status":"failure"}`}, {200, `{"error":"invalid_client"}`}},
	},
}

func TestProviders(t *testing.T) {
	for name, p := range providers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := p.refresher
				r.ClientID, r.ClientSecret = "id", "secret"
				require.NoError(t, r.Validate())
				server := testworld.Answering(200, p.token)
				r.Client = server.Client()
				tok := refreshes(t, &r, oldToken)

				want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-1"}}
				for name, values := range p.form {
					want[name] = values
				}
				assert.Equal(t, want, server.Last().Form(t))
				_, _, basic := server.Last().Basic(t)
				assert.Equal(t, r.AuthStyle == 0, basic)

				assert.Equal(t, "access-2", tok.AccessToken)
				assert.Equal(t, p.kept, tok.RefreshToken == "refresh-1")
				assert.Equal(t, !p.kept, tok.RefreshToken == "refresh-2")
				assertIn(t, p.lifetime, tok.Expiry)
				assertIn(t, p.refreshLifetime, tok.RefreshExpiry)
				assert.Equal(t, name == "Microsoft Entra", !tok.RefreshAfter.IsZero())
				for name, value := range p.extra {
					assert.Equal(t, value, tok.Extra[name])
				}

				for i, a := range append([]answered{p.refused}, p.passing...) {
					r.Client = testworld.Answering(a.status, a.body).Client()
					tok, err := r.Refresh(t.Context(), oldToken)
					assert.Zero(t, tok)
					assert.Equal(t, i == 0, errors.Is(err, reauth.ErrSignInRequired), "%d %s: %v", a.status, a.body, err)
					assert.NotContains(t, err.Error(), "refresh-1")
				}
			})
		})
	}
}

// assertIn checks that at is so far from now, or unknown if that is 0.
func assertIn(t *testing.T, want time.Duration, at time.Time) {
	t.Helper()
	if want == 0 {
		assert.Zero(t, at)
	} else {
		assert.Equal(t, want, time.Until(at))
	}
}

func TestProvidersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	for name, p := range providers {
		name, _, _ := strings.Cut(name, ", ")
		_, row, ok := strings.Cut(string(text), "\n| "+name+" |")
		require.True(t, ok, name)
		row, _, _ = strings.Cut(row, "\n")
		for _, code := range p.refresher.FinalCodes {
			assert.Contains(t, row, code)
		}
		assert.Equal(t, p.refresher.Final != nil, strings.Contains(row, "`Final`"), name)
		assert.Equal(t, p.refresher.AuthStyle == inTheForm, strings.Contains(row, "`AuthStyleForm`"), name)
	}
}
