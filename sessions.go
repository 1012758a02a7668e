package reauth

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth/internal/throttle"
)

// maxSessions is how many sessions stay cached; see sessions.
const maxSessions = 1 << 17

// sessions caches the sessions of a Transport by name, and knows what serves them.
//
// At most limit of them stay. A new one beyond that takes the place of one that has not
// been used for a while (second chance), but never of one whose loss would show: one
// that a request or a method call is using, that has a flight up, a save or a delete
// pending, or a pause that is not over. The rest of what is known of a session is in the
// store, so that forgetting it costs one Load and can cause no second refresh.
type sessions struct {
	refresher     Refresher
	declaresNeed  bool // the refresher's NeedsToken
	store         Store
	locker        Locker                      // the store, if it locks
	headerValue   func(Token) (string, error) // the credential's, if it has one
	validateToken func(Token) error           // whether requests can carry a token
	early         time.Duration
	timeout       time.Duration
	refreshPause  time.Duration
	onEvent       func(context.Context, Event)
	signIn        func(context.Context) (Token, error) // Config.SignIn

	base  time.Time // what now counts from
	limit int
	only  *cachedSession // the session "", which is never evicted

	mu     sync.RWMutex
	byName map[string]*cachedSession
	ring   []*cachedSession // the values of byName, in the order in which hand looks at them
	hand   int

	// Learned of the refresher while it is used; see startKind.
	selfStarting, needsToken atomic.Bool

	idle      idleness
	unrevoked unrevoked
	throttle  throttle.Throttle // on while a Retry-After of the token server lasts
}

func (m *sessions) now() time.Duration { return time.Since(m.base) }

// enter returns the session called name, which stays cached until leave.
func (m *sessions) enter(name string) *cachedSession {
	if name == "" {
		return m.only
	}
	m.mu.RLock()
	s := m.byName[name]
	if s != nil {
		s.users.Add(1)
	}
	m.mu.RUnlock()
	if s == nil {
		s = m.add(name)
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	return s
}

func (s *cachedSession) leave() {
	if s != s.owner.only {
		s.users.Add(-1)
	}
}

func (m *sessions) add(name string) *cachedSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.byName[name]; s != nil {
		s.users.Add(1)
		return s
	}
	m.evict()
	s := &cachedSession{owner: m, name: name}
	s.users.Store(1)
	m.byName[name] = s
	m.ring = append(m.ring, s)
	return s
}

// evict makes room for one session. It looks at a few candidates only: the next call
// goes on where this one stops.
func (m *sessions) evict() {
	const looks = 16
	for left := looks; left > 0 && len(m.ring) >= m.limit; left-- {
		if m.hand >= len(m.ring) {
			m.hand = 0
		}
		// If all have been used recently, the last candidate goes.
		s := m.ring[m.hand]
		if used := s.used.Swap(false) && left > 1; used || !s.forgettable() {
			m.hand++
			continue
		}
		last := len(m.ring) - 1
		m.ring[m.hand] = m.ring[last]
		m.ring[last] = nil
		m.ring = m.ring[:last]
		delete(m.byName, s.name)
	}
}

// forgettable reports whether nothing is lost with s.
func (s *cachedSession) forgettable() bool {
	if s.users.Load() != 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.owner
	refresher := startKind{needsToken: m.needsToken.Load(), selfStarting: m.selfStarting.Load()}
	return s.lease == nil && s.writers == 0 && s.state.forgettable(m.now(), m.refreshPause, refresher)
}

// load asks the store. ErrSignInRequired in a store's error says nothing about this
// session: the store may itself be a client that must sign in, elsewhere.
func (m *sessions) load(ctx context.Context, session string) (found, error) {
	tok, ok, err := m.store.Load(ctx, session)
	if err != nil {
		return found{}, elsewhere(err)
	}
	return found{tok, ok}, nil
}

// found is what Load returned.
type found struct {
	tok Token
	ok  bool
}

func (m *sessions) emit(ctx context.Context, session string, events ...Event) {
	if m.onEvent == nil {
		return
	}
	for _, e := range events {
		e.Session = session
		m.onEvent(ctx, e)
	}
}

// forget marks what is known of a session as stale; see Transport.Forget.
func (m *sessions) forget(name string) {
	s := m.only
	if name != "" {
		m.mu.RLock()
		s = m.byName[name]
		m.mu.RUnlock()
	}
	if s == nil {
		return
	}
	s.change(func(st *state, now time.Duration) {
		st.stale, st.look = st.current != nil || st.flight != nil, 0
		if st.signedOut != nil {
			st.signedOut.nextLook = now
		}
	})
}

func (m *sessions) forgetAll() {
	m.mu.RLock()
	names := slices.Collect(maps.Keys(m.byName))
	m.mu.RUnlock()
	for _, name := range names {
		m.forget(name)
	}
	m.forget("")
}

// begin and end enclose the life of a goroutine that Wait waits for.
func (m *sessions) begin() { m.idle.add(1) }
func (m *sessions) end()   { m.idle.add(-1) }

// idleness knows what a program should wait for before it exits.
type idleness struct {
	mu      sync.Mutex
	running int // goroutines of this package
	pending map[*cachedSession]struct{}
	changed chan struct{} // not nil if anybody waits; closed when either changes
}

func (i *idleness) add(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running += n
	i.notify()
}

// list notes whether s has a pending save.
func (i *idleness) list(s *cachedSession, pending bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if pending {
		if i.pending == nil {
			i.pending = make(map[*cachedSession]struct{})
		}
		i.pending[s] = struct{}{}
	} else {
		delete(i.pending, s)
	}
	i.notify()
}

func (i *idleness) notify() {
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
}

// busy returns the sessions with a pending save and a channel that is closed at the next
// change, or nil if there is nothing to wait for.
func (i *idleness) busy() ([]*cachedSession, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running == 0 && len(i.pending) == 0 {
		return nil, nil
	}
	if i.changed == nil {
		i.changed = make(chan struct{})
	}
	pending := make([]*cachedSession, 0, len(i.pending))
	for s := range i.pending {
		pending = append(pending, s)
	}
	return pending, i.changed
}

// wait returns once nothing is running or pending. It tries pending saves again when
// their time has come.
func (m *sessions) wait(ctx context.Context) error {
	for {
		pending, changed := m.idle.busy()
		if changed == nil {
			return nil
		}
		again := never
		for _, s := range pending {
			again = min(again, s.saveIfDue(ctx))
		}
		var due <-chan time.Time
		if again != never {
			due = time.After(again)
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// saveIfDue starts the flight that saves what is pending, or returns in how long that
// is due.
func (s *cachedSession) saveIfDue(ctx context.Context) time.Duration {
	in := never
	s.change(func(st *state, now time.Duration) {
		if st.pending == nil || st.flight != nil {
			return
		}
		if left := st.pending.next - now; left > 0 {
			in = left
			return
		}
		s.depart(ctx, st, startSaving, nil, nil)
	})
	return in
}

// unrevoked are the tokens whose revocation failed. The next SignOut of the session tries
// again.
type unrevoked struct {
	mu   sync.Mutex
	kept []unrevokedToken // the oldest first
}

type unrevokedToken struct {
	session string
	tok     Token
	since   time.Duration
}

const (
	mostUnrevoked    = 1024
	longestUnrevoked = time.Hour
)

func (u *unrevoked) keep(now time.Duration, session string, tok Token) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = slices.DeleteFunc(u.kept, func(k unrevokedToken) bool { return now-k.since > longestUnrevoked })
	u.kept = slices.Delete(u.kept, 0, max(0, len(u.kept)-mostUnrevoked+1))
	u.kept = append(u.kept, unrevokedToken{session, tok.clone(), now})
}

// take removes the tokens of a session and returns those that are not too old.
func (u *unrevoked) take(now time.Duration, session string) (toks []Token) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = slices.DeleteFunc(u.kept, func(k unrevokedToken) bool {
		if k.session == session && now-k.since <= longestUnrevoked {
			toks = append(toks, k.tok)
		}
		return k.session == session
	})
	return toks
}
