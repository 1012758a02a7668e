package filestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/fleet"
)

const patience = 30 * time.Second

// missed stands for a call of missed among those of changed.
const missed = "(missed)"

// A listener is a Watch in progress.
type listener struct {
	t     *testing.T
	calls chan string
	end   func() error
}

// watch starts a Watch, and waits until it hears.
func watch(t *testing.T, store *filestore.Store) *listener {
	t.Helper()
	l := listen(t, store)
	l.expect(missed)
	return l
}

// listen starts a Watch.
func listen(t *testing.T, store *filestore.Store) *listener {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context())) // which is done before a Cleanup
	l := &listener{t: t, calls: make(chan string, 1000)}
	result := make(chan error, 1)
	var calling sync.Mutex
	call := func(what string) {
		if assert.True(t, calling.TryLock(), "two calls at once") {
			defer calling.Unlock()
		}
		l.calls <- what
	}
	go func() { result <- store.Watch(ctx, call, func() { call(missed) }) }()
	enough := errors.New("enough")
	l.end = sync.OnceValue(func() error {
		cancel(enough)
		err := <-result
		if errors.Is(err, enough) {
			return nil
		}
		return err
	})
	t.Cleanup(func() { require.NoError(t, l.end()) })
	return l
}

// expect checks the next calls.
func (l *listener) expect(calls ...string) {
	l.t.Helper()
	for _, want := range calls {
		select {
		case got := <-l.calls:
			require.Equal(l.t, want, got)
		case <-time.After(patience):
			require.Fail(l.t, "no call", "of %q", want)
		}
	}
}

// eventually waits for a call, whatever comes before.
func (l *listener) eventually(want string) {
	l.t.Helper()
	for {
		select {
		case got := <-l.calls:
			if got == want {
				return
			}
		case <-time.After(patience):
			require.Fail(l.t, "no call", "of %q", want)
		}
	}
}

// hearsOf saves the token of a session until that is told.
func (l *listener) hearsOf(store, other *filestore.Store, session string) {
	l.t.Helper()
	end := time.After(patience)
	for n := 0; ; n++ {
		load(l.t, store, session) // a missed after that makes it ask again
		save(l.t, other, session, fmt.Sprint(n))
		select {
		case got := <-l.calls:
			if got == session {
				return
			}
		case <-time.After(20 * time.Millisecond):
		case <-end:
			require.Fail(l.t, "no call")
		}
	}
}

// openToWatch opens a store whose Watch polls as often as it may.
func openToWatch(t *testing.T, dir string) *filestore.Store {
	t.Helper()
	store, err := filestore.New(dir, &filestore.Options{PollInterval: 5 * time.Millisecond})
	require.NoError(t, err)
	return store
}

// watchers are the ways in which Watch learns of changes.
var watchers = map[string]func(t *testing.T, dir string) *filestore.Store{
	"the system tells": openToWatch,
	"the system tells, and nothing is polled": func(t *testing.T, dir string) *filestore.Store {
		store, err := filestore.New(dir, &filestore.Options{PollInterval: time.Hour})
		require.NoError(t, err)
		return store
	},
	"it polls": func(t *testing.T, dir string) *filestore.Store {
		store := openToWatch(t, dir)
		store.PollOnly()
		return store
	},
}

func eachWatcher(t *testing.T, f func(t *testing.T, dir string, store *filestore.Store)) {
	for name, open := range watchers {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			f(t, dir, open(t, dir))
		})
	}
}

func load(t *testing.T, store *filestore.Store, session string) {
	t.Helper()
	_, _, err := store.Load(t.Context(), session)
	require.NoError(t, err)
}

func TestWatchTellsWhatOthersSaveAndDelete(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		other := open(t, dir)
		save(t, other, "ann", "1")
		l := watch(t, store)
		load(t, store, "ann")
		load(t, store, "bob")
		save(t, other, "ann", "2")
		l.expect("ann")
		save(t, other, "bob", "1")
		l.expect("bob")
		require.NoError(t, other.Delete(t.Context(), "ann"))
		l.expect("ann")
		held, unlock, err := lockAgain(t.Context(), other, "ann")
		require.NoError(t, err)
		require.NoError(t, other.Save(held, "ann", reauth.Token{AccessToken: "3"}))
		unlock()
		l.expect("ann")
	})
}

