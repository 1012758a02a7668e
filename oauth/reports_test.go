package oauth_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// Answers that other clients have stumbled over, by the report that shows them. Where a
// report shows none, the answer is what it describes.
func TestAnswersFromPublicReports(t *testing.T) {
	const (
		token     = `"access_token":"access-2","refresh_token":"refresh-2"`
		rotated   = "rotated"   // a token with a new refresh token
		kept      = "kept"      // a token that leaves the old one in use
		final     = "final"     // sign in again
		temporary = "temporary" // and nothing is lost
	)
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // in a bubble
	for _, tc := range []struct {
		report     string
		status     int
		body       string
		finalCodes []string
		want       string
		lifetime   time.Duration // of the access token, if it is known
	}{
		// Answers that rotate.
		{"onyx-dot-app/onyx#13330", 200, `access_token=access-2&expires_in=28800&refresh_token=refresh-2&token_type=bearer`, nil, rotated, 8 * time.Hour},
		{"IBM/mcp-context-forge#4259", 200, `access_token=access-2&refresh_token=refresh-2&scope=repo%2Cuser&token_type=bearer`, nil, rotated, 0},
		{"DollhouseMCP/mcp-server#2520", 200, "\ufeff{" + token + "}", nil, rotated, 0},
		{"n8n-io/n8n#33018", 200, `{` + token + `,"expires_in":3600}` + "\n", nil, rotated, time.Hour},
		{"FrankHassanabad/Oauth2orizeRecipes#2", 200, `{"access_token":"access-2","refresh_token":{"expires_in":3600},"token_type":"bearer"}`, nil, kept, 0},
		{"oauthlib/oauthlib#267", 200, `access_token=access-2&expires=5183999`, nil, kept, 0},
		{"lelylan/simple-oauth2#114", 200, `access_token=access-2&refresh_token=refresh-2&expires_in=3600`, nil, rotated, time.Hour},
		{"cognizant-ai-lab/nsflow#239", 200, `{"access_token":"access-2","refresh_token":null,"expires_in":3600}`, nil, kept, time.Hour},
		{"larksuite/cli#2135", 200, `<html><body>Bad gateway</body></html>`, nil, temporary, 0},
		{"n8n-io/n8n#27089", 200, `<!DOCTYPE html><title>Just a moment...</title>`, nil, temporary, 0},

		// Finality.
		{"lelylan/simple-oauth2#459", 200, `{"error":"bad_refresh_token","error_description":"x"}`, []string{"bad_refresh_token"}, final, 0},
		{"speakeasy-api/gram#6088", 200, `{"error":"bad_verification_code"}`, []string{"bad_refresh_token", "bad_verification_code"}, final, 0},
		{"speakeasy-api/gram#6088", 200, ``, nil, temporary, 0},
		{"ramosbugs/oauth2-rs#303", 200, `{"error":"invalid_grant","error_description":"AADSTS700081: The refresh token has expired"}`, nil, final, 0},
		{"vaadin/vaadin-connect#335", 401, `{"error":"unauthorized"}`, []string{"unauthorized"}, final, 0},
		{"FlowFuse/flowfuse#8547", 400, `{"error":"invalid_request"}`, []string{"invalid_request"}, final, 0},
		{"apereo/cas#2903", 400, `error=invalid_grant`, nil, final, 0},
		{"D00mch/souz#711", 401, `{"error":{"message":"Your refresh token has already been used.","code":"refresh_token_reused"}}`, []string{"refresh_token_reused"}, final, 0},
		{"decocms/studio#6068", 200, `{"token_type":"Bearer"}`, nil, temporary, 0},
		{"mattermost/mattermost#10924", 500, `<html>invalid_grant</html>`, nil, temporary, 0},
		{"givtnl/givt-app#1912", 401, ``, nil, temporary, 0}, // a Final can say otherwise

		// Lifetimes.
		{"Weble/ZohoClient#11", 200, `{"access_token":"access-2","expires_in_sec":3600,"expires_in":3600000}`, nil, kept, time.Hour},
		{"OAuth-Apis/apis#56", 200, `{` + token + `,"expires_in":7200000}`, nil, rotated, 2 * time.Hour},
		{"TryGhost/Ghost#7547", 200, `{` + token + `,"expires_in":` + fmt.Sprint(now.Add(time.Hour).UnixMilli()) + `}`, nil, rotated, time.Hour},
		{"leaonline/oauth2-server#3", 200, `{` + token + `,"expires_in":"` + now.Add(time.Hour).Format("2006-01-02T15:04:05.000Z") + `"}`, nil, rotated, time.Hour},
		{"mulesoft-labs/js-client-oauth2#106", 200, `{` + token + `,"expires_in":"Sat Jan 01 2000 02:00:00 GMT+0100 (CET)"}`, nil, rotated, time.Hour},
		{"oauth-io/oauthd#183", 200, `{` + token + `,"expires_in":"6/1/2017 2:24:46 PM"}`, nil, rotated, 0}, // in no zone
	} {
		t.Run(tc.report, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &oauth.Refresher{TokenURL: testworld.TokenURL, FinalCodes: tc.finalCodes, Client: testworld.Answering(tc.status, tc.body).Client()}
				tok, err := r.Refresh(t.Context(), oldToken)
				got := temporary
				switch {
				case err == nil && tok.RefreshToken == "refresh-2":
					got = rotated
				case err == nil:
					got = kept
				case errors.Is(err, reauth.ErrSignInRequired):
					got = final
				}
				assert.Equal(t, tc.want, got, "%s: %v", tc.report, err)
				switch {
				case err != nil:
					assert.Zero(t, tok, tc.report)
				case tc.lifetime == 0:
					assert.Zero(t, tok.Expiry, tc.report)
				default:
					assert.Equal(t, tc.lifetime, time.Until(tok.Expiry), tc.report)
				}
			})
		})
	}
}
