package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"
)

// readOnlyFor is for how long a database counts as read-only that has refused a new connection.
const readOnlyFor = time.Second

// exec runs a statement that returns no rows, and returns how many rows it has written, or
// what it tells of its row.
func (s *Store) exec(ctx context.Context, st statement, args ...any) (n int64, err error) {
	err = s.again(ctx, func() error {
		res, err := s.db.ExecContext(ctx, st.text, st.arguments(args)...)
		switch {
		case err != nil:
		case st.tells:
			n, err = res.LastInsertId()
		default:
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}

// told runs a statement that writes to one row, and returns what it tells of that, or 0 if
// there is no such row.
func (s *Store) told(ctx context.Context, st statement, args ...any) (n int64, err error) {
	if st.tells {
		return s.exec(ctx, st, args...)
	}
	_, err = s.row(ctx, st, args, &n)
	return n, err
}

// row runs a statement that returns one row or none.
func (s *Store) row(ctx context.Context, st statement, args []any, into ...any) (found bool, err error) {
	err = s.again(ctx, func() error {
		found = false
		return s.query(ctx, st, args, func(rows *sql.Rows) error {
			found = true
			return rows.Scan(into...)
		})
	})
	return found && err == nil, err
}

// keys runs a statement that returns keys of rows.
func (s *Store) keys(ctx context.Context, st statement, args ...any) (keys []string, err error) {
	err = s.again(ctx, func() error {
		keys = nil
		return s.query(ctx, st, args, func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&key)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

// again runs a statement again if the database has undone it because of others that ran at
// the same time, such as in a deadlock.
func (s *Store) again(ctx context.Context, run func() error) error {
	const tries = 10
	wait := newBackoff(time.Millisecond, longestPoll)
	for try := 1; ; try++ {
		err := s.elsewhere(ctx, run)
		if try == tries || !s.dialect.undone(err) || !sleep(ctx, wait.next()) {
			return err
		}
	}
}

// query calls each for each row. It reads to the end even if no more rows can come, because
// SQLite commits only then, and reports whether it could.
func (s *Store) query(ctx context.Context, st statement, args []any, each func(*sql.Rows) error) error {
	rows, err := s.db.QueryContext(ctx, st.text, st.arguments(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// elsewhere runs a statement, and runs it again on other connections of the pool if its
// server is read-only. After a failover the pool still has connections to the server that was
// demoted, which work but for writing. They are dropped, until a statement succeeds or a new
// connection is refused, too. Then it is the database that is read-only, and for a while only
// the connection that was refused is dropped, so that the others remain for those who read.
func (s *Store) elsewhere(ctx context.Context, run func() error) error {
	err := run()
	if !s.dialect.demoted(err) {
		return err
	}
	others := max(1, s.db.Stats().Idle)
	if time.Now().UnixMilli() < s.readOnly.Load() {
		others = 0
	}
	for ; ; others-- {
		s.drop(ctx)
		if others == 0 || ctx.Err() != nil {
			break
		}
		if err = run(); !s.dialect.demoted(err) {
			return err
		}
		if others == 1 {
			s.readOnly.Store(time.Now().Add(readOnlyFor).UnixMilli())
		}
	}
	return err
}

// drop closes the connection that was last returned to the pool.
func (s *Store) drop(ctx context.Context) {
	if s.db.Stats().Idle == 0 { // it would open another
		return
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
