package cookieauth

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/settings"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// names are those of a session's cookies and its CSRF header; "" if there is none.
type names struct{ access, refresh, accessCSRF, refreshCSRF, csrfHeader string }

func (c *Cookies) names() names {
	n := names{
		access:      settings.OrDefault(c.AccessCookie, "access_token_cookie"),
		refresh:     settings.OrNone(c.RefreshCookie, "refresh_token_cookie"),
		accessCSRF:  settings.OrNone(c.AccessCSRFCookie, "csrf_access_token"),
		refreshCSRF: settings.OrNone(c.RefreshCSRFCookie, "csrf_refresh_token"),
		csrfHeader:  settings.OrNone(c.CSRFHeader, "X-CSRF-TOKEN"),
	}
	if n.refresh == "" {
		n.refreshCSRF = n.accessCSRF
	}
	return n
}

// has reports whether a cookie is one of the session's.
func (n names) has(cookie string) bool {
	return cookie != "" && (cookie == n.access || cookie == n.refresh || cookie == n.accessCSRF || cookie == n.refreshCSRF)
}

// value returns what tok holds for a cookie.
func (n names) value(tok reauth.Token, cookie string) string {
	switch cookie {
	case "":
		return ""
	case n.access:
		return tok.AccessToken
	case n.refresh:
		return tok.RefreshToken
	}
	return tok.Extra[cookie]
}

// put replaces the session's cookies in h with the given ones, and writes the value of
// the cookie csrf, which is one of them, into the CSRF header.
func (n names) put(h http.Header, tok reauth.Token, csrf string, cookies ...string) error {
	var pairs []string
	for _, line := range take(h, "Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if name, _, _ := strings.Cut(pair, "="); pair != "" && !n.has(strings.Trim(name, " \t")) {
				pairs = append(pairs, pair)
			}
		}
	}
	for i, cookie := range cookies {
		value := n.value(tok, cookie)
		if value == "" || slices.Contains(cookies[:i], cookie) {
			continue
		}
		if strings.Contains(value, ";") || !ascii.IsFieldValue(value) {
			return fmt.Errorf("reauth: the value of the cookie %q has a character that a cookie cannot carry", cookie)
		}
		pairs = append(pairs, cookie+"="+value)
	}
	if len(pairs) > 0 {
		h["Cookie"] = []string{strings.Join(pairs, "; ")}
	}
	if value := tok.Extra[csrf]; value != "" && csrf != "" && n.csrfHeader != "" {
		take(h, n.csrfHeader)
		h.Set(n.csrfHeader, value)
	}
	return nil
}

// take removes the named header in any spelling of its name and returns its values:
// net/http sends a name that a caller wrote into the map as it is.
func take(h http.Header, name string) []string {
	var values []string
	for key, v := range h {
		if ascii.EqualFold(key, name) {
			values = append(values, v...)
			delete(h, key)
		}
	}
	return values
}

// token returns old with the cookies that the answer sets. The body says nothing.
func (n names) token(a *tokenserver.Answer, old reauth.Token, sent time.Time) (reauth.Token, error) {
	tok := reauth.Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: maps.Clone(old.Extra)}
	now := a.Date
	if now.IsZero() {
		now = sent
	}
	for _, line := range a.Header["Set-Cookie"] {
		cookie := readCookie(line)
		lifetime, deleted := cookieLifetime(cookie, now)
		if deleted || cookie.Value == "" {
			continue
		}
		value := cookie.Value // quotes are part of it (RFC 6265 section 4.1.1)
		switch cookie.Name {
		case n.access:
			tok.AccessToken = value
			tok.Expiry = expiry.FromJWT(strings.Trim(value, `"`), a.Date, sent)
			if tok.Expiry.IsZero() && lifetime > 0 {
				tok.Expiry = sent.Add(min(lifetime, expiry.MaxLifetime))
			}
		case n.refresh:
			tok.RefreshToken = value
		case n.accessCSRF, n.refreshCSRF:
			if tok.Extra == nil {
				tok.Extra = make(map[string]string)
			}
			tok.Extra[cookie.Name] = value
		}
	}
	if tok.AccessToken == "" {
		return reauth.Token{}, missingCookie(n.access)
	}
	return tok, nil
}

func missingCookie(name string) error { return fmt.Errorf("the answer sets no cookie %q", name) }

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
