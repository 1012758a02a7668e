package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// modelcontextprotocol/python-sdk#1919, anomalyco/opencode#50036, expo/expo#49054: the MCP
// server names its authorization server with a slash that this one does not have, as the
// servers of Google do, or the other way round.
func TestIssuerWithoutAPathMayBeNamedWithASlashMoreOrLess(t *testing.T) {
	w := newWorld(t)
	w.issuerIs = func(issuer string) string { return issuer + "/" }
	w.connected(options{})
	assert.Len(t, w.opened(), 1)
}

func TestIssuerIsItsOwnOtherwise(t *testing.T) {
	var says string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, 200, map[string]any{"issuer": says})
	}))
	defer server.Close()
	c, err := newClient(server.URL+"/mcp", options{browser: headless})
	require.NoError(t, err)
	for _, tc := range []struct {
		named, says string
		ok          bool
	}{
		{"", "", true},
		{"/", "", true},
		{"", "/", true},
		{"/tenant", "/tenant", true},
		{"/tenant", "/tenant/", false},
		{"", "/backend/oauthproxy", false}, // SmartBear/smartbear-mcp#682
	} {
		says = server.URL + tc.says
		m, err := c.server(t.Context(), server.URL+tc.named)
		if assert.Equal(t, tc.ok, err == nil, "%q names %q: %v", tc.named, tc.says, err) && tc.ok {
			assert.Equal(t, says, m.Issuer, "as the answer to a sign-in will have it")
		}
	}
}

// modelcontextprotocol/typescript-sdk#1968: https://example.com became https://example.com/,
// which is not what the authorization server knows.
func TestResourceIsSentAsTheServerNamesIt(t *testing.T) {
	w := newWorld(t)
	w.resourceIs = func(endpoint string) string { return strings.TrimSuffix(endpoint, "/mcp") }
	session := w.connected(options{})
	w.ExpireAccess()
	_, err := w.callAll(session, "read", 1)
	require.NoError(t, err)
	assert.Equal(t, w.url, w.opened()[0].Get("resource"))
	require.Len(t, w.tokenForms, 2)
	for _, form := range w.tokenForms {
		assert.Equal(t, w.url, form.Get("resource"))
	}
}

func TestWhereTheMetadataOfAServerIsLookedFor(t *testing.T) {
	var asked []string
	status := http.StatusNotFound
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		rw.WriteHeader(status)
	}))
	defer server.Close()
	c, err := newClient(server.URL+"/one/mcp?k=v", options{browser: headless})
	require.NoError(t, err)

	from, err := c.discover(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"/.well-known/oauth-protected-resource/one/mcp",
		"/.well-known/oauth-protected-resource",
		"/.well-known/oauth-authorization-server",
		"/.well-known/openid-configuration",
	}, asked)
	assert.True(t, from.guessed)
	assert.Equal(t, server.URL+"/one/mcp", from.resource)
	assert.Equal(t, server.URL+"/token", from.server.TokenEndpoint)

	// Where the server names a place, there is no other.
	asked = nil
	_, err = c.discover(t.Context(), http.Header{"Www-Authenticate": {`Bearer resource_metadata="` + server.URL + `/here"`}})
	require.NoError(t, err)
	assert.Equal(t, []string{"/here", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"}, asked)

	// A server that is down has not said that it has no metadata.
	asked, status = nil, http.StatusBadGateway
	_, err = c.discover(t.Context(), nil)
	require.ErrorContains(t, err, "the server answered 502")
	assert.Len(t, asked, 1)
}
