package oauth_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// Documents, and the lack of them, that other clients have stumbled over.
func TestDiscoveryInPublicReports(t *testing.T) {
	const wellKnown = "https://id.example.com/.well-known/oauth-authorization-server"
	for _, tc := range []struct {
		report, issuer string
		pages          map[string]page
		want           string // part of the error; "": it is found
	}{
		// An issuer with a path.
		{"duhu2000/dsh-mcp-connector#79", "https://id.example.com/mcp", map[string]page{wellKnown + "/mcp": {200, metadata("https://id.example.com/mcp"), nil}}, ""},
		{"panva/openid-client#103", "https://id.example.com/oauth2/aus1", map[string]page{
			"https://id.example.com/oauth2/aus1/.well-known/oauth-authorization-server": {200, metadata("https://id.example.com/oauth2/aus1"), nil}, // of a draft
			"https://id.example.com/oauth2/aus1/.well-known/openid-configuration":       {200, metadata("https://id.example.com/oauth2/aus1"), nil},
		}, ""},
		{"sebadob/rauthy#1643", "https://id.example.com/auth/v1/", map[string]page{
			wellKnown + "/auth/v1":                                            {301, "", []string{"Location", "/auth/v1/"}},
			"https://id.example.com/auth/v1/":                                 {200, "<!DOCTYPE html>", []string{"Content-Type", "text/html"}},
			"https://id.example.com/auth/v1/.well-known/openid-configuration": {200, metadata("https://id.example.com/auth/v1/"), nil},
		}, ""},
		// A final slash.
		{"modelcontextprotocol/php-sdk#507", "https://id.example.com/application/o/mcp/", map[string]page{
			"https://id.example.com/application/o/mcp/.well-known/openid-configuration": {200, metadata("https://id.example.com/application/o/mcp/"), nil},
		}, ""},
		{"infiniflow/ragflow#18530", "https://id.example.com/", map[string]page{
			"https://id.example.com/.well-known/openid-configuration": {200, metadata("https://id.example.com/"), nil},
		}, ""},
		{"coreos/go-oidc#203", "https://id.example.com", map[string]page{wellKnown: {200, metadata("https://id.example.com/"), nil}}, `its issuer is "https://id.example.com/"`},
		{"zitadel/oidc#122", "https://id.example.com", map[string]page{wellKnown: {200, metadata("https://id.example.com/"), nil}}, "the same to the letter"},
		{"formancehq/go-libs#624", "https://id.example.com/", map[string]page{wellKnown: {200, metadata("https://id.example.com"), nil}}, "the same to the letter"},
		// Another server's document at the root.
		{"adcontextprotocol/adcp-client#237", "https://id.example.com/tenant", map[string]page{wellKnown: {200, metadata("https://id.example.com"), nil}}, "the server answered 404"},
	} {
		server := serving(tc.pages)
		m, err := oauth.Discover(t.Context(), tc.issuer, server.Client())
		if tc.want != "" {
			assert.ErrorContains(t, err, tc.want, tc.report)
			continue
		}
		if assert.NoError(t, err, tc.report) {
			assert.Equal(t, tc.issuer, m.Issuer)
		}
	}
	// modelcontextprotocol/python-sdk#1400, twentyhq/twenty#19838: the document of the root
	// where that of a path belongs.
	_, err := oauth.DiscoverResource(t.Context(), "http://localhost:8001/mcp", testworld.Answering(200, `{"resource":"http://localhost:8001/"}`).Client())
	assert.ErrorContains(t, err, `its resource is "http://localhost:8001/"`)
}

// photoprism/photoprism#5478, marimo-team/marimohub#107, vavallee/bindery#461: one failure
// was remembered until the program was started again.
func TestProgramThatStartsBeforeItsServer(t *testing.T) {
	discovers(t, func(t *testing.T, d *discoverable) {
		d.status.Store(502)
		r := d.refresher()
		r.Grant = oauth.ClientCredentials{}
		tr, err := reauth.New(reauth.Config{Refresher: r, Origins: []string{"https://api.example.com"}})
		require.NoError(t, err)
		_, err = tr.Token(t.Context())
		require.Error(t, err)
		d.status.Store(200)
		time.Sleep(time.Minute)
		tok, err := tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", tok.AccessToken)
	})
}

// Azure/azure-sdk-for-rust#1739, aws/aws-sdk-js-v3#2297: the file was read once, and after
// an hour the server refused what it had held. cube-js/cube#11622: new tokens were fetched
// only when the file had changed, though they live shorter.
func TestTokenAndItsAssertionFileAgeApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		project := func() {
			text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte("a key of this test"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		project()
		expired := `{"error":"invalid_client","error_description":"AADSTS700024: Client assertion is not within its valid time range."}`
		var server *testworld.TokenServer
		server = testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			claims := jwt.MapClaims{}
			_, _, err := jwt.NewParser().ParseUnverified(server.Last().Form(t).Get("client_assertion"), claims)
			assert.NoError(t, err)
			if exp, err := claims.GetExpirationTime(); err != nil || !time.Now().Before(exp.Time) {
				return testworld.Respond(req, 401, expired), nil
			}
			return testworld.Respond(req, 200, `{"access_token":"a","expires_in":1200}`), nil
		})
		tr, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: oauth.ClientCredentials{}, Assertion: oauth.AssertionFile(path), Client: server.Client()},
			Origins:   []string{"https://api.example.com"},
		})
		require.NoError(t, err)
		for range 10 { // the token lives 20 minutes, the assertion an hour, renewed each 48 minutes
			_, err := tr.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(24 * time.Minute)
			_, err = tr.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(24 * time.Minute)
			project()
		}
		// Nobody renews it: that is the program's failure, and ends with the next file.
		time.Sleep(2 * time.Hour)
		_, err = tr.Token(t.Context())
		require.ErrorContains(t, err, "401 invalid_client: the program is misconfigured")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		project()
		time.Sleep(time.Minute)
		_, err = tr.Token(t.Context())
		require.NoError(t, err)
	})
}
