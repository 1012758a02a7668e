package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// makeFolder creates a folder, and those above it, for the user alone.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeFolder(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // whether it is a folder shows when it is opened
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o700); err != nil { // the umask may have taken the user's own rights
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) {
		return nil // one that the user cannot list is not the user's to sync
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncFolder(parent)
}

// open opens the folder, of which no name leads out. It is opened for each operation:
// one that was deleted, and created anew by another process, is found again.
func (s *Store) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = checkFolder(info)
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("folder %s: %w", s.dir, err)
	}
	return root, nil
}

// abandonedAfter is how old a temporary file gets before its writer is taken for dead.
// It takes milliseconds to write one. If the writer lives all the same, its Save fails,
// since there is nothing left to be given the token's name.
const abandonedAfter = 10 * time.Minute

var temporaryRE = regexp.MustCompile(`^[0-9a-f]{64}\.[A-Z2-7]+\.tmp$`)

// sweep removes abandoned temporary files, as far as that can be done. New is the place
// for it: what leaves such files is processes that were killed, and each has called New.
func sweep(root *os.Root) {
	folder, err := root.Open(".")
	if err != nil {
		return
	}
	defer folder.Close()
	for {
		names, err := folder.Readdirnames(1000)
		for _, name := range names {
			if !temporaryRE.MatchString(name) {
				continue
			}
			info, err := root.Lstat(name)
			if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > abandonedAfter {
				_ = root.Remove(name)
			}
		}
		if err != nil {
			return
		}
	}
}
