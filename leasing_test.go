package reauth_test

import (
	"context"
	"errors"
	"sync"

	"github.com/reauth-go/reauth"
)

var errLeaseLost = errors.New("the lease was lost")

type leaseKey struct{}

// A leasingStore is a faultyStore whose lock is a lease on one session, which can
// be lost. What is written without a lease is refused.
type leasingStore struct {
	faultyStore
	slot sync.Once
	free chan struct{} // has a value while nobody holds the lease

	leases sync.Mutex
	expire context.CancelCauseFunc // of the lease that is held
}

// lose takes the lease from whoever holds it, as a lease that has run out.
func (s *leasingStore) lose() {
	s.leases.Lock()
	expire := s.expire
	s.leases.Unlock()
	expire(errLeaseLost)
}

func (s *leasingStore) Lock(ctx context.Context, _ string) (context.Context, func(), error) {
	if err := s.enter(ctx, "Lock"); err != nil {
		return nil, nil, err
	}
	s.slot.Do(func() {
		s.free = make(chan struct{}, 1)
		s.free <- struct{}{}
	})
	select {
	case <-s.free:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	held, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	held = context.WithValue(held, leaseKey{}, held)
	var once sync.Once
	end := func(cause error) {
		once.Do(func() {
			cancel(cause)
			s.free <- struct{}{}
		})
	}
	s.leases.Lock()
	s.expire = end
	s.leases.Unlock()
	return held, func() { end(errors.New("unlocked")) }, nil
}

func (s *leasingStore) check(ctx context.Context) error {
	held, ok := ctx.Value(leaseKey{}).(context.Context)
	if !ok {
		return errors.New("written without a lease")
	}
	if held.Err() != nil {
		return errLeaseLost
	}
	return nil
}

func (s *leasingStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.enter(ctx, "Save"); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *leasingStore) Delete(ctx context.Context, session string) error {
	if err := s.enter(ctx, "Delete"); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}
