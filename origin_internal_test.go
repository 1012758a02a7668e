package reauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOriginsMatch(t *testing.T) {
	for _, tc := range []struct {
		entry   string
		allowed []string
		not     []string
	}{
		{
			entry: "https://api.example.com",
			allowed: []string{
				"https://api.example.com", "https://api.example.com/v1?q#f", "https://API.Example.COM/", "HTTPS://api.example.com",
				"https://api.example.com:443/", "https://api.example.com:/", "https://user:pw@api.example.com/",
			},
			not: []string{
				"http://api.example.com", "https://api.example.com:8443", "https://api.example.com:80", "http://api.example.com:443",
				"https://example.com", "https://x.api.example.com", "https://api.example.com.evil.example", "https://api.example.com.",
				"https://api.example.com@evil.example", "https://api.example.con", "ftp://api.example.com", "/v1", "https:///v1",
				"https://api.example.com:0443",
			},
		},
		{
			entry:   "HTTPS://API.example.com:443",
			allowed: []string{"https://api.example.com", "https://api.example.com:443"},
			not:     []string{"https://api.example.com:444"},
		},
		{
			entry:   "http://payments:8080",
			allowed: []string{"http://payments:8080/charge"},
			not:     []string{"http://payments", "https://payments:8080", "http://payments:80"},
		},
		{
			entry:   "http://payments",
			allowed: []string{"http://payments", "http://payments:80"},
			not:     []string{"http://payments:8080", "https://payments"},
		},
		{
			entry:   "https://my_service.internal.",
			allowed: []string{"https://my_service.internal."},
			not:     []string{"https://my_service.internal"},
		},
		{
			entry:   "https://kelvin.example",
			allowed: []string{"https://KELVIN.example"},
			not:     []string{"https://\u212aelvin.example"},
		},
		{
			entry:   "https://*.example.com",
			allowed: []string{"https://api.example.com", "https://a.b-c.d_e.example.com", "https://API.EXAMPLE.com:443"},
			not: []string{
				"https://example.com", "https://.example.com", "https://.x.example.com", "http://api.example.com", "https://api.example.com:8443",
				"https:///v1",
				"https://notexample.com", "https://api.example.com.evil.example", "https://b\u00fccher.example.com",
			},
		},
		{
			entry:   "http://*.svc:8080",
			allowed: []string{"http://a.svc:8080"},
			not:     []string{"http://a.svc", "http://svc:8080"},
		},
		{
			entry:   "https://[2001:DB8::1]:8443",
			allowed: []string{"https://[2001:db8::1]:8443", "https://[2001:DB8::1]:8443"},
			not:     []string{"https://[2001:db8::1]", "https://[2001:db8::2]:8443"},
		},
		{
			entry:   "https://[::1]",
			allowed: []string{"https://[::1]", "https://[::1]:443"},
			not:     []string{"https://[::1]:1"},
		},
		{
			entry:   "http://192.0.2.1",
			allowed: []string{"http://192.0.2.1/"},
			not:     []string{"http://192.0.2.10/"},
		},
		{
			entry: AnyOrigin,
			allowed: []string{
				"https://anywhere.example", "https://anywhere.example:8443", "https://192.0.2.1", "https://b\u00fccher.example",
				"http://localhost", "http://LocalHost:8080", "http://127.0.0.1:8080", "http://127.1.2.3", "http://[::1]:8080",
			},
			not: []string{
				"http://anywhere.example", "http://192.0.2.1", "http://[2001:db8::1]", "http://localhost.evil.example", "http://x.localhost",
				"http://127.0.0.1.evil.example", "http://127.evil.example", "http://128.0.0.1", "http://127.1", "http://127.0.0.1.1",
				"http://2130706433", "ftp://localhost", "ws://localhost", "https:", "/",
			},
		},
	} {
		o, err := parseOrigins([]string{tc.entry})
		require.NoError(t, err, tc.entry)
		for _, to := range tc.allowed {
			assert.True(t, o.allow(requestTo(t, to, nil), nobody), "%s: %s", tc.entry, to)
		}
		for _, to := range tc.not {
			assert.False(t, o.allow(requestTo(t, to, nil), nobody), "%s: %s", tc.entry, to)
		}
	}
}

