// Package origin decides to which requests a token may be added: those whose origin,
// and that of every redirect before them, is allowed.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
)

// Any, as an entry of Config.Origins, stands for every origin with the scheme https, and
// for this machine's loopback addresses with http.
const Any = "*"

// An origin is a scheme, a host and a port (RFC 6454 section 4). The port is always
// filled in, so that a URL with the default port equals one without a port. The host of
// an entry with a wildcard begins with the dot that follows the asterisk.
type origin struct {
	scheme, host, port string
}

// A Set holds the origins to which the token may go. It is immutable. The zero Set
// allows none.
type Set struct {
	any   bool
	named []origin
	hosts []string // the usual URL.Host of each of named; "" for a wildcard
}

// Parse reads Config.Origins. Its error reports everything that is wrong with it.
func Parse(entries []string) (Set, error) {
	if len(entries) == 0 {
		return Set{}, errors.New("reauth: Config.Origins is empty: name the origins that the token may go to, such as https://api.example.com")
	}
	var set Set
	var errs []error
	for i, entry := range entries {
		if entry == Any {
			set.any = true
			continue
		}
		named, faults := parseOrigin(entry)
		for _, fault := range faults {
			errs = append(errs, fmt.Errorf("reauth: Config.Origins[%d] %q: %s", i, redact.Origin(entry), fault))
		}
		set.named = append(set.named, named)
		set.hosts = append(set.hosts, named.usual())
	}
	if len(errs) > 0 {
		return Set{}, errors.Join(errs...)
	}
	return set, nil
}

// parseOrigin reads one entry. It does not use package url, whose errors name only the
// first fault and repeat the text, user info included.
func parseOrigin(entry string) (_ origin, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	if entry == "" {
		fault("is empty")
		return origin{}, faults
	}
	for _, c := range []byte(entry) {
		if c <= ' ' || c == 0x7f {
			fault("has a space or a control character")
			return origin{}, faults
		}
	}
	scheme, rest, ok := strings.Cut(entry, "://")
	if !ok {
		fault("has no scheme; write it as scheme://host or scheme://host:port")
		return origin{}, faults
	}
	scheme = ascii.Lower(scheme)
	known := scheme == "http" || scheme == "https"
	if !known {
		// The scheme is not repeated, because in user:password@host it is the user.
		fault("has a scheme other than http and https")
	}

	authority, tail := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, tail = rest[:end], rest[end:]
	}
	hint := ""
	// With an @ the authority might be the first part of a password that has a slash.
	if known && authority != "" && !strings.Contains(entry, "@") {
		hint = fmt.Sprintf("; write %q", scheme+"://"+authority)
	}
	beforeFragment, _, hasFragment := strings.Cut(tail, "#")
	path, _, hasQuery := strings.Cut(beforeFragment, "?")
	switch path {
	case "":
	case "/":
		fault("has a path, if only a slash%s", hint)
	default:
		fault("has a path; the token goes to an origin as a whole%s", hint)
	}
	if hasQuery {
		fault("has a query%s", hint)
	}
	if hasFragment {
		fault("has a fragment%s", hint)
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		fault("has user info, which is not part of an origin")
		authority = authority[at+1:]
	}

	host, port, hostFaults := parseAuthority(authority)
	faults = append(faults, hostFaults...)
	if port == "" {
		port = defaultPort(scheme)
	}
	return origin{scheme, host, port}, faults
}

// parseAuthority splits host[:port]. The port is empty if there is none.
func parseAuthority(authority string) (host, port string, faults []string) {
	fault := func(text string) { faults = append(faults, text) }

	host = authority
	hasPort := false
	bracketed := strings.HasPrefix(authority, "[")
	if bracketed {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			fault("has a [ without a ]")
			return "", "", faults
		}
		var after string
		host, after = authority[1:end], authority[end+1:]
		before, p, ok := strings.Cut(after, ":")
		if before != "" {
			fault("has more than a port after the ]")
			return "", "", faults
		}
		port, hasPort = p, ok
	} else if colon := strings.LastIndexByte(authority, ':'); colon >= 0 {
		host, port, hasPort = authority[:colon], authority[colon+1:], true
		if strings.Contains(host, ":") {
			fault("has more than one colon in its host; an IPv6 address stands in brackets, as in https://[::1]:8443")
			return "", "", faults
		}
	}

	if hasPort && !validPort(port) {
		fault("has a bad port; write a number from 1 to 65535 without leading zeros, or leave it out together with its colon")
	}
	host = ascii.Lower(host)
	if bracketed {
		// Hosts are compared as text, so each address must be written in one way
		// only. A zone has a meaning on this machine only.
		addr, err := netip.ParseAddr(host)
		switch {
		case err != nil || !addr.Is6() || addr.Zone() != "":
			fault("has no IPv6 address between its brackets")
		case addr.String() != host:
			fault("has an IPv6 address that is not in its usual form; write [" + addr.String() + "]")
		}
		return host, port, faults
	}
	if text := hostFault(host); text != "" {
		fault(text)
	}
	return strings.TrimPrefix(host, "*"), port, faults
}

