package jsonauth

import (
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
// object data. A member whose name has a dot in it cannot be named.
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
	// identifies the session, such as a cookie in the Jar of Client. It is then sent
	// whatever token the session has, even if it has none.
	RefreshField string

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
	// fails if RefreshPath is not empty.
	RefreshPath string

	// LifetimePath is the path of the access token's lifetime in an answer, in seconds,
	// as a number or a string; empty means expires_in. If it is missing or anything
	// else, the lifetime is that of the JWT, or unknown.
	LifetimePath string

	// FinalStatus are the statuses that mean that the refresh token is not valid and
	// the user must sign in again; nil means 401, an empty slice none. The error code
	// "invalid_grant", as a member error, always means so in an answer with status 400
	// or 401, or 200 without a token.
	FinalStatus []int

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
// one is needed, or the answer's status is one of FinalStatus. Other answers without a
// token are a *[reauth.RefreshError] that does not. An error of the connection or of ctx
// is wrapped. Errors show no token, and no text of the server but its error code.
func (e *Endpoint) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	if err := e.Validate(); err != nil {
		return reauth.Token{}, err
	}
	switch {
	case !e.NeedsToken():
	case e.Body == nil && old.RefreshToken == "", old.RefreshToken == "" && old.AccessToken == "":
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
	a, tok, fault, err := e.ask(req, old, body, secrets)
	switch {
	case err != nil:
		return reauth.Token{}, err
	case fault == nil:
		return tok, nil
	case a.IsSuccess() && !e.isFinal(a):
		return reauth.Token{}, a.Failure(a.NamedCode(), fmt.Errorf("no token in the answer: %w", fault))
	}
	return reauth.Token{}, a.Failure(a.NamedCode(), a.RefreshRefused(e.isFinal(a)))
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
	case e.NeedsToken():
		return nest(settings.OrDefault(e.RefreshField, "refresh_token"), old.RefreshToken), nil
	}
	return nil, nil
}

// Exchange signs in. It posts body, encoded as JSON, or as a form if it is a url.Values,
// to SignInURL and returns the token in the answer, for Transport.SignIn.
//
// If the answer's status is one of FinalStatus, the credentials were refused, and the
// error is a *[reauth.RefreshError] that wraps [reauth.ErrSignInRequired]. Other answers
// without a token are a *[reauth.RefreshError] that does not, whose StatusCode tells
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
	a, tok, fault, err := e.ask(req, reauth.Token{}, body, nil)
	if err != nil {
		return reauth.Token{}, err
	}
	if fault == nil && e.RefreshPath != "" && tok.RefreshToken == "" {
		fault = fmt.Errorf("%s is missing", e.RefreshPath)
	}
	switch {
	case fault == nil:
		return tok, nil
	case a.IsSuccess() && !e.isFinal(a):
		return reauth.Token{}, a.Failure(a.NamedCode(), fmt.Errorf("no token in the answer: %w", fault))
	}
	return reauth.Token{}, a.Failure(a.NamedCode(), a.SignInRefused(e.isFinal(a)))
}

// ask sends req and reads the answer. fault says why there is no token in it.
func (e *Endpoint) ask(req *http.Request, old reauth.Token, body any, secrets []string) (a *tokenserver.JSONAnswer, tok reauth.Token, fault, err error) {
	secrets = append(secrets, tokenserver.RequestSecrets(req.Header, body)...)
	sent := time.Now() // before the server starts to count
	got, err := tokenserver.Send(tokenserver.WithinOrigin(e.Client), req, secrets)
	if err != nil {
		return nil, reauth.Token{}, nil, err
	}
	a = tokenserver.ReadJSON(got)
	if !a.IsSuccess() {
		return a, reauth.Token{}, errors.New("refused"), nil
	}
	usual := tokenserver.OAuthShape
	tok, fault = a.Token(tokenserver.Shape{
		AccessToken:  settings.OrDefault(e.AccessPath, usual.AccessToken),
		RefreshToken: settings.OrDefault(e.RefreshPath, usual.RefreshToken),
		Lifetime:     settings.OrDefault(e.LifetimePath, usual.Lifetime),
	}, old, sent)
	return a, tok, fault, nil
}

// isFinal reports whether an answer without a token means that the user must sign in.
func (e *Endpoint) isFinal(a *tokenserver.JSONAnswer) bool {
	statuses := e.FinalStatus
	if statuses == nil {
		statuses = []int{http.StatusUnauthorized}
	}
	ofGrant := a.IsSuccess() || a.Status == http.StatusBadRequest || a.Status == http.StatusUnauthorized
	return slices.Contains(statuses, a.Status) || ofGrant && a.NamedCode() == "invalid_grant"
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
	case (e.Method == http.MethodGet || e.Method == http.MethodHead) && e.Body == nil && e.NeedsToken():
		f.Add("Method", strconv.Quote(e.Method), `has no body for the refresh token; set RefreshField to "-", or Body`)
	}
	f.Header("Header", e.Header)
	if e.Body != nil && e.RefreshField != "" && e.RefreshField != settings.None {
		f.Add("RefreshField", strconv.Quote(e.RefreshField), "is set although Body writes the request")
	}
	f.Path("RefreshField", e.RefreshField)
	f.Path("AccessPath", e.AccessPath)
	f.Path("RefreshPath", e.RefreshPath)
	f.Path("LifetimePath", e.LifetimePath)
	f.FinalStatus(e.FinalStatus)
	return f.Err()
}

// String describes the Endpoint without its secrets.
func (e Endpoint) String() string { return fmt.Sprintf("[jsonauth.Endpoint %s]", redact.URL(e.URL)) }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (e Endpoint) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue returns String.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }
