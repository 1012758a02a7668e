package benchmarks_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

const (
	storeRoundTrip = time.Millisecond
	storeService   = time.Second / 50_000 // its capacity is 50,000 calls a second
)

// A sharedStore models a store that replicas reach over a network, with one session. Calls are
// dealt with one after the other. Half of a round trip passes before that, and half after it.
// Waiters for the lock learn of a save. If the lock is released and nothing was saved, the
// first of them tries again. That news takes half a round trip, and costs the store nothing.
type sharedStore struct {
	mu      sync.Mutex
	calls   int
	idle    time.Time // when it will have dealt with all calls so far
	tok     reauth.Token
	saves   int
	holder  *sharedLease
	waiting []chan error // each has room for the error with which a wait ends, or nil for another try
}

// A sharedLease is in the context of a holder. It has a field so that each has an address of
// its own.
type sharedLease struct{ _ byte }

type sharedLeaseKey struct{}

var errNotHeld = errors.New("the lock is not held")

// A replicaStore is the store as one replica sees it.
type replicaStore struct{ *sharedStore }

// call is one call. The function do is what the store does about it.
func (s *sharedStore) call(ctx context.Context, do func() error) error {
	s.mu.Lock()
	s.calls++
	begins := time.Now().Add(storeRoundTrip / 2)
	if s.idle.After(begins) {
		begins = s.idle
	}
	s.idle = begins.Add(storeService)
	done := s.idle
	s.mu.Unlock()

	if err := pass(ctx, time.Until(done)); err != nil {
		return err
	}
	s.mu.Lock()
	err := do()
	s.mu.Unlock()
	return errors.Join(err, pass(ctx, storeRoundTrip/2))
}

// check returns an error if ctx has a lease that is over. s.mu is held.
func (s *sharedStore) check(ctx context.Context) error {
	if l, ok := ctx.Value(sharedLeaseKey{}).(*sharedLease); ok && l != s.holder {
		return errNotHeld
	}
	return nil
}

func (s replicaStore) Load(ctx context.Context, _ string) (tok reauth.Token, ok bool, err error) {
	err = s.call(ctx, func() error {
		tok, ok = s.tok, s.tok.AccessToken != ""
		return s.check(ctx)
	})
	return tok, ok, err
}

func (s replicaStore) Save(ctx context.Context, _ string, tok reauth.Token) error {
	return s.set(ctx, tok)
}

func (s replicaStore) Delete(ctx context.Context, _ string) error { return s.set(ctx, reauth.Token{}) }

func (s *sharedStore) set(ctx context.Context, tok reauth.Token) error {
	return s.call(ctx, func() error {
		if err := s.check(ctx); err != nil {
			return err
		}
		s.tok = tok
		s.saves++
		for _, w := range s.waiting {
			w <- reauth.ErrChanged
		}
		s.waiting = nil
		return nil
	})
}

func (s replicaStore) Lock(ctx context.Context, _ string) (context.Context, func(), error) {
	lease := new(sharedLease)
	for saves := -1; ; {
		var wait chan error
		err := s.call(ctx, func() error {
			switch {
			case saves >= 0 && saves != s.saves:
				return reauth.ErrChanged
			case s.holder == nil:
				s.holder = lease
			default:
				wait = make(chan error, 1)
				s.waiting = append(s.waiting, wait)
			}
			saves = s.saves
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		if wait == nil {
			held := context.WithValue(context.WithoutCancel(ctx), sharedLeaseKey{}, lease)
			return held, func() { s.unlock(lease) }, nil
		}
		select {
		case err := <-wait:
			if err := errors.Join(err, pass(ctx, storeRoundTrip/2)); err != nil {
				return nil, nil, err
			}
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx) // what wakes it wakes nobody else; no test has that
		}
	}
}

func (s *sharedStore) unlock(lease *sharedLease) {
	_ = s.call(context.Background(), func() error {
		if s.holder != lease {
			return errNotHeld
		}
		s.holder = nil
		if len(s.waiting) > 0 {
			s.waiting[0] <- nil
			s.waiting = s.waiting[1:]
		}
		return nil
	})
}