// hostFault returns the fault of a host in an entry that is a name or an IPv4 address,
// or "" if it has none.
func hostFault(host string) string {
	if host == "" {
		return "has no host"
	}
	for _, c := range []byte(host) {
		if c >= 0x80 {
			return "has a host that is not ASCII; write it in punycode, as in https://xn--bcher-kva.example"
		}
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	if strings.Contains(name, "*") || wildcard && name == "" {
		return "has a wildcard in the wrong place; only https://*.example.com, for any subdomain, is understood, and " +
			strconv.Quote(Any) + " alone for any origin"
	}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	for _, label := range labels {
		if label == "" {
			return "has a host with an empty label"
		}
		for _, c := range []byte(label) {
			if !hostByte(c) {
				return "has a host with a character that host names do not have"
			}
		}
	}
	// A name cannot end in a number, so this is meant as an IPv4 address, and cannot
	// have subdomains.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		if addr, err := netip.ParseAddr(name); wildcard || err != nil || !addr.Is4() {
			return "has a host that ends in a number but is not an IPv4 address"
		}
	}
	return ""
}

// hostByte reports whether c may be part of a label of a host name. RFC 1123 does not
// allow the underscore, but names that have one are in use.
func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil && port[0] != '0'
}

// Allow reports whether the token may go with req, which is so if every origin that req
// names is allowed. It is the URL that decides which server is connected to. But a proxy
// that gets a request for plain http goes by the Host of the request, or by the Opaque of
// its URL, and so may a server that serves several hosts (RFC 9112 section 3.2).
//
// A RoundTripper sees each redirect as a new request. If it leads to another origin,
// http.Client leaves the caller's credentials out of it. So Allow follows the chain of
// redirects back to the first request, and is true only if the whole chain stays within
// the same allowed origins, or within origins that entries name.
//
// has reports whether a request carries a credential that its caller has set. If an
// earlier request of the chain has one, Allow is false: the session's token must not
// take the place of a credential that http.Client has removed.
func (s *Set) Allow(req *http.Request, has func(*http.Request) bool) bool {
	if req.Response == nil && namesOne(req) { // as nearly always
		return s.plainly(req.URL) || s.allows(req.URL)
	}
	at, ok := destinationOf(req)
	if !ok {
		return false
	}
	named := at.all(s.names)
	if !named && !at.all(func(o origin) bool { return s.names(o) || s.wild(o) }) {
		return false
	}
	// http.Client stops after 10 hops by default. A chain as long as this one can only
	// be a loop that somebody built.
	const longest = 1000
	hops := 0
	for hop := req; hop.Response != nil; {
		hop = hop.Response.Request
		if hops++; hop == nil || hops > longest {
			return false
		}
		from, ok := destinationOf(hop)
		if !ok || has(hop) {
			return false
		}
		// Any is not enough once a hop has another destination than req: then entries
		// must name both.
		if !from.is(at) && (!named || !from.all(s.names)) {
			return false
		}
	}
	return true
}

// namesOne reports whether all that req names is the origin of its URL.
func namesOne(req *http.Request) bool {
	u := req.URL
	return u != nil && u.Opaque == "" && (req.Host == "" || req.Host == u.Host) && rooted(u)
}

// plainly is a fast path. It reports whether the scheme and Host of u are exactly those
// of an entry, as nearly always if an entry names them at all. If it returns false, u may
// still be allowed.
func (s *Set) plainly(u *url.URL) bool {
	if u.Host == "" {
		return false
	}
	for i, host := range s.hosts {
		if u.Host == host && u.Scheme == s.named[i].scheme {
			return true
		}
	}
	return false
}

// allows reports whether the origin of u is allowed.
func (s *Set) allows(u *url.URL) bool {
	at, ok := originOf(u)
	return ok && (s.names(at) || s.wild(at))
}

// A destination is the origins that a request names: in its URL, in its Host, and in the
// Opaque of the URL. One that is missing is the first.
type destination [3]origin

// destinationOf returns false if the URL has no host, or if the request might go elsewhere
// than the origins say.
func destinationOf(req *http.Request) (destination, bool) {
	at, ok := originOf(req.URL)
	if !ok || !rooted(req.URL) {
		return destination{}, false
	}
	to := destination{at, at, at}
	if req.Host != "" && req.Host != req.URL.Host {
		if to[1], ok = originOf(&url.URL{Scheme: req.URL.Scheme, Host: req.Host}); !ok {
			return destination{}, false
		}
	}
	if req.URL.Opaque != "" {
		to[2], ok = opaqueOrigin(req, at)
	}
	return to, ok
}

