package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/reauth-go/reauth"
)

// A Dialect is the SQL that a database understands. The caller names it, because
// database/sql does not tell which database it is connected to.
type Dialect int

// The dialects. The zero Dialect is invalid.
const (
	PostgreSQL Dialect = 1 + iota // 9.6 or later
	SQLite                        // 3.35 or later
	MySQL                         // 8.0 or later, or MariaDB 10.6 or later
)

// String returns the dialect's name.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	case MySQL:
		return "MySQL"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// Options configure a [Store]. The zero value is meant for production. New copies them.
type Options struct {
	// Table is the table's name as the database spells it, with or without its schema,
	// such as "reauth_sessions" or "auth.reauth_sessions". Each part has at most 63
	// ASCII letters, digits and underscores, and does not begin with a digit. It is
	// quoted in SQL, so case matters. A table that was created in PostgreSQL as Tokens,
	// unquoted, is called "tokens". Empty means "reauth_sessions".
	Table string

	// Lease is how long a lock is granted at a time. Its holder renews it three times
	// as often. If the holder dies, or cannot reach the database for that long, others
	// wait at most this long. The database may also be away for that long between a
	// refresh and the Save of its result. 0 means 15 s, and less than 100 ms is an
	// error. Processes that share a table may have different values.
	Lease time.Duration

	// Poll is how often [Store.Watch] reads what has changed. 0 means 1 s, and less than
	// 10 ms is an error.
	Poll time.Duration

	// Notify makes each statement that writes a token also send a notification, for those
	// who watch with Listen. All processes that write should have it then. PostgreSQL only.
	// It sends notifications in order, so that transactions which notify are committed one
	// after the other, in the whole server. That costs throughput where thousands of
	// tokens are saved in a second.
	Notify bool

	// Listen opens a connection on which [Store.Watch] waits for notifications, so that it
	// learns of changes at once. It is called again when the connection is lost. While there
	// is none, and of what is written without Notify, Watch learns by reading. PostgreSQL only.
	Listen func(ctx context.Context) (Listener, error)
}

const (
	defaultTable  = "reauth_sessions"
	defaultLease  = 15 * time.Second
	shortestLease = 100 * time.Millisecond
)

