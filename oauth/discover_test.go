package oauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A page is an answer to a GET.
type page struct {
	status int
	body   string
	header []string
}

// serving returns a server of pages by URL; there are no others.
func serving(pages map[string]page) *testworld.TokenServer {
	return testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		p, ok := pages[req.URL.String()]
		if !ok {
			return testworld.Respond(req, 404, "not found"), nil
		}
		resp := testworld.Respond(req, p.status, p.body)
		for i := 0; i+1 < len(p.header); i += 2 {
			resp.Header.Set(p.header[i], p.header[i+1])
		}
		return resp, nil
	})
}

// urls returns what a server was asked for.
func urls(s *testworld.TokenServer) (all []string) {
	for _, req := range s.Requests() {
		all = append(all, req.Method+" "+req.URL)
	}
	return all
}

// metadata returns a document of an issuer at host.
func metadata(issuer string) string {
	return `{"issuer":"` + issuer + `","token_endpoint":"https://id.example.com/token","revocation_endpoint":"https://id.example.com/revoke"}`
}

func TestWhereMetadataIsLookedFor(t *testing.T) {
	for _, tc := range []struct{ issuer, rfc8414, openID string }{
		{"https://id.example.com", "https://id.example.com/.well-known/oauth-authorization-server", "https://id.example.com/.well-known/openid-configuration"},
		{"https://id.example.com/", "https://id.example.com/.well-known/oauth-authorization-server", "https://id.example.com/.well-known/openid-configuration"},
		{"https://id.example.com:8443/a/b", "https://id.example.com:8443/.well-known/oauth-authorization-server/a/b", "https://id.example.com:8443/a/b/.well-known/openid-configuration"},
		{"https://id.example.com/a/", "https://id.example.com/.well-known/oauth-authorization-server/a", "https://id.example.com/a/.well-known/openid-configuration"},
		{"https://id.example.com/a%2Fb", "https://id.example.com/.well-known/oauth-authorization-server/a%2Fb", "https://id.example.com/a%2Fb/.well-known/openid-configuration"},
	} {
		first := serving(map[string]page{tc.rfc8414: {200, metadata(tc.issuer), nil}})
		m, err := oauth.Discover(t.Context(), tc.issuer, first.Client())
		require.NoError(t, err)
		assert.Equal(t, tc.issuer, m.Issuer)
		assert.Equal(t, []string{"GET " + tc.rfc8414}, urls(first))

		second := serving(map[string]page{tc.openID: {200, metadata(tc.issuer), nil}})
		m, err = oauth.Discover(t.Context(), tc.issuer, second.Client())
		require.NoError(t, err)
		assert.Equal(t, "https://id.example.com/token", m.TokenEndpoint)
		assert.Equal(t, []string{"GET " + tc.rfc8414, "GET " + tc.openID}, urls(second))
	}
}

const (
	issuer  = "https://id.example.com"
	rfc8414 = issuer + "/.well-known/oauth-authorization-server"
	openID  = issuer + "/.well-known/openid-configuration"
)

// What stands where RFC 8414 has the document is often something else.
func TestAnswerThatIsNoMetadataMeansOpenIDDiscovery(t *testing.T) {
	for name, first := range map[string]page{
		"another status":       {403, metadata(issuer), nil},
		"down":                 {503, ``, nil},
		"page":                 {200, `<html>Sign in</html>`, nil},
		"redirect to a page":   {301, ``, []string{"Location", "/ui/"}},
		"redirect elsewhere":   {302, ``, []string{"Location", "https://login.example.net/"}},
		"null":                 {200, `null`, nil},
		"array":                {200, `[` + metadata(issuer) + `]`, nil},
		"another issuer":       {200, metadata("https://id.example.com/tenant"), nil},
		"no issuer":            {200, `{"token_endpoint":"https://id.example.com/token"}`, nil},
		"issuer in other case": {200, `{"Issuer":"` + issuer + `"}`, nil},
		"issuer of no text":    {200, `{"issuer":["` + issuer + `"]}`, nil},
		"a refused endpoint":   {200, `{"issuer":"` + issuer + `","token_endpoint":"http://id.example.com/token"}`, nil},
		"empty":                {200, ``, nil},
		"broken":               {200, `{"issuer":"` + issuer + `"`, nil},
	} {
		server := serving(map[string]page{rfc8414: first, openID: {200, metadata(issuer), nil}, issuer + "/ui/": {200, `<html>`, nil}})
		m, err := oauth.Discover(t.Context(), issuer, server.Client())
		require.NoError(t, err, name)
		assert.Equal(t, "https://id.example.com/token", m.TokenEndpoint)
		for _, asked := range urls(server) {
			assert.Contains(t, asked, "https://id.example.com/", name)
		}
	}
}

