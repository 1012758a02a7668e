// Package filestore keeps the tokens of sessions in files, for command-line tools
// and services of one machine: whatever processes open the same folder share the
// sessions in it, and refresh each of them once.
//
//	store, err := filestore.New(filepath.Join(configDir, "mytool", "sessions"), nil)
//	transport, err := reauth.New(reauth.Config{Store: store, ...})
//
// Each session has a file of its own, which is replaced as a whole: a process that
// is killed in the middle of a Save leaves the token from before. While a token is
// refreshed its session is locked by flock(2), or LockFileEx on Windows; the
// operating system frees that lock when the process ends, however it ends.
//
// The folder must be on a local disk. On file systems of a network, and in folders
// that a program copies to other machines, the lock may keep nobody off, so that
// two processes spend one refresh token. Package redisstore or sqlstore is for
// several machines.
package filestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/reauth-go/reauth"
)

// Options are the options of [New]. There are none as yet.
type Options struct{}

// A Store is a [reauth.Store] and a [reauth.Locker] over a folder. [New] makes one;
// the zero value does not work. It holds nothing open, so that there is nothing to
// close, and is safe for concurrent use, also with other Stores on the same folder.
//
// Reading and writing files cannot be interrupted: the methods look at their context
// before they begin, and while they wait for others.
type Store struct {
	dir string // absolute
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store that keeps its files in the folder dir. What is missing of the
// path is created, for the user alone (mode 0700). A relative dir is made absolute at
// once, so that a later change of the working directory does not move it. Nil opts
// mean the zero Options.
//
// On Unix, a folder that is there already may be one that others can list, but not
// one that they can write to: that is an error here, and of every method if it comes
// about later. On Windows the permissions of a file are those that it inherits from
// its folder; choose one inside the user's profile, as os.UserConfigDir is.
//
// New also removes what processes that were killed while they wrote have left in the
// folder, once that is ten minutes old.
func New(dir string, opts *Options) (*Store, error) {
	if dir == "" {
		return nil, errors.New(`filestore: New: dir "" names no folder`)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	if err := makeFolder(path); err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	s := &Store{dir: path}
	root, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("filestore: New: dir %q: %w", dir, err)
	}
	defer root.Close()
	sweep(root)
	return s, nil
}

// Format writes where the store is, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "*filestore.Store[%s]", s.dir) }

// Load implements [reauth.Store]. A file that does not hold a token, that is no
// regular file or, on Unix, that others than its owner may read or write, is an error
// that names it, as is a folder that has gone missing.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	file := nameOf(session) + tokenSuffix
	tok, ok, err := s.load(ctx, file)
	if err != nil {
		return reauth.Token{}, false, s.errorOf("load", file, err)
	}
	return tok, ok, nil
}

// Save implements [reauth.Store]. Once it has returned, the token outlasts a crash of
// the machine. If it fails, what was stored before is still there, unless the error is
// that of the last step, which makes the folder itself last.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	name := nameOf(session)
	data, err := encode(tok)
	if err == nil {
		err = s.write(ctx, session, func(root *os.Root) error { return replace(ctx, root, name, data) })
	}
	if err != nil {
		return s.errorOf("save", name+tokenSuffix, err)
	}
	return nil
}

// Delete implements [reauth.Store].
func (s *Store) Delete(ctx context.Context, session string) error {
	file := nameOf(session) + tokenSuffix
	err := s.write(ctx, session, func(root *os.Root) error { return remove(ctx, root, file) })
	if err != nil {
		return s.errorOf("delete", file, err)
	}
	return nil
}

// The names of the files of a session: that of its token, of its lock, and of the next
// token while that is being written.
const (
	tokenSuffix     = ".json"
	lockSuffix      = ".lock"
	temporarySuffix = ".tmp"
)

// nameOf returns what the names of a session's files begin with. A hash in hexadecimal
// digits is a good name on every file system, whatever bytes the session consists of,
// and is no other session's name either where upper and lower case are one.
func nameOf(session string) string {
	sum := sha256.Sum256([]byte(session))
	return hex.EncodeToString(sum[:])
}

func (s *Store) load(ctx context.Context, file string) (tok reauth.Token, ok bool, err error) {
	if ctx.Err() != nil {
		return reauth.Token{}, false, context.Cause(ctx)
	}
	root, err := s.open() // without the folder nobody knows whether there is a token
	if err != nil {
		return reauth.Token{}, false, err
	}
	defer root.Close()
	data, err := read(ctx, root, file)
	if errors.Is(err, fs.ErrNotExist) {
		return reauth.Token{}, false, nil
	}
	if err != nil {
		return reauth.Token{}, false, err
	}
	tok, err = decode(data)
	return tok, err == nil, err
}

// write calls do with the folder, under the lease of session that ctx carries, if it
// does.
func (s *Store) write(ctx context.Context, session string, do func(*os.Root) error) error {
	if l, ok := ctx.Value(leaseKey{s, session}).(*lease); ok {
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
	return do(root)
}

// errorOf says which file an error is about, and says it once.
func (s *Store) errorOf(operation, file string, err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	return fmt.Errorf("filestore: %s %s: %w", operation, filepath.Join(s.dir, file), err)
}
