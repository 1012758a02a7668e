package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/sqlstore"
)

// A script is a database that does what it is asked, or what a test wants.
type script struct {
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

// answer sets what is called for each statement; its error is the answer.
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

func (c *scriptedConn) QueryContext(ctx context.Context, statement string, _ []driver.NamedValue) (driver.Rows, error) {
	return &oneRow{}, c.run(ctx, statement)
}

// oneRow is a version, or whether the token is none.
type oneRow struct{ read bool }

func (*oneRow) Columns() []string { return []string{"one"} }
func (*oneRow) Close() error      { return nil }
func (r *oneRow) Next(into []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	into[0] = int64(1)
	return nil
}
