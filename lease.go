package reauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A lease is this process's hold on a session in a store that locks. All who
// work on the session in this process share it, so that a sign-out need not
// wait for the refresh that it makes void; who writes is settled by session.slot.
type lease struct {
	ready  *flight[struct{}] // landed once held and unlock are set, or failed
	held   context.Context
	unlock func()
	users  int // guarded by session.mu
}

var (
	errLockTimeout = errors.New("the store's lock was not free in time")
	errLockLost    = errors.New("the store's lock was lost")
)

// take joins the lease of this process, or gets one. The caller gives it back
// with drop.
func (s *session) take(ctx context.Context) (*lease, error) {
	locker := s.owner.locker
	if locker == nil {
		return &lease{held: detach(ctx), users: 1}, nil
	}
	s.mu.Lock()
	l := s.lease
	if l == nil || l.lost() {
		l = &lease{ready: newFlight[struct{}]()}
		s.lease = l
		s.owner.begin()
		go s.lock(detach(ctx), locker, l) // ends when Lock does, which its context bounds
	}
	l.users++
	s.mu.Unlock()

	timer := time.NewTimer(s.owner.timeout + grace)
	defer timer.Stop()
	var err error
	select {
	case <-l.ready.landed:
		err = l.ready.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errLockTimeout
	}
	if err != nil {
		s.drop(l)
		return nil, err
	}
	return l, nil
}

// lost reports whether the store has taken the lease back.
func (l *lease) lost() bool {
	select {
	case <-l.ready.landed:
		return l.held == nil || l.held.Err() != nil
	default:
		return false
	}
}

func (s *session) lock(ctx context.Context, locker Locker, l *lease) {
	defer s.owner.end()
	type grip struct {
		held   context.Context
		unlock func()
	}
	waiting, cancel := context.WithTimeout(ctx, s.owner.timeout)
	got, err := await("Lock", func() (grip, error) {
		held, unlock, err := locker.Lock(waiting, s.name)
		if err == nil && (held == nil || unlock == nil) {
			err = errors.New("Lock returned neither a lock nor an error")
		}
		return grip{held, unlock}, err
	})
	if err != nil && waiting.Err() != nil {
		err = errLockTimeout
	}
	cancel()

	s.mu.Lock()
	l.held, l.unlock = got.held, got.unlock
	abandoned := l.users == 0
	if s.lease == l && (err != nil || abandoned) {
		s.lease = nil
	}
	s.mu.Unlock()
	if err != nil {
		l.ready.land(struct{}{}, fmt.Errorf("lock: %w", elsewhere(err)))
		return
	}
	l.ready.land(struct{}{}, nil)
	if abandoned {
		s.giveBack(l)
	}
}

// drop leaves the lease. The last to leave gives the session back to the store.
func (s *session) drop(l *lease) {
	if l.ready == nil {
		return // the store has no lock
	}
	s.mu.Lock()
	l.users--
	last := l.users == 0 && l.unlock != nil
	if last && s.lease == l {
		s.lease = nil
	}
	s.mu.Unlock()
	if last {
		s.giveBack(l)
	}
}

// giveBack unlocks on a goroutine of its own, since unlock may take its time and
// nobody needs to wait for it but Wait.
func (s *session) giveBack(l *lease) {
	s.owner.begin()
	go func() {
		defer s.owner.end()
		_ = contained("unlock", l.unlock)
	}()
}
