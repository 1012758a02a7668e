package tokenserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

// A reading is what could be read of an answer's text. Servers put a byte order mark
// before the JSON, or a warning, write an array of one object, or a string that holds the
// object, add a line after it, or answer with a form. None of that makes it uncertain what
// a member is called and what its value is.
type reading struct {
	members map[string]json.RawMessage // nil if there is no object
	whole   bool                       // nothing is missing in members
	isJSON  bool                       // the text is JSON, or begins with an object or an array
}

// readText reads the text of an answer. brokeOff is whether its end is missing.
func readText(text []byte, brokeOff bool) reading {
	text = withoutByteOrderMark(text)
	text = bytes.TrimLeft(bytes.TrimSpace(text), "\ufeff \t\r\n") // each file that a page is made of may begin with one
	if json.Valid(text) {
		return reading{members: soleObject(text), whole: true, isJSON: true}
	}
	if !opensJSON(text) {
		if at := bytes.IndexByte(text, '{'); at > 0 && endsLine(text[:at]) {
			if value, ok := firstValue(text[at:]); ok && beginsLine(text[at+len(value):]) {
				return reading{members: soleObject(value), whole: true}
			}
		}
		return reading{members: formMembers(string(text), brokeOff), whole: !brokeOff}
	}
	value, ok := firstValue(text)
	if !ok {
		text = withControlsEscaped(text)
		value, ok = firstValue(text)
	}
	if ok {
		return reading{members: soleObject(value), whole: true, isJSON: true}
	}
	return reading{members: soleObject(beginning(text))}
}

// endsLine reports whether the JSON that follows is the whole of the last line, but for
// HTML.
func endsLine(text []byte) bool {
	text = bytes.TrimRight(text, " \t\ufeff")
	return bytes.HasSuffix(text, []byte("\n")) || bytes.HasSuffix(text, []byte(">"))
}

// beginsLine reports whether nothing else is on the line of the JSON before it.
func beginsLine(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r")
	return len(text) == 0 || text[0] == '\n'
}

func opensJSON(text []byte) bool { return len(text) > 0 && (text[0] == '{' || text[0] == '[') }

// withoutByteOrderMark returns the text without the mark, in UTF-8.
func withoutByteOrderMark(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return text[3:]
	case bytes.HasPrefix(text, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return text
	}
	var units []uint16
	for text = text[2:]; len(text) >= 2; text = text[2:] {
		units = append(units, order.Uint16(text))
	}
	return []byte(string(utf16.Decode(units)))
}

// soleObject returns the members of an object, of the only one in an array, or of one
// that is written as a string. It returns nil if there is none.
func soleObject(value []byte) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	var list []json.RawMessage
	var text string
	switch {
	case json.Unmarshal(value, &members) == nil:
	case json.Unmarshal(value, &list) == nil && len(list) == 1:
		_ = json.Unmarshal(list[0], &members)
	case json.Unmarshal(value, &text) == nil:
		_ = json.Unmarshal([]byte(text), &members)
	}
	return members
}

// firstValue returns the JSON value that text begins with.
func firstValue(text []byte) (json.RawMessage, bool) {
	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&value)
	return value, err == nil
}

// withControlsEscaped returns JSON with the control characters in its strings escaped,
// which some servers write as they are.
func withControlsEscaped(text []byte) []byte {
	var out []byte
	inString, escaped := false, false
	for _, c := range text {
		switch {
		case escaped: // also a control character, which nothing means behind a backslash
			escaped = false
		case inString && c < ' ':
			out = append(out, `\u00`...)
			out = append(out, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			continue
		case c == '\\':
			escaped = inString
		case c == '"':
			inString = !inString
		}
		out = append(out, c)
	}
	return out
}

// beginning returns the part of a JSON text before the place where it breaks off or is
// malformed, up to the last value that is whole there, and closes what is open.
func beginning(text []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var inObject []bool // of what is open, from the outside in
	isName := false     // the next token names a member
	end := 0
	for {
		token, err := dec.Token()
		at := int(dec.InputOffset())
		// The rest of a number may be missing.
		if _, ok := token.(json.Number); err != nil || ok && at == len(text) {
			return closed(text[:end])
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			inObject = append(inObject, token == json.Delim('{'))
		case json.Delim('}'), json.Delim(']'):
			inObject = inObject[:len(inObject)-1]
		default:
			if isName {
				isName = false
				continue
			}
		}
		isName = len(inObject) > 0 && inObject[len(inObject)-1]
		end = at
	}
}

// closed returns the beginning of a JSON text with what is open in it closed.
func closed(text []byte) []byte {
	var open []byte
	inString, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{':
			open = append(open, '}')
		case c == '[':
			open = append(open, ']')
		case c == '}' || c == ']':
			open = open[:len(open)-1]
		}
	}
	slices.Reverse(open)
	return append(slices.Clip(text), open...)
}

// formMembers returns the members of a form, or nil if text is not one. If the end is
// missing, so is the last pair.
func formMembers(text string, brokeOff bool) map[string]json.RawMessage {
	if !strings.Contains(text, "=") {
		return nil
	}
	for pair := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.ContainsFunc(name, isNotOfForm) || strings.ContainsFunc(value, func(c rune) bool { return isNotOfForm(c) && c != ' ' && c <= '~' }) {
			return nil // some servers don't encode the spaces of a scope, or a name
		}
	}
	if brokeOff {
		text = text[:max(0, strings.LastIndexByte(text, '&'))]
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil
	}
	members := make(map[string]json.RawMessage)
	for name, values := range form {
		if name == "" || len(values) > 1 && slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
			continue // RFC 6749 section 3.2: a parameter must not occur twice
		}
		members[name], _ = json.Marshal(values[0]) // a string can always be written
	}
	return members
}

// isNotOfForm reports whether a character can't be part of a form.
func isNotOfForm(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune("<>{}\"\\^`|", c)
}

// An endDetector finds out where the object or array ends that a text begins with, so
// that the rest of an answer need not be waited for.
type endDetector struct {
	depth             int
	begun             bool
	inString, escaped bool
	other             bool // it begins with something else
}

// ends reports whether the value ends within the next part of the text.
func (d *endDetector) ends(part []byte) bool {
	for _, c := range part {
		switch {
		case d.other:
			return false
		case d.escaped:
			d.escaped = false
		case d.inString:
			d.escaped, d.inString = c == '\\', c != '"'
		case c == '{' || c == '[':
			d.begun = true
			d.depth++
		case c == '}' || c == ']':
			if d.depth--; d.depth == 0 {
				return true
			}
			d.other = d.depth < 0
		case !d.begun:
			d.other = strings.IndexByte(" \t\r\n\xef\xbb\xbf", c) < 0
		case c == '"':
			d.inString = true
		}
	}
	return false
}
