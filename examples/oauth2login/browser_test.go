package main

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A browser is a user at the provider's pages.
type browser struct{ client *http.Client }

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{&http.Client{Jar: jar, Transport: transport}}
}

var actionRE = regexp.MustCompile(`<form method="post" action="([^"]+)"`)

// visit opens address, fills the form there, presses the button of that name, and
// returns the page where it ends up.
func (b *browser) visit(t *testing.T, address, button string) (status int, text string) {
	t.Helper()
	resp, err := b.client.Get(address)
	require.NoError(t, err)
	action := actionRE.FindStringSubmatch(body(t, resp))
	require.NotNil(t, action, "no form at %s: %s", resp.Request.URL.Path, resp.Status)
	to, err := resp.Request.URL.Parse(html.UnescapeString(action[1]))
	require.NoError(t, err)
	resp, err = b.client.PostForm(to.String(), url.Values{"user": {"ann"}, button: {""}})
	require.NoError(t, err)
	return resp.StatusCode, body(t, resp)
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}

// callbackOf returns where the browser would come back to from address, with
// something of the test's own.
func callbackOf(t *testing.T, address string, query url.Values) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Query().Get("redirect_uri") + "?" + query.Encode()
}

func stateOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Query().Get("state")
}

// counts is what the provider has counted.
type counts struct {
	Exchanges   int `json:"exchanges"`   // of codes, asked for
	Refreshes   int `json:"refreshes"`   // asked for
	Refreshed   int `json:"refreshed"`   // of these, granted
	MostSpent   int `json:"mostSpent"`   // how often the refresh token was presented that was presented most
	Asked       int `json:"asked"`       // of the API
	Refused     int `json:"refused"`     // of these, answered 401
	Revocations int `json:"revocations"` // asked for
}

func countsOf(t *testing.T, issuer string) (c counts) {
	t.Helper()
	resp, err := http.Get(issuer + "/_test/counts")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(body(t, resp)), &c))
	return c
}

// revoke takes back what the provider has granted to anyone.
func revoke(t *testing.T, issuer string) {
	t.Helper()
	resp, err := http.Post(issuer+"/_test/revoke", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body(t, resp)
}
