package origin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/origin"
)

const (
	home     = "https://api.example.com"
	away     = "https://cdn.example.com"
	stranger = "https://evil.example"
)

func TestEntryAllowsItsOrigin(t *testing.T) {
	for _, tc := range []struct{ entry, allowed, others string }{ // URLs, separated by blanks
		{
			home,
			home + " https://api.example.com/v1?q#f https://API.Example.COM/ HTTPS://api.example.com https://api.example.com:443/ " +
				"https://api.example.com:/ https://user:pw@api.example.com/",
			"http://api.example.com https://api.example.com:8443 https://api.example.com:80 http://api.example.com:443 https://example.com " +
				"https://x.api.example.com https://api.example.com.evil.example https://api.example.com. https://api.example.com@evil.example " +
				"https://api.example.con ftp://api.example.com /v1 https:///v1 https://api.example.com:0443",
		},
		{"HTTPS://API.example.com:443", home + " https://api.example.com:443", "https://api.example.com:444"},
		{"http://payments:8080", "http://payments:8080/charge", "http://payments https://payments:8080 http://payments:80"},
		{"http://payments", "http://payments http://payments:80", "http://payments:8080 https://payments"},
		{"https://my_service.internal.", "https://my_service.internal.", "https://my_service.internal"},
		{"https://kelvin.example", "https://KELVIN.example", "https://\u212aelvin.example"},
		{
			"https://*.example.com",
			home + " https://a.b-c.d_e.example.com https://API.EXAMPLE.com:443",
			"https://example.com https://.example.com https://.x.example.com http://api.example.com https://api.example.com:8443 https:///v1 " +
				"https://notexample.com https://api.example.com.evil.example https://b\u00fccher.example.com",
		},
		{"http://*.svc:8080", "http://a.svc:8080", "http://a.svc http://svc:8080"},
		{"https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443 https://[2001:DB8::1]:8443", "https://[2001:db8::1] https://[2001:db8::2]:8443"},
		{"https://[::1]", "https://[::1] https://[::1]:443", "https://[::1]:1"},
		{"http://192.0.2.1", "http://192.0.2.1/", "http://192.0.2.10/"},
		{
			origin.Any,
			"https://anywhere.example https://anywhere.example:8443 https://192.0.2.1 https://b\u00fccher.example http://localhost " +
				"http://LocalHost:8080 http://127.0.0.1:8080 http://127.1.2.3 http://[::1]:8080",
			"http://anywhere.example http://192.0.2.1 http://[2001:db8::1] http://localhost.evil.example http://x.localhost " +
				"http://127.0.0.1.evil.example http://127.evil.example http://128.0.0.1 http://127.1 http://127.0.0.1.1 http://2130706433 " +
				"ftp://localhost ws://localhost https: /",
		},
	} {
		set := parse(t, tc.entry)
		for to := range strings.FieldsSeq(tc.allowed) {
			assert.True(t, set.Allow(requestTo(t, to), nobody), "%s: %s", tc.entry, to)
		}
		for to := range strings.FieldsSeq(tc.others) {
			assert.False(t, set.Allow(requestTo(t, to), nobody), "%s: %s", tc.entry, to)
		}
	}
}

func TestOneOfSeveralEntriesIsEnough(t *testing.T) {
	set := parse(t, "https://a.example", origin.Any, "http://payments:8080")
	assert.True(t, set.Allow(requestTo(t, "http://payments:8080"), nobody), "named plain http beside Any")
	assert.True(t, set.Allow(requestTo(t, "https://b.example"), nobody))
	assert.False(t, set.Allow(requestTo(t, "http://b.example"), nobody))
}