// A process does not look because of what it has itself written. Nor of sessions that it does
// not know.
func TestWatchDoesNotTellWhatItsOwnStoreHasWritten(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		other := open(t, dir)
		l := watch(t, store)
		load(t, store, "marker")
		for i := range 100 {
			save(t, store, "ann", fmt.Sprint(i))
			load(t, store, "ann")
			if i%10 == 0 {
				require.NoError(t, store.Delete(t.Context(), "ann"))
			}
			held, unlock, err := lockAgain(t.Context(), store, "bob")
			require.NoError(t, err)
			require.NoError(t, store.Save(held, "bob", reauth.Token{AccessToken: fmt.Sprint(i)}))
			unlock()
			save(t, other, "unasked", fmt.Sprint(i))
		}
		save(t, other, "marker", "1")
		l.expect("marker")
		require.NoError(t, l.end())
		assert.Empty(t, l.calls)
	})
}

// After what it has itself written, what others write is told again.
func TestWatchTellsWhatOthersDoToWhatItsOwnStoreHasWritten(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		other := open(t, dir)
		l := watch(t, store)
		for i := range 10 {
			save(t, store, "ann", fmt.Sprint("own ", i))
			save(t, other, "ann", fmt.Sprint("other ", i))
			l.expect("ann")
			load(t, store, "ann")
			save(t, store, "ann", fmt.Sprint("own again ", i))
			require.NoError(t, other.Delete(t.Context(), "ann"))
			l.expect("ann")
		}
	})
}

func TestEachOfSeveralWatchesHearsOfAChange(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		other := open(t, dir)
		first := watch(t, store)
		load(t, store, "ann")
		second := watch(t, store)
		load(t, store, "ann")
		save(t, other, "ann", "1")
		first.expect("ann")
		second.expect("ann")
		require.NoError(t, first.end())
		save(t, other, "ann", "2")
		second.expect("ann")
	})
}

func TestWatchOutlivesItsFolder(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, dir string){
		"it is removed":    func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) },
		"it is moved away": func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir, dir+" elsewhere")) },
	} {
		t.Run(name, func(t *testing.T) {
			for name, open := range watchers {
				if name == "the system tells, and nothing is polled" {
					continue // nobody tells that the folder is back
				}
				t.Run(name, func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "sessions")
					store := open(t, dir)
					l := watch(t, store)
					save(t, store, "ann", "1")
					for range 3 {
						replace(t, dir)
						other := openToWatch(t, dir)
						if name != "it polls" { // the new folder may have the number of the old one, and polling misses nothing
							l.eventually(missed)
						}
						l.hearsOf(store, other, "ann")
						require.NoError(t, os.RemoveAll(dir+" elsewhere"))
					}
				})
			}
		})
	}
}

// So Watch may be started before a disk is mounted.
func TestWatchWaitsForItsFolder(t *testing.T) {
	for _, name := range []string{"the system tells", "it polls"} {
		dir := filepath.Join(t.TempDir(), "sessions")
		store := watchers[name](t, dir)
		require.NoError(t, os.Remove(dir))
		l := listen(t, store)
		require.NoError(t, os.Mkdir(dir, 0o700))
		l.expect(missed)
		load(t, store, "ann")
		save(t, open(t, dir), "ann", "1")
		l.expect("ann")
	}
}

// As when a new release gets a folder of its own.
func TestWatchFollowsALinkThatLeadsElsewhere(t *testing.T) {
	for _, name := range []string{"the system tells", "it polls"} {
		first, second := t.TempDir(), t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Symlink(first, link))
		store := watchers[name](t, link)
		l := watch(t, store)
		save(t, store, "ann", "1")
		require.NoError(t, os.Symlink(second, link+"2"))
		require.NoError(t, os.Rename(link+"2", link))
		l.eventually(missed)
		l.hearsOf(store, open(t, second), "ann")
	}
}

