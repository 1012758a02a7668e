package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

const asProgram = "NOTES_TEST_RUN"

// TestMain is also the program itself, in a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	_ = os.Setenv(asProgram, "1") // whatever a test starts is the program, never the tests
	os.Exit(m.Run())
}

const password = "correct horse battery staple"

// newHome makes a user's home of a new folder, and a service that keeps notes.
func newHome(t *testing.T) *reauthtest.Server {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"HOME", "AppData", "LocalAppData", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, filepath.Join(home, "of the user"))
	}
	require.NoError(t, os.Mkdir(filepath.Join(home, "of the user"), 0o700))
	s := reauthtest.NewServer(t, reauthtest.Options{})
	keepNotes(s)
	for name, value := range map[string]string{
		"NOTES_SERVER": s.URL, "NOTES_STORE": "", "NOTES_DIR": "", "USER": "ann",
		"GORACE": "atexit_sleep_ms=0", // or else, under the race detector, each run takes a second
	} {
		t.Setenv(name, value)
	}
	return s
}

// A process is one run of the program.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func command(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.CommandContext(t.Context(), self, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
}

// wait returns what a shell takes for the exit status.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Wait()
	require.NotNil(t, p.cmd.ProcessState)
	assert.NotContains(t, p.stdout.String()+p.stderr.String(), password)
	return exitStatus(p.cmd.ProcessState)
}

// output is what the user sees.
func (p *process) output() string { return p.stdout.String() + p.stderr.String() }

// notes runs the program to its end.
func notes(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	p := command(t, args...)
	if args[0] == "sign-in" {
		p.cmd.Stdin = strings.NewReader(password + "\n")
	}
	p.start(t)
	code = p.wait(t)
	return code, p.output()
}

func requireDone(t *testing.T, args ...string) (output string) {
	t.Helper()
	code, output := notes(t, args...)
	require.Equal(t, exitOK, code, output)
	return output
}

