package filestore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// limitVariable names a limit of the system, for a process that sets it to 0 before it runs a
// test.
const limitVariable = "FILESTORE_LIMIT"

func init() {
	limit := os.Getenv(limitVariable)
	if limit == "" {
		return
	}
	if err := os.WriteFile(filepath.Join("/proc/sys/user", limit), []byte("0"), 0); err != nil {
		fmt.Println("no limit:", err)
		os.Exit(0)
	}
}

// Other programs of the user may have all that the system has of what Watch needs.
func TestWatchPollsIfTheSystemHasNoMoreWatches(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	run := func(limit, what, timeout string) (string, error) {
		cmd := exec.Command(self, "-test.v", "-test.timeout", timeout, "-test.run", "^TestWatchTellsWhatOthersSaveAndDelete$/^"+what+"$")
		cmd.Env = append(os.Environ(), limitVariable+"="+limit)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER, // where limits are one's own
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if len(out) == 0 && err != nil || strings.Contains(string(out), "no limit:") {
			t.Skipf("no limit can be set here: %v %s", err, out)
		}
		return string(out), err
	}
	for _, limit := range []string{"max_inotify_instances", "max_inotify_watches"} {
		out, err := run(limit, "the_system_tells", "1m")
		require.NoError(t, err, out)
		assert.Contains(t, out, "--- PASS: TestWatchTellsWhatOthersSaveAndDelete/the_system_tells")
	}
	out, err := run("max_inotify_watches", "the_system_tells,_and_nothing_is_polled", "1s")
	require.Error(t, err, "the limit is none: %s", out)
}

// Nobody tells that another file system is mounted over a folder.
func TestWatchNoticesAMountOverItsFolder(t *testing.T) {
	for _, name := range []string{"the system tells", "it polls"} {
		dir := filepath.Join(t.TempDir(), "sessions")
		store := watchers[name](t, dir)
		l := watch(t, store)
		save(t, store, "ann", "1")
		mount := func() {
			if err := asRoot("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=256k,mode=0700,uid=%d", os.Getuid()), "tmpfs", dir); err != nil {
				needs.Skip(t, "no disk can be mounted for this test ("+err.Error()+"); run it as root, or as a user who may sudo mount")
			}
		}
		mount()
		l.eventually(missed)
		l.hearsOf(store, open(t, dir), "ann")
		require.NoError(t, asRoot("umount", dir))
		l.eventually(missed)
		l.hearsOf(store, open(t, dir), "ann")
		require.NoError(t, l.end())
	}
}

// A Watch that has ended leaves nothing behind.
func TestWatchGivesBackWhatTheSystemHasGivenIt(t *testing.T) {
	watches := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, e := range entries {
			if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == "anon_inode:inotify" {
				n++
			}
		}
		return n
	}
	before := watches()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { // so that it ends while events are on their way
		for ctx.Err() == nil {
			assert.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		}
	})
	for range 20 {
		l := watch(t, watchers["the system tells"](t, dir))
		require.Equal(t, before+1, watches())
		require.NoError(t, l.end())
		require.Equal(t, before, watches())
	}
}
