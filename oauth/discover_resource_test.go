package oauth_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// modelcontextprotocol/python-sdk#1400, exa-labs/exa-mcp-server#387: one document for all
// that is below a path.
func TestResourceThatAChallengeNamesMayCoverTheTarget(t *testing.T) {
	const at = "https://api.example.com/custom/metadata.json"
	for _, tc := range []struct {
		target, says string
		ok           bool
	}{
		{"https://api.example.com/mcp", "https://api.example.com/mcp", true},
		{"https://api.example.com/mcp", "https://api.example.com/mcp/", true},
		{"https://api.example.com/mcp/", "https://api.example.com/mcp", true},
		{"https://api.example.com/mcp", "https://api.example.com", true},
		{"https://api.example.com/mcp", "https://api.example.com/", true},
		{"https://api.example.com/mcp", "https://API.example.com:443/", true},
		{"https://api.example.com/one/mcp", "https://api.example.com/one", true},
		{"https://api.example.com/mcp?k=v", "https://api.example.com/mcp", true},
		{"https://api.example.com/mcp?k=v", "https://api.example.com/mcp?k=v", true},
		{"https://api.example.com/mcp?k=v", "https://api.example.com/mcp?k=w", false},
		{"https://api.example.com/mcp", "https://api.example.com/mcp?k=v", false},
		{"https://api.example.com/mcp", "https://api.example.com/mcp/one", false},
		{"https://api.example.com/mcp", "https://api.example.com/mc", false},
		{"https://api.example.com/mcp-two", "https://api.example.com/mcp", false},
		{"https://api.example.com/mcp", "https://api.example.com:8443/mcp", false},
		{"https://api.example.com/mcp", "http://api.example.com/mcp", false},
		{"https://api.example.com/mcp", "https://evil.example.com/mcp", false},
		{"https://api.example.com/mcp", "https://api.example.com/mcp#x", false},
		{"https://api.example.com/mcp", "", false},
	} {
		server := serving(map[string]page{at: {200, `{"resource":"` + tc.says + `","scopes_supported":["read"]}`, nil}})
		m, err := oauth.DiscoverResourceAt(t.Context(), at, tc.target, server.Client())
		assert.Equal(t, []string{"GET " + at}, urls(server))
		if !tc.ok {
			assert.ErrorContains(t, err, "which does not cover it", "%s for %s", tc.says, tc.target)
			continue
		}
		if assert.NoError(t, err, "%s for %s", tc.says, tc.target) {
			assert.Equal(t, tc.says, m.Resource)
			assert.Equal(t, []string{"read"}, m.ScopesSupported)
		}
	}
}

func TestMetadataOfAnHTTPSResourceIsAtAnHTTPSURL(t *testing.T) {
	for _, tc := range []struct {
		at, target string
		ok         bool
	}{
		{"https://meta.example.com/x", "https://api.example.com/mcp", true},
		{"http://api.example.com/x", "https://api.example.com/mcp", false},
		{"file:///etc/passwd", "https://api.example.com/mcp", false},
		{"", "https://api.example.com/mcp", false},
		{"http://localhost/x", "http://localhost/mcp", true},
		{"file:///etc/passwd", "http://localhost/mcp", false},
		{"https://api.example.com/x", "api.example.com", false},
	} {
		server := testworld.Answering(200, `{"resource":"`+tc.target+`"}`)
		_, err := oauth.DiscoverResourceAt(t.Context(), tc.at, tc.target, server.Client())
		assert.Equal(t, tc.ok, err == nil, "%s: %v", tc.at, err)
		assert.Equal(t, tc.ok, len(server.Requests()) == 1)
	}
	_, err := oauth.DiscoverResourceAt(t.Context(), "https://api.example.com/x", "https://api.example.com/mcp",
		testworld.Answering(200, `{"resource":"https://api.example.com/mcp","authorization_servers":["http://id.example.com"]}`).Client())
	assert.ErrorContains(t, err, "is not an https URL")
}

func TestServerWithoutMetadataIsToldFromOneThatIsDown(t *testing.T) {
	for _, tc := range []struct {
		first, second int
		absent        bool
	}{
		{404, 404, true}, {404, 401, true}, {410, 405, true},
		{404, 503, false}, {503, 404, false}, {404, 200, false}, {429, 404, false}, {404, 408, false}, {301, 404, false},
	} {
		server := serving(map[string]page{rfc8414: {tc.first, ``, nil}, openID: {tc.second, ``, nil}})
		_, err := oauth.Discover(t.Context(), issuer, server.Client())
		require.Error(t, err)
		assert.Equal(t, tc.absent, isAbsent(err), "%d, %d: %v", tc.first, tc.second, err)
		assert.NotContains(t, err.Error(), oauth.ErrNoMetadata.Error(), "each place has its own reason")
	}
	for status, absent := range map[int]bool{404: true, 401: true, 500: false, 429: false, 200: false} {
		_, err := oauth.DiscoverResource(t.Context(), "https://api.example.com", testworld.Answering(status, ``).Client())
		require.Error(t, err)
		assert.Equal(t, absent, isAbsent(err), "%d: %v", status, err)
	}
	_, err := oauth.Discover(t.Context(), issuer, testworld.AnsweringWith(func(*http.Request) (*http.Response, error) {
		return nil, http.ErrHandlerTimeout
	}).Client())
	assert.False(t, isAbsent(err))
}

func isAbsent(err error) bool { return errors.Is(err, oauth.ErrNoMetadata) }
