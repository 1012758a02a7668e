package sqlstore_test

import (
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A guarded server is one that the tests have started, on loopback. A shell, its guard,
// starts it, and stops it on the input "immediate", or when the tests have ended for
// whatever reason. It leaves nothing behind.
type guarded struct {
	dir      string // of its data, owned by the user who runs it
	port     int
	password string
	started  bool // at least once
	guard    *exec.Cmd
	word     io.WriteCloser // to the guard
}

// newGuarded returns a server that has a folder, which pattern names, and nothing in it yet.
func newGuarded(tb testing.TB, pattern string) *guarded {
	tb.Helper()
	if runtime.GOOS == "windows" {
		needs.Skip(tb, "the tests start databases by way of /bin/sh")
	}
	dir, err := os.MkdirTemp("", pattern)
	require.NoError(tb, err)
	g := &guarded{dir: dir, password: rand.Text()}
	tb.Cleanup(func() {
		if !g.started {
			_ = os.RemoveAll(dir)
		}
	})
	if uid, gid, ok := another(tb); ok {
		require.NoError(tb, os.Chown(dir, int(uid), int(gid)))
	}
	return g
}

// launch calls start, which starts the server on g.port, with a free port. Another program
// may take that before the server does.
func (g *guarded) launch(tb testing.TB, start func() error) {
	tb.Helper()
	for try := 1; ; try++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		g.port = listener.Addr().(*net.TCPAddr).Port
		require.NoError(tb, listener.Close())
		err = start()
		if err == nil {
			g.started = true
			return
		}
		if try == 3 {
			log, _ := os.ReadFile(filepath.Join(g.dir, "log"))
			require.NoError(tb, err, "%s", log)
		}
	}
}

// command returns a command of the user who runs the server, in its folder, with more in
// the environment.
func (g *guarded) command(tb testing.TB, environment []string, program string, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = g.dir
	cmd.Env = append(append(os.Environ(), "DIR="+g.dir), environment...)
	uid, gid, ok := another(tb)
	detach(cmd, ok, uid, gid)
	return cmd
}

// watchOver starts the guard, whose command cmd is.
func (g *guarded) watchOver(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	g.guard = cmd
	var err error
	g.word, err = cmd.StdinPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
}

// stop returns when the server has ended. The mode "immediate" is a crash, after which it
// can be started again.
func (g *guarded) stop(mode string) {
	if mode != "" {
		_, _ = io.WriteString(g.word, mode+"\n")
	}
	_ = g.word.Close()
	_ = g.guard.Wait()
}

// endsWith stops the server at the end of the test.
func (g *guarded) endsWith(tb testing.TB) {
	tb.Cleanup(func() {
		g.stop("")
		_ = os.RemoveAll(g.dir) // if it did not start again after a crash
	})
}

// another returns the user to run a server as if the tests run as root, because
// PostgreSQL refuses to run as root.
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
	needs.Skip(tb, "PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
	return 0, 0, false
}
