package redisstore

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/reauth-go/reauth"
)

// Lock implements reauth.Locker. It makes one call to Redis if the session is free.
// Otherwise Lock waits for a message, and tries again after that, when the holder's lease
// would expire, and at least every half second. Waiters use no connection of the client's
// pool. They share one of their own while there are any.
//
// A message that the token has changed is for all waiters. Their Lock then returns an error
// that wraps reauth.ErrChanged. A message that the lock was released is for the one that has
// waited longest. But the lock is granted to whoever asks first.
//
// The call names the key of the token too. So Lock fails where Redis would refuse a Save:
// on a replica, without memory or replicas enough, or where the user may not write the
// token (since Redis 7). While a cluster migrates the slot of the keys it may be able to
// serve each of them and not both, for which Lock waits.
//
// If Redis fails, and the client's own retries fail as well, Lock returns an error. It
// may then be unknown whether the lock was taken, and also when ctx is done. In both
// cases the lock is released in the background if possible, and expires otherwise.
//
// held is done when the lease has not been renewed in time, and when the lock is found
// to be missing, or another's. unlock returns when the lock has been released. While
// Redis is away it retries until the lease would have expired in any case.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	if s.bad != nil {
		return nil, nil, s.bad
	}
	keys, owner := s.keys(session), cryptorand.Text()
	var visit *visitor
	var late *call[state]
	hash := ""
	for ctx.Err() == nil {
		sent, seen := time.Now(), hash
		taking := start(ctx, func(ctx context.Context) (state, error) { return s.take(ctx, keys, owner, seen) })
		got, err := taking.wait(ctx)
		switch {
		case err != nil && migrating(err): // so the script did not run
			sleep(ctx, firstPause)
			continue
		case err != nil:
			go s.undo(taking, keys.lock, owner) // ends within two leases
			return nil, nil, failed("lock", keys.lock, err)
		case got.mine && time.Since(sent) < s.lease:
			l := s.hold(ctx, session, owner, sent)
			return l.held, l.unlock, nil
		case got.mine: // it took so long that the lease may have expired again
			late = taking
			continue
		case got.changed:
			return nil, nil, failed("lock", keys.lock, reauth.ErrChanged)
		}
		hash = got.hash
		if visit == nil {
			visit = s.bell.enter(keys.lock, owner, hash)
			defer visit.leave()
		}
		if visit.wait(ctx, s.patience(got.left)) {
			return nil, nil, failed("lock", keys.lock, reauth.ErrChanged)
		}
	}
	switch {
	case late != nil:
		go s.undo(late, keys.lock, owner)
	case visit != nil: // or the queue would call somebody who is gone
		go s.release(keys.lock, owner, time.Now().Add(s.lease)) // ends then
	}
	return nil, nil, failed("lock", keys.lock, context.Cause(ctx))
}

// A state is the result of an attempt to take a lock.
type state struct {
	mine    bool
	changed bool          // the token has, since the first attempt
	left    time.Duration // of another's lease; negative if that does not expire
	hash    string        // of the token
}

// queueKept is how long the queue is kept while nobody has the lock.
const queueKept = time.Minute

func (s *Store) take(ctx context.Context, keys keys, owner, hash string) (state, error) {
	answer, err := s.run(ctx, lockScript, []string{keys.lock, keys.token}, owner, s.lease.Milliseconds(), hash).Slice()
	if err != nil {
		return state{}, err
	}
	if len(answer) != 3 {
		return state{}, errors.New("the script has returned something else than a lock")
	}
	what, _ := answer[0].(int64)
	left, _ := answer[1].(int64)
	hash, _ = answer[2].(string)
	return state{mine: what == 1, changed: what == 2, left: time.Duration(left) * time.Millisecond, hash: hash}, nil
}

// patience is how long to wait for a message about a lock that another holds for left.
func (s *Store) patience(left time.Duration) time.Duration {
	patience := s.look + rand.N(s.look)
	if left >= 0 {
		// Wait a little longer, and not all for the same time.
		patience = min(patience, left+time.Millisecond+rand.N(20*time.Millisecond))
	}
	return patience
}

// undo releases the lock that taking, for which Lock no longer waits, may have taken.
func (s *Store) undo(taking *call[state], key, owner string) {
	timer := time.NewTimer(s.lease)
	defer timer.Stop()
	select {
	case <-taking.done:
	case <-timer.C:
	}
	s.release(key, owner, time.Now().Add(s.lease))
}

// release releases the lock, or leaves its queue, and tells the next waiter. It retries
// until the lease has expired.
func (s *Store) release(key, owner string, until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	_, _ = persist(ctx, passing, func(ctx context.Context) (int64, error) {
		return s.run(ctx, unlockScript, []string{key}, owner, queueKept.Milliseconds()).Int64()
	})
}
