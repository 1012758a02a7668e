// Package settings checks the fields of a type and collects all faults, so that they can
// be reported at once.
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

// Faults collects the faults of one value.
type Faults struct {
	of   string
	errs []error
}

// Of returns empty Faults for a value of the named type, such as "oauth: Refresher". The
// name stands at the beginning of each error.
func Of(typeName string) *Faults { return &Faults{of: typeName} }

// Add adds the fault of a field. value is shown as it is, so it must not be a secret.
func (f *Faults) Add(field, value, why string) {
	f.errs = append(f.errs, fmt.Errorf("%s.%s %s: %s", f.of, field, value, why))
}

// Err returns all faults as one error, or nil.
func (f *Faults) Err() error { return errors.Join(f.errs...) }

// URL adds the fault of a field that must be the URL of an endpoint, if it is not.
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
	case err != nil: // not shown, because it repeats the URL
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

// HeaderName adds the fault of a header name that a request cannot be given.
func (f *Faults) HeaderName(field, name string) {
	switch {
	case !ascii.IsToken(name):
		f.Add(field, strconv.Quote(name), "is not a header name")
	case IsWrittenByNetHTTP(name):
		f.Add(field, strconv.Quote(name), "is written by net/http itself")
	}
}

// IsWrittenByNetHTTP reports whether net/http writes this header itself, and so ignores
// its value in Request.Header.
func IsWrittenByNetHTTP(name string) bool {
	return slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"}, http.CanonicalHeaderKey(name))
}

// Header adds the faults of headers that cannot be sent. It does not show their values.
func (f *Faults) Header(field string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		f.HeaderName(field, name)
		if slices.ContainsFunc(h[name], func(v string) bool { return !ascii.IsFieldValue(v) }) {
			f.Add(field, strconv.Quote(name), "has a value that no header can carry")
		}
	}
}

// FinalStatus adds the faults of statuses that cannot mean that a refresh token is
// refused for good.
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

// Path adds the fault of a path of names, joined by dots, in which a name is empty. An
// empty path is fine, since it means the default.
func (f *Faults) Path(field, path string) {
	if path != "" && slices.Contains(strings.Split(path, "."), "") {
		f.Add(field, strconv.Quote(path), "has an empty name in it")
	}
}

// OrDefault returns setting, or byDefault if setting is empty.
func OrDefault(setting, byDefault string) string {
	if setting == "" {
		return byDefault
	}
	return setting
}

// None in place of the name of a field, cookie or header means that it is not used.
const None = "-"

// OrNone is OrDefault for a name that may be None, for which it returns "".
func OrNone(name, byDefault string) string {
	if name == None {
		return ""
	}
	return OrDefault(name, byDefault)
}
