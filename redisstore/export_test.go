package redisstore

import "time"

// DoNotLook makes waiters for a lock rely on messages.
func (s *Store) DoNotLook() { s.look = time.Hour }

// Leave is what a waiter does at the end that is called owner.
func (s *Store) Leave(session, owner string) {
	s.release(s.keys(session).lock, owner, time.Now().Add(s.lease))
}

// Keys returns the keys of a session.
func (s *Store) Keys(session string) (token, lock string) {
	k := s.keys(session)
	return k.token, k.lock
}
