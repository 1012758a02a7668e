//go:build !windows

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkFolder returns an error if others may put files into a folder, or replace those
// in it.
func checkFolder(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %04o); take that away (chmod go-w), or choose another", mode)
	}
	return nil
}

// checkFile returns an error if what a file holds is not for its owner alone to know
// and to set.
func checkFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("this is no regular file (%s)", info.Mode().Type())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others may read or write the file (mode %04o); take that away (chmod 600), or remove it", mode)
	}
	return nil
}

// makePrivate makes sure that a new file is its owner's alone, whatever the umask, and
// that the file system keeps it so.
func makePrivate(f *os.File) error {
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkFile(info); err != nil {
		return fmt.Errorf("on this file system: %w", err)
	}
	return nil
}

// syncFolder makes the names in a folder last.
func syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // some file systems have no such thing
}

func isPassing(error) bool { return false }
