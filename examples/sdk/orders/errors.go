package orders

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

var (
	// ErrSignInRequired means that nobody is signed in: not yet, not any more, or the
	// service has ended the session.
	ErrSignInRequired = errors.New("orders: sign in first")

	// ErrWrongPassword is what SignIn returns if user and password do not fit.
	ErrWrongPassword = errors.New("orders: the user or the password is wrong")
)

// An UnavailableError means that the service could not do it now. Nobody has been
// signed out, and the same call may succeed later.
type UnavailableError struct {
	// RetryAfter is how long the service asked to be left alone, 0 if it did not say.
	RetryAfter time.Duration

	reason string
}

// Error describes what happened.
func (e *UnavailableError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("orders: not available for %s: %s", e.RetryAfter, e.reason)
	}
	return "orders: not available: " + e.reason
}

// An APIError is any other answer that is none of the good ones.
type APIError struct {
	StatusCode int
	Message    string
}

// Error describes the answer.
func (e *APIError) Error() string { return fmt.Sprintf("orders: %d %s", e.StatusCode, e.Message) }

// explain says in this SDK's own words what package reauth has to say. Of its types
// none stays in the chain: who uses the SDK shall not come to depend on them.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, reauth.ErrSignInRequired) {
		return ErrSignInRequired
	}
	if failed, ok := errors.AsType[*reauth.RefreshError](err); ok {
		return &UnavailableError{RetryAfter: failed.RetryAfter, reason: strings.TrimPrefix(failed.Error(), "reauth: ")}
	}
	return &failure{err}
}

// A failure is told in the SDK's own words, whatever the errors in its chain are.
type failure struct{ err error }

func (f *failure) Error() string { return "orders: " + strings.TrimPrefix(f.err.Error(), "reauth: ") }

func (f *failure) Unwrap() error { return f.err }

// objection makes an error of an answer that is none of the good ones.
func objection(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &UnavailableError{RetryAfter: time.Duration(max(seconds, 0)) * time.Second, reason: resp.Status}
	}
	const longest = 1000
	message, _ := io.ReadAll(io.LimitReader(resp.Body, longest))
	return &APIError{StatusCode: resp.StatusCode, Message: strings.TrimSpace(string(message))}
}
