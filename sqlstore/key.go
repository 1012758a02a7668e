package sqlstore

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	hashed     = "sha256:" // the beginning of a key that is not the session's name
	longestKey = 200       // bytes
)

// rowKey returns the key of a session in the table. It is the session's name if that is
// short printable ASCII, so that people can read the table, and otherwise the SHA-256 of
// the name. Databases disagree about invalid text, NUL, and the length of an indexed
// value.
//
// Different sessions have different keys.
func rowKey(session string) string {
	plain := len(session) <= longestKey && !strings.HasPrefix(session, hashed)
	for i := 0; plain && i < len(session); i++ {
		plain = session[i] >= ' ' && session[i] <= '~'
	}
	if plain {
		return session
	}
	sum := sha256.Sum256([]byte(session))
	return hashed + hex.EncodeToString(sum[:])
}

// recordedName returns what is recorded besides the key: the name of a session whose key
// does not tell it, and otherwise nil.
func recordedName(session, key string) []byte {
	if session == key {
		return nil
	}
	return []byte(session)
}

// sessionOf returns the session of a row, by its key and what is recorded besides. ok is
// false if neither tells.
func sessionOf(key string, recorded []byte) (session string, ok bool) {
	if !strings.HasPrefix(key, hashed) {
		return key, true
	}
	return string(recorded), recorded != nil
}
