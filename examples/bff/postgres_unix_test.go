//go:build unix

package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

func TestTwoReplicasOnPostgreSQLRefreshOnce(t *testing.T) {
	testTwoReplicasRefreshOnce(t, startPostgres(t))
}

// startPostgres starts a PostgreSQL of its own, and returns its address. It ends
// with the test, or else with the process that runs it.
func startPostgres(t *testing.T) string {
	t.Helper()
	bin := postgresPrograms(t)
	dir, err := os.MkdirTemp("", "bff-postgres-") // t.TempDir is closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	var as *syscall.Credential
	if os.Geteuid() == 0 { // as whom it refuses to run
		u, err := user.Lookup("postgres")
		if err != nil {
			needs.Skip(t, "PostgreSQL does not run as root, and there is no user postgres")
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, int(uid), int(gid)))
		as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	command := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		return cmd
	}
	data := filepath.Join(dir, "data")
	out, err := command(filepath.Join(bin, "initdb"), "-D", data, "-U", "bff", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listener.Close())
	// The shell ends it as soon as nobody holds the other end of its input.
	cmd := command("/bin/sh", "-c", `"$0" "$@" & read -r end; kill -INT $!; wait`,
		filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait()
	})
	said := ""
	for lines := bufio.NewScanner(stderr); lines.Scan(); said += lines.Text() + "\n" {
		if strings.Contains(lines.Text(), "ready to accept connections") {
			go func() { // ends with the process
				for lines.Scan() {
				}
			}()
			return "postgres://bff@127.0.0.1:" + port + "/postgres?sslmode=disable"
		}
	}
	require.FailNow(t, "PostgreSQL did not start", said)
	return ""
}

// postgresPrograms returns the folder with the programs of PostgreSQL.
func postgresPrograms(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian keeps them off the PATH
	if len(found) == 0 {
		needs.Skip(t, "PostgreSQL is not installed; apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1])
}
