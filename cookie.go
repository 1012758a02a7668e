package reauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A CookieSession is a session that lives in cookies, as a browser's would: a
// cookie that shows the API who calls, another that renews it, and for each a
// value that is repeated in a header, against cross-site request forgery (CSRF).
// It is both the [Refresher] and the [Credential] of a Transport. The defaults are
// those of flask-jwt-extended.
//
// It keeps no state: the cookies are in the [Token], so that any [Store] keeps
// them, and each session has its own. AccessToken is the value of the access
// cookie; if that is a JWT its end is known, as it is not to a browser.
// RefreshToken is the value of the refresh cookie, and Extra holds the CSRF values
// by the names of their cookies. [CookieSession.Exchange] signs in.
//
// On each attempt of a request it sets its access cookie, the CSRF value that goes
// with it, as a cookie and as a header, and takes out what the request has by the
// names of its four cookies, such as stale ones from the jar of an http.Client.
// Other cookies and headers stay as they are. The refresh cookie is sent to
// RefreshURL only. What an API's own answers set with Set-Cookie is the caller's
// business, or that of his jar; it does not change the session.
//
// A CSRF header is no credential, so a caller who sets it, as he had to without
// this package, is not left alone: its value is replaced, since it would be
// outdated by the second attempt. A request with an Authorization header of its
// own is sent as it is.
//
// Its methods may be called by many goroutines at once; its fields must not be
// changed after the first call. Printing it, with any verb of package fmt or as
// an attribute of log/slog, shows no secret.
type CookieSession struct {
	// RefreshURL is where a refresh is asked for, by a POST without a body: an
	// absolute http or https URL without a fragment. Required. The cookies are sent
	// there as they are, so plain http is for local servers.
	RefreshURL string

	// SignInURL is where Exchange signs in; empty if something else does.
	SignInURL string

	// AccessCookie names the cookie that the API wants to see; empty means
	// access_token_cookie.
	AccessCookie string

	// RefreshCookie names the cookie that a refresh is asked for with; empty means
	// refresh_token_cookie. A "-" means that there is none: the access cookie renews
	// itself, for as long as the server takes it.
	RefreshCookie string

	// AccessCSRFCookie names the cookie with the CSRF value of the access cookie;
	// empty means csrf_access_token, "-" that there is none.
	AccessCSRFCookie string

	// RefreshCSRFCookie names the cookie with the CSRF value of the refresh cookie;
	// empty means csrf_refresh_token, "-" that there is none. It may be the same as
	// AccessCSRFCookie, and is taken to be if RefreshCookie is "-".
	RefreshCSRFCookie string

	// CSRFHeader names the header that repeats the CSRF value; empty means
	// X-CSRF-TOKEN, "-" that there is none.
	CSRFHeader string

	// Header is added to the requests that refresh and sign in, in place of what is
	// there: an API key, an Origin. What it holds is not shown in errors.
	Header http.Header

	// FinalStatus are the statuses of the answer to a refresh that mean that the
	// user must sign in again; nil means 401 and 422, which is how
	// flask-jwt-extended turns down a token that is no longer good and one that it
	// never made; an empty slice, none.
	FinalStatus []int

	// Client sends the requests that refresh and sign in; nil means a plain
	// http.Client. Its Jar is not used and its CheckRedirect not asked: no redirect
	// is followed, and one that sets the access cookie is taken for a success.
	Client *http.Client
}

var (
	_ Refresher  = (*CookieSession)(nil)
	_ Credential = (*CookieSession)(nil)
)

// cookieNames are the names of a session's cookies; what there is not is "".
type cookieNames struct{ access, refresh, accessCSRF, refreshCSRF string }

func (c *CookieSession) names() cookieNames {
	n := cookieNames{
		access:      orDefault(c.AccessCookie, "access_token_cookie"),
		refresh:     orNone(c.RefreshCookie, "refresh_token_cookie"),
		accessCSRF:  orNone(c.AccessCSRFCookie, "csrf_access_token"),
		refreshCSRF: orNone(c.RefreshCSRFCookie, "csrf_refresh_token"),
	}
	if n.refresh == "" {
		n.refreshCSRF = n.accessCSRF
	}
	return n
}

func (n cookieNames) has(name string) bool {
	return name != "" && (name == n.access || name == n.refresh || name == n.accessCSRF || name == n.refreshCSRF)
}

// orNone is orDefault for names that may be "-".
func orNone(name, otherwise string) string {
	if name == none {
		return ""
	}
	return orDefault(name, otherwise)
}