func TestIssuerIsComparedToTheLetter(t *testing.T) {
	for _, tc := range []struct{ issuer, says string }{
		{"https://id.example.com", "https://id.example.com/"},
		{"https://id.example.com/", "https://id.example.com"},
		{"https://id.example.com", "https://ID.example.com"},
		{"https://id.example.com", "https://id.example.com:443"},
		{"https://id.example.com", "http://id.example.com"},
		{"https://id.example.com/a", "https://id.example.com/a/"},
		{"https://id.example.com/common/v2.0", "https://id.example.com/{tenantid}/v2.0"},
		{"https://id.example.com", ""},
	} {
		server := testworld.Answering(200, metadata(tc.says))
		_, err := oauth.Discover(t.Context(), tc.issuer, server.Client())
		require.Error(t, err, tc.says)
		assert.ErrorContains(t, err, fmt.Sprintf("its issuer is %q, which must be the same to the letter", tc.says))
		assert.ErrorContains(t, err, fmt.Sprintf("oauth: discovering %q: ", tc.issuer))
	}
}

func TestEndpointsOfAnotherSchemeAreRefused(t *testing.T) {
	for _, name := range []string{
		"authorization_endpoint", "token_endpoint", "revocation_endpoint", "introspection_endpoint", "device_authorization_endpoint",
		"pushed_authorization_request_endpoint", "registration_endpoint", "userinfo_endpoint", "end_session_endpoint", "jwks_uri",
	} {
		for url, ok := range map[string]bool{
			"https://other.example.net/x":   true, // Google's are on other hosts
			"http://id.example.com/x":       false,
			"ftp://id.example.com/x":        false,
			"//id.example.com/x":            false,
			"/x":                            false,
			"https:///x":                    false,
			"https://id.example.com/x#y":    false,
			"https://id.example.com/%zz":    false,
			"javascript:alert('x')//https:": false,
		} {
			server := testworld.Answering(200, `{"issuer":"`+issuer+`","`+name+`":"`+url+`"}`)
			_, err := oauth.Discover(t.Context(), issuer, server.Client())
			assert.Equal(t, ok, err == nil, "%s %s: %v", name, url, err)
			if !ok {
				assert.ErrorContains(t, err, "its "+name+" is ")
			}
		}
	}
	local := testworld.Answering(200, `{"issuer":"http://localhost:8080","token_endpoint":"https://localhost/token"}`)
	_, err := oauth.Discover(t.Context(), "http://localhost:8080", local.Client())
	assert.ErrorContains(t, err, "is not an http URL")
}

func TestMembersOfMetadata(t *testing.T) {
	const body = "\ufeff" + `{"issuer":"https://id.example.com","authorization_endpoint":"https://id.example.com/a","token_endpoint":"https://id.example.com/t",
		"revocation_endpoint":"https://id.example.com/r","introspection_endpoint":"https://id.example.com/i","device_authorization_endpoint":"https://id.example.com/d",
		"pushed_authorization_request_endpoint":"https://id.example.com/p","registration_endpoint":"https://id.example.com/g","userinfo_endpoint":"https://id.example.com/u",
		"end_session_endpoint":"https://id.example.com/e","jwks_uri":"https://id.example.com/k","scopes_supported":["openid"],"grant_types_supported":["refresh_token"],
		"code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["private_key_jwt"],"token_endpoint_auth_signing_alg_values_supported":["ES256"],
		"dpop_signing_alg_values_supported":["EdDSA","ES256"],"authorization_response_iss_parameter_supported":true}`
	m, err := oauth.Discover(t.Context(), issuer, testworld.Answering(200, body).Client())
	require.NoError(t, err)
	assert.Equal(t, json.RawMessage("true"), m.Members["authorization_response_iss_parameter_supported"])
	m.Members = nil
	assert.Equal(t, &oauth.Metadata{
		Issuer: issuer, AuthorizationEndpoint: issuer + "/a", TokenEndpoint: issuer + "/t", RevocationEndpoint: issuer + "/r", IntrospectionEndpoint: issuer + "/i",
		DeviceAuthorizationEndpoint: issuer + "/d", PushedAuthorizationRequestEndpoint: issuer + "/p", RegistrationEndpoint: issuer + "/g", UserinfoEndpoint: issuer + "/u",
		EndSessionEndpoint: issuer + "/e", JWKSURI: issuer + "/k", ScopesSupported: []string{"openid"}, GrantTypesSupported: []string{"refresh_token"},
		CodeChallengeMethodsSupported: []string{"S256"}, TokenEndpointAuthMethodsSupported: []string{"private_key_jwt"},
		TokenEndpointAuthSigningAlgValuesSupported: []string{"ES256"}, DPoPSigningAlgValuesSupported: []string{"EdDSA", "ES256"},
	}, m)

	odd := `{"issuer":"https://id.example.com","token_endpoint":["x"],"scopes_supported":"openid","dpop_signing_alg_values_supported":[1],"jwks_uri":null}`
	m, err = oauth.Discover(t.Context(), issuer, testworld.Answering(200, odd).Client())
	require.NoError(t, err, "members that nobody needs")
	assert.Empty(t, m.TokenEndpoint)
	assert.Empty(t, m.ScopesSupported)
}

