package reauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Store keeps the tokens of sessions, so that they outlive the program or are shared
// between processes. A session's name is a string of any bytes and length, possibly empty.
// It is not a secret.
//
// The methods are called concurrently, each with a context that has a deadline. They
// should return when it is done. Stored tokens are secrets. A Store must keep all fields of
// a Token, also those that later versions of this package add. The Token's JSON form has
// them all.
//
// A Store that is shared between processes must also be a [Locker]. Without a lock two
// processes can spend one rotating refresh token, which signs the user out. A wrapper that
// embeds a Store hides its lock, unless it has a Lock of its own.
//
// Transports that share a store share its sessions by their names, whatever their Refresher
// and Origins. So a Transport with other tokens, of another token server or for another
// API, needs a store of its own: a table, folder or prefix. Otherwise the token of one is
// sent to the other.
type Store interface {
	// Load returns the token stored for session. If there is none, ok is false and err is
	// nil. An error means that the store itself has failed.
	Load(ctx context.Context, session string) (tok Token, ok bool, err error)

	// Save stores tok for session in place of what was there. Once it has returned nil,
	// every later Load in any process finds tok.
	//
	// The stored token may be the one that was spent for tok. So a Save that fails is tried
	// again, and a Save under a lease may itself wait until a failure has passed.
	Save(ctx context.Context, session string, tok Token) error

	// Delete removes what is stored for session. It is not an error if there is nothing.
	Delete(ctx context.Context, session string) error
}

// A Locker is a [Store] that can keep other processes off a session while its token is
// replaced.
type Locker interface {
	// Lock returns once nobody else holds session. It returns an error if the store fails,
	// or when ctx is done, whose cause it then wraps. ctx bounds the wait and nothing else.
	//
	// A wait may also end with an error that wraps ErrChanged, once the stored token is not
	// what it was at the call. Its caller looks at the token, and calls Lock again if that is
	// of no use. So of many processes that need a new token one takes the lock, and the others
	// just load what it has saved. It is best if all waiters learn of a change, and if only
	// one of them wakes when the lock was released without one.
	//
	// Lock must fail where a Save under the lock could not be done, as far as the store can
	// know: on a full disk, in a folder or a database that is read-only, or where the keys
	// that Save uses can't be reached. Its caller spends a refresh token before it saves. An
	// error of Lock costs nothing, while a token that can't be saved may be lost.
	//
	// Load, Save and Delete are then called with the context held, or one derived from it,
	// in which the store finds its lease. Each of them must fail unless the lease is still
	// held, and must check that in the same step as it reads or writes. So a holder that
	// has lost its lease, or whose reads go to a replica that lags, gets an error and not
	// the token from before, which may be spent.
	//
	// held has the values of ctx but not its cancellation. It is done once the lease is
	// lost. If a lock can't be lost, its held need never be done.
	//
	// Without a lease in their context the methods do what they do in any [Store], whoever
	// holds the session, and take the lock from nobody. A token that is saved this
	// way may be replaced by what the holder saves next. Take the lock first if that matters.
	//
	// unlock, called once, gives the session back. From then on the lease is not held.
	Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error)
}

// ErrChanged ends the wait for the lock of a [Locker], because the stored token has changed.
// A token that was deleted has changed too.
var ErrChanged = errors.New("the stored token has changed")

// A MemoryStore keeps tokens in memory until they are deleted or the program ends. It is
// also a [Locker], so that several Transports in one process can share its sessions. The
// zero value is ready to use. A MemoryStore must not be copied after first use.
//
// Load, Save and Delete never fail, except under a lease that was given back.
type MemoryStore struct {
	mu     sync.Mutex
	tokens map[string]*memoryToken
	locks  map[string]*memoryLock
}

// A memoryToken is a token and when it was saved, in nanoseconds since 1970.
type memoryToken struct {
	Token
	saved int64
}

// A memoryLock is held while there is a value in its slot. What else it has is guarded by
// MemoryStore.mu.
type memoryLock struct {
	slot    chan struct{}
	users   int           // holders and waiters
	changed chan struct{} // closed, and replaced, when the token changes
}

