package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// How long to pause before a statement is sent again that must get through.
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

	slot   chan struct{} // full while somebody writes: one write after the other
	writes int64         // so far; whoever has filled the slot may touch it

	mu      sync.Mutex
	granted time.Time   // when the statement was sent that last granted it
	trouble error       // why it could not be renewed
	expiry  *time.Timer // ends it when it has not been granted for too long
}

// leaseKey is where a context has the lease on a session of a store.
type leaseKey struct {
	store   *Store
	session string
}

func (s *Store) leaseIn(ctx context.Context, session string) *lease {
	l, _ := ctx.Value(leaseKey{s, session}).(*lease)
	return l
}

// hold makes a lease of a lock that was got by a statement sent at granted.
func (s *Store) hold(ctx context.Context, session, owner string, version int64, granted time.Time) *lease {
	l := &lease{store: s, key: rowKey(session), owner: owner, version: version, slot: make(chan struct{}, 1), granted: granted}
	l.held, l.cancel = context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), leaseKey{s, session}, l))
	l.mu.Lock()
	l.expiry = time.AfterFunc(l.left(), func() { _ = l.lost() })
	l.mu.Unlock()
	go l.renew(granted)
	return l
}

// renew keeps the lease that was granted then. It ends when that is lost or given
// back, or at most a third of a lease later: a renewal that has been sent is not
// cut off, since that would cost a connection.
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
			l.trouble = discreet(err, "")
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

// write puts a token in the row, or takes it out, if the lease still stands.
func (l *lease) write(ctx context.Context, what string, token sql.NullString) error {
	select {
	case l.slot <- struct{}{}:
		defer func() { <-l.slot }()
	case <-ctx.Done():
		if err := l.lost(); err != nil {
			return err
		}
		return failed(ctx, what, l.key, ctx.Err(), "")
	}
	l.writes++
	third := l.store.lease / 3
	wait := newBackoff(firstRetry, min(longestRetry, third/4))
	for {
		if err := l.lost(); err != nil {
			return err
		}
		// A connection that has gone silent must not take all the time there is.
		bounded, cancel := context.WithTimeout(ctx, third)
		n, err := l.store.exec(bounded, l.store.statements.write, l.key, l.owner, l.version, token, l.writes)
		silent := bounded.Err() != nil
		cancel()
		switch {
		case err == nil && n == 0:
			return l.lose(taken)
		case err == nil:
			return nil
		case !silent && !l.store.dialect.passing(err):
			return failed(ctx, what, l.key, err, token.String)
		case !sleep(ctx, wait.next()) && l.held.Err() == nil:
			return failed(ctx, what, l.key, err, token.String)
		}
	}
}

// unlock gives the lease back.
func (l *lease) unlock() {
	third := l.store.lease / 3
	l.mu.Lock()
	left := max(l.left(), third)
	l.mu.Unlock()
	l.end(fmt.Errorf("sqlstore: session %q: the lock was given back", l.key))

	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.held), left)
	defer cancel()
	wait := newBackoff(firstRetry, min(longestRetry, third/4))
	for l.store.release(ctx, l.key, l.owner) != nil && sleep(ctx, wait.next()) {
	}
}

const taken = "the lock is gone, or another's"

// extend is called when the lease was granted anew by a statement sent at granted.
func (l *lease) extend(granted time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.Err() == nil {
		l.granted, l.trouble = granted, nil
		l.expiry.Reset(l.left())
	}
}

// left is how long the lease lasts from now, as far as can be told from here: it
// counts from before the database heard of it. l.mu is held.
func (l *lease) left() time.Duration { return l.store.lease - time.Since(l.granted) }

// lost returns why the lease has ended, or nil while it stands.
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
