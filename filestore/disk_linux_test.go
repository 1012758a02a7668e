package filestore_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A disk is the mount point of a file system of 64 KiB.
type disk string

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk(t.TempDir())
	if err := asRoot("mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", string(d)); err != nil {
		needs.Skip(t, "no disk can be mounted for this test ("+err.Error()+"); run it as root, or as a user who may sudo mount")
	}
	t.Cleanup(func() { assert.NoError(t, asRoot("umount", string(d))) })
	return d
}

func asRoot(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	if os.Geteuid() != 0 {
		cmd = exec.Command("sudo", append([]string{"-n", program}, args...)...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// fill leaves no room on the disk. The function it returns frees the room.
func (d disk) fill(t *testing.T) (empty func()) {
	t.Helper()
	ballast := filepath.Join(string(d), "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	return func() { require.NoError(t, os.Remove(ballast)) }
}

// writeProtect makes the disk read-only. The function it returns undoes that.
func (d disk) writeProtect(t *testing.T) (undo func()) {
	t.Helper()
	require.NoError(t, asRoot("mount", "-o", "remount,ro", string(d)))
	return func() { require.NoError(t, asRoot("mount", "-o", "remount,rw", string(d))) }
}

func TestADiskThatCannotBeWrittenToSignsNobodyOut(t *testing.T) {
	for name, fault := range map[string]struct {
		begin func(disk, *testing.T) (end func())
		err   syscall.Errno
	}{
		"full":         {(disk).fill, syscall.ENOSPC},
		"only to read": {(disk).writeProtect, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			dir := filepath.Join(string(disk), "sessions")
			server := reauthtest.NewServer(t, reauthtest.Options{})
			pending := make(chan error, 100)
			base := new(http.Transport)
			t.Cleanup(base.CloseIdleConnections)
			transport, err := reauth.New(reauth.Config{
				Refresher:    &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "test"},
				Origins:      []string{server.URL},
				Base:         base,
				Store:        open(t, dir),
				RefreshPause: -1, // a pending save is tried again every 100 ms
				OnEvent: func(_ context.Context, e reauth.Event) {
					if e.Kind == reauth.EventSaveFailed {
						pending <- e.Err
					}
					assert.NotContains(t, []reauth.EventKind{reauth.EventRefreshFailed, reauth.EventSignInRequired}, e.Kind)
				},
			})
			require.NoError(t, err)
			get := func() {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.APIURL("/"), nil)
				require.NoError(t, err)
				resp, err := transport.RoundTrip(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, resp.StatusCode)
			}
			signedIn := server.SignIn("ann")
			require.NoError(t, transport.SignIn(t.Context(), reauth.Token(signedIn)))
			another := open(t, dir) // like another process, which has seen nothing of this

			end := fault.begin(disk, t)
			for refreshes := 1; refreshes <= 3; refreshes++ {
				server.ExpireAccess()
				get()
				select {
				case err := <-pending:
					require.ErrorIs(t, err, fault.err)
					require.ErrorContains(t, err, "filestore: save "+pathOf(dir, "", ".json")+": "+fault.err.Error())
				default:
					require.Fail(t, "no save is pending")
				}
				require.Equal(t, refreshes, server.Counts().Refreshes)
				signedIn, err := transport.SignedIn(t.Context())
				require.NoError(t, err)
				require.True(t, signedIn)
				get()
			}
			requireStored(t, another, "", signedIn.AccessToken)
			assert.Len(t, files(t, dir), 2, "the token, its lock, and no temporary file")
			restarted, err := filestore.New(dir, nil)
			require.NoError(t, err, "a process can be started all the same")
			requireStored(t, restarted, "", signedIn.AccessToken)

			end()
			current, err := transport.Token(t.Context())
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				get()
				tok, _, err := another.Load(t.Context(), "")
				return err == nil && tok.AccessToken == current.AccessToken
			}, 30*time.Second, 5*time.Millisecond, "the save is still pending")
			require.NoError(t, transport.Wait(t.Context()))
			assert.Equal(t, 3, server.Counts().Refreshes)
			assert.Zero(t, server.Counts().ReusesDetected)
		})
	}
}

// userFolder returns a folder of a user who is bound by permissions, and makes the test
// run as that user, because root is not.
func userFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		const nobody = 65534
		for _, path := range []string{filepath.Dir(dir), dir} {
			require.NoError(t, os.Chown(path, nobody, nobody))
		}
		runtime.LockOSThread() // files are used by the thread that calls the store
		require.NoError(t, syscall.Setfsuid(nobody))
		t.Cleanup(func() {
			assert.NoError(t, syscall.Setfsuid(0))
			runtime.UnlockOSThread()
		})
	}
	return filepath.Join(dir, "sessions")
}

func TestAFolderThatCanOnlyBeReadKeepsItsTokens(t *testing.T) {
	dir := userFolder(t)
	store := open(t, dir)
	save(t, store, "ann", "before")
	_, unlock, err := store.Lock(t.Context(), "ann")
	require.NoError(t, err)
	unlock()
	require.NoError(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { assert.NoError(t, os.Chmod(dir, 0o700)) })

	restarted := open(t, dir)
	requireStored(t, restarted, "ann", "before")
	held, unlock, err := restarted.Lock(t.Context(), "ann")
	require.NoError(t, err, "what was locked before can be")
	defer unlock()
	after := reauth.Token{AccessToken: "after"}
	_, _, lockErr := restarted.Lock(t.Context(), "bob")
	for text, err := range map[string]error{
		"save " + pathOf(dir, "ann", ".json"):   restarted.Save(held, "ann", after),
		"save " + pathOf(dir, "bob", ".json"):   restarted.Save(t.Context(), "bob", after),
		"delete " + pathOf(dir, "ann", ".json"): restarted.Delete(held, "ann"),
		"lock " + pathOf(dir, "bob", ".lock"):   lockErr,
	} {
		assert.ErrorIs(t, err, os.ErrPermission)
		assert.ErrorContains(t, err, "filestore: "+text+": permission denied")
	}
	assert.NoError(t, held.Err())
	requireStored(t, store, "ann", "before")
	assert.Len(t, files(t, dir), 2, "the token, its lock, and no temporary file")

	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, restarted.Save(held, "ann", after))
	requireStored(t, store, "ann", "after")
}
