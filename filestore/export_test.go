package filestore

import (
	"errors"

	"github.com/fsnotify/fsnotify"
)

// PollOnly makes Watch poll, as if the system did not tell of changes.
func (s *Store) PollOnly() {
	s.notifier = func(string) (*fsnotify.Watcher, error) { return nil, errors.ErrUnsupported }
}

// WatchMost sets how many sessions are kept for Watch.
func (s *Store) WatchMost(sessions int) { s.watches.most = sessions }

// HearNothing makes Watch hear of another folder, as if changes were made on the other side of
// a mount.
func (s *Store) HearNothing(elsewhere string) {
	s.notifier = func(string) (*fsnotify.Watcher, error) { return notifier(elsewhere) }
}
