package reauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A JSONEndpoint renews a session at an endpoint that takes JSON and answers with
// JSON, but speaks no OAuth 2.0: one that an API's authors wrote by hand, or that
// came with their framework. [JSONEndpoint.Exchange] signs in.
//
// Without more settings than a URL it expects the names of OAuth 2.0: it sends
// {"refresh_token":"..."} and reads access_token, refresh_token and expires_in.
// Names are paths: "data.data.accessToken" is the member accessToken of the object
// data of the object data. A member whose name has a dot in it cannot be named.
//
// Its methods may be called by many goroutines at once; its fields must not be
// changed after the first call. Printing it, with any verb of package fmt or as
// an attribute of log/slog, shows no secret.
type JSONEndpoint struct {
	// URL is where a refresh is asked for: an absolute http or https URL without a
	// fragment. Required. The refresh token is sent there as it is, so plain http
	// is for local servers.
	URL string

	// SignInURL is where Exchange signs in; empty means URL.
	SignInURL string

	// Method is the method of a refresh request; empty means POST. A sign-in is
	// always a POST.
	Method string

	// Header is added to every request, in place of what is there: an API key,
	// another Accept. What it holds is not shown in errors.
	Header http.Header

	// RefreshField is the path of the refresh token in the request; empty means
	// refresh_token. A "-" means that the request needs no refresh token, because
	// something else shows whose it is, such as a cookie in the Jar of Client: it is
	// then sent whatever the session holds, even nothing.
	RefreshField string

	// Body, if set, makes the body of a refresh request: a value that is written as
	// JSON, a url.Values that is sent as a form, or nil for none. It may add to the
	// header of req and must not keep req. RefreshField is then empty, or "-" for a
	// Body that needs no token; otherwise Body is not asked for a session that has
	// no token at all. Its error fails the refresh, for good if it wraps
	// [ErrSignInRequired].
	Body func(req *http.Request, old Token) (any, error)

	// AccessPath is the path of the access token in an answer; empty means
	// access_token. An answer that lacks it is a passing fault.
	AccessPath string

	// RefreshPath is the path of the refresh token in an answer; empty means
	// refresh_token. It may be the AccessPath, where one token is both. A refresh
	// whose answer lacks it leaves the old one in use; a sign-in whose answer lacks
	// it fails if RefreshPath is not empty.
	RefreshPath string

	// LifetimePath is the path of the access token's lifetime in an answer, in
	// seconds, as a number or a string; empty means expires_in. Where it is missing
	// or anything else the lifetime is that of the JWT, or unknown.
	LifetimePath string

	// FinalStatus are the statuses that mean that the refresh token is no good and
	// the user must sign in again; nil means 401, an empty slice none. The error
	// code "invalid_grant", as a member error, always means so in an answer with
	// status 400 or 401, or 200 without a token.
	FinalStatus []int

	// Client sends the requests; nil means a plain http.Client. It never follows
	// a redirect to another origin, whatever its CheckRedirect says.
	Client *http.Client
}

var _ Refresher = (*JSONEndpoint)(nil)

// none, as the name of something, means that there is no such thing.
const none = "-"

// Refresh implements [Refresher]. The new token keeps what the answer leaves out:
// the refresh token, the token type, which such an answer never has, and in Extra
// what the old one held there. Other members of the answer are added to Extra.
//
// If old has no refresh token where one is needed, or the answer's status is one
// of FinalStatus, the error wraps [ErrSignInRequired]. Other answers without a
// token are a *[RefreshError] without it; an error of the connection or of ctx is
// wrapped. No error holds a token, or text of the server's but its error code.
func (e *JSONEndpoint) Refresh(ctx context.Context, old Token) (Token, error) {
	if err := e.check(); err != nil {
		return Token{}, err
	}
	switch {
	case e.RefreshField == none:
	case e.Body == nil && old.RefreshToken == "", old.isZero():
		return Token{}, errNoRefreshToken
	}
	method := e.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := newRequest(ctx, method, e.URL, e.Header, nil)
	if err != nil {
		return Token{}, err
	}
	secrets := tokenSecrets(old)
	var body any
	switch {
	case e.Body != nil:
		if body, err = e.Body(req, old.clone()); err != nil {
			return Token{}, fmt.Errorf("reauth: JSONEndpoint.Body: %w", harmless(err, secrets))
		}
	case e.RefreshField != none:
		body = nest(orDefault(e.RefreshField, "refresh_token"), old.RefreshToken)
	}
	if err := setBody(req, body); err != nil {
		return Token{}, err
	}
	a, tok, fault, err := e.ask(req, old, body, secrets)
	switch {
	case err != nil:
		return Token{}, err
	case fault == nil:
		return tok, nil
	case isSuccess(a.status) && !e.final(a):
		return Token{}, a.failure(a.code, fmt.Errorf("the answer is no token: %w", fault))
	}
	return Token{}, a.failure(a.code, refusal(e.final(a), a.status))
}

