package cookieauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// A Cookies is a session that lives in cookies. It is both a [reauth.Refresher] and a
// [reauth.Credential]. [Cookies.Exchange] signs in.
//
// It keeps no state. In the [reauth.Token], AccessToken is the value of the access
// cookie; if that is a JWT it tells when it expires. RefreshToken is the value of the
// refresh cookie, and Extra holds the CSRF values by the names of their cookies.
//
// On each attempt of a request it sets the access cookie and its CSRF value, as a cookie
// and as a header, and removes any cookies of its four names that the request already
// has, such as stale ones from the jar of an http.Client. Other cookies and headers stay
// as they are. The refresh cookie is sent to RefreshURL only. Cookies that the API's own
// answers set are left to the caller and do not change the session, except through
// [Cookies.Renewed].
//
// A CSRF header does not count as the caller's own credential. Its value is replaced,
// because it would be outdated by the second attempt. A request with an Authorization
// header of its own is sent as it is.
//
// Its methods may be called concurrently; its fields must not be changed after the
// first call. Printing it with package fmt (except %p and %w) or as an attribute of
// log/slog shows no secret.
type Cookies struct {
	// RefreshURL is where a refresh is requested, without a body: an absolute http or
	// https URL without a fragment. Required. The cookies are sent there as they are, so
	// plain http is for local servers.
	RefreshURL string

	// Method is the method of a refresh request; empty means POST. A sign-in is always a
	// POST.
	Method string

	// SignInURL is where Exchange signs in. Empty if something else does.
	SignInURL string

	// AccessCookie names the cookie that the API requires; empty means
	// access_token_cookie.
	AccessCookie string

	// RefreshCookie names the cookie that renews the session; empty means
	// refresh_token_cookie. With "-" there is none: the access cookie renews itself,
	// for as long as the server accepts it.
	RefreshCookie string

	// AccessCSRFCookie names the cookie with the CSRF value of the access cookie; empty
	// means csrf_access_token, "-" that there is none.
	AccessCSRFCookie string

	// RefreshCSRFCookie names the cookie with the CSRF value of the refresh cookie;
	// empty means csrf_refresh_token, "-" that there is none. It may be the same as
	// AccessCSRFCookie, and always is if RefreshCookie is "-".
	RefreshCSRFCookie string

	// CSRFHeader names the header that repeats the CSRF value; empty means
	// X-CSRF-TOKEN, "-" that there is none.
	CSRFHeader string

	// DecodeCSRF decodes a CSRF value that is percent-encoded in its cookie before it is
	// repeated in the header, as browser libraries do: Laravel Sanctum's XSRF-TOKEN.
	DecodeCSRF bool

	// Header is added to the requests that refresh and sign in, and replaces the fields
	// that are set by default. It is for an API key, or an Origin. Errors do not show
	// its values.
	Header http.Header

	// FinalStatus are the statuses of the answer to a refresh that mean that the user
	// must sign in again; nil means 401 and 422, by which flask-jwt-extended refuses a
	// token that is no longer valid and one that it never issued. An empty slice means
	// none. They don't count in an answer that is a page (text/html).
	FinalStatus []int

	// Client sends the requests that refresh and sign in; nil means a plain
	// http.Client. Its Jar is not used and its CheckRedirect not called: no redirect is
	// followed, and one that sets the access cookie counts as a success.
	Client *http.Client
}

var (
	_ reauth.Refresher  = (*Cookies)(nil)
	_ reauth.Credential = (*Cookies)(nil)
)

