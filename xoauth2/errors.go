package xoauth2

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// failureOf returns what an error of package oauth2 says about a token server. The text and
// the chain of such an error hold the body of the answer, which may repeat a secret, and URLs
// with keys in them. So neither is kept.
func failureOf(err error, secrets ...string) *reauth.RefreshError {
	if from, ok := errors.AsType[*reauth.RefreshError](err); ok { // of a source that is a session
		return &reauth.RefreshError{RetryAfter: from.RetryAfter, Err: unanswered(err, readable(from.Error(), secrets))}
	}
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		out := &reauth.RefreshError{Err: unanswered(err, readable(err.Error(), secrets))}
		if found := statusRE.FindStringSubmatch(err.Error()); found != nil {
			out.StatusCode, _ = strconv.Atoi(found[1])
		}
		return out
	}
	out := &reauth.RefreshError{Code: answer.ErrorCode, Err: errors.New("no token")}
	if out.Code == "" { // package oauth2/jwt does not read it
		var body struct{ Error string }
		_ = json.Unmarshal(answer.Body, &body)
		out.Code = body.Error
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(out.Code, s) {
			out.Code = ""
		}
	}
	if answer.Response != nil {
		out.StatusCode = answer.Response.StatusCode
		out.RetryAfter = retryAfter(answer.Response.Header)
	}
	switch out.Code {
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_grant":
		if saysSo(out.StatusCode) {
			out.Err = errors.New("the program is misconfigured: its credentials, grant or scopes are not accepted")
		}
	}
	return out
}

// unanswered returns an error with that text. Of the chain of err it keeps what tells a
// request without an answer from other failures: that it is a net.Error, and a timeout.
func unanswered(err error, text string) error {
	late, _ := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	isLate := late != nil && late.Timeout()
	failed, ok := errors.AsType[net.Error](err)
	if _, ofSystem := failed.(syscall.Errno); isLate || ok && !ofSystem { // such as that of a file
		return silence{text, isLate}
	}
	return errors.New(text)
}

// A silence is a net.Error that shows nothing but its text.
type silence struct {
	text    string
	timeout bool
}

func (s silence) Error() string { return s.text }
func (s silence) Timeout() bool { return s.timeout }
func (silence) Temporary() bool { return false }

// saysSo reports whether a status goes with an error code that can be believed. 408, 425,
// 429 and 5xx mean that the server can't answer now, whatever they say.
func saysSo(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}

var (
	statusRE = regexp.MustCompile(`status code (\d{3})`)
	// Where package google goes on with the body of an answer, or with the settings of gcloud.
	bodyRE = regexp.MustCompile(`(?s)(status code \d{3}|Response|Server responded|unable to retrieve AWS [\w ]+?|failed to find .+?)(:| - | in map\[).*`)
	urlRE  = regexp.MustCompile(`[a-z]+://[^\s"]+`)
)

// readable returns what an error can show of a text: one line, without the body of an answer,
// and with no more of a URL than where it leads.
func readable(text string, secrets []string) string {
	text = bodyRE.ReplaceAllString(text, "$1")
	text, _, _ = strings.Cut(text, "\n")
	text = urlRE.ReplaceAllStringFunc(text, func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			return "[a URL]"
		}
		return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	})
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "[redacted]")
			text = strings.ReplaceAll(text, url.QueryEscape(s), "[redacted]")
		}
	}
	return text
}

// retryAfter returns how long a server asks to wait (RFC 9110 section 10.2.3), or 0.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now := time.Now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil { // by the same clock
		now = date
	}
	return max(until.Sub(now), 0)
}
