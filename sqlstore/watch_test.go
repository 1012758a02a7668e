package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/sqlstore"
)

// A watcher is a Watch that runs, and what it has told.
type watcher struct {
	mu     sync.Mutex
	told   []string
	misses int
	ended  chan error
}

// watch begins a Watch, and returns when it hears.
func watch(t *testing.T, store *sqlstore.Store) *watcher {
	t.Helper()
	w := &watcher{ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { w.ended <- store.Watch(ctx, w.changed, w.missed) }()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-w.ended, context.Canceled)
	})
	w.await(t, "it begins", func() bool { return w.misses == 1 })
	return w
}

func (w *watcher) changed(session string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, session)
}

func (w *watcher) missed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.misses++
}

func (w *watcher) await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return reached()
	}, 30*time.Second, time.Millisecond, what)
}

// hears waits until a session was told.
func (w *watcher) hears(t *testing.T, session string) {
	t.Helper()
	w.await(t, fmt.Sprintf("of %q", session), func() bool { return slices.Contains(w.told, session) })
}

// all returns what was told, and forgets it.
func (w *watcher) all() (told []string, misses int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told, misses = w.told, w.misses
	w.told, w.misses = nil, 0
	return told, misses
}

// watchable returns a store that polls often, or one that listens and hardly polls.
func watchable(t *testing.T, d database, listens bool) *sqlstore.Store {
	t.Helper()
	opts := &sqlstore.Options{Table: d.table(), Poll: 10 * time.Millisecond, Lease: time.Hour}
	if listens {
		p := d.(postgres)
		opts.Poll, opts.Notify = time.Hour, true
		opts.Listen = listenWithPgx(p.dsn(""))
	}
	store, err := sqlstore.New(d.connect(t), d.dialect(), opts)
	require.NoError(t, err)
	return store
}

// onEachWatch runs a test with stores that poll, and with such that listen.
func onEachWatch(t *testing.T, test func(t *testing.T, d database, store func() *sqlstore.Store)) {
	onEach(t, func(t *testing.T, d database) {
		test(t, d, func() *sqlstore.Store { return watchable(t, d, false) })
	})
	t.Run("Notifications", func(t *testing.T) {
		d := newPostgres(t)
		test(t, d, func() *sqlstore.Store { return watchable(t, d, true) })
	})
}

func TestWatchTellsWhatOthersDo(t *testing.T) {
	onEachWatch(t, func(t *testing.T, d database, open func() *sqlstore.Store) {
		store, other := open(), open()
		for _, session := range []string{"", "ann", "é", strings.Repeat("long", 1000), "not utf-8 \xff\x00"} {
			require.NoError(t, other.Save(t.Context(), "before", token("1")))
			w := watch(t, store)
			second := watch(t, store)
			held, unlock := mustLock(t, other, session)
			for what, change := range map[string]func() error{
				"saved":                func() error { return other.Save(t.Context(), session, token("1")) },
				"saved under a lock":   func() error { return other.Save(held, session, token("2")) },
				"deleted under a lock": func() error { return other.Delete(held, session) },
			} {
				require.NoError(t, change(), what)
				w.hears(t, session)
				second.hears(t, session)
				w.all()
				second.all()
			}
			require.NoError(t, other.Save(t.Context(), session, token("1")))
			unlock()
			w.hears(t, session)
			w.all()
			require.NoError(t, other.Delete(t.Context(), session))
			w.hears(t, session)
			told, misses := w.all()
			assert.Subset(t, []string{session}, told)
			assert.Zero(t, misses)
		}
	})
}

// Also what its own store has purged, whose program may still use the token.
func TestWatchTellsWhatPurgeDeletes(t *testing.T) {
	onEachWatch(t, func(t *testing.T, d database, open func() *sqlstore.Store) {
		store, other := open(), open()
		require.NoError(t, other.Save(t.Context(), "old", token("1")))
		mustExec(t, d.connect(t), "UPDATE "+d.table()+" SET saved_at = 1 WHERE session = 'old'")
		w, own := watch(t, store), watch(t, other)
		n, err := other.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		w.hears(t, "old")
		own.hears(t, "old")
	})
}

// A process does not look at the store because of what it has saved itself.
func TestWatchDoesNotTellWhatItsStoreHasWritten(t *testing.T) {
	onEachWatch(t, func(t *testing.T, d database, open func() *sqlstore.Store) {
		store := open()
		w := watch(t, store)
		held, unlock := mustLock(t, store, "own")
		require.NoError(t, store.Save(held, "own", token("1")))
		require.NoError(t, store.Delete(held, "own"))
		unlock()
		require.NoError(t, store.Save(t.Context(), "own", token("1")))
		require.NoError(t, store.Delete(t.Context(), "own"))
		require.NoError(t, open().Save(t.Context(), "end", token("1")))
		w.hears(t, "end")
		told, misses := w.all()
		assert.Equal(t, []string{"end"}, told)
		assert.Equal(t, 1, misses, "when it began")
	})
}

