package main

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What passes between the browser and the API, and what does not.

// forAPI are the headers that a browser may send to the API. The API may believe any other
// one that a gateway sets, such as X-Original-URL, X-HTTP-Method-Override, Forwarded or
// X-User-Id, and no list of those is complete. Cookie is for this server only, and a request
// with an Authorization of its own would be sent with that in place of the token.
var forAPI = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding", "Content-Language", "Content-Type",
	"Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
	"Last-Event-Id", "Prefer", "Range", "Traceparent", "Tracestate", "User-Agent",
}

// onlyForAPI removes what is not for the API.
func onlyForAPI(r *http.Request) {
	for name := range r.Header {
		if !slices.Contains(forAPI, name) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
}

// mayLeave reports whether some server could read path as one that leads out of its folder.
// Some servers remove the text after a semicolon, some decode again, and some end a path
// where a character ends it that was encoded. What is still encoded after decodings more is
// not looked into, but refused.
func mayLeave(path string, decodings int) bool {
	if !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) || wide.MatchString(path) {
		return true
	}
	for part := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if i := strings.IndexAny(part, ";?#"); i >= 0 {
			part = part[:i]
		}
		if strings.TrimSpace(part) == ".." {
			return true
		}
	}
	again := encoded.ReplaceAllStringFunc(path, func(text string) string {
		c, _ := url.PathUnescape(text) // fails only if it does not match
		return c
	})
	return again != path && (decodings == 0 || mayLeave(again, decodings-1))
}

var (
	encoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

	// wide is an encoding of some servers, of which several characters become a dot or a slash.
	wide = regexp.MustCompile(`%[uU][0-9A-Fa-f]{4}`)
)

// withoutTrailers drops the trailers of answers. No script can read them, and they come
// after ModifyResponse has looked at the header.
type withoutTrailers struct{ http.RoundTripper }

func (t withoutTrailers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	// The trailers are set in the original, when its body has been read.
	own := *resp
	own.Trailer = nil
	return &own, nil
}

var errBadRedirect = errors.New("the API redirects to an address that is not its own")

// forBrowser removes headers from an answer of the API that would apply to this server's
// origin in the browser, or to a proxy or a cache in front, and translates Location.
func forBrowser(resp *http.Response, api *url.URL) error {
	h := resp.Header
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "X-Accel-") ||
			strings.HasPrefix(name, "Surrogate-") || strings.HasSuffix(name, "-Cache-Control") { // which outdo Cache-Control (RFC 9213)
			h.Del(name)
		}
	}
	for _, name := range []string{
		"Set-Cookie", "Clear-Site-Data", "Www-Authenticate", "Strict-Transport-Security", "Alt-Svc",
		"X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url", "Edge-Control",
		"Nel", "Report-To", "Reporting-Endpoints", "Refresh", "Service-Worker-Allowed", "Timing-Allow-Origin",
	} {
		h.Del(name)
	}
	if len(h.Values("Location")) == 0 {
		return nil
	}
	location, ok := ownLocation(h.Get("Location"), resp.Request.URL, api)
	switch {
	case ok:
		h.Set("Location", location)
	case resp.StatusCode/100 == 3:
		// It would act under this application's origin, so everybody who can make the API
		// redirect somewhere could send this application's users there. If your API
		// redirects to another host for downloads, allow that host here.
		return errBadRedirect
	default:
		h.Del("Location")
	}
	return nil
}

// ownLocation returns where an address of the API is below [apiPath]. A browser gets to no
// other one.
func ownLocation(location string, asked, api *url.URL) (string, bool) {
	to, err := asked.Parse(location)
	if err != nil || to.Scheme != api.Scheme || to.Host != api.Host || to.User != nil || mayLeave(to.Path, 2) {
		return "", false
	}
	rest, ok := strings.CutPrefix(to.EscapedPath(), api.EscapedPath()+"/")
	if !ok {
		return "", false
	}
	own := apiPath + "/" + rest
	if to.RawQuery != "" {
		own += "?" + to.RawQuery
	}
	if to.Fragment != "" {
		own += "#" + to.EscapedFragment()
	}
	return own, true
}

const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	dataPolicy = "default-src 'none'; frame-ancestors 'none'; sandbox" // an answer is data, not a page
)

// secure sets the headers that every answer has.
func secure(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// The API's caching headers were for a request with an Authorization, which shared
	// caches do not keep by default (RFC 9111 section 3.5). The browser's request has
	// none, and the next user of this browser may request the same address.
	h.Set("Cache-Control", "no-store")
}
