package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/sqlstore"
)

// fleetLease is the lease in the processes of a fleet.
const fleetLease = 2 * time.Second

func TestMain(m *testing.M) { fleet.Main(m, open) }

// open opens a store from the driver, table, lease and address that fleetDSN returned.
func open(dsn string) (reauth.Store, error) {
	parts := strings.SplitN(dsn, " ", 4)
	lease, err := time.ParseDuration(parts[2])
	if err != nil {
		return nil, err
	}
	db, err := sql.Open(parts[0], parts[3])
	if err != nil {
		return nil, err
	}
	opts := &sqlstore.Options{Table: parts[1], Lease: lease}
	dialect := sqlstore.PostgreSQL
	switch parts[0] {
	case "sqlite":
		dialect = sqlstore.SQLite
	case "mysql":
		dialect = sqlstore.MySQL
	default:
		opts.Notify, opts.Listen = true, listenWithPgx(parts[3])
	}
	return sqlstore.New(db, dialect, opts)
}

// A database is a table, and the ways to reach it.
type database interface {
	dialect() sqlstore.Dialect
	table() string
	fleetDSN(lease time.Duration) string
	connect(tb testing.TB) *sql.DB // a pool of its own, which is closed with the test
	connector(tb testing.TB) connector
}

type connector = driver.Connector

// onEach runs a test on a new table of each kind of database.
func onEach(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newPostgres(t)) })
	t.Run("SQLite", func(t *testing.T) { test(t, newSQLite(t)) })
	t.Run("MySQL", func(t *testing.T) { test(t, newMariaDBTable(t)) })
}

// An ownedServer is one that a test may stop and set read-only.
type ownedServer interface {
	Crash()
	Start(tb testing.TB)
	readOnly(t *testing.T, on bool) // for all transactions, those of open connections too
}

// onOwnServer runs a test on a new table on a server of its own.
func onOwnServer(t *testing.T, test func(t *testing.T, d database, s ownedServer)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) {
		s := ownServer(t)
		test(t, newPostgresOn(t, s), s)
	})
	t.Run("MySQL", func(t *testing.T) {
		s := ownMariaDB(t)
		test(t, newMariaDBTableOn(t, s, "interpolateParams=true"), s)
	})
}

// newStore returns a store over a pool of its own. If lease is 0 it has a very long
// lease, so that nothing happens only because a lease has expired.
func newStore(tb testing.TB, d database, lease time.Duration) *sqlstore.Store {
	tb.Helper()
	return newStoreOn(tb, d, d.connect(tb), lease)
}

func newStoreOn(tb testing.TB, d database, db *sql.DB, lease time.Duration) *sqlstore.Store {
	tb.Helper()
	if lease == 0 {
		lease = time.Hour
	}
	store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: d.table(), Lease: lease})
	require.NoError(tb, err)
	return store
}

func createTable(tb testing.TB, d database) {
	tb.Helper()
	require.NoError(tb, newStore(tb, d, 0).CreateTable(tb.Context()))
}

// mustLock takes a lock, within the patience of a test.
func mustLock(t *testing.T, store *sqlstore.Store, session string) (held context.Context, unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	held, unlock, err := lockAgain(ctx, store, session)
	require.NoError(t, err)
	return held, unlock
}

// lockAgain takes a lock, whatever changes meanwhile.
func lockAgain(ctx context.Context, store *sqlstore.Store, session string) (held context.Context, unlock func(), err error) {
	for {
		held, unlock, err = store.Lock(ctx, session)
		if !errors.Is(err, reauth.ErrChanged) {
			return held, unlock, err
		}
	}
}

// mustBeLocked checks that a lock cannot be taken.
func mustBeLocked(t *testing.T, store *sqlstore.Store, session string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := store.Lock(ctx, session)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// mustHold checks which access token is stored, without showing it.
func mustHold(t *testing.T, store *sqlstore.Store, session, accessToken string) {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok, "there is no token")
	require.True(t, tok.AccessToken == accessToken, "the token is another")
}

func token(name string) reauth.Token {
	return reauth.Token{AccessToken: "access-" + name, RefreshToken: "refresh-" + name}
}

// rows counts the rows of a table, without that of the version and those of tokens that
// were deleted.
func rows(t *testing.T, d database, db *sql.DB) (n int) {
	t.Helper()
	return count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE session <> 'sha256:schema' AND deleted_at IS NULL")
}

func count(t *testing.T, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), asOf(db, query), args...).Scan(&n))
	return n
}

func mustExec(tb testing.TB, db *sql.DB, statement string, args ...any) {
	tb.Helper()
	_, err := db.ExecContext(tb.Context(), asOf(db, statement), args...)
	require.NoError(tb, err)
}

// A sqlite is a table in a file.
type sqlite struct{ path, pragmas string }

func newSQLite(tb testing.TB) database {
	tb.Helper()
	return newSQLiteWith(tb, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
}

func newSQLiteWith(tb testing.TB, pragmas string) sqlite {
	tb.Helper()
	s := sqlite{filepath.Join(tb.TempDir(), "tokens.db"), pragmas}
	createTable(tb, s)
	return s
}

func (s sqlite) dialect() sqlstore.Dialect { return sqlstore.SQLite }
func (s sqlite) table() string             { return "reauth_sessions" }
func (s sqlite) fleetDSN(lease time.Duration) string {
	return fmt.Sprintf("sqlite %s %v %s", s.table(), lease, s.dsn())
}
func (s sqlite) dsn() string { return fmt.Sprintf("file:%s?%s", s.path, s.pragmas) }

func (s sqlite) connect(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", s.dsn())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func (s sqlite) connector(tb testing.TB) connector {
	tb.Helper()
	return dsnConnector{s.connect(tb).Driver(), s.dsn()}
}

type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }
