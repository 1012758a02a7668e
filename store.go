package reauth

import (
	"context"
	"fmt"
	"sync"
)

// A Store keeps the tokens of sessions, so that they outlive the program or are
// shared between processes. A session is named by a string that is no secret,
// possibly empty, of any bytes and length.
//
// The methods are called by many goroutines at once, each with a context that
// ends; a store that heeds it is never waited for any longer. Stored tokens are
// secrets and should be kept as such.
//
// A Store that is shared between processes must also be a [Locker]: without a
// lock two processes can spend one rotating refresh token, which signs the user
// out. A wrapper that embeds a Store hides its lock, unless it has a Lock of its
// own.
type Store interface {
	// Load returns the token stored for session. If there is none, ok is false
	// and err is nil; an error means that the store itself has failed.
	Load(ctx context.Context, session string) (tok Token, ok bool, err error)

	// Save stores tok for session in place of what was there. Once it has
	// returned nil every later Load, by whoever it is, finds tok.
	Save(ctx context.Context, session string, tok Token) error

	// Delete removes what is stored for session. It is no error if there is
	// nothing.
	Delete(ctx context.Context, session string) error
}

// A Locker is a [Store] that can keep others off a session while its token is
// replaced.
type Locker interface {
	// Lock returns once nobody else holds session, or with an error when ctx
	// ends, whose cause it wraps, or the store fails; ctx bounds the wait and
	// nothing more.
	//
	// Load, Save and Delete are then called with the context held, or one
	// derived from it, in which the store finds its lease. It carries the values
	// of ctx but not its end; it is done once the lease is lost, and from then on
	// a Save or Delete under it must be refused. A lock that cannot be lost has a
	// held that is never done.
	//
	// Without a lease in their context they do what they do in any [Store], whoever
	// holds the session, and take it from nobody: what is saved so may be replaced
	// by what the holder saves next. Who wants to be sure takes the lock.
	//
	// unlock, called once, gives the session back.
	Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error)
}

// A MemoryStore keeps tokens in memory, for as long as the program runs or
// until they are deleted. It is also a [Locker], so that several Transports in
// one process can share it. The zero value is ready to use; a MemoryStore must
// not be copied after first use.
type MemoryStore struct {
	mu     sync.Mutex
	tokens map[string]Token
	locks  map[string]*memoryLock
}

// A memoryLock is held by whoever has put a value in its slot.
type memoryLock struct {
	slot  chan struct{}
	users int // holders and waiters; guarded by MemoryStore.mu
}

var (
	_ Store  = (*MemoryStore)(nil)
	_ Locker = (*MemoryStore)(nil)
)

// Format writes how many sessions there are, whatever the verb, and no token.
func (m *MemoryStore) Format(f fmt.State, _ rune) {
	m.mu.Lock()
	n := len(m.tokens)
	m.mu.Unlock()
	_, _ = fmt.Fprintf(f, "*reauth.MemoryStore[%d sessions]", n)
}

// Load implements [Store]. It never fails.
func (m *MemoryStore) Load(_ context.Context, session string) (Token, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tok, ok := m.tokens[session]
	return tok.clone(), ok, nil
}

// Save implements [Store]. It never fails.
func (m *MemoryStore) Save(_ context.Context, session string, tok Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens = make(map[string]Token)
	}
	m.tokens[session] = tok.clone()
	return nil
}

// Delete implements [Store]. It never fails.
func (m *MemoryStore) Delete(_ context.Context, session string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, session)
	return nil
}

// Lock implements [Locker]. The lock cannot be lost. The only error is that
// ctx has ended.
func (m *MemoryStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	m.mu.Lock()
	l := m.locks[session]
	if l == nil {
		if m.locks == nil {
			m.locks = make(map[string]*memoryLock)
		}
		l = &memoryLock{slot: make(chan struct{}, 1)}
		m.locks[session] = l
	}
	l.users++
	m.mu.Unlock()

	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(m.locks, session)
		}
	}
	select {
	case l.slot <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, nil, context.Cause(ctx)
	}
	return context.WithoutCancel(ctx), func() { <-l.slot; leave() }, nil
}