func TestOriginsSeveralEntries(t *testing.T) {
	o, err := parseOrigins([]string{"https://a.example", AnyOrigin, "http://payments:8080"})
	require.NoError(t, err)
	assert.True(t, o.allow(requestTo(t, "http://payments:8080", nil), nobody), "named plain http beside AnyOrigin")
	assert.True(t, o.allow(requestTo(t, "https://b.example", nil), nobody))
	assert.False(t, o.allow(requestTo(t, "http://b.example", nil), nobody))
}

func TestOriginsURLMadeByHand(t *testing.T) {
	o, err := parseOrigins([]string{"https://api.example.com", "https://*.example.com"})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		url  *url.URL
		want bool
	}{
		"nil":                      {nil, false},
		"empty":                    {&url.URL{}, false},
		"no scheme":                {&url.URL{Host: "api.example.com"}, false},
		"opaque path":              {&url.URL{Scheme: "https", Host: "api.example.com", Opaque: "/a%2Fb"}, true},
		"opaque of same host":      {&url.URL{Scheme: "https", Host: "api.example.com", Opaque: "//api.example.com/a%2Fb"}, true},
		"opaque of other host":     {&url.URL{Scheme: "https", Host: "api.example.com", Opaque: "//evil.example/a"}, false},
		"opaque host with a query": {&url.URL{Scheme: "https", Host: "api.example.com", Opaque: "//api.example.com?q"}, true},
		"slash in host":            {&url.URL{Scheme: "https", Host: "evil.example/.example.com"}, false},
		"fragment in host":         {&url.URL{Scheme: "https", Host: "evil.example:80#.example.com"}, false},
		"user info in host":        {&url.URL{Scheme: "https", Host: "evil.example@api.example.com"}, false},
		"fullwidth stop in host":   {&url.URL{Scheme: "https", Host: "evil.example\uff0f.example.com"}, false},
		"two ports":                {&url.URL{Scheme: "https", Host: "api.example.com:443:443"}, false},
		"header Host":              {&url.URL{Scheme: "https", Host: "evil.example"}, false},
	} {
		req := &http.Request{URL: tc.url, Host: "api.example.com"}
		assert.Equal(t, tc.want, o.allow(req, nobody), name)
	}
}

