package reauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxAnswer is how much of a token server's answer is read.
const maxAnswer = 1 << 20

var errNoRefreshToken = fmt.Errorf("reauth: the session has no refresh token: %w", ErrSignInRequired)

// An answer is what a server said to a request of a built-in refresher.
type answer struct {
	status     int
	header     http.Header
	date       time.Time // by the server's clock; zero if it did not say
	retryAfter time.Duration
	body       []byte   // empty if fault is not nil
	fault      error    // why the body is of no use
	secrets    []string // what no error may show
}

// exchange sends req and reads the answer, if whole is true to its end: what stands
// in its header must not be lost for a body that is not needed and hangs. An error means that there
// is none; it names no more of the URL than may be shown, and none of the secrets.
func exchange(client *http.Client, req *http.Request, secrets []string, whole bool) (*answer, error) {
	secrets = append(secrets, urlSecrets(req.URL)...)
	resp, err := client.Do(req)
	if err != nil {
		return nil, requestError(req, err, secrets)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header, secrets: secrets}
	a.date, _ = http.ParseTime(resp.Header.Get("Date"))
	a.retryAfter = retryAfter(resp.Header, a.date)
	if !whole {
		drain(req.Context(), resp)
		return a, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil && req.Context().Err() != nil:
		return nil, requestError(req, err, secrets)
	case err != nil:
		a.fault = harmless(fmt.Errorf("the answer broke off: %w", elsewhere(err)), secrets)
	case len(body) > maxAnswer:
		a.fault = errors.New("the answer is too long")
	default:
		a.body = body
	}
	return a, nil
}

// failure is the error that an answer without a token amounts to.
func (a *answer) failure(code string, err error) *RefreshError {
	return &RefreshError{StatusCode: a.status, Code: code, RetryAfter: a.retryAfter, Err: err}
}

// refusal says what an answer means that refuses a refresh without a code that is
// known: with ErrSignInRequired in its chain it is final.
func refusal(final bool, status int) error {
	switch {
	case final:
		return fmt.Errorf("the refresh token was turned down: %w", ErrSignInRequired)
	case status >= 300 && status < 400:
		return errors.New("a redirect that is not followed")
	}
	return errors.New("taken for a passing fault")
}

// signInRefusal is refusal for a sign-in.
func signInRefusal(final bool, status int) error {
	switch {
	case final:
		return fmt.Errorf("the sign-in was turned down: %w", ErrSignInRequired)
	case status >= 300 && status < 400:
		return errors.New("the sign-in failed: a redirect that is not followed")
	}
	return errors.New("the sign-in failed")
}

// newRequest returns a request with the given body, if it is not nil: url.Values
// as a form, anything else as JSON. The headers go on top of what is usual.
func newRequest(ctx context.Context, method, target string, header http.Header, body any) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("reauth: no request can be made to %s", redactedURL(target))
	}
	req.Header.Set("Accept", "application/json")
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return req, setBody(req, body)
}

func setBody(req *http.Request, body any) error {
	contentType := "application/json"
	var text []byte
	switch b := body.(type) {
	case nil:
		return nil
	case url.Values:
		contentType = "application/x-www-form-urlencoded"
		text = []byte(b.Encode())
	case io.Reader: // which JSON writes as {}
		return fmt.Errorf("reauth: the body, a %T, is not the value that is to be written as JSON", body)
	default:
		var err error
		if text, err = json.Marshal(body); err != nil { // which repeats values
			return fmt.Errorf("reauth: the body, a %T, cannot be written as JSON", body)
		}
	}
	if len(req.Header["Content-Type"]) == 0 {
		req.Header.Set("Content-Type", contentType)
	}
	req.ContentLength = int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	req.Body, _ = req.GetBody()
	return nil
}

