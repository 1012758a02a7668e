package main

import (
	"bufio"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/reauthtest"
)

// startReplicas starts two backends on one store, and one demo server.
func startReplicas(t *testing.T, store string, change func(*options)) (first, second *app) {
	t.Helper()
	each := func(demo string) func(*options) {
		return func(o *options) {
			o.store, o.demo = store, demo
			o.storeKey = strings.Repeat("a1", 32)
			if change != nil {
				change(o)
			}
		}
	}
	first = startApp(t, each(""))
	return first, startApp(t, each(first.demo.URL))
}

func TestTwoReplicasRefreshOnce(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) string{
		"Redis":  startRedis,
		"SQLite": func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "100% sure?.db") },
	} {
		t.Run(name, func(t *testing.T) { testTwoReplicasRefreshOnce(t, store(t)) })
	}
}

// The API goes on accepting the access token.
func TestASignOutHoldsAtTheOtherReplicaToo(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) string{
		"Redis":  startRedis,
		"SQLite": func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions.db") },
	} {
		t.Run(name, func(t *testing.T) {
			address := store(t)
			first, second := startReplicas(t, address, nil)
			one := signedIn(t, first, "ann")
			other := newBrowser(t, second)
			other.setCookie(one.cookie())
			require.Equal(t, http.StatusOK, other.get("/api/orders/1").status)
			third, err := openStore(t.Context(), address, "") // of a replica that does not revoke
			require.NoError(t, err)
			defer third.close()
			require.NoError(t, third.Delete(t.Context(), sessionName(one.cookie())))
			require.Eventually(t, func() bool { return other.get("/api/orders/1").status == http.StatusUnauthorized }, patience, patience/1000)
			assert.Zero(t, first.demo.Counts().APIRefused)
		})
	}
}

func testTwoReplicasRefreshOnce(t *testing.T, store string) {
	first, second := startReplicas(t, store, nil)
	one := signedIn(t, first, "ann")
	other := newBrowser(t, second)
	other.setCookie(one.cookie())
	demo := first.demo
	require.Equal(t, http.StatusOK, one.get("/api/orders/1").status)
	require.Equal(t, http.StatusOK, other.get("/api/orders/1").status, "one session, two replicas")

	demo.ExpireAccess("ann")
	release := demo.BlockRefresh()
	defer release()
	var all sync.WaitGroup
	for _, b := range []*browser{one, other} {
		for range 20 {
			all.Go(func() {
				got, err := b.try(t.Context(), http.MethodGet, "/api/orders/1", nil)
				if assert.NoError(t, err) {
					assert.Equal(t, http.StatusOK, got.status)
				}
			})
		}
	}
	await(t, demo, func(c reauthtest.Counts) bool { return c.APIRefused >= 40 && c.Refreshes >= 1 })
	release()
	all.Wait()
	counts := demo.Counts()
	assert.Equal(t, 1, counts.Refreshes)
	assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken)

	demo.Revoke("ann")
	assert.Equal(t, http.StatusUnauthorized, other.get("/api/orders/1").status)
	assert.Equal(t, http.StatusUnauthorized, one.get("/api/orders/1").status)
	one.assertSignedOut()
	other.assertSignedOut()
}

// startRedis starts a redis-server that keeps nothing on disk, and returns its
// address. It ends with the test.
func startRedis(t *testing.T) string {
	t.Helper()
	program := needs.Program(t, "redis-server", "apt-get install redis-server")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())

	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.TempDir(), "--save", "", "--appendonly", "no")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() { // ends with the process
				for lines.Scan() {
				}
			}()
			return "redis://127.0.0.1:" + strconv.Itoa(port)
		}
	}
	require.FailNow(t, "redis-server did not start")
	return ""
}
