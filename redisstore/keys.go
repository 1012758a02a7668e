package redisstore

import (
	"strconv"

	"github.com/redis/go-redis/v9"
)

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

// changes is the channel that announces which sessions have changed. Its name has the
// number of the database unless that is 0, because all databases share the channels.
func (s *Store) changes() string {
	if s.database == 0 {
		return s.prefix + "changes"
	}
	return s.prefix + "changes@" + strconv.Itoa(s.database)
}

// changedMark begins the message in the channel of a lock that the token has changed. The
// rest is its hash. Clients of the first version use that channel too, in any database.
func changedMark(database int) string { return "changed " + strconv.Itoa(database) + " " }

// databaseOf returns the number of the database that client uses. A cluster has only one.
func databaseOf(client redis.UniversalClient) int {
	if c, ok := client.(*redis.Client); ok && c == nil {
		return 0 // New reports it
	}
	if c, ok := client.(interface{ Options() *redis.Options }); ok {
		return c.Options().DB
	}
	return 0
}
