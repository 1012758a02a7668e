package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/sqlstore"
)

// refuseWrites makes a table read-only for everybody.
func refuseWrites(tb testing.TB, d database) (accept func()) {
	tb.Helper()
	db := d.connect(tb)
	exec := func(statement string) {
		_, err := db.ExecContext(context.Background(), statement)
		require.NoError(tb, err)
	}
	if d.dialect() == sqlstore.SQLite {
		for _, event := range []string{"INSERT", "UPDATE"} {
			exec(fmt.Sprintf("CREATE TRIGGER refuse_%s BEFORE %[1]s ON %s BEGIN SELECT RAISE(FAIL, 'attempt to write a readonly database'); END", event, d.table()))
		}
		return func() { exec("DROP TRIGGER refuse_INSERT"); exec("DROP TRIGGER refuse_UPDATE") }
	}
	exec(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN RAISE EXCEPTION 'the transaction is read-only' USING ERRCODE = '25006'; END$$`)
	exec("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON " + d.table() + " FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
	return func() { exec("DROP TRIGGER refuse ON " + d.table()) }
}

// readOnly makes all transactions of a server read-only, those of open connections too.
func (s *server) readOnly(t *testing.T, db *sql.DB, on bool) {
	t.Helper()
	_, err := db.ExecContext(context.Background(), fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %v", on))
	require.NoError(t, err)
	_, err = db.ExecContext(context.Background(), "SELECT pg_reload_conf()")
	require.NoError(t, err)
	want := map[bool]string{true: "on", false: "off"}[on]
	require.Eventually(t, func() bool {
		var is string
		err := db.QueryRowContext(context.Background(), "SHOW default_transaction_read_only").Scan(&is)
		return err == nil && is == want
	}, time.Minute, 10*time.Millisecond)
}

// As in a failover. The other process, which waits for the lock, must not get the spent
// token.
func TestWithAReadOnlyDatabaseNoTokenIsSpentTwice(t *testing.T) {
	const lease = 15 * time.Second
	t.Run("PostgreSQL", func(t *testing.T) {
		s := ownServer(t)
		d := newPostgresOn(t, s)
		admin := d.connect(t)
		fleet.Unsaved(t, d.fleetDSN(lease), func() (mend func()) {
			s.readOnly(t, admin, true)
			return func() { s.readOnly(t, admin, false) }
		})
	})
	t.Run("SQLite", func(t *testing.T) {
		d := newSQLite(t)
		fleet.Unsaved(t, d.fleetDSN(lease), func() (mend func()) { return refuseWrites(t, d) })
	})
}

func TestASaveOutlastsAReadOnlyDatabase(t *testing.T) {
	s := ownServer(t)
	d := newPostgresOn(t, s)
	admin := d.connect(t)
	db, m := meddle(t, d)
	store := newStoreOn(t, d, db, 0)
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	s.readOnly(t, admin, true)
	_, _, err := newStore(t, d, 0).Lock(t.Context(), "bob")
	require.ErrorContains(t, err, "read-only transaction", "no lock is had where nothing can be saved")
	saved := make(chan error, 1)
	go func() { saved <- store.Save(held, "ann", token("1")) }()
	require.Eventually(t, func() bool { return m.count(writes) > 2 || len(saved) > 0 }, time.Minute, time.Millisecond, "it is tried again")
	s.readOnly(t, admin, false)
	require.NoError(t, <-saved)
	mustHold(t, store, "ann", "access-1")
}

// After a failover the connections to the server that was demoted still work.
func TestAConnectionToAServerThatWasDemotedIsDropped(t *testing.T) {
	d := newPostgres(t)
	db := d.connect(t)
	db.SetMaxOpenConns(1)
	store := newStoreOn(t, d, db, 0)
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	held, cancel := context.WithTimeout(held, 30*time.Second)
	defer cancel()
	demote := func() { mustExec(t, db, "SET default_transaction_read_only = on") }
	demote()
	require.NoError(t, store.Save(held, "ann", token("1")))
	demote()
	require.NoError(t, store.Delete(held, "ann"))
	demote()
	require.ErrorContains(t, store.Save(t.Context(), "bob", token("1")), "read-only transaction", "without a lock")
	require.NoError(t, store.Save(t.Context(), "bob", token("1")), "on the next connection")
	demote()
	_, _, err := store.Lock(t.Context(), "bob")
	require.ErrorContains(t, err, "read-only transaction")
	_, unlock = mustLock(t, store, "bob")
	unlock()
}

func TestALockIsHadOnlyByARoleThatMayWriteTheToken(t *testing.T) {
	d := newPostgres(t)
	admin := d.connect(t)
	role := "role_" + d.table()
	mustExec(t, admin, "CREATE ROLE "+role)
	mustExec(t, admin, "GRANT SELECT, INSERT, DELETE, UPDATE (version, writes, owner, deadline, name, saved_at, deleted_at, changed_by) ON "+d.table()+" TO "+role)
	db := d.connect(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "SET ROLE "+role)
	_, _, err := newStoreOn(t, d, db, 0).Lock(t.Context(), "ann")
	require.ErrorContains(t, err, "permission denied")
	mustExec(t, admin, "GRANT UPDATE (token) ON "+d.table()+" TO "+role)
	held, unlock := mustLock(t, newStoreOn(t, d, db, 0), "ann")
	defer unlock()
	require.NoError(t, newStoreOn(t, d, db, 0).Save(held, "ann", token("1")))
}

// SQLite says in several ways that it can't write for now.
func TestASaveIsTriedAgainWhileSQLiteCannotWrite(t *testing.T) {
	for name, fault := range map[string][2]string{
		"read-only": {"PRAGMA query_only = on", "PRAGMA query_only = off"},
		"full":      {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newSQLite(t)
			db, m := meddle(t, d)
			db.SetMaxOpenConns(1) // so the setting holds for all
			store := newStoreOn(t, d, db, 0)
			held, unlock := mustLock(t, store, "ann")
			defer unlock()
			mustExec(t, db, fault[0])
			large := token("1")
			large.Extra = map[string]string{"id_token": string(make([]byte, 64<<10))} // needs more pages
			saved := make(chan error, 1)
			go func() { saved <- store.Save(held, "ann", large) }()
			require.Eventually(t, func() bool { return m.count(writes) > 2 || len(saved) > 0 }, time.Minute, time.Millisecond, "it is tried again")
			mustExec(t, db, fault[1])
			require.NoError(t, <-saved)
			mustHold(t, store, "ann", "access-1")
		})
	}
}

// A pool may send reads to a replica. That may have the token from before, which is spent.
func TestALoadUnderALeaseIsNotAnsweredByAReplicaThatLags(t *testing.T) {
	d := newSQLite(t)
	db, m := meddle(t, d)
	store := newStoreOn(t, d, db, 0)
	replica := func(name string) connector {
		path := filepath.Join(t.TempDir(), name)
		mustExec(t, d.connect(t), "VACUUM INTO '"+path+"'")
		return sqlite{path: path}.connector(t)
	}
	require.NoError(t, store.Save(t.Context(), "ann", token("spent")))
	m.readFrom(replica("before"))
	require.NoError(t, newStore(t, d, 0).Save(t.Context(), "ann", token("1")))
	mustHold(t, store, "ann", "access-spent") // without a lease

	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	ctx, cancel := context.WithTimeout(held, 200*time.Millisecond)
	defer cancel()
	_, _, err := store.Load(ctx, "ann")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `sqlstore: load session "ann": a read does not show the lock, as from a replica that lags`)
	require.NoError(t, held.Err(), "the lock is held all the same")

	type loaded struct {
		tok reauth.Token
		err error
	}
	before := m.count(renews)
	answer := make(chan loaded, 1)
	go func() {
		tok, _, err := store.Load(held, "ann")
		answer <- loaded{tok, err}
	}()
	require.Eventually(t, func() bool { return m.count(renews) > before }, time.Minute, time.Millisecond, "it waits")
	m.readFrom(replica("after"))
	got := <-answer
	require.NoError(t, got.err)
	assert.Equal(t, "access-1", got.tok.AccessToken)
}
