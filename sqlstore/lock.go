package sqlstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// How long those who wait for a lock pause before they look again: a tenth of the
// time they have waited, within these bounds. So who waits for a quick refresh
// does not lose much, and who waits for a slow one does not ask often.
const (
	shortestPoll = 5 * time.Millisecond
	longestPoll  = 100 * time.Millisecond
)

// Lock implements reauth.Locker. It takes one statement if the session is free.
// If not, Lock looks again after a tenth of the time it has waited, at least 5 and
// at most 100 ms, since nothing in database/sql would wake it. Who waits longest is
// not served first.
//
// While other connections keep an SQLite database locked Lock waits, also beyond
// the driver's busy timeout. Any other failure of the database is an error, at
// once. Whether the lock has been got may be unknown then: it is given back in the
// background where that is possible, and runs out otherwise.
//
// held is done when the lease has not been renewed for as long as it lasts, and
// when another has it. unlock sends one or two statements, and gives up when the
// lease would have run out in any case.
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
				go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends when its one try does
			}
			return nil, nil, failed(ctx, "lock", key, err, "")
		case got && time.Since(sent) < s.lease:
			l := s.hold(ctx, session, owner, version, sent)
			return l.held, l.unlock, nil
		case got: // it has run out while the answer was on its way
			late = true
		default:
			if err := s.await(ctx, key, began); err != nil {
				return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, caused(ctx, err))
			}
		}
	}
	if late { // and may have been got all the same
		go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends when its one try does
	}
	return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, context.Cause(ctx))
}

// await returns when the lock that has been waited for since began seems to be
// free.
func (s *Store) await(ctx context.Context, key string, began time.Time) error {
	left := longestPoll
	for {
		pause := jittered(min(max(time.Since(began)/10, shortestPoll), longestPoll))
		if !sleep(ctx, min(pause, left)) {
			return context.Cause(ctx)
		}
		var ms int64 // 0 where there is no row
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

// giveBack gives up a lock of which it is not known whether it was got.
func (s *Store) giveBack(ctx context.Context, key, owner string) {
	ctx, cancel := context.WithTimeout(ctx, s.lease)
	defer cancel()
	_ = s.release(ctx, key, owner) // if not, it runs out
}

// release takes owner off the row, and the row out of the table if that leaves
// nothing in it. What is another's it leaves alone.
func (s *Store) release(ctx context.Context, key, owner string) error {
	var empty bool
	found, err := s.row(ctx, s.statements.release, []any{key, owner}, &empty)
	if err != nil || found && !empty {
		return err
	}
	_, err = s.exec(ctx, s.statements.sweep, key)
	return err
}