func TestURLSetByAProgramIsNotTrusted(t *testing.T) {
	set := parse(t, home, "https://*.example.com")
	assert.False(t, set.Allow(&http.Request{}, nobody), "no URL")
	for url, want := range map[url.URL]bool{
		{}:                        false,
		{Host: "api.example.com"}: false,
		{Scheme: "https", Host: "api.example.com", Opaque: "/a%2Fb"}:                  true,
		{Scheme: "https", Host: "api.example.com", Opaque: "//api.example.com/a%2Fb"}: true,
		{Scheme: "https", Host: "api.example.com", Opaque: "//api.example.com?q"}:     true,
		{Scheme: "https", Host: "api.example.com", Opaque: "//evil.example/a"}:        false,
		{Scheme: "https", Host: "evil.example/.example.com"}:                          false,
		{Scheme: "https", Host: "evil.example:80#.example.com"}:                       false,
		{Scheme: "https", Host: "evil.example@api.example.com"}:                       false,
		{Scheme: "https", Host: "evil.example\uff0f.example.com"}:                     false, // a fullwidth slash
		{Scheme: "https", Host: "api.example.com:443:443"}:                            false,
		{Scheme: "https", Host: "evil.example"}:                                       false,
	} {
		assert.Equal(t, want, set.Allow(&http.Request{URL: &url, Host: "api.example.com"}, nobody), "%#v", url)
	}
}

// A proxy and a server of several hosts go by the Host, so both must be allowed.
func TestHostOfARequestCountsToo(t *testing.T) {
	const proxied = "http://api.example.com"
	for _, tc := range []struct {
		entries []string
		url     string
		allowed string // Hosts, separated by blanks
		others  string
	}{
		{
			[]string{proxied}, proxied,
			"api.example.com API.example.com api.example.com:80 api.example.com:",
			"evil.example api.example.com. api.example.com:8080 api.example.com:443 api.example.com@evil.example evil.example:80@api.example.com " +
				"api.example.com:80@evil.example:80 api.example.com/ /api.example.com evil.example/api.example.com api.example.com,evil.example " +
				"api.example.com:080 b\u00fccher.example :80 [::1] 127.0.0.1 \u24d0pi.example.com",
		},
		{[]string{home}, home, "api.example.com api.example.com:443", "evil.example api.example.com:80 cdn.example.com"},
		{[]string{proxied, "http://www.example.com"}, proxied, "www.example.com www.example.com:80", "www.example.com:8080 cdn.example.com"},
		{[]string{"http://10.0.0.5:8080", proxied}, "http://10.0.0.5:8080", "api.example.com 10.0.0.5:8080", "10.0.0.5 api.example.com:8080"},
		{[]string{home, "http://evil.example"}, home, "api.example.com", "evil.example"},
		{[]string{"https://*.example.com"}, home, "cdn.example.com", "example.com evil.example evil.example/.example.com"},
		{[]string{"http://[::1]:8080"}, "http://[::1]:8080", "[::1]:8080", "[::1] [::1%25eth0]:8080 [::2]:8080 ::1"},
		{[]string{origin.Any}, "http://localhost:8080", "localhost 127.0.0.1:9090 [::1]", "evil.example localhost.evil.example localhost@evil.example localhost:80@evil.example"},
		{[]string{origin.Any}, home, "anywhere.example", ""},
		{[]string{home}, stranger, "", "api.example.com"},
	} {
		set := parse(t, tc.entries...)
		for want, hosts := range map[bool]string{true: tc.allowed, false: tc.others} {
			for host := range strings.FieldsSeq(hosts) {
				req := requestTo(t, tc.url)
				req.Host = host
				assert.Equal(t, want, set.Allow(req, nobody), "%v: %s with the Host %q", tc.entries, tc.url, host)
			}
		}
	}
}

// net/http sends the Host of the request, and leaves one in the header out.
func TestHostInTheHeaderDoesNotCount(t *testing.T) {
	req := requestTo(t, home)
	req.Header.Set("Host", "evil.example")
	set := parse(t, home)
	assert.True(t, set.Allow(req, nobody))
}