func TestOriginsFaults(t *testing.T) {
	for _, tc := range []struct {
		entry string
		want  []string // one for each error
	}{
		{"", []string{`"": is empty`}},
		{"api.example.com", []string{`"api.example.com": has no scheme`}},
		{"//api.example.com", []string{"has no scheme"}},
		{"/v1", []string{"has no scheme"}},
		{"https:/api.example.com", []string{"has no scheme"}},
		{"*.example.com", []string{"has no scheme"}},
		{"ftp://api.example.com", []string{"has a scheme other than http and https"}},
		{"*://api.example.com", []string{"has a scheme other"}},
		{"://api.example.com", []string{"has a scheme other"}},
		{"https://api.example.com/", []string{`has a path, if only a slash; write "https://api.example.com"`}},
		{"https://api.example.com:8443/v1", []string{`"https://api.example.com:8443/v1": has a path; the token goes to an origin as a whole; write "https://api.example.com:8443"`}},
		{"https://api.example.com?key=secret", []string{`"https://api.example.com?...": has a query; write "https://api.example.com"`}},
		{"https://api.example.com?", []string{"has a query"}},
		{"https://api.example.com#", []string{"has a fragment"}},
		{"https://api.example.com/v1?q#f?", []string{"has a path", "has a query", "has a fragment"}},
		{"https://api.example.com#f?x", []string{"has a fragment"}},
		{"https://u:secret@api.example.com", []string{`"https://[redacted]@api.example.com": has user info`}},
		{"https://u:secret@api.example.com:x/v1", []string{"has a path; the token goes to an origin as a whole", "has user info", "has a bad port"}},
		{"https://u@v@api.example.com", []string{`"https://[redacted]@api.example.com": has user info`}},
		{"https@api.example.com", []string{`"[redacted]@api.example.com": has no scheme`}},
		{"https://", []string{"has no host"}},
		{"https:///v1", []string{"has a path; the token goes to an origin as a whole", "has no host"}},
		{"https://:443", []string{"has no host"}},
		{"https://api.example.com:", []string{"has a bad port"}},
		{"https://api.example.com:0", []string{"has a bad port"}},
		{"https://api.example.com:0443", []string{"has a bad port"}},
		{"https://api.example.com:+443", []string{"has a bad port"}},
		{"https://api.example.com:65536", []string{"has a bad port"}},
		{"https://api.example.com:https", []string{"has a bad port"}},
		{"https://api.example.com:*", []string{"has a bad port"}},
		{"https://*", []string{"has a wildcard in the wrong place"}},
		{"https://*.", []string{"has a wildcard in the wrong place"}},
		{"https://*:8443", []string{"has a wildcard in the wrong place"}},
		{"https://**", []string{"has a wildcard in the wrong place"}},
		{"https://*.*.example.com", []string{"has a wildcard in the wrong place"}},
		{"https://api.*.com", []string{"has a wildcard in the wrong place"}},
		{"https://api-*.example.com", []string{"has a wildcard in the wrong place"}},
		{"https://*example.com", []string{"has a wildcard in the wrong place"}},
		{"https://*.0.0.1", []string{"ends in a number"}},
		{"https://*.127.0.0.1", []string{"ends in a number"}},
		{"https://127.1", []string{"ends in a number"}},
		{"https://api..example.com", []string{"has a host with an empty label"}},
		{"https://*..example.com", []string{"has a host with an empty label"}},
		{"https://.example.com", []string{"has a host with an empty label"}},
		{"https://b\u00fccher.example", []string{"write it in punycode"}},
		{"https://b%C3%BCcher.example", []string{"has a host with a character that no host name has"}},
		{`https://api.example.com\v1`, []string{"has a host with a character that no host name has"}},
		{"https://a,https//b", []string{"has a path", "has a host with a character"}},
		{" https://api.example.com", []string{"has a space or a control character"}},
		{"https://api.example.com\n", []string{`"https://api.example.com\n": has a space or a control character`}},
		{"https://api.example.com\x7f", []string{"has a space or a control character"}},
		{"https://[::1", []string{"has a [ without a ]"}},
		{"https://[::1]8443", []string{"has more than a port after the ]"}},
		{"https://[::1]:", []string{"has a bad port"}},
		{"https://[]", []string{"has no IPv6 address"}},
		{"https://[api.example.com]", []string{"has no IPv6 address"}},
		{"https://[127.0.0.1]", []string{"has no IPv6 address"}},
		{"https://[fe80::1%eth0]", []string{"has no IPv6 address"}},
		{"https://[0:0:0:0:0:0:0:1]", []string{"write [::1]"}},
		{"https://::1", []string{"stands in brackets"}},
	} {
		_, err := parseOrigins([]string{"https://fine.example", tc.entry})
		require.Error(t, err, tc.entry)
		errs := err.(interface{ Unwrap() []error }).Unwrap()
		if assert.Len(t, errs, len(tc.want), "%s: %v", tc.entry, err) {
			for i, want := range tc.want {
				assert.Contains(t, errs[i].Error(), want)
				assert.Regexp(t, `^reauth: Config\.Origins\[1\] "`, errs[i].Error())
			}
		}
		assert.NotContains(t, err.Error(), "secret")
	}
}

// What an error says to write instead must be right.
func TestOriginsAdviceOnlyWhereItIsSure(t *testing.T) {
	for _, entry := range []string{"ftp://api.example.com/v1", "https:///v1", "https://user:1/2@api.example.com"} {
		_, err := parseOrigins([]string{entry})
		require.ErrorContains(t, err, "has a path", entry)
		assert.NotContains(t, err.Error(), "; write", entry)
	}
}

func TestOriginsReportsEveryEntry(t *testing.T) {
	o, err := parseOrigins([]string{"ftp://a.example", "https://fine.example", "https://b.example/"})
	assert.ErrorContains(t, err, "Config.Origins[0]")
	assert.NotContains(t, err.Error(), "Config.Origins[1]")
	assert.ErrorContains(t, err, "Config.Origins[2]")
	assert.False(t, o.allow(requestTo(t, "https://fine.example", nil), nobody), "with a fault nothing is allowed")

	for _, none := range [][]string{nil, {}} {
		_, err = parseOrigins(none)
		assert.ErrorContains(t, err, "reauth: Config.Origins is empty: name the origins")
	}
}