// A Store keeps tokens in a table. Create it with [New]. It is safe for concurrent use.
type Store struct {
	db         *sql.DB
	dialect    Dialect
	table      string
	lease      time.Duration
	poll       time.Duration
	listen     func(ctx context.Context) (Listener, error)
	statements statements

	id       string       // random, by which this Store is known in changed_by
	changes  atomic.Int64 // the tokens it has written
	tidied   atomic.Int64 // when to remove the rows of deleted tokens again, as a Unix time in ms
	readOnly atomic.Int64 // until when the database counts as read-only, likewise
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store on a table of db. The caller configures and closes db. Nil opts
// mean the zero Options. New does not connect to the database, so that a program can
// start while that is away. A missing table is an error at its first use.
// [Store.CreateTable] creates it.
//
// The error names every invalid argument.
func New(db *sql.DB, dialect Dialect, opts *Options) (*Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	s := &Store{db: db, dialect: dialect, table: opts.Table, lease: opts.Lease, poll: opts.Poll, listen: opts.Listen, id: rand.Text()}
	if s.table == "" {
		s.table = defaultTable
	}
	if s.lease == 0 {
		s.lease = defaultLease
	}
	if s.poll == 0 {
		s.poll = defaultPoll
	}

	var errs []error
	if db == nil {
		errs = append(errs, errors.New("sqlstore: the *sql.DB is nil"))
	}
	if dialect < PostgreSQL || dialect > MySQL {
		errs = append(errs, fmt.Errorf("sqlstore: the dialect is %v, but must be PostgreSQL, SQLite or MySQL", dialect))
	}
	var err error
	s.statements, err = newStatements(dialect, s.table, opts.Notify)
	if err != nil {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Table is %q: %w", s.table, err))
	}
	if s.lease < shortestLease {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Lease is %v, but must be at least %v", s.lease, shortestLease))
	}
	if s.poll < shortestWait {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Poll is %v, but must be at least %v", s.poll, shortestWait))
	}
	if dialect != PostgreSQL && (opts.Notify || opts.Listen != nil) {
		errs = append(errs, fmt.Errorf("sqlstore: Options.Notify and Options.Listen are for PostgreSQL, and the dialect is %v", dialect))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Format writes the dialect and the table, whatever the verb, and nothing about the
// address of the database.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "*sqlstore.Store[%v, table %s]", s.dialect, s.table)
}

// Load implements reauth.Store. With the context of a lock the statement also asks for the
// lock. If reads go to a replica that lags, Load waits until that shows it. A stored value
// that is not a token is an error.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	key := rowKey(session)
	var text sql.NullString
	var err error
	if l := s.leaseIn(ctx, session); l != nil {
		if text, err = l.read(ctx); err != nil {
			return reauth.Token{}, false, err
		}
	} else if text, err = s.loaded(ctx, key); err != nil {
		return reauth.Token{}, false, fmt.Errorf("sqlstore: load session %q: %w", key, caused(ctx, err))
	}
	if !text.Valid {
		return reauth.Token{}, false, nil
	}
	var tok reauth.Token
	if json.Unmarshal([]byte(text.String), &tok) != nil {
		// The error of package json may quote the value.
		return reauth.Token{}, false, fmt.Errorf("sqlstore: load session %q: the stored value is not the JSON of a token", key)
	}
	return tok, true, nil
}

// errMixedUp says that a token may be stored although the answer has none.
var errMixedUp = errors.New("the answer is that of another statement: the driver, or how it is set up, does not work with a pooler that assigns connections to transactions")

// loaded returns the token in a row, without a lease. In PostgreSQL some drivers prepare a
// statement in one round trip, and execute it in the next. A pooler may use the connection
// for somebody else in between, whose statement is then executed. Its answer must not pass
// for that of a session without a token.
func (s *Store) loaded(ctx context.Context, key string) (text sql.NullString, err error) {
	if s.dialect != PostgreSQL {
		_, err = s.row(ctx, s.statements.load, []any{key}, &text)
		return text, err
	}
	var tag string
	found, err := s.row(ctx, s.statements.load, []any{key}, &tag, &text)
	if err == nil && (!found || tag != "token") {
		err = errMixedUp
	}
	return text, err
}

// Save implements reauth.Store. With the context of a lock it writes only while the lease
// lasts. While the database is away, busy, full or read-only it retries until the lease is
// lost or ctx is done, because the stored token may be the one that was spent for tok, which
// no other process can know. Without a lock it is one statement, even if somebody holds the
// lock.
//
// A token that is not UTF-8 is an error, because JSON cannot represent it.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	key := rowKey(session)
	text, err := s.encode(tok)
	if err != nil {
		return fmt.Errorf("sqlstore: save session %q: %w", key, err)
	}
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "save", sql.NullString{String: text, Valid: true})
	}
	_, err = s.exec(ctx, s.statements.save, key, recordedName(session, key), text, s.changeMark(), 1)
	return s.failed(ctx, "save", key, err, text)
}

// Delete implements reauth.Store. It treats the context of a lock as Save does.
func (s *Store) Delete(ctx context.Context, session string) error {
	key := rowKey(session)
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "delete", sql.NullString{})
	}
	n, err := s.exec(ctx, s.statements.clear, key, s.changeMark(), "clear")
	switch {
	case err != nil:
		return s.failed(ctx, "delete", key, err, "")
	case n > 0:
		s.removeDeleted(ctx)
	default:
		// There may be a row that a dead holder of the lock has left. If this fails, it remains.
		_, _ = s.exec(ctx, s.statements.sweep, key)
	}
	return nil
}

// changeMark returns the mark of a write of a token, which no other write has.
func (s *Store) changeMark() string { return s.id + "." + strconv.FormatInt(s.changes.Add(1), 10) }

// encode returns the JSON of a token. In MySQL it is ASCII, which is the same in whatever
// character set a connection has.
func (s *Store) encode(tok reauth.Token) (string, error) {
	text, err := json.Marshal(tok)
	if err != nil || s.dialect != MySQL {
		return string(text), err
	}
	var ascii strings.Builder
	for _, r := range string(text) {
		switch {
		case r < utf8.RuneSelf:
			ascii.WriteByte(byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}
	return ascii.String(), nil
}
