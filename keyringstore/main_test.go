package keyringstore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/keyringstore"
	"github.com/reauth-go/reauth/oauth"
)

const (
	service = "reauth-test"
	session = "ann"

	taskVariable = "REAUTH_KEYRING_TASK"
	tellVariable = "REAUTH_KEYRING_TOLD"
)

// tasks are what the processes do that a test starts.
var tasks = map[string]func(told string) error{
	"hold":    hold,
	"request": request,
}

func TestMain(m *testing.M) {
	task, ok := tasks[os.Getenv(taskVariable)]
	if !ok {
		fleet.Main(m, open)
	}
	if err := task(os.Getenv(tellVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A dsn describes to another process how to open the same store.
type dsn struct{ Bus, LockDir string }

func (d dsn) String() string {
	text, _ := json.Marshal(d)
	return string(text)
}

func open(text string) (reauth.Store, error) {
	var d dsn
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil, err
	}
	if err := os.Setenv("DBUS_SESSION_BUS_ADDRESS", d.Bus); err != nil {
		return nil, err
	}
	return keyringstore.New(service, &keyringstore.Options{LockDir: d.LockDir})
}

// lockDir returns a folder that no store has created yet. An existing folder of the test
// may be writable by others, depending on the umask.
func lockDir(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "locks")
}

func openOn(tb testing.TB, k keyringstore.Keychain, lockDir string) *keyringstore.Store {
	tb.Helper()
	store, err := keyringstore.NewOn(k, service, &keyringstore.Options{LockDir: lockDir})
	require.NoError(tb, err)
	return store
}

// hold locks a session until it is killed, or the test ends.
func hold(lockDir string) error {
	store, err := keyringstore.New(service, &keyringstore.Options{LockDir: lockDir})
	if err != nil {
		return err
	}
	if _, _, err := store.Lock(context.Background(), session); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// An errand is a request to an API.
type errand struct{ DSN, TokenURL, Origin, APIURL string }

func newTransport(e errand) (*reauth.Transport, error) {
	store, err := open(e.DSN)
	if err != nil {
		return nil, err
	}
	return reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: e.TokenURL, ClientID: "keyringstore"},
		Origins:   []string{e.Origin},
		Store:     store,
	})
}

// request makes a request, as a command-line tool does, when it is told to.
func request(told string) error {
	var e errand
	if err := json.Unmarshal([]byte(told), &e); err != nil {
		return err
	}
	transport, err := newTransport(e)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport.Session(session)}).Get(e.APIURL)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if err := transport.Wait(context.Background()); err != nil {
		return err
	}
	fmt.Println(resp.Status)
	return nil
}

// A process performs one of the tasks.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

func startProcess(t *testing.T, task, told string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), taskVariable+"="+task, tellVariable+"="+told)
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewReader(stdout)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// expect waits for the next line of the process, and checks it.
func (p *process) expect(t *testing.T, line string) {
	t.Helper()
	said, err := p.stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, line+"\n", said)
}
