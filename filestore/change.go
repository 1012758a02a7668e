package filestore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A sighting is what the token file of a session looked like when a wait for its lock
// began. It is told from another one by the file, its size and its time of modification.
//
// Another file may have the same times, so the file counts too. Where its number can be given
// to another file once it was replaced, the sighting keeps it open, which prevents that.
type sighting struct {
	path string
	info fs.FileInfo // nil if there was no file
	file *os.File    // nil if it is not kept open
}

// sight looks at the token file of the session called name.
func (s *Store) sight(name string) (*sighting, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file := name + tokenSuffix
	w := &sighting{path: filepath.Join(s.dir, file)}
	info, err := root.Lstat(file)
	if err != nil {
		return w, nil // if it is more than missing, Load will tell
	}
	w.info = info
	if !info.Mode().IsRegular() { // opening a pipe would wait for its other end
		return w, nil
	}
	if f, err := root.Open(file); err == nil {
		// On Windows this is also how a FileInfo knows its file. That of a path looks for it
		// when it is compared, and finds the next one.
		if info, err := f.Stat(); err == nil {
			w.info, w.file = info, f
		}
		if w.file == nil || !keepOpen {
			w.file = nil
			_ = f.Close()
		}
	}
	return w, nil
}

// close lets go of the file.
func (w *sighting) close() {
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// isOver reports whether the token is not what was seen any more. If that can't be known it
// reports false, because an attempt to lock will say why.
func (w *sighting) isOver() bool {
	info, err := os.Lstat(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return w.info != nil
	case err != nil:
		return false
	}
	return w.info == nil || !isUnchanged(w.info, info)
}

// isUnchanged reports whether two looks at a path have found the same file with the same
// content, as far as its size and times tell.
func isUnchanged(before, after fs.FileInfo) bool {
	return os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}
