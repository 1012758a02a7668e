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

// Any, as an entry of Config.Origins, stands for every origin that is reached over
// https, and for loopback over plain http.
const Any = "*"

// An origin is a scheme, a host and a port (RFC 6454 section 4). The port is
// never left out, so that the default one, written or not, is the same. In an
// entry with a wildcard host starts with the dot that follows the asterisk.
type origin struct {
	scheme, host, port string
}

// A Set is where the token may go, by Config.Origins. It is immutable.
type Set struct {
	any   bool
	named []origin
	hosts []string // of each of named, how it stands in a URL as it is usually written; "" for a wildcard
}

// Parse reads Config.Origins and reports everything that is wrong with it.
func Parse(entries []string) (Set, error) {
	if len(entries) == 0 {
		return Set{}, errors.New("reauth: Config.Origins is empty: name the origins that the token may go to, such as https://api.example.com")
	}
	var o Set
	var errs []error
	for i, entry := range entries {
		if entry == Any {
			o.any = true
			continue
		}
		named, faults := parseOrigin(entry)
		for _, fault := range faults {
			errs = append(errs, fmt.Errorf("reauth: Config.Origins[%d] %q: %s", i, redact.Origin(entry), fault))
		}
		o.named = append(o.named, named)
		o.hosts = append(o.hosts, named.usual())
	}
	if len(errs) > 0 {
		return Set{}, errors.Join(errs...)
	}
	return o, nil
}

// parseOrigin reads one entry. It takes it apart by itself, not with package
// url, which stops at the first fault and repeats what it was given.
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
		// Its scheme is not repeated: in user:password@host it is the user.
		fault("has a scheme other than http and https")
	}

	authority, tail := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, tail = rest[:end], rest[end:]
	}
	hint := ""
	if known && authority != "" && !strings.Contains(entry, "@") { // with an @ this might be the start of a password with a slash
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
		fault("has user info, which is no part of an origin")
		authority = authority[at+1:]
	}

	host, port, hostFaults := parseAuthority(authority)
	faults = append(faults, hostFaults...)
	if port == "" {
		port = defaultPort(scheme)
	}
	return origin{scheme, host, port}, faults
}

// parseAuthority takes host[:port] apart. port is empty if there is none.
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
		fault("has a bad port; it is a number from 1 to 65535 without leading zeros, or left out together with its colon")
	}
	host = ascii.Lower(host)
	if bracketed {
		// Hosts are compared as they are written, so there must be one way to
		// write them. A zone means something on this machine only.
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

// hostFault says what is wrong with the host of an entry, which is a name or an
// IPv4 address, or "".
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
				return "has a host with a character that no host name has"
			}
		}
	}
	// No name ends in a number: this is meant as an IPv4 address, and what is
	// before it is no subdomain.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		if addr, err := netip.ParseAddr(name); wildcard || err != nil || !addr.Is4() {
			return "has a host that ends in a number and is no IPv4 address"
		}
	}
	return ""
}

// hostByte reports whether c may stand in a label of a host name. The
// underscore may not by the letter of RFC 1123, and does in practice.
func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil && port[0] != '0'
}

// Allow reports whether the token may go with req. Of the request only its URL
// counts, not its Host: the URL decides which server is spoken to.
//
// A RoundTripper sees a redirect as one more request, from which http.Client
// has taken the credentials away if the redirect led to a stranger; so the chain
// is followed back to the request that the caller made. has reports whether a
// request carries a credential that its caller set: whoever authenticated the
// first request by himself gets no token on a later one, which has lost his.
func (o *Set) Allow(req *http.Request, has func(*http.Request) bool) bool {
	if req.Response == nil && o.plainly(req.URL) {
		return true
	}
	at, ok := originOf(req.URL)
	if !ok {
		return false
	}
	named := o.names(at)
	if !named && !o.wild(at) {
		return false
	}
	// http.Client stops after 10 hops by default. A chain as long as this is a
	// loop, made by hand.
	const longest = 1000
	hops := 0
	for hop := req; hop.Response != nil; {
		hop = hop.Response.Request
		if hops++; hop == nil || hops > longest {
			return false
		}
		from, ok := originOf(hop.URL)
		if !ok || has(hop) {
			return false
		}
		// One hop of another origin makes every hop need a name, the present one
		// included. Those of its own origin have the same answer.
		if !from.is(at) && (!named || !o.names(from)) {
			return false
		}
	}
	return true
}

// plainly reports whether an entry names the origin of u letter for letter, as is
// so of nearly all that are named. It takes nothing apart: false says nothing.
func (o *Set) plainly(u *url.URL) bool {
	if u == nil || u.Host == "" || u.Opaque != "" {
		return false
	}
	for i, host := range o.hosts {
		if u.Host == host && u.Scheme == o.named[i].scheme {
			return true
		}
	}
	return false
}

// names reports whether an entry names the origin.
func (o *Set) names(at origin) bool {
	for i := range o.named {
		if o.named[i].covers(at) {
			return true
		}
	}
	return false
}

// wild reports whether Any lets the token go there.
func (o *Set) wild(at origin) bool {
	return o.any && (ascii.EqualFold(at.scheme, "https") || ascii.EqualFold(at.scheme, "http") && loopback(at.host))
}

// originOf returns the origin of a request's URL, and false if it has none.
func originOf(u *url.URL) (origin, bool) {
	if u == nil {
		return origin{}, false
	}
	at := origin{u.Scheme, u.Hostname(), u.Port()}
	if at.host == "" {
		return origin{}, false
	}
	// With such an Opaque a proxy is told to fetch from another host than Host.
	if authority, ok := strings.CutPrefix(u.Opaque, "//"); ok {
		if end := strings.IndexAny(authority, "/?#"); end >= 0 {
			authority = authority[:end]
		}
		if authority != u.Host {
			return origin{}, false
		}
	}
	if at.port == "" {
		at.port = defaultPort(at.scheme)
	}
	return at, true
}

// usual returns the Host of a URL of the origin as it is usually written, or "" if
// the origin is an entry with a wildcard.
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

// is reports whether two origins, neither of them an entry, are the same.
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
	// The rest is checked too: a Host written by hand can hold anything, and
	// what is not ASCII is mapped to something else before it is dialled.
	for i := range sub {
		if c := b.host[i]; c != '.' && !hostByte(c) {
			return false
		}
	}
	b.host = b.host[sub:]
	return a.is(b)
}

// loopback reports whether the host is this machine for certain.
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

// Same reports whether two URLs have the same origin; a URL without a
// host has none.
func Same(a, b *url.URL) bool {
	x, ok := originOf(a)
	y, ok2 := originOf(b)
	return ok && ok2 && x.is(y)
}

// Of returns the origin of a request's URL for an error.
func Of(req *http.Request) string {
	if req.URL == nil {
		return "none"
	}
	return req.URL.Scheme + "://" + req.URL.Host
}
