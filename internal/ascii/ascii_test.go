package ascii_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth/internal/ascii"
)

func TestOnlyASCIILettersHaveACase(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"azAZ-09", "AZaz-09", true},
		{"a", "b", false},
		{"a", "ab", false},
		{"@[`{", "`{@[", false}, // one bit from each other, as letters are
		{"kelvin", "\u212aelvin", false},
		{"\u00e4", "\u00c4", false},
	} {
		assert.Equal(t, tc.want, ascii.EqualFold(tc.a, tc.b), "%q %q", tc.a, tc.b)
		assert.Equal(t, tc.want, ascii.Lower(tc.a) == ascii.Lower(tc.b), "%q %q", tc.a, tc.b)
	}
	assert.Equal(t, "az@[`{\u00c4az", ascii.Lower("AZ@[`{\u00c4az"))
}

func TestIsToken(t *testing.T) {
	for _, s := range []string{"Bearer", "X-Api-Key", "a", "!#$%&'*+-.^_`|~09azAZ"} {
		assert.True(t, ascii.IsToken(s), s)
	}
	for _, s := range []string{"", "a b", "a:", "a\n", "\u00fc", "a/b", "(a)", `"a"`, "a\x00", "\x7f", "a,b", "a=b", "[a]", "{", "@"} {
		assert.False(t, ascii.IsToken(s), "%q", s)
	}
}

func TestIsFieldValue(t *testing.T) {
	for _, s := range []string{"", "a", "a b\tc", "~!", "caf\u00e9", "\xff"} {
		assert.True(t, ascii.IsFieldValue(s), "%q", s)
	}
	for _, s := range []string{" ", "\t", " a", "a ", "\ta", "a\t", "a\r\nb", "a\x00b", "a\x1fb", "a\x7f"} {
		assert.False(t, ascii.IsFieldValue(s), "%q", s)
	}
}
