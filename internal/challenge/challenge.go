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
	Token68 string            // a single value in place of parameters, as Negotiate has it
	Params  map[string]string // unquoted values by names in lower case; nil if there are none
}

// Parse returns the challenges of all WWW-Authenticate values of h, in their order.
//
// A comma separates challenges as well as parameters. The word after one is a parameter
// if an equals sign follows, and a scheme otherwise. Of two parameters of the same name
// the first counts.
//
// Parse skips text that the grammar does not allow, and understands parameters that a
// blank or a semicolon separates, which some servers send. The word after one of those is
// never taken for a scheme: in realm=My API the second word is not.
func Parse(h http.Header) []Challenge {
	var all []Challenge
	for _, field := range h.Values("WWW-Authenticate") {
		all = append(all, parseField(field)...)
	}
	return all
}

// A position tells what a word without an equals sign is.
type position int

const (
	afterComma  position = iota // or at the start: a scheme
	afterScheme                 // perhaps a token68
	within                      // a challenge, with no comma since: nothing
)

func parseField(s string) []Challenge {
	var all []Challenge
	at := afterComma
	for {
		s = skipBlank(s)
		if s == "" {
			return all
		}
		if s[0] == ',' {
			s, at = s[1:], afterComma
			continue
		}
		if s[0] == ';' {
			s = s[1:]
			continue
		}
		if at == afterScheme {
			at = within
			if token, rest, ok := cutToken68(s); ok {
				all[len(all)-1].Token68, s = token, rest
				continue
			}
		}
		word := s[:tokenLen(s)]
		if word == "" {
			_, s = cutValue(s) // a stray string is skipped whole, since it quotes no challenge
			continue
		}
		s = skipBlank(s[len(word):])
		if s == "" || s[0] != '=' {
			if at == afterComma {
				all, at = append(all, Challenge{Scheme: word}), afterScheme
			}
			continue
		}
		at = within
		s = skipBlank(s[1:])
		if s == "" || strings.IndexByte(",;=", s[0]) >= 0 { // no value
			continue
		}
		var value string
		value, s = cutValue(s)
		if len(all) > 0 { // a parameter before any scheme belongs to no challenge
			all[len(all)-1].add(ascii.Lower(word), value)
		}
	}
}

func (c *Challenge) add(name, value string) {
	if _, again := c.Params[name]; again {
		return
	}
	if c.Params == nil {
		c.Params = make(map[string]string)
	}
	c.Params[name] = value
}

// cutToken68 takes a token68 (RFC 9110 section 11.2) from the front of s, if nothing else
// comes before the next comma. A word with more behind its "=" is a parameter.
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

// cutValue takes a quoted string from the front of s, without its quotes, or else all up
// to the next separator or quote, since some servers do not quote URLs. It takes at least
// one byte of s, which must not be empty.
func cutValue(s string) (value, rest string) {
	if s[0] != '"' {
		end := strings.IndexAny(s[1:], " \t,;\"")
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

// tokenLen returns the length of the token at the front of s.
func tokenLen(s string) int {
	for i := range len(s) {
		if !ascii.IsTokenByte(s[i]) {
			return i
		}
	}
	return len(s)
}
