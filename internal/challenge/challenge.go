// Package challenge reads WWW-Authenticate headers (RFC 9110 section 11.6.1).
package challenge

import (
	"net/http"
	"strings"

	"github.com/reauth-go/reauth/internal/ascii"
)

// A Challenge is one challenge of a WWW-Authenticate header.
type Challenge struct {
	Scheme  string            // as written
	Token68 string            // what stands in place of parameters, as for Negotiate
	Params  map[string]string // unquoted values by names in lower case; nil if there are none
}

// Parse returns the challenges of all WWW-Authenticate values of h, in their order.
//
// A comma separates challenges as well as parameters, so the word after one is a
// parameter if an equals sign follows, and a scheme otherwise. Parse skips what the
// grammar does not allow, and understands parameters with no comma between them, which
// some servers send. Of two parameters of the same name the first counts.
func Parse(h http.Header) []Challenge {
	var all []Challenge
	for _, field := range h.Values("WWW-Authenticate") {
		all = append(all, parseField(field)...)
	}
	return all
}

func parseField(s string) []Challenge {
	var all []Challenge
	afterScheme := false // with no comma since: a lone word is a token68
	for {
		s = skipBlank(s)
		if s == "" {
			return all
		}
		if s[0] == ',' {
			s, afterScheme = s[1:], false
			continue
		}
		if afterScheme {
			if t68, rest, ok := cutToken68(s); ok {
				all[len(all)-1].Token68, s, afterScheme = t68, rest, false
				continue
			}
		}
		word := s[:wordEnd(s)]
		if word == "" {
			_, s = cutValue(s) // a stray string is skipped whole: what it quotes is no challenge
			continue
		}
		s = skipBlank(s[len(word):])
		if s == "" || s[0] != '=' {
			if !afterScheme {
				all, afterScheme = append(all, Challenge{Scheme: word}), true
			}
			continue
		}
		s = skipBlank(s[1:])
		if s == "" || s[0] == ',' || s[0] == '=' { // no value
			continue
		}
		var value string
		value, s = cutValue(s)
		if len(all) == 0 {
			continue // a parameter of no challenge
		}
		last, name := &all[len(all)-1], ascii.Lower(word)
		if last.Params == nil {
			last.Params = make(map[string]string)
		}
		if _, again := last.Params[name]; !again {
			last.Params[name] = value
		}
	}
}

// cutToken68 takes a token68 from the front of s, if that is all there is up to the
// next comma. A word with "=" and more behind it is a parameter.
func cutToken68(s string) (token, rest string, ok bool) {
	end := 0
	for end < len(s) && isToken68Byte(s[end]) {
		end++
	}
	for end < len(s) && s[end] == '=' {
		end++
	}
	rest = skipBlank(s[end:])
	if end == 0 || s[0] == '=' || rest != "" && rest[0] != ',' {
		return "", s, false
	}
	return s[:end], rest, true
}

func isToken68Byte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0
}

// cutValue takes a quoted string from the front of s, or whatever else reaches to the
// next blank or comma: some servers quote no URL. It takes at least one byte.
func cutValue(s string) (value, rest string) {
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
		if !ascii.IsTokenByte(s[i]) {
			return i
		}
	}
	return len(s)
}
