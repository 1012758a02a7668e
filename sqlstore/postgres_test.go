package sqlstore_test

import (
	"cmp"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net"
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

// A server is a PostgreSQL server that the tests have started.
type server struct{ *pg.Server }

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
		shared.server = &server{pg.New(tb, "fsync = off")}
	}
	return shared.server
}

// ownServer returns a server for one test, which does not lose committed data when it
// crashes. It ends with the test.
func ownServer(tb testing.TB) *server {
	tb.Helper()
	s := &server{pg.New(tb, "")}
	tb.Cleanup(s.Stop)
	return s
}

// dsn is the address of the server, or of a proxy in front of it.
func (s *server) dsn(addr string) string {
	return s.AddressVia(cmp.Or(addr, s.Addr()), "postgres")
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
