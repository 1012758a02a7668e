package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// The pauses before a statement that must succeed is sent again.
const (
	firstRetry   = 20 * time.Millisecond
	longestRetry = time.Second
)

// A lease is a lock that is held.
type lease struct {
	store   *Store
	key     string
	owner   string
	version int64
	held    context.Context
	cancel  context.CancelCauseFunc

	slot   chan struct{} // full during a write, so that writes run one after the other
	writes int64         // so far; accessed only by the writer that has filled the slot

	mu      sync.Mutex
	granted time.Time   // when the statement that last granted it was sent
	trouble error       // why it could not be renewed
	expiry  *time.Timer // ends it when it was not renewed in time
}

// leaseKey is the context key of the lease on a session of a store.
type leaseKey struct {
	store   *Store
	session string
}

func (s *Store) leaseIn(ctx context.Context, session string) *lease {
	l, _ := ctx.Value(leaseKey{s, session}).(*lease)
	return l
}

// hold makes a lease of a lock that a statement sent at granted has taken.
func (s *Store) hold(ctx context.Context, session, owner string, version int64, granted time.Time) *lease {
	l := &lease{store: s, key: rowKey(session), owner: owner, version: version, slot: make(chan struct{}, 1), granted: granted}
	l.held, l.cancel = context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), leaseKey{s, session}, l))
	l.mu.Lock()
	l.expiry = time.AfterFunc(l.left(), func() { _ = l.lost() })
	l.mu.Unlock()
	go l.renew(granted)
	return l
}

// renew renews the lease that was granted then. It ends when the lease is lost or given
// back, or at most a third of a lease later, because cancelling a renewal that was sent
// would cost a connection.
func (l *lease) renew(granted time.Time) {
	third := l.store.lease / 3
	next := granted.Add(third)
	for sleep(l.held, time.Until(next)) {
		sent := time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.held), third)
		n, err := l.store.exec(ctx, l.store.statements.renew, l.key, l.owner, l.version, l.store.lease.Milliseconds())
		cancel()
		switch {
		case err != nil:
			l.mu.Lock()
			l.trouble = l.store.dialect.discreet(err, "")
			l.mu.Unlock()
			next = time.Now().Add(third / 4)
		case n == 0:
			l.lose(taken)
		default:
			l.extend(sent)
			next = sent.Add(third)
		}
	}
}

// read returns the token in the row, if the lease is still valid.
func (l *lease) read(ctx context.Context) (token sql.NullString, err error) {
	lags := false // whether a read did not show the lock
	failure := func(err error) error {
		why := ""
		if lags && ctx.Err() != nil {
			why = "a read does not show the lock, as from a replica that lags: "
		}
		return fmt.Errorf("sqlstore: load session %q: %s%w", l.key, why, caused(ctx, err))
	}
	wait := newBackoff(firstRetry, min(longestRetry, l.store.lease/12))
	for {
		if err := l.lost(); err != nil {
			return token, err
		}
		found, err := l.store.row(ctx, l.store.statements.read, []any{l.key, l.owner, l.version}, &token)
		if err != nil {
			return token, failure(err)
		}
		if found {
			return token, l.lost()
		}
		// Either it is another's, or the read came to a replica that lags. A write doesn't.
		sent := time.Now()
		n, err := l.store.exec(ctx, l.store.statements.renew, l.key, l.owner, l.version, l.store.lease.Milliseconds())
		switch {
		case err != nil:
			return token, failure(l.store.dialect.discreet(err, ""))
		case n == 0:
			return token, l.lose(taken)
		}
		l.extend(sent)
		lags = true
		if !sleep(ctx, wait.next()) {
			return token, failure(ctx.Err())
		}
	}
}

// write stores a token in the row, or removes it, if the lease is still valid.
func (l *lease) write(ctx context.Context, what string, token sql.NullString) error {
	select {
	case l.slot <- struct{}{}:
		defer func() { <-l.slot }()
	case <-ctx.Done():
		if err := l.lost(); err != nil {
			return err
		}
		return l.store.failed(ctx, what, l.key, ctx.Err(), "")
	}
	l.writes++
	mark := l.store.changeMark()
	third := l.store.lease / 3
	wait := newBackoff(firstRetry, min(longestRetry, third/4))
	for {
		if err := l.lost(); err != nil {
			return err
		}
		// A silent connection must not use up all the time.
		bounded, cancel := context.WithTimeout(ctx, third)
		n, err := l.store.exec(bounded, l.store.statements.write, l.key, l.owner, l.version, token, l.writes, mark)
		silent := bounded.Err() != nil
		cancel()
		switch {
		case err == nil && n == 0:
			return l.lose(taken)
		case err == nil:
			return nil
		case !silent && !l.store.dialect.passing(err):
			return l.store.failed(ctx, what, l.key, err, token.String)
		case !sleep(ctx, wait.next()) && l.held.Err() == nil:
			return l.store.failed(ctx, what, l.key, err, token.String)
		}
	}
}

// unlock releases the lock.
func (l *lease) unlock() {
	third := l.store.lease / 3
	l.mu.Lock()
	left := max(l.left(), third)
	l.mu.Unlock()
	l.end(fmt.Errorf("sqlstore: session %q: the lock was released", l.key))

	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.held), left)
	defer cancel()
	wait := newBackoff(firstRetry, min(longestRetry, third/4))
	for l.store.release(ctx, l.key, l.owner) != nil && sleep(ctx, wait.next()) {
	}
}

const taken = "the lock is gone, or another's"

// extend is called when a statement sent at granted has renewed the lease.
func (l *lease) extend(granted time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.Err() == nil && granted.After(l.granted) {
		l.granted, l.trouble = granted, nil
		l.expiry.Reset(l.left())
	}
}

// left is how long the lease lasts from now, by the local clock. It counts from before
// the database received the statement. l.mu is held.
func (l *lease) left() time.Duration { return l.store.lease - time.Since(l.granted) }

// lost returns why the lease has ended, or nil if it has not.
func (l *lease) lost() error {
	l.mu.Lock()
	out, trouble := l.left() <= 0, l.trouble
	l.mu.Unlock()
	if out {
		why := "it was not renewed in time"
		if trouble != nil {
			why += ": " + trouble.Error()
		}
		return l.lose(why)
	}
	return context.Cause(l.held)
}

// lose ends the lease, and returns why it has ended.
func (l *lease) lose(why string) error {
	return l.end(fmt.Errorf("sqlstore: session %q: the lease was lost: %s", l.key, why))
}

func (l *lease) end(cause error) error {
	l.cancel(cause) // the first cause counts
	l.mu.Lock()
	l.expiry.Stop()
	l.mu.Unlock()
	return context.Cause(l.held)
}