// A save shows only after it is committed, which may be later than the next poll.
func TestWatchTellsASaveThatShowsLate(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := watch(t, watchable(t, d, false))
		require.NoError(t, watchable(t, d, false).Save(t.Context(), "ann", token("1")))
		w.hears(t, "ann")
		mustExec(t, d.connect(t), fmt.Sprintf("INSERT INTO %s (session, token, version, saved_at, changed_by) VALUES ('late', '{}', 1, %d, 'another.1')",
			d.table(), time.Now().Add(-5*time.Second).UnixMilli()))
		w.hears(t, "late")
		require.NoError(t, watchable(t, d, false).Save(t.Context(), "end", token("1")))
		w.hears(t, "end")
		told, _ := w.all()
		assert.Equal(t, []string{"ann", "late", "end"}, told, "each once")
	})
}

func TestWatchTellsByMissedWhatHasNoName(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := watch(t, watchable(t, d, false))
		mustExec(t, d.connect(t), fmt.Sprintf("INSERT INTO %s (session, token, version, saved_at) VALUES ('sha256:00', '{}', 1, %d)", d.table(), time.Now().UnixMilli()))
		w.await(t, "missed", func() bool { return w.misses == 2 })
	})
}

func TestWatchTellsByMissedOfVeryManyChanges(t *testing.T) {
	d := newSQLite(t)
	w := watch(t, watchable(t, d, false))
	mustExec(t, d.connect(t), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
		INSERT INTO %s (session, token, version, saved_at) SELECT 's' || i, '{}', 1, %d FROM n`, d.table(), time.Now().UnixMilli()))
	w.await(t, "missed", func() bool { return w.misses > 1 })
}

func TestWatchTellsByMissedOfATimeWithoutTheDatabase(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: d.table(), Poll: 10 * time.Millisecond})
		require.NoError(t, err)
		w := watch(t, store)
		before := m.count(others)
		m.failBefore(always(others, errCut))
		require.Eventually(t, func() bool { return m.count(others) > before+3 }, 30*time.Second, time.Millisecond, "it tries again")
		require.NoError(t, newStore(t, d, 0).Save(t.Context(), "meanwhile", token("1")))
		m.failBefore(nil)
		w.hears(t, "meanwhile")
		w.await(t, "missed", func() bool { return w.misses == 2 })
	})
}

// A scriptedWatch is a Watch of a script whose clock says now.
type scriptedWatch struct {
	db          *script
	now, misses atomic.Int64
	end         func() // and checks with which error
}

func watchScript(t *testing.T) *scriptedWatch {
	t.Helper()
	w := &scriptedWatch{db: new(script)}
	store := scriptedStore(t, w.db)
	w.now.Store(1_000_000_000)
	w.db.answer(func(context.Context, string) error { return number(w.now.Load()) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- store.Watch(ctx, func(string) {}, func() { w.misses.Add(1) }) }()
	w.end = func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	}
	return w
}

// Saves would be hidden until the clock has caught up. And of a time that it was not there, the
// rows of deleted tokens may be gone.
func TestWatchTellsByMissedOfAClockThatJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchScript(t)
		for _, step := range []struct {
			jump   time.Duration
			misses int64
		}{{0, 1}, {time.Second, 1}, {-3 * time.Second, 1}, {-time.Minute, 2}, {0, 2}, {29 * time.Second, 2}, {31 * time.Second, 3}, {0, 3}} {
			w.now.Add(step.jump.Milliseconds())
			time.Sleep(2 * time.Second)
			assert.Equal(t, step.misses, w.misses.Load(), "after a jump of %v", step.jump)
		}
		w.end()
	}) // and no goroutine remains
}

// A standby may show late what was written. Its polls are not the last to read of that time.
func TestWatchReadsAgainWhatAStandbyMayNotHaveShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchScript(t)
		step := func(ahead time.Duration) {
			w.now.Add(ahead.Milliseconds())
			time.Sleep(2 * time.Second)
		}
		time.Sleep(time.Second / 2) // so that no step is at the time of a poll
		begun := w.now.Load()
		from := func() time.Duration { return time.Duration(w.db.from.Load()-begun) * time.Millisecond }
		step(time.Second)
		step(time.Second)
		assert.Equal(t, -8*time.Second, from(), "ten seconds before the last poll")
		w.db.standby.Store(true)
		step(18 * time.Second)
		step(time.Second)
		assert.Equal(t, -8*time.Second, from(), "ten seconds before the last poll of the primary")
		step(19 * time.Second)
		step(time.Second)
		assert.Equal(t, time.Second, from(), "thirty seconds and ten, at most")
		assert.EqualValues(t, 1, w.misses.Load(), "when it began")
		w.db.standby.Store(false)
		step(time.Second)
		assert.EqualValues(t, 2, w.misses.Load(), "more than thirty seconds")
		step(time.Second)
		assert.EqualValues(t, 2, w.misses.Load())
		w.end()
	})
}

// The connection on which it listens is cut. It hears of what was written meanwhile.
func TestWatchListensAgain(t *testing.T) {
	d := newPostgres(t).(postgres)
	admin := d.connect(t)
	store, other := watchable(t, d, true), watchable(t, d, true)
	w := watch(t, store)
	for round := range 3 {
		w.all()
		cut := count(t, admin, "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = $1", `LISTEN "`+d.name+`"`)
		require.Equal(t, 1, cut)
		require.NoError(t, other.Save(t.Context(), "meanwhile", token("1")))
		w.hears(t, "meanwhile")
		w.await(t, "missed", func() bool { return w.misses > 0 })
		w.all()
		require.NoError(t, other.Save(t.Context(), "later", token(fmt.Sprint(round))))
		w.hears(t, "later")
	}
}

// Where it can't listen, it polls.
func TestWatchPollsWhileItCannotListen(t *testing.T) {
	d := newPostgres(t).(postgres)
	for name, listen := range map[string]func(context.Context) (sqlstore.Listener, error){
		"an error": func(context.Context) (sqlstore.Listener, error) { return nil, errCut },
		"nothing":  func(context.Context) (sqlstore.Listener, error) { return nil, nil },
		"silence": func(ctx context.Context) (sqlstore.Listener, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := sqlstore.New(d.connect(t), d.dialect(), &sqlstore.Options{Table: d.name, Poll: 10 * time.Millisecond, Listen: listen})
			require.NoError(t, err)
			w := watch(t, store)
			require.NoError(t, newStore(t, d, 0).Save(t.Context(), name, token("1")))
			w.hears(t, name)
		})
	}
}

func TestWatchNamesWhatIsWrong(t *testing.T) {
	d := newSQLite(t)
	store := newStore(t, d, 0)
	assert.ErrorContains(t, store.Watch(t.Context(), nil, func() {}), "sqlstore: watch: changed is nil")
	assert.ErrorContains(t, store.Watch(t.Context(), func(string) {}, nil), "sqlstore: watch: missed is nil")
	onEach(t, func(t *testing.T, d database) {
		store, err := sqlstore.New(d.connect(t), d.dialect(), &sqlstore.Options{Table: "nowhere"})
		require.NoError(t, err)
		assert.ErrorContains(t, store.Watch(t.Context(), func(string) {}, func() {}), "sqlstore: watch table nowhere: ")
	})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	assert.Equal(t, cause, store.Watch(ctx, func(string) {}, func() {}))

	for _, opts := range []*sqlstore.Options{{Notify: true}, {Listen: listenWithPgx("")}} {
		_, err := sqlstore.New(d.connect(t), sqlstore.SQLite, opts)
		assert.ErrorContains(t, err, "Options.Notify and Options.Listen are for PostgreSQL, and the dialect is SQLite")
	}
	_, err := sqlstore.New(d.connect(t), sqlstore.SQLite, &sqlstore.Options{Poll: time.Millisecond})
	assert.ErrorContains(t, err, "sqlstore: Options.Poll is 1ms")
}

// With Notify the statements that write are others, and the number of their rows counts as
// before.
func TestAStoreThatNotifiesIsAStore(t *testing.T) {
	d := newPostgres(t)
	store := watchable(t, d, true)
	held, unlock := mustLock(t, store, "ann")
	require.NoError(t, store.Save(held, "ann", token("1")))
	mustExec(t, d.connect(t), "UPDATE "+d.table()+" SET owner = 'another' WHERE session = 'ann'")
	assert.ErrorContains(t, store.Save(held, "ann", token("2")), "the lease was lost")
	mustHold(t, store, "ann", "access-1")
	unlock()
	require.NoError(t, store.Delete(t.Context(), "ann"))
	require.NoError(t, store.Delete(t.Context(), "nobody"))
	var at sql.NullInt64
	require.NoError(t, d.connect(t).QueryRowContext(t.Context(), "SELECT deleted_at FROM "+d.table()+" WHERE session = 'ann'").Scan(&at))
	assert.True(t, at.Valid)
}
