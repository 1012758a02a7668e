package reauth

import (
	"context"
	"errors"
	"time"
)

// A lease is this process's hold on a session in a store that locks. All who work on
// the session in this process share it, so that a sign-out need not wait for the
// refresh that it makes void. Their writes are serialized by lockWrites.
type lease struct {
	ready  *promise[error] // kept once held and unlock are set, or with the error
	held   context.Context
	unlock func()

	// Guarded by session.mu.
	users     int
	unsettled bool   // a write under it ended without an answer, and may still arrive
	kept      bool   // for a pending save
	before    *lease // while it is not granted: the one that it is to replace, which somebody may still use
}

var (
	errLockTimeout = errors.New("the store's lock was not free in time")
	errLockLost    = errors.New("the store's lock was lost")
	errStoreBusy   = errors.New("the store gave no answer within Config.RefreshTimeout")
)

// acquire joins the lease of this process, or gets one. The caller gives it back with
// release. If the wait for it ends because the stored token has changed, acquire calls
// found, if that is not nil. If found reports true the lease is not needed any more, and
// acquire returns nil.
//
// A store that says so again and again, whether or not anything has changed, is not asked
// as fast as it answers.
func (s *cachedSession) acquire(ctx context.Context, found func() bool) (*lease, error) {
	began := s.owner.now()
	for pause := time.Duration(0); ; pause = min(2*pause+time.Millisecond, longestRelock) {
		tried := s.owner.now()
		l, err := s.join(ctx)
		switch {
		case !errors.Is(err, ErrChanged):
			return l, err
		case found != nil && found():
			return nil, nil
		case s.owner.now() >= began+s.owner.timeout:
			return nil, errLockTimeout
		}
		timer := time.NewTimer(tried + pause - s.owner.now())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// longestRelock is the longest interval at which a lock is asked for whose wait ends at
// once, because the token has changed.
const longestRelock = 100 * time.Millisecond

// join is acquire for one wait.
func (s *cachedSession) join(ctx context.Context) (*lease, error) {
	locker := s.owner.locker
	if locker == nil {
		return &lease{held: s.owner.forFlight(ctx, s.name), users: 1}, nil
	}
	timer := time.NewTimer(s.owner.timeout + grace)
	defer timer.Stop()
	for {
		s.mu.Lock()
		l := s.lease
		// A write that may still arrive under a lease must not replace another one. So
		// nobody joins such a lease but for the save that it is kept for.
		joined := l != nil && !l.lost() && (!l.unsettled || l.kept)
		if !joined {
			l = &lease{ready: newPromise[error](), before: l}
			s.lease = l
			s.owner.begin()
			go s.lock(s.owner.forFlight(ctx, s.name), locker, l) // ends when Lock does, which its context bounds
		}
		l.users++
		s.mu.Unlock()

		var err error
		select {
		case <-l.ready.kept:
			if err = l.ready.value; err == nil {
				return l, nil
			}
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			err = errLockTimeout
		}
		s.release(l)
		if joined && err == errLockTimeout && l.timedOut() && ctx.Err() == nil {
			continue // the attempt began before this call, so its bound is not that of this call
		}
		return nil, err
	}
}

// The calls of the store. Errors name them.
const (
	loads   = "the store's Load"
	saves   = "the store's Save"
	deletes = "the store's Delete"
)

// isUnsettled reports whether a write under l may still arrive.
func (s *cachedSession) isUnsettled(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.unsettled && l.ready != nil
}

// stillHas reports whether l can be kept for a pending save. Somebody who could not join
// it, because the save had no answer, may be waiting for the next lease. That has to wait
// until the save is done, unless a write that does not return keeps it from being tried.
// s.mu is held.
func (s *cachedSession) stillHas(l *lease) bool {
	if next := s.lease; next != l {
		if next == nil || next.isAnswered() || l.users == 0 || l.lost() || s.stuck {
			return false
		}
		s.lease = l
	}
	return true
}

// isAnswered reports whether the store has granted the lease, or failed.
func (l *lease) isAnswered() bool {
	select {
	case <-l.ready.kept:
		return true
	default:
		return false
	}
}

// timedOut reports whether the store's lock was not free in time.
func (l *lease) timedOut() bool {
	return l.isAnswered() && l.ready.value == errLockTimeout
}

// lost reports whether the store has taken the lease back.
func (l *lease) lost() bool {
	return l.isAnswered() && (l.held == nil || l.held.Err() != nil)
}

// lock asks the store for l.
func (s *cachedSession) lock(ctx context.Context, locker Locker, l *lease) {
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
		if b := l.before; err != nil && b != nil && b.users > 0 { // what it brings may still have to be saved
			s.lease = b
		}
	}
	l.before = nil
	s.mu.Unlock()
	if err != nil {
		if err != errLockTimeout {
			err = wrap("lock", elsewhere(err))
		}
		l.ready.keep(err)
		return
	}
	l.ready.keep(nil)
	if abandoned {
		s.giveBack(l)
	}
}

// release leaves the lease. The last to leave gives the session back to the store.
func (s *cachedSession) release(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(l)
}

// releaseLocked is release. s.mu is held.
func (s *cachedSession) releaseLocked(l *lease) {
	if l.ready == nil {
		return // the store has no lock
	}
	l.users--
	if l.users > 0 || l.unlock == nil {
		return
	}
	if s.lease == l {
		s.lease = nil
	}
	s.giveBack(l)
}

// giveBack unlocks on a goroutine of its own, because unlock may take its time and
// nobody but Wait needs to wait for it.
func (s *cachedSession) giveBack(l *lease) {
	s.owner.begin()
	go func() {
		defer s.owner.end()
		_ = contained("unlock", l.unlock)
	}()
}

// lockWrites takes the one-slot semaphore that serializes this process's writes of the
// session to the store. It is held across calls of the store, so it is taken with a
// context.
func (s *cachedSession) lockWrites(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	if s.writing == nil {
		s.writing = make(chan struct{}, 1)
	}
	slot := s.writing
	s.writers++
	s.mu.Unlock()

	timer := time.NewTimer(s.owner.timeout + grace)
	defer timer.Stop()
	var err error
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errStoreBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopWriting()
	return err
}

// unlockWrites gives the semaphore to the next writer.
func (s *cachedSession) unlockWrites() {
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.writing
	s.stopWriting()
}

// stopWriting drops the semaphore if there is no other writer, because a session at
// rest should take little memory. s.mu is held.
func (s *cachedSession) stopWriting() {
	if s.writers--; s.writers == 0 {
		s.writing = nil
	}
}

// write calls fn, which writes to the store, while nothing else in this process writes
// this session there. The context of fn is that of the lease; it also ends with ctx and
// after RefreshTimeout. write waits for fn even after ctx is done, because the caller
// must know whether the write happened. If settled is not nil it is called with the
// result before anybody else looks, also if that comes so late that write has given up.
func write[T any](s *cachedSession, ctx context.Context, l *lease, what string, fn func(context.Context) (T, error), settled func(T, error)) (v T, err error) {
	m := s.owner
	if err := s.lockWrites(ctx); err != nil {
		return v, wrap(what, err)
	}
	m.begin()
	returned := false // guarded by s.mu
	written := spawn(what, func() (T, error) {
		defer m.end()
		bounded, cancel := context.WithTimeout(l.held, m.timeout)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		v, err := await(what, func() (T, error) { return fn(bounded) })
		if err != nil {
			err = elsewhere(err)
			if bounded.Err() != nil {
				s.unsettle(l)
			}
		}
		if settled != nil {
			settled(v, err)
		}
		s.mu.Lock()
		returned, s.stuck = true, false
		s.mu.Unlock()
		s.unlockWrites()
		return v, err
	})
	patience, cancel := context.WithTimeout(context.Background(), m.timeout+grace)
	defer cancel()
	r, ok := written.wait(patience)
	v, err = r.value, r.err
	switch {
	case !ok:
		s.unsettle(l)
		s.mu.Lock()
		s.stuck = s.stuck || !returned
		s.mu.Unlock()
		err = errStoreBusy
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = context.Cause(ctx) // which is why the store gave up
	}
	if err != nil {
		err = wrap(what, err)
	}
	return v, err
}

// unsettle notes that a write under l ended without an answer.
func (s *cachedSession) unsettle(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.unsettled = true
}

// callBounded calls foreign code on behalf of a method's caller. It returns when ctx is done,
// or with the error late after RefreshTimeout, whether or not the code does.
func callBounded[T any](ctx context.Context, m *sessions, what string, late error, fn func(context.Context) (T, error)) (v T, err error) {
	bounded, cancel := context.WithTimeoutCause(ctx, m.timeout, late)
	defer cancel()
	m.begin()
	r, ok := spawn(what, func() (T, error) {
		defer m.end()
		return fn(bounded)
	}).wait(bounded)
	if !ok {
		return v, context.Cause(bounded)
	}
	return r.value, r.err
}
