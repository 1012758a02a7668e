//go:build !windows

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// The number of a file may be that of the next one as soon as nobody has it open.
const keepOpen = true

// checkFolder returns an error if others may put files into a folder or replace files
// in it.
func checkFolder(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %04o); remove that right (chmod go-w), or choose another folder", mode)
	}
	return nil
}

// checkFile returns an error if others than the owner may read or write a file.
func checkFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file (%s)", info.Mode().Type())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others may read or write the file (mode %04o); remove that right (chmod 600), or remove the file", mode)
	}
	return nil
}

// makePrivate gives the owner alone access to a new file, whatever the umask, and checks
// that the file system keeps the mode.
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

// syncFolder makes the names in a folder durable.
func syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // some file systems do not support it
}

// removeFile removes the lock file, and releases the lock. Whoever has opened the file and gets
// the lock finds that the file has no name any more.
func (l *lease) removeFile(root *os.Root) error {
	defer func() { _ = l.lock.Unlock() }()
	return root.Remove(l.name + lockSuffix)
}

func isPassing(error) bool { return false }
