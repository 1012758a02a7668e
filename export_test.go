package reauth

import "strconv"

// What tests see of the cache of sessions.

// SetCacheLimit sets how many sessions stay cached.
func (t *Transport) SetCacheLimit(n int) { t.sessions.limit = n }

// CachedSessions returns how many sessions are cached.
func (t *Transport) CachedSessions() int { return len(t.sessions.byName) }

// Evict uses so many other sessions that all is forgotten that can be.
func (t *Transport) Evict() {
	for i := range 20 * t.sessions.limit {
		t.sessions.enter("crowd-" + strconv.Itoa(i)).leave()
	}
}

// Use is a call for the session that lasts until leave. cached identifies what it works on.
func (s *Session) Use() (cached any, leave func()) {
	c := s.t.sessions.enter(s.name)
	return c, c.leave
}

// Cached identifies what is cached of the session, nil if nothing is.
func (s *Session) Cached() any {
	m := s.t.sessions
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.byName[s.name]; c != nil {
		return c
	}
	return nil
}

// Sizes returns of how many locks and tokens the store knows.
func (m *MemoryStore) Sizes() (locks, tokens int) { return len(m.locks), len(m.tokens) }
