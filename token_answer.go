package reauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer is how much of a token server's answer is read.
const maxAnswer = 1 << 20

// A tokenAnswer is what a token server said.
type tokenAnswer struct {
	status     int
	date       time.Time // by the server's clock; zero if it did not say
	retryAfter time.Duration
	members    map[string]json.RawMessage // nil if fault is not
	fault      error                      // why the body is of no use
	refused    bool
	code       string // the error code (RFC 6749 section 5.2), may be empty
}

// readCode tells a refusal from a token. Some servers refuse with status 200.
func (a *tokenAnswer) readCode() {
	raw := a.members["error"]
	switch string(raw) {
	case "", "null", `""`, "false", "0": // how some say that there is none
	default:
		a.refused = true
		_ = json.Unmarshal(raw, &a.code) // it stays empty if this is no string
	}
	if !isSuccess(a.status) {
		a.refused = true
	}
}

// token reads the answer as RFC 6749 section 5.1 has it. What it leaves out is
// taken from old.
func (a *tokenAnswer) token(old Token, sent time.Time) (Token, error) {
	if a.fault != nil {
		return Token{}, a.fault
	}
	tok := Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: a.extra(old.Extra)}
	err := errors.Join(
		a.text("access_token", &tok.AccessToken),
		a.text("token_type", &tok.TokenType),
		a.text("refresh_token", &tok.RefreshToken),
	)
	switch {
	case err != nil:
		return Token{}, err
	case tok.AccessToken == "":
		return Token{}, errors.New("access_token is missing")
	case !validTokenText(tok.AccessToken):
		return Token{}, errors.New("access_token has a character that a header cannot carry")
	case !validTokenText(tok.TokenType):
		return Token{}, errors.New("token_type has a character that a header cannot carry")
	}
	tok.Expiry = expiryFromAnswer(tok.AccessToken, a.members["expires_in"], a.date, sent)
	return tok, nil
}

// text stores the string that is the member's value, unless it is left out.
func (a *tokenAnswer) text(name string, to *string) error {
	var s string
	// null leaves s alone, and is no error.
	if raw := a.members[name]; raw != nil && json.Unmarshal(raw, &s) != nil {
		return fmt.Errorf("%s is no string", name)
	}
	if s != "" {
		*to = s
	}
	return nil
}

// extra is what else the answer holds, on top of what there was: an answer that
// leaves out scope or id_token has not changed it. What has a field of its own
// in Token is not in there.
func (a *tokenAnswer) extra(old map[string]string) map[string]string {
	extra := maps.Clone(old)
	if extra == nil {
		extra = make(map[string]string)
	}
	for name, raw := range a.members {
		var s string
		switch {
		case string(raw) == "null":
			continue
		case json.Unmarshal(raw, &s) == nil:
		default:
			var compact bytes.Buffer
			_ = json.Compact(&compact, raw) // it has been parsed once
			s = compact.String()
		}
		extra[name] = s
	}
	for _, name := range []string{"access_token", "token_type", "refresh_token", "expires_in", "error"} {
		delete(extra, name)
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

// failure is the error that an answer without a token amounts to.
func (a *tokenAnswer) failure(err error) *RefreshError {
	return &RefreshError{StatusCode: a.status, Code: a.code, RetryAfter: a.retryAfter, Err: err}
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

// scrubCode keeps the codes of RFC 6749 section 5.2 and RFC 7009 section 2.2.1
// as they are: a program compares them, and a secret may be as short as a word.
func scrubCode(code string, secrets []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
		"unsupported_grant_type", "invalid_scope", "invalid_token", "unsupported_token_type",
		"server_error", "temporarily_unavailable", "access_denied", "slow_down":
		return code
	}
	return scrub(code, secrets)
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
