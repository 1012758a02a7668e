package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"time"

	"github.com/reauth-go/reauth"
)

// A waiter polls the lock. It pauses for a tenth of the time it has waited, within these
// bounds, so that it loses little time to a quick refresh and polls rarely during a slow
// one.
const (
	shortestPoll = 5 * time.Millisecond
	longestPoll  = 100 * time.Millisecond
)

// Lock implements reauth.Locker. It sends one statement if the session is free. Otherwise
// Lock polls, at once and then after a tenth of the time it has waited, at least 5 and at
// most 100 ms, because nothing in database/sql would wake it. The lock is not granted in
// order of arrival. The wait ends with an error that wraps reauth.ErrChanged if the stored
// token changes meanwhile, whether or not the lock is free then.
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
	wait := &wait{store: s, key: key, began: time.Now()}
	late := false
	for ctx.Err() == nil {
		sent := time.Now()
		version, err := s.told(ctx, s.statements.take, key, recordedName(session, key), owner, s.lease.Milliseconds())
		got := version != 0
		switch {
		case err != nil && !s.dialect.contended(err):
			if !s.dialect.known(err) {
				go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends after one try
			}
			return nil, nil, s.failed(ctx, "lock", key, err, "")
		case got && time.Since(sent) < s.lease:
			l := s.hold(ctx, session, owner, version, sent)
			return l.held, l.unlock, nil
		case got: // it has expired while the answer was on its way
			late = true
		default:
			if err := wait.untilFree(ctx); err != nil {
				if late {
					go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends after one try
				}
				return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, caused(ctx, err))
			}
		}
	}
	if late { // and may have been taken all the same
		go s.giveBack(context.WithoutCancel(ctx), key, owner) // ends after one try
	}
	return nil, nil, fmt.Errorf("sqlstore: lock session %q: %w", key, context.Cause(ctx))
}

// A wait is for the lock of a session.
type wait struct {
	store *Store
	key   string
	began time.Time
	mark  *sql.NullString // of the token that was stored when the wait began; nil if not known yet
}

// untilFree returns when the lock seems to be free, or with ErrChanged when the stored token
// is another than when the wait began, or was deleted since. Then the lock may be free, but
// the token is what the caller needs.
func (w *wait) untilFree(ctx context.Context) error {
	left := longestPoll
	for {
		if w.mark != nil {
			pause := jittered(min(max(time.Since(w.began)/10, shortestPoll), longestPoll))
			if !sleep(ctx, min(pause, left)) {
				return context.Cause(ctx)
			}
		}
		var ms int64 // 0 if there is no row
		var mark sql.NullString
		_, err := w.store.row(ctx, w.store.statements.left, []any{w.key}, &ms, &mark)
		if w.store.dialect.contended(err) {
			if w.mark == nil && !sleep(ctx, shortestPoll) {
				return context.Cause(ctx)
			}
			continue
		}
		if err != nil {
			return err
		}
		if w.mark == nil {
			w.mark = &mark
		}
		switch {
		case mark != *w.mark:
			return reauth.ErrChanged
		case ms <= 0:
			return nil
		}
		left = time.Duration(ms) * time.Millisecond
	}
}

// giveBack releases a lock that may or may not have been taken.
func (s *Store) giveBack(ctx context.Context, key, owner string) {
	ctx, cancel := context.WithTimeout(ctx, s.lease)
	defer cancel()
	_ = s.release(ctx, key, owner) // if this fails, it expires
}

// release removes owner from the row, and the row from the table if it never had a token.
// It does not touch the lock of another.
func (s *Store) release(ctx context.Context, key, owner string) error {
	what, err := s.told(ctx, s.statements.release, key, owner)
	if err != nil {
		return err
	}
	switch what {
	case hasToken:
	case wasDeleted:
		s.removeDeleted(ctx)
	default: // it may have been released before
		_, err := s.exec(ctx, s.statements.sweep, key)
		return err
	}
	return nil
}
