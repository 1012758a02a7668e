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

// makeFolder creates a folder and its parents for the user alone.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeFolder(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // opening it shows whether it is a folder
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o700); err != nil { // the umask may have removed the user's own rights
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) {
		return nil // a folder that the user cannot list cannot be synced
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncFolder(parent)
}

// open opens the folder as a root from which no name escapes. Each operation opens it
// anew, so that a folder which another process has deleted and recreated is found.
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

// abandonedAfter is the age at which a temporary file counts as abandoned. Writing one
// takes milliseconds, and a lock is hardly ever held for longer than a refresh takes. If
// its owner is alive all the same, a Save in progress fails, because the file to rename is
// missing, and a later Save has to find room on the disk.
const abandonedAfter = 10 * time.Minute

var temporaryRE = regexp.MustCompile(`^[0-9a-f]{64}\.[A-Z2-7]+\.tmp$`)

// sweep removes abandoned temporary files as far as possible. New calls it, because
// killed processes leave such files, and each of them has called New.
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
