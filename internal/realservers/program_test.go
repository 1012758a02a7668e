package realservers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests mostly wait for tokens to expire, so more of them run at once than there
// are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// missing skips the test because a program is missing, unless none may be skipped.
func missing(t *testing.T, what, install string) {
	t.Helper()
	if os.Getenv("REAUTH_REQUIRE_ALL") == "1" {
		t.Fatalf("%s; install: %s", what, install)
	}
	t.Skipf("%s; to run this test: %s", what, install)
}

// A program is one that serves on a port of its own choosing.
type program struct {
	url string
}

// start starts a program and returns once it says where it listens. It ends with
// the test, or when this process does: its standard input ends then.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(name, args...)
	stderr := &safeBuffer{}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	listening := make(chan string, 1)
	ended := make(chan struct{})
	go func() { // ends with the program, which closes its standard output
		defer close(ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
				listening <- url
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
			t.Errorf("%s ended by itself: %s", name, cmd.ProcessState)
		default:
			_ = stdin.Close()
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s wrote to its standard error:\n%s", name, stderr)
		}
	})

	select {
	case url := <-listening:
		return &program{url: url}
	case <-ended:
		t.FailNow() // the cleanup says more
	case <-time.After(time.Minute):
		t.Fatalf("%s does not listen after a minute", name)
	}
	return nil
}

// counts is what a program has counted since it started.
type counts struct {
	Requests    int `json:"requests"`    // to the API
	Refused     int `json:"refused"`     // of these, answered 401
	SignIns     int `json:"signIns"`     // answered 200
	Refreshes   int `json:"refreshes"`   // asked for
	Refreshed   int `json:"refreshed"`   // of these, answered 200
	Revocations int `json:"revocations"` // asked for
	Nonces      int `json:"nonces"`      // requests to the API that were refused for want of a nonce
	BadProofs   int `json:"badProofs"`   // and those whose proof was not valid
	MostSpent   int `json:"mostSpent"`   // how often the refresh token was presented that was presented most
}

func (p *program) counts(t *testing.T) counts {
	t.Helper()
	resp, err := http.Get(p.url + "/_test/counts")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var c counts
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&c))
	return c
}

// revoke makes the program refuse the refresh token that it gave out last.
func (p *program) revoke(t *testing.T) {
	t.Helper()
	resp, err := http.Post(p.url+"/_test/revoke", "", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

// A safeBuffer may be read while a program is writing to it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
