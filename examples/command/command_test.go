package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestWhatTheProgramPrintsIsTheToken(t *testing.T) {
	for _, printed := range []string{"ya29.a0-b_c", "ya29.a0-b_c\n", " ya29.a0-b_c \r\n"} {
		tok, err := faking(t, "print", printed).Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
		assert.Equal(t, reauth.Token{AccessToken: "ya29.a0-b_c"}, tok, "%q", printed)
	}
}

// No shell is between.
func TestArgumentsArriveAsTheyAre(t *testing.T) {
	tok, err := faking(t, "print", "$HOME;`id`&&*|x").Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, "$HOME;`id`&&*|x", tok.AccessToken)
}

func TestWhatIsNoTokenIsATemporaryFailureThatShowsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		c    *command
		want string
	}{
		"a program that fails": {faking(t, "fail"), "failed: exit status 3"},
		"nothing":              {faking(t, "print", " \n"), "prints nothing"},
		"two lines":            {faking(t, "print", "SECRET", "SECRET"), "something else than a token"},
		"JSON":                 {faking(t, "print", `{"token":"SECRET"}`), "something else than a token"},
		"no end":               {faking(t, "flood"), "more than 65536 bytes"},
		"no program":           {&command{args: []string{filepath.Join(t.TempDir(), "gone")}}, "gone"},
	} {
		_, err := tc.c.Refresh(soon(t, time.Minute), reauth.Token{})
		require.ErrorContains(t, err, tc.want, name)
		assert.NotContains(t, err.Error(), "SECRET", name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, name)
	}
}

func TestStandardErrorIsShownOnlyOnDemand(t *testing.T) {
	c := faking(t, "print", "token")
	var log bytes.Buffer
	c.log = &log
	tok, err := c.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, "token", tok.AccessToken, "the two outputs don't mix")
	assert.Equal(t, "a notice, and SECRET\n", log.String())
}

func TestTheProgramGetsNoVariablesBesidesItsOwn(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
	t.Setenv("GH_HOST", "git.example.com")
	c := faking(t, "env")
	c.pass = []string{"GH_HOST", "HOME", "NO_SUCH_VARIABLE"}
	tok, err := c.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	env := strings.Split(tok.AccessToken, "|")
	assert.Contains(t, env, "GH_HOST=git.example.com")
	assert.Contains(t, env, "PATH="+os.Getenv("PATH"))
	assert.NotContains(t, tok.AccessToken, "AWS_SECRET")
	assert.NotContains(t, tok.AccessToken, "NO_SUCH")
}

// A prompt can't be answered, so that it must not wait.
func TestTheProgramHasNoStandardInput(t *testing.T) {
	tok, err := faking(t, "ask").Refresh(soon(t, time.Minute), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, "asked,0,EOF", tok.AccessToken)
}

// programs accepts the connections of programs that hang.
func programs(t *testing.T) (address string, connected func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), func() net.Conn {
		conn, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() }) // which ends the program
		return conn
	}
}

// assertEnded waits until the program at the other end is gone.
func assertEnded(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "it still runs")
}

// kubernetes/kubernetes#108849: client-go waits for its credential plugins for ever.
func TestAProgramThatHangsIsKilledWithAllThatItHasStarted(t *testing.T) {
	hows := []string{"hang"}
	if runtime.GOOS != "windows" {
		hows = append(hows, "hang with a child")
	}
	for _, how := range hows {
		address, connected := programs(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // ends when the program is killed
			_, err := faking(t, how, address).Refresh(ctx, reauth.Token{})
			done <- err
		}()
		conns := []net.Conn{connected()}
		if how != "hang" {
			conns = append(conns, connected())
		}
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled, how)
		for _, conn := range conns {
			assertEnded(t, conn)
		}
	}
}

// The program has a process group of its own, so that a terminal does not interrupt it.
func TestAProgramThatHangsEndsWithThisOne(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process can't be interrupted there")
	}
	address, connected := programs(t)
	this := exec.CommandContext(soon(t, time.Minute), self(t), "main", "-url", "http://127.0.0.1:9/", "-timeout", "10m", self(t), "fake", "hang with a child", address)
	require.NoError(t, this.Start())
	conns := []net.Conn{connected(), connected()}
	require.NoError(t, this.Process.Signal(os.Interrupt))
	assert.Error(t, this.Wait())
	for _, conn := range conns {
		assertEnded(t, conn)
	}
}

// golang/go#23019: what a program leaves behind, such as an agent, has its output open.
func TestAProgramThatLeavesAnotherBehindIsNotWaitedFor(t *testing.T) {
	address, connected := programs(t)
	tok, err := faking(t, "leave", address).Refresh(soon(t, time.Minute), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, "token", tok.AccessToken)
	connected()
}

// kubernetes/kubectl#1492: a program that is not there is started again and again.
func TestAProgramThatFailsIsNotRunForEachRequest(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	file := filepath.Join(t.TempDir(), "token") // which is not there
	transport, err := newTransport(faking(t, "from", file), s.URL, time.Minute)
	require.NoError(t, err)
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := get(t.Context(), client, s.APIURL("/me"), io.Discard)
			assert.Error(t, err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		})
	}
	wg.Wait()
	assertRuns(t, file, 1)
}

func TestRequestsThatAreRefusedAtOnceShareOneRun(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{Opaque: true})
	s.Handle("GET /me", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	file := filepath.Join(t.TempDir(), "token")
	signIn := func() { require.NoError(t, os.WriteFile(file, []byte(s.SignIn("ann").AccessToken), 0o600)) }
	signIn()
	transport, err := newTransport(faking(t, "from", file), s.URL, time.Minute)
	require.NoError(t, err)
	client := &http.Client{Transport: transport}
	for range 2 {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				status, err := get(t.Context(), client, s.APIURL("/me"), io.Discard)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
			})
		}
		wg.Wait()
		s.ExpireAccess()
		signIn()
	}
	assert.Equal(t, 100, s.Counts().APISucceeded)
	assertRuns(t, file, 2)
}

func assertRuns(t *testing.T, file string, want int) {
	t.Helper()
	runs, err := os.ReadFile(file + ".runs")
	require.NoError(t, err)
	assert.Len(t, string(runs), want)
}