// rooted reports whether the path of a URL, as net/http sends it, cannot be read as a
// continuation of the host before it: http://api.example.com and @evil.example make
// another host.
func rooted(u *url.URL) bool {
	return (u.Path == "" || u.Path[0] == '/' || u.Path == "*") && (u.RawPath == "" || u.RawPath[0] == '/')
}

// opaqueOrigin returns the origin that the Opaque of a request's URL names, or the given
// one if it names none. net/http sends it in place of the path.
func opaqueOrigin(req *http.Request, at origin) (origin, bool) {
	opaque, scheme := req.URL.Opaque, req.URL.Scheme
	authority, found := strings.CutPrefix(opaque, "//")
	switch {
	case found:
	case opaque[0] == '/' || opaque == "*":
		return at, true
	case req.Method == http.MethodConnect:
		authority = opaque
	default:
		if scheme, authority, found = strings.Cut(opaque, "://"); !found {
			return origin{}, false
		}
	}
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	return originOf(&url.URL{Scheme: scheme, Host: authority})
}

// is reports whether two requests name the same origins.
func (d destination) is(e destination) bool {
	return d[0].is(e[0]) && d[1].is(e[1]) && d[2].is(e[2])
}

// all reports whether a condition holds for all origins of d.
func (d destination) all(condition func(origin) bool) bool {
	return condition(d[0]) && (d[1] == d[0] || condition(d[1])) && (d[2] == d[0] || condition(d[2]))
}

// names reports whether an entry other than Any covers the origin.
func (s *Set) names(at origin) bool {
	for i := range s.named {
		if s.named[i].covers(at) {
			return true
		}
	}
	return false
}

// wild reports whether the set has Any and that covers the origin.
func (s *Set) wild(at origin) bool {
	return s.any && (ascii.EqualFold(at.scheme, "https") || ascii.EqualFold(at.scheme, "http") && loopback(at.host))
}

// originOf returns the origin of a URL, and false if it has none.
func originOf(u *url.URL) (origin, bool) {
	if u == nil {
		return origin{}, false
	}
	at := origin{u.Scheme, u.Hostname(), u.Port()}
	if at.host == "" {
		return origin{}, false
	}
	if at.port == "" {
		at.port = defaultPort(at.scheme)
	}
	return at, true
}

// usual returns the URL.Host by which the origin is usually written, or "" if it is an
// entry with a wildcard.
func (a origin) usual() string {
	if a.host == "" || a.host[0] == '.' {
		return ""
	}
	host := a.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.port != defaultPort(a.scheme) {
		host += ":" + a.port
	}
	return host
}

// is reports whether two origins without wildcards are the same.
func (a origin) is(b origin) bool {
	return a.port == b.port && ascii.EqualFold(a.scheme, b.scheme) && ascii.EqualFold(a.host, b.host)
}

// covers reports whether the entry a names the origin b.
func (a origin) covers(b origin) bool {
	if a.host[0] != '.' {
		return a.is(b)
	}
	sub := len(b.host) - len(a.host)
	if sub <= 0 || b.host[0] == '.' {
		return false
	}
	// The part before the suffix is checked too. A URL.Host set by a program can hold
	// anything, and net/http maps what is not ASCII to another name before it connects.
	for i := range sub {
		if c := b.host[i]; c != '.' && !hostByte(c) {
			return false
		}
	}
	b.host = b.host[sub:]
	return a.is(b)
}

// loopback reports whether the host is certain to be this machine.
func loopback(host string) bool {
	if ascii.EqualFold(host, "localhost") || host == "::1" {
		return true
	}
	if !strings.HasPrefix(host, "127.") {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4()
}

func defaultPort(scheme string) string {
	switch {
	case ascii.EqualFold(scheme, "https"):
		return "443"
	case ascii.EqualFold(scheme, "http"):
		return "80"
	}
	return ""
}

// Same reports whether two URLs have the same origin. A URL without a host has none.
func Same(a, b *url.URL) bool {
	x, okX := originOf(a)
	y, okY := originOf(b)
	return okX && okY && x.is(y)
}

// Of returns where req goes, for an error.
func Of(req *http.Request) string {
	u := req.URL
	if u == nil {
		return "none"
	}
	text := shown(u.Scheme + "://" + u.Host)
	if req.Host != "" && req.Host != u.Host {
		text += " with the Host " + shown(req.Host)
	}
	if u.Opaque != "" && u.Opaque[0] != '/' || strings.HasPrefix(u.Opaque, "//") {
		opaque := u.Opaque
		if scheme, rest, ok := strings.Cut(opaque, "//"); ok {
			authority, _, _ := strings.Cut(rest, "/")
			opaque = scheme + "//" + authority
		}
		text += " with the Opaque " + shown(opaque)
	}
	return text
}

// shown returns an origin as an error may show it: without user info, and quoted if it
// has characters that could be taken for something else.
func shown(text string) string {
	text = redact.Origin(text)
	if quoted := strconv.Quote(text); len(quoted) > len(text)+2 || strings.Contains(text, " ") {
		return quoted
	}
	return text
}
