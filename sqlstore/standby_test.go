package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/sqlstore"
)

// A pair is two servers, of which the second is a standby of the first until it is promoted.
type pair struct {
	primary, standby *server
	link             *cutproxy.Proxy // over which the standby hears of what is written
}

func newPair(tb testing.TB) pair {
	tb.Helper()
	p := pair{primary: ownServer(tb)}
	p.link = cutproxy.New(tb, p.primary.Addr())
	p.standby = &server{p.primary.Follow(tb, p.link.Addr())}
	tb.Cleanup(p.standby.Stop)
	return p
}

// synchronize makes each commit of the primary wait for the standby.
func (p pair) synchronize(t *testing.T) {
	t.Helper()
	db := postgres{server: p.primary}.connect(t)
	mustExec(t, db, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	mustExec(t, db, "SELECT pg_reload_conf()")
	p.until(t, db, "SELECT COUNT(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
}

// catchUp waits until the standby shows all that was written.
func (p pair) catchUp(t *testing.T) {
	t.Helper()
	var written string
	require.NoError(t, postgres{server: p.primary}.connect(t).QueryRowContext(t.Context(), "SELECT pg_current_wal_lsn()").Scan(&written))
	p.until(t, postgres{server: p.standby}.connect(t), "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", written)
}

// sever makes the standby hear nothing any more.
func (p pair) sever() {
	p.link.Refuse(true)
	p.link.Cut()
}

// promote makes the standby a primary.
func (p pair) promote(t *testing.T) {
	t.Helper()
	db := postgres{server: p.standby}.connect(t)
	mustExec(t, db, "SELECT pg_promote()")
	p.until(t, db, "SELECT NOT pg_is_in_recovery()")
}

func (p pair) until(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool {
		var reached bool
		return db.QueryRowContext(context.Background(), query, args...).Scan(&reached) == nil && reached
	}, time.Minute, 5*time.Millisecond, query)
}

// waits waits until a statement on a table of the primary waits for the standby.
func (p pair) waits(t *testing.T, d postgres, statement string) {
	t.Helper()
	p.until(t, d.connect(t), "SELECT COUNT(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE $1", statement+" %"+d.name+"%")
}

// dsn is the address of whichever of the two is the primary.
func (p pair) dsn() string {
	return fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=reauth password=%s dbname=postgres sslmode=disable target_session_attrs=read-write",
		p.primary.Port, p.standby.Port, p.primary.Password)
}

// connect returns a pool whose connections lead to the primary of the time.
func (p pair) connect(t *testing.T, driver string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, p.dsn())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// listening returns a store that listens to the primary of the time, and hardly polls.
func (p pair) listening(t *testing.T, d postgres) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.New(p.connect(t, "pgx"), sqlstore.PostgreSQL,
		&sqlstore.Options{Table: d.name, Poll: time.Hour, Notify: true, Listen: listenWithPgx(p.dsn())})
	require.NoError(t, err)
	return store
}

// connectVia returns a pool with many idle connections through a proxy.
func (p pair) connectVia(t *testing.T, proxy *cutproxy.Proxy) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(p.primary.dsn(proxy.Addr()))
	require.NoError(t, err)
	db := stdlib.OpenDB(*config)
	db.SetMaxIdleConns(10)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
