package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A lease is a lock that is held.
type lease struct {
	store   *Store
	session string
	keys    keys
	owner   string
	held    context.Context // done when the lease has ended
	cancel  context.CancelCauseFunc
	writes  atomic.Int64 // the number of writes so far

	mu    sync.Mutex
	until time.Time // when it expires, unless renewed; guarded by mu
}

var (
	errRanOut    = errors.New("the lease was lost, because it could not be renewed in time")
	errTaken     = errors.New("the lease was lost, because the lock is missing or belongs to another")
	errGivenBack = errors.New("the lock was released")
)

// leaseKey is the context key of the lease on a session of a store.
type leaseKey struct {
	store   *Store
	session string
}

// leaseIn returns the lease that ctx carries, or nil.
func (s *Store) leaseIn(ctx context.Context, session string) *lease {
	l, _ := ctx.Value(leaseKey{s, session}).(*lease)
	return l
}

// hold makes a lease of a lock that a call sent at granted has taken. Redis counts from
// a later time, so the lease does not last longer here than there.
func (s *Store) hold(ctx context.Context, session, owner string, granted time.Time) *lease {
	l := &lease{store: s, session: session, keys: s.keys(session), owner: owner, until: granted.Add(s.lease)}
	l.held, l.cancel = context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), leaseKey{s, session}, l))
	go l.keep() // ends when held does
	return l
}

// keep renews the lease after every third of its duration, until it ends.
func (l *lease) keep() {
	third := l.store.lease / 3
	next := third
	for sleep(l.held, min(next, time.Until(l.end()))) && l.lost() == nil {
		sent := time.Now()
		ctx, cancel := context.WithDeadline(l.held, earlier(sent.Add(third), l.end()))
		stands, err := do(ctx, func(ctx context.Context) (int64, error) {
			return l.store.run(ctx, renewScript, []string{l.keys.lock}, l.owner, l.store.lease.Milliseconds()).Int64()
		})
		cancel()
		switch {
		case err != nil:
			next = third / 4
		case stands == 0:
			l.lose(errTaken)
		default:
			l.extend(sent)
			next = third
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (l *lease) end() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// extend is called when a call sent at granted has renewed the lease.
func (l *lease) extend(granted time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := granted.Add(l.store.lease); until.After(l.until) {
		l.until = until
	}
}

// lost returns why the lease has ended, or nil if it has not. It also checks the clock,
// because in a process that was stopped, keep may not have run yet.
func (l *lease) lost() error {
	if l.held.Err() == nil && !time.Now().Before(l.end()) {
		l.lose(errRanOut)
	}
	return context.Cause(l.held)
}

// lose ends the lease, unless it has ended, and returns why it has ended.
func (l *lease) lose(why error) error {
	l.cancel(failed("lock", l.keys.lock, why))
	return context.Cause(l.held)
}

// read returns the stored token if the lease still has the lock, or redis.Nil if there is
// none. It retries while Redis can't serve the keys for now.
func (l *lease) read(ctx context.Context) (string, error) {
	if err := l.lost(); err != nil {
		return "", err
	}
	ctx, cancel := l.bind(ctx)
	defer cancel()
	s, keys := l.store, []string{l.keys.token, l.keys.lock}
	var sent time.Time
	answer, err := persist(ctx, unready, func(ctx context.Context) ([]any, error) {
		sent = time.Now()
		return s.run(ctx, readScript, keys, l.owner, s.lease.Milliseconds()).Slice()
	})
	if lost := l.lost(); lost != nil {
		return "", lost
	}
	switch {
	case err != nil:
		return "", err
	case len(answer) != 2:
		return "", l.lose(errTaken)
	}
	l.extend(sent)
	text, ok := answer[1].(string)
	if !ok {
		return "", redis.Nil
	}
	return text, nil
}

// bind returns ctx, which also ends with the lease.
func (l *lease) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.held, func() { cancel(context.Cause(l.held)) })
	return ctx, func() { stop(); cancel(nil) }
}

// write replaces the stored token, or removes it, if the lease still has the lock. It
// retries temporary failures while the lease lasts.
func (l *lease) write(ctx context.Context, what string, token string) error {
	if err := l.lost(); err != nil {
		return err
	}
	ctx, cancel := l.bind(ctx)
	defer cancel()
	s, number := l.store, l.writes.Add(1)
	stands, err := persist(ctx, passing, func(ctx context.Context) (int64, error) {
		return s.write(ctx, l.session, l.owner, number, token)
	})
	if lost := l.lost(); err != nil && lost != nil {
		return lost
	}
	if err == nil && stands == 0 {
		return l.lose(errTaken)
	}
	return failed(what, l.keys.token, err)
}

// unlock releases the lock. If the lease was lost, the script does nothing.
func (l *lease) unlock() {
	l.lose(errGivenBack)
	l.store.release(l.keys.lock, l.owner, l.end())
}
