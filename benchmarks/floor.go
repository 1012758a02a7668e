// Package benchmarks compares the cost of reauth with that of other libraries.
//
// Everything is in tests and benchmarks; see the README. This file has the floor that
// they are compared with.
package benchmarks

import "net/http"

// A Floor does the least that an http.RoundTripper can do that puts a token on
// requests and keeps its contract. It must not write to the caller's request and
// header, so it makes one copy of each. It has a single token, whose header value all
// requests share, and checks nothing.
//
// It was written before anything was measured, and must not be made faster.
type Floor struct {
	Base  http.RoundTripper
	Value []string // of the Authorization header
}

// RoundTrip implements [http.RoundTripper].
func (f *Floor) RoundTrip(req *http.Request) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	header := make(http.Header, len(req.Header)+1)
	for k, v := range req.Header {
		header[k] = v
	}
	header["Authorization"] = f.Value
	clone.Header = header
	return f.Base.RoundTrip(clone)
}
