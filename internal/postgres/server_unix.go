//go:build unix

package postgres

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A Server is a PostgreSQL server of the tests' own, on loopback.
type Server struct {
	bin, dir, port, user string
	as                   *syscall.Credential
	guard                *exec.Cmd
	input                io.WriteCloser // of the guard
}

// guard starts the server, says so, and stops it on a word, or when the tests have ended
// for whatever reason. Then it leaves nothing behind.
const guard = `
"$0/pg_ctl" -D "$1/data" -l "$1/log" -w -o "-p $2 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off" start >"$1/start" 2>&1 || exit 1
echo started
read -r word
"$0/pg_ctl" -D "$1/data" -m "${word:-immediate}" -w stop >"$1/stop" 2>&1
[ -n "$word" ] || rm -rf "$1"
`

// New starts a server whose only user has this name, and no password. It ends with the
// process, or with [Server.Stop].
func New(tb testing.TB, name string) *Server {
	tb.Helper()
	s := &Server{bin: Programs(tb), user: name}
	var err error
	s.dir, err = os.MkdirTemp("", name+"-postgres-") // TempDir of the test is closed to other users
	require.NoError(tb, err)
	if os.Geteuid() == 0 { // as whom it refuses to run
		u, err := user.Lookup("postgres")
		if err != nil {
			needs.Skip(tb, "PostgreSQL does not run as root, and there is no user postgres")
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		require.NoError(tb, err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		require.NoError(tb, err)
		require.NoError(tb, os.Chown(s.dir, int(uid), int(gid)))
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	out, err := s.command(filepath.Join(s.bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-U", name, "-A", "trust",
		"-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(tb, err, "%s", out)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	s.port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	require.NoError(tb, listener.Close())
	s.Start(tb)
	return s
}

// Address returns the address of a database on the server. "postgres" is one that is there.
func (s *Server) Address(database string) string {
	return "postgres://" + s.user + "@127.0.0.1:" + s.port + "/" + database + "?sslmode=disable"
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true} // an interrupt is for the tests
	return cmd
}

// Start starts the server again after a [Server.Crash]. It returns when the server accepts
// connections.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.guard = s.command("/bin/sh", "-c", guard, s.bin, s.dir, s.port)
	var err error
	s.input, err = s.guard.StdinPipe()
	require.NoError(tb, err)
	said, err := s.guard.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, s.guard.Start())
	_, err = bufio.NewReader(said).ReadString('\n')
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	require.NoError(tb, err, "PostgreSQL does not start: %s", log)
}

// Crash stops the server as a crash does, so that it can be started again.
func (s *Server) Crash(tb testing.TB) {
	tb.Helper()
	_, err := io.WriteString(s.input, "immediate\n")
	require.NoError(tb, err)
	s.Stop(tb)
}

// Stop stops the server for good.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.input.Close())
	_ = s.guard.Wait()
}
