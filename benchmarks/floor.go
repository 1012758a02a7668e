// Package benchmarks measures reauth beside the libraries that people use now.
//
// It is all in tests and benchmarks; see the README. The only thing here is the
// floor that they are measured against.
package benchmarks

import "net/http"

// A Floor is the least that an http.RoundTripper which puts a token on requests
// can do and keep its contract: the caller's request and header are not to be
// written to, so it makes one copy of each. It has one token for ever, whose
// header value all requests share, and looks at nothing.
//
// It was written before anything was measured, and is not to be made faster.
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
