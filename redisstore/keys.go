package redisstore

// What a session's part of a key begins with. Its brace opens the hash tag that
// puts both keys of a session in one slot of a cluster; what follows makes the tag
// one also where the session is "" or begins with "}", since an empty tag counts
// for nothing.
const sessionTag = "{s:"

// keys are the names of what is stored for a session. They are told apart from
// those of every other session by where they begin and end, so a session needs no
// escaping: if it holds a "}" that ends the tag, it does so in both keys alike.
type keys struct {
	token string
	lock  string // and of the channel that says that the lock is free
}

func (s *Store) keys(session string) keys {
	tagged := s.prefix + sessionTag + session + "}"
	return keys{token: tagged + ":token", lock: tagged + ":lock"}
}
