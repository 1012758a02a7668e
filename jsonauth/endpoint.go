package jsonauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// An Endpoint renews a session at a URL that speaks JSON. It is a [reauth.Refresher].
// [Endpoint.Exchange] signs in.
//
// With no settings but a URL it uses the names of OAuth 2.0: it sends
// {"refresh_token":"..."} and reads access_token, refresh_token and expires_in. Names
// are paths: "data.data.accessToken" is the member accessToken of the object data of the
// object data. In an answer a number is an index: "tokens.0.value" is the member value of
// the first element of the array tokens. A member whose name has a dot in it cannot be
// named.
//
// Its methods may be called concurrently; its fields must not be changed after the
// first call. Printing it with package fmt (except %p and %w) or as an attribute of
// log/slog shows no secret.
type Endpoint struct {
	// URL is where a refresh is requested: an absolute http or https URL without a
	// fragment. Required. The refresh token is sent there as it is, so plain http is
	// for local servers.
	URL string

	// SignInURL is where Exchange signs in; empty means URL.
	SignInURL string

	// Method is the method of a refresh request; empty means POST. A sign-in is always
	// a POST.
	Method string

	// Header is added to every request and replaces the fields that are set by default.
	// It is for an API key, or another Accept. Errors do not show its values.
	Header http.Header

	// RefreshField is the path of the refresh token in the request; empty means
	// refresh_token. With "-" the request has no refresh token, because something else
	// identifies the session, such as a client certificate. It is then sent whatever
	// token the session has, even if it has none. Client must have no Jar then: sessions
	// would share it. For a refresh token in a cookie there is RefreshCookie.
	RefreshField string

	// RefreshCookie names the cookie that holds the refresh token, if one does. It is
	// read from the Set-Cookie of an answer, along with when it expires, kept in
	// Token.RefreshToken, and sent as that cookie with a refresh request, which has no
	// other body than that of Body. RefreshField and RefreshPath are then empty, and
	// Client has no Jar.
	RefreshCookie string

	// Body, if set, returns the body of a refresh request: a value to encode as JSON, a
	// url.Values to send as a form, or nil for none. It may add to the header of req
	// and must not keep req. RefreshField is then empty, or "-" if Body needs no token;
	// otherwise Body is not called for a session that has no token at all. An error
	// fails the refresh, for good if it wraps [reauth.ErrSignInRequired].
	Body func(req *http.Request, old reauth.Token) (any, error)

	// AccessPath is the path of the access token in an answer; empty means
	// access_token. An answer without it is a temporary failure.
	AccessPath string

	// RefreshPath is the path of the refresh token in an answer; empty means
	// refresh_token. It may be the same as AccessPath, if one token is both. A refresh
	// whose answer lacks it leaves the old one in use. A sign-in whose answer lacks it
	// fails if RefreshPath is not empty, or RefreshCookie.
	RefreshPath string

	// LifetimePath is the path of the access token's lifetime in an answer, in seconds,
	// as a number or a string; empty means expires_in. What can't be a lifetime in
	// seconds is taken for milliseconds, or for the time at which the token expires. If
	// it is missing or anything else, ExpiryPath counts, then the JWT, or the lifetime is
	// unknown.
	LifetimePath string

	// ExpiryPath is the path of the time at which the access token expires, in RFC 3339,
	// or in seconds or milliseconds since 1970. Empty if answers have none.
	ExpiryPath string

	// FinalStatus are the statuses that mean that the refresh token is not valid and
	// the user must sign in again; nil means 401, an empty slice none. They count if the
	// body is JSON or empty, at a sign-in also with other text than a page: a firewall
	// answers with a page.
	FinalStatus []int

	// CodePath is the path of the error code in an answer without a token, such as
	// "error.message" or "errors.0.code". The code is a string or a number. Empty means
	// the member error, or, if the status is not a success, the member code.
	CodePath string

	// FinalCodes are error codes that mean the same as FinalStatus, in decimal if they
	// are numbers. They count in answers with a status from 400 to 499, except 408, 425
	// and 429, and in those with a success status. The member error with the value
	// "invalid_grant" always means so.
	FinalCodes []string

	// Final, if set, is called with an answer that brings no token, and reports whether
	// it means the same, beyond what FinalStatus and FinalCodes say. It is not called for
	// the statuses 408, 425 and 429, nor for an answer that broke off. It may be called
	// concurrently, and must not keep body, of which it gets at most one MiB.
	Final func(status int, body []byte) bool

	// Client sends the requests; nil means a plain http.Client. It never follows a
	// redirect to another origin, whatever its CheckRedirect returns.
	Client *http.Client
}

var _ reauth.Refresher = (*Endpoint)(nil)

