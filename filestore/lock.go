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

	"github.com/reauth-go/reauth"
)

// A waiter polls the lock, because the system has no way of waiting that a context
// could end. It pauses for a tenth of the time waited so far, within these bounds, so
// that a short wait ends promptly and a long one costs little.
const (
	shortestDelay = time.Millisecond
	longestDelay  = 20 * time.Millisecond
)

var (
	errUnlocked = errors.New("the lock was released")
	errLockGone = errors.New("the lock was lost: somebody removed its file")
)

// leaseKey is the context key of a lease of a session.
type leaseKey struct {
	store   *Store
	session string
}

// Lock implements [reauth.Locker]. The lock is on an empty file beside that of the
// token, which nobody but Purge removes. Removing it takes the lock away from its holder, which
// is the only way to lose the lock. The next Load, Save or Delete notices that and is refused,
// and then held is done.
//
// A wait ends with [reauth.ErrChanged] within 20 ms of a change of the token, whoever has
// made it. So of many processes that need a new token one takes the lock, and the others
// load what it has saved.
//
// Lock fails where a Save could not be done, because the disk is full or read-only or the
// folder may not be written to. It takes the space for the next token, at least 16 KiB and
// twice that of the present one, in a file that Save uses and that stays for the next
// Lock. On a file system that copies when it writes (Btrfs, ZFS) that may be not
// enough.
//
// A process that is stopped while it has the lock keeps it. Two Stores in one process
// exclude each other as two processes do.
func (s *Store) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	l, err := s.lock(ctx, nameOf(session))
	if err != nil {
		return nil, nil, s.errorOf("lock", nameOf(session)+lockSuffix, err)
	}
	held, l.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	held = context.WithValue(held, leaseKey{s, session}, l)
	return held, func() { l.end(errUnlocked) }, nil
}

func (s *Store) lock(ctx context.Context, name string) (*lease, error) {
	// Before the first try, because a change between that and a later look would not be
	// noticed.
	seen, err := s.sight(name)
	if err != nil {
		return nil, err
	}
	defer seen.close()
	if err := s.makeLockFile(ctx, name+lockSuffix); err != nil {
		return nil, err
	}
	began := time.Now()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if l, err := s.tryLock(ctx, name); l != nil || err != nil {
			return l, err
		}
		select {
		case <-time.After(min(max(time.Since(began)/10, shortestDelay), longestDelay)):
		case <-ctx.Done():
		}
		if ctx.Err() == nil && seen.isOver() {
			return nil, reauth.ErrChanged
		}
	}
}

// tryLock returns nil if the lock is taken.
func (s *Store) tryLock(ctx context.Context, name string) (*lease, error) {
	l, err := s.grab(ctx, name)
	if l == nil || err != nil {
		return nil, err
	}
	if err := l.makeRoom(ctx); err != nil {
		_ = l.lock.Unlock()
		return nil, err
	}
	return l, nil
}

// grab is tryLock without room for a token. It is called for each poll, so it makes few calls
// of the system.
func (s *Store) grab(ctx context.Context, name string) (*lease, error) {
	path := filepath.Join(s.dir, name+lockSuffix)
	l := &lease{store: s, name: name, path: path, lock: flock.New(path, flock.SetFlag(os.O_RDONLY))}
	ok, err := l.lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.makeLockFile(ctx, name+lockSuffix) // it was removed
	}
	if err != nil || !ok {
		return nil, err
	}
	l.file, err = l.lock.Stat()
	if err == nil {
		// Others lock the file that has the name now. Purge removes it.
		err = l.check()
	}
	if err == nil {
		return l, nil
	}
	_ = l.lock.Unlock()
	if errors.Is(err, errLockGone) {
		return nil, nil
	}
	return nil, err
}

// makeLockFile creates the lock file if there is none.
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
// to be lost. The lock itself is released when no call under it is in progress any
// more, so that no write can overtake those of the next holder.
type lease struct {
	store *Store
	name  string
	path  string
	lock  *flock.Flock
	file  fs.FileInfo // the locked file
	lose  context.CancelCauseFunc

	saving sync.Mutex // held while the room is in use
	room   *room

	mu    sync.Mutex
	ended error // why it has ended; nil if it has not
	users int
}

func (l *lease) makeRoom(ctx context.Context) error {
	root, err := l.store.open()
	if err != nil {
		return err
	}
	defer root.Close()
	l.room, err = makeRoom(ctx, root, l.name)
	return err
}

// replace is the function replace in the room of the lease, if there is one.
func (l *lease) replace(ctx context.Context, root *os.Root, name string, data []byte) error {
	if l == nil {
		return replace(ctx, root, name, data, nil)
	}
	l.saving.Lock()
	defer l.saving.Unlock()
	err := replace(ctx, root, name, data, l.room)
	if err == nil && l.room.file == "" {
		// For the next Save under this lease, or for the next holder. Without it that
		// Save may fail, or that Lock.
		if next, err := makeRoom(ctx, root, name); err == nil {
			l.room = next
		}
	}
	return err
}

// enter begins a call under the lease, or returns why there cannot be one.
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
	l.users++
	return nil
}

// leave ends the call that enter began.
func (l *lease) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
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

// free releases the lock if possible. l.mu is held.
func (l *lease) free() {
	if l.ended == nil || l.users > 0 {
		return
	}
	if root, err := l.store.open(); err == nil {
		l.room.leave(root, l.name)
		_ = root.Close()
	}
	_ = l.lock.Unlock()
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
