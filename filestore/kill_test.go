package filestore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
)

const writerVariable = "FILESTORE_WRITER" // names the folder for a process that writes until it is killed

// numbered is a token of several KiB whose parts show whether they belong together.
func numbered(n int) reauth.Token {
	id := strconv.Itoa(n)
	return reauth.Token{
		AccessToken:  id,
		RefreshToken: strings.Repeat(id+".", 500+n%500),
		Extra:        map[string]string{"id_token": strings.Repeat(id+",", 1000)},
	}
}

// number is the reverse of numbered; ok is false if the parts do not belong together.
func number(tok reauth.Token) (n int, ok bool) {
	n, err := strconv.Atoi(tok.AccessToken)
	want := numbered(n)
	return n, err == nil && tok.RefreshToken == want.RefreshToken && tok.Extra["id_token"] == want.Extra["id_token"]
}

// writeUntilKilled increments the number of the stored token, as refreshes do, and
// prints each number after it is stored.
func writeUntilKilled(dir string) {
	store, err := filestore.New(dir, nil)
	for err == nil {
		err = countUp(store)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func countUp(store *filestore.Store) error {
	held, unlock, err := lockAgain(context.Background(), store, "ann")
	if err != nil {
		return err
	}
	defer unlock()
	tok, _, err := store.Load(held, "ann")
	if err != nil {
		return err
	}
	n, whole := number(tok)
	if !whole {
		return errors.New("the stored token is not whole")
	}
	if err := store.Save(held, "ann", numbered(n+1)); err != nil {
		return err
	}
	fmt.Println(n + 1)
	return nil
}

// TestKilledAtAnyMoment kills 200 processes that write, each at a random moment. A token
// that a process has reported as stored is stored afterwards. The token that it was
// about to store is there as a whole or not at all, and its lock is free.
func TestKilledAtAnyMoment(t *testing.T) {
	folders, kills := 4, 25
	if testing.Short() {
		kills = 5
	}
	self, err := os.Executable()
	require.NoError(t, err)
	var unheard, leftovers atomic.Int32
	t.Run("", func(t *testing.T) {
		for range folders {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				store := open(t, dir)
				require.NoError(t, store.Save(t.Context(), "ann", numbered(1)))
				for range kills {
					last := killWriter(t, self, dir)

					lock := flock.New(pathOf(dir, "ann", ".lock"))
					free, err := lock.TryLock()
					require.NoError(t, err)
					require.True(t, free, "the lock is still held")
					require.NoError(t, lock.Unlock())

					tok, ok, err := store.Load(t.Context(), "ann")
					require.NoError(t, err)
					require.True(t, ok, "the token is gone")
					n, whole := number(tok)
					require.True(t, whole, "the token is not whole")
					require.Contains(t, []int{last, last + 1}, n)
					unheard.Add(int32(n - last))
				}
				leftovers.Add(int32(strings.Count(strings.Join(files(t, dir), "\n"), ".tmp")))
			})
		}
	})
	t.Logf("%d processes killed; %d while they wrote the temporary file, %d between its renaming and their saying so",
		folders*kills, leftovers.Load(), unheard.Load())
	if !testing.Short() { // otherwise there are too few to be sure
		assert.NotZero(t, leftovers.Load(), "none was killed while it wrote")
	}
}

// killWriter starts a process that writes, kills it, and returns the last number that
// it reported as stored.
func killWriter(t *testing.T, self, dir string) int {
	t.Helper()
	cmd, stdout := startWriter(t, self, dir)
	<-time.After(rand.N(20 * time.Millisecond))
	require.NoError(t, cmd.Process.Kill())
	said, err := io.ReadAll(stdout)
	require.NoError(t, err)
	_ = cmd.Wait() // reports that it was killed
	lines := strings.Fields(string(said))
	require.NotEmpty(t, lines)
	last, err := strconv.Atoi(lines[len(lines)-1])
	require.NoError(t, err)
	return last
}

// startWriter starts a process that writes, and waits until it has begun. The test must
// kill it.
func startWriter(t *testing.T, self, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), writerVariable+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	lines := bufio.NewReader(stdout)
	_, err = lines.Peek(1)
	require.NoError(t, err, "the process has ended; its standard error says why")
	return cmd, lines
}
