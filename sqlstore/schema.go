package sqlstore

import (
	"context"
	"fmt"
)

// CreateTable creates the table unless it exists, and adds to the table of an earlier
// version of this package what it lacks. Many processes may call it at once, for example
// when a service starts, while processes of that version use the table. They go on
// working. If the table exists and is up to date, CreateTable only reads, and the right to
// create or alter a table is not needed. While other connections keep an SQLite database
// locked, CreateTable waits until ctx is done.
//
// A table that a later version of this package has upgraded is an error, and so is one
// that lacks a column which the first version had.
func (s *Store) CreateTable(ctx context.Context) error {
	is, _ := s.inspect(ctx) // makeTable fails for the same reason, if it is not that the table is missing
	var commits int64
	if s.statements.settings.text != "" {
		_, settingsErr := s.row(ctx, s.statements.settings, nil, &commits)
		if settingsErr == nil && commits == 0 {
			return fmt.Errorf("sqlstore: create table %s: autocommit is off for the connections to the database, so that nothing would be stored", s.table)
		}
	}
	var err error
	switch {
	case is.edition > schemaVersion:
		err = fmt.Errorf("it has version %d, of a later version of this package, while this one knows versions up to %d", is.edition, schemaVersion)
	case is.edition == schemaVersion && is.whole:
		return nil
	default:
		err = s.makeTable(ctx, is)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: create table %s: %w", s.table, caused(ctx, err))
	}
	return nil
}

// A shape is what is known of the table.
type shape struct {
	ours    bool  // it has the columns of the first edition
	whole   bool  // it has all columns
	edition int64 // the version of the table, or 0 if it has none
}

// inspect returns the shape of the table. The error says why it is not whole.
func (s *Store) inspect(ctx context.Context) (is shape, err error) {
	read := func(st statement, into ...any) error {
		return s.patiently(ctx, func() error {
			_, err := s.row(ctx, st, nil, into...)
			return err
		})
	}
	if err := read(s.statements.probeFirst); err != nil {
		return is, err
	}
	is.ours = true
	if err := read(s.statements.edition, &is.edition); err != nil {
		return is, err
	}
	err = read(s.statements.probe)
	is.whole = err == nil
	return is, err
}

// makeTable creates or upgrades the table. Processes that do so at once can collide in
// PostgreSQL's catalogue, and a user who may not create tables may still have one. So only
// the result matters.
func (s *Store) makeTable(ctx context.Context, is shape) error {
	var err, missing error
	run := func(st statement) error {
		return s.patiently(ctx, func() error {
			_, err := s.exec(ctx, st)
			return err
		})
	}
	if !is.ours {
		err = run(s.statements.create)
		is, missing = s.inspect(ctx)
	}
	if is.ours && !is.whole {
		for _, st := range s.statements.upgrade {
			if failure := run(st); failure != nil {
				err = failure // perhaps only because the column is there
			}
		}
		is, missing = s.inspect(ctx)
	}
	switch {
	case !is.whole && err != nil:
		return err
	case !is.whole:
		return missing // it exists, but with other columns
	}
	// Without an index everything works, but Watch and Purge read more. A table made by
	// hand may belong to somebody else.
	for _, st := range s.statements.indexes {
		_ = run(st)
	}
	_ = run(s.statements.mark) // which a database that is read-only refuses
	return ctx.Err()
}

// patiently calls run again while others are using the database.
func (s *Store) patiently(ctx context.Context, run func() error) error {
	for wait := newBackoff(shortestPoll, longestPoll); ; {
		err := run()
		if err == nil || !s.dialect.contended(err) || !sleep(ctx, wait.next()) {
			return err
		}
	}
}
