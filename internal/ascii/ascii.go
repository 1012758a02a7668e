// Package ascii compares and checks text as HTTP does, where only the letters of
// ASCII have a case.
package ascii

import "strings"

// EqualFold reports whether a and b are equal but for the case of ASCII letters.
// strings.EqualFold would also match letters outside ASCII, such as the Kelvin sign
// with a k, which would make two hosts of one.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if LowerByte(a[i]) != LowerByte(b[i]) {
			return false
		}
	}
	return true
}

// Lower returns s with its ASCII capitals in lower case.
func Lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = LowerByte(c)
	}
	return string(b)
}

// LowerByte returns the lower case of an ASCII capital, and any other byte unchanged.
func LowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// IsToken reports whether s is a token (RFC 9110 section 5.6.2), such as the name
// of a header or of an authentication scheme.
func IsToken(s string) bool {
	for i := range len(s) {
		if !IsTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// IsTokenByte reports whether c may be part of a token (RFC 9110 section 5.6.2).
func IsTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// IsFieldValue reports whether a header can carry s unchanged. The empty string is
// valid. Of the characters only controls are refused, as net/http does: real tokens
// hold more than RFC 6750 section 2.1 allows. A space or tab at either end is refused
// too, because net/http would cut it off.
func IsFieldValue(s string) bool {
	if s == "" {
		return true
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	first, last := s[0], s[len(s)-1]
	return first != ' ' && first != '\t' && last != ' ' && last != '\t'
}
