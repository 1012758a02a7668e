package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/sqlstore"
)

// A script is a database that answers correctly, or as a test says.
type script struct {
	standby atomic.Bool  // it says that it is one
	from    atomic.Int64 // since when it was last asked for changes

	mu sync.Mutex
	do func(ctx context.Context, purpose string) error
}

func scriptedStore(t *testing.T, s *script) *sqlstore.Store {
	t.Helper()
	db := sql.OpenDB(s)
	t.Cleanup(func() { _ = db.Close() })
	store, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Lease: 15 * time.Second})
	require.NoError(t, err)
	return store
}

// Answers to a query that are not errors: no row, and a row with a number other than 1.
var errNoRow = errors.New("no row")

type number int64

func (n number) Error() string { return "a row of " + strconv.FormatInt(int64(n), 10) }

// answer sets the function that is called for each statement. Its error is the answer.
func (s *script) answer(do func(ctx context.Context, purpose string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *script) run(ctx context.Context, statement string) error {
	s.mu.Lock()
	do := s.do
	s.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx, purpose(statement))
}

func (s *script) Driver() driver.Driver                        { return nil }
func (s *script) Connect(context.Context) (driver.Conn, error) { return &scriptedConn{script: s}, nil }

type scriptedConn struct {
	driver.Conn
	*script
}

func (c *scriptedConn) Close() error { return nil }

func (c *scriptedConn) ExecContext(ctx context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), c.run(ctx, statement)
}

func (c *scriptedConn) QueryContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	err := c.run(ctx, statement)
	row := &oneRow{columns: []string{"one"}, number: 1}
	if purpose(statement) == looks {
		row.columns = []string{"one", "mark"}
	}
	if strings.Contains(statement, "UNION ALL") { // what was changed: nothing, and the time
		row.columns, row.at = []string{"session", "name", "at", "by"}, 2
		row.standby = c.standby.Load()
		c.from.Store(args[0].Value.(int64))
	}
	if errors.Is(err, errNoRow) {
		row.read, err = true, nil
	}
	if n, ok := errors.AsType[number](err); ok {
		row.number, err = int64(n), nil
	}
	return row, err
}

// oneRow is a version, the remaining time of a lock, or what a release tells of the row.
type oneRow struct {
	columns []string
	at      int // the column of the number; the others are NULL
	number  int64
	standby bool // which the column after that of the number says
	read    bool
}

func (r *oneRow) Columns() []string { return r.columns }
func (*oneRow) Close() error        { return nil }
func (r *oneRow) Next(into []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	into[r.at] = r.number
	if r.standby {
		into[r.at+1] = "standby"
	}
	return nil
}
