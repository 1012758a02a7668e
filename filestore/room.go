package filestore

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"time"
)

// A room is a file of random bytes that takes up the space on the disk that the next
// token will need. It is made before the lock is granted, so that a full or read-only
// disk makes Lock fail, and not the Save of a token whose predecessor is spent.
//
// While nobody has the lock it is called <hash>.room. Its holder gives it a name that
// nobody else knows, which also shows that a Save could rename a file here. The methods
// of a nil room do nothing.
type room struct {
	file   string // "" if it was spent or lost
	edited bool   // it may contain a part of a token
}

// leastRoom is enough for most tokens. Others need twice what the last one did.
const leastRoom = 16 << 10

// makeRoom returns the room of the session called name, and makes it if there is none.
func makeRoom(ctx context.Context, root *os.Root, name string) (*room, error) {
	size := int64(leastRoom)
	if info, err := root.Lstat(name + tokenSuffix); err == nil {
		size = max(size, 2*info.Size())
	}
	mine := temporaryName(name)
	err := insist(ctx, func() error { return root.Rename(name+roomSuffix, mine) })
	if err == nil {
		info, err := root.Lstat(mine)
		if err == nil && checkFile(info) == nil && info.Size() >= size {
			_ = root.Chtimes(mine, time.Time{}, time.Now()) // so that it does not count as abandoned
			return &room{file: mine}, nil
		}
		if err := root.Remove(mine); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	f, err := createTemporary(root, name)
	if err != nil {
		return nil, err
	}
	r := &room{file: baseName(f)}
	if err := fill(f, size); err != nil {
		r.remove(root)
		return nil, err
	}
	return r, nil
}

// fill writes and closes the file of a room.
func fill(f *os.File, size int64) error {
	content := make([]byte, size)
	_, _ = rand.Read(content) // zeros might take up no space
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// open returns the file, or nil if it is missing.
func (r *room) open(root *os.Root) (*os.File, error) {
	if r == nil || r.file == "" {
		return nil, nil
	}
	f, err := root.OpenFile(r.file, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		r.file = ""
		return nil, nil
	}
	if err == nil {
		r.edited = true
	}
	return f, err
}

// spend notes that the file has become that of a token.
func (r *room) spend() {
	if r != nil {
		r.file, r.edited = "", false
	}
}

// leave leaves the room to the next holder of the lock if the session called name has a
// token.
func (r *room) leave(root *os.Root, name string) {
	if r == nil || r.file == "" {
		return
	}
	if _, err := root.Lstat(name + tokenSuffix); err != nil || r.edited || root.Rename(r.file, name+roomSuffix) != nil {
		r.remove(root)
	}
	r.file = ""
}

func (r *room) remove(root *os.Root) { _ = root.Remove(r.file) }