func TestWatchTellsOfAFileThatWasEdited(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		l := watch(t, store)
		save(t, store, "ann", "1")
		path := pathOf(dir, "ann", ".json")
		require.NoError(t, os.WriteFile(path, []byte(`{"access_token":"2"}`), 0o600)) // in place
		l.eventually("ann")
		requireStored(t, store, "ann", "2")
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path+"~", []byte(`{"access_token":"3"}`), 0o600))
		require.NoError(t, os.Chtimes(path+"~", time.Time{}, info.ModTime()))
		require.NoError(t, os.Rename(path+"~", path)) // of the same size and time
		l.eventually("ann")
		requireStored(t, store, "ann", "3")
	})
}

// If it can't keep all names it forgets them, and says so.
func TestWatchOfTooManySessionsMissesSome(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		store.WatchMost(10)
		other := open(t, dir)
		l := watch(t, store)
		for i := range 11 {
			load(t, store, fmt.Sprint(i))
		}
		l.expect(missed)
		load(t, store, "0")
		save(t, other, "0", "1")
		l.expect("0")
	})
}

// While changed is called the system keeps what happens, but not all of it.
func TestWatchSaysWhenTheSystemHasLostEvents(t *testing.T) {
	dir := t.TempDir()
	store, other := open(t, dir), open(t, dir)
	load(t, store, "ann")
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip("this is about inotify")
	}
	var most int
	_, err = fmt.Sscan(string(limit), &most)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls, goOn := make(chan string, 10), make(chan struct{})
	go func() {
		_ = store.Watch(ctx, func(session string) { calls <- session; <-goOn }, func() { calls <- missed })
	}()
	require.Equal(t, missed, <-calls)
	load(t, store, "ann")
	save(t, other, "ann", "1")
	require.Equal(t, "ann", <-calls)
	file := filepath.Join(dir, "file")
	for range most/2 + 10000 { // the package has a buffer too
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Remove(file))
	}
	close(goOn)
	require.Equal(t, missed, <-calls)
	load(t, store, "ann")
	save(t, other, "ann", "2")
	require.Equal(t, "ann", <-calls)
}

// A system that tells of changes may not know of all of them.
func TestWatchAlsoPollsIfTheSystemTells(t *testing.T) {
	dir := t.TempDir()
	store := openToWatch(t, dir)
	store.HearNothing(t.TempDir())
	l := watch(t, store)
	load(t, store, "ann")
	save(t, open(t, dir), "ann", "1")
	l.expect("ann")
}

func TestWatchChecksItsArguments(t *testing.T) {
	store := open(t, t.TempDir())
	err := store.Watch(t.Context(), nil, func() {})
	assert.EqualError(t, err, "filestore: Watch: changed is required")
	err = store.Watch(t.Context(), func(string) {}, nil)
	assert.EqualError(t, err, "filestore: Watch: missed is required")
	err = store.Watch(t.Context(), nil, nil)
	assert.ErrorContains(t, err, "changed")
	assert.ErrorContains(t, err, "missed")

	store, err = filestore.New(t.TempDir(), &filestore.Options{PollInterval: -1})
	assert.Nil(t, store)
	assert.ErrorContains(t, err, "Options.PollInterval -1ns")
}

func TestWatchEndsWithTheCauseOfItsContext(t *testing.T) {
	eachWatcher(t, func(t *testing.T, _ string, store *filestore.Store) {
		cause := errors.New("cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		err := store.Watch(ctx, func(string) {}, func() {})
		require.ErrorIs(t, err, cause)
		ctx, cancel = context.WithCancelCause(t.Context())
		require.ErrorIs(t, store.Watch(ctx, func(string) {}, func() { cancel(cause) }), cause)
	})
}

func TestAPanicPassesThroughWatchAndEndsIt(t *testing.T) {
	eachWatcher(t, func(t *testing.T, _ string, store *filestore.Store) {
		before := runtime.NumGoroutine()
		for range 50 {
			assert.PanicsWithValue(t, "no", func() { _ = store.Watch(t.Context(), func(string) {}, func() { panic("no") }) })
		}
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before && time.Now().Before(end); {
			runtime.Gosched() // one that ends is counted until it has ended
		}
		assert.LessOrEqual(t, runtime.NumGoroutine(), before)
	})
}

func TestASignOutReachesAllProcesses(t *testing.T) {
	fleet.SignOutReachesAll(t, filepath.Join(t.TempDir(), "sessions"), 0)
}
