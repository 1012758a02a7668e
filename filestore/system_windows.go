package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// An open file might be in the way of the one that replaces it. NTFS numbers files so that it
// takes long until a number returns.
const keepOpen = false

// On Windows the permissions of a file follow from its folder. Modes say nothing.

func checkFolder(fs.FileInfo) error { return nil }

func checkFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file (%s)", info.Mode().Type())
	}
	return nil
}

func makePrivate(*os.File) error { return nil }

// The names in a folder are durable by themselves, because NTFS keeps a journal of them.
func syncFolder(*os.Root) error { return nil }

// removeFile releases the lock, and removes the lock file if nobody has it open, as a holder
// of the lock has. An open file can't be removed.
func (l *lease) removeFile(root *os.Root) error {
	_ = l.lock.Unlock()
	if err := root.Remove(l.name + lockSuffix); !isPassing(err) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isPassing reports whether err can come from another program that has the file open.
func isPassing(err error) bool {
	const sharingViolation, lockViolation syscall.Errno = 32, 33
	return errors.Is(err, sharingViolation) || errors.Is(err, lockViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}
