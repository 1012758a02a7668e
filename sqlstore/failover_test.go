package sqlstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/sqlstore"
)

// Both drivers look for the primary again.
func TestAFailoverToASynchronousStandbyLosesNothing(t *testing.T) {
	p := newPair(t)
	busy, refreshing, watched := newPostgresOn(t, p.primary), newPostgresOn(t, p.primary), newPostgresOn(t, p.primary)
	p.synchronize(t)
	watching, writing := p.listening(t, watched), p.listening(t, watched)
	heard := watch(t, watching)
	w := newWorld(t, busy, reauthtest.Options{AccessLifetime: 2 * time.Second}, 15*time.Second, p.connect(t, "pgx"), p.connect(t, "postgres"))

	// In the other session, the old refresh token is spent and the new one not stored when the
	// primary crashes.
	r := newWorld(t, refreshing, reauthtest.Options{}, 15*time.Second, p.connect(t, "pgx"), p.connect(t, "postgres"))
	require.NoError(t, r.get(r.ctx, r.transports[1]))
	r.ExpireAccess()
	release := r.BlockRefresh()
	answered := make(chan error, 1)
	go func() { answered <- r.get(r.ctx, r.transports[0]) }()
	r.await(t, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })

	w.traffic(t, func() {
		w.refreshes(t, 2)
		require.NoError(t, writing.Save(t.Context(), "before", token("1")))
		heard.hears(t, "before")
		heard.all()
		p.primary.Crash()
		release()
		r.await(t, "its answer", func(c reauthtest.Counts) bool { return c.RefreshesGranted >= 1 })
		p.promote(t)
		require.NoError(t, writing.Save(t.Context(), "meanwhile", token("1")))
		w.refreshes(t, 2)
	})

	heard.hears(t, "meanwhile")
	heard.await(t, "missed", func() bool { return heard.misses > 0 })
	require.NoError(t, writing.Save(t.Context(), "later", token("1")))
	heard.hears(t, "later")
	require.NoError(t, <-answered)
	require.Eventually(t, func() bool { return r.get(r.ctx, r.transports[1]) == nil }, time.Minute, 10*time.Millisecond)
	assert.Equal(t, 1, r.Counts().Refreshes, "the other process does not get the spent token")
	t.Logf("%d requests, of which %d failed for now", w.Counts().APIRequests, w.passed)
	w.settled(t, newStoreOn(t, busy, p.connect(t, "pgx"), 0))
	r.settled(t, newStoreOn(t, refreshing, p.connect(t, "pgx"), 0))
}

// This is what asynchronous replication may cost. The README says so.
func TestAFailoverToAnAsynchronousStandbyLosesTheLastWrites(t *testing.T) {
	p := newPair(t)
	var tables []postgres
	var worlds []*world
	for range 3 {
		table := newPostgresOn(t, p.primary)
		w := newWorld(t, table, reauthtest.Options{}, 15*time.Second, p.connect(t, "pgx"), p.connect(t, "pgx"))
		require.NoError(t, w.get(w.ctx, w.transports[1]))
		tables, worlds = append(tables, table), append(worlds, w)
	}
	own, others, lock := worlds[0], worlds[1], worlds[2]
	p.catchUp(t)
	p.sever()

	for _, w := range []*world{own, others} {
		w.ExpireAccess()
		require.NoError(t, w.get(w.ctx, w.transports[0]))
		require.NoError(t, w.transports[0].Wait(w.ctx))
	}
	lock.ExpireAccess()
	release := lock.BlockRefresh()
	refreshing := make(chan error, 1)
	go func() { refreshing <- lock.get(lock.ctx, lock.transports[0]) }()
	lock.await(t, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })

	p.primary.Crash()
	p.promote(t)

	t.Run("A token, whose process stores it again", func(t *testing.T) {
		own.ExpireAccess()
		require.Eventually(t, func() bool { return own.get(own.ctx, own.transports[0]) == nil }, time.Minute, 10*time.Millisecond)
		own.settled(t, newStoreOn(t, tables[0], p.connect(t, "pgx"), 0))
	})
	t.Run("A token, and another process spends the one before", func(t *testing.T) {
		others.ExpireAccess()
		require.Eventually(t, func() bool {
			return others.Counts().Refreshes == 2 || others.get(others.ctx, others.transports[1]) == nil
		}, time.Minute, 10*time.Millisecond)
		assert.Equal(t, 1, others.Counts().ReusesDetected)
		assert.ErrorIs(t, others.get(others.ctx, others.transports[1]), reauth.ErrSignInRequired)
	})
	t.Run("A lock, and another process spends the same token", func(t *testing.T) {
		second := make(chan error, 1)
		go func() { second <- lock.get(lock.ctx, lock.transports[1]) }()
		lock.await(t, "another refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 2 })
		release()
		<-refreshing
		<-second
		assert.Equal(t, 1, lock.Counts().ReusesDetected)
	})
}