// Refresh implements [reauth.Refresher]. The new token keeps the parts that the answer
// leaves out: the refresh token, the token type, which such answers do not have, and the
// entries of Extra. Other members of the answer are added to Extra.
//
// The error wraps [reauth.ErrSignInRequired] if the session has no refresh token where
// one is needed, or the answer is final by FinalStatus, FinalCodes or Final. Other answers
// without a token are a *[reauth.RefreshError] that does not. An error of the connection or
// of ctx is wrapped. Errors show no token, and no text of the server but its error code.
//
// With an error that is temporary the Token may have a RefreshToken: the server has
// answered with a new one, but not with a usable access token.
func (e *Endpoint) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	if err := e.Validate(); err != nil {
		return reauth.Token{}, err
	}
	switch {
	case !e.NeedsToken():
	case (e.Body == nil || e.RefreshCookie != "") && old.RefreshToken == "", old.RefreshToken == "" && old.AccessToken == "":
		return reauth.Token{}, tokenserver.ErrNoRefreshToken
	}
	secrets := tokenserver.TokenSecrets(old)
	method := settings.OrDefault(e.Method, http.MethodPost)
	req, err := tokenserver.NewRequest(ctx, method, e.URL, e.Header, nil)
	if err != nil {
		return reauth.Token{}, err
	}
	body, err := e.refreshBody(req, old, secrets)
	if err != nil {
		return reauth.Token{}, err
	}
	if err := tokenserver.SetBody(req, body); err != nil {
		return reauth.Token{}, err
	}
	if e.RefreshCookie != "" {
		if err := tokenserver.AddCookie(req.Header, e.RefreshCookie, old.RefreshToken); err != nil {
			return reauth.Token{}, err
		}
	}
	r, err := e.ask(req, old, body, secrets)
	switch {
	case err != nil:
		return reauth.Token{}, err
	case r.fault == nil:
		return r.tok, nil
	}
	code := r.NamedCode(e.CodePath, e.finality().Codes)
	var final bool
	salvaged := r.Salvage(e.shape(), old, r.sent)
	if salvaged.RefreshToken == "" {
		final = e.finality().IsFinal(r.JSONAnswer, code)
	}
	switch {
	case r.Late() != nil:
		return salvaged, r.Late()
	case r.IsSuccess() && !final:
		return salvaged, r.Failure(code, fmt.Errorf("no token in the answer: %w", r.fault))
	}
	return reauth.Token{}, r.Failure(code, r.RefreshRefused(final))
}

func (e *Endpoint) refreshBody(req *http.Request, old reauth.Token, secrets []string) (any, error) {
	switch {
	case e.Body != nil:
		old.Extra = maps.Clone(old.Extra)
		body, err := e.Body(req, old)
		if err != nil {
			err = fmt.Errorf("jsonauth: Endpoint.Body: %w", redact.Harmless(err, secrets, reauth.ErrSignInRequired))
		}
		return body, err
	case e.NeedsToken() && e.RefreshCookie == "":
		return nest(settings.OrDefault(e.RefreshField, "refresh_token"), old.RefreshToken), nil
	}
	return nil, nil
}

// Exchange signs in. It posts body, encoded as JSON, or as a form if it is a url.Values,
// to SignInURL and returns the token in the answer, for Transport.SignIn.
//
// If the answer is final by FinalStatus, FinalCodes or Final, the credentials were refused,
// and the error is a *[reauth.RefreshError] that wraps [reauth.ErrSignInRequired]. Other
// answers without a token are a *[reauth.RefreshError] that does not, whose StatusCode tells
// more. An error of the connection or of ctx is wrapped. Errors show no string of body,
// and no text of the server but its error code.
func (e *Endpoint) Exchange(ctx context.Context, body any) (reauth.Token, error) {
	if err := e.Validate(); err != nil {
		return reauth.Token{}, err
	}
	req, err := tokenserver.NewRequest(ctx, http.MethodPost, settings.OrDefault(e.SignInURL, e.URL), e.Header, body)
	if err != nil {
		return reauth.Token{}, err
	}
	r, err := e.ask(req, reauth.Token{}, body, nil)
	if err != nil {
		return reauth.Token{}, err
	}
	if needed := cmp.Or(e.RefreshPath, e.RefreshCookie); r.fault == nil && needed != "" && r.tok.RefreshToken == "" {
		r.fault = fmt.Errorf("%s is missing", needed)
	}
	if r.fault == nil {
		return r.tok, nil
	}
	finality := e.finality()
	finality.Text = true // nobody is signed out, and many servers say "Unauthorized" and no more
	code := r.NamedCode(e.CodePath, finality.Codes)
	final := finality.IsFinal(r.JSONAnswer, code)
	switch {
	case r.Late() != nil:
		return reauth.Token{}, r.Late()
	case r.IsSuccess() && !final:
		return reauth.Token{}, r.Failure(code, fmt.Errorf("no token in the answer: %w", r.fault))
	}
	return reauth.Token{}, r.Failure(code, r.SignInRefused(final))
}

