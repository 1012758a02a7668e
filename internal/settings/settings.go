// Package settings collects what is wrong with the fields of a type, so that all of
// it can be reported at once.
package settings

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
)

// Faults are what is wrong with a value of one type.
type Faults struct {
	of   string
	errs []error
}

// Of returns the empty Faults of the named type, written as in "oauth.Refresher".
func Of(typeName string) *Faults { return &Faults{of: typeName} }

// Add notes that a field is wrong. value is shown as it is.
func (f *Faults) Add(field, value, why string) {
	f.errs = append(f.errs, fmt.Errorf("%s.%s %s: %s", f.of, field, value, why))
}

// Err returns all faults as one error, or nil.
func (f *Faults) Err() error { return errors.Join(f.errs...) }

// URL notes a URL of an endpoint that cannot be one.
func (f *Faults) URL(field, value string) {
	if why := urlFault(value); why != "" {
		f.Add(field, redact.URL(value), why)
	}
}

func urlFault(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "must be set"
	case err != nil: // which repeats what it was given
		return "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https:// or http://"
	case u.Hostname() == "":
		return "has no host"
	case strings.Contains(raw, "#"):
		return "must have no fragment (RFC 6749 section 3.2)"
	}
	return ""
}

// HeaderName notes a header that cannot be sent.
func (f *Faults) HeaderName(field, name string) {
	switch {
	case !ascii.IsToken(name):
		f.Add(field, strconv.Quote(name), "is not a header name")
	case IsWrittenByNetHTTP(name):
		f.Add(field, strconv.Quote(name), "is written by net/http itself")
	}
}

// IsWrittenByNetHTTP reports whether net/http ignores what a request's header has
// under this name.
func IsWrittenByNetHTTP(name string) bool {
	return slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"}, http.CanonicalHeaderKey(name))
}

// Header notes headers that cannot be sent. It does not show their values.
func (f *Faults) Header(field string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		f.HeaderName(field, name)
		if slices.ContainsFunc(h[name], func(v string) bool { return !ascii.IsFieldValue(v) }) {
			f.Add(field, strconv.Quote(name), "has a value that no header can carry")
		}
	}
}

// FinalStatus notes statuses that cannot mean that a refresh token is refused.
func (f *Faults) FinalStatus(codes []int) {
	for _, code := range codes {
		switch {
		case code < 400 || code > 499:
			f.Add("FinalStatus", strconv.Itoa(code), "is not one of 400 to 499")
		case slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}, code):
			f.Add("FinalStatus", strconv.Itoa(code), "means a temporary failure")
		}
	}
}

// Path notes a path of names, joined by dots, in which one is empty. The empty path
// is not set.
func (f *Faults) Path(field, path string) {
	if path != "" && slices.Contains(strings.Split(path, "."), "") {
		f.Add(field, strconv.Quote(path), "has an empty name in it")
	}
}

// OrDefault returns setting, or otherwise if that is empty.
func OrDefault(setting, otherwise string) string {
	if setting == "" {
		return otherwise
	}
	return setting
}

// None, as the name of something, says that there is no such thing.
const None = "-"

// OrNone is OrDefault for names that may be None, for which it returns "".
func OrNone(name, otherwise string) string {
	if name == None {
		return ""
	}
	return OrDefault(name, otherwise)
}