func TestMetadataIsReadUpToABound(t *testing.T) {
	for size, ok := range map[int]bool{100 << 10: true, 2 << 20: false} {
		long := `{"issuer":"` + issuer + `","x":"` + strings.Repeat("x", size) + `"}`
		_, err := oauth.Discover(t.Context(), issuer, testworld.Answering(200, long).Client())
		assert.Equal(t, ok, err == nil, "%v", err)
		if !ok {
			assert.ErrorContains(t, err, "the answer is too long")
		}
	}
}

func TestDiscoveryFollowsARedirectWithinItsOrigin(t *testing.T) {
	server := serving(map[string]page{
		rfc8414:                             {307, ``, []string{"Location", "/metadata"}},
		openID:                              {307, ``, []string{"Location", "https://evil.example.net/metadata"}},
		issuer + "/metadata":                {200, metadata(issuer), nil},
		"https://evil.example.net/metadata": {200, metadata(issuer), nil},
	})
	_, err := oauth.Discover(t.Context(), issuer, server.Client())
	require.NoError(t, err)
	assert.Equal(t, []string{"GET " + rfc8414, "GET " + issuer + "/metadata"}, urls(server))

	away := serving(map[string]page{
		rfc8414:                             {301, ``, []string{"Location", "http://id.example.com/.well-known/oauth-authorization-server"}},
		openID:                              {302, ``, []string{"Location", "https://evil.example.net/metadata"}},
		"https://evil.example.net/metadata": {200, metadata(issuer), nil},
		"http://id.example.com/.well-known/oauth-authorization-server": {200, metadata(issuer), nil},
	})
	_, err = oauth.Discover(t.Context(), issuer, away.Client())
	assert.ErrorContains(t, err, "it leads to another origin")
	assert.Equal(t, []string{"GET " + rfc8414, "GET " + openID}, urls(away))
}

func TestErrorsOfDiscovery(t *testing.T) {
	for _, tc := range []struct{ issuer, want string }{
		{"", `oauth: discovering "": the issuer must be set`},
		{"id.example.com", `the issuer must begin with https:// or http://`},
		{"https://", `the issuer has no host`},
		{"https://user:SECRET@id.example.com", `the issuer must have no user info`},
		{"https://id.example.com?SECRET", `the issuer must have no query`},
		{"https://id.example.com/#SECRET", `the issuer must have no fragment`},
		{"https://id.example.com/%zz", `the issuer is not a URL`},
	} {
		server := testworld.Answering(200, metadata(tc.issuer))
		_, err := oauth.Discover(t.Context(), tc.issuer, server.Client())
		assert.ErrorContains(t, err, tc.want)
		assert.NotContains(t, err.Error(), "SECRET")
		assert.Empty(t, server.Requests())
		if tc.issuer != "" {
			testworld.AssertFaults(t, []string{"oauth: Refresher.Issuer "}, (&oauth.Refresher{TokenURL: testworld.TokenURL, Issuer: tc.issuer}).Validate())
		}
	}

	server := serving(map[string]page{rfc8414: {503, ``, nil}, openID: {200, `<html>`, nil}})
	_, err := oauth.Discover(t.Context(), issuer, server.Client())
	assert.EqualError(t, err, `oauth: discovering "`+issuer+`": GET "`+rfc8414+`": the server answered 503; GET "`+openID+`": the answer is not a JSON object`)

	signedOut := testworld.AnsweringWith(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("the proxy: %w", reauth.ErrSignInRequired)
	})
	_, err = oauth.Discover(t.Context(), issuer, signedOut.Client())
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	assert.Equal(t, 2, strings.Count(err.Error(), "the proxy"), err)

	ctx, cancel := context.WithCancel(t.Context())
	canceled := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		cancel()
		return nil, req.Context().Err()
	})
	_, err = oauth.Discover(ctx, issuer, canceled.Client())
	assert.ErrorIs(t, err, context.Canceled)
	assert.Len(t, canceled.Requests(), 1)

	broken := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		resp := testworld.Respond(req, 200, "")
		resp.Body = testworld.FailingReader(`{"issuer":"`, io.ErrUnexpectedEOF)
		return resp, nil
	})
	_, err = oauth.Discover(t.Context(), issuer, broken.Client())
	assert.ErrorContains(t, err, "the answer broke off")
}

