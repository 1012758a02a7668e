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
	// ErrSignInRequired means that nobody is signed in, or that the service has ended the
	// session.
	ErrSignInRequired = errors.New("orders: sign in first")

	// ErrWrongPassword is returned by SignIn if the user or the password is wrong.
	ErrWrongPassword = errors.New("orders: the user or the password is wrong")
)

// An UnavailableError means that the call failed temporarily. Nobody was signed out, and
// the same call may succeed later.
type UnavailableError struct {
	// RetryAfter is how long to wait, as the service stated, or 0.
	RetryAfter time.Duration

	reason string
}

// Error describes the failure.
func (e *UnavailableError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("orders: not available for %s: %s", e.RetryAfter, e.reason)
	}
	return "orders: not available: " + e.reason
}

// An APIError is any other unsuccessful answer.
type APIError struct {
	StatusCode int
	Message    string
}

// Error describes the answer.
func (e *APIError) Error() string { return fmt.Sprintf("orders: %d %s", e.StatusCode, e.Message) }

// explain translates errors of package reauth into those of this SDK. None of its types
// stays in the chain, so that users of the SDK do not depend on them.
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

// The text of the failure is the SDK's own, whatever the errors in its chain are.
type failure struct{ err error }

func (f *failure) Error() string { return "orders: " + strings.TrimPrefix(f.err.Error(), "reauth: ") }

func (f *failure) Unwrap() error { return f.err }

// objection returns an error for an unsuccessful answer.
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
