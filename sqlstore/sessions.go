package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"
)

// A Session is one that [Store.Sessions] has found.
type Session struct {
	Name    string
	SavedAt time.Time // of its token, by the database's clock; zero if that is not recorded
}

// ErrNoName is the error for a session whose name the table does not have. Its key is a hash
// of the name, and its token was last saved by the first version of this package. The next
// Lock or Save records the name.
var ErrNoName = errors.New("the session's name was not recorded")

// Sessions returns the sessions that have a token, in the order of their keys: to list them,
// to encrypt their tokens with a new key, or to refresh those that are about to end because
// nobody uses them.
//
// It reads pages of a few hundred sessions, and no connection is in use while the body of
// the loop runs. So the body may take its time, and may use the Store. A session that is
// saved or deleted during the loop is returned or not. No session is returned twice.
//
// An error that wraps [ErrNoName] is about one session, and the loop goes on if its body
// does. Any other error is the last.
func (s *Store) Sessions(ctx context.Context) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		page, after := s.statements.firstPage, ""
		for {
			rows, err := s.page(ctx, page, after)
			if err != nil {
				yield(Session{}, fmt.Errorf("sqlstore: sessions of table %s: %w", s.table, caused(ctx, err)))
				return
			}
			for _, row := range rows {
				if !yield(row.session()) {
					return
				}
			}
			if len(rows) < pageSize {
				return
			}
			page, after = s.statements.nextPage, rows[len(rows)-1].key
		}
	}
}

// pageSize is how many sessions are read at a time.
const pageSize = 500

// A sessionRow is a row of a page.
type sessionRow struct {
	key     string
	name    []byte
	savedAt sql.NullInt64
}

func (s *Store) page(ctx context.Context, st statement, after string) (page []sessionRow, err error) {
	err = s.patiently(ctx, func() error {
		page = nil
		return s.query(ctx, st, []any{after}, func(rows *sql.Rows) error {
			var r sessionRow
			err := rows.Scan(&r.key, &r.name, &r.savedAt)
			page = append(page, r)
			return err
		})
	})
	return page, err
}

func (r sessionRow) session() (found Session, err error) {
	if r.savedAt.Valid {
		found.SavedAt = time.UnixMilli(r.savedAt.Int64)
	}
	var ok bool
	if found.Name, ok = sessionOf(r.key, r.name); !ok {
		return found, fmt.Errorf("sqlstore: session %q: %w", r.key, ErrNoName)
	}
	return found, nil
}
