package keyringstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/reauth-go/reauth"
)

// A waiter polls the lock. It pauses for a tenth of the time waited so far, within
// these bounds. No system can wait for the lock of a file and a context at once.
const (
	shortestPause = time.Millisecond
	longestPause  = 10 * time.Millisecond
)

var (
	errLost      = errors.New("the lock was lost, because its file was removed or replaced")
	errGivenBack = errors.New("the lock was released")
)

// A lease is a lock that is held. The lock is released when its holder has given it back
// and no call under it is in progress any more. Otherwise another process could load a
// token that is about to be replaced. A nil lease stands for a caller without one.
type lease struct {
	path string
	file *flock.Flock
	lose context.CancelCauseFunc // ends held

	mu      sync.Mutex
	users   int // the holder, and the calls in progress
	over    bool
	deleted bool // the last write under it was a Delete
}

// leaseKey is the context key of a lease. A context may hold leases of several sessions.
type leaseKey struct{ path string }

// Lock implements [reauth.Locker]. It locks a file, so the operating system releases the
// lock when the process ends, for whatever reason. A process that is stopped keeps it.
// The lock is lost only if the file is removed or replaced, which the next Load, Save or
// Delete under it notices. held is done from then on.
//
// A wait ends with [reauth.ErrChanged] within 10 ms of a Save or Delete of another holder, or
// of a caller without a lock. It does not look into the keychain, which may ask its user. So it
// does not learn of what other programs do there.
//
// Lock fails where a Save could not lock the file that it locks, and waits while a Save or
// Delete without a lock is in progress. Whether the keychain will take the next token can't
// be known: its user may refuse, and there is no way of keeping room in it.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	path := s.sessionLock(session)
	file, err := s.lockFile(ctx, path, s.isChanged(session))
	if err != nil {
		return nil, nil, fmt.Errorf("keyringstore: lock: %w", err)
	}
	release, err := s.acquire(ctx, s.writeLock(session)) // as a Save does
	if err != nil {
		_ = file.Unlock()
		return nil, nil, fmt.Errorf("keyringstore: lock: %w", err)
	}
	release()
	held, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	l := &lease{path: path, file: file, lose: lose, users: 1}
	return context.WithValue(held, leaseKey{path}, l), sync.OnceFunc(l.unlock), nil
}

// leaseOf returns the lease of session that ctx holds, or nil.
func (s *Store) leaseOf(ctx context.Context, session string) *lease {
	l, _ := ctx.Value(leaseKey{s.sessionLock(session)}).(*lease)
	return l
}

func (s *Store) sessionLock(session string) string { return s.lockPath(session, ".lock") }

// writeLock is locked during each Save or Delete, so that those without a lease exclude
// each other, too.
func (s *Store) writeLock(session string) string { return s.lockPath(session, ".write") }

func (s *Store) lockPath(session, kind string) string {
	// On systems where services that differ only in case are the same, they need the
	// same lock.
	return filepath.Join(s.lockDir, hash(strings.ToLower(s.service)+"\x00"+session)+kind)
}

// acquire locks a file and returns a function that releases it.
func (s *Store) acquire(ctx context.Context, path string) (release func(), err error) {
	file, err := s.lockFile(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	return func() { _ = file.Unlock() }, nil
}

// lockFile locks a file. If isChanged is not nil, the wait for it ends with reauth.ErrChanged
// once that reports true.
func (s *Store) lockFile(ctx context.Context, path string, isChanged func() bool) (*flock.Flock, error) {
	began := time.Now()
	for made := false; ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		file := flock.New(path, flock.SetPermissions(0o600))
		locked, err := file.TryLock()
		if errors.Is(err, fs.ErrNotExist) && !made { // the folder was removed
			made = true
			if err = prepare(s.lockDir); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if locked {
			// If it was removed between being opened and being locked, others lock the
			// next file of that name.
			if err = sameFile(file, path); err == nil {
				return file, nil
			}
			_ = file.Unlock()
			if !errors.Is(err, errLost) {
				return nil, err
			}
			continue
		}
		pause := time.NewTimer(min(max(time.Since(began)/10, shortestPause), longestPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		if isChanged != nil && ctx.Err() == nil && isChanged() {
			return nil, reauth.ErrChanged
		}
	}
}

// removeLocked removes a file that is locked, and releases the lock. Whoever waits for it finds
// that the file has no name any more, and locks the next one.
func removeLocked(file *flock.Flock, path string) {
	if sameFile(file, path) != nil { // it is another's
		_ = file.Unlock()
		return
	}
	if runtime.GOOS != "windows" {
		_ = os.Remove(path)
		_ = file.Unlock()
		return
	}
	// A file that is open, as that of a lock is, can't be removed there.
	_ = file.Unlock()
	_ = os.Remove(path)
}

func sameFile(file *flock.Flock, path string) error {
	locked, err := file.Stat()
	if err != nil {
		return err
	}
	found, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(locked, found) {
		return errLost
	}
	return err
}

// enter counts a call under the lease. Each enter needs a leave.
func (l *lease) enter() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errGivenBack
	}
	l.users++
	return nil
}

func (l *lease) leave() {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.users--
	last := l.users == 0
	l.mu.Unlock()
	if !last {
		return
	}
	l.lose(errGivenBack)
	if l.deleted {
		removeLocked(l.file, l.path)
	} else {
		_ = l.file.Unlock()
	}
}

// wrote notes what the last write under the lease was.
func (l *lease) wrote(deleted bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = deleted
}

func (l *lease) unlock() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.leave()
}

// check returns an error unless the lease is certainly still held.
func (l *lease) check() error {
	if l == nil {
		return nil
	}
	err := sameFile(l.file, l.path)
	if errors.Is(err, errLost) {
		l.lose(errLost)
	}
	return err
}
