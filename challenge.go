package reauth

import (
	"iter"
	"net/http"
	"strings"
)

// beyondRefresh reports whether a Bearer challenge of the answer says that a new
// access token would be refused like the old one: insufficient_scope (RFC 6750
// section 3.1) or insufficient_user_authentication (RFC 9470 section 3).
func beyondRefresh(h http.Header) bool {
	for _, field := range h.Values("WWW-Authenticate") {
		for scheme, p := range authParams(field) {
			if !equalFold(scheme, "Bearer") || !equalFold(p.name, "error") {
				continue
			}
			if p.value == "insufficient_scope" || p.value == "insufficient_user_authentication" {
				return true
			}
		}
	}
	return false
}

// An authParam is one parameter of a challenge, its value unquoted.
type authParam struct{ name, value string }

// authParams yields the parameters of every challenge in one value of
// WWW-Authenticate (RFC 9110 section 11.6.1), each with its scheme, as written.
//
// A comma separates challenges as well as parameters, so what a word is shows
// only behind it: an equals sign makes it a parameter, anything else a scheme.
// What the grammar does not allow is passed over; parameters with no comma
// between them, as some servers send, are understood.
func authParams(field string) iter.Seq2[string, authParam] {
	return func(yield func(string, authParam) bool) {
		scheme := ""
		afterScheme := false // with no comma since: a lone word is a token68
		for s := field; ; {
			s = skipBlank(s)
			if s == "" {
				return
			}
			if s[0] == ',' {
				s, afterScheme = s[1:], false
				continue
			}
			word := s[:wordEnd(s)]
			if word == "" {
				_, s = authValue(s) // a stray string is passed over whole: what it quotes is no challenge
				continue
			}
			s = skipBlank(s[len(word):])
			if s == "" || s[0] != '=' {
				if !afterScheme {
					scheme, afterScheme = word, true
				}
				continue
			}
			s = skipBlank(s[1:])
			if s == "" || s[0] == ',' || s[0] == '=' { // no value, or the padding of a token68
				continue
			}
			var value string
			value, s = authValue(s)
			if scheme != "" && !yield(scheme, authParam{word, value}) {
				return
			}
		}
	}
}

// authValue takes a quoted string from the front of s, or whatever else reaches
// to the next blank or comma: some servers quote no URL. It takes at least one
// byte.
func authValue(s string) (value, rest string) {
	if s[0] != '"' {
		end := strings.IndexAny(s[1:], " \t,")
		if end < 0 {
			return s, ""
		}
		return s[:1+end], s[1+end:]
	}
	s = s[1:]
	end := strings.IndexAny(s, `"\`)
	if end >= 0 && s[end] == '"' {
		return s[:end], s[end+1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), "" // never closed
}

func skipBlank(s string) string { return strings.TrimLeft(s, " \t") }

// wordEnd is the length of the token at the front of s.
func wordEnd(s string) int {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return i
		}
	}
	return len(s)
}

// validToken reports whether s is a token (RFC 9110 section 5.6.2), such as the
// name of a header or of an authentication scheme.
func validToken(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
