package keyringstore_test

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A secretService is a D-Bus session with GNOME Keyring for a single test. It has no
// services of a desktop, so no prompt can appear.
type secretService struct {
	tb      testing.TB
	home    string
	address string
	bus     *exec.Cmd
	daemon  *exec.Cmd
	conn    *dbus.Conn // of the test
}

func startSecretService(tb testing.TB) *secretService {
	tb.Helper()
	needs.Program(tb, "dbus-daemon", "apt-get install dbus")
	needs.Program(tb, "gnome-keyring-daemon", "apt-get install gnome-keyring")
	home, err := os.MkdirTemp("", "keyring") // not tb.TempDir, which is too long for the path of a socket
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(home) })
	s := &secretService{tb: tb, home: home, address: "unix:path=" + filepath.Join(home, "bus")}
	tb.Setenv("DBUS_SESSION_BUS_ADDRESS", s.address)
	s.startBus()
	s.startDaemon()
	tb.Cleanup(func() {
		if shared, err := dbus.SessionBus(); err == nil {
			_ = shared.Close() // go-keyring's; or else it notices only while it is used by the next test
		}
		s.killDaemon()
		s.killBus()
	})
	return s
}

func (s *secretService) startBus() {
	s.tb.Helper()
	var socket strings.Builder
	require.NoError(s.tb, xml.EscapeText(&socket, []byte(s.address)))
	config := filepath.Join(s.home, "bus.conf")
	require.NoError(s.tb, os.WriteFile(config, fmt.Appendf(nil, `<busconfig>
  <type>session</type>
  <listen>%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>`, socket.String()), 0o600))
	s.bus = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	stdout, err := s.bus.StdoutPipe()
	require.NoError(s.tb, err)
	s.begin(s.bus)
	_, err = bufio.NewReader(stdout).ReadString('\n') // when it listens
	require.NoError(s.tb, err)
	s.conn, err = dbus.Connect(s.address)
	require.NoError(s.tb, err)
}

// startDaemon returns once the keyring "login" is there and unlocked.
func (s *secretService) startDaemon() {
	s.tb.Helper()
	owners := make(chan *dbus.Signal, 100)
	s.conn.Signal(owners)
	defer s.conn.RemoveSignal(owners)
	require.NoError(s.tb, s.conn.AddMatchSignal(
		dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.freedesktop.secrets")))

	s.daemon = exec.Command("gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock")
	s.daemon.Env = append(os.Environ(), "HOME="+s.home, "XDG_DATA_HOME="+s.home, "XDG_RUNTIME_DIR="+s.home)
	s.daemon.Stdin = strings.NewReader("the password of the keyring")
	s.begin(s.daemon)

	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	for owned := false; !owned; {
		select {
		case signal := <-owners:
			owned = signal.Name == "org.freedesktop.DBus.NameOwnerChanged" && signal.Body[2] != ""
		case <-ctx.Done():
			s.tb.Fatal("gnome-keyring-daemon does not come up")
		}
	}
	collections, err := s.service().GetProperty("org.freedesktop.Secret.Service.Collections")
	require.NoError(s.tb, err)
	require.True(s.tb, slices.Contains(collections.Value().([]dbus.ObjectPath), login), "there is no keyring %q", login)
}

const login = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")

func (s *secretService) service() dbus.BusObject {
	return s.conn.Object("org.freedesktop.secrets", "/org/freedesktop/secrets")
}

// lock locks the keyring, as a desktop does when its user is away.
func (s *secretService) lock() {
	s.tb.Helper()
	require.NoError(s.tb, s.service().Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{login}).Err)
}

// prompter replaces the missing desktop with one that shows prompts to a user who never
// answers. The channel it returns gets a value for each prompt.
func (s *secretService) prompter() <-chan struct{} {
	s.tb.Helper()
	p := &prompter{asked: make(chan struct{}, 100)}
	require.NoError(s.tb, s.conn.Export(p, "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter"))
	reply, err := s.conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue)
	require.NoError(s.tb, err)
	require.Equal(s.tb, dbus.RequestNameReplyPrimaryOwner, reply)
	return p.asked
}

type prompter struct{ asked chan struct{} }

func (p *prompter) BeginPrompting(dbus.ObjectPath) *dbus.Error {
	p.asked <- struct{}{}
	return nil
}

// accounts returns the names of all entries.
func (s *secretService) accounts() []string {
	s.tb.Helper()
	items, err := s.conn.Object("org.freedesktop.secrets", login).GetProperty("org.freedesktop.Secret.Collection.Items")
	require.NoError(s.tb, err)
	var names []string
	for _, item := range items.Value().([]dbus.ObjectPath) {
		attributes, err := s.conn.Object("org.freedesktop.secrets", item).GetProperty("org.freedesktop.Secret.Item.Attributes")
		require.NoError(s.tb, err)
		names = append(names, attributes.Value().(map[string]string)["username"])
	}
	return names
}

func (s *secretService) begin(cmd *exec.Cmd) {
	s.tb.Helper()
	cmd.Dir = s.home
	require.NoError(s.tb, cmd.Start())
}

func (s *secretService) killDaemon() { end(s.daemon) }

func (s *secretService) killBus() {
	_ = s.conn.Close()
	end(s.bus)
}

func end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
