package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

// The purposes of the statements of a store.
const (
	loads    = "load"
	takes    = "take"    // the lock, if it is free
	looks    = "look"    // whether the lock is free
	renews   = "renew"   // the lease
	writes   = "write"   // a token, under a lease
	releases = "release" // the lock
	others   = "other"
)

func purpose(statement string) string {
	for part, purpose := range map[string]string{
		"SELECT token FROM": loads, "RETURNING version": takes, "SELECT COALESCE": looks, "RETURNING CASE": releases,
		"SET deadline = CAST": renews, "writes = $5": writes, "writes = ?5": writes,
		"LAST_INSERT_ID(1)": takes, "IF(LAST_INSERT_ID(CASE": releases, // in MySQL
		"version = LAST_INSERT_ID(version)": renews, "writes = LAST_INSERT_ID(?)": writes,
	} {
		if strings.Contains(statement, part) {
			return purpose
		}
	}
	return others
}

// errCut is the error of drivers when a connection breaks.
var errCut = io.ErrUnexpectedEOF

// A meddler sits between a pool and its driver. It counts the statements, and makes
// chosen ones fail, before or after the database has executed them.
type meddler struct {
	driver.Connector

	mu     sync.Mutex
	counts map[string]int
	unlike map[string]int // transactions, and statements prepared explicitly
	before func(purpose string) error
	after  func(purpose string) error
	reads  connector // where loads go, if not nil
	detain string    // the purpose of the statement that arrives late
	late   func() error
}

// meddle returns a pool that goes through a meddler.
func meddle(tb testing.TB, d database) (*sql.DB, *meddler) {
	tb.Helper()
	m := &meddler{Connector: d.connector(tb), counts: make(map[string]int), unlike: make(map[string]int)}
	db := sql.OpenDB(m)
	tb.Cleanup(func() { _ = db.Close() })
	return db, m
}

// failBefore makes statements fail without being sent, if fail returns an error.
func (m *meddler) failBefore(fail func(purpose string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = fail
}

// failAfter makes statements fail after they have been executed, as if their answer were
// lost.
func (m *meddler) failAfter(fail func(purpose string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = fail
}

// times returns a function that fails the first statements of a purpose.
func times(n int, of string, err error) func(string) error {
	return func(purpose string) error { // called with meddler.mu held
		if purpose != of || n == 0 {
			return nil
		}
		n--
		return err
	}
}

func always(of string, err error) func(string) error { return times(-1, of, err) }

// count returns how many statements of a purpose have come so far.
func (m *meddler) count(purpose string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[purpose]
}

func (m *meddler) all() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.counts {
		n += c
	}
	return n
}

func (m *meddler) enter(statement string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := purpose(statement)
	m.counts[p]++
	if m.before == nil {
		return nil
	}
	return m.before(p)
}

func (m *meddler) leave(statement string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.after == nil {
		return nil
	}
	return m.after(purpose(statement))
}

// readFrom makes loads go to another database, as with a pool that sends reads to a
// replica.
func (m *meddler) readFrom(reads connector) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads = reads
}

func (m *meddler) readsFrom() connector {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// detainNext makes the next statement of a purpose fail, and returns a function that
// lets it arrive after all.
func (m *meddler) detainNext(purpose string) (release func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.detain = purpose
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.late()
	}
}

func (m *meddler) detained(statement string, args []driver.NamedValue) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.detain != purpose(statement) {
		return false
	}
	m.detain = ""
	m.late = func() error {
		conn, err := m.Connector.Connect(context.Background())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.(driver.ExecerContext).ExecContext(context.Background(), statement, args)
		return err
	}
	return true
}

func (m *meddler) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := m.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &meddledConn{conn, m}, nil
}

type meddledConn struct {
	driver.Conn
	*meddler
}

func (c *meddledConn) Prepare(string) (driver.Stmt, error) { return nil, c.never("prepared") }
func (c *meddledConn) Begin() (driver.Tx, error)           { return nil, c.never("begun") }

func (c *meddledConn) never(what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlike[what]++
	return errors.New("a statement was " + what)
}

func (c *meddledConn) ExecContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.enter(statement); err != nil {
		return nil, err
	}
	if c.detained(statement, args) {
		return nil, errCut
	}
	res, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, statement, args)
	if lost := c.leave(statement); err == nil && lost != nil {
		return nil, lost
	}
	return res, err
}

func (c *meddledConn) QueryContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.enter(statement); err != nil {
		return nil, err
	}
	conn := c.Conn
	if reads := c.readsFrom(); reads != nil && purpose(statement) == loads {
		replica, err := reads.Connect(ctx)
		if err != nil {
			return nil, err
		}
		conn = replica
	}
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, statement, args)
	if lost := c.leave(statement); err == nil && lost != nil {
		_ = rows.Close()
		return nil, lost
	}
	return rows, err
}

func (c *meddledConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *meddledConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}