// Apply implements [Credential]. It returns an error if the token has no access
// cookie, or holds what no cookie or header may carry.
func (c *CookieSession) Apply(req *http.Request, tok Token) error {
	n := c.names()
	if tok.AccessToken == "" {
		return errors.New("reauth: Token.AccessToken is empty")
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	return c.put(req.Header, n, tok, n.accessCSRF, n.access, n.accessCSRF)
}

// fits returns an error if no request can carry tok.
func (c *CookieSession) fits(tok Token) error {
	n := c.names()
	h := make(http.Header)
	return errors.Join(
		c.put(h, n, tok, n.accessCSRF, n.access, n.accessCSRF),
		c.put(h, n, tok, n.refreshCSRF, n.refresh, n.refreshCSRF),
	)
}

// strip takes the session's own cookies out.
func (c *CookieSession) strip(h http.Header) { _ = c.put(h, c.names(), Token{}, "") }

// put writes the named cookies, and the CSRF value that csrf names into its header.
func (c *CookieSession) put(h http.Header, n cookieNames, tok Token, csrf string, cookies ...string) error {
	var pairs []string
	for _, line := range takeHeader(h, "Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if name, _, _ := strings.Cut(pair, "="); pair != "" && !n.has(strings.Trim(name, " \t")) {
				pairs = append(pairs, pair)
			}
		}
	}
	for i, name := range cookies {
		value := n.value(tok, name)
		if value == "" || slices.Contains(cookies[:i], name) {
			continue
		}
		if strings.Contains(value, ";") || !validTokenText(value) {
			return fmt.Errorf("reauth: the value of the cookie %q holds a character that no cookie may carry", name)
		}
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		h["Cookie"] = []string{strings.Join(pairs, "; ")}
	}
	header := orNone(c.CSRFHeader, "X-CSRF-TOKEN")
	if value := tok.Extra[csrf]; value != "" && csrf != "" && header != "" {
		if !validTokenText(value) {
			return fmt.Errorf("reauth: the value of the cookie %q holds a character that no header may carry", csrf)
		}
		takeHeader(h, header)
		h.Set(header, value)
	}
	return nil
}

// takeHeader removes the named header, however its name is written, and returns
// what it held: net/http sends a name that a caller wrote into the map as it is.
func takeHeader(h http.Header, name string) []string {
	var values []string
	for key, v := range h {
		if equalFold(key, name) {
			values = append(values, v...)
			delete(h, key)
		}
	}
	return values
}

// value returns what tok holds for the named cookie.
func (n cookieNames) value(tok Token, name string) string {
	switch name {
	case "":
		return ""
	case n.access:
		return tok.AccessToken
	case n.refresh:
		return tok.RefreshToken
	}
	return tok.Extra[name]
}

// Refresh implements [Refresher]. The new token keeps the cookies that the answer
// does not set. One without the access cookie is a passing fault.
//
// If old has no refresh cookie, or the answer's status is one of FinalStatus, the
// error wraps [ErrSignInRequired]. Other answers without the access cookie are a
// *[RefreshError] without it; an error of the connection or of ctx is wrapped. No
// error holds the value of a cookie or text of the server's.
func (c *CookieSession) Refresh(ctx context.Context, old Token) (Token, error) {
	if err := c.check(); err != nil {
		return Token{}, err
	}
	n := c.names()
	if n.refresh == "" && old.AccessToken == "" || n.refresh != "" && old.RefreshToken == "" {
		return Token{}, errNoRefreshToken
	}
	req, err := newRequest(ctx, http.MethodPost, c.RefreshURL, c.Header, nil)
	if err != nil {
		return Token{}, err
	}
	if err := c.put(req.Header, n, old, n.refreshCSRF, n.access, n.accessCSRF, n.refresh, n.refreshCSRF); err != nil {
		return Token{}, err
	}
	a, tok, fault, err := c.ask(req, n, old, tokenSecrets(old))
	switch {
	case err != nil:
		return Token{}, err
	case fault == nil:
		return tok, nil
	case isSuccess(a.status):
		return Token{}, a.failure("", fault)
	}
	return Token{}, a.failure("", refusal(c.final(a.status), a.status))
}

// Exchange signs in: it posts body, written as JSON, or as a form if it is a
// url.Values, to SignInURL and returns a token with the cookies that the answer
// sets, for [Transport.SignIn].
//
// If the answer's status is one of FinalStatus, the credentials were turned down,
// and the error is a *[RefreshError] that wraps [ErrSignInRequired]. Other answers
// without the access cookie, or the refresh cookie where there is to be one, are a
// *[RefreshError] without it, of which StatusCode tells more; an error of the
// connection or of ctx is wrapped. No error repeats a string of body, the value
// of a cookie, or text of the server's.
func (c *CookieSession) Exchange(ctx context.Context, body any) (Token, error) {
	if err := c.check(); err != nil {
		return Token{}, err
	}
	if c.SignInURL == "" {
		return Token{}, errors.New(`reauth: CookieSession.SignInURL "": must be set for Exchange`)
	}
	req, err := newRequest(ctx, http.MethodPost, c.SignInURL, c.Header, body)
	if err != nil {
		return Token{}, err
	}
	n := c.names()
	a, tok, fault, err := c.ask(req, n, Token{}, requestSecrets(nil, body))
	if err != nil {
		return Token{}, err
	}
	if fault == nil && n.refresh != "" && tok.RefreshToken == "" {
		fault = noCookie(n.refresh)
	}
	switch {
	case fault == nil:
		return tok, nil
	case isSuccess(a.status):
		return Token{}, a.failure("", fault)
	}
	return Token{}, a.failure("", signInRefusal(c.final(a.status), a.status))
}