func TestOpaqueOfAURLCountsToo(t *testing.T) {
	set := parse(t, "http://api.example.com", home, "http://www.example.com")
	for opaque, want := range map[string]bool{
		"/v1/a%2Fb":                             true,
		"*":                                     true,
		"//api.example.com/v1":                  true,
		"//API.example.com:80/v1":               true,
		"//www.example.com?q":                   true,
		"http://api.example.com/v1":             true,
		"HTTP://www.example.com#f":              true,
		"https://api.example.com/v1":            true,
		"//evil.example/v1":                     false,
		"//api.example.com:8080/v1":             false,
		"//api.example.com@evil.example/v1":     false,
		"//user@api.example.com/v1":             false,
		"//evil.example\\@api.example.com/":     false,
		"///v1":                                 false,
		"http://evil.example/v1":                false,
		"https://evil.example/v1":               false,
		"ftp://api.example.com/v1":              false,
		"https://www.example.com/v1":            false,
		"http://evil.example?//api.example.com": false,
		"api.example.com":                       false,
		"evil.example:80":                       false,
		"v1":                                    false,
		"@evil.example/v1":                      false,
		"?q":                                    false,
	} {
		req := requestTo(t, "http://api.example.com")
		req.URL.Opaque = opaque
		assert.Equal(t, want, set.Allow(req, nobody), opaque)
		req.Host = "evil.example"
		assert.False(t, set.Allow(req, nobody), opaque)
	}
}

// The target of a CONNECT request is its Host, or the Opaque of its URL.
func TestTargetOfAConnectRequestCountsToo(t *testing.T) {
	set := parse(t, "http://proxy.example:3128", "http://api.example.com:443")
	for target, want := range map[string]bool{"": true, "api.example.com:443": true, "evil.example:443": false, "api.example.com": false} {
		req := requestTo(t, "http://proxy.example:3128")
		req.Method = http.MethodConnect
		req.Host = target
		assert.Equal(t, want, set.Allow(req, nobody), target)
		req.Host, req.URL.Opaque = "", target
		assert.Equal(t, want, set.Allow(req, nobody), target)
	}
}

// What follows the host in http://host/path could be read as a part of it.
func TestPathThatDoesNotBeginWithASlashIsNotTrusted(t *testing.T) {
	set := parse(t, "http://api.example.com", origin.Any)
	for u, want := range map[url.URL]bool{
		{}:                          true,
		{Path: "/v1"}:               true,
		{Path: "*"}:                 true,
		{Path: "//evil.example/v1"}: true,
		{Path: "/@evil.example", RawPath: "/@evil.example"}: true,
		{Path: "v1"}:                                            false,
		{Path: "@evil.example/v1"}:                              false,
		{Path: ".evil.example/v1"}:                              false,
		{Path: ":80@evil.example/v1"}:                           false,
		{Path: "/@evil.example/", RawPath: "%2F@evil.example/"}: false,
	} {
		u.Scheme, u.Host = "http", "api.example.com"
		assert.Equal(t, want, set.Allow(&http.Request{URL: &u}, nobody), "%#v", u)
		u.Scheme = "https" // allowed by Any
		assert.Equal(t, want, set.Allow(&http.Request{URL: &u, Host: "www.example.com"}, nobody), "%#v", u)
	}
}

func TestHostAndOpaqueCountAlongRedirects(t *testing.T) {
	set := parse(t, home, away)
	anywhere := parse(t, home, origin.Any)
	for name, tc := range map[string]struct {
		hosts           []string // of hops to home, oldest first
		want, wantOfAny bool
	}{
		"none":                     {[]string{"", ""}, true, true},
		"kept":                     {[]string{"cdn.example.com", "cdn.example.com"}, true, true},
		"dropped":                  {[]string{"cdn.example.com", ""}, true, false},
		"added":                    {[]string{"", "cdn.example.com"}, true, false},
		"a stranger's":             {[]string{"evil.example", ""}, false, false},
		"a stranger's, in between": {[]string{"", "evil.example", ""}, false, false},
		"a stranger's, kept":       {[]string{"evil.example", "evil.example"}, false, true},
	} {
		hops := make([]string, len(tc.hosts))
		for i := range hops {
			hops[i] = home
		}
		for _, opaque := range []bool{false, true} {
			req := requestTo(t, hops...)
			hop := req
			for i := len(tc.hosts) - 1; i >= 0; i-- {
				if opaque && tc.hosts[i] != "" {
					hop.URL.Opaque = "//" + tc.hosts[i] + "/"
				} else {
					hop.Host = tc.hosts[i]
				}
				if i > 0 {
					hop = hop.Response.Request
				}
			}
			assert.Equal(t, tc.want, set.Allow(req, nobody), "%s/opaque=%t", name, opaque)
			assert.Equal(t, tc.wantOfAny, anywhere.Allow(req, nobody), "%s/opaque=%t, any", name, opaque)
		}
	}
}

