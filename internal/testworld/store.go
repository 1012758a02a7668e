package testworld

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// ErrLeaseLost is what a FaultyStore answers under a lease that was lost.
var ErrLeaseLost = errors.New("the lease was lost")

// A FaultyStore is a MemoryStore whose calls a test can watch, delay and fail, and whose
// lock is a lease that can be lost. The embedded MemoryStore is what other processes see.
type FaultyStore struct {
	reauth.MemoryStore
	RequireLease bool // refuse a Save or Delete without a lease

	mu     sync.Mutex
	before func(ctx context.Context, call string) error // called at each call, with no lock held
	shows  func(context.Context) (reauth.Token, bool)   // what Load shows in place of what is stored
	counts map[string]int
	lose   func() // the lease that was given last
}

type leaseKey struct{}

// LeaseOf returns the lease that ctx carries, nil if there is none.
func LeaseOf(ctx context.Context) context.Context {
	held, _ := ctx.Value(leaseKey{}).(context.Context)
	return held
}

// On makes f decide about each call. Its error is the call's. Nil is the store as it was.
func (s *FaultyStore) On(f func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// OnCall is On for one kind of call.
func (s *FaultyStore) OnCall(call string, f func(context.Context) error) {
	s.On(func(ctx context.Context, c string) error {
		if c != call {
			return nil
		}
		return f(ctx)
	})
}

// Fail makes the named calls fail; without names, all.
func (s *FaultyStore) Fail(calls ...string) {
	s.On(func(_ context.Context, call string) error {
		for _, c := range calls {
			if c == call {
				return ErrFault
			}
		}
		if len(calls) == 0 {
			return ErrFault
		}
		return nil
	})
}

// Hangs is a call that returns when its context is done.
func Hangs(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *FaultyStore) enter(ctx context.Context, call string) error {
	s.mu.Lock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[call]++
	f := s.before
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, call)
}

// Count returns how often Load, Save, Delete or Lock was called.
func (s *FaultyStore) Count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[call]
}

func (s *FaultyStore) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if err := s.enter(ctx, "Load"); err != nil {
		return reauth.Token{}, false, err
	}
	s.mu.Lock()
	shows := s.shows
	s.mu.Unlock()
	if shows != nil {
		if tok, ok := shows(ctx); ok {
			return tok, tok.AccessToken+tok.RefreshToken != "", nil
		}
	}
	return s.MemoryStore.Load(ctx, session)
}

// OnLoad makes Load show what f returns, if that is true, as a replica that lags. A zero
// Token is none.
func (s *FaultyStore) OnLoad(f func(context.Context) (reauth.Token, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shows = f
}

func (s *FaultyStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.write(ctx, "Save"); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *FaultyStore) Delete(ctx context.Context, session string) error {
	if err := s.write(ctx, "Delete"); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}

func (s *FaultyStore) write(ctx context.Context, call string) error {
	if err := s.enter(ctx, call); err != nil {
		return err
	}
	switch lease := LeaseOf(ctx); {
	case lease == nil && s.RequireLease:
		return errors.New(call + " without a lease")
	case lease != nil && lease.Err() != nil:
		return ErrLeaseLost
	}
	return nil
}

func (s *FaultyStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if err := s.enter(ctx, "Lock"); err != nil {
		return nil, nil, err
	}
	held, unlock, err := s.MemoryStore.Lock(ctx, session)
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancelCause(held)
	giveBack := sync.OnceFunc(func() { cancel(ErrLeaseLost); unlock() })
	s.mu.Lock()
	s.lose = giveBack
	s.mu.Unlock()
	return context.WithValue(held, leaseKey{}, held), giveBack, nil
}

// LoseLease takes the lease from its holder, as if it had run out.
func (s *FaultyStore) LoseLease() {
	s.mu.Lock()
	lose := s.lose
	s.mu.Unlock()
	lose()
}

// Put stores tok as another process would.
func (s *FaultyStore) Put(t *testing.T, tok reauth.Token) {
	t.Helper()
	require.NoError(t, s.MemoryStore.Save(context.Background(), "", tok))
}

// Clear deletes the token as another process would.
func (s *FaultyStore) Clear(t *testing.T) {
	t.Helper()
	require.NoError(t, s.MemoryStore.Delete(context.Background(), ""))
}

// Hold locks the session as another process would. It fails if the lock is kept for an
// hour.
func (s *FaultyStore) Hold(t *testing.T) (unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	_, unlock, err := s.MemoryStore.Lock(ctx, "")
	require.NoError(t, err)
	return unlock
}

// Stored is what the store holds, without a call that is counted.
func (s *FaultyStore) Stored(t *testing.T, session string) (reauth.Token, bool) {
	t.Helper()
	tok, ok, err := s.MemoryStore.Load(context.Background(), session)
	require.NoError(t, err)
	return tok, ok
}

// Unlocked hides the lock of a store.
type Unlocked struct{ reauth.Store }
