package sqlstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/sqlstore"
)

// first is the SQL of the first edition of this package, for PostgreSQL. SQLite's differs
// in {now} and the sign before a parameter.
var first = struct{ create, load, save, clear, sweep, take, release, renew, write string }{
	create: `CREATE TABLE {table} (
	session  {key} NOT NULL PRIMARY KEY,
	token    TEXT,
	version  BIGINT NOT NULL,
	writes   BIGINT NOT NULL DEFAULT 0,
	owner    TEXT,
	deadline BIGINT
)`,
	load: `SELECT token FROM {table} WHERE session = $1`,
	save: `INSERT INTO {table} AS s (session, token, version) VALUES ($1, $2, 1)
ON CONFLICT (session) DO UPDATE SET token = excluded.token`,
	clear: `UPDATE {table} SET token = NULL WHERE session = $1 AND token IS NOT NULL`,
	sweep: `DELETE FROM {table} WHERE session = $1 AND token IS NULL AND COALESCE(deadline, 0) <= {now}`,
	take: `INSERT INTO {table} AS s (session, version, owner, deadline)
VALUES ($1, 1, $2, {now} + CAST($3 AS BIGINT))
ON CONFLICT (session) DO UPDATE
SET token = s.token, version = s.version + 1, writes = 0, owner = excluded.owner, deadline = {now} + CAST($3 AS BIGINT)
WHERE s.owner = excluded.owner OR COALESCE(s.deadline, 0) <= {now}
RETURNING version`,
	release: `UPDATE {table} SET owner = NULL, deadline = NULL WHERE session = $1 AND owner = $2 RETURNING token IS NULL`,
	renew:   `UPDATE {table} SET deadline = {now} + CAST($4 AS BIGINT) WHERE session = $1 AND owner = $2 AND version = $3`,
	write: `UPDATE {table} SET token = CASE WHEN writes < $5 THEN $4 ELSE token END, writes = $5
WHERE session = $1 AND owner = $2 AND version = $3 AND writes <= $5`,
}

