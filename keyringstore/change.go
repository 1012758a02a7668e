package keyringstore

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
)

// A waiter for a lock can't look into the keychain to learn whether the token has changed,
// because the keychain may take its time, or ask its user. So each write leaves a mark beside
// the lock files, a few random letters, once the keychain holds what it has written.

func (s *Store) mark(session string) string { return s.lockPath(session, ".mark") }

// isChanged returns a function that reports whether the mark of session is not what it was when
// isChanged was called.
func (s *Store) isChanged(session string) func() bool {
	path := s.mark(session)
	before, _ := readMark(path)
	return func() bool {
		now, ok := readMark(path)
		return ok && now != before
	}
}

// readMark returns a mark, which is empty if there is none. ok is false if that can't be known.
func readMark(path string) (mark string, ok bool) {
	text, err := os.ReadFile(path)
	return string(text), err == nil || errors.Is(err, fs.ErrNotExist)
}

// leaveMark makes the waiters for a lock look at the token. If it can't, they wait until the
// lock is released.
func leaveMark(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.WriteAt([]byte(rand.Text()), 0) // of the same length each time
}
