package settings_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/settings"
)

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	f := settings.Of("oauth: Refresher")
	require.NoError(t, f.Err())
	f.Add("ClientID", `"x"`, "is wrong")
	f.Add("Scopes", "[redacted]", "are wrong too")
	assert.EqualError(t, f.Err(), "oauth: Refresher.ClientID \"x\": is wrong\noauth: Refresher.Scopes [redacted]: are wrong too")
}

func TestFaults(t *testing.T) {
	url := func(raw string) func(*settings.Faults) {
		return func(f *settings.Faults) { f.URL("URL", raw) }
	}
	name := func(s string) func(*settings.Faults) {
		return func(f *settings.Faults) { f.HeaderName("Name", s) }
	}
	header := func(h http.Header) func(*settings.Faults) {
		return func(f *settings.Faults) { f.Header("Header", h) }
	}
	status := func(codes ...int) func(*settings.Faults) {
		return func(f *settings.Faults) { f.FinalStatus(codes) }
	}
	path := func(s string) func(*settings.Faults) {
		return func(f *settings.Faults) { f.Path("Path", s) }
	}
	for _, tc := range []struct {
		check func(*settings.Faults)
		want  string // "": nothing is wrong
	}{
		{url("https://id.example.com/token"), ""},
		{url("HTTP://localhost:8080/token?a=b"), ""},
		{url("https://[::1]"), ""},
		{url(""), `x.URL "": must be set`},
		{url("https://u:secret@id.example.com/%zz?secret"), `x.URL "https://[redacted]@id.example.com/%zz?...": is not a URL`},
		{url("ftp://id.example.com"), `x.URL "ftp://id.example.com": must begin with https:// or http://`},
		{url("id.example.com"), `x.URL "id.example.com": must begin with https:// or http://`},
		{url("https://:443/token"), `x.URL "https://:443/token": has no host`},
		{url("https:/token?secret"), `x.URL "https:/token": has no host`},
		{url("https://id.example.com/#secret"), `x.URL "https://id.example.com/#...": must have no fragment (RFC 6749 section 3.2)`},
		{url("https://id.example.com/#"), `x.URL "https://id.example.com/#": must have no fragment (RFC 6749 section 3.2)`},

		{name("X-Api-Key"), ""},
		{name(""), `x.Name "": is not a header name`},
		{name("X Key"), `x.Name "X Key": is not a header name`},
		{name("host"), `x.Name "host": is written by net/http itself`},

		{header(nil), ""},
		{header(http.Header{"X-Api-Key": {"a", ""}, "accept": nil}), ""},
		{header(http.Header{"X-Key": {"ok", "secret\n"}, "Content-Length": {"secret"}, "A B": {" secret"}}), `x.Header "A B": is not a header name
x.Header "A B": has a value that no header can carry
x.Header "Content-Length": is written by net/http itself
x.Header "X-Key": has a value that no header can carry`},

		{status(), ""},
		{status(400, 401, 403, 499), ""},
		{status(399, 500), "x.FinalStatus 399: is not one of 400 to 499\nx.FinalStatus 500: is not one of 400 to 499"},
		{status(408, 425, 429), "x.FinalStatus 408: means a temporary failure\nx.FinalStatus 425: means a temporary failure\n" +
			"x.FinalStatus 429: means a temporary failure"},

		{path(""), ""},
		{path("a"), ""},
		{path("data.token"), ""},
		{path("a..b"), `x.Path "a..b": has an empty name in it`},
		{path(".a"), `x.Path ".a": has an empty name in it`},
		{path("a."), `x.Path "a.": has an empty name in it`},
	} {
		f := settings.Of("x")
		tc.check(f)
		if tc.want == "" {
			assert.NoError(t, f.Err())
		} else {
			assert.EqualError(t, f.Err(), tc.want)
		}
	}
}

func TestIsWrittenByNetHTTP(t *testing.T) {
	for _, name := range []string{"Host", "content-length", "Transfer-Encoding", "TRAILER"} {
		assert.True(t, settings.IsWrittenByNetHTTP(name), name)
	}
	assert.False(t, settings.IsWrittenByNetHTTP("Authorization"))
}

func TestDefaults(t *testing.T) {
	assert.Equal(t, "a", settings.OrDefault("a", "b"))
	assert.Equal(t, "b", settings.OrDefault("", "b"))
	assert.Equal(t, settings.None, settings.OrDefault(settings.None, "b"))

	assert.Equal(t, "a", settings.OrNone("a", "b"))
	assert.Equal(t, "b", settings.OrNone("", "b"))
	assert.Empty(t, settings.OrNone(settings.None, "b"))
}
