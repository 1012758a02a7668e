package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
)

// Purge deletes the sessions whose token was last saved longer than olderThan ago, and returns
// how many. That is when the file of the token was last modified. It also removes what is left
// of sessions that have no token: lock files, the space kept for the next token, and the
// temporary files that [New] removes.
//
// A session that is locked at that moment is left alone, and a token that is saved meanwhile
// is never deleted. [Store.Watch] tells of what was deleted, also that of this Store, because
// its program may still use the token. Purge is safe while other processes use the folder. If
// it fails with some sessions it goes on with the others, and returns the first error.
func (s *Store) Purge(ctx context.Context, olderThan time.Duration) (int, error) {
	if olderThan <= 0 {
		return 0, fmt.Errorf("filestore: Purge: olderThan %v is not positive", olderThan)
	}
	before := time.Now().Add(-olderThan)
	root, err := s.open()
	if err != nil {
		return 0, fmt.Errorf("filestore: Purge: %w", err)
	}
	defer root.Close()
	sweep(root)
	names, err := namesIn(root)
	if err != nil {
		return 0, fmt.Errorf("filestore: Purge: %w", err)
	}
	n := 0
	var first error
	for name := range names {
		if ctx.Err() != nil {
			return n, fmt.Errorf("filestore: Purge: %w", context.Cause(ctx))
		}
		deleted, err := s.purgeOne(ctx, root, name, before)
		if deleted {
			n++
		}
		if err != nil && first == nil {
			first = s.errorOf("purge", name, err)
		}
	}
	if err := syncFolder(root); err != nil && first == nil {
		first = fmt.Errorf("filestore: Purge: %w", err)
	}
	return n, first
}

var sessionRE = regexp.MustCompile(`^[0-9a-f]{64}\.(json|lock|room)$`)

// namesIn returns the beginnings of the names of all files of sessions.
func namesIn(root *os.Root) (map[string]struct{}, error) {
	folder, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	found := make(map[string]struct{})
	for {
		files, err := folder.Readdirnames(1000)
		for _, file := range files {
			if sessionRE.MatchString(file) {
				name, _, _ := strings.Cut(file, ".")
				found[name] = struct{}{}
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// purgeOne deletes a session whose token was saved before a time, and what is left of one that
// has no token.
func (s *Store) purgeOne(ctx context.Context, root *os.Root, name string, before time.Time) (deleted bool, err error) {
	if isKept, err := isKept(root, name, before); isKept || err != nil {
		return false, err
	}
	if err := s.makeLockFile(ctx, name+lockSuffix); err != nil {
		return false, err
	}
	l, err := s.grab(ctx, name)
	if l == nil || err != nil {
		return false, err // somebody has the lock
	}
	// The folder may have been replaced since root was opened, and the lock is in the next one.
	info, err := root.Lstat(name + lockSuffix)
	if err != nil || !os.SameFile(info, l.file) {
		_ = l.lock.Unlock()
		return false, err
	}
	if isKept, err := isKept(root, name, before); isKept || err != nil {
		_ = l.lock.Unlock()
		return false, err
	}
	deleted, err = takeAway(ctx, root, name, before)
	if _, missing := root.Lstat(name + tokenSuffix); !errors.Is(missing, fs.ErrNotExist) {
		_ = l.lock.Unlock()
		return deleted, err
	}
	if removing := root.Remove(name + roomSuffix); err == nil && !errors.Is(removing, fs.ErrNotExist) {
		err = removing
	}
	// From here on others lock the next file of that name.
	if removing := l.removeFile(root); err == nil {
		err = removing
	}
	return deleted, err
}

// isKept reports whether a session has a token that was not saved before a time.
func isKept(root *os.Root, name string, before time.Time) (bool, error) {
	info, err := root.Lstat(name + tokenSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !info.Mode().IsRegular() || !info.ModTime().Before(before), nil
}

// takeAway removes the token file of a session if it was saved before a time. A Save without
// the lock may come at any moment, also between a look at the file and its removal. So the
// file is moved away first, and moved back if it turns out to be another one.
func takeAway(ctx context.Context, root *os.Root, name string, before time.Time) (bool, error) {
	mine := temporaryName(name)
	err := insist(ctx, func() error { return root.Rename(name+tokenSuffix, mine) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := root.Lstat(mine)
	if err != nil || !info.ModTime().Before(before) {
		if restoring := restore(root, mine, name+tokenSuffix); err == nil {
			err = restoring
		}
		return false, err
	}
	return true, root.Remove(mine)
}

// restore moves a file back, unless there is a newer one by now.
func restore(root *os.Root, moved, file string) error {
	_ = root.Link(moved, file) // does not replace a file
	if _, err := root.Lstat(file); err == nil {
		return root.Remove(moved)
	}
	return root.Rename(moved, file) // this file system may have no links
}