// ask sends req and reads the answer. fault is why there is no token in it.
func (c *CookieSession) ask(req *http.Request, n cookieNames, old Token, secrets []string) (a *answer, tok Token, fault, err error) {
	secrets = append(secrets, requestSecrets(req.Header, nil)...)
	sent := time.Now() // before the server starts to count
	a, err = exchange(clientWithoutRedirects(c.Client), req, secrets, false)
	if err != nil {
		return nil, Token{}, nil, err
	}
	if a.status >= 400 {
		return a, Token{}, errors.New("refused"), nil
	}
	tok, fault = n.token(a, old, sent)
	return a, tok, fault, nil
}

// token returns old with the cookies that the answer sets. The body says nothing.
func (n cookieNames) token(a *answer, old Token, sent time.Time) (Token, error) {
	tok := Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: maps.Clone(old.Extra)}
	now := a.date
	if now.IsZero() {
		now = sent
	}
	for _, line := range a.header["Set-Cookie"] {
		cookie := readCookie(line)
		var lifetime time.Duration // 0: unknown
		switch {
		case cookie.MaxAge > 0:
			lifetime = secondsDuration(float64(cookie.MaxAge))
		case cookie.MaxAge == 0 && !cookie.Expires.IsZero():
			if lifetime = cookie.Expires.Sub(now); lifetime <= 0 { // Expires has whole seconds
				continue
			}
		}
		// RFC 6265 section 5.2.1: this is how a cookie is taken back.
		if cookie.MaxAge < 0 || cookie.Value == "" {
			continue
		}
		value := cookie.Value // quotes are part of it (section 4.1.1)
		switch cookie.Name {
		case n.access:
			tok.AccessToken = value
			tok.Expiry = expiryFromJWT(strings.Trim(value, `"`), a.date, sent)
			if tok.Expiry.IsZero() && lifetime > 0 {
				tok.Expiry = sent.Add(min(lifetime, maxLifetime))
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
		return Token{}, noCookie(n.access)
	}
	return tok, nil
}

// readCookie reads a Set-Cookie as browsers do (RFC 6265 section 5.2). Package
// net/http drops one whose value has a quote, a backslash or a letter beyond ASCII,
// which would lose a refresh cookie that has just been rotated.
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

func noCookie(name string) error { return fmt.Errorf("the answer sets no cookie %q", name) }

func (c *CookieSession) final(status int) bool {
	if c.FinalStatus == nil {
		return status == http.StatusUnauthorized || status == http.StatusUnprocessableEntity
	}
	return slices.Contains(c.FinalStatus, status)
}

// check names every field that is wrong.
func (c *CookieSession) check() error {
	if c == nil {
		return errors.New("reauth: the CookieSession is a nil pointer")
	}
	f := faults{of: "CookieSession"}
	f.url("RefreshURL", c.RefreshURL)
	if c.SignInURL != "" {
		f.url("SignInURL", c.SignInURL)
	}
	if c.AccessCookie == none {
		f.add("AccessCookie", `"-"`, "is the one cookie that there must be")
	}
	n := c.names()
	var seen []string
	for _, cookie := range [...]struct{ field, name string }{
		{"AccessCookie", n.access}, {"RefreshCookie", n.refresh}, {"AccessCSRFCookie", n.accessCSRF}, {"RefreshCSRFCookie", n.refreshCSRF},
	} {
		switch {
		case cookie.name == "":
		case !validToken(cookie.name):
			f.add(cookie.field, fmt.Sprintf("%q", cookie.name), "is no name of a cookie")
		case slices.Contains(seen, cookie.name) && (cookie.field != "RefreshCSRFCookie" || cookie.name != n.accessCSRF):
			f.add(cookie.field, fmt.Sprintf("%q", cookie.name), "is the name of another cookie of the session")
		}
		seen = append(seen, cookie.name)
	}
	if name := orNone(c.CSRFHeader, "X-CSRF-TOKEN"); name != "" {
		f.headerName("CSRFHeader", name)
		if equalFold(name, "Cookie") {
			f.add("CSRFHeader", fmt.Sprintf("%q", name), "would replace the cookies")
		}
	}
	f.header("Header", c.Header)
	f.finalStatus(c.FinalStatus)
	return f.err()
}

// sameCookies reports whether both are one CookieSession, which is to be checked
// once.
func sameCookies(r Refresher, c Credential) bool {
	x, ok := r.(*CookieSession)
	y, ok2 := c.(*CookieSession)
	return ok && ok2 && x == y
}

// String describes the session's settings without their secrets.
func (c CookieSession) String() string {
	return fmt.Sprintf("[CookieSession %s]", redactedURL(c.RefreshURL))
}

// GoString is String.
func (c CookieSession) GoString() string { return c.String() }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (c CookieSession) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c CookieSession) LogValue() slog.Value { return slog.StringValue(c.String()) }
