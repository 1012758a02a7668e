package sqlstore_test

import (
	"bufio"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	pg "github.com/reauth-go/reauth/internal/postgres"
	"github.com/reauth-go/reauth/sqlstore"
)

// A server is a PostgreSQL server that the tests have started, on loopback.
type server struct {
	*guarded
	bin string // folder of its programs
}

// guard starts the server, reports that, and stops it on the input "immediate", or when
// the tests have ended for whatever reason. It leaves nothing behind.
const guard = `
"$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -o "-p $PORT" -w start >"$DIR/start" 2>&1 || exit 1
echo started
read -r mode
"$BIN/pg_ctl" -D "$DIR/data" -m "${mode:-fast}" -w stop >/dev/null 2>&1
[ -n "$mode" ] || rm -rf "$DIR"
`

var shared struct {
	sync.Mutex
	*server
}

// sharedServer returns the server of all tests that do not stop or crash it. It ends with
// the process.
func sharedServer(tb testing.TB) *server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		shared.server = newServer(tb, "fsync = off")
	}
	return shared.server
}

// ownServer returns a server for one test, which does not lose committed data when it
// crashes. It ends with the test.
func ownServer(tb testing.TB) *server {
	tb.Helper()
	s := newServer(tb, "")
	s.endsWith(tb)
	return s
}

func newServer(tb testing.TB, settings string) *server {
	tb.Helper()
	s := &server{guarded: newGuarded(tb, "sqlstore-postgres-"), bin: pg.Programs(tb)}
	password := filepath.Join(s.dir, "password")
	require.NoError(tb, os.WriteFile(password, []byte(s.password), 0o644)) // read by another user
	out, err := s.command(tb, nil, filepath.Join(s.bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-U", "reauth",
		"-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(tb, err, "%s", out)

	conf, err := os.OpenFile(filepath.Join(s.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(tb, err)
	_, err = fmt.Fprintf(conf, "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 300\n%s\n", settings)
	require.NoError(tb, err)
	require.NoError(tb, conf.Close())
	s.launch(tb, func() error { return s.start(tb) })
	return s
}

// start returns when the server accepts connections.
func (s *server) start(tb testing.TB) error {
	tb.Helper()
	cmd := s.command(tb, []string{"BIN=" + s.bin, fmt.Sprintf("PORT=%d", s.port)}, "/bin/sh", "-c", guard)
	said, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	s.watchOver(tb, cmd)
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return fmt.Errorf("PostgreSQL did not start: %w", s.guard.Wait())
	}
	return nil
}

// dsn is the address of the server, or of a proxy in front of it.
func (s *server) dsn(addr string) string {
	if addr == "" {
		addr = fmt.Sprintf("127.0.0.1:%d", s.port)
	}
	return fmt.Sprintf("postgres://reauth:%s@%s/postgres?sslmode=disable", s.password, addr)
}

// A postgres is a table on a server.
type postgres struct {
	*server
	name string
}

func newPostgres(tb testing.TB) database {
	tb.Helper()
	return newPostgresOn(tb, sharedServer(tb))
}

func newPostgresOn(tb testing.TB, s *server) postgres {
	tb.Helper()
	p := postgres{s, "t_" + strings.ToLower(rand.Text())}
	createTable(tb, p)
	return p
}

func (p postgres) dialect() sqlstore.Dialect { return sqlstore.PostgreSQL }
func (p postgres) table() string             { return p.name }
func (p postgres) fleetDSN(lease time.Duration) string {
	return fmt.Sprintf("pgx %s %v %s", p.name, lease, p.dsn(""))
}

func (p postgres) connect(tb testing.TB) *sql.DB {
	tb.Helper()
	return p.connectVia(tb, "", pgx.QueryExecModeCacheStatement)
}

func (p postgres) connectVia(tb testing.TB, addr string, mode pgx.QueryExecMode) *sql.DB {
	tb.Helper()
	config, err := pgx.ParseConfig(p.dsn(addr))
	require.NoError(tb, err)
	config.DefaultQueryExecMode = mode
	db := stdlib.OpenDB(*config)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func (p postgres) connector(tb testing.TB) connector {
	tb.Helper()
	config, err := pgx.ParseConfig(p.dsn(""))
	require.NoError(tb, err)
	return stdlib.GetConnector(*config)
}

// closedPort returns a port on which no program listens.
func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
