package tokenserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// maxExtra bounds the names and values of Token.Extra, in bytes, as package reauth does.
const maxExtra = 64 << 10

// extra returns the other members of the answer, on top of those of the old token: an
// answer that leaves out scope or id_token has not changed it. Members that hold a part
// of the Shape are not among them. Where that is the member of an object, the others of
// that object are.
func (j *JSONAnswer) extra(shape Shape, old map[string]string) map[string]string {
	paths := []string{"error", shape.AccessToken, shape.TokenType, shape.RefreshToken, shape.Lifetime, shape.Expiry, beside(shape.AccessToken, refreshIn)}
	for _, name := range refreshLifetimes {
		paths = append(paths, beside(shape.refreshPath(), name))
	}
	brought := make(map[string]string)
	collect(brought, j.members, paths)
	kept := maps.Clone(old)
	for _, path := range paths {
		name, _, _ := strings.Cut(path, ".")
		delete(kept, name)
	}
	return merged(brought, kept)
}

// collect adds the members that paths don't lead to. Of two with the same name the outer
// one counts.
func collect(to map[string]string, members map[string]json.RawMessage, paths []string) {
	below := make(map[string][]string) // the rest of the paths, by the member they lead into
	for _, path := range paths {
		if name, rest, deeper := strings.Cut(path, "."); deeper {
			below[name] = append(below[name], rest)
		} else {
			below[name] = append(below[name], "")
		}
	}
	for name, raw := range members {
		if _, known := to[name]; known || below[name] != nil || string(raw) == "null" {
			continue
		}
		to[name] = textOf(raw)
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		inner := make(map[string]json.RawMessage) // of an array, only the elements that paths lead to
		for _, path := range below[name] {
			maps.Copy(inner, children(members[name], path))
		}
		if !slices.Contains(below[name], "") {
			collect(to, inner, below[name])
		}
	}
}

// textOf returns a string as it is, and anything else as compact JSON.
func textOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, raw)                        // it has been parsed once
	return strings.ToValidUTF8(compact.String(), "\ufffd") // as package json does in strings; stores keep no other text
}

// merged returns what an answer brought and what is kept of the old token, of which the
// longest members go first where it is too much.
func merged(brought, kept map[string]string) map[string]string {
	all := make(map[string]string)
	left := maxExtra
	for _, from := range []map[string]string{brought, kept} {
		names := slices.SortedFunc(maps.Keys(from), func(a, b string) int { return len(from[a]) - len(from[b]) })
		for _, name := range names {
			size := len(name) + len(from[name])
			if _, is := all[name]; is || size > left {
				continue
			}
			all[name] = from[name]
			left -= size
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
