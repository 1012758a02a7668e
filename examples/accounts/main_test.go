package main

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// program starts the program in a process of its own, and returns what it says. It ends with
// the test.
func program(t *testing.T, opts options, args ...string) output {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "ACCOUNTS_TEST_PROGRAM=1", "ACCOUNTS_DATABASE="+opts.database, "ACCOUNTS_KEY="+opts.keys)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		assert.NoError(t, cmd.Process.Signal(os.Interrupt))
		go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
		assert.NoError(t, cmd.Wait(), "it ends without a fault")
		_ = in.Close()
	})
	return output{bufio.NewScanner(out), out}
}

type output struct {
	lines *bufio.Scanner
	from  *io.PipeReader
}

// awaitLine reads lines until one has all of the words.
func awaitLine(t *testing.T, o output, words ...string) {
	t.Helper()
	defer time.AfterFunc(patience, func() { _ = o.from.Close() }).Stop()
	var said []string
	for o.lines.Scan() {
		said = append(said, o.lines.Text())
		found := 0
		for _, word := range words {
			if strings.Contains(o.lines.Text(), word) {
				found++
			}
		}
		if found == len(words) {
			return
		}
	}
	require.FailNow(t, "it has not said so", "%q\n%s", words, strings.Join(said, "\n"))
}

// The worker is in the middle of long work for an account, whose token the API goes on
// accepting, because the third party could not be told. What stops it is Watch.
func TestADisconnectStopsWorkInProgressInAnotherProcess(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	w.party.set(func() { w.party.endless, w.party.down = true, map[string]bool{"/revoke": true} })
	b := w.browser()
	a := b.connect("ann")
	worker := program(t, w.opts, "worker", "-provider", w.opts.provider, "-every", "1h")
	calls := func() (n int) {
		for _, r := range w.party.Requests() {
			if r.Path == "/v1/contacts" {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return calls() > 3 }, patience, time.Millisecond)
	assert.Equal(t, "/?notice=half", b.disconnect(a).location)
	awaitLine(t, worker, "a sync failed", a.ID, "sign-in required")
	assert.Equal(t, disconnecting, w.mustRead("ann").State)
}

func TestTheProgramInOneProcessAndInThree(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		testProgram(t, func(opts options, flags ...string) output { return program(t, opts, flags...) })
	})
	t.Run("three", func(t *testing.T) {
		testProgram(t, func(opts options, flags ...string) output {
			program(t, opts, append([]string{"provider"}, flags...)...)
			program(t, opts, append([]string{"worker"}, flags...)...)
			return program(t, opts, append([]string{"web"}, flags...)...)
		})
	})
}

func testProgram(t *testing.T, start func(opts options, flags ...string) output) {
	t.Helper()
	opts := options{database: newDatabase(t), keys: strings.Repeat("0f", 32), url: "http://" + freeAddress(t), provider: "http://" + freeAddress(t)}
	web := start(opts, "-addr", strings.TrimPrefix(opts.url, "http://"), "-provider", opts.provider, "-every", "50ms", "-lifetime", "1s")
	awaitLine(t, web, "open "+opts.url)
	w := &world{t: t, opts: opts}
	b := w.browser()
	require.Eventually(t, func() bool { // all listen
		_, errWeb := b.try("GET", "/", nil)
		_, err := b.try("GET", opts.provider, nil)
		return errWeb == nil && err == nil
	}, patience, time.Millisecond)
	require.Equal(t, "/?notice=connected", b.get(b.allow(b.begin(), "ann")).location)
	require.Eventually(t, func() bool { return strings.Contains(b.get("/").body, "9 contacts") }, patience, time.Millisecond)
	b.post(opts.provider+"/people/ann/revoke", nil)
	require.Eventually(t, func() bool { return strings.Contains(b.get("/").body, "Needs reconnecting") }, patience, time.Millisecond)
	require.Equal(t, "/?notice=connected", b.get(b.allow(b.begin(), "ann")).location)
	assert.Equal(t, []string{"Connected"}, b.chips())
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestFlags(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	var help bytes.Buffer
	assert.ErrorIs(t, run(t.Context(), []string{"worker", "-help"}, &help, log), flag.ErrHelp)
	assert.Contains(t, help.String(), "ACCOUNTS_KEY")
	for text, args := range map[string][]string{
		"-adr":                               {"web", "-adr", "x"},
		`"serve" is neither web, worker nor`: {"serve"},
		"-every must be":                     {"-every", "0s"},
	} {
		assert.ErrorContains(t, run(t.Context(), args, io.Discard, log), text)
	}
	for _, database := range []string{"postgres://x:hunter2@[", "postgres://x:hunter2@127.0.0.1:1/db"} {
		t.Setenv("ACCOUNTS_DATABASE", database)
		for _, key := range []string{"hunter2", "abcd", strings.Repeat("0f", 32)} {
			t.Setenv("ACCOUNTS_KEY", key)
			err := run(t.Context(), []string{"worker"}, io.Discard, log)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
}
