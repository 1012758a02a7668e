package filestore

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// read returns the content of a file.
func read(ctx context.Context, root *os.Root, file string) (data []byte, err error) {
	err = insist(ctx, func() error {
		info, err := root.Lstat(file) // before it is opened, because opening a pipe waits for its other end
		if err != nil {
			return err
		}
		if err := checkFile(info); err != nil {
			return err
		}
		data, err = root.ReadFile(file)
		return err
	})
	return data, err
}

// replace makes data the content of the token file of the session called name. It
// writes a temporary file and renames it. A reader, or a process that is killed at any
// time, therefore finds either the old content or the new.
//
// If there is a room its file is the temporary one. Then it needs no more space on the
// disk, and is not removed after a failure.
func replace(ctx context.Context, root *os.Root, name string, data []byte, r *room) (err error) {
	f, err := r.open(root)
	if err != nil {
		return err
	}
	if f == nil {
		r = nil
		if f, err = createTemporary(root, name); err != nil {
			return err
		}
	}
	temporary := baseName(f)
	defer func() {
		if err == nil {
			return
		}
		_ = f.Close()
		if r == nil {
			_ = root.Remove(temporary)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := insist(ctx, func() error { return root.Rename(temporary, name+tokenSuffix) }); err != nil {
		return err
	}
	r.spend()
	return syncFolder(root)
}

// createTemporary creates a file of which nobody else knows the name.
func createTemporary(root *os.Root, name string) (*os.File, error) {
	temporary := temporaryName(name)
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(f); err != nil {
		_ = f.Close()
		_ = root.Remove(temporary)
		return nil, err
	}
	return f, nil
}

func temporaryName(name string) string { return name + "." + rand.Text() + temporarySuffix }

func baseName(f *os.File) string { return filepath.Base(f.Name()) }

// remove removes a file, if there is one.
func remove(ctx context.Context, root *os.Root, file string) error {
	err := insist(ctx, func() error { return root.Remove(file) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncFolder(root)
}

const (
	insistFor   = 2 * time.Second
	insistDelay = 10 * time.Millisecond
)

// insist calls do again if it fails because another program has the file open, such as
// a virus scanner or an indexer on Windows. They soon close it.
func insist(ctx context.Context, do func() error) error {
	end := time.Now().Add(insistFor)
	for {
		err := do()
		if err == nil || !isPassing(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(insistDelay):
		case <-ctx.Done():
			return err
		}
	}
}