func TestErrorSaysWhereARequestGoes(t *testing.T) {
	for want, req := range map[string]*http.Request{
		"none":                    {},
		"https://api.example.com": {URL: &url.URL{Scheme: "https", Host: "api.example.com", User: url.User("secret"), Path: "/secret"}, Host: "api.example.com"},
		"http://api.example.com":  {URL: &url.URL{Scheme: "http", Host: "api.example.com", Opaque: "/secret"}},
		"http://api.example.com with the Host evil.example":              {URL: &url.URL{Scheme: "http", Host: "api.example.com"}, Host: "evil.example"},
		"http://api.example.com with the Opaque //evil.example":          {URL: &url.URL{Scheme: "http", Host: "api.example.com", Opaque: "//evil.example/secret"}},
		"http://api.example.com with the Opaque [redacted]@evil.example": {URL: &url.URL{Scheme: "http", Host: "api.example.com", Opaque: "ftp://secret@evil.example/secret"}},
		"http://api.example.com with the Opaque evil.example?...":        {URL: &url.URL{Scheme: "http", Host: "api.example.com", Opaque: "evil.example?secret"}},
		`"http://[redacted]@b\n"`:                                        {URL: &url.URL{Scheme: "http", Host: "a:secret@b\n"}},
		`http://b with the Host "a b"`:                                   {URL: &url.URL{Scheme: "http", Host: "b"}, Host: "a b"},
	} {
		assert.Equal(t, want, origin.Of(req))
		assert.NotContains(t, origin.Of(req), "secret")
	}
}