// ofFirst returns SQL of the first edition for a table.
func ofFirst(d database, sql string) string {
	now, key, parameter := `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`, `TEXT COLLATE "C"`, "$"
	if d.dialect() == sqlstore.SQLite {
		now, key, parameter = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`, `TEXT`, "?"
	}
	return strings.NewReplacer("{table}", d.table(), "{now}", now, "{key}", key, "$", parameter).Replace(sql)
}

// onFirstEdition runs a test on a table of the first edition. There was none for MySQL.
func onFirstEdition(t *testing.T, test func(t *testing.T, d database)) {
	onEach(t, func(t *testing.T, d database) {
		if strings.HasPrefix(d.dialect().String(), "MySQL") {
			return
		}
		db := d.connect(t)
		mustExec(t, db, "DROP TABLE "+d.table())
		mustExec(t, db, ofFirst(d, first.create))
		test(t, d)
	})
}

func TestATableOfTheFirstEditionIsUpgraded(t *testing.T) {
	onFirstEdition(t, func(t *testing.T, d database) {
		db, store := d.connect(t), newStore(t, d, 0)
		mustExec(t, db, ofFirst(d, first.save), "ann", `{"access_token":"access-1","refresh_token":"refresh-1"}`)
		mustExec(t, db, ofFirst(d, first.take), "bob", "holder", 3_600_000)
		assert.Error(t, store.Save(t.Context(), "cid", token("1")), "not yet")

		require.NoError(t, store.CreateTable(t.Context()))
		assert.Len(t, columns(t, d, db), 10)
		assert.Equal(t, 1, count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE session = 'sha256:schema' AND version = 2 AND saved_at > 0"))
		mustHold(t, store, "ann", "access-1")
		mustBeLocked(t, store, "bob")
		held, unlock := mustLock(t, store, "ann")
		require.NoError(t, store.Save(held, "ann", token("2")))
		unlock()
		require.NoError(t, newStore(t, d, 0).CreateTable(t.Context()))
		mustHold(t, store, "ann", "access-2")
	})
}

// A process of the first edition works on while the table is upgraded by many at once.
func TestProcessesOfTheFirstEditionGoOnDuringAnUpgrade(t *testing.T) {
	onFirstEdition(t, func(t *testing.T, d database) {
		stop := make(chan struct{})
		var old, upgrades sync.WaitGroup
		for i := range 2 {
			db, key := d.connect(t), fmt.Sprint("old", i)
			old.Go(func() {
				for round := 1; ; round++ {
					for _, step := range []struct {
						sql  string
						args []any
					}{
						{first.save, []any{key, `{"access_token":"a"}`}},
						{first.take, []any{key, "old", 60_000}},
						{first.renew, []any{key, "old", round + 1, 60_000}},
						{first.write, []any{key, "old", round + 1, `{"access_token":"b"}`, 1}},
						{first.load, []any{key}},
						{first.release, []any{key, "old"}},
					} {
						// Each affects its row, as it always did.
						res, err := db.ExecContext(t.Context(), ofFirst(d, step.sql), step.args...)
						if !assert.NoError(t, err, step.sql) {
							return
						}
						if n, _ := res.RowsAffected(); step.sql != first.load && !assert.EqualValues(t, 1, n, step.sql) {
							return
						}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		for range 10 {
			store := newStore(t, d, 0)
			upgrades.Go(func() {
				if assert.NoError(t, store.CreateTable(t.Context())) {
					held, unlock, err := lockAgain(t.Context(), store, "new")
					if assert.NoError(t, err) {
						assert.NoError(t, store.Save(held, "new", token("1")))
						unlock()
					}
				}
			})
		}
		upgrades.Wait()
		close(stop)
		old.Wait()
		mustHold(t, newStore(t, d, 0), "old0", "b")

		db := d.connect(t)
		mustExec(t, db, ofFirst(d, first.clear), "old0")
		mustExec(t, db, ofFirst(d, first.sweep), "old0")
		assert.Zero(t, count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE session = 'old0'"))
	})
}

// A table that was made by hand, or whose upgrade was interrupted, gets what it lacks.
func TestAnUpgradeThatWasInterruptedIsCompleted(t *testing.T) {
	onFirstEdition(t, func(t *testing.T, d database) {
		db := d.connect(t)
		mustExec(t, db, "ALTER TABLE "+d.table()+" ADD COLUMN deleted_at BIGINT")
		mustExec(t, db, "ALTER TABLE "+d.table()+" ADD COLUMN changed_by TEXT")
		require.NoError(t, newStore(t, d, 0).CreateTable(t.Context()))
		assert.Len(t, columns(t, d, db), 10)
		mustExec(t, db, "DELETE FROM "+d.table())
		require.NoError(t, newStore(t, d, 0).CreateTable(t.Context()))
		assert.Equal(t, 1, count(t, db, "SELECT COUNT(*) FROM "+d.table()))
	})
}

func TestATableOfALaterVersionIsAnError(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, store := d.connect(t), newStore(t, d, 0)
		mustExec(t, db, "UPDATE "+d.table()+" SET version = 3 WHERE session = 'sha256:schema'")
		assert.ErrorContains(t, store.CreateTable(t.Context()), "it has version 3, of a later version of this package")
	})
}

func TestSavedAtIsTheTimeOfTheLastSaveOrDelete(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		moved := func(what string) {
			t.Helper()
			var at, deleted int64
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COALESCE(saved_at, 0), COALESCE(deleted_at, 0) FROM "+d.table()+" WHERE session = 'ann'").Scan(&at, &deleted))
			assert.WithinDuration(t, time.Now(), time.UnixMilli(at), time.Minute, what)
			if strings.HasPrefix(what, "delete") {
				assert.Equal(t, at, deleted, what)
			} else {
				assert.Zero(t, deleted, what)
			}
			mustExec(t, db, "UPDATE "+d.table()+" SET saved_at = 1 WHERE session = 'ann'")
		}
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		moved("save")
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		moved("save of the same")
		require.NoError(t, store.Delete(t.Context(), "ann"))
		moved("delete")
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		moved("save after a delete")
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		assert.Equal(t, 1, count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE saved_at = 1"), "a lock is no save")
		require.NoError(t, store.Save(held, "ann", token("1")))
		moved("save under a lock")
		require.NoError(t, store.Delete(held, "ann"))
		moved("delete under a lock")
		require.NoError(t, store.Save(held, "ann", token("1")))
		moved("save under a lock after a delete")
	})
}
