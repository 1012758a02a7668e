package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Listener is a connection to PostgreSQL, of its own and not through a pooler, that waits
// for notifications. It is used by one goroutine at a time. The README shows one for pgx.
type Listener interface {
	// Listen begins to listen on a channel. Its name has to be quoted as an identifier.
	Listen(ctx context.Context, channel string) error

	// WaitForNotification returns the payload of the next notification. An error means that
	// the connection is of no more use.
	WaitForNotification(ctx context.Context) (payload string, err error)

	// Close closes the connection. It is called once.
	Close(ctx context.Context) error
}

// An event is what the goroutine that listens tells the watch.
type event struct {
	kind    eventKind
	payload string
}

type eventKind int

const (
	listens  eventKind = iota // what is written from now on is told
	notified                  // by the payload
	deaf                      // what is written is not told
)

// listen connects, listens and connects again until ctx is done.
func (w *watch) listen(ctx context.Context, events chan<- event) {
	tell := func(e event) bool {
		select {
		case events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	wait := newBackoff(firstRetry, longestRetry)
	for ctx.Err() == nil {
		w.store.hearken(ctx, func(e event) bool {
			if e.kind == listens {
				wait = newBackoff(firstRetry, longestRetry)
			}
			return tell(e)
		})
		if !tell(event{kind: deaf}) || !sleep(ctx, wait.next()) {
			return
		}
	}
}

// hearken listens on one connection until it breaks.
func (s *Store) hearken(ctx context.Context, tell func(event) bool) {
	l, err := s.listen(ctx)
	if err != nil || l == nil {
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = l.Close(ctx)
	}()
	if l.Listen(ctx, channel(s.table)) != nil || !tell(event{kind: listens}) {
		return
	}
	for {
		payload, err := l.WaitForNotification(ctx)
		if err != nil || !tell(event{notified, payload}) {
			return
		}
	}
}

// begun reports whether the goroutine that listens has begun to. It waits for that for as
// long as there is between two polls.
func (w *watch) begun(ctx context.Context, events <-chan event) bool {
	timer := time.NewTimer(w.store.poll)
	defer timer.Stop()
	for {
		select {
		case e := <-events:
			if e.kind != notified {
				return e.kind == listens
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// hear tells what a notification says. The payload is the mark of a write and the key of its
// row. Anybody who may connect to the database can send one.
func (w *watch) hear(ctx context.Context, payload string) {
	by, key, ok := strings.Cut(payload, " ")
	if !ok || !w.isNew(key, change{by, w.last}) {
		return
	}
	var found news
	var name []byte
	if strings.HasPrefix(key, hashed) {
		_, _ = w.store.row(ctx, w.store.statements.name, []any{key}, &name) // if it fails the name is not known
	}
	found.add(key, name)
	w.tell(found)
}

// channel returns the name of the channel on which writes to a table are told.
func channel(table string) string {
	if len(table) > longestIdentifier {
		return shortened(table, "")
	}
	return table
}

func (s *Store) failedWatch(err error) error {
	return fmt.Errorf("sqlstore: watch table %s: %w", s.table, err)
}
