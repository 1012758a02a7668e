package tokenserver

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
)

// A Cookie is one that an answer sets.
type Cookie struct {
	Name, Value string        // quotes are part of the value (RFC 6265 section 4.1.1)
	Lifetime    time.Duration // 0 if it is unknown
}

// Cookies returns the cookies that the answer sets, without those that it deletes. sent
// is when the request was sent.
func (a *Answer) Cookies(sent time.Time) []Cookie {
	now := a.Date
	if now.IsZero() {
		now = sent
	}
	var set []Cookie
	for _, line := range a.Header["Set-Cookie"] {
		c := readCookie(line)
		if lifetime, deleted := cookieLifetime(c, now); !deleted && c.Value != "" {
			set = append(set, Cookie{c.Name, c.Value, min(lifetime, expiry.MaxLifetime)})
		}
	}
	return set
}

// Cookie returns the named cookie that the answer sets, the last one if there are several.
func (a *Answer) Cookie(name string, sent time.Time) (found Cookie, ok bool) {
	if name == "" {
		return Cookie{}, false
	}
	for _, c := range a.Cookies(sent) {
		if c.Name == name {
			found, ok = c, true
		}
	}
	return found, ok
}

// AddCookie adds a cookie to those that a request's header has.
func AddCookie(h http.Header, name, value string) error {
	if strings.Contains(value, ";") || !ascii.IsFieldValue(value) {
		return fmt.Errorf("reauth: the value of the cookie %q has a character that a cookie cannot carry", name)
	}
	pair := name + "=" + value
	if others := strings.Join(h["Cookie"], "; "); others != "" {
		pair = others + "; " + pair
	}
	h["Cookie"] = []string{pair}
	return nil
}

// cookieLifetime returns how long a cookie is kept, 0 if that is unknown. A server
// deletes a cookie by a lifetime that is over (RFC 6265 section 3.1).
func cookieLifetime(cookie *http.Cookie, now time.Time) (lifetime time.Duration, deleted bool) {
	switch {
	case cookie.MaxAge > 0:
		lifetime = expiry.Seconds(float64(cookie.MaxAge))
	case cookie.MaxAge == 0 && !cookie.Expires.IsZero():
		lifetime = cookie.Expires.Sub(now)
		deleted = lifetime <= 0 // Expires has whole seconds
	}
	return lifetime, deleted || cookie.MaxAge < 0
}

// readCookie reads a Set-Cookie as browsers do (RFC 6265 section 5.2). Package net/http
// drops one whose value has a quote, a backslash or a character beyond ASCII, which
// would lose a refresh cookie that has just been rotated.
func readCookie(line string) *http.Cookie {
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	cookie, err := http.ParseSetCookie("x=x;" + attributes)
	if !ok || err != nil || strings.ContainsFunc(value, unicode.IsControl) {
		return new(http.Cookie)
	}
	cookie.Name, cookie.Value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	if cookie.Expires.IsZero() && cookie.RawExpires != "" {
		for _, layout := range []string{"Mon, 02-Jan-06 15:04:05 MST", time.RFC850, time.ANSIC, "Mon Jan 02 2006 15:04:05 MST"} {
			if at, err := time.Parse(layout, cookie.RawExpires); err == nil {
				cookie.Expires = at
				break
			}
		}
	}
	return cookie
}