func TestFromSignInToSignOut(t *testing.T) {
	s := newHome(t)
	code, output := notes(t, "status")
	assert.Equal(t, exitSignIn, code)
	assert.Equal(t, "notes: you are not signed in\nTry: notes sign-in\n", output)

	assert.Contains(t, requireDone(t, "sign-in"), "Signed in to "+s.URL+". Your session is kept in the folder ")
	assert.Contains(t, requireDone(t, "status"), "Signed in to "+s.URL)
	assert.Equal(t, "ann\n", requireDone(t, "whoami"))
	s.ExpireAccess()
	assert.Equal(t, "Kept as number 1.\n", requireDone(t, "add", "buy", "\x1b[2Jtea"))
	assert.Equal(t, "   1  buy  [2Jtea\n", requireDone(t, "list"))

	assert.Equal(t, "Signed out of "+s.URL+".\n", requireDone(t, "sign-out"))
	assert.Equal(t, 1, s.Counts().SessionsRevoked)
	code, _ = notes(t, "list")
	assert.Equal(t, exitSignIn, code)
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestASecondSignInEndsTheFirst(t *testing.T) {
	s := newHome(t)
	requireDone(t, "sign-in")
	requireDone(t, "sign-in", "-user", "bob")
	assert.Equal(t, 1, s.Counts().SessionsRevoked)
	assert.Equal(t, "bob\n", requireDone(t, "whoami"))
	p := command(t, "sign-in") // with a wrong password
	p.start(t)
	require.Equal(t, exitFailed, p.wait(t))
	assert.Equal(t, "bob\n", requireDone(t, "whoami"), "which ends nothing")
}

func TestTheSessionIsForTheUserAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the folder is in the user's profile")
	}
	newHome(t)
	requireDone(t, "sign-in")
	config, err := os.UserConfigDir()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(config, "notes", "sessions", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestEachServerHasASession(t *testing.T) {
	one := newHome(t)
	requireDone(t, "sign-in")
	other := reauthtest.NewServer(t, reauthtest.Options{})
	keepNotes(other)
	code, _ := notes(t, "whoami", "-server", other.URL)
	assert.Equal(t, exitSignIn, code)
	requireDone(t, "sign-in", "-server", other.URL+"/", "-user", "bob")
	assert.Equal(t, "bob\n", requireDone(t, "whoami", "-server", other.URL))
	assert.Equal(t, "ann\n", requireDone(t, "whoami"))
	assert.Zero(t, one.Counts().Refreshes+other.Counts().Refreshes)
}

func TestExitStatus(t *testing.T) {
	const minute = 60e9
	type fault func(t *testing.T, s *reauthtest.Server)
	expired := func(f reauthtest.Failure) fault {
		return func(_ *testing.T, s *reauthtest.Server) { s.ExpireAccess(); s.FailRefresh(f, -1) }
	}
	for name, test := range map[string]struct {
		fault fault
		args  string
		code  int
		says  string
	}{
		"help":                    {nil, "help", exitOK, "Exit status:"},
		"help of a command":       {nil, "whoami -h", exitOK, "Exit status:"},
		"no such command":         {nil, "sing-in", exitUsage, `there is no command "sing-in"`},
		"no such flag":            {nil, "whoami -sever x", exitUsage, "-sever"},
		"an argument too many":    {nil, "whoami ann", exitUsage, `whoami takes no "ann"`},
		"nothing to add":          {nil, "add", exitUsage, "add what?"},
		"no such store":           {nil, "whoami -store cloud", exitUsage, `the store is file or keychain, not "cloud"`},
		"no address of a server":  {nil, "whoami -server localhost:80", exitUsage, "the server must be an address like https://"},
		"a server by plain HTTP":  {nil, "sign-in -server http://notes.example.com", exitUsage, "the server must be reached by https"},
		"session ended":           {func(_ *testing.T, s *reauthtest.Server) { s.Revoke() }, "whoami", exitSignIn, "the server has ended your session\nTry: notes sign-in"},
		"token server is busy":    {expired(reauthtest.Failure{Status: 429, RetryAfter: minute}), "whoami", exitLater, "the server answered 429 too many requests\nTry again in 1m0s. There is no need to sign in again."},
		"token server is down":    {expired(reauthtest.Drop), "whoami", exitLater, "Try again in 1s. There is no need to sign in again."},
		"server is down":          {func(_ *testing.T, s *reauthtest.Server) { s.Close() }, "whoami", exitLater, "the server cannot be reached: "},
		"server is down, sign-in": {func(_ *testing.T, s *reauthtest.Server) { s.Close() }, "sign-in", exitLater, "the server cannot be reached: "},
		"server hangs up":         {func(_ *testing.T, s *reauthtest.Server) { s.FailAPI(reauthtest.Drop, -1) }, "whoami", exitLater, "the server cannot be reached: "},
		"server is busy":          {func(_ *testing.T, s *reauthtest.Server) { s.FailAPI(reauthtest.Failure{RetryAfter: minute}, 1) }, "whoami", exitLater, "the server answered 503 service unavailable\nTry again in 1m0s."},
		"not allowed":             {func(_ *testing.T, s *reauthtest.Server) { s.FailAPI(reauthtest.Failure{Status: 403}, 1) }, "whoami", exitFailed, "the server answered 403 forbidden"},
		"not revoked":             {func(_ *testing.T, s *reauthtest.Server) { s.Close() }, "sign-out", exitFailed, "you are signed out, but not everywhere: "},
		"no folder":               {nil, "status -dir main.go/sessions", exitFailed, "main.go"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHome(t)
			requireDone(t, "sign-in")
			if test.fault != nil {
				test.fault(t, s)
			}
			code, output := notes(t, strings.Fields(test.args)...)
			assert.Equal(t, test.code, code)
			assert.Contains(t, output, test.says)
		})
	}
}

func TestAWrongPassword(t *testing.T) {
	newHome(t)
	p := command(t, "sign-in") // an empty one
	p.start(t)
	assert.Equal(t, exitFailed, p.wait(t))
	assert.Equal(t, "notes: the user or the password is wrong\n", p.output())
}

func TestDemoOnce(t *testing.T) {
	newHome(t)
	assert.Equal(t, "20 runs at once: 20 successes, 1 refresh.\n", requireDone(t, "demo", "-once"))
}

// startDemoProcess starts a demo, and returns its address.
func startDemoProcess(t *testing.T) (p *process, address string) {
	t.Helper()
	p = command(t, "demo", "-listen", "127.0.0.1:0")
	p.cmd.Stdout = nil
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.start(t)
	lines := bufio.NewReader(io.TeeReader(stdout, &p.stdout))
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(line, "The demo's server is at %s ", &address)
	require.NoError(t, err, line)
	return p, strings.TrimSuffix(address, ".")
}
