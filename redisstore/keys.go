package redisstore

// sessionTag begins a session's part of a key. Its brace opens the hash tag that puts
// both keys of a session into one slot of a cluster. The rest keeps the tag from being
// empty, and therefore ignored, if the session is "" or begins with "}".
const sessionTag = "{s:"

// tokenSuffix ends the key of a token.
const tokenSuffix = "}:token"

// keys are the keys of a session. Their beginning and end are fixed, so that they differ
// from those of every other session without escaping. If the session's name has a "}",
// which ends the tag, it does so in both keys alike.
type keys struct {
	token string
	lock  string // also the channel for those who wait for it
}

func (s *Store) keys(session string) keys {
	tagged := s.prefix + sessionTag + session
	return keys{token: tagged + tokenSuffix, lock: tagged + "}:lock"}
}

// changes is the channel that announces which sessions have changed.
func (s *Store) changes() string { return s.prefix + "changes" }
