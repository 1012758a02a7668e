package postgres

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/guarded"
	"github.com/reauth-go/reauth/internal/needs"
)

// A Server is a PostgreSQL server of the tests' own. Its user is called reauth.
type Server struct {
	*guarded.Server
	Password string
	bin      string // folder of its programs
}

// guard starts the server, says so, and stops it.
const guard = `
"$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -o "-p $PORT" -w start >"$DIR/start" 2>&1 || {
	"$BIN/pg_ctl" -D "$DIR/data" -m immediate -w stop >/dev/null 2>&1
	exit 1
}
echo started
read -r mode
"$BIN/pg_ctl" -D "$DIR/data" -m "${mode:-fast}" -w stop >/dev/null 2>&1
[ -n "$mode" ] || rm -rf "$DIR"
`

// New starts a server with more lines of configuration. It ends with the process, or by Stop.
func New(tb testing.TB, settings string) *Server {
	tb.Helper()
	s := &Server{bin: Programs(tb), Server: guarded.New(tb, "reauth-postgres-"), Password: rand.Text()}
	password := filepath.Join(s.Dir, "password")
	require.NoError(tb, os.WriteFile(password, []byte(s.Password), 0o644)) // read by another user
	out, err := s.Command(tb, nil, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "reauth",
		"-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(tb, err, "%s", out)

	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(tb, err)
	_, err = fmt.Fprintf(conf, "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 300\n%s\n", settings)
	require.NoError(tb, err)
	require.NoError(tb, conf.Close())
	s.Launch(tb, func() error { return s.start(tb) })
	return s
}

// Follow starts a standby of the server, which replicates it by way of addr.
func (s *Server) Follow(tb testing.TB, addr string) *Server {
	tb.Helper()
	program := filepath.Join(s.bin, "pg_basebackup")
	if _, err := os.Stat(program); err != nil {
		needs.Skip(tb, "pg_basebackup is not installed; apt-get install postgresql-client")
	}
	standby := &Server{guarded.New(tb, "reauth-standby-"), s.Password, s.bin}
	out, err := standby.Command(tb, nil, program, "-D", standby.data(),
		"-d", s.AddressVia(addr, "postgres"), "-R", "-c", "fast", "-X", "stream", "--no-sync").CombinedOutput()
	require.NoError(tb, err, "%s", out)
	standby.Launch(tb, func() error { return standby.start(tb) })
	return standby
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// Start starts the server again after a crash.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.start(tb))
}

// start returns when the server accepts connections.
func (s *Server) start(tb testing.TB) error {
	tb.Helper()
	if _, err := s.Guard(tb, guard, "BIN="+s.bin).ReadString('\n'); err != nil {
		return fmt.Errorf("PostgreSQL did not start: %v\n%s", s.Wait(), s.Log())
	}
	return nil
}

// Address returns the address of a database on the server. "postgres" is one that is there.
func (s *Server) Address(database string) string { return s.AddressVia(s.Addr(), database) }

// AddressVia is Address by way of addr, a proxy.
func (s *Server) AddressVia(addr, database string) string {
	return fmt.Sprintf("postgres://reauth:%s@%s/%s?sslmode=disable", s.Password, addr, database)
}
