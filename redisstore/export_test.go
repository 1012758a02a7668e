package redisstore

import "time"

// DoNotLook makes waiters for a lock rely on messages.
func (s *Store) DoNotLook() { s.look = time.Hour }

// Keys returns the keys of a session.
func (s *Store) Keys(session string) (token, lock string) {
	k := s.keys(session)
	return k.token, k.lock
}
