package reauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth/internal/redact"
)

// ErrSignInRequired means that the session has no token and can't get one without its
// user: nobody has signed in, the session was signed out, or the token server refused its
// refresh token for good. Find it with [errors.Is] in the errors of a Transport, also
// through the *url.Error of an http.Client.
//
// A [Refresher] returns an error that wraps it to say that the user must sign in again.
// Any other error of a Refresher is temporary.
var ErrSignInRequired = errors.New("sign-in required")

// ErrRefusalKept means that a refusal stands: a refresh is not expected to help, or did not.
// A request then gets the response that refused it, and [EventRefusalKept] has the reason.
// [Session.Refresh] has no response to return, and returns a *[RefreshError] that wraps it.
var ErrRefusalKept = errors.New("the refusal stands")

// A RefreshError is what requests and methods return when a session has no usable token.
// With [ErrSignInRequired] in its chain it is final: the user must sign in. Otherwise it is
// temporary: the session is kept, and the same request may succeed later. After a failure
// the same error is returned at once for a pause of 1 s that doubles up to 30 s, longer if
// the server asked for it.
//
// It matches neither context.Canceled nor context.DeadlineExceeded, whatever its cause,
// because those mean that the caller's own context was done.
//
// A Refresher may return one of its own to report what its server said. Its RetryAfter is
// honored.
type RefreshError struct {
	// Session is the session's name.
	Session string

	// StatusCode is the status of the token server's response, 0 if there was none.
	StatusCode int

	// Code is the error code in that response, such as "invalid_grant" (RFC 6749 section
	// 5.2), or empty.
	Code string

	// RetryAfter is how long the server asked to wait (RFC 9110 section 10.2.3), or else
	// the pause after a failure: a request within it gets this error at once. It is 0 in
	// final errors.
	RetryAfter time.Duration

	// Err is the cause. It is never nil in errors that this package returns. If there was no
	// answer within Config.RefreshTimeout, an error in its chain has a method Timeout that
	// returns true.
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
		fmt.Fprintf(&b, "token server answered %d %s: ", e.StatusCode, redact.Printable(e.Code))
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

var errUnfinished error = unfinished{}

// unfinished tells a timeout from other failures without being context.DeadlineExceeded.
type unfinished struct{}

func (unfinished) Error() string { return "no answer within Config.RefreshTimeout" }
func (unfinished) Timeout() bool { return true }

// longestRetryAfter bounds the RetryAfter that is honored.
const longestRetryAfter = 5 * time.Minute

// pause is the part of RetryAfter that is honored.
func (e *RefreshError) pause() time.Duration { return min(e.RetryAfter, longestRetryAfter) }

// asksForPause returns how long the token server asks everybody to wait, not only this
// session, or 0.
func (e *RefreshError) asksForPause() time.Duration {
	if e.StatusCode == http.StatusTooManyRequests || e.StatusCode == http.StatusServiceUnavailable {
		return e.pause()
	}
	return 0
}

// refreshError turns an error of a refresher, a store or this package into the
// *RefreshError that callers see. secrets must not appear in its text.
func refreshError(session string, err error, secrets ...string) *RefreshError {
	out := &RefreshError{Err: err}
	if from, ok := errors.AsType[*RefreshError](err); ok {
		*out = *from
		if out.Err == nil {
			out.Err = errors.New("refresh failed")
		}
		if err != error(from) { // keep what is wrapped around it, and say nothing twice
			inner := strings.TrimPrefix(out.Err.Error(), "reauth: ")
			said := strings.TrimPrefix(from.Error(), "reauth: ")
			text := strings.Replace(err.Error(), "reauth: "+said, said, 1)
			text = strings.Replace(text, said, inner, 1)
			if out.StatusCode != 0 { // then Error says that the token server answered
				text = strings.TrimPrefix(text, "the refresher: ")
			}
			out.Err = &redact.Error{Text: text, Chain: err}
		}
	}
	out.Session = session
	out.Code = redact.Code(out.Code, secrets)
	out.Err = harmless(out.Err, secrets)
	return out
}

// wrap says in front of err what failed. It leaves out the "reauth: " with which err may
// begin, because the whole begins with one.
func wrap(what string, err error) error {
	return &redact.Error{Text: what + ": " + strings.TrimPrefix(err.Error(), "reauth: "), Chain: err}
}

// harmless returns err unless it would pass for the end of the caller's own context or
// its text shows a secret. Then it returns an error that says the same and no more.
func harmless(err error, secrets []string) error {
	return redact.Harmless(err, secrets, ErrSignInRequired)
}

// elsewhere hides an ErrSignInRequired that came from some other session, for example the
// one that a store or a refresher's own HTTP client uses.
func elsewhere(err error) error {
	return redact.Without(err, ErrSignInRequired, redact.ContextErrors...)
}

// withoutSignIn is elsewhere for the error of a Refresher that does not require a sign-in.
// If it is a *RefreshError of the refresher's own, and not below a *url.Error one of another
// session, what it says of the token server stays.
func withoutSignIn(err error) error {
	if !errors.Is(err, ErrSignInRequired) {
		return err
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		switch e := inner.(type) {
		case *RefreshError:
			said := *e
			said.Err = elsewhere(e.Err)
			return &said
		case *url.Error:
			return elsewhere(err)
		}
	}
	return elsewhere(err)
}

// requiresSignIn reports whether err, of a Refresher, says that the user must sign in. An
// ErrSignInRequired below a *url.Error is not the refresher's word: it is what its HTTP
// client ran into.
func requiresSignIn(err error) bool {
	switch e := err.(type) {
	case nil, *url.Error:
		return false
	case interface{ Is(error) bool }:
		if e.Is(ErrSignInRequired) {
			return true
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return requiresSignIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), requiresSignIn)
	}
	return err == ErrSignInRequired
}
