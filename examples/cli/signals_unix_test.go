//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func exitStatus(state *os.ProcessState) int {
	if s := state.Sys().(syscall.WaitStatus); s.Signaled() {
		return 128 + int(s.Signal())
	}
	return state.ExitCode()
}

// interruptInTheMiddle starts a run, interrupts it while it refreshes its token, and
// returns once it says that it goes on with that. The token server answers when release
// is called.
func interruptInTheMiddle(t *testing.T, s *reauthtest.Server, sig syscall.Signal) (p *process, release func()) {
	t.Helper()
	// Under nohup a run would inherit that the signal is ignored. One that is handled
	// here it gets as usual.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, sig)
	t.Cleanup(func() { signal.Stop(handled) })
	requireDone(t, "sign-in")
	s.ExpireAccess()
	release = s.BlockRefresh()
	t.Cleanup(release)

	p = command(t, "whoami")
	p.cmd.Stderr = nil
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	p.start(t)
	require.NoError(t, s.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
	require.NoError(t, p.cmd.Process.Signal(sig))
	line, err := bufio.NewReader(io.TeeReader(stderr, &p.stderr)).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "notes: the renewal of your session is in progress; interrupt again to end at once\n", line)
	return p, release
}

func TestInterruptedInTheMiddleOfARefresh(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newHome(t)
			p, release := interruptInTheMiddle(t, s, sig)
			release()
			assert.Equal(t, 128+int(sig), p.wait(t))
			assert.True(t, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(), "a shell would go on with its loop")
			assert.Empty(t, p.stdout.String())
			assert.Equal(t, 1, s.Counts().RefreshesGranted)

			assert.Equal(t, "ann\n", requireDone(t, "whoami"))
			assert.Equal(t, 1, s.Counts().Refreshes, "the token was saved, so nobody needs another")
			assert.Equal(t, 1, s.Counts().SignIns)
		})
	}
}

func TestASecondInterruptEndsItAtOnce(t *testing.T) {
	s := newHome(t)
	p, release := interruptInTheMiddle(t, s, syscall.SIGINT)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	defer time.AfterFunc(20*time.Second, release).Stop() // which is less than RefreshTimeout
	assert.Equal(t, 130, p.wait(t))
	assert.Zero(t, s.Counts().RefreshesGranted, "it has waited for the token server")
}

// Where no renewal is in progress there is nothing to wait for.
func TestInterruptedInTheMiddleOfARequest(t *testing.T) {
	s := newHome(t)
	requireDone(t, "sign-in")
	defer s.BlockAPI()()
	p := command(t, "whoami")
	p.start(t)
	require.NoError(t, s.Await(t.Context(), func(c reauthtest.Counts) bool { return c.APIRequests >= 1 }))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	assert.Equal(t, 130, p.wait(t))
	assert.Empty(t, p.output())
}

func TestTheDemoRunsUntilItIsInterrupted(t *testing.T) {
	newHome(t)
	p, address := startDemoProcess(t)
	requireDone(t, "sign-in", "-server", address)
	assert.Equal(t, "ann\n", requireDone(t, "whoami", "-server", address))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitOK, p.wait(t))
}