// A result is an answer, and the token in it, or why there is none.
type result struct {
	*tokenserver.JSONAnswer
	sent  time.Time
	tok   reauth.Token
	fault error
}

// ask sends req and reads the answer.
func (e *Endpoint) ask(req *http.Request, old reauth.Token, body any, secrets []string) (*result, error) {
	secrets = append(secrets, tokenserver.RequestSecrets(req.Header, body)...)
	r := &result{sent: time.Now()} // before the server starts to count
	a, err := tokenserver.Send(tokenserver.WithinOrigin(e.Client), req, secrets)
	if err != nil {
		return nil, err
	}
	r.JSONAnswer = tokenserver.ReadJSON(a)
	if r.fault = errors.New("refused"); r.IsSuccess() {
		r.tok, r.fault = r.Token(e.shape(), old, r.sent)
	}
	return r, nil
}

// shape says where an answer holds what.
func (e *Endpoint) shape() tokenserver.Shape {
	usual := tokenserver.OAuthShape
	s := tokenserver.Shape{
		AccessToken: settings.OrDefault(e.AccessPath, usual.AccessToken),
		Lifetime:    settings.OrDefault(e.LifetimePath, usual.Lifetime),
		Expiry:      e.ExpiryPath,
	}
	if s.RefreshCookie = e.RefreshCookie; s.RefreshCookie == "" {
		s.RefreshToken = settings.OrDefault(e.RefreshPath, usual.RefreshToken)
	}
	return s
}

// finality says which answers without a token mean that the user must sign in.
func (e *Endpoint) finality() tokenserver.Finality {
	f := tokenserver.Finality{Codes: append([]string{"invalid_grant"}, e.FinalCodes...), Statuses: e.FinalStatus, Func: e.Final}
	if f.Statuses == nil {
		f.Statuses = []int{http.StatusUnauthorized}
	}
	return f
}

// nest returns the object in which value stands under path.
func nest(path string, value any) any {
	for _, name := range slices.Backward(strings.Split(path, ".")) {
		value = map[string]any{name: value}
	}
	return value
}

// NeedsToken reports whether a refresh starts from a token of the session, as it does
// unless RefreshField is "-". Then a session without a token must sign in, and Refresh
// need not be called.
func (e *Endpoint) NeedsToken() bool { return e.RefreshField != settings.None }

// Validate reports every field that is wrong. [reauth.New] calls it.
func (e *Endpoint) Validate() error {
	if e == nil {
		return errors.New("jsonauth: the Endpoint is a nil pointer")
	}
	f := settings.Of("jsonauth: Endpoint")
	f.URL("URL", e.URL)
	if e.SignInURL != "" {
		f.URL("SignInURL", e.SignInURL)
	}
	switch {
	case e.Method != "" && !ascii.IsToken(e.Method):
		f.Add("Method", strconv.Quote(e.Method), "is not an HTTP method")
	case (e.Method == http.MethodGet || e.Method == http.MethodHead) && e.Body == nil && e.NeedsToken() && e.RefreshCookie == "":
		f.Add("Method", strconv.Quote(e.Method), `has no body for the refresh token; set RefreshField to "-", or Body`)
	}
	f.Header("Header", e.Header)
	if e.Body != nil && e.RefreshField != "" && e.RefreshField != settings.None {
		f.Add("RefreshField", strconv.Quote(e.RefreshField), "is set although Body writes the request")
	}
	e.validateCookie(f)
	f.Path("RefreshField", e.RefreshField)
	f.Path("AccessPath", e.AccessPath)
	f.Path("RefreshPath", e.RefreshPath)
	f.Path("LifetimePath", e.LifetimePath)
	f.Path("ExpiryPath", e.ExpiryPath)
	f.Path("CodePath", e.CodePath)
	f.FinalStatus(e.FinalStatus)
	return f.Err()
}

func (e *Endpoint) validateCookie(f *settings.Faults) {
	if e.Client != nil && e.Client.Jar != nil && (e.RefreshCookie != "" || !e.NeedsToken()) {
		f.Add("Client.Jar", "(set)", "would be shared by all sessions; name the cookie in RefreshCookie instead")
	}
	switch {
	case e.RefreshCookie == "":
		return
	case !ascii.IsToken(e.RefreshCookie):
		f.Add("RefreshCookie", strconv.Quote(e.RefreshCookie), "is not a cookie name")
	}
	if e.RefreshField != "" {
		f.Add("RefreshField", strconv.Quote(e.RefreshField), "is set although RefreshCookie carries the refresh token")
	}
	if e.RefreshPath != "" {
		f.Add("RefreshPath", strconv.Quote(e.RefreshPath), "is set although RefreshCookie carries the refresh token")
	}
}

// String describes the Endpoint without its secrets.
func (e Endpoint) String() string { return fmt.Sprintf("[jsonauth.Endpoint %s]", redact.URL(e.URL)) }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (e Endpoint) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue returns String.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }
