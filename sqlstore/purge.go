package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Purge deletes the sessions whose token was last saved longer than olderThan ago, by the
// database's clock, and returns how many. A session that is locked at that moment stays,
// because its token is being replaced, and so does one whose token was saved meanwhile. A
// token that was last saved by the first version of this package counts as saved when the
// table was upgraded.
//
// What is left of other sessions that have no token, such as the lock of a process that
// died, goes too. Rows are removed a few at a time, so nobody waits for long. Purge reads
// the keys of the whole table once. If it fails, the number is that of the sessions that
// were deleted before.
//
// [Store.Watch] tells of what was deleted, also that of this Store, because its program may
// still use the token.
//
// olderThan must be positive. Choose it longer than refresh tokens live without being used.
func (s *Store) Purge(ctx context.Context, olderThan time.Duration) (int, error) {
	if olderThan <= 0 {
		return 0, fmt.Errorf("sqlstore: purge table %s: olderThan is %v, but must be positive", s.table, olderThan)
	}
	deleted, err := s.deleteUnused(ctx, olderThan)
	if err == nil {
		err = s.removeRows(ctx)
	}
	if err != nil {
		err = fmt.Errorf("sqlstore: purge table %s: %w", s.table, caused(ctx, err))
	}
	return deleted, err
}

// deleteUnused deletes the tokens that were last saved longer than olderThan ago.
func (s *Store) deleteUnused(ctx context.Context, olderThan time.Duration) (deleted int, err error) {
	var upgraded sql.NullInt64
	err = s.patiently(ctx, func() error {
		_, err := s.row(ctx, s.statements.upgraded, nil, &upgraded)
		return err
	})
	age := max(1, olderThan.Milliseconds())
	for err == nil {
		var keys []string
		var n int64
		err = s.patiently(ctx, func() (err error) {
			keys, err = s.keys(ctx, s.statements.unused, age, upgraded)
			if err != nil || len(keys) == 0 {
				return err
			}
			n, err = s.exec(ctx, s.statements.purge, padded(keys, age, upgraded, "purge."+s.changeMark())...)
			return err
		})
		deleted += int(n)
		if err != nil || len(keys) < batch || n == 0 {
			break
		}
	}
	return deleted, err
}

// removeRows removes the rows that have no token, and that nobody needs any more.
func (s *Store) removeRows(ctx context.Context) error {
	dead, after := s.statements.firstDead, ""
	for {
		var keys []string
		err := s.patiently(ctx, func() (err error) {
			keys, err = s.keys(ctx, dead, after)
			if err != nil || len(keys) == 0 {
				return err
			}
			_, err = s.exec(ctx, s.statements.bury, padded(keys)...)
			return err
		})
		if err != nil || len(keys) < batch {
			return err
		}
		dead, after = s.statements.nextDead, keys[len(keys)-1]
	}
}