// The old primary lives on. What it commits waits for its standby, which is one no more.
func TestAnOldPrimaryWithoutItsSynchronousStandbyStoresNothingForGood(t *testing.T) {
	p := newPair(t)
	d, saving := newPostgresOn(t, p.primary), newPostgresOn(t, p.primary)
	onNew := postgres{server: p.standby}.connect(t)
	p.synchronize(t)
	proxy := cutproxy.New(t, p.primary.Addr())
	w := newWorld(t, d, reauthtest.Options{}, 15*time.Second, p.connectVia(t, proxy), onNew)
	store := newStoreOn(t, saving, p.connectVia(t, proxy), 0)
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	require.NoError(t, store.Save(held, "ann", token("1")))
	p.catchUp(t)
	p.sever()
	p.promote(t)

	// A refresh needs a lock.
	w.ExpireAccess()
	ctx, leave := context.WithCancel(w.ctx)
	left := make(chan error, 1)
	go func() { left <- w.get(ctx, w.transports[0]) }()
	p.waits(t, d, "INSERT")
	require.NoError(t, w.get(w.ctx, w.transports[1]), "on the new primary")
	leave()
	require.ErrorIs(t, <-left, context.Canceled, "it has neither a token nor the lock")

	// PostgreSQL shows what it has committed alone once nobody waits for the standby any more.
	ctx, giveUp := context.WithCancel(held)
	saved := make(chan error, 1)
	go func() { saved <- store.Save(ctx, "ann", token("2")) }()
	p.waits(t, saving, "UPDATE")
	mustHold(t, newStore(t, saving, 0), "ann", "access-1")
	giveUp()
	require.ErrorIs(t, <-saved, context.Canceled)
	p.until(t, saving.connect(t), "SELECT token LIKE '%access-2%' FROM "+saving.name+" WHERE session = 'ann'")
	mustHold(t, newStoreOn(t, saving, onNew, 0), "ann", "access-1")

	proxy.Redirect(p.standby.Addr())
	proxy.Cut()
	require.Eventually(t, func() bool { return w.get(w.ctx, w.transports[0]) == nil }, time.Minute, 10*time.Millisecond)
	assert.Equal(t, 1, w.Counts().Refreshes)
	w.settled(t, newStoreOn(t, d, onNew, 0))
	require.NoError(t, store.Save(held, "ann", token("2")), "the lock is held on the new primary, too")
	mustHold(t, newStoreOn(t, saving, onNew, 0), "ann", "access-2")
}

// A pool's connections reach the standby, and then the primary again, but those that lead to
// the standby work on.
func TestAStandbyThatAnswersForAWhile(t *testing.T) {
	p := newPair(t)
	d, flapping, watched := newPostgresOn(t, p.primary), newPostgresOn(t, p.primary), newPostgresOn(t, p.primary)
	onStandby := postgres{server: p.standby}.connect(t)
	proxy := cutproxy.New(t, p.primary.Addr())

	t.Run("Watch tells what it did not show", func(t *testing.T) {
		p.catchUp(t)
		mustExec(t, onStandby, "SELECT pg_wal_replay_pause()")
		p.until(t, onStandby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
		proxy.Redirect(p.standby.Addr())
		store, err := sqlstore.New(p.connectVia(t, proxy), sqlstore.PostgreSQL, &sqlstore.Options{Table: watched.name, Poll: 10 * time.Millisecond})
		require.NoError(t, err)
		told := watch(t, store)
		mustExec(t, watched.connect(t), "INSERT INTO "+watched.name+" (session, token, version, saved_at, changed_by) VALUES ('hidden', '{}', 1, $1, 'another.1')",
			time.Now().Add(-20*time.Second).UnixMilli())
		proxy.Redirect(p.primary.Addr())
		proxy.Cut()
		told.hears(t, "hidden")
		mustExec(t, onStandby, "SELECT pg_wal_replay_resume()")
	})

	t.Run("Again and again", func(t *testing.T) {
		w := newWorld(t, flapping, reauthtest.Options{AccessLifetime: 2 * time.Second}, 15*time.Second, p.connectVia(t, proxy), p.connectVia(t, proxy))
		w.traffic(t, func() {
			for i := range 40 {
				proxy.Redirect([]*server{p.standby, p.primary}[i%2].Addr())
				if i%3 == 0 {
					proxy.Cut()
				}
				requests, passes := w.Counts().APIRequests, w.passes()
				require.Eventually(t, func() bool {
					return w.Counts().APIRequests > requests+50 || w.passes() > passes+50
				}, time.Minute, time.Millisecond)
			}
			w.refreshes(t, 2)
		})
		t.Logf("%d requests, of which %d failed for now", w.Counts().APIRequests, w.passed)
		w.settled(t, newStore(t, flapping, 0))
	})

	t.Run("Nobody is signed out", func(t *testing.T) {
		w := newWorld(t, d, reauthtest.Options{}, 15*time.Second,
			p.connectVia(t, proxy), p.connectVia(t, proxy), p.connectVia(t, proxy), p.connectVia(t, proxy))
		refreshed, waiting, started := w.transports[0], w.transports[1], w.transports[2:]
		require.NoError(t, w.get(w.ctx, waiting))
		p.catchUp(t)
		p.sever()
		w.ExpireAccess()
		require.NoError(t, w.get(w.ctx, refreshed))
		bob := reauth.WithSession(t.Context(), "bob")
		require.NoError(t, refreshed.SignIn(bob, reauth.Token(w.SignIn("bob"))))
		require.NoError(t, refreshed.Wait(bob))

		proxy.Redirect(p.standby.Addr())
		proxy.Cut()
		w.ExpireAccess()
		for _, transport := range w.transports[:3] { // they have the token, the one before, and none
			w.failsForNow(t, w.ctx, transport)
		}
		w.failsForNow(t, bob, started[1]) // the standby shows no token
		assert.Equal(t, 1, w.Counts().Refreshes)
		for _, pool := range w.pools {
			fill(t, pool, 10)
		}

		proxy.Redirect(p.primary.Addr())
		for _, transport := range w.transports {
			require.Eventually(t, func() bool { return w.get(w.ctx, transport) == nil }, time.Minute, 10*time.Millisecond)
		}
		require.Eventually(t, func() bool { return w.get(bob, started[1]) == nil }, time.Minute, 10*time.Millisecond)
		assert.Equal(t, 3, w.Counts().Refreshes, "two of ann, and one of bob")
		w.settled(t, newStore(t, d, 0))
	})
}
