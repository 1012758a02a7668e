package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/reauth-go/reauth/internal/needs"
)

// A screen is a terminal with a shell in it.
type screen struct {
	t     *testing.T
	user  *os.File // the user's end
	shown string   // what has not been waited for
	all   string
	shell *exec.Cmd
}

// newScreen starts a shell that leaves the terminal as it finds it, unlike those that edit
// lines.
func newScreen(t *testing.T) *screen {
	t.Helper()
	needs.Program(t, "dash", "apt-get install dash")
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = user.Close() })
	raw, err := user.SyscallConn()
	require.NoError(t, err)
	var number int
	require.NoError(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	defer terminal.Close()

	s := &screen{t: t, user: user, shell: exec.CommandContext(t.Context(), "dash", "-i")}
	s.shell.Env = append(os.Environ(), "PS1=ready> ")
	s.shell.Stdin, s.shell.Stdout, s.shell.Stderr = terminal, terminal, terminal
	s.shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, s.shell.Start())
	t.Cleanup(func() {
		_ = user.Close() // hangs up, which ends all that run in the terminal
		_ = s.shell.Process.Kill()
		_ = s.shell.Wait()
	})
	s.await("ready> ")
	return s
}

func (s *screen) write(text string) {
	s.t.Helper()
	_, err := s.user.WriteString(text)
	require.NoError(s.t, err)
}

// await returns what is shown until text is.
func (s *screen) await(text string) string {
	s.t.Helper()
	require.NoError(s.t, s.user.SetReadDeadline(time.Now().Add(30*time.Second)))
	more := make([]byte, 4096)
	for !strings.Contains(s.shown, text) {
		n, err := s.user.Read(more)
		s.shown += string(more[:n])
		s.all += string(more[:n])
		require.NoError(s.t, err, "%q is not shown, but %q", text, s.shown)
	}
	before, after, _ := strings.Cut(s.shown, text)
	s.shown = after
	return before + text
}

// echoes reports whether what is typed is shown.
func (s *screen) echoes() (on bool) {
	s.t.Helper()
	raw, err := s.user.SyscallConn()
	require.NoError(s.t, err)
	var settings *unix.Termios
	require.NoError(s.t, raw.Control(func(fd uintptr) { settings, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }))
	require.NoError(s.t, err)
	return settings.Lflag&unix.ECHO != 0
}

// prompt runs the program up to its hidden prompt.
func (s *screen) prompt() {
	s.t.Helper()
	self, err := os.Executable()
	require.NoError(s.t, err)
	s.write(self + " sign-in\n")
	s.await("Password of ann at ")
	s.await(": ")
	require.False(s.t, s.echoes(), "at the prompt")
}

// golang/go#31180 is about Ctrl-C, and the same is true of the other keys.
func TestTheEchoIsOnForTheShell(t *testing.T) {
	s := newHome(t)
	screen := newScreen(t)
	screen.prompt()
	for range 2 {
		screen.write("half a pass\x1a") // Ctrl-Z
		screen.await("Stopped")
		screen.await("ready> ")
		assert.True(t, screen.echoes(), "stopped")
		screen.write("echo sti''ll here\n")
		screen.await("still here")
		screen.await("ready> ")

		screen.write("fg\n")
		screen.await("Password of ann at ")
		screen.await(": ")
		assert.False(t, screen.echoes(), "continued")
	}
	screen.write(password + "\n")
	screen.await("Signed in to " + s.URL)
	screen.await("ready> ")
	assert.True(t, screen.echoes(), "done")
	assert.NotContains(t, screen.all, password)
	assert.NotContains(t, screen.all, "half a pass")
}

func TestTheEchoIsOnAfterTheEnd(t *testing.T) {
	newHome(t)
	for name, key := range map[string]string{"Ctrl-C": "\x03", `Ctrl-\`: "\x1c", "Ctrl-D": "\x04"} {
		screen := newScreen(t)
		screen.prompt()
		screen.write(key)
		screen.await("ready> ")
		assert.True(t, screen.echoes(), name)
	}
}

// After bg the terminal is the shell's, until fg.
func TestTheEchoStaysOnInTheBackground(t *testing.T) {
	s := newHome(t)
	screen := newScreen(t)
	screen.prompt()
	screen.write("\x1a")
	screen.await("Stopped")
	screen.await("ready> ")
	screen.write("bg\n")
	screen.await("ready> ")
	screen.write("wait %1; jobs\n")
	screen.await("Stopped")
	screen.await("ready> ")
	assert.True(t, screen.echoes(), "in the background")
	screen.write("fg\n")
	screen.await("Password of ann at ")
	screen.await(": ")
	assert.False(t, screen.echoes(), "in the foreground")
	screen.write(password + "\n")
	screen.await("Signed in to " + s.URL)
	assert.NotContains(t, screen.all, password)
}
