package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// startKeychain starts a D-Bus session and a keyring for this test alone, and makes
// them those of the processes that it starts.
func startKeychain(t *testing.T) {
	t.Helper()
	needs.Program(t, "dbus-daemon", "apt-get install dbus")
	needs.Program(t, "gnome-keyring-daemon", "apt-get install gnome-keyring")
	home, err := os.MkdirTemp("", "notes") // not t.TempDir, which is too long for the path of a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(home)) })
	address := "unix:path=" + filepath.Join(home, "bus")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)

	config := filepath.Join(home, "bus.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `<busconfig>
  <type>session</type>
  <listen>%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>`, address), 0o600))
	bus := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	listening, err := bus.StdoutPipe()
	require.NoError(t, err)
	begin(t, bus, home)
	_, err = bufio.NewReader(listening).ReadString('\n')
	require.NoError(t, err)

	conn, err := dbus.Connect(address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	owners := make(chan *dbus.Signal, 100)
	conn.Signal(owners)
	require.NoError(t, conn.AddMatchSignal(
		dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.freedesktop.secrets")))
	keyring := exec.Command("gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock")
	keyring.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_RUNTIME_DIR="+home)
	keyring.Stdin = strings.NewReader("the password of the keyring")
	begin(t, keyring, home)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for owned := false; !owned; {
		select {
		case s := <-owners:
			owned = s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Body[2] != ""
		case <-ctx.Done():
			require.Fail(t, "gnome-keyring-daemon does not come up")
		}
	}
}

func begin(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	cmd.Dir = dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func TestTwentyRunsAtOnceWithTheKeychainRefreshOnce(t *testing.T) {
	s := newHome(t)
	startKeychain(t)
	t.Setenv("NOTES_STORE", "keychain")
	assert.Contains(t, requireDone(t, "sign-in"), "Your session is kept in the system's keychain.")
	for range 3 {
		s.ExpireAccess()
		twentyAtOnce(t, s)
	}
	assert.Equal(t, 60, s.Counts().APIRefused)

	requireDone(t, "sign-out")
	code, _ := notes(t, "whoami")
	assert.Equal(t, exitSignIn, code)
}

func TestDemoOnceWithTheKeychain(t *testing.T) {
	newHome(t)
	startKeychain(t)
	assert.Equal(t, "20 runs at once: 20 successes, 1 refresh.\n", requireDone(t, "demo", "-once", "-store", "keychain"))
}

func TestAMissingKeychainIsNotAFaultOfTheServer(t *testing.T) {
	newHome(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	t.Setenv("NOTES_STORE", "keychain")
	for command, says := range map[string]string{
		"sign-in": "notes: your session cannot be kept: ",
		"status":  "notes: your session cannot be read: ",
	} {
		code, output := notes(t, command)
		assert.Equal(t, exitFailed, code)
		assert.True(t, strings.HasPrefix(output, says), output)
	}
}