// User info is kept out of an error even where it is so malformed that it is
// none by the grammar.
func TestOriginsErrorHoldsNoUserInfo(t *testing.T) {
	for _, entry := range []string{
		"https://alice:secret@api.example.com", "https://alice:sec%zzret@api.example.com", "https://secret@", "https://secret@/v1",
		"https://alice:12/secret@api.example.com", "https://alice:se?cret@api.example.com", "https://alice:se#cret@api.example.com",
		"https://alice:se://cret@api.example.com", "alice:se://cret@api.example.com", "https://alice:se cret@api.example.com",
		"https://alice:se\ncret@api.example.com", "https://alice:se@cret@api.example.com", "https://[secret@api.example.com",
		"secret://cret@api.example.com", "secret:cret@api.example.com", "//secret@api.example.com", "https:/secret@api.example.com",
		"https:secret@api.example.com", "ftp://alice:secret@api.example.com", "https://secret:@b\u00fccher.example", "https://secret:1@[::1",
		"HTTPS://secret@api.example.com", "http@secret@",
	} {
		_, err := parseOrigins([]string{entry})
		require.Error(t, err)
		assert.Contains(t, err.Error(), "[redacted]@", entry)
		for _, part := range []string{"secret", "cret@", "cret", "alice", "12"} {
			assert.NotContains(t, err.Error(), part, entry)
		}
	}
}

func TestOriginsAlongRedirects(t *testing.T) {
	const home, away, stranger = "https://api.example.com", "https://cdn.example.com", "https://evil.example"
	for name, tc := range map[string]struct {
		entries []string
		hops    []string // oldest first; the last is asked about
		want    bool
	}{
		"same origin":                      {[]string{home}, []string{home + "/a", home + ":443/b", home + "/c"}, true},
		"same origin, any":                 {[]string{AnyOrigin}, []string{home, home, home}, true},
		"same origin, but not allowed":     {[]string{away}, []string{home, home}, false},
		"to a stranger":                    {[]string{home}, []string{home, stranger}, false},
		"to a stranger, any":               {[]string{AnyOrigin}, []string{home, stranger}, false},
		"onwards at the stranger's, any":   {[]string{AnyOrigin}, []string{home, stranger, stranger}, false},
		"from a stranger":                  {[]string{home}, []string{stranger, home}, false},
		"by a stranger and back":           {[]string{home}, []string{home, stranger, home}, false},
		"by a stranger and back, any":      {[]string{AnyOrigin}, []string{home, stranger, home}, false},
		"by a stranger and on at home":     {[]string{home}, []string{home, stranger, home, home}, false},
		"between named":                    {[]string{home, away}, []string{home, away}, true},
		"between named and back":           {[]string{home, away}, []string{home, away, home}, true},
		"between named by wildcard":        {[]string{"https://*.example.com"}, []string{home, away, home}, true},
		"named, then a stranger, named":    {[]string{home, away}, []string{home, stranger, away}, false},
		"any names nothing, present named": {[]string{home, AnyOrigin}, []string{away, home}, false},
		"any names nothing, hop named":     {[]string{home, AnyOrigin}, []string{home, away}, false},
		"any beside all named":             {[]string{home, away, AnyOrigin}, []string{home, away}, true},
		"stepped down":                     {[]string{home}, []string{home, "http://api.example.com"}, false},
		"stepped down and up":              {[]string{home}, []string{home, "http://api.example.com", home}, false},
		"stepped down, any, loopback":      {[]string{AnyOrigin}, []string{"https://localhost", "http://localhost"}, false},
		"stepped down, both named":         {[]string{home, "http://api.example.com"}, []string{home, "http://api.example.com"}, true},
		"other port":                       {[]string{home}, []string{home + ":8443", home}, false},
	} {
		o, err := parseOrigins(tc.entries)
		require.NoError(t, err)
		var req *http.Request
		for _, hop := range tc.hops {
			req = requestTo(t, hop, req)
		}
		assert.Equal(t, tc.want, o.allow(req, nobody), name)
	}
}

