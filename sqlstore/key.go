package sqlstore

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	hashed     = "sha256:" // how the key of a session begins whose name is not its key
	longestKey = 200       // bytes
)

// rowKey returns what a session is called in the table: by its own name where
// that is short and of printable ASCII, so that people can read the table, else
// by its name's SHA-256. Databases disagree about everything else: bytes that
// are no text, NUL, and how long an indexed value may be.
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
