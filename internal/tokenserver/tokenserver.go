// Package tokenserver sends requests to a token server and reads the answers, for the
// packages that speak a protocol. Its errors show no secret: no token, no part of a
// request body, and no text of the server but its error code.
package tokenserver

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/body"
	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 1 << 20

// ErrNoRefreshToken is the error for a session that has no refresh token where the
// request needs one.
var ErrNoRefreshToken = fmt.Errorf("reauth: the session has no refresh token: %w", reauth.ErrSignInRequired)

// An Answer is the response of a token server.
type Answer struct {
	Status     int
	Header     http.Header
	Date       time.Time // by the server's clock; zero if it did not say
	RetryAfter time.Duration

	text    []byte   // of the body, as far as it was read
	fault   error    // why the body was not read to its end
	late    error    // the same, if it is that the request's context is done
	secrets []string // must not appear in errors
}

// Text returns a copy of what was read of the body.
func (a *Answer) Text() []byte { return slices.Clone(a.text) }

// Object returns the members of the JSON object that is the body.
func (a *Answer) Object() (map[string]json.RawMessage, error) {
	if a.fault != nil {
		return nil, a.fault
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(withoutByteOrderMark(a.text), &members) != nil || members == nil {
		return nil, errors.New("the answer is not a JSON object")
	}
	return members, nil
}

// Late returns the error for an answer whose body had not arrived when the context of
// the request was done, or nil.
func (a *Answer) Late() error { return a.late }

// Send sends req and reads the answer, up to the end of the JSON if it is that. An error
// means that there was no answer. It shows the URL without user info and query, and none
// of the secrets.
func Send(client *http.Client, req *http.Request, secrets []string) (*Answer, error) {
	a, resp, err := do(client, req, secrets)
	if err != nil {
		return nil, err
	}
	if a.text, err = readBody(resp); err == nil {
		resp.ContentLength = -1 // some of it has been read
		body.Drain(req.Context(), resp)
		return a, nil
	}
	resp.Body.Close()
	switch {
	case req.Context().Err() != nil:
		a.late = requestError(req, err, a.secrets)
		a.fault = a.late
	case errors.Is(err, errTooLong):
		a.fault = err
	default:
		err = redact.Without(err, reauth.ErrSignInRequired, redact.ContextErrors...)
		a.fault = redact.Harmless(fmt.Errorf("the answer broke off: %w", err), a.secrets)
	}
	return a, nil
}

var errTooLong = errors.New("the answer is too long")

// readBody reads a body to its end, or to that of the object or array that it begins
// with: the end of a body may never come. With an error it returns what it has read.
func readBody(resp *http.Response) ([]byte, error) {
	from := io.Reader(resp.Body)
	// NewRequest asks for no encoding, but servers do not always listen.
	if ascii.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		unzip, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, err
		}
		from = unzip
	}
	var text []byte
	var end endDetector
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		text = append(text, buf[:n]...)
		switch {
		case end.ends(buf[:n]), err == io.EOF:
			return text, nil
		case err != nil:
			return text, err
		case len(text) > maxAnswer:
			return text, errTooLong
		}
	}
}

// SendForHeader is Send for a protocol that needs only the answer's header. It discards
// the body, so a body that hangs cannot lose the header.
func SendForHeader(client *http.Client, req *http.Request, secrets []string) (*Answer, error) {
	a, resp, err := do(client, req, secrets)
	if err != nil {
		return nil, err
	}
	body.Drain(req.Context(), resp)
	return a, nil
}

func do(client *http.Client, req *http.Request, secrets []string) (*Answer, *http.Response, error) {
	secrets = append(secrets, urlSecrets(req.URL)...)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, requestError(req, err, secrets)
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, secrets: secrets}
	a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	a.RetryAfter = retryAfter(resp.Header, a.Date)
	return a, resp, nil
}

// requestError returns the error for a request that was not answered. It leaves out
// the URL that net/http puts into err, whose query or user info may hold a secret.
func requestError(req *http.Request, err error, secrets []string) error {
	err = withoutURL(err)
	text := err.Error()
	clean := redact.Text(text, secrets)
	// The client may itself be signed in elsewhere. That it must sign in there says
	// nothing about this session.
	if clean != text || errors.Is(err, reauth.ErrSignInRequired) {
		err = &redact.Error{Text: clean, Chain: redact.ContextError(err)}
	}
	return fmt.Errorf("reauth: %s %s: %w", req.Method, redact.URL(req.URL.String()), err)
}

// retryAfter returns how long the server asks to be left alone (RFC 9110 section
// 10.2.3), 0 if it does not say. A point in time is compared with the Date header,
// because both are by the server's clock, or else with the local clock.
func retryAfter(h http.Header, date time.Time) time.Duration {
	value := h.Get("Retry-After")
	if wait := expiry.Seconds(expiry.ParseSeconds(value)); wait > 0 {
		return wait
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date.IsZero() {
		date = time.Now()
	}
	return max(0, min(until.Sub(date), expiry.MaxLifetime))
}

// Failure returns the error for an answer that brings no token.
func (a *Answer) Failure(code string, err error) *reauth.RefreshError {
	return &reauth.RefreshError{StatusCode: a.Status, Code: code, RetryAfter: a.RetryAfter, Err: err}
}

// IsSuccess reports whether the status is one of 200 to 299. RFC 6749 section 5.1 has
// 200 alone, but some servers answer 201.
func (a *Answer) IsSuccess() bool { return a.Status >= 200 && a.Status < 300 }

// RefreshRefused returns what a refusal of a refresh means where its error code does
// not say more. If final, it wraps reauth.ErrSignInRequired.
func (a *Answer) RefreshRefused(final bool) error {
	switch {
	case final:
		return fmt.Errorf("the refresh token was refused: %w", reauth.ErrSignInRequired)
	case a.isRedirect():
		return errRedirect
	}
	if a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed {
		return errors.New("the session is kept; check the URL of the token endpoint")
	}
	return errors.New("the session is kept; try again later")
}

// SignInRefused is RefreshRefused for a sign-in.
func (a *Answer) SignInRefused(final bool) error {
	switch {
	case final:
		return fmt.Errorf("the sign-in was refused: %w", reauth.ErrSignInRequired)
	case a.isRedirect():
		return fmt.Errorf("the sign-in failed: %w", errRedirect)
	}
	return errors.New("the sign-in failed")
}

var errRedirect = errors.New("a redirect that is not followed")

func (a *Answer) isRedirect() bool { return a.Status >= 300 && a.Status < 400 }
