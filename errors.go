package reauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrSignInRequired means that the session has no token and cannot get one
// without its user: nobody has signed in, the session was signed out, or its
// refresh token was turned down for good. It is found with [errors.Is] in the
// errors of a Transport, also through the *url.Error of an http.Client.
//
// A [Refresher] returns an error that wraps it to say that the user must sign
// in again; any other error of a Refresher is a passing fault.
var ErrSignInRequired = errors.New("sign-in required")

// A RefreshError is what requests and methods return when a session has no
// usable token. With [ErrSignInRequired] in its chain it is final: the user must
// sign in. Otherwise the fault is expected to pass, the session is kept, and the
// same request may succeed later.
//
// It matches neither context.Canceled nor context.DeadlineExceeded, whatever
// its cause: those mean that the caller's own context has ended.
//
// A Refresher may return one of its own to report what its server said; its
// RetryAfter is honoured.
type RefreshError struct {
	// Session is the session's name.
	Session string

	// StatusCode is the status of the token server's answer, 0 if there was none.
	StatusCode int

	// Code is the error code in that answer, such as "invalid_grant" (RFC 6749
	// section 5.2), or empty.
	Code string

	// RetryAfter is how long the server asked to be left alone (RFC 9110 section
	// 10.2.3), 0 if it did not say.
	RetryAfter time.Duration

	// Err is the cause. It is never nil in errors that this package returns.
	Err error
}

// Error describes the failure; it holds no secret.
func (e *RefreshError) Error() string {
	var b strings.Builder
	b.WriteString("reauth: ")
	if e.Session != "" {
		fmt.Fprintf(&b, "session %q: ", e.Session)
	}
	switch {
	case e.StatusCode != 0 && e.Code != "":
		fmt.Fprintf(&b, "token server answered %d %s: ", e.StatusCode, printable(e.Code))
	case e.StatusCode != 0:
		fmt.Fprintf(&b, "token server answered %d: ", e.StatusCode)
	}
	if e.Err == nil {
		b.WriteString("refresh failed")
	} else {
		b.WriteString(strings.TrimPrefix(e.Err.Error(), "reauth: "))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *RefreshError) Unwrap() error { return e.Err }

// printable quotes an error code that is not of the characters that RFC 6749
// section 5.2 allows, and cuts one that is absurdly long: it comes from outside.
func printable(code string) string {
	const longest = 64
	if len(code) > longest {
		code = code[:longest] + "..."
	}
	for _, c := range []byte(code) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Sprintf("%q", code)
		}
	}
	return code
}

// refreshError turns whatever a refresher, a store or this package has to say
// into the *RefreshError that callers see. secrets are the values that must not
// appear in its text.
func refreshError(session string, err error, secrets ...string) *RefreshError {
	out := &RefreshError{Err: err}
	if from, ok := errors.AsType[*RefreshError](err); ok {
		*out = *from
		if out.Err == nil {
			out.Err = errors.New("refresh failed")
		}
		if err != error(from) { // keep what is wrapped around it, and say nothing twice
			inner := strings.TrimPrefix(out.Err.Error(), "reauth: ")
			out.Err = &textError{strings.Replace(err.Error(), from.Error(), inner, 1), err}
		}
	}
	out.Session = session
	out.Code = scrubCode(out.Code, secrets)
	out.Err = harmless(out.Err, secrets)
	return out
}

// harmless returns err, or, where err would pass for the caller's own deadline
// or its text gives a secret away, an error that says the same and no more.
func harmless(err error, secrets []string) error {
	text := err.Error()
	clean := scrub(text, secrets)
	if clean == text && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, ErrSignInRequired) {
		return &textError{clean, ErrSignInRequired}
	}
	return &textError{clean, nil}
}

// elsewhere returns err without what would pass for a word about this session: a
// client or a signer that itself signs in may say that this is required, there.
func elsewhere(err error) error {
	if !errors.Is(err, ErrSignInRequired) {
		return err
	}
	return &textError{err.Error(), contextError(err)}
}

func scrub(text string, secrets []string) string {
	// The longest first: of one that is part of another the rest would stay.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= 4 { // what is shorter hides nothing, and occurs in any text
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// A textError says what another error does in a text that can be shown. Of the
// chain of that error it has what is given to it.
type textError struct {
	text  string
	chain error
}

func (e *textError) Error() string { return e.text }
func (e *textError) Unwrap() error { return e.chain }
