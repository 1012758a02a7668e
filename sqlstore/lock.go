package sqlstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// A waiter polls the lock. It pauses for a tenth of the time it has waited, within these
// bounds, so that it loses little time to a quick refresh and polls rarely during a slow
// one.
const (
	shortestPoll = 5 * time.Millisecond
	longestPoll  = 100 * time.Millisecond
)

// Lock implements reauth.Locker. It sends one statement if the session is free. Otherwise
// Lock polls after a tenth of the time it has waited, at least 5 and at most 100 ms,
// because nothing in database/sql would wake it. The lock is not granted in order of
// arrival.
//
// The statement writes the columns that a Save writes. So Lock fails in a read-only or full
// database, or with a role that may not write them.
//
// While other connections keep an SQLite database locked, Lock waits, also beyond the
// driver's busy timeout. Any other failure of the database is an error at once. It may
// then be unknown whether the lock was taken. In that case it is released in the
// background if possible, and expires otherwise.
//
// held is done when the lease was not renewed in time, and when another has the lock.
// unlock sends one or two statements, and gives up when the lease would have expired in
// any case.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	key, owner := rowKey(session), rand.Text()
	began, late := time.Now(), false
	for ctx.Err() == nil {
		sent := time.Now()
		var version int64
		got, err := s.row(ctx, s.statements.take, []any{key, owner, s.lease.Milliseconds()}, &version)
		switch {
		case err != nil && !s.dialect.contended(err):
			if !known(err) {
				go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends after one try
			}
			return nil, nil, failed(ctx, "lock", key, err, "")
		case got && time.Since(sent) < s.lease:
			l := s.hold(ctx, session, owner, version, sent)
			return l.held, l.unlock, nil
		case got: // it has expired while the answer was on its way
			late = true
		default:
			if err := s.await(ctx, key, began); err != nil {
				return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, caused(ctx, err))
			}
		}
	}
	if late { // and may have been taken all the same
		go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends after one try
	}
	return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, context.Cause(ctx))
}

// await returns when the lock seems to be free. The wait for it began at began.
func (s *Store) await(ctx context.Context, key string, began time.Time) error {
	left := longestPoll
	for {
		pause := jittered(min(max(time.Since(began)/10, shortestPoll), longestPoll))
		if !sleep(ctx, min(pause, left)) {
			return context.Cause(ctx)
		}
		var ms int64 // 0 if there is no row
		_, err := s.row(ctx, s.statements.left, []any{key}, &ms)
		switch {
		case s.dialect.contended(err):
		case err != nil:
			return err
		case ms <= 0:
			return nil
		default:
			left = time.Duration(ms) * time.Millisecond
		}
	}
}

// giveBack releases a lock that may or may not have been taken.
func (s *Store) giveBack(ctx context.Context, key, owner string) {
	ctx, cancel := context.WithTimeout(ctx, s.lease)
	defer cancel()
	_ = s.release(ctx, key, owner) // if this fails, it expires
}

// release removes owner from the row, and the row from the table if it is then empty. It
// does not touch the lock of another.
func (s *Store) release(ctx context.Context, key, owner string) error {
	var empty bool
	found, err := s.row(ctx, s.statements.release, []any{key, owner}, &empty)
	if err != nil || found && !empty {
		return err
	}
	_, err = s.exec(ctx, s.statements.sweep, key)
	return err
}
