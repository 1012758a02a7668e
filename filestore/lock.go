package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Who waits for the lock looks at it again and again: the system has no way of waiting
// that a context could end. The next look comes after a tenth of the time waited so far,
// within these bounds, so that a short wait ends promptly and a long one costs little.
const (
	shortestDelay = time.Millisecond
	longestDelay  = 10 * time.Millisecond
)

var (
	errUnlocked = errors.New("the lock was given back")
	errLockGone = errors.New("the lock was lost: somebody removed its file")
)

// leaseKey is where a context carries a lease of a session.
type leaseKey struct {
	store   *Store
	session string
}

// Lock implements [reauth.Locker]. The lock is on a file beside that of the token, which
// is empty and stays there for good: to remove it is to take the lock away from whoever
// has it. That is the one way to lose it. It is noticed at the next Save or Delete, which
// is refused, and then held is done.
//
// A process that is stopped while it has the lock keeps it. Two Stores in one process
// exclude each other as two processes do.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	l, err := s.lock(ctx, nameOf(session)+lockSuffix)
	if err != nil {
		return nil, nil, s.errorOf("lock", nameOf(session)+lockSuffix, err)
	}
	held, l.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	held = context.WithValue(held, leaseKey{s, session}, l)
	return held, func() { l.end(errUnlocked) }, nil
}

func (s *Store) lock(ctx context.Context, file string) (*lease, error) {
	began := time.Now()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if l, err := s.tryLock(ctx, file); l != nil || err != nil {
			return l, err
		}
		select {
		case <-time.After(min(max(time.Since(began)/10, shortestDelay), longestDelay)):
		case <-ctx.Done():
		}
	}
}

// tryLock returns nil if somebody else has the lock.
func (s *Store) tryLock(ctx context.Context, file string) (*lease, error) {
	if err := s.makeLockFile(ctx, file); err != nil {
		return nil, err
	}
	// It is opened for reading, which also a disk that can only be read allows if the
	// file is there: then the save is pending, but the refresh need not fail.
	path := filepath.Join(s.dir, file)
	l := &lease{path: path, lock: flock.New(path, flock.SetFlag(os.O_RDONLY))}
	ok, err := l.lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed just now
	}
	if err != nil || !ok {
		return nil, err
	}
	l.file, err = l.lock.Stat()
	if err == nil {
		// Others lock the file that has the name by now.
		if err = l.check(); err == nil {
			return l, nil
		}
	}
	_ = l.lock.Unlock()
	if errors.Is(err, errLockGone) {
		return nil, nil
	}
	return nil, err
}

// makeLockFile creates the lock's file if there is none.
func (s *Store) makeLockFile(ctx context.Context, file string) error {
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return insist(ctx, func() error {
		info, err := root.Lstat(file)
		if err == nil {
			return checkFile(info)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := root.OpenFile(file, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return makePrivate(f)
	})
}

// A lease is one hold on the lock of a session. It ends when it is given back or found
// to be lost; the lock itself is freed once no write under it is in progress any more,
// lest one overtake those of the next holder.
type lease struct {
	path string
	lock *flock.Flock
	file fs.FileInfo // what is locked
	lose context.CancelCauseFunc

	mu      sync.Mutex
	ended   error // why; nil: it has not
	writers int
}

// enter begins a write under the lease, or says why there cannot be one.
func (l *lease) enter() error {
	err := l.check()
	if errors.Is(err, errLockGone) {
		l.end(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return l.ended
	}
	if err != nil {
		return err
	}
	l.writers++
	return nil
}

// leave ends what enter has begun.
func (l *lease) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writers--
	l.free()
}

// end ends the lease.
func (l *lease) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil {
		l.ended = why
		l.lose(fmt.Errorf("filestore: lock %s: %w", l.path, why))
	}
	l.free()
}

// free frees the lock if it can be. l.mu is held.
func (l *lease) free() {
	if l.ended != nil && l.writers == 0 {
		_ = l.lock.Unlock()
	}
}

// check returns errLockGone if the locked file no longer has its name.
func (l *lease) check() error {
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errLockGone
	case err != nil:
		return fmt.Errorf("whether the lock is still held: %w", err)
	case !os.SameFile(info, l.file):
		return errLockGone
	}
	return nil
}
