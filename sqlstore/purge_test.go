package sqlstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPurgeDeletesWhatWasNotSavedForLong(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for _, session := range []string{"", "old", "é", "new", "locked", "saved by a holder"} {
			require.NoError(t, store.Save(t.Context(), session, token("1")))
		}
		_, unlock := mustLock(t, store, "locked")
		age := func(by time.Duration) {
			mustExec(t, db, fmt.Sprintf("UPDATE %s SET saved_at = saved_at - %d WHERE session <> 'new'", d.table(), by.Milliseconds()))
		}
		age(59 * time.Minute)
		n, err := store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n)
		age(2 * time.Minute)
		held, unlockHolder := mustLock(t, store, "saved by a holder")
		require.NoError(t, store.Save(held, "saved by a holder", token("2")))
		unlockHolder()

		n, err = newStore(t, d, 0).Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 3, n)
		for _, session := range []string{"", "old", "é"} {
			_, ok, err := store.Load(t.Context(), session)
			require.NoError(t, err)
			assert.False(t, ok, session)
		}
		mustHold(t, store, "new", "access-1")
		mustHold(t, store, "locked", "access-1")
		mustHold(t, store, "saved by a holder", "access-2")
		unlock()
		n, err = store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 1, n, "which was locked")
	})
}

// What a save of the first edition has left does not tell when that was.
func TestATokenOfTheFirstEditionCountsAsSavedAtTheUpgrade(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		mustExec(t, db, "UPDATE "+d.table()+" SET saved_at = NULL WHERE session = 'ann'")
		n, err := store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n)
		mustExec(t, db, "DELETE FROM "+d.table()+" WHERE session = 'sha256:schema'")
		n, err = store.Purge(t.Context(), time.Millisecond)
		require.NoError(t, err)
		assert.Zero(t, n, "nobody knows when that was")
		require.NoError(t, store.CreateTable(t.Context()))
		mustExec(t, db, "UPDATE "+d.table()+" SET saved_at = saved_at - 3600001 WHERE session = 'sha256:schema'")
		n, err = store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		require.NoError(t, store.CreateTable(t.Context()), "the row of the version is still there")
	})
}

func TestPurgeRemovesTheRowsOfDeadSessions(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for i := range 120 {
			mustExec(t, db, fmt.Sprintf("INSERT INTO %s (session, version, owner, deadline) VALUES ('dead%d', 1, 'dead', 1)", d.table(), i))
		}
		_, unlock := mustLock(t, store, "alive")
		defer unlock()
		require.NoError(t, store.Save(t.Context(), "deleted", token("1")))
		require.NoError(t, store.Delete(t.Context(), "deleted"))
		mustExec(t, db, "INSERT INTO "+d.table()+" (session, version, saved_at) VALUES ('deleted by the first edition', 1, 1)")
		n, err := store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n, "none of them had a token")
		assert.Equal(t, 3, count(t, db, "SELECT COUNT(*) FROM "+d.table()), "alive, deleted a moment ago, and the version")
		mustExec(t, db, "UPDATE "+d.table()+" SET saved_at = saved_at - 60001")
		_, err = store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 2, count(t, db, "SELECT COUNT(*) FROM "+d.table()))
		mustBeLocked(t, newStore(t, d, 0), "alive")
	})
}

// Sessions are used while two processes purge.
func TestPurgeLeavesWhatIsSavedMeanwhile(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for i := range 150 {
			mustExec(t, db, fmt.Sprintf("INSERT INTO %s (session, token, version, saved_at) VALUES ('s%d', '{\"access_token\":\"a\"}', 1, 1)", d.table(), i))
		}
		total := 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 2 {
			purger := newStore(t, d, 0)
			wg.Go(func() {
				n, err := purger.Purge(t.Context(), time.Hour)
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				total += n
			})
		}
		for i := range 50 {
			require.NoError(t, store.Save(t.Context(), fmt.Sprintf("s%d", 3*i), token("new")))
		}
		wg.Wait()
		for i := range 50 {
			mustHold(t, store, fmt.Sprintf("s%d", 3*i), "access-new")
		}
		assert.Equal(t, 50, count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE token IS NOT NULL"))
		assert.GreaterOrEqual(t, total, 100)
		assert.LessOrEqual(t, total, 150)
	})
}

// It is locked after Purge has found it, and before that deletes it.
func TestPurgeLeavesWhatIsLockedMeanwhile(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		admin := d.connect(t)
		require.NoError(t, newStore(t, d, 0).Save(t.Context(), "ann", token("1")))
		mustExec(t, admin, "UPDATE "+d.table()+" SET saved_at = 1 WHERE session = 'ann'")
		db, m := meddle(t, d)
		n := 0
		m.failBefore(func(string) error {
			if n++; n == 3 { // when the table was made, what is old, and then the deletion
				_, err := admin.ExecContext(t.Context(), fmt.Sprintf("UPDATE %s SET deadline = %d WHERE session = 'ann'", d.table(), time.Now().Add(time.Hour).UnixMilli()))
				return err
			}
			return nil
		})
		purged, err := newStoreOn(t, d, db, 0).Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, purged)
		assert.Greater(t, n, 3)
		mustHold(t, newStore(t, d, 0), "ann", "access-1")
	})
}

func TestPurgeNamesWhatIsWrong(t *testing.T) {
	store := newStore(t, newSQLite(t), 0)
	for _, olderThan := range []time.Duration{0, -time.Hour} {
		_, err := store.Purge(t.Context(), olderThan)
		assert.ErrorContains(t, err, "sqlstore: purge table reauth_sessions: olderThan is "+olderThan.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Purge(ctx, time.Hour)
	assert.ErrorIs(t, err, context.Canceled)
}