// A memoryLease is in the context of a holder.
type memoryLease struct {
	over bool // guarded by MemoryStore.mu
}

// memoryLeaseKey is the context key of a memoryLease.
type memoryLeaseKey struct {
	store   *MemoryStore
	session string
}

var errLeaseOver = errors.New("reauth: MemoryStore: the lock was released")

var (
	_ Store  = (*MemoryStore)(nil)
	_ Locker = (*MemoryStore)(nil)
)

// Format writes the number of sessions, whatever the verb, and no token.
func (m *MemoryStore) Format(f fmt.State, _ rune) {
	m.mu.Lock()
	n := len(m.tokens)
	m.mu.Unlock()
	_, _ = fmt.Fprintf(f, "*reauth.MemoryStore[%d sessions]", n)
}

// lock locks m.mu. It returns an error if ctx has a lease of session that was given back.
func (m *MemoryStore) lock(ctx context.Context, session string) error {
	l, _ := ctx.Value(memoryLeaseKey{m, session}).(*memoryLease)
	m.mu.Lock()
	if l != nil && l.over {
		return errLeaseOver
	}
	return nil
}

// Load implements [Store].
func (m *MemoryStore) Load(ctx context.Context, session string) (Token, bool, error) {
	err := m.lock(ctx, session)
	defer m.mu.Unlock()
	if err != nil {
		return Token{}, false, err
	}
	tok, ok := m.tokens[session]
	if !ok {
		return Token{}, false, nil
	}
	return tok.clone(), true, nil
}

// Save implements [Store].
func (m *MemoryStore) Save(ctx context.Context, session string, tok Token) error {
	err := m.lock(ctx, session)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if m.tokens == nil {
		m.tokens = make(map[string]*memoryToken)
	}
	m.tokens[session] = &memoryToken{tok.clone(), time.Now().UnixNano()}
	m.tell(session)
	return nil
}

// Delete implements [Store].
func (m *MemoryStore) Delete(ctx context.Context, session string) error {
	err := m.lock(ctx, session)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if _, ok := m.tokens[session]; ok {
		delete(m.tokens, session)
		m.tell(session)
	}
	return nil
}

// Purge deletes the sessions whose token was last saved longer than olderThan ago, and returns
// how many. A session that is locked is left alone, because its token is being replaced. An
// olderThan that is not positive is an error.
func (m *MemoryStore) Purge(ctx context.Context, olderThan time.Duration) (int, error) {
	if olderThan <= 0 {
		return 0, fmt.Errorf("reauth: MemoryStore: Purge: olderThan %v is not positive", olderThan)
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := time.Now().Add(-olderThan).UnixNano()
	n := 0
	for session, tok := range m.tokens {
		if l := m.locks[session]; tok.saved >= before || l != nil && len(l.slot) > 0 {
			continue
		}
		delete(m.tokens, session)
		m.tell(session)
		n++
	}
	return n, nil
}

// tell ends the waits for the lock of session, whose token has changed. m.mu is held.
func (m *MemoryStore) tell(session string) {
	if l := m.locks[session]; l != nil {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// Lock implements [Locker]. The lock can't be lost. The only errors are the cause of ctx and
// [ErrChanged].
func (m *MemoryStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	m.mu.Lock()
	l := m.locks[session]
	if l == nil {
		if m.locks == nil {
			m.locks = make(map[string]*memoryLock)
		}
		l = &memoryLock{slot: make(chan struct{}, 1), changed: make(chan struct{})}
		m.locks[session] = l
	}
	l.users++
	changed := l.changed
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
	case <-changed:
		leave()
		return nil, nil, ErrChanged
	case <-ctx.Done():
		leave()
		return nil, nil, context.Cause(ctx)
	}
	lease := new(memoryLease)
	held := context.WithValue(context.WithoutCancel(ctx), memoryLeaseKey{m, session}, lease)
	return held, func() {
		m.mu.Lock()
		lease.over = true
		m.mu.Unlock()
		<-l.slot
		leave()
	}, nil
}