// Apply implements [reauth.Credential]. It returns an error if the token has no access
// cookie, or a value that no cookie or header can carry.
func (c *Cookies) Apply(req *http.Request, tok reauth.Token) error {
	if tok.AccessToken == "" {
		return errors.New("reauth: Token.AccessToken is empty")
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	n := c.names()
	return n.put(req.Header, tok, n.accessCSRF, n.access, n.accessCSRF)
}

// ValidateToken returns an error if requests cannot carry tok. Transport.SignIn calls
// it.
func (c *Cookies) ValidateToken(tok reauth.Token) error {
	n := c.names()
	h := make(http.Header)
	return errors.Join(
		n.put(h, tok, n.accessCSRF, n.access, n.accessCSRF),
		n.put(h, tok, n.refreshCSRF, n.refresh, n.refreshCSRF),
	)
}

// Strip removes the session's cookies from the header of a request that goes without a
// token. In the jar of an http.Client they may be those of another session.
func (c *Cookies) Strip(h http.Header) { _ = c.names().put(h, reauth.Token{}, "") }

// Refresh implements [reauth.Refresher]. The new token keeps the cookies that the answer
// does not set. An answer without the access cookie is a temporary failure.
//
// The error wraps [reauth.ErrSignInRequired] if the session has no refresh cookie, or
// the answer's status is one of FinalStatus. Other answers without the access cookie are
// a *[reauth.RefreshError] that does not. An error of the connection or of ctx is
// wrapped. Errors show no value of a cookie and no text of the server.
//
// With an error that is temporary the Token may have a RefreshToken, and CSRF values in
// Extra: the answer has set a new refresh cookie, but no access cookie.
func (c *Cookies) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	if err := c.Validate(); err != nil {
		return reauth.Token{}, err
	}
	n := c.names()
	if n.refresh == "" && old.AccessToken == "" || n.refresh != "" && old.RefreshToken == "" {
		return reauth.Token{}, tokenserver.ErrNoRefreshToken
	}
	method := settings.OrDefault(c.Method, http.MethodPost)
	req, err := tokenserver.NewRequest(ctx, method, c.RefreshURL, c.Header, nil)
	if err != nil {
		return reauth.Token{}, err
	}
	if err := n.put(req.Header, old, n.refreshCSRF, n.access, n.accessCSRF, n.refresh, n.refreshCSRF); err != nil {
		return reauth.Token{}, err
	}
	a, tok, fault, err := c.ask(req, n, old, tokenserver.TokenSecrets(old))
	switch {
	case err != nil:
		return reauth.Token{}, err
	case fault == nil:
		return tok, nil
	case a.Status >= 400:
		return reauth.Token{}, a.Failure("", a.RefreshRefused(c.isFinal(a)))
	}
	if !a.IsSuccess() {
		return reauth.Token{}, a.Failure("", a.RefreshRefused(false))
	}
	return n.salvaged(tok, old), a.Failure("", fault)
}

// Exchange signs in. It posts body, encoded as JSON, or as a form if it is a url.Values,
// to SignInURL and returns a token with the cookies that the answer sets, for
// Transport.SignIn.
//
// If the answer's status is one of FinalStatus, the credentials were refused, and the
// error is a *[reauth.RefreshError] that wraps [reauth.ErrSignInRequired]. Other answers
// without the access cookie, or without the refresh cookie unless RefreshCookie is "-",
// are a *[reauth.RefreshError] that does not, whose StatusCode tells more. An error of
// the connection or of ctx is wrapped. Errors show no string of body, no value of a
// cookie and no text of the server.
func (c *Cookies) Exchange(ctx context.Context, body any) (reauth.Token, error) {
	if err := c.Validate(); err != nil {
		return reauth.Token{}, err
	}
	if c.SignInURL == "" {
		return reauth.Token{}, errors.New(`cookieauth: Cookies.SignInURL "": must be set for Exchange`)
	}
	req, err := tokenserver.NewRequest(ctx, http.MethodPost, c.SignInURL, c.Header, body)
	if err != nil {
		return reauth.Token{}, err
	}
	n := c.names()
	a, tok, fault, err := c.ask(req, n, reauth.Token{}, tokenserver.RequestSecrets(nil, body))
	if err != nil {
		return reauth.Token{}, err
	}
	if fault == nil && n.refresh != "" && tok.RefreshToken == "" {
		fault = missingCookie(n.refresh)
	}
	switch {
	case fault == nil:
		return tok, nil
	case a.IsSuccess():
		return reauth.Token{}, a.Failure("", fault)
	}
	return reauth.Token{}, a.Failure("", a.SignInRefused(c.isFinal(a)))
}

