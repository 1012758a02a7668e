// Package redact keeps secrets, and errors that callers would misread, out of errors.
package redact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/reauth-go/reauth/internal/ascii"
)

// shortest is the length of the shortest secret that is replaced in a text. A shorter one
// protects nothing, and occurs in any text.
const shortest = 4

// Text returns text with "[redacted]" in place of every secret of at least four bytes.
func Text(text string, secrets []string) string {
	// The longest first. If one secret is part of another, replacing the shorter one
	// first would leave the rest of the longer one.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// An Error stands for another error whose text or chain must not be shown.
type Error struct {
	Text  string
	Chain error // returned by Unwrap; may be nil
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns Chain.
func (e *Error) Unwrap() error { return e.Chain }

// Harmless returns err if its text shows none of the secrets and it does not match
// context.Canceled or context.DeadlineExceeded. Callers would take those for the end of
// their own context. Otherwise Harmless returns an error with the same text, redacted,
// which matches only those errors of keep that err matches.
func Harmless(err error, secrets []string, keep ...error) error {
	text := err.Error()
	clean := Text(text, secrets)
	if clean == text && ContextError(err) == nil {
		return err
	}
	return &Error{clean, kept(err, keep)}
}

// Without returns err if it does not match sentinel. Otherwise it returns an error with
// the same text, which matches only those errors of keep that err matches.
func Without(err, sentinel error, keep ...error) error {
	if !errors.Is(err, sentinel) {
		return err
	}
	return &Error{err.Error(), kept(err, keep)}
}

// kept returns the errors of keep that err matches as one error, or nil.
func kept(err error, keep []error) error {
	var chain []error
	for _, k := range keep {
		if errors.Is(err, k) {
			chain = append(chain, k)
		}
	}
	if len(chain) == 1 {
		return chain[0]
	}
	return errors.Join(chain...)
}

// ContextErrors are the errors of a context that is done.
var ContextErrors = []error{context.Canceled, context.DeadlineExceeded}

// ContextError returns which of ContextErrors err matches, or nil.
func ContextError(err error) error {
	for _, done := range ContextErrors {
		if errors.Is(err, done) {
			return done
		}
	}
	return nil
}

// Forms returns the forms in which an answer or an error can repeat the secrets: as
// they are, in a form or a URL, in JSON, quoted, and as JSON that is quoted, as
// net/http does with a Location that it cannot parse.
func Forms(secrets ...string) []string {
	forms := make([]string, 0, 5*len(secrets))
	for _, s := range secrets {
		inJSON, _ := json.Marshal(s) // a string can always be written
		encoded := string(inJSON[1 : len(inJSON)-1])
		forms = append(forms, s, url.QueryEscape(s), quote(s), encoded, quote(encoded))
	}
	return forms
}

// quote is strconv.Quote without the quotes.
func quote(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// Code returns an error code of a token server without the secrets. The codes of RFC
// 6749 section 5.2, RFC 7009 section 2.2.1 and RFC 8707 section 2 stay as they are: programs
// compare them, and a secret may be as short as a word.
func Code(code string, secrets []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
		"unsupported_grant_type", "invalid_scope", "invalid_token", "unsupported_token_type",
		"server_error", "temporarily_unavailable", "access_denied", "slow_down", "invalid_target":
		return code
	}
	return Text(code, secrets)
}

// Printable returns an error code of a token server in a form that an error can show: a
// very long one is cut, and one with characters that RFC 6749 section 5.2 does not allow
// is quoted.
func Printable(code string) string {
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

// URL quotes a URL, which may be malformed, without user info, query and fragment.
func URL(raw string) string {
	if _, err := url.Parse(raw); err == nil {
		raw, _, _ = strings.Cut(raw, "?") // an @ in the query does not end user info
	}
	return strconv.Quote(Origin(raw))
}

// Origin returns an entry of Config.Origins, which may be malformed, as an error may show
// it. Everything before the last @ counts as user info, since a password that was not
// escaped may hold any character. A query and a fragment are left out because they may
// hold an API key.
func Origin(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		shown := "[redacted]" + text[at:]
		scheme, _, ok := strings.Cut(text[:at], "://")
		if l := ascii.Lower(scheme); ok && (l == "http" || l == "https") { // anything else may be the user
			shown = scheme + "://" + shown
		}
		text = shown
	}
	if cut := strings.IndexAny(text, "?#"); cut >= 0 && cut+1 < len(text) {
		text = text[:cut+1] + "..."
	}
	return text
}