// requestSecrets returns all that a request says which no error may repeat: the
// values of its headers, and every string in its body.
func requestSecrets(header http.Header, body any) []string {
	const shortest = 8 // what is shorter, in a header, is no secret, and occurs in any text
	var secrets []string
	for name, values := range header {
		if name == "Accept" || name == "Content-Type" {
			continue
		}
		for _, v := range values {
			for _, part := range append(strings.Fields(v), v) {
				if len(part) >= shortest {
					secrets = append(secrets, part)
				}
			}
		}
	}
	add := func(values ...string) {
		for _, v := range values {
			switch v {
			case "refresh_token", "password": // grant types, which also occur in error codes
			default:
				secrets = append(secrets, secretForms(v)...)
			}
		}
	}
	if form, ok := body.(url.Values); ok {
		for _, values := range form {
			add(values...)
		}
		return secrets
	}
	text, err := json.Marshal(body)
	var written any
	if err != nil || json.Unmarshal(text, &written) != nil {
		return secrets
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			add(v)
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case map[string]any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(written)
	return secrets
}

// tokenSecrets are the forms of all that a token holds.
func tokenSecrets(tok Token) []string {
	secrets := secretForms(tok.RefreshToken, tok.AccessToken)
	for _, v := range tok.Extra {
		if len(v) >= 8 { // as for headers
			secrets = append(secrets, secretForms(v)...)
		}
	}
	return secrets
}

// urlSecrets are what a URL holds that is not to be shown. Of its user info
// http.Client makes an Authorization header.
func urlSecrets(u *url.URL) []string {
	password, _ := u.User.Password()
	secrets := append(secretForms(password), u.RawQuery, u.User.String())
	if u.User != nil {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return secrets
}

// secretForms returns the forms in which an answer or an error can repeat the
// secrets: as they are, in a form or a URL, in JSON, and quoted.
func secretForms(secrets ...string) []string {
	forms := make([]string, 0, 4*len(secrets))
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		inJSON, _ := json.Marshal(s) // a string can always be written
		forms = append(forms, s, url.QueryEscape(s), quoted[1:len(quoted)-1], string(inJSON[1:len(inJSON)-1]))
	}
	return forms
}

// requestError is err, of a request that was not answered, without the URL that
// net/http puts in it: its query or user info may hold a secret.
func requestError(req *http.Request, err error, secrets []string) error {
	err = withoutURL(err)
	text := err.Error()
	clean := scrub(text, secrets)
	// A client that itself signs in, elsewhere, may say that this is required:
	// there, not here.
	if clean != text || errors.Is(err, ErrSignInRequired) {
		err = &textError{clean, contextError(err)}
	}
	return fmt.Errorf("reauth: %s %s: %w", req.Method, redactedURL(req.URL.String()), err)
}

// contextError returns which context error err matches, or nil.
func contextError(err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return end
		}
	}
	return nil
}

// isSuccess is lenient: RFC 6749 section 5.1 knows 200 only, some servers 201.
func isSuccess(status int) bool { return status >= 200 && status < 300 }

// retryAfter returns how long a server asks to be left alone (RFC 9110 section
// 10.2.3), 0 if it does not say. A time it names is by the clock of its Date
// header; where that is missing the local clock has to do.
func retryAfter(h http.Header, date time.Time) time.Duration {
	value := h.Get("Retry-After")
	if wait := secondsDuration(parseSeconds(value)); wait > 0 {
		return wait
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date.IsZero() {
		date = time.Now()
	}
	return max(0, min(until.Sub(date), maxLifetime))
}

// faults collects what is wrong with the settings of one type.
type faults struct {
	of   string // the type
	errs []error
}

// add notes that a field is wrong. value is as it may be shown.
func (f *faults) add(field, value, why string) {
	f.errs = append(f.errs, fmt.Errorf("reauth: %s.%s %s: %s", f.of, field, value, why))
}

func (f *faults) url(field, value string) {
	if why := endpointURLFault(value); why != "" {
		f.add(field, redactedURL(value), why)
	}
}

// headerName notes a header that cannot be sent.
func (f *faults) headerName(field, name string) {
	switch {
	case !validToken(name):
		f.add(field, strconv.Quote(name), "is no header name")
	case slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"}, http.CanonicalHeaderKey(name)):
		f.add(field, strconv.Quote(name), "is written by net/http itself")
	}
}

// header notes headers that cannot be sent; their values are not shown.
func (f *faults) header(field string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		f.headerName(field, name)
		if slices.ContainsFunc(h[name], func(v string) bool { return !validTokenText(v) }) {
			f.add(field, strconv.Quote(name), "has a value that no header can carry")
		}
	}
}

// finalStatus names statuses that cannot mean that a refresh token is no good.
func (f *faults) finalStatus(codes []int) {
	for _, code := range codes {
		switch {
		case code < 400 || code > 499:
			f.add("FinalStatus", strconv.Itoa(code), "is none of 400 to 499")
		case slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}, code):
			f.add("FinalStatus", strconv.Itoa(code), "means that the fault will pass")
		}
	}
}

func (f *faults) err() error {
	return errors.Join(f.errs...)
}

// endpointURLFault says what is wrong with the URL of an endpoint; empty if
// nothing is.
func endpointURLFault(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "must be set"
	case err != nil: // which repeats what it was given
		return "is no URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https:// or http://"
	case u.Hostname() == "":
		return "has no host"
	case strings.Contains(raw, "#"):
		return "must have no fragment (RFC 6749 section 3.2)"
	}
	return ""
}

// redactedURL quotes a URL, which may be malformed, without what may be secret in
// it: user info, query and fragment.
func redactedURL(raw string) string {
	if _, err := url.Parse(raw); err == nil {
		raw, _, _ = strings.Cut(raw, "?") // so that an @ in there is not taken for user info
	}
	return strconv.Quote(withoutSecrets(raw))
}