// Exchange signs in: it posts body, written as JSON, or as a form if it is a
// url.Values, to SignInURL and returns the token that is in the answer, for
// [Transport.SignIn].
//
// If the answer's status is one of FinalStatus, the credentials were turned down,
// and the error is a *[RefreshError] that wraps [ErrSignInRequired]. Other answers
// without a token are a *[RefreshError] without it, of which StatusCode tells
// more; an error of the connection or of ctx is wrapped. No error repeats a string
// of body, or text of the server's but its error code.
func (e *JSONEndpoint) Exchange(ctx context.Context, body any) (Token, error) {
	if err := e.check(); err != nil {
		return Token{}, err
	}
	req, err := newRequest(ctx, http.MethodPost, orDefault(e.SignInURL, e.URL), e.Header, body)
	if err != nil {
		return Token{}, err
	}
	a, tok, fault, err := e.ask(req, Token{}, body, nil)
	if err != nil {
		return Token{}, err
	}
	if fault == nil && e.RefreshPath != "" && tok.RefreshToken == "" {
		fault = fmt.Errorf("%s is missing", e.RefreshPath)
	}
	switch {
	case fault == nil:
		return tok, nil
	case isSuccess(a.status) && !e.final(a):
		return Token{}, a.failure(a.code, fmt.Errorf("the answer is no token: %w", fault))
	}
	return Token{}, a.failure(a.code, signInRefusal(e.final(a), a.status))
}

// ask sends req and reads the answer. fault is why there is no token in it.
func (e *JSONEndpoint) ask(req *http.Request, old Token, body any, secrets []string) (a *tokenAnswer, tok Token, fault, err error) {
	secrets = append(secrets, requestSecrets(req.Header, body)...)
	sent := time.Now() // before the server starts to count
	got, err := exchange(clientWithinOrigin(e.Client), req, secrets, true)
	if err != nil {
		return nil, Token{}, nil, err
	}
	a = readTokenAnswer(got)
	a.code = a.namedCode()
	if !isSuccess(a.status) {
		return a, Token{}, errors.New("refused"), nil
	}
	tok, fault = a.token(answerShape{
		access:   orDefault(e.AccessPath, oauthShape.access),
		refresh:  orDefault(e.RefreshPath, oauthShape.refresh),
		lifetime: orDefault(e.LifetimePath, oauthShape.lifetime),
	}, old, sent)
	return a, tok, fault, nil
}

// final reports whether an answer without a token is the last word.
func (e *JSONEndpoint) final(a *tokenAnswer) bool {
	statuses := e.FinalStatus
	if statuses == nil {
		statuses = []int{http.StatusUnauthorized}
	}
	ofGrant := isSuccess(a.status) || a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized
	return slices.Contains(statuses, a.status) || ofGrant && a.code == "invalid_grant"
}

// nest returns the object in which value stands under path.
func nest(path string, value any) any {
	for _, name := range slices.Backward(strings.Split(path, ".")) {
		value = map[string]any{name: value}
	}
	return value
}

func orDefault(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// check names every field that is wrong.
func (e *JSONEndpoint) check() error {
	if e == nil {
		return errors.New("reauth: Refresher is a nil *JSONEndpoint")
	}
	f := faults{of: "JSONEndpoint"}
	f.url("URL", e.URL)
	if e.SignInURL != "" {
		f.url("SignInURL", e.SignInURL)
	}
	switch {
	case e.Method != "" && !validToken(e.Method):
		f.add("Method", fmt.Sprintf("%q", e.Method), "is no method")
	case (e.Method == http.MethodGet || e.Method == http.MethodHead) && e.Body == nil && e.RefreshField != none:
		f.add("Method", fmt.Sprintf("%q", e.Method), `has no body for the refresh token; set RefreshField to "-", or Body`)
	}
	f.header("Header", e.Header)
	if e.Body != nil && e.RefreshField != "" && e.RefreshField != none {
		f.add("RefreshField", fmt.Sprintf("%q", e.RefreshField), "is set, and Body, which writes the request, is too")
	}
	for _, p := range [...]struct{ field, path string }{
		{"RefreshField", e.RefreshField}, {"AccessPath", e.AccessPath}, {"RefreshPath", e.RefreshPath}, {"LifetimePath", e.LifetimePath},
	} {
		if p.path != "" && slices.Contains(strings.Split(p.path, "."), "") {
			f.add(p.field, fmt.Sprintf("%q", p.path), "has an empty name in it")
		}
	}
	f.finalStatus(e.FinalStatus)
	return f.err()
}

// String describes the endpoint without its secrets.
func (e JSONEndpoint) String() string { return fmt.Sprintf("[JSONEndpoint %s]", redactedURL(e.URL)) }

// GoString is String.
func (e JSONEndpoint) GoString() string { return e.String() }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (e JSONEndpoint) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue is String.
func (e JSONEndpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }
