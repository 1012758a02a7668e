package filestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	defaultPollInterval = 500 * time.Millisecond

	// A system that tells of changes does not tell of all. It does not know what happens on
	// the other side of a mount, for example outside of a virtual machine.
	pollsLessOften = 10
)

// Watch tells what other processes do with the sessions in the folder, until ctx is done. It
// calls changed with the name of each session whose token somebody else has saved or deleted.
// It calls missed whenever such news may have been lost: when it begins to hear, after the
// folder was missing or replaced, and when it can't tell which sessions have changed. It
// calls them one at a time, and may call them without need.
//
//	go store.Watch(ctx, tr.Forget, tr.ForgetAll)
//
// It tells only of sessions that this Store was asked about since missed was called, because
// the names of the files are hashes. What this Store has itself written causes no call. For
// Watch, another Store on the same folder is somebody else.
//
// On Linux and Windows the operating system tells of changes at once. On other systems, and if
// that can't be had, Watch looks at the files each [Options.PollInterval].
//
// Watch does not end by itself: a folder that is missing may come back. It returns the cause of
// ctx, or at once an error if an argument is nil.
func (s *Store) Watch(ctx context.Context, changed func(session string), missed func()) error {
	var errs []error
	if changed == nil {
		errs = append(errs, errors.New("filestore: Watch: changed is required"))
	}
	if missed == nil {
		errs = append(errs, errors.New("filestore: Watch: missed is required"))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	w := &watch{store: s, changed: changed, missed: missed, wake: make(chan struct{}, 1)}
	s.watches.join(w)
	defer s.watches.leave(w)
	defer w.detach()
	tick := time.NewTicker(s.pollInterval)
	defer tick.Stop()
	w.check()
	for ticks := 1; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		events, errs := w.channels()
		select {
		case e, ok := <-events:
			w.hear(ctx, e, ok)
		case err, ok := <-errs:
			w.fail(err, ok)
		case <-w.wake:
			w.catchUp(ctx)
		case <-tick.C:
			w.check()
			if w.folder != nil && (w.notifier == nil || ticks%pollsLessOften == 0) {
				w.poll(ctx)
			}
			ticks++
		case <-ctx.Done():
		}
	}
}

// A watch is one call of Watch. Its methods are called by that alone.
type watch struct {
	store   *Store
	changed func(session string)
	missed  func()

	folder   fs.FileInfo       // the one that it hears of; nil if there is none
	notifier *fsnotify.Watcher // nil if the files are polled
	wake     chan struct{}     // has a value if catchUp has something to do

	// Guarded by store.watches.mu.
	suspects map[string]content // what a call has found in files that may have changed unheard
	lost     bool               // missed has to be called
	known    map[string]*known  // by the name of the files, as suspects
}

// notifier returns what tells of changes in a folder.
func notifier(dir string) (*fsnotify.Watcher, error) {
	switch runtime.GOOS {
	case "linux", "android", "windows":
	default:
		// fsnotify would open each file in the folder, as kqueue demands, and it loses some
		// when others vanish meanwhile. Temporary files do.
		return nil, errors.ErrUnsupported
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := n.Add(dir); err != nil {
		closeNotifier(n)
		return nil, err
	}
	return n, nil
}

// closeNotifier returns once the goroutine of n has ended, which closes the channel.
func closeNotifier(n *fsnotify.Watcher) {
	_ = n.Close()
	for range n.Events {
	}
}

func (w *watch) channels() (<-chan fsnotify.Event, <-chan error) {
	if w.notifier == nil {
		return nil, nil
	}
	return w.notifier.Events, w.notifier.Errors
}

// check looks whether the folder is still the one that it hears of. Nobody tells of a file
// system that is mounted over a folder.
func (w *watch) check() {
	info, err := os.Stat(w.store.dir)
	switch {
	case err != nil:
		w.detach()
	case w.folder == nil, !os.SameFile(info, w.folder), w.isDeaf():
		w.attach()
	}
}

// isDeaf reports whether the notifier has stopped, as it does if the file system was
// unmounted.
func (w *watch) isDeaf() bool { return w.notifier != nil && len(w.notifier.WatchList()) == 0 }

// attach begins to hear of the folder that is there now.
func (w *watch) attach() {
	w.detach()
	before, err := os.Stat(w.store.dir)
	if err != nil {
		return
	}
	identify(before)
	if n, err := w.store.notifier(w.store.dir); err == nil {
		w.notifier = n
	}
	after, err := os.Stat(w.store.dir)
	if err != nil || !os.SameFile(before, after) {
		w.detach() // until the next check
		return
	}
	w.folder = after
	w.miss()
}

// identify makes info know its file. On Windows it would look for it only when it is compared,
// and find the file that has the name then.
func identify(info fs.FileInfo) { os.SameFile(info, info) }

// detach ends what attach began.
func (w *watch) detach() {
	w.folder = nil
	if n := w.notifier; n != nil {
		w.notifier = nil
		closeNotifier(n)
	}
}

// hear handles an event of the notifier.
func (w *watch) hear(ctx context.Context, e fsnotify.Event, ok bool) {
	if !ok || e.Name == w.store.dir && e.Op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		w.detach()
		w.check()
		return
	}
	if name, ok := strings.CutSuffix(filepath.Base(e.Name), tokenSuffix); ok && e.Op != fsnotify.Chmod {
		w.tell(ctx, name, unknown)
	}
}

// fail handles an error of the notifier.
func (w *watch) fail(err error, ok bool) {
	if ok && errors.Is(err, fsnotify.ErrEventOverflow) {
		w.miss()
		return
	}
	w.detach() // until the next check, because it may return at once
}

// miss tells that news may have been lost.
func (w *watch) miss() {
	w.store.watches.forget(w)
	w.missed()
}

// catchUp tells what others have left for it.
func (w *watch) catchUp(ctx context.Context) {
	suspects, lost := w.store.watches.take(w)
	if lost {
		w.miss()
		return
	}
	for name, found := range suspects {
		w.tell(ctx, name, found)
	}
}

// tell tells of the session whose files have the name, unless its token is still the one that
// was found, or one that this Store has written.
func (w *watch) tell(ctx context.Context, name string, found content) {
	session, ok := w.store.watches.session(name)
	if !ok {
		return
	}
	c := w.store.see(ctx, name)
	w.store.watches.learn(w, name, c)
	if c != found && !w.isOwn(ctx, name, c) {
		w.changed(session)
	}
}

// isOwn reports whether it is this Store that has written the token.
func (w *watch) isOwn(ctx context.Context, name string, c content) bool {
	for range 3 {
		if w.store.watches.isOwn(name, c) {
			return true
		}
		again := w.store.see(ctx, name)
		if again == c {
			return false
		}
		c = again // the Store has written another meanwhile
	}
	return false
}

// see returns the content of a token file.
func (s *Store) see(ctx context.Context, name string) content {
	root, err := s.open()
	if err != nil {
		return unreadable
	}
	defer root.Close()
	data, err := read(ctx, root, name+tokenSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent
	case err != nil:
		return unreadable
	}
	return contentOf(data)
}