func TestParseReportsEveryFault(t *testing.T) {
	const path, user = "has a path; the token goes to an origin as a whole", "has user info"
	for _, tc := range []struct {
		want    []string // one for each error
		entries []string
	}{
		{[]string{`[1] "": is empty`}, []string{""}},
		{[]string{`"api.example.com": has no scheme`}, []string{"api.example.com"}},
		{[]string{"has no scheme"}, []string{"//api.example.com", "/v1", "https:/api.example.com", "*.example.com"}},
		{[]string{"has a scheme other than http and https"}, []string{"ftp://api.example.com", "*://api.example.com", "://api.example.com"}},
		{[]string{`has a path, if only a slash; write "https://api.example.com"`}, []string{"https://api.example.com/"}},
		{[]string{`"https://api.example.com:8443/v1": ` + path + `; write "https://api.example.com:8443"`}, []string{"https://api.example.com:8443/v1"}},
		{[]string{`"https://api.example.com?...": has a query; write "https://api.example.com"`}, []string{"https://api.example.com?key=secret"}},
		{[]string{"has a query"}, []string{"https://api.example.com?"}},
		{[]string{"has a fragment"}, []string{"https://api.example.com#", "https://api.example.com#f?x"}},
		{[]string{"has a path", "has a query", "has a fragment"}, []string{"https://api.example.com/v1?q#f?"}},
		{[]string{`"https://[redacted]@api.example.com": ` + user}, []string{"https://u:secret@api.example.com", "https://u@v@api.example.com"}},
		{[]string{path, user, "has a bad port"}, []string{"https://u:secret@api.example.com:x/v1"}},
		{[]string{`"[redacted]@api.example.com": has no scheme`}, []string{"https@api.example.com"}},
		{[]string{"has no host"}, []string{"https://", "https://:443"}},
		{[]string{path, "has no host"}, []string{"https:///v1"}},
		{[]string{"has a bad port"}, []string{
			"https://a.example:", "https://a.example:0", "https://a.example:0443", "https://a.example:+443", "https://a.example:65536",
			"https://a.example:https", "https://a.example:*", "https://[::1]:",
		}},
		{[]string{"has a wildcard in the wrong place"}, []string{
			"https://*", "https://*.", "https://*:8443", "https://**", "https://*.*.example.com", "https://api.*.com", "https://api-*.example.com",
			"https://*example.com",
		}},
		{[]string{"ends in a number"}, []string{"https://*.0.0.1", "https://*.127.0.0.1", "https://127.1"}},
		{[]string{"has a host with an empty label"}, []string{"https://api..example.com", "https://*..example.com", "https://.example.com"}},
		{[]string{"write it in punycode"}, []string{"https://b\u00fccher.example"}},
		{[]string{"has a host with a character that host names do not have"}, []string{"https://b%C3%BCcher.example", `https://api.example.com\v1`}},
		{[]string{"has a path", "has a host with a character"}, []string{"https://a,https//b"}},
		{[]string{"has a space or a control character"}, []string{" https://api.example.com", "https://api.example.com\x7f"}},
		{[]string{`"https://api.example.com\n": has a space or a control character`}, []string{"https://api.example.com\n"}},
		{[]string{"has a [ without a ]"}, []string{"https://[::1"}},
		{[]string{"has more than a port after the ]"}, []string{"https://[::1]8443"}},
		{[]string{"has no IPv6 address"}, []string{"https://[]", "https://[api.example.com]", "https://[127.0.0.1]", "https://[fe80::1%eth0]"}},
		{[]string{"write [::1]"}, []string{"https://[0:0:0:0:0:0:0:1]"}},
		{[]string{"stands in brackets"}, []string{"https://::1"}},
	} {
		for _, entry := range tc.entries {
			_, err := origin.Parse([]string{"https://fine.example", entry})
			require.Error(t, err, entry)
			errs := err.(interface{ Unwrap() []error }).Unwrap()
			require.Len(t, errs, len(tc.want), "%s: %v", entry, err)
			for i, want := range tc.want {
				assert.Contains(t, errs[i].Error(), want)
				assert.Regexp(t, `^reauth: Config\.Origins\[1\] "`, errs[i].Error())
			}
			assert.NotContains(t, err.Error(), "secret")
		}
	}
}

func TestParseReportsEveryEntry(t *testing.T) {
	set, err := origin.Parse([]string{"ftp://a.example", "https://fine.example", "https://b.example/"})
	assert.ErrorContains(t, err, "Config.Origins[0]")
	assert.NotContains(t, err.Error(), "Config.Origins[1]")
	assert.ErrorContains(t, err, "Config.Origins[2]")
	assert.False(t, set.Allow(requestTo(t, "https://fine.example"), nobody), "with a fault nothing is allowed")

	for _, none := range [][]string{nil, {}} {
		_, err = origin.Parse(none)
		assert.ErrorContains(t, err, "reauth: Config.Origins is empty: name the origins")
	}
}

// The entry that an error advises must be right.
func TestErrorAdvisesOnlyWhatIsSure(t *testing.T) {
	for _, entry := range []string{"ftp://api.example.com/v1", "https:///v1", "https://user:1/2@api.example.com"} {
		_, err := origin.Parse([]string{entry})
		require.ErrorContains(t, err, "has a path", entry)
		assert.NotContains(t, err.Error(), "; write", entry)
	}
}