func TestOriginsChainThatCannotBeFollowed(t *testing.T) {
	const home = "https://api.example.com"
	o, err := parseOrigins([]string{home})
	require.NoError(t, err)

	req := requestTo(t, home, nil)
	req.Response = &http.Response{}
	assert.False(t, o.allow(req, nobody), "a response of no request")

	req.Response.Request = &http.Request{}
	assert.False(t, o.allow(req, nobody), "a request of no URL")

	req.Response.Request = req
	assert.False(t, o.allow(req, nobody), "a loop")
}

func TestOriginsAfterCallersOwnCredential(t *testing.T) {
	const home, away = "https://api.example.com", "https://cdn.example.com"
	o, err := parseOrigins([]string{home, away})
	require.NoError(t, err)
	has := func(req *http.Request) bool { return req.Header.Get("Authorization") != "" }

	first := requestTo(t, home, nil)
	second := requestTo(t, away, first)
	third := requestTo(t, away, second)
	require.True(t, o.allow(third, has))
	first.Header.Set("Authorization", "Basic x")
	assert.False(t, o.allow(second, has))
	assert.False(t, o.allow(third, has))
	assert.True(t, o.allow(first, has), "the present request is not asked about")
}

func TestOriginsAllowDoesNotAllocate(t *testing.T) {
	o, err := parseOrigins([]string{"https://api.example.com", "https://*.example.org", AnyOrigin})
	require.NoError(t, err)
	for _, to := range []string{
		"https://API.example.com:443/v1", "https://x.example.org", "https://other.example", "http://payments:8080", "http://localhost:8080",
		"http://127.0.0.1", "http://[::1]:1",
	} {
		req := requestTo(t, to, nil)
		assert.Zero(t, testing.AllocsPerRun(100, func() { o.allow(req, nobody) }), to)
	}
}

func TestSameOrigin(t *testing.T) {
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
		a, err := url.Parse(tc.a)
		require.NoError(t, err)
		b, err := url.Parse(tc.b)
		require.NoError(t, err)
		assert.Equal(t, tc.want, sameOrigin(a, b), "%s %s", tc.a, tc.b)
		assert.Equal(t, tc.want, sameOrigin(b, a), "%s %s", tc.b, tc.a)
		assert.False(t, sameOrigin(a, nil))
		assert.False(t, sameOrigin(nil, a))
	}
	assert.False(t, sameOrigin(nil, nil))
}

// redirects answers every request on the path by a redirect to what the path is
// mapped to, and notes what it was asked.
type redirects struct {
	to    map[string]string
	asked []string
}

func (r *redirects) RoundTrip(req *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, req.URL.String())
	rec := httptest.NewRecorder()
	if to, ok := r.to[req.URL.String()]; ok {
		rec.Header().Set("Location", to)
		rec.WriteHeader(http.StatusTemporaryRedirect)
	}
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

func TestClientWithinOriginRefusesToLeave(t *testing.T) {
	const token = "https://auth.example.com/token"
	for _, to := range []string{
		"https://evil.example/steal?a=secret", "http://auth.example.com/token", "https://auth.example.com:8443/token",
		"https://user:secret@evil.example/", "//evil.example/",
	} {
		base := &redirects{to: map[string]string{token: to}}
		_, err := clientWithinOrigin(&http.Client{Transport: base}).Post(token, "text/plain", strings.NewReader("refresh_token=r"))
		require.Error(t, err, to)
		assert.Equal(t, []string{token}, base.asked)

		err = withoutURL(err)
		assert.Regexp(t, `^reauth: redirect from "https://auth\.example\.com" to "https?://[a-z.:0-9]+" not followed`, err.Error())
		assert.NotContains(t, err.Error(), "secret")
	}
}

// The second hop is of the origin of the one before it, but not of the first.
func TestClientWithinOriginComparesWithTheFirstRequest(t *testing.T) {
	check := clientWithinOrigin(nil).CheckRedirect
	a, b := requestTo(t, "https://a.example", nil), requestTo(t, "https://b.example", nil)
	assert.Error(t, check(b, []*http.Request{a, b}))
	assert.NoError(t, check(a, []*http.Request{a, b}))
}

