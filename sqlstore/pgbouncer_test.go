//go:build unix

package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq" // the driver "postgres"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/guarded"
	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// There are two connections for all clients, assigned to transactions. State that a
// client kept in one would show up for another client.
func TestStoreBehindPgBouncer(t *testing.T) {
	const lease = time.Second
	d := newPostgres(t).(postgres)
	addr := startPgBouncer(t, d.server)
	admin := d.connect(t)
	storetest.Run(t, storetest.Storage{
		Open: func(tb testing.TB) reauth.Store {
			return newStoreOn(tb, d, d.connectVia(tb, addr, pgx.QueryExecModeExec), lease)
		},
		Lose: func(tb testing.TB, session string) {
			mustExec(tb, admin, "UPDATE "+d.table()+" SET owner = 'dead', deadline = 1 WHERE session = $1", session)
		},
		TellsChanges: true,
		Lease:        lease,
	})
}

// A statement must be prepared and executed in one round trip. The mode describe_exec of pgx
// needs two, and the statement of another client may come in between, which is then executed
// with the arguments of this one. That is an error, and signs nobody out.
func TestDriversBehindPgBouncer(t *testing.T) {
	d := newPostgres(t).(postgres)
	addr := startPgBouncer(t, d.server)
	pq, err := sql.Open("postgres", d.dsn(addr)+"&binary_parameters=yes")
	require.NoError(t, err)
	defer pq.Close()
	for name, db := range map[string]*sql.DB{
		"pgx exec":             d.connectVia(t, addr, pgx.QueryExecModeExec),
		"pgx cache_describe":   d.connectVia(t, addr, pgx.QueryExecModeCacheDescribe),
		"pq binary_parameters": pq,
		"pgx describe_exec":    d.connectVia(t, addr, pgx.QueryExecModeDescribeExec),
	} {
		t.Run(name, func(t *testing.T) {
			var failed atomic.Int64
			var wg sync.WaitGroup
			for i := range 8 {
				session := fmt.Sprint("session", i)
				require.NoError(t, newStore(t, d, 0).Save(t.Context(), session, token("1")))
				store := newStoreOn(t, d, db, time.Minute)
				wg.Go(func() {
					for range 50 {
						if store.Save(t.Context(), session, token("1")) != nil {
							failed.Add(1)
						}
						tok, ok, err := store.Load(t.Context(), session)
						switch {
						case err != nil:
							failed.Add(1)
						case !ok || tok.AccessToken != "access-1":
							t.Error("a token was stored, and another or none was loaded")
						}
						if store.Delete(t.Context(), "another "+session) != nil {
							failed.Add(1)
						}
						held, unlock, err := store.Lock(t.Context(), session)
						if err != nil {
							failed.Add(1)
							continue
						}
						if tok, ok, err := store.Load(held, session); err == nil && (!ok || tok.AccessToken != "access-1") {
							t.Error("a token was stored, and another or none was loaded under a lock")
						}
						unlock()
					}
				})
			}
			wg.Wait()
			if name != "pgx describe_exec" {
				assert.Zero(t, failed.Load())
			}
			t.Logf("%d errors", failed.Load())
			for i := range 8 {
				mustHold(t, newStore(t, d, 0), fmt.Sprint("session", i), "access-1")
			}
		})
	}
}

// The pooler's connections to a server that refuses to write are its own. It is the one to be
// told when the address has moved.
func TestConnectionsOfPgBouncerOutlastAFailover(t *testing.T) {
	d := newPostgres(t).(postgres)
	addr := startPgBouncer(t, d.server)
	admin := d.connect(t)
	admin.SetMaxOpenConns(1)
	exec := func(statement string) {
		_, err := admin.ExecContext(context.Background(), statement)
		require.NoError(t, err)
	}
	restore := sync.OnceFunc(func() { exec("ALTER DATABASE postgres RESET default_transaction_read_only") })
	t.Cleanup(restore)

	exec("ALTER DATABASE postgres SET default_transaction_read_only = on") // for new connections
	store := newStoreOn(t, d, d.connectVia(t, addr, pgx.QueryExecModeExec), 0)
	require.ErrorContains(t, store.Save(t.Context(), "ann", token("1")), "read-only")
	restore()
	require.ErrorContains(t, store.Save(t.Context(), "ann", token("1")), "read-only")

	pooler, err := connectPooler(t, d.server, addr)
	require.NoError(t, err)
	defer pooler.Close(t.Context())
	_, err = pooler.Exec(t.Context(), "RECONNECT")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return store.Save(t.Context(), "ann", token("1")) == nil }, time.Minute, 10*time.Millisecond)
}

// startPgBouncer starts a PgBouncer in front of s, and returns its address.
func startPgBouncer(t *testing.T, s *server) string {
	t.Helper()
	program := "/usr/sbin/pgbouncer" // not on every user's PATH
	if _, err := os.Stat(program); err != nil {
		program = needs.Program(t, "pgbouncer", "apt-get install pgbouncer")
	}
	b := guarded.New(t, "reauth-pgbouncer-")
	users := fmt.Appendf(nil, "%q %q\n", "reauth", s.Password)
	require.NoError(t, os.WriteFile(filepath.Join(b.Dir, "users"), users, 0o644)) // read by another user
	b.Launch(t, func() error {
		require.NoError(t, os.WriteFile(filepath.Join(b.Dir, "pgbouncer.ini"), fmt.Appendf(nil, `[databases]
postgres = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s/users
admin_users = reauth
pool_mode = transaction
default_pool_size = 2
logfile = %[3]s/log
`, s.Port, b.Port, b.Dir), 0o644))
		b.Guard(t, pgBouncerGuard, "PROGRAM="+program)
		return b.Await("PgBouncer", func() error {
			conn, err := connectPooler(t, s, b.Addr())
			if err != nil {
				return err
			}
			return conn.Close(t.Context())
		})
	})
	t.Cleanup(b.Stop)
	return b.Addr()
}

// connectPooler connects to a PgBouncer itself, which opens no connection to the server.
func connectPooler(t *testing.T, s *server, addr string) (*pgx.Conn, error) {
	t.Helper()
	return pgx.Connect(t.Context(), s.AddressVia(addr, "pgbouncer")+"&default_query_exec_mode=simple_protocol")
}

// pgBouncerGuard runs PgBouncer, and stops it.
const pgBouncerGuard = `
"$PROGRAM" "$DIR/pgbouncer.ini" >/dev/null 2>&1 &
pid=$!
read -r mode
kill -9 $pid
wait $pid
[ -n "$mode" ] || rm -rf "$DIR"
`
