package reauth_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/reauthtest"
)

// Requests that name another host than their URL does.

// A proxy for plain http gets the whole request, and sends it where the request line says.
func TestForwardProxyIsNotToldToSendATokenElsewhere(t *testing.T) {
	var to, token string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		to, token = r.URL.Host, r.Header.Get("Authorization")
		if to == "" {
			to = r.Host
		}
	}))
	t.Cleanup(proxy.Close)
	proxyURL, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	base := &http.Transport{Proxy: http.ProxyURL(proxyURL)}
	t.Cleanup(base.CloseIdleConnections)
	s := reauthtest.NewServer(t, reauthtest.Options{})
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Base = base
		c.Origins = []string{"http://api.example.com", "http://www.example.com"}
	})
	for name, tc := range map[string]struct {
		change func(*http.Request)
		to     string // "": the request may fail
		token  bool
	}{
		"as the URL says":            {func(*http.Request) {}, "api.example.com", true},
		"another Host":               {func(r *http.Request) { r.Host = "evil.example" }, "evil.example", false},
		"another Host, allowed":      {func(r *http.Request) { r.Host = "www.example.com" }, "www.example.com", true},
		"Host with user info":        {func(r *http.Request) { r.Host = "api.example.com@evil.example" }, "", false},
		"another port":               {func(r *http.Request) { r.Host = "api.example.com:8080" }, "api.example.com:8080", false},
		"Host in the header":         {func(r *http.Request) { r.Header.Set("Host", "evil.example") }, "api.example.com", true},
		"Opaque authority":           {func(r *http.Request) { r.URL.Opaque = "//evil.example/v1" }, "evil.example", false},
		"Opaque authority, the same": {func(r *http.Request) { r.URL.Opaque = "//api.example.com/a%2Fb" }, "api.example.com", true},
		"Opaque URL":                 {func(r *http.Request) { r.URL.Opaque = "http://evil.example/v1" }, "evil.example", false},
		"Opaque URL, allowed":        {func(r *http.Request) { r.URL.Opaque = "http://www.example.com/v1" }, "www.example.com", true},
		"path with a host":           {func(r *http.Request) { r.URL.Path = "@evil.example/v1" }, "evil.example", false},
		"path that goes on":          {func(r *http.Request) { r.URL.Path = ".evil.example/v1" }, "api.example.com.evil.example", false},
		"escaped path with a host":   {func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/@evil.example/", "%2F@evil.example/" }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			to, token = "", ""
			req := testworld.Request(t, http.MethodGet, "http://api.example.com/v1", nil)
			tc.change(req)
			resp, err := tr.RoundTrip(req)
			if tc.to != "" {
				require.NoError(t, err)
				assert.Equal(t, tc.to, to)
			}
			if err == nil {
				resp.Body.Close()
			}
			assert.Equal(t, tc.token, token != "", "sent to %q", to)
		})
	}
}

// A httputil.ReverseProxy with a Director passes on the Host that its client picked, by
// which the server behind may serve another site.
func TestClientOfAReverseProxyDoesNotPickWhereTheTokenGoes(t *testing.T) {
	var token string
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { token = r.Header.Get("Authorization") }))
	t.Cleanup(backend.Close)
	backendURL, err := url.Parse(backend.URL)
	require.NoError(t, err)
	s := reauthtest.NewServer(t, reauthtest.Options{})
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Base = backend.Client().Transport
		c.Origins = []string{backend.URL, "http://www.example.com"}
	})
	passes := httputil.NewSingleHostReverseProxy(backendURL)
	rewrites := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(backendURL) }}
	for name, tc := range map[string]struct {
		proxy *httputil.ReverseProxy
		host  string
		token bool
	}{
		"the backend's own":   {passes, backendURL.Host, true},
		"another":             {passes, "evil.example", false},
		"another, allowed":    {passes, "www.example.com", true},
		"the proxy's own":     {passes, "", false},
		"rewritten":           {rewrites, "evil.example", true},
		"rewritten, no other": {rewrites, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.proxy.Transport = tr
			front := httptest.NewServer(tc.proxy)
			defer front.Close()
			token = ""
			req := testworld.Request(t, http.MethodGet, front.URL, nil)
			req.Host = tc.host
			resp, err := front.Client().Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, tc.token, token != "")
		})
	}
}