// Some of these are so malformed that by the grammar they have no user info.
func TestErrorShowsNoUserInfo(t *testing.T) {
	for _, entry := range []string{
		"https://alice:secret@api.example.com", "https://alice:sec%zzret@api.example.com", "https://secret@", "https://secret@/v1",
		"https://alice:12/secret@api.example.com", "https://alice:se?cret@api.example.com", "https://alice:se#cret@api.example.com",
		"https://alice:se://cret@api.example.com", "alice:se://cret@api.example.com", "https://alice:se cret@api.example.com",
		"https://alice:se\ncret@api.example.com", "https://alice:se@cret@api.example.com", "https://[secret@api.example.com",
		"secret://cret@api.example.com", "secret:cret@api.example.com", "//secret@api.example.com", "https:/secret@api.example.com",
		"https:secret@api.example.com", "ftp://alice:secret@api.example.com", "https://secret:@b\u00fccher.example", "https://secret:1@[::1",
		"HTTPS://secret@api.example.com", "http@secret@",
	} {
		_, err := origin.Parse([]string{entry})
		require.Error(t, err)
		assert.Contains(t, err.Error(), "[redacted]@", entry)
		for _, part := range []string{"secret", "cret", "alice", "12"} {
			assert.NotContains(t, err.Error(), part, entry)
		}
	}
}

func TestAllowAlongRedirects(t *testing.T) {
	const plain = "http://api.example.com"
	for name, tc := range map[string]struct {
		entries []string
		hops    []string // oldest first; the last is asked about
		want    bool
	}{
		"same origin":                      {[]string{home}, []string{home + "/a", home + ":443/b", home + "/c"}, true},
		"same origin, any":                 {[]string{origin.Any}, []string{home, home, home}, true},
		"same origin, but not allowed":     {[]string{away}, []string{home, home}, false},
		"to a stranger":                    {[]string{home}, []string{home, stranger}, false},
		"to a stranger, any":               {[]string{origin.Any}, []string{home, stranger}, false},
		"onwards at the stranger's, any":   {[]string{origin.Any}, []string{home, stranger, stranger}, false},
		"from a stranger":                  {[]string{home}, []string{stranger, home}, false},
		"by a stranger and back":           {[]string{home}, []string{home, stranger, home}, false},
		"by a stranger and back, any":      {[]string{origin.Any}, []string{home, stranger, home}, false},
		"by a stranger and on at home":     {[]string{home}, []string{home, stranger, home, home}, false},
		"between named":                    {[]string{home, away}, []string{home, away}, true},
		"between named and back":           {[]string{home, away}, []string{home, away, home}, true},
		"between named by wildcard":        {[]string{"https://*.example.com"}, []string{home, away, home}, true},
		"named, then a stranger, named":    {[]string{home, away}, []string{home, stranger, away}, false},
		"any names nothing, present named": {[]string{home, origin.Any}, []string{away, home}, false},
		"any names nothing, hop named":     {[]string{home, origin.Any}, []string{home, away}, false},
		"any beside all named":             {[]string{home, away, origin.Any}, []string{home, away}, true},
		"stepped down":                     {[]string{home}, []string{home, plain}, false},
		"stepped down and up":              {[]string{home}, []string{home, plain, home}, false},
		"stepped down, any, loopback":      {[]string{origin.Any}, []string{"https://localhost", "http://localhost"}, false},
		"stepped down, both named":         {[]string{home, plain}, []string{home, plain}, true},
		"other port":                       {[]string{home}, []string{home + ":8443", home}, false},
	} {
		set := parse(t, tc.entries...)
		assert.Equal(t, tc.want, set.Allow(requestTo(t, tc.hops...), nobody), name)
	}
}

func TestChainThatCannotBeFollowedIsNotAllowed(t *testing.T) {
	set := parse(t, home)
	req := requestTo(t, home)
	for name, before := range map[string]*http.Request{"a response without a request": nil, "a request without a URL": {}, "a loop": req} {
		req.Response = &http.Response{Request: before}
		assert.False(t, set.Allow(req, nobody), name)
	}
}

