package redisstore

import (
	"context"
	cryptorand "crypto/rand"
	"math/rand/v2"
	"time"
)

// Lock implements reauth.Locker. It takes one call of Redis if the session is
// free. If not, Lock waits for the message that it was given back, and looks again
// after that, when the lease of the holder would have run out, and at least every
// half second. Those who wait take up no connection of the client's pool; together
// they have one of their own, for as long as anybody waits. Who waits longest is
// not served first.
//
// A failure of Redis is an error, once the client's own retries have been to no
// avail. Whether the lock has been got may be unknown then, or when ctx ends: it
// is given back in the background where that is possible, and runs out otherwise.
//
// held is done when the lease has not been renewed for as long as it lasts, and
// when the lock is found to be gone, or another's. unlock returns when the lock
// has been given back; while Redis is away it tries again until the lease would
// have run out in any case.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	if s.bad != nil {
		return nil, nil, s.bad
	}
	key := s.keys(session).lock
	owner := cryptorand.Text()
	var visit *visitor
	var late *call[state]
	for ctx.Err() == nil {
		sent := time.Now()
		taking := start(ctx, func(ctx context.Context) (state, error) { return s.take(ctx, key, owner) })
		got, err := taking.wait(ctx)
		switch {
		case err != nil:
			go s.undo(taking, key, owner) // ends within two leases
			return nil, nil, failed("lock", key, err)
		case got.mine && time.Since(sent) < s.lease:
			l := s.hold(ctx, session, owner, sent)
			return l.held, l.unlock, nil
		case got.mine: // it took so long that the lease may have run out again
			late = taking
		case visit == nil:
			visit = s.bell.enter(key)
			defer visit.leave()
			fallthrough
		default:
			visit.wait(ctx, s.patience(got.left))
		}
	}
	if late != nil {
		go s.undo(late, key, owner)
	}
	return nil, nil, failed("lock", key, context.Cause(ctx))
}

// A state is what a try to take a lock has found.
type state struct {
	mine bool
	left time.Duration // of another's lease; negative if that has no end
}

func (s *Store) take(ctx context.Context, key, owner string) (state, error) {
	answer, err := lockScript.Run(ctx, s.client, []string{key}, owner, s.lease.Milliseconds()).Int64Slice()
	if err != nil {
		return state{}, err
	}
	return state{mine: answer[0] == 1, left: time.Duration(answer[1]) * time.Millisecond}, nil
}

// patience is how long to wait for a message about a lock that another has for
// left.
func (s *Store) patience(left time.Duration) time.Duration {
	patience := s.look + rand.N(s.look)
	if left >= 0 {
		// A little more, and not all at once.
		patience = min(patience, left+time.Millisecond+rand.N(20*time.Millisecond))
	}
	return patience
}

// undo gives back what taking, which Lock no longer waits for, may have brought.
func (s *Store) undo(taking *call[state], key, owner string) {
	timer := time.NewTimer(s.lease)
	defer timer.Stop()
	select {
	case <-taking.done:
		if taking.err == nil && !taking.value.mine {
			return
		}
	case <-timer.C:
	}
	s.release(key, owner, time.Now().Add(s.lease))
}

// release gives the lock back, and tells those who wait. It tries again until the
// lease has run out.
func (s *Store) release(key, owner string, until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	_, _ = persist(ctx, func(ctx context.Context) (int64, error) {
		return unlockScript.Run(ctx, s.client, []string{key}, owner).Int64()
	})
}
