package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"
)

const (
	// overlap is how far each poll reaches back before the one before, in milliseconds by the
	// database's clock, because a save shows only once it is committed.
	overlap = 10_000

	// mostChanges is how many changes a poll reads.
	mostChanges = 10_000

	// whileListening is how often a watch that listens polls all the same, because a
	// connection may be silent, and processes may write without Options.Notify.
	whileListening = 10 * time.Second

	defaultPoll  = time.Second
	shortestWait = 10 * time.Millisecond
)

// Watch tells what other processes do with the sessions in the store, until ctx is done. It
// calls changed with the name of each session whose token somebody else has saved or
// deleted, and missed whenever such news may have been lost: when it begins, after each
// time that the database was not to be reached, and when it can't tell which sessions have
// changed. It calls them one at a time.
//
//	go store.Watch(ctx, tr.Forget, tr.ForgetAll)
//
// What this Store has written causes no call. Another Store on the same table is somebody
// else, also in this process.
//
// Watch reads what has changed every [Options].Poll. With [Options].Listen it is told at
// once of what is written with [Options].Notify. It misses saves that are not committed
// within 10 s. A session may be told twice, and changes that follow each other closely
// once. Of more than 10,000 changes in 10 s it tells by missed. What a standby may not have
// shown yet it reads again later.
//
// Watch reconnects by itself. It returns the cause of ctx, or at once an error if it can
// never work, because an argument is nil or the database refuses to read the table. Report
// it, because everything else works without Watch. Watches of one Store do not disturb each
// other.
func (s *Store) Watch(ctx context.Context, changed func(session string), missed func()) error {
	switch {
	case changed == nil:
		return errors.New("sqlstore: watch: changed is nil")
	case missed == nil:
		return errors.New("sqlstore: watch: missed is nil")
	}
	w := &watch{store: s, changed: changed, missed: missed, told: make(map[string]change)}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	events := make(chan event)
	go func() {
		defer close(ended)
		if s.listen != nil {
			w.listen(ctx, events)
		}
	}()
	defer func() { <-ended }() // also if changed or missed panics
	defer cancel()
	return w.run(ctx, events)
}

// A watch is one call of Watch. Only its goroutine uses what it knows.
type watch struct {
	store   *Store
	changed func(string)
	missed  func()

	last int64             // until when it knows what was written, by the database's clock
	told map[string]change // by key: what was written lately, and need not be told again
}

// A change is a write of a token.
type change struct {
	by string // the mark of the write; empty if a tool left none
	at int64
}

func (c change) is(other change) bool {
	return c.by == other.by && (c.by != "" || c.at == other.at)
}

func (w *watch) run(ctx context.Context, events <-chan event) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	listening := w.store.listen != nil && w.begun(ctx, events)
	if listening { // what was written before it began to listen is not told by anybody
		_, _ = w.poll(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.missed()

	timer := time.NewTimer(w.pause(listening, false))
	defer timer.Stop()
	failing := false
	look := func(gap bool) {
		news, err := w.poll(ctx)
		if err != nil {
			failing = true
			return
		}
		if failing || gap {
			news.lost, failing = true, false
		}
		w.tell(news)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-events:
			switch e.kind {
			case notified:
				w.hear(ctx, e.payload)
				continue
			case listens:
				listening = true
				look(true)
			case deaf:
				listening = false
			}
		case <-timer.C:
			look(false)
		}
		timer.Reset(w.pause(listening, failing))
	}
}

// pause is how long to wait until the next poll. After one that has failed, what was missed
// has not been told yet.
func (w *watch) pause(listening, failing bool) time.Duration {
	switch {
	case failing:
		return min(w.store.poll, longestRetry)
	case listening:
		return jittered(max(w.store.poll, whileListening))
	}
	return w.store.poll
}

// begin notes what was written lately. It waits until the database is to be reached.
func (w *watch) begin(ctx context.Context) error {
	for wait := newBackoff(shortestPoll, w.store.poll); ; {
		w.last = math.MaxInt64 // which asks for the time alone
		_, err := w.poll(ctx)
		if err == nil {
			_, err = w.poll(ctx)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !w.store.dialect.passing(err):
			return w.store.failedWatch(err)
		case !sleep(ctx, wait.next()):
			return context.Cause(ctx)
		}
	}
}

// news is what a poll has found.
type news struct {
	sessions []string
	lost     bool // there may be more
}

func (w *watch) tell(n news) {
	for _, session := range n.sessions {
		w.changed(session)
	}
	if n.lost {
		w.missed()
	}
}

// poll reads what was written since the last poll, and a while before that.
func (w *watch) poll(ctx context.Context) (found news, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(whileListening, w.store.poll))
	defer cancel()
	from := w.last
	if from != math.MaxInt64 {
		from -= overlap
	}
	var now int64
	var standby bool
	var n int
	err = w.store.query(ctx, w.store.statements.changes, []any{from}, func(rows *sql.Rows) error {
		var key, by sql.NullString
		var name []byte
		var at int64
		if err := rows.Scan(&key, &name, &at, &by); err != nil {
			return err
		}
		if !key.Valid {
			now, standby = at, by.Valid
			return nil
		}
		n++
		if w.isNew(key.String, change{by.String, at}) {
			found.add(key.String, name)
		}
		return nil
	})
	if err != nil {
		return news{lost: true}, err
	}
	found.lost = found.lost || n == mostChanges
	switch {
	case standby:
		now = w.shownBy(now)
	case w.last != math.MaxInt64:
		// A clock that was set back hides what is written until it has caught up. After a
		// long time, rows of deleted tokens may be gone.
		found.lost = found.lost || now < w.last-overlap/2 || now > w.last+keepDeleted/2
	}
	w.last = now
	for key, c := range w.told {
		if c.at < now-overlap {
			delete(w.told, key) // no later poll returns it
		}
	}
	return found, nil
}

// shownBy returns until when a standby is taken to show what was written: until the last poll
// of another server, or for a while before now, if that was longer ago. What it does not
// show yet, later polls tell.
func (w *watch) shownBy(now int64) int64 {
	before := now - keepDeleted/2
	if w.last == math.MaxInt64 {
		return before
	}
	return max(w.last, before)
}

// isNew notes a change, and reports whether it has to be told.
func (w *watch) isNew(key string, c change) bool {
	known, ok := w.told[key]
	w.told[key] = c
	return (!ok || !known.is(c)) && !strings.HasPrefix(c.by, w.store.id+".")
}

// add adds the session of a row. Its name is recorded if its key is a hash.
func (n *news) add(key string, name []byte) {
	if session, ok := sessionOf(key, name); ok {
		n.sessions = append(n.sessions, session)
	} else {
		n.lost = true
	}
}
