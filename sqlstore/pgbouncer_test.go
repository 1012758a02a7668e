//go:build unix

package sqlstore_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
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

// startPgBouncer starts a PgBouncer in front of s, and returns its address.
func startPgBouncer(t *testing.T, s *server) string {
	t.Helper()
	program := "/usr/sbin/pgbouncer" // not on every user's PATH
	if _, err := os.Stat(program); err != nil {
		program = needs.Program(t, "pgbouncer", "apt-get install pgbouncer")
	}
	dir, err := os.MkdirTemp("", "sqlstore-pgbouncer-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port := closedPort(t)
	config, users, log := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "users"), filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
postgres = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = 2
logfile = %s
`, s.port, port, users, log), 0o600))
	require.NoError(t, os.WriteFile(users, fmt.Appendf(nil, "%q %q\n", "reauth", s.password), 0o600))
	if uid, gid, ok := another(t); ok {
		for _, path := range []string{dir, config, users} {
			require.NoError(t, os.Chown(path, int(uid), int(gid)))
		}
	}
	cmd := s.command(t, program, config)
	cmd.Dir = dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 30*time.Second, 10*time.Millisecond, "PgBouncer does not listen")
	return addr
}
