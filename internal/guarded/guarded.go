// Package guarded is for tests that start a server of their own.
package guarded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A Server is one that the tests have started, on loopback. A shell, its guard, starts it,
// and stops it on the input "immediate", or when the tests have ended for whatever reason.
// Then it leaves nothing behind.
type Server struct {
	Dir  string // of its data, owned by the user who runs it
	Port int

	launched bool
	guard    *exec.Cmd
	word     io.WriteCloser // to the guard
}

// New returns a server that has a folder, which pattern names, and nothing in it yet.
func New(tb testing.TB, pattern string) *Server {
	tb.Helper()
	if runtime.GOOS == "windows" {
		needs.Skip(tb, "the tests start databases by way of /bin/sh")
	}
	dir, err := os.MkdirTemp("", pattern) // TempDir of the test is closed to other users
	require.NoError(tb, err)
	s := &Server{Dir: dir}
	tb.Cleanup(func() {
		if !s.launched {
			_ = os.RemoveAll(dir)
		}
	})
	if uid, gid, ok := another(tb); ok {
		require.NoError(tb, os.Chown(dir, int(uid), int(gid)))
	}
	return s
}

// Launch calls start, which starts the server on s.Port, with a free port. Another program
// may take that before the server does; then it is called again with another.
func (s *Server) Launch(tb testing.TB, start func() error) {
	tb.Helper()
	for try := 1; ; try++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		s.Port = listener.Addr().(*net.TCPAddr).Port
		require.NoError(tb, listener.Close())
		err = start()
		if err == nil {
			s.launched = true
			return
		}
		if try == 3 {
			require.NoError(tb, err)
		}
	}
}

// Addr returns the address of the server, host and port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Command returns a command of the user who runs the server, in its folder, with DIR and
// more in the environment.
func (s *Server) Command(tb testing.TB, environment []string, program string, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(append(os.Environ(), "DIR="+s.Dir), environment...)
	uid, gid, ok := another(tb)
	detach(cmd, ok, uid, gid)
	return cmd
}

// Guard starts the guard, with PORT and more in the environment of its script. It returns
// what that says.
func (s *Server) Guard(tb testing.TB, script string, environment ...string) (said *bufio.Reader) {
	tb.Helper()
	s.guard = s.Command(tb, append(environment, fmt.Sprintf("PORT=%d", s.Port)), "/bin/sh", "-c", script)
	var err error
	s.word, err = s.guard.StdinPipe()
	require.NoError(tb, err)
	out, err := s.guard.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, s.guard.Start())
	return bufio.NewReader(out)
}

// Await returns once the server answers. If that takes too long it ends the guard, and the
// error shows the log.
func (s *Server) Await(what string, answers func() error) error {
	for began := time.Now(); ; <-time.After(20 * time.Millisecond) {
		err := answers()
		if err == nil {
			return nil
		}
		if time.Since(began) > 30*time.Second {
			s.Crash()
			return fmt.Errorf("%s did not start: %w\n%s", what, err, s.Log())
		}
	}
}

// Crash stops the server as a crash does, so that it can be started again.
func (s *Server) Crash() {
	_, _ = io.WriteString(s.word, "immediate\n")
	_ = s.Wait()
}

// Stop stops the server for good.
func (s *Server) Stop() {
	_ = s.Wait()
	_ = os.RemoveAll(s.Dir) // if it did not start again after a crash
}

// Wait ends the guard, unless it has ended, and returns how it did.
func (s *Server) Wait() error {
	_ = s.word.Close()
	return s.guard.Wait()
}

// Log returns what the server has said in its file "log".
func (s *Server) Log() string {
	log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(log)
}

// another returns the user to run a server as if the tests run as root, because
// they refuse to run as root.
func another(tb testing.TB) (uid, gid uint32, ok bool) {
	tb.Helper()
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err := strconv.ParseUint(u.Uid, 10, 32)
			require.NoError(tb, err)
			gid, err := strconv.ParseUint(u.Gid, 10, 32)
			require.NoError(tb, err)
			return uint32(uid), uint32(gid), true
		}
	}
	needs.Skip(tb, "a server does not run as root, and there is neither a user postgres nor nobody")
	return 0, 0, false
}