func TestClientWithinOriginFollowsAtHome(t *testing.T) {
	base := &redirects{to: map[string]string{
		"https://auth.example.com/1": "/2",
		"https://auth.example.com/2": "https://AUTH.example.com:443/3",
	}}
	resp, err := clientWithinOrigin(&http.Client{Transport: base}).Get("https://auth.example.com/1")
	require.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Len(t, base.asked, 3)
}

func TestClientWithinOriginStopsAfterTenRedirects(t *testing.T) {
	const at = "https://auth.example.com/"
	base := &redirects{to: map[string]string{at: at}}
	_, err := clientWithinOrigin(&http.Client{Transport: base}).Get(at)
	assert.ErrorContains(t, err, "stopped after 10 redirects")
	assert.Len(t, base.asked, 10)
}

func TestClientWithinOriginDefersToTheClientsOwnRule(t *testing.T) {
	const at = "https://auth.example.com/"
	base := &redirects{to: map[string]string{at: at + "2"}}
	own := &http.Client{Transport: base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	within := clientWithinOrigin(own)
	resp, err := within.Get(at)
	require.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
	assert.NotSame(t, own, within)

	base.to[at] = "https://evil.example/"
	_, err = within.Get(at)
	assert.ErrorContains(t, err, `"https://evil.example" not followed`)

	base.to[at] = at + "2"
	own.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		req.URL.Host = "evil.example"
		return nil
	}
	_, err = clientWithinOrigin(own).Get(at)
	assert.ErrorContains(t, err, `"https://evil.example" not followed`)
}

func TestClientWithinOriginLeavesTheGivenClientAlone(t *testing.T) {
	own := &http.Client{}
	clientWithinOrigin(own)
	assert.Nil(t, own.CheckRedirect)
	assert.NotSame(t, http.DefaultClient, clientWithinOrigin(nil))
	assert.Nil(t, http.DefaultClient.CheckRedirect)
}

func TestWithoutURL(t *testing.T) {
	cause := errors.New("cause")
	assert.Same(t, cause, withoutURL(cause))
	assert.Same(t, cause, withoutURL(&url.Error{Op: "Post", URL: "https://u:p@a.example", Err: cause}))
	assert.Same(t, cause, withoutURL(&url.Error{Op: "Post", Err: &url.Error{Op: "Post", Err: cause}}))
	assert.NoError(t, withoutURL(nil))
	assert.ErrorIs(t, withoutURL(&url.Error{Err: context.Canceled}), context.Canceled)
}

func FuzzOrigins(f *testing.F) {
	for _, s := range []string{
		"", "*", "https://api.example.com", "http://payments:8080", "https://*.example.com", "https://api.example.com/v1", "https://[::1]:8443",
		"https://u:p@h/", "https://a..b", "https://1.2.3.4", "https://x:y@[::", "//x", "https://h:1?q#f", "https://b\u00fccher.example",
		"u:se://cret@h", "https://a.example.:1", "https://[::ffff:1.2.3.4]", "https://*.1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parseOrigins([]string{s})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.True(t, strings.HasPrefix(line, "reauth: Config.Origins[0] "), line)
			}
		} else if s != AnyOrigin {
			// What is let through is what package url and so net/http take it for.
			u, err := url.Parse(strings.Replace(s, "*", "sub", 1))
			require.NoError(t, err)
			require.Equal(t, &url.URL{Scheme: u.Scheme, Host: u.Host}, u, "nothing but an origin")
			require.True(t, o.allow(&http.Request{URL: u}, nobody))
			u.Host = "x" + u.Host
			require.Equal(t, strings.Contains(s, "*"), o.allow(&http.Request{URL: u}, nobody))
		}

		const secret = "S3CR3T"
		for _, entry := range []string{secret + s + "@host", "https://" + s + secret + "@host/" + s, s + "://" + secret + "@host"} {
			_, err := parseOrigins([]string{entry})
			require.Error(t, err)
			require.NotContains(t, err.Error(), secret)
		}
	})
}

func nobody(*http.Request) bool { return false }

// requestTo returns a request as http.Client makes it: after a redirect, if
// there was a request before it.
func requestTo(t *testing.T, to string, before *http.Request) *http.Request {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	req := &http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}
	if before != nil {
		req.Response = &http.Response{StatusCode: http.StatusFound, Request: before}
	}
	return req
}
