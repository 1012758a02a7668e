//go:build unix

package main

import (
	"bufio"
	"crypto/rand"
	"database/sql"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A postgres is a PostgreSQL server of the tests' own, on loopback.
type postgres struct {
	bin, dir, port string
	as             *syscall.Credential
	guard          *exec.Cmd
	input          io.WriteCloser // of the guard
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

var shared = sync.OnceValue(func() func(*testing.T) *postgres {
	var server *postgres
	var once sync.Once
	return func(t *testing.T) *postgres {
		once.Do(func() { server = newPostgres(t) })
		if server == nil {
			needs.Skip(t, "PostgreSQL has not started")
		}
		return server
	}
})

// newDatabase returns the address of an empty database on the server of all tests.
func newDatabase(t *testing.T) string {
	t.Helper()
	return shared()(t).newDatabase(t)
}

func (p *postgres) newDatabase(t *testing.T) string {
	t.Helper()
	db, err := sql.Open("pgx", p.address("postgres"))
	require.NoError(t, err)
	defer db.Close()
	name := "test_" + strings.ToLower(rand.Text())
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	return p.address(name)
}

func (p *postgres) address(database string) string {
	return "postgres://accounts@127.0.0.1:" + p.port + "/" + database + "?sslmode=disable"
}

// newPostgres starts a server, which ends with the process.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	p := &postgres{bin: postgresPrograms(t)}
	var err error
	p.dir, err = os.MkdirTemp("", "accounts-postgres-") // t.TempDir is closed to other users
	require.NoError(t, err)
	if os.Geteuid() == 0 { // as whom it refuses to run
		u, err := user.Lookup("postgres")
		if err != nil {
			needs.Skip(t, "PostgreSQL does not run as root, and there is no user postgres")
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chown(p.dir, int(uid), int(gid)))
		p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	out, err := p.command(filepath.Join(p.bin, "initdb"), "-D", filepath.Join(p.dir, "data"), "-U", "accounts", "-A", "trust",
		"-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listener.Close())
	p.start(t)
	return p
}

func (p *postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Setpgid: true} // an interrupt is for the tests
	return cmd
}

// start returns when the server accepts connections.
func (p *postgres) start(t *testing.T) {
	t.Helper()
	p.guard = p.command("/bin/sh", "-c", guard, p.bin, p.dir, p.port)
	var err error
	p.input, err = p.guard.StdinPipe()
	require.NoError(t, err)
	said, err := p.guard.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.guard.Start())
	_, err = bufio.NewReader(said).ReadString('\n')
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	require.NoError(t, err, "PostgreSQL does not start: %s", log)
}

// stop stops the server as a crash does, so that it can be started again, or with the word
// "" for good.
func (p *postgres) stop(t *testing.T, word string) {
	t.Helper()
	if word != "" {
		_, err := io.WriteString(p.input, word+"\n")
		require.NoError(t, err)
	}
	require.NoError(t, p.input.Close())
	_ = p.guard.Wait()
}

// postgresPrograms returns the folder with the programs of PostgreSQL.
func postgresPrograms(t *testing.T) string {
	t.Helper()
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian keeps them off the PATH
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for i := len(candidates) - 1; i >= 0; i-- {
		_, noInitdb := os.Stat(filepath.Join(candidates[i], "initdb"))
		if _, err := os.Stat(filepath.Join(candidates[i], "pg_ctl")); err == nil && noInitdb == nil {
			return candidates[i]
		}
	}
	needs.Skip(t, "PostgreSQL is not installed; apt-get install postgresql")
	return ""
}
