package cookieauth

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/settings"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// names are those of a session's cookies and its CSRF header; "" if there is none.
type names struct {
	access, refresh, accessCSRF, refreshCSRF, csrfHeader string
	decodeCSRF                                           bool
}

func (c *Cookies) names() names {
	n := names{
		access:      settings.OrDefault(c.AccessCookie, "access_token_cookie"),
		refresh:     settings.OrNone(c.RefreshCookie, "refresh_token_cookie"),
		accessCSRF:  settings.OrNone(c.AccessCSRFCookie, "csrf_access_token"),
		refreshCSRF: settings.OrNone(c.RefreshCSRFCookie, "csrf_refresh_token"),
		csrfHeader:  settings.OrNone(c.CSRFHeader, "X-CSRF-TOKEN"),
		decodeCSRF:  c.DecodeCSRF,
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
		if decoded, err := url.PathUnescape(value); err == nil && n.decodeCSRF {
			if value = decoded; !ascii.IsFieldValue(value) {
				return fmt.Errorf("reauth: the value of the cookie %q has a character that a header cannot carry", csrf)
			}
		}
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

// token returns old with the cookies that the answer sets. The body says nothing. With an
// error, the access cookie is missing.
func (n names) token(a *tokenserver.Answer, old reauth.Token, sent time.Time) (reauth.Token, error) {
	tok := reauth.Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, RefreshExpiry: old.RefreshExpiry, Extra: maps.Clone(old.Extra)}
	for _, cookie := range a.Cookies(sent) {
		switch cookie.Name {
		case n.access:
			tok.AccessToken = cookie.Value
			tok.Expiry = expiry.FromJWT(strings.Trim(cookie.Value, `"`), a.Date, sent)
			if tok.Expiry.IsZero() && cookie.Lifetime > 0 {
				tok.Expiry = sent.Add(cookie.Lifetime)
			}
		case n.refresh:
			tok.RefreshToken, tok.RefreshExpiry = cookie.Value, time.Time{}
			if cookie.Lifetime > 0 {
				tok.RefreshExpiry = sent.Add(cookie.Lifetime)
			}
		case n.accessCSRF, n.refreshCSRF:
			if tok.Extra == nil {
				tok.Extra = make(map[string]string)
			}
			tok.Extra[cookie.Name] = cookie.Value
		}
	}
	if tok.AccessToken == "" {
		return tok, missingCookie(n.access)
	}
	return tok, nil
}

// salvaged returns what is worth keeping of an answer without the access cookie: a new
// refresh cookie, and the CSRF values that came with it. tok is old with the cookies that
// the answer sets.
func (n names) salvaged(tok, old reauth.Token) reauth.Token {
	if tok.RefreshToken == "" || tok.RefreshToken == old.RefreshToken {
		return reauth.Token{}
	}
	kept := reauth.Token{RefreshToken: tok.RefreshToken, RefreshExpiry: tok.RefreshExpiry}
	for _, name := range []string{n.accessCSRF, n.refreshCSRF} {
		if value := tok.Extra[name]; value != old.Extra[name] {
			if kept.Extra == nil {
				kept.Extra = make(map[string]string)
			}
			kept.Extra[name] = value
		}
	}
	return kept
}

func missingCookie(name string) error { return fmt.Errorf("the answer sets no cookie %q", name) }
