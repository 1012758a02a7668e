package redact_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/redact"
)

var errMarked = errors.New("marked")

func TestText(t *testing.T) {
	for _, tc := range []struct {
		text    string
		secrets []string
		want    string
	}{
		{"nothing to hide", []string{"token"}, "nothing to hide"},
		{"token, token", []string{"token"}, "[redacted], [redacted]"},
		{"abcdefg", []string{"abcd", "abcdefg"}, "[redacted]"}, // the longest first
		{"abcdefg", []string{"abcdefg", "abcd"}, "[redacted]"},
		{"abcd abc ab", []string{"abcd", "abc", ""}, "[redacted] abc ab"}, // short ones stay
		{"text", nil, "text"},
	} {
		secrets := append([]string(nil), tc.secrets...)
		assert.Equal(t, tc.want, redact.Text(tc.text, secrets))
		assert.Equal(t, tc.secrets, secrets, "the caller's slice is left alone")
	}
}

func TestHarmless(t *testing.T) {
	wrapped := fmt.Errorf("%w: top-secret", errMarked)
	for name, tc := range map[string]struct {
		err  error
		text string // of the result; "": err itself is returned
		kept []error
	}{
		"nothing to hide": {errors.New("disk full"), "", nil},
		"a secret":        {wrapped, "marked: [redacted]", []error{errMarked}},
		"canceled":        {fmt.Errorf("query: %w", context.Canceled), "query: context canceled", nil},
		"deadline":        {fmt.Errorf("%w: %w", errMarked, context.DeadlineExceeded), "marked: context deadline exceeded", []error{errMarked}},
		"both, joined":    {errors.Join(context.Canceled, wrapped), "context canceled\nmarked: [redacted]", []error{errMarked}},
	} {
		got := redact.Harmless(tc.err, []string{"top-secret"}, errMarked)
		if tc.text == "" {
			assert.Same(t, tc.err, got, name)
			continue
		}
		assert.EqualError(t, got, tc.text, name)
		assert.NoError(t, redact.ContextError(got), name)
		assert.Equal(t, len(tc.kept) > 0, errors.Is(got, errMarked), name)
		assert.NotErrorIs(t, redact.Harmless(tc.err, []string{"top-secret"}), errMarked, name)
	}

	// A context error can be kept too, and beside another.
	got := redact.Harmless(fmt.Errorf("%w: %w", errMarked, context.Canceled), nil, errMarked, context.Canceled, context.DeadlineExceeded)
	assert.ErrorIs(t, got, errMarked)
	assert.ErrorIs(t, got, context.Canceled)
	assert.NotErrorIs(t, got, context.DeadlineExceeded)
}

func TestRedactedErrorDoesNotLeadToTheOriginal(t *testing.T) {
	got := redact.Harmless(fmt.Errorf("%w: top-secret", errMarked), []string{"top-secret"}, errMarked)
	require.Equal(t, errMarked, errors.Unwrap(got), "nothing else is in the chain")
	got = redact.Harmless(errors.New("top-secret"), []string{"top-secret"}, errMarked)
	require.NoError(t, errors.Unwrap(got))
}

func TestWithout(t *testing.T) {
	other := fmt.Errorf("other: %w", context.Canceled)
	assert.Same(t, other, redact.Without(other, errMarked))

	err := fmt.Errorf("%w: %w", errMarked, context.Canceled)
	got := redact.Without(err, errMarked, redact.ContextErrors...)
	assert.EqualError(t, got, err.Error())
	assert.NotErrorIs(t, got, errMarked)
	assert.ErrorIs(t, got, context.Canceled)
	assert.NotErrorIs(t, redact.Without(err, errMarked), context.Canceled)
}

func TestContextError(t *testing.T) {
	assert.NoError(t, redact.ContextError(nil))
	assert.NoError(t, redact.ContextError(errMarked))
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		assert.Equal(t, err, redact.ContextError(fmt.Errorf("x: %w", err)))
	}
}

func TestFormsCoverWhatAnAnswerCanRepeat(t *testing.T) {
	const secret = "a b\"c\\d/é&\n<"
	for _, repeated := range []string{secret, `a+b%22c%5Cd%2F%C3%A9%26%0A%3C`, `"a b\"c\\d/é&\n<"`, `"a b\"c\\d/é\u0026\n\u003c"`} {
		assert.NotContains(t, redact.Text("it said "+repeated, redact.Forms("other", secret)), "b", repeated)
	}
	assert.Empty(t, redact.Forms())
}

func TestCodesOfTheStandardsStayAsTheyAre(t *testing.T) {
	secrets := []string{"invalid_grant", "grant", "server_error", "invalid_token", "slow"}
	for _, code := range []string{"invalid_grant", "server_error", "invalid_token", "slow_down", ""} {
		assert.Equal(t, code, redact.Code(code, secrets))
	}
	assert.Equal(t, "no_[redacted]", redact.Code("no_grant", secrets))
}

func TestPrintable(t *testing.T) {
	long := strings.Repeat("x", 64)
	for code, want := range map[string]string{
		"":                "",
		"invalid_grant":   "invalid_grant",
		"!~":              "!~",
		"a b":             `"a b"`,
		"a\x7f":           `"a\x7f"`,
		"a\nb":            `"a\nb"`,
		`a"b`:             `"a\"b"`,
		`a\b`:             `"a\\b"`,
		"é":               `"é"`,
		long:              long,
		long + "y":        long + "...",
		"\n" + long + "y": `"\n` + long[1:] + `..."`,
	} {
		assert.Equal(t, want, redact.Printable(code))
	}
}

func TestURLShowsNoUserInfoQueryOrFragment(t *testing.T) {
	for raw, want := range map[string]string{
		"https://id.example.com/token":              `"https://id.example.com/token"`,
		"https://u:p@id.example.com/token":          `"https://[redacted]@id.example.com/token"`,
		"https://id.example.com/token?key=p":        `"https://id.example.com/token"`,
		"https://id.example.com/token?user=a@b.c":   `"https://id.example.com/token"`,
		"https://u:p@id.example.com/token?user=a@b": `"https://[redacted]@id.example.com/token"`,
		"https://id.example.com/token#p":            `"https://id.example.com/token#..."`,
		"https://id.example.com/a@b":                `"https://[redacted]@b"`, // perhaps a password with a slash
		"https://u:p%zz@id.example.com/token?a=p":   `"https://[redacted]@id.example.com/token?..."`,
		"https://u:p?p@id.example.com/%zz":          `"https://[redacted]@id.example.com/%zz"`,
		"u:p@id.example.com":                        `"[redacted]@id.example.com"`,
		"ftp://u:p@id.example.com":                  `"[redacted]@id.example.com"`,
		"HTTPS://p@id.example.com":                  `"HTTPS://[redacted]@id.example.com"`,
		"https://id.example.com/\n":                 `"https://id.example.com/\n"`,
		"https://id.example.com?":                   `"https://id.example.com"`,
		"":                                          `""`,
	} {
		assert.Equal(t, want, redact.URL(raw), raw)
	}
}

func TestOriginShowsWhatIsWrong(t *testing.T) {
	for entry, want := range map[string]string{
		"https://api.example.com/v1":       "https://api.example.com/v1",
		"https://api.example.com?":         "https://api.example.com?",
		"https://api.example.com?key=p":    "https://api.example.com?...",
		"https://api.example.com#p?p":      "https://api.example.com#...",
		"https://u:p@p/?#@api.example.com": "https://[redacted]@api.example.com",
		"u://p@api.example.com":            "[redacted]@api.example.com",
	} {
		assert.Equal(t, want, redact.Origin(entry))
	}
}
