// Package filestore keeps the tokens of sessions in files, for command-line tools and
// for services on one machine. Processes that open the same folder share the sessions
// in it and refresh each of them once.
//
//	store, err := filestore.New(filepath.Join(configDir, "mytool", "sessions"), nil)
//	transport, err := reauth.New(reauth.Config{Store: store, ...})
//
// Each session has a file of its own, which is replaced as a whole. A process that is
// killed during a Save leaves the previous token. While a token is refreshed its
// session is locked by flock(2), or by LockFileEx on Windows. The operating system
// releases that lock when the process ends, for whatever reason.
//
// [Store.Watch] makes a sign-out in one process hold in the others. [Store.Purge] deletes the
// sessions that nobody uses any more.
//
// The folder must be on a local disk. On a network file system, and in a folder that a
// program copies to other machines, the lock may not exclude other machines, so that
// two processes spend one refresh token. Use package redisstore or sqlstore for
// several machines.
package filestore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/reauth-go/reauth"
)

// Options are settings that most programs do not need. The zero value is ready to use.
type Options struct {
	// PollInterval is how often [Store.Watch] looks at the files of sessions if the system
	// does not tell of changes, and whether the folder is still the same. If the system does
	// tell, Watch looks at the files ten times less often, because the system does not know
	// of all changes. 0 means half a second.
	PollInterval time.Duration
}

// A Store is a [reauth.Store] and a [reauth.Locker] over a folder. Create it with
// [New]; the zero value does not work. It keeps no file open, except for locks, and
// does not need to be closed. It is safe for concurrent use, also with other Stores on
// the same folder.
//
// Reading and writing files cannot be interrupted. The methods check their context
// before they begin, and while they wait for a lock.
type Store struct {
	dir          string // absolute
	pollInterval time.Duration
	notifier     func(dir string) (*fsnotify.Watcher, error)
	watches      watches
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store that keeps its files in the folder dir. It creates the missing
// parts of the path for the user alone (mode 0700). A relative dir is made absolute at
// once, so that a later change of the working directory does not move it. Nil opts
// mean the zero Options.
//
// On Unix, an existing folder may be listed by others, but if others may write to it,
// that is an error of New, and of every method if it happens later. On Windows a file
// inherits the permissions of its folder; choose one inside the user's profile, such
// as os.UserConfigDir.
//
// New also removes temporary files that are ten minutes old, which processes leave
// that were killed while writing.
func New(dir string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	if opts.PollInterval < 0 {
		return nil, fmt.Errorf("filestore: New: Options.PollInterval %v is negative", opts.PollInterval)
	}
	if dir == "" {
		return nil, errors.New(`filestore: New: dir "" must name a folder`)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	if err := makeFolder(path); err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	s := &Store{dir: path, pollInterval: cmp.Or(opts.PollInterval, defaultPollInterval), notifier: notifier}
	root, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	defer root.Close()
	sweep(root)
	return s, nil
}

// Format writes the folder of the store, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "*filestore.Store[%s]", s.dir) }

// Load implements [reauth.Store]. It is an error that names the file if the file does
// not contain a token, is not a regular file or, on Unix, may be read or written by
// others than its owner. A missing folder is an error, too.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	name := nameOf(session)
	file := name + tokenSuffix
	asked := s.watches.ask(session, name)
	var tok reauth.Token
	var found content
	err := s.do(ctx, session, func(root *os.Root, _ *lease) (err error) {
		tok, found, err = load(ctx, root, file)
		return err
	})
	if err != nil {
		return reauth.Token{}, false, s.errorOf("load", file, err)
	}
	s.watches.found(session, name, asked, found)
	return tok, found != absent, nil
}

// Save implements [reauth.Store]. After it has returned, the token survives a crash of
// the machine. If it fails, the previous token is still stored, unless the last step
// has failed, which syncs the folder. Under a lock it uses the space on the disk that Lock
// has taken.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	name := nameOf(session)
	asked := s.watches.ask(session, name)
	data, err := encode(tok)
	content := contentOf(data)
	if err == nil {
		s.watches.writing(name, content)
		err = s.do(ctx, session, func(root *os.Root, l *lease) error { return l.replace(ctx, root, name, data) })
	}
	if err != nil {
		return s.errorOf("save", name+tokenSuffix, err)
	}
	s.watches.wrote(session, name, asked, content)
	return nil
}

// Delete implements [reauth.Store].
func (s *Store) Delete(ctx context.Context, session string) error {
	name := nameOf(session)
	file := name + tokenSuffix
	asked := s.watches.ask(session, name)
	s.watches.writing(name, absent)
	err := s.do(ctx, session, func(root *os.Root, _ *lease) error {
		err := remove(ctx, root, file)
		if err == nil {
			_ = root.Remove(name + roomSuffix)
		}
		return err
	})
	if err != nil {
		s.watches.notDeleted(name)
		return s.errorOf("delete", file, err)
	}
	s.watches.wrote(session, name, asked, absent)
	return nil
}

// The names of the files of a session, which hold its token, its lock, the space on the
// disk for the next token, and that token while it is being written.
const (
	tokenSuffix     = ".json"
	lockSuffix      = ".lock"
	roomSuffix      = ".room"
	temporarySuffix = ".tmp"
)

// nameOf returns the beginning of the names of a session's files. A hash in hexadecimal
// is a valid name on every file system, whatever bytes the session's name has. It is
// also unique where upper and lower case are the same.
func nameOf(session string) string {
	sum := sha256.Sum256([]byte(session))
	return hex.EncodeToString(sum[:])
}

func load(ctx context.Context, root *os.Root, file string) (tok reauth.Token, found content, err error) {
	data, err := read(ctx, root, file)
	if errors.Is(err, fs.ErrNotExist) {
		return reauth.Token{}, absent, nil
	}
	if err != nil {
		return reauth.Token{}, unreadable, err
	}
	tok, err = decode(data)
	return tok, contentOf(data), err
}

// do calls use with the folder, and with the lease of session if ctx carries one, which
// lasts until use has returned. Without the folder nothing is known, not even whether
// there is a token.
func (s *Store) do(ctx context.Context, session string, use func(*os.Root, *lease) error) error {
	l, ok := ctx.Value(leaseKey{s, session}).(*lease)
	if ok {
		if err := l.enter(); err != nil {
			return err
		}
		defer l.leave()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return use(root, l)
}

// errorOf adds the file to an error, unless the error names it already.
func (s *Store) errorOf(operation, file string, err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	return fmt.Errorf("filestore: %s %s: %w", operation, filepath.Join(s.dir, file), err)
}
