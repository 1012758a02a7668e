package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth"
)

// A Dialect is the SQL that a database understands. It has to be named, since
// database/sql does not tell what it talks to.
type Dialect int

// The dialects. The zero Dialect is none of them.
const (
	PostgreSQL Dialect = 1 + iota // 9.5 or later
	SQLite                        // 3.35 or later
)

// String returns the dialect's name.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// Options are what can be set about a [Store]. The zero value is meant for
// production. New copies them.
type Options struct {
	// Table is the table, as the database spells it, with its schema or without:
	// "reauth_sessions", "auth.reauth_sessions". Each part is of ASCII letters,
	// digits and underscores, at most 63 of them, and does not begin with a digit.
	// It is quoted where it goes into SQL, so capitals count: a table that
	// PostgreSQL was told to create as Tokens, unquoted, is called "tokens".
	// Empty means "reauth_sessions".
	Table string

	// Lease is for how long a lock is granted at a time. Its holder renews it
	// three times as often; if that holder dies, or cannot reach the database for
	// as long, others wait at most this long. It also bounds for how long the
	// database may be away between a refresh and the Save of what it brought. 0
	// means 15 s, and less than 100 ms is an error. Processes that share a table
	// may differ in it.
	Lease time.Duration
}

const (
	defaultTable  = "reauth_sessions"
	defaultLease  = 15 * time.Second
	shortestLease = 100 * time.Millisecond
)

// A Store keeps tokens in a table. It is made by [New], and may be used by many
// goroutines at once.
type Store struct {
	db         *sql.DB
	dialect    Dialect
	table      string
	lease      time.Duration
	statements statements
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store on a table of db, which stays the caller's to configure
// and to close. A nil opts is the zero Options. New does not talk to the
// database, so that a program starts even while that is away: whether the table
// is there shows at its first use. [Store.CreateTable] creates it.
//
// The error names every argument that cannot be used.
func New(db *sql.DB, dialect Dialect, opts *Options) (*Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	s := &Store{db: db, dialect: dialect, table: opts.Table, lease: opts.Lease}
	if s.table == "" {
		s.table = defaultTable
	}
	if s.lease == 0 {
		s.lease = defaultLease
	}

	var errs []error
	if db == nil {
		errs = append(errs, errors.New("sqlstore: the *sql.DB is nil"))
	}
	if dialect != PostgreSQL && dialect != SQLite {
		errs = append(errs, fmt.Errorf("sqlstore: the dialect is %v, but has to be PostgreSQL or SQLite", dialect))
	}
	quoted, err := quoteTable(s.table)
	if err != nil {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Table is %q: %w", s.table, err))
	}
	if s.lease < shortestLease {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Lease is %v, but has to be at least %v", s.lease, shortestLease))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.statements = newStatements(dialect, quoted)
	return s, nil
}

// Format writes the dialect and the table, whatever the verb, and nothing of the
// database's address.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "*sqlstore.Store[%v, table %s]", s.dialect, s.table)
}

// CreateTable creates the table unless it is there. Many processes may call it at
// once, as when a service starts; where the table is there already, the right to
// create one is not needed. While other connections keep an SQLite database
// locked, CreateTable waits, until ctx ends.
//
// A table that lacks a column is an error; it is left as it is.
func (s *Store) CreateTable(ctx context.Context) error {
	var err error
	for wait := newBackoff(shortestPoll, longestPoll); ; {
		_, err = s.exec(ctx, s.statements.create)
		if err == nil || !s.dialect.contended(err) || !sleep(ctx, wait.next()) {
			break
		}
	}
	// Two that create one table at once can collide in PostgreSQL's catalogue,
	// and who may not create tables may still have one: what counts is whether
	// it is there now.
	if _, probeErr := s.row(ctx, s.statements.probe, nil); probeErr != nil {
		if err == nil {
			err = probeErr // it was there, and is another one
		}
		return fmt.Errorf("sqlstore: create table %s: %w", s.table, caused(ctx, err))
	}
	return nil
}

// Load implements reauth.Store. What is stored and is no token is an error.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	key := rowKey(session)
	var text sql.NullString
	if _, err := s.row(ctx, s.statements.load, []any{key}, &text); err != nil {
		return reauth.Token{}, false, fmt.Errorf("sqlstore: load session %q: %w", key, caused(ctx, err))
	}
	if !text.Valid {
		return reauth.Token{}, false, nil
	}
	var tok reauth.Token
	if json.Unmarshal([]byte(text.String), &tok) != nil {
		// What package json says of it may repeat a piece of it.
		return reauth.Token{}, false, fmt.Errorf("sqlstore: load session %q: what is stored is not the JSON of a token", key)
	}
	return tok, true, nil
}

// Save implements reauth.Store. With the context of a lock it writes only as long
// as the lease stands, and while the database is away or busy it tries again
// until the lease is lost or ctx ends: the token that was spent for tok may be the
// one that is stored, and nobody else can tell. Without, it is one statement,
// whoever holds the lock.
//
// A token that is no UTF-8 is an error: JSON cannot keep it.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	key := rowKey(session)
	text, err := encode(tok)
	if err != nil {
		return fmt.Errorf("sqlstore: save session %q: %w", key, err)
	}
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "save", sql.NullString{String: text, Valid: true})
	}
	_, err = s.exec(ctx, s.statements.save, key, text)
	return failed(ctx, "save", key, err, text)
}

// Delete implements reauth.Store, with the context of a lock and without as Save
// does.
func (s *Store) Delete(ctx context.Context, session string) error {
	key := rowKey(session)
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "delete", sql.NullString{})
	}
	if _, err := s.exec(ctx, s.statements.clear, key); err != nil {
		return failed(ctx, "delete", key, err, "")
	}
	// The row goes too, unless somebody holds the lock in it: then it goes with
	// that. If this fails it stays, and says nothing.
	_, _ = s.exec(ctx, s.statements.sweep, key)
	return nil
}

func encode(tok reauth.Token) (string, error) {
	text, err := json.Marshal(tok)
	return string(text), err
}

// exec runs a statement that returns no rows, and returns how many it has
// written.
func (s *Store) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	res, err := s.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// row runs a statement that returns one row or none. It is run to its end even
// though nothing more can come: SQLite commits only then what was written, and
// says whether it could.
func (s *Store) row(ctx context.Context, statement string, args []any, into ...any) (found bool, err error) {
	rows, err := s.db.QueryContext(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		found = true
		if err := rows.Scan(into...); err != nil {
			return false, err
		}
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	return found, rows.Close()
}
