package filestore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// A disk is the mount point of a small file system.
type disk string

// newDisk returns a disk of a size such as "64k".
func newDisk(t *testing.T, size string) disk {
	t.Helper()
	d := disk(t.TempDir())
	if err := asRoot("mount", "-t", "tmpfs", "-o", "size="+size+",mode=0777", "tmpfs", string(d)); err != nil {
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
func (d disk) fill(tb testing.TB) (empty func()) {
	tb.Helper()
	ballast := filepath.Join(string(d), "ballast")
	f, err := os.Create(ballast)
	require.NoError(tb, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(tb, err, syscall.ENOSPC)
	return func() { require.NoError(tb, os.Remove(ballast)) }
}

// writeProtect makes the disk read-only. The function it returns undoes that.
func (d disk) writeProtect(tb testing.TB) (undo func()) {
	tb.Helper()
	require.NoError(tb, asRoot("mount", "-o", "remount,ro", string(d)))
	return func() { require.NoError(tb, asRoot("mount", "-o", "remount,rw", string(d))) }
}

// diskFaults are what keeps a disk from being written to, and the error that this is.
var diskFaults = map[string]struct {
	begin func(disk, testing.TB) (end func())
	err   syscall.Errno
}{
	"full":      {disk.fill, syscall.ENOSPC},
	"read-only": {disk.writeProtect, syscall.EROFS},
}

func TestStoreOnADiskThatCannotBeWrittenTo(t *testing.T) {
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t, "4m")
			dir := filepath.Join(string(disk), "sessions")
			storetest.Run(t, storetest.Storage{
				Open:   func(tb testing.TB) reauth.Store { return open(tb, dir) },
				Refuse: func(tb testing.TB) (accept func()) { return fault.begin(disk, tb) },
			})
		})
	}
}

func TestWithADiskThatCannotBeWrittenToNoTokenIsSpentTwice(t *testing.T) {
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t, "64k")
			fleet.Unsaved(t, filepath.Join(string(disk), "sessions"), func() (mend func()) { return fault.begin(disk, t) })
		})
	}
}

func TestALockIsHadOnlyWhereTheNextTokenCanBeSaved(t *testing.T) {
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t, "64k")
			dir := filepath.Join(string(disk), "sessions")
			store := open(t, dir)
			save(t, store, "ann", "before")
			end := fault.begin(disk, t)
			held, unlock, err := store.Lock(t.Context(), "ann")
			require.ErrorIs(t, err, fault.err)
			require.ErrorContains(t, err, "filestore: lock "+pathOf(dir, "ann", ".lock")+": "+fault.err.Error())
			assert.Nil(t, held)
			assert.Nil(t, unlock)
			assert.NotContains(t, strings.Join(files(t, dir), " "), ".tmp")
			requireStored(t, store, "ann", "before")

			end()
			held, unlock, err = store.Lock(t.Context(), "ann")
			require.NoError(t, err, "the lock was left behind")
			require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
			unlock()
		})
	}
}

func TestASaveUnderALockNeedsNoMoreOfTheDisk(t *testing.T) {
	disk := newDisk(t, "256k")
	dir := filepath.Join(string(disk), "sessions")
	store := open(t, dir)
	for _, size := range []int{100, 8 << 10, 15 << 10, 29 << 10} { // at most twice the one before, or 16 KiB
		next := reauth.Token{AccessToken: strings.Repeat("a", size)}
		held, unlock, err := store.Lock(t.Context(), "ann")
		require.NoError(t, err)
		empty := disk.fill(t)
		require.NoError(t, store.Save(held, "ann", next), "%d bytes", size)
		tok, _, err := open(t, dir).Load(t.Context(), "ann")
		require.NoError(t, err)
		require.True(t, tok.AccessToken == next.AccessToken, "another token is stored")
		unlock()
		empty()
		assert.NotContains(t, strings.Join(files(t, dir), " "), ".tmp")
	}
}

// The disk fails before a refresh. While it does nothing is refreshed.
func TestADiskThatCannotBeWrittenToSignsNobodyOut(t *testing.T) {
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t, "64k")
			dir := filepath.Join(string(disk), "sessions")
			server := reauthtest.NewServer(t, reauthtest.Options{})
			base := new(http.Transport)
			t.Cleanup(base.CloseIdleConnections)
			transport, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "test"},
				Origins:   []string{server.URL},
				Base:      base,
				Store:     open(t, dir),
				OnEvent: func(_ context.Context, e reauth.Event) {
					assert.NotEqual(t, reauth.EventSignInRequired, e.Kind)
					assert.NotEqual(t, reauth.EventSaveFailed, e.Kind)
				},
			})
			require.NoError(t, err)
			get := func() error {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.APIURL("/"), nil)
				require.NoError(t, err)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				return nil
			}
			signedIn := server.SignIn("ann")
			require.NoError(t, transport.SignIn(t.Context(), reauth.Token(signedIn)))
			require.NoError(t, transport.Wait(t.Context()))
			require.NoError(t, os.Remove(pathOf(dir, "", ".room"))) // as if no lock had been had yet

			end := fault.begin(disk, t)
			require.NoError(t, get(), "with a token that is still good")
			server.ExpireAccess()
			err = get()
			require.ErrorContains(t, err, fault.err.Error())
			_, temporary := errors.AsType[*reauth.RefreshError](err)
			require.True(t, temporary)
			require.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Zero(t, server.Counts().Refreshes, "nothing is refreshed that could not be saved")
			restarted, err := filestore.New(dir, nil)
			require.NoError(t, err, "a process can be started all the same")
			requireStored(t, restarted, "", signedIn.AccessToken)
			assert.Len(t, files(t, dir), 2, "the token, its lock, and no temporary file")

			end()
			require.Eventually(t, func() bool { return get() == nil }, 30*time.Second, 5*time.Millisecond)
			require.NoError(t, transport.Wait(t.Context()))
			assert.Equal(t, 1, server.Counts().Refreshes)
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
	_, _, annErr := restarted.Lock(t.Context(), "ann")
	_, _, bobErr := restarted.Lock(t.Context(), "bob")
	for text, err := range map[string]error{
		"save " + pathOf(dir, "bob", ".json"):   restarted.Save(t.Context(), "bob", reauth.Token{AccessToken: "after"}),
		"delete " + pathOf(dir, "ann", ".json"): restarted.Delete(t.Context(), "ann"),
		"lock " + pathOf(dir, "ann", ".lock"):   annErr,
		"lock " + pathOf(dir, "bob", ".lock"):   bobErr,
	} {
		assert.ErrorIs(t, err, os.ErrPermission)
		assert.ErrorContains(t, err, "filestore: "+text+": permission denied")
	}
	requireStored(t, store, "ann", "before")
	assert.Len(t, files(t, dir), 3, "the token, its lock, its room, and no temporary file")
	require.NoError(t, os.Chmod(dir, 0o700))
	held, unlock, err := restarted.Lock(t.Context(), "ann")
	require.NoError(t, err)
	defer unlock()

	require.NoError(t, os.Chmod(dir, 0o500))
	after := reauth.Token{AccessToken: "after"}
	assert.ErrorIs(t, restarted.Save(held, "ann", after), os.ErrPermission)
	assert.NoError(t, held.Err())
	requireStored(t, store, "ann", "before")
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, restarted.Save(held, "ann", after), "in the room that it still has")
	requireStored(t, store, "ann", "after")
}
