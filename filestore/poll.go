package filestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// known is what a Watch knows of a token file, to tell whether it has changed.
type known struct {
	content content
	stirred bool        // this Store has found another content since
	looked  bool        // info is known
	info    fs.FileInfo // nil if there was no file
	settled bool        // a later change shows in info
}

// settlesAfter is the coarsest time of modification that a file system has. A file that was
// younger when it was looked at may have changed since without a trace in its times.
const settlesAfter = 2 * time.Second

// poll looks at the files of all sessions, and tells which have changed.
func (w *watch) poll(ctx context.Context) {
	for _, name := range w.store.watches.names() {
		if ctx.Err() != nil {
			return
		}
		w.pollOne(ctx, name)
	}
}

func (w *watch) pollOne(ctx context.Context, name string) {
	info, err := os.Lstat(filepath.Join(w.store.dir, name+tokenSuffix))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return
	default:
		identify(info)
	}
	before, ok := w.store.watches.glance(w, name)
	if !ok {
		return // nobody has been told a token
	}
	moved := before.looked && !isUnchangedOrAbsent(before.info, info)
	if before.looked && before.settled && !before.stirred && !moved {
		return
	}
	c := w.store.see(ctx, name)
	settled := c != unreadable && (info == nil || time.Since(info.ModTime()) > settlesAfter)
	session, ok := w.store.watches.record(w, name, known{content: c, looked: true, info: info, settled: settled})
	if ok && (moved || before.stirred || c != before.content) && !w.isOwn(ctx, name, c) {
		w.changed(session)
	}
}

func isUnchangedOrAbsent(before, after fs.FileInfo) bool {
	if before == nil || after == nil {
		return before == nil && after == nil
	}
	return isUnchanged(before, after)
}