func TestRedirectedRequestThatHadTheCallersOwnCredentialIsNotAllowed(t *testing.T) {
	set := parse(t, home, away)
	has := func(req *http.Request) bool { return req.Header.Get("Authorization") != "" }
	third := requestTo(t, home, away, away)
	second := third.Response.Request
	first := second.Response.Request
	require.True(t, set.Allow(third, has))
	first.Header.Set("Authorization", "Basic x")
	assert.False(t, set.Allow(second, has))
	assert.False(t, set.Allow(third, has))
	assert.True(t, set.Allow(first, has), "the present request is not asked about")
}

func TestAllowDoesNotAllocate(t *testing.T) {
	set := parse(t, home, "https://*.example.org", origin.Any)
	for _, to := range []string{
		home, "https://API.example.com:443/v1", "https://x.example.org", "https://other.example", "http://payments:8080", "http://localhost:8080",
		"http://127.0.0.1", "http://[::1]:1",
	} {
		req := requestTo(t, to)
		assert.Zero(t, testing.AllocsPerRun(100, func() { set.Allow(req, nobody) }), to)
	}
}

func TestSame(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"https://a.example/x", "https://A.example:443/y?z", true},
		{"http://a.example", "http://a.example:80", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "https://b.example", false},
		{"https://a.example", "https://a.example.", false},
		{"http://a.example:443", "https://a.example:443", false},
		{"ftp://a.example", "ftp://a.example", true},
		{"/x", "/x", false},
		{"https://a.example", "/x", false},
	} {
		a, b := requestTo(t, tc.a).URL, requestTo(t, tc.b).URL
		assert.Equal(t, tc.want, origin.Same(a, b), "%s %s", tc.a, tc.b)
		assert.Equal(t, tc.want, origin.Same(b, a), "%s %s", tc.b, tc.a)
		assert.False(t, origin.Same(a, nil))
		assert.False(t, origin.Same(nil, a))
	}
	assert.False(t, origin.Same(nil, nil))
}

func FuzzOrigins(f *testing.F) {
	for _, s := range []string{
		"", "*", home, "http://payments:8080", "https://*.example.com", "https://api.example.com/v1", "https://[::1]:8443",
		"https://u:p@h/", "https://a..b", "https://1.2.3.4", "https://x:y@[::", "//x", "https://h:1?q#f", "https://b\u00fccher.example",
		"u:se://cret@h", "https://a.example.:1", "https://[::ffff:1.2.3.4]", "https://*.1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := origin.Parse([]string{s})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.True(t, strings.HasPrefix(line, "reauth: Config.Origins[0] "), line)
			}
		} else if s != origin.Any {
			// An entry means the same to package url, and so to net/http.
			u, err := url.Parse(strings.Replace(s, "*", "sub", 1))
			require.NoError(t, err)
			require.Equal(t, &url.URL{Scheme: u.Scheme, Host: u.Host}, u, "nothing but an origin")
			require.True(t, set.Allow(&http.Request{URL: u}, nobody))
			u.Host = "x" + u.Host
			require.Equal(t, strings.Contains(s, "*"), set.Allow(&http.Request{URL: u}, nobody))
		}

		const secret = "S3CR3T"
		for _, entry := range []string{secret + s + "@host", "https://" + s + secret + "@host/" + s, s + "://" + secret + "@host"} {
			_, err := origin.Parse([]string{entry})
			require.Error(t, err)
			require.NotContains(t, err.Error(), secret)
		}
	})
}

func parse(t *testing.T, entries ...string) origin.Set {
	t.Helper()
	set, err := origin.Parse(entries)
	require.NoError(t, err)
	return set
}

func nobody(*http.Request) bool { return false }

// requestTo returns the request that http.Client makes to the last of the URLs, after
// redirects from those before it.
func requestTo(t *testing.T, hops ...string) *http.Request {
	t.Helper()
	var req *http.Request
	for _, to := range hops {
		u, err := url.Parse(to)
		require.NoError(t, err)
		next := &http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}
		if req != nil {
			next.Response = &http.Response{StatusCode: http.StatusFound, Request: req}
		}
		req = next
	}
	return req
}
