// Package redact keeps secrets out of errors.
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

// shortest is the length from which on a secret is replaced in a text. A shorter one
// protects nothing, and occurs in any text.
const shortest = 4

// Text returns text with every secret replaced.
func Text(text string, secrets []string) string {
	// The longest first: of one that is part of another the rest would stay.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// An Error has the text of another error, redacted, and a chain of its own.
type Error struct {
	Text  string
	Chain error // what Unwrap returns; may be nil
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns Chain.
func (e *Error) Unwrap() error { return e.Chain }

// Harmless returns err if its text shows none of the secrets and it matches neither
// context.Canceled nor context.DeadlineExceeded, which callers take for the end of
// their own context. Otherwise it returns an error with the same text, redacted, that
// matches only those of keep that err matches.
func Harmless(err error, secrets []string, keep ...error) error {
	text := err.Error()
	clean := Text(text, secrets)
	if clean == text && ContextError(err) == nil {
		return err
	}
	return &Error{clean, kept(err, keep)}
}

// Without returns err if it does not match sentinel. Otherwise it returns an error
// with the same text that matches only those of keep that err matches.
func Without(err, sentinel error, keep ...error) error {
	if !errors.Is(err, sentinel) {
		return err
	}
	return &Error{err.Error(), kept(err, keep)}
}

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

// ContextErrors are the errors of a context that has ended.
var ContextErrors = []error{context.Canceled, context.DeadlineExceeded}

// ContextError returns which of ContextErrors err matches, or nil.
func ContextError(err error) error {
	for _, end := range ContextErrors {
		if errors.Is(err, end) {
			return end
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
// 6749 section 5.2 and RFC 7009 section 2.2.1 stay as they are: programs compare
// them, and a secret may be as short as a word.
func Code(code string, secrets []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
		"unsupported_grant_type", "invalid_scope", "invalid_token", "unsupported_token_type",
		"server_error", "temporarily_unavailable", "access_denied", "slow_down":
		return code
	}
	return Text(code, secrets)
}

// Printable quotes an error code that has characters which RFC 6749 section 5.2 does
// not allow, and shortens a very long one: it comes from outside.
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
		raw, _, _ = strings.Cut(raw, "?") // so that an @ in there is not taken for user info
	}
	return strconv.Quote(Origin(raw))
}

// Origin returns what was meant to be an origin as an error may show it. The user
// info is taken to reach to the last @, wherever that is: a password that was not
// escaped may hold what would end it. A query may hold an API key.
func Origin(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		shown := "[redacted]" + text[at:]
		scheme, _, ok := strings.Cut(text[:at], "://")
		if l := ascii.Lower(scheme); ok && (l == "http" || l == "https") { // anything else may be a user
			shown = scheme + "://" + shown
		}
		text = shown
	}
	if cut := strings.IndexAny(text, "?#"); cut >= 0 && cut+1 < len(text) {
		text = text[:cut+1] + "..."
	}
	return text
}
