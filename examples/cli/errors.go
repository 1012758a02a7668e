package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

var (
	errNotSignedIn   = errors.New("you are not signed in")
	errWrongPassword = errors.New("the user or the password is wrong")
	errNotSafe       = errors.New("your session's new token could not be saved; you may have to sign in again")
)

// A usageError describes wrong usage of a command.
type usageError string

func (e usageError) Error() string { return string(e) }

// An answerError is an unsuccessful answer of the server.
type answerError struct {
	status     int
	retryAfter time.Duration // 0 if the server did not state it
}

func newAnswerError(resp *http.Response) answerError {
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return answerError{resp.StatusCode, time.Duration(max(seconds, 0)) * time.Second}
}

func (e answerError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.status, strings.ToLower(http.StatusText(e.status)))
}

// explain returns an error message for the user and the exit status. A network error is
// the server's, because one of a keychain would not be in the chain.
func explain(err error) (text string, code int) {
	var (
		misuse usageError
		failed *reauth.RefreshError
		answer answerError
		sent   *url.Error
		way    *net.OpError
	)
	switch {
	case err == nil:
		return "", exitOK
	case errors.Is(err, errNotSafe):
		return errNotSafe.Error(), exitFailed
	case errors.As(err, &misuse):
		return misuse.Error() + "\nTry: notes help", exitUsage
	case errors.Is(err, errNotSignedIn), errors.Is(err, reauth.ErrSignInRequired):
		why := errNotSignedIn.Error()
		if errors.As(err, &failed) && failed.StatusCode != 0 {
			why = "the server has ended your session"
		}
		return why + "\nTry: notes sign-in", exitSignIn
	case errors.As(err, &failed): // the session is kept
		return "your session cannot be renewed: " + reason(failed) + "\n" +
			later(failed.RetryAfter) + " There is no need to sign in again.", exitLater
	case errors.As(err, &answer) && (answer.status == http.StatusTooManyRequests || answer.status >= 500):
		return answer.Error() + "\n" + later(answer.retryAfter), exitLater
	case errors.Is(err, context.DeadlineExceeded):
		return "the server does not answer\n" + later(0), exitLater
	case errors.As(err, &way):
		return "the server cannot be reached: " + way.Error() + "\n" + later(0), exitLater
	case errors.As(err, &sent):
		return "the server cannot be reached: " + sent.Err.Error() + "\n" + later(0), exitLater
	}
	return strings.TrimPrefix(err.Error(), "reauth: "), exitFailed
}

// reason returns the text of a RefreshError without the parts that the user knows.
func reason(e *reauth.RefreshError) string {
	if e.StatusCode != 0 {
		return answerError{status: e.StatusCode}.Error()
	}
	return strings.TrimPrefix(e.Err.Error(), "the refresher: ")
}

func later(in time.Duration) string {
	if in > 0 {
		return fmt.Sprintf("Try again in %s.", max(in.Round(time.Second), time.Second))
	}
	return "Try again later."
}