// ask sends req and reads the answer. fault says why there is no token in it.
func (c *Cookies) ask(req *http.Request, n names, old reauth.Token, secrets []string) (a *tokenserver.Answer, tok reauth.Token, fault, err error) {
	secrets = append(secrets, tokenserver.RequestSecrets(req.Header, nil)...)
	sent := time.Now() // before the server starts to count
	a, err = tokenserver.SendForHeader(tokenserver.WithoutRedirects(c.Client), req, secrets)
	if err != nil {
		return nil, reauth.Token{}, nil, err
	}
	if a.Status >= 400 {
		return a, reauth.Token{}, errors.New("refused"), nil
	}
	tok, fault = n.token(a, old, sent)
	return a, tok, fault, nil
}

// isFinal reports whether an answer means that the user must sign in. A page is the answer
// of a firewall or a proxy, not of an API that was asked for JSON.
func (c *Cookies) isFinal(a *tokenserver.Answer) bool {
	if kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); kind == "text/html" {
		return false
	}
	if c.FinalStatus == nil {
		return a.Status == http.StatusUnauthorized || a.Status == http.StatusUnprocessableEntity
	}
	return slices.Contains(c.FinalStatus, a.Status)
}

// NeedsToken returns true: there is nothing to renew in a session without cookies.
func (c *Cookies) NeedsToken() bool { return true }

// Validate reports every field that is wrong. [reauth.New] calls it.
func (c *Cookies) Validate() error {
	if c == nil {
		return errors.New("cookieauth: the Cookies is a nil pointer")
	}
	f := settings.Of("cookieauth: Cookies")
	f.URL("RefreshURL", c.RefreshURL)
	if c.SignInURL != "" {
		f.URL("SignInURL", c.SignInURL)
	}
	if c.Method != "" && !ascii.IsToken(c.Method) {
		f.Add("Method", strconv.Quote(c.Method), "is not an HTTP method")
	}
	if c.AccessCookie == settings.None {
		f.Add("AccessCookie", `"-"`, "must not be left out")
	}
	n := c.names()
	var seen []string
	for _, cookie := range [...]struct{ field, name string }{
		{"AccessCookie", n.access}, {"RefreshCookie", n.refresh}, {"AccessCSRFCookie", n.accessCSRF}, {"RefreshCSRFCookie", n.refreshCSRF},
	} {
		switch {
		case cookie.name == "":
		case !ascii.IsToken(cookie.name):
			f.Add(cookie.field, strconv.Quote(cookie.name), "is not a cookie name")
		case slices.Contains(seen, cookie.name) && (cookie.field != "RefreshCSRFCookie" || cookie.name != n.accessCSRF):
			f.Add(cookie.field, strconv.Quote(cookie.name), "is the name of another cookie of the session")
		}
		seen = append(seen, cookie.name)
	}
	if n.csrfHeader != "" {
		f.HeaderName("CSRFHeader", n.csrfHeader)
		if ascii.EqualFold(n.csrfHeader, "Cookie") {
			f.Add("CSRFHeader", strconv.Quote(n.csrfHeader), "would replace the cookies")
		}
	}
	f.Header("Header", c.Header)
	f.FinalStatus(c.FinalStatus)
	return f.Err()
}

// String describes the Cookies without their secrets.
func (c Cookies) String() string {
	return fmt.Sprintf("[cookieauth.Cookies %s]", redact.URL(c.RefreshURL))
}

// Format writes String whatever the verb, so that no verb reaches the fields.
func (c Cookies) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue returns String.
func (c Cookies) LogValue() slog.Value { return slog.StringValue(c.String()) }