func TestWhereResourceMetadataIsLookedFor(t *testing.T) {
	for _, tc := range []struct{ resource, want string }{
		{"https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"},
		{"https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"},
		{"https://api.example.com/one", "https://api.example.com/.well-known/oauth-protected-resource/one"},
		{"https://api.example.com/one/", "https://api.example.com/.well-known/oauth-protected-resource/one/"},
		{"https://api.example.com?k=v", "https://api.example.com/.well-known/oauth-protected-resource?k=v"},
		{"http://localhost:8080/mcp?k=v", "http://localhost:8080/.well-known/oauth-protected-resource/mcp?k=v"},
	} {
		server := serving(map[string]page{tc.want: {200, `{"resource":"` + tc.resource + `","authorization_servers":["https://id.example.com"],
			"scopes_supported":["read"],"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256"],
			"dpop_bound_access_tokens_required":true,"jwks_uri":"https://api.example.com/keys","resource_name":"Orders"}`, nil}})
		m, err := oauth.DiscoverResource(t.Context(), tc.resource, server.Client())
		require.NoError(t, err)
		assert.Equal(t, []string{"GET " + tc.want}, urls(server))
		assert.Equal(t, json.RawMessage(`"Orders"`), m.Members["resource_name"])
		m.Members = nil
		assert.Equal(t, &oauth.ResourceMetadata{
			Resource: tc.resource, AuthorizationServers: []string{"https://id.example.com"}, ScopesSupported: []string{"read"}, BearerMethodsSupported: []string{"header"},
			DPoPSigningAlgValuesSupported: []string{"ES256"}, DPoPBoundAccessTokensRequired: true, JWKSURI: "https://api.example.com/keys",
		}, m)
	}
}

func TestResourceIsComparedToTheLetter(t *testing.T) {
	for _, tc := range []struct{ resource, says string }{
		{"https://api.example.com/mcp", "https://api.example.com/"},
		{"https://api.example.com/mcp", "https://api.example.com/mcp/"},
		{"https://api.example.com", "https://api.example.com/"},
		{"https://api.example.com", "https://other.example.com"},
	} {
		_, err := oauth.DiscoverResource(t.Context(), tc.resource, testworld.Answering(200, `{"resource":"`+tc.says+`"}`).Client())
		assert.EqualError(t, err, fmt.Sprintf("oauth: discovering the resource %q: GET %q: its resource is %q, which must be the same to the letter",
			tc.resource, strings.Replace(tc.resource, ".com", ".com/.well-known/oauth-protected-resource", 1), tc.says))
	}
}

func TestWhatAnHTTPSResourceNamesIsHTTPS(t *testing.T) {
	for _, tc := range []struct {
		scheme, member string
		ok             bool
	}{
		{"https", `"authorization_servers":["https://id.example.com"]`, true},
		{"https", `"authorization_servers":["https://id.example.com","http://id.example.com"]`, false},
		{"https", `"authorization_servers":["id.example.com"]`, false},
		{"https", `"jwks_uri":"http://api.example.com/keys"`, false},
		{"http", `"authorization_servers":["https://id.example.com","http://localhost"]`, true},
		{"http", `"authorization_servers":["ftp://localhost"]`, false},
	} {
		at := tc.scheme + "://localhost"
		_, err := oauth.DiscoverResource(t.Context(), at, testworld.Answering(200, `{"resource":"`+at+`",`+tc.member+`}`).Client())
		assert.Equal(t, tc.ok, err == nil, "%s: %v", tc.member, err)
	}
	for _, bad := range []string{"", "api.example.com", "https://user:SECRET@api.example.com", "https://api.example.com/#x"} {
		server := testworld.Answering(200, `{"resource":"`+bad+`"}`)
		_, err := oauth.DiscoverResource(t.Context(), bad, server.Client())
		require.ErrorContains(t, err, "oauth: discovering the resource")
		assert.NotContains(t, err.Error(), "SECRET")
		assert.Empty(t, server.Requests())
	}
}
