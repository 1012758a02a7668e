package sqlstore_test

import (
	"cmp"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/guarded"
	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/sqlstore"
)

// A mariadbServer is a MariaDB server that the tests have started.
type mariadbServer struct {
	*guarded.Server
	password string
}

// mariadbGuard runs the server, and stops it.
const mariadbGuard = `
mariadbd=$(command -v mariadbd || echo /usr/sbin/mariadbd)
"$mariadbd" --defaults-file="$DIR/my.cnf" >>"$DIR/log" 2>&1 &
pid=$!
read -r mode
if [ "$mode" = immediate ]; then kill -9 $pid; else kill $pid; fi
wait $pid
[ -n "$mode" ] || rm -rf "$DIR"
`

var sharedMariaDB struct {
	sync.Mutex
	*mariadbServer
}

// sharedMariaDBServer returns the server of all tests that do not stop or crash it.
func sharedMariaDBServer(tb testing.TB) *mariadbServer {
	tb.Helper()
	sharedMariaDB.Lock()
	defer sharedMariaDB.Unlock()
	if sharedMariaDB.mariadbServer == nil {
		sharedMariaDB.mariadbServer = newMariaDB(tb, "innodb_flush_log_at_trx_commit = 0")
	}
	return sharedMariaDB.mariadbServer
}

// ownMariaDB returns a server for one test, with the default durability.
func ownMariaDB(tb testing.TB) *mariadbServer {
	tb.Helper()
	s := newMariaDB(tb, "")
	tb.Cleanup(s.Stop)
	return s
}

func newMariaDB(tb testing.TB, settings string) *mariadbServer {
	tb.Helper()
	if _, err := os.Stat("/usr/sbin/mariadbd"); err != nil { // not on every user's PATH
		needs.Program(tb, "mariadbd", "apt-get install mariadb-server")
	}
	install := needs.Program(tb, "mariadb-install-db", "apt-get install mariadb-server")
	s := &mariadbServer{guarded.New(tb, "reauth-mariadb-"), rand.Text()}
	data := filepath.Join(s.Dir, "data")
	out, err := s.Command(tb, nil, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput()
	require.NoError(tb, err, "%s", out)
	users := fmt.Sprintf(`CREATE DATABASE IF NOT EXISTS reauth;
CREATE USER IF NOT EXISTS reauth@127.0.0.1 IDENTIFIED BY '%[1]s';
GRANT ALL ON reauth.* TO reauth@127.0.0.1;
CREATE USER IF NOT EXISTS admin@127.0.0.1 IDENTIFIED BY '%[1]s';
GRANT ALL ON *.* TO admin@127.0.0.1 WITH GRANT OPTION;
DROP USER IF EXISTS root@localhost;
`, s.password)
	require.NoError(tb, os.WriteFile(filepath.Join(s.Dir, "users.sql"), []byte(users), 0o644)) // read by another user

	s.Launch(tb, func() error {
		require.NoError(tb, os.WriteFile(filepath.Join(s.Dir, "my.cnf"), fmt.Appendf(nil, `[mariadbd]
datadir = %s
port = %d
bind-address = 127.0.0.1
socket = %s/socket
pid-file = %[3]s/pid
init-file = %[3]s/users.sql
skip-name-resolve
max_connections = 300
innodb_buffer_pool_size = 32M
%[4]s
`, data, s.Port, s.Dir, settings), 0o644))
		return s.start(tb)
	})
	return s
}

// Start starts the server again after a crash.
func (s *mariadbServer) Start(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.start(tb))
}

// start returns when the server accepts connections.
func (s *mariadbServer) start(tb testing.TB) error {
	tb.Helper()
	s.Guard(tb, mariadbGuard)
	db, err := sql.Open("mysql", s.dsn("admin", "", ""))
	require.NoError(tb, err)
	defer db.Close()
	return s.Await("MariaDB", db.Ping)
}

// dsn is the address of the server, or of a proxy in front of it.
func (s *mariadbServer) dsn(user, addr, params string) string {
	return fmt.Sprintf("%s:%s@tcp(%s)/reauth?%s", user, s.password, cmp.Or(addr, s.Addr()), params)
}

// A mariadb is a table on a server.
type mariadb struct {
	*mariadbServer
	name   string
	params string
}

func newMariaDBTable(tb testing.TB) mariadb {
	tb.Helper()
	return newMariaDBTableOn(tb, sharedMariaDBServer(tb), "interpolateParams=true")
}

func newMariaDBTableOn(tb testing.TB, s *mariadbServer, params string) mariadb {
	tb.Helper()
	m := mariadb{s, "t_" + strings.ToLower(rand.Text()), params}
	createTable(tb, m)
	return m
}

func (m mariadb) dialect() sqlstore.Dialect { return sqlstore.MySQL }
func (m mariadb) table() string             { return m.name }
func (m mariadb) fleetDSN(lease time.Duration) string {
	return fmt.Sprintf("mysql %s %v %s", m.name, lease, m.dsn("reauth", "", m.params))
}

func (m mariadb) connect(tb testing.TB) *sql.DB {
	tb.Helper()
	return m.connectVia(tb, "reauth", "", m.params)
}

func (m mariadb) connectVia(tb testing.TB, user, addr, params string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("mysql", m.dsn(user, addr, params))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func (m mariadb) connector(tb testing.TB) connector {
	tb.Helper()
	config, err := mysql.ParseDSN(m.dsn("reauth", "", m.params))
	require.NoError(tb, err)
	c, err := mysql.NewConnector(config)
	require.NoError(tb, err)
	return c
}

var placeRE = regexp.MustCompile(`\$[0-9]+`)

func init() { _ = mysql.SetLogger(&mysql.NopLogger{}) } // for which every cut connection is an error

// asOf returns SQL for the database behind db, given in PostgreSQL's way.
func asOf(db *sql.DB, statement string) string {
	if _, ok := db.Driver().(*mysql.MySQLDriver); !ok {
		return statement
	}
	return placeRE.ReplaceAllString(strings.ReplaceAll(statement, `"`, "`"), "?")
}
