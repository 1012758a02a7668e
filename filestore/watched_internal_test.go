package filestore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// watching starts a Watch, and returns its calls of changed.
func watching(t *testing.T, store *Store) (calls chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	calls = make(chan string, 100)
	heard, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = store.Watch(ctx, func(session string) { calls <- session }, func() { close(heard) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	<-heard
	return calls
}

func next(t *testing.T, calls chan string) string {
	t.Helper()
	select {
	case call := <-calls:
		return call
	case <-time.After(30 * time.Second):
		require.Fail(t, "no call")
		return ""
	}
}

// A Load that began before the Watch is not known to it. What it has found may have been
// replaced before it was noted.
func TestALoadThatBeganBeforeTheWatchMissesNothing(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	other, err := New(store.dir, nil)
	require.NoError(t, err)
	for _, session := range []string{"ann", "bob"} {
		require.NoError(t, other.Save(t.Context(), session, reauth.Token{AccessToken: "1"}))
	}
	found := func(session string) content { return store.see(t.Context(), nameOf(session)) }
	before := map[string]content{"ann": found("ann"), "bob": found("bob")}

	calls := watching(t, store)
	require.NoError(t, other.Save(t.Context(), "ann", reauth.Token{AccessToken: "2"}))
	for _, session := range []string{"bob", "ann"} {
		store.watches.found(session, nameOf(session), nil, before[session])
	}
	assert.Equal(t, "ann", next(t, calls), "bob's token is still the one that was found")
}

// A Load has found what somebody else had saved and has deleted again, as this Store has done
// before.
func TestALoadOfATokenThatIsGoneAgainMissesNothing(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	calls := watching(t, store)
	require.NoError(t, store.Delete(t.Context(), "ann"))
	asked := store.watches.ask("ann", nameOf("ann"))
	store.watches.found("ann", nameOf("ann"), asked, contentOf([]byte("theirs")))
	assert.Equal(t, "ann", next(t, calls))
}

// If a Delete fails, it may be somebody else who removes the file.
func TestADeleteThatFailsHidesNoOther(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
	w, told := unstarted(store)
	name := nameOf("ann")
	store.watches.ask("ann", name)
	store.watches.writing(name, absent)
	require.NoError(t, os.Remove(filepath.Join(store.dir, name+tokenSuffix)))
	w.tell(t.Context(), name, unknown) // as when the event comes
	require.Empty(t, told())
	store.watches.notDeleted(name)
	w.catchUp(t.Context())
	assert.Equal(t, []string{"ann"}, told())
}

// unstarted returns a watch whose methods the test calls, and its calls of changed.
func unstarted(store *Store) (w *watch, told func() []string) {
	var calls []string
	w = &watch{store: store, wake: make(chan struct{}, 1), changed: func(s string) { calls = append(calls, s) }, missed: func() { calls = append(calls, "(missed)") }}
	store.watches.join(w)
	return w, func() []string {
		defer func() { calls = nil }()
		return calls
	}
}

// What a poll finds may be what the one before has found, and yet somebody was told otherwise
// in between.
func TestPollingTellsOfWhatHasChangedAndChangedBack(t *testing.T) {
	for name, tc := range map[string]struct {
		between func(t *testing.T, store *Store, path string)
		told    []string
	}{
		"nothing happens": {func(*testing.T, *Store, string) {}, nil},
		"it is found again": {func(t *testing.T, store *Store, _ string) {
			_, _, err := store.Load(t.Context(), "ann")
			require.NoError(t, err)
		}, nil},
		"another was found": {func(t *testing.T, store *Store, _ string) {
			store.watches.found("ann", nameOf("ann"), store.watches.ask("ann", nameOf("ann")), contentOf(nil))
		}, []string{"ann"}},
		"it is replaced by its like": {func(t *testing.T, _ *Store, path string) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path+"2", text, 0o600))
			require.NoError(t, os.Rename(path+"2", path))
		}, []string{"ann"}},
		"it can't be read": {func(t *testing.T, _ *Store, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}, []string{"ann"}},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := New(t.TempDir(), nil)
			require.NoError(t, err)
			require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
			path := filepath.Join(store.dir, nameOf("ann")+tokenSuffix)
			long := time.Now().Add(-time.Hour)
			require.NoError(t, os.Chtimes(path, long, long))
			w, told := unstarted(store)
			_, _, err = store.Load(t.Context(), "ann")
			require.NoError(t, err)
			w.poll(t.Context())
			w.poll(t.Context())
			require.Empty(t, told())
			tc.between(t, store, path)
			w.poll(t.Context())
			assert.Equal(t, tc.told, told())
			w.poll(t.Context())
			assert.Empty(t, told())
		})
	}
}

// The mode of a file says nothing about its times.
func TestPollingTellsOnceAFileCanBeReadAgain(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
	path := filepath.Join(store.dir, nameOf("ann")+tokenSuffix)
	w, told := unstarted(store)
	_, _, err = store.Load(t.Context(), "ann")
	require.NoError(t, err)
	long := time.Now().Add(-time.Hour)
	for _, mode := range []os.FileMode{0o644, 0o600} { // others may read it, which is refused
		require.NoError(t, os.Chmod(path, mode))
		require.NoError(t, os.Chtimes(path, long, long))
		w.poll(t.Context())
		if runtime.GOOS != "windows" {
			assert.Equal(t, []string{"ann"}, told())
		}
	}
}

// An unmounted file system, once it is mounted again, has the folder that it had.
func TestWatchHearsAgainIfTheNotifierHasStopped(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	w, told := unstarted(store)
	defer w.detach()
	w.check()
	assert.Equal(t, []string{"(missed)"}, told())
	w.check()
	assert.Empty(t, told())
	if w.notifier == nil {
		t.Skip("here it polls")
	}
	require.NoError(t, w.notifier.Remove(store.dir))
	w.check()
	assert.Equal(t, []string{"(missed)"}, told())
}

// By the time that it is compared with what this Store has written, that may have written
// again.
func TestAnOutdatedLookIsNotTakenForAnothersToken(t *testing.T) {
	store, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	w, _ := unstarted(store)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
	first := store.see(t.Context(), nameOf("ann"))
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "2"}))
	assert.True(t, w.isOwn(t.Context(), nameOf("ann"), first))
}

// The times of files are coarse on some file systems.
func TestPollingTellsOfAFileOfTheSameTimeThatWasYoung(t *testing.T) {
	store, err := New(t.TempDir(), &Options{PollInterval: time.Millisecond})
	require.NoError(t, err)
	store.notifier = func(string) (*fsnotify.Watcher, error) { return nil, errors.ErrUnsupported }
	path := filepath.Join(store.dir, nameOf("ann")+tokenSuffix)
	now := time.Now().Add(time.Hour)
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, os.Chtimes(path, now, now))
	}
	write(`{"access_token":"1"}`)
	calls := watching(t, store)
	_, _, err = store.Load(t.Context(), "ann")
	require.NoError(t, err)
	for n := 2; n < 9; n++ {
		write(`{"access_token":"` + string(rune('0'+n)) + `"}`)
		assert.Equal(t, "ann", next(t, calls))
		for len(calls) > 0 {
			<-calls
		}
	}
}
