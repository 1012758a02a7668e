package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
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
	if d.dialect() == sqlstore.MySQL {
		for _, event := range []string{"INSERT", "UPDATE"} {
			exec(fmt.Sprintf("CREATE TRIGGER refuse_%s_%s BEFORE %[1]s ON %[2]s FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'read-only'", event, d.table()))
		}
		return func() {
			exec("DROP TRIGGER refuse_INSERT_" + d.table())
			exec("DROP TRIGGER refuse_UPDATE_" + d.table())
		}
	}
	exec(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN RAISE EXCEPTION 'the transaction is read-only' USING ERRCODE = '25006'; END$$`)
	exec("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON " + d.table() + " FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
	return func() { exec("DROP TRIGGER refuse ON " + d.table()) }
}

func (s *server) readOnly(t *testing.T, on bool) {
	t.Helper()
	db := postgres{server: s}.connect(t)
	mustExec(t, db, fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %v", on))
	mustExec(t, db, "SELECT pg_reload_conf()")
	want := map[bool]string{true: "on", false: "off"}[on]
	require.Eventually(t, func() bool {
		var is string
		err := db.QueryRowContext(context.Background(), "SHOW default_transaction_read_only").Scan(&is)
		return err == nil && is == want
	}, time.Minute, 10*time.Millisecond)
}

func (s *mariadbServer) readOnly(t *testing.T, on bool) {
	t.Helper()
	mustExec(t, mariadb{mariadbServer: s}.connectVia(t, "admin", "", ""), fmt.Sprintf("SET GLOBAL read_only = %v", on))
}

// As in a failover. The other process, which waits for the lock, must not get the spent
// token.
func TestWithAReadOnlyDatabaseNoTokenIsSpentTwice(t *testing.T) {
	const lease = 15 * time.Second
	onOwnServer(t, func(t *testing.T, d database, s ownedServer) {
		fleet.Unsaved(t, d.fleetDSN(lease), func() (mend func()) {
			s.readOnly(t, true)
			return func() { s.readOnly(t, false) }
		})
	})
	t.Run("SQLite", func(t *testing.T) {
		d := newSQLite(t)
		fleet.Unsaved(t, d.fleetDSN(lease), func() (mend func()) { return refuseWrites(t, d) })
	})
}

func TestASaveOutlastsAReadOnlyDatabase(t *testing.T) {
	onOwnServer(t, func(t *testing.T, d database, s ownedServer) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		s.readOnly(t, true)
		_, _, err := newStore(t, d, 0).Lock(t.Context(), "bob")
		require.ErrorContains(t, err, "read-only", "no lock is had where nothing can be saved")
		saved := make(chan error, 1)
		go func() { saved <- store.Save(held, "ann", token("1")) }()
		require.Eventually(t, func() bool { return m.count(writes) > 2 || len(saved) > 0 }, time.Minute, time.Millisecond, "it is tried again")
		s.readOnly(t, false)
		require.NoError(t, <-saved)
		mustHold(t, store, "ann", "access-1")
	})
}

// fill fills a pool with idle connections on each of which statements were executed.
func fill(t *testing.T, db *sql.DB, idle int, statements ...string) {
	t.Helper()
	var conns []*sql.Conn
	for range idle {
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		conns = append(conns, conn)
		for _, statement := range statements {
			_, err = conn.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
	}
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Equal(t, idle, db.Stats().Idle)
}

// After a failover the connections to the server that was demoted still work, but for writing.
func TestAConnectionToAServerThatWasDemotedIsDropped(t *testing.T) {
	for _, d := range []database{newPostgres(t), newMariaDBTable(t)} {
		t.Run(d.dialect().String(), func(t *testing.T) {
			const idle = 8
			db := d.connect(t)
			db.SetMaxIdleConns(idle)
			store := newStoreOn(t, d, db, 0)
			held, unlock := mustLock(t, store, "ann")
			held, cancel := context.WithTimeout(held, 30*time.Second)
			defer cancel()
			demote := func() {
				fill(t, db, idle, map[sqlstore.Dialect]string{
					sqlstore.PostgreSQL: "SET default_transaction_read_only = on", sqlstore.MySQL: "SET SESSION TRANSACTION READ ONLY",
				}[d.dialect()])
			}
			for _, call := range []struct {
				name string
				do   func() error
			}{
				{"Save", func() error { return store.Save(held, "ann", token("1")) }},
				{"Delete", func() error { return store.Delete(held, "ann") }},
				{"unlock", func() error { unlock(); return nil }},
				{"Save without a lock", func() error { return store.Save(t.Context(), "bob", token("1")) }},
				{"Delete without a lock", func() error { return store.Delete(t.Context(), "bob") }},
				{"Lock", func() error {
					_, unlock, err := store.Lock(t.Context(), "ann")
					if err == nil {
						unlock()
					}
					return err
				}},
			} {
				demote()
				require.NoError(t, call.do(), call.name)
			}
		})
	}
}

// readOnlyError is what PostgreSQL answers to a write if it is read-only.
type readOnlyError struct{}

func (readOnlyError) Error() string    { return "cannot execute UPDATE in a read-only transaction" }
func (readOnlyError) SQLState() string { return "25006" }

// If the database itself is read-only, others who share the pool go on reading, and keep
// their connections.
func TestAPoolIsNotEmptiedAgainAndAgainWhileADatabaseIsReadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 8
		answers := new(script)
		answers.answer(func(context.Context, string) error { return readOnlyError{} })
		db := sql.OpenDB(answers)
		defer db.Close()
		db.SetMaxIdleConns(idle)
		store, err := sqlstore.New(db, sqlstore.PostgreSQL, nil)
		require.NoError(t, err)
		save := func() {
			t.Helper()
			require.ErrorContains(t, store.Save(t.Context(), "ann", token("1")), "read-only")
		}
		for range 3 {
			fill(t, db, idle)
			save()
			require.Zero(t, db.Stats().Idle, "any of them may lead to a server that was demoted")
			fill(t, db, idle)
			save()
			save()
			require.Equal(t, idle-2, db.Stats().Idle)
			time.Sleep(2 * time.Second)
		}
	})
}

// The rights to all columns but the token, and a pool of the role that has them.
const rightsButToken = "SELECT, INSERT, DELETE, UPDATE (session, version, writes, owner, deadline, name, saved_at, deleted_at, changed_by)"

func TestALockIsHadOnlyByARoleThatMayWriteTheToken(t *testing.T) {
	p, m := newPostgres(t).(postgres), newMariaDBTable(t)
	role := "role_" + p.table()
	pAdmin, pPool := p.connect(t), p.connect(t)
	mustExec(t, pAdmin, "CREATE ROLE "+role)
	mustExec(t, pAdmin, "GRANT "+rightsButToken+" ON "+p.table()+" TO "+role)
	pPool.SetMaxOpenConns(1)
	mustExec(t, pPool, "SET ROLE "+role)

	user := role + "@127.0.0.1"
	mAdmin, mPool := m.connectVia(t, "admin", "", ""), m.connectVia(t, role, "", "")
	mustExec(t, mAdmin, "CREATE USER "+user+" IDENTIFIED BY '"+m.password+"'")
	mustExec(t, mAdmin, "GRANT "+rightsButToken+" ON "+m.table()+" TO "+user)
	for _, c := range []struct {
		d           database
		admin, pool *sql.DB
		role        string
	}{{p, pAdmin, pPool, role}, {m, mAdmin, mPool, user}} {
		t.Run(c.d.dialect().String(), func(t *testing.T) {
			store := newStoreOn(t, c.d, c.pool, 0)
			_, _, err := store.Lock(t.Context(), "ann")
			require.Error(t, err)
			require.Regexp(t, "permission denied|command denied", err.Error())
			mustExec(t, c.admin, "GRANT UPDATE (token) ON "+c.d.table()+" TO "+c.role)
			held, unlock := mustLock(t, store, "ann")
			defer unlock()
			require.NoError(t, store.Save(held, "ann", token("1")))
		})
	}
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
	ctx, cancel := context.WithCancel(held)
	defer cancel()
	looked := m.count(loads)
	go func() {
		defer cancel()
		assert.Eventually(t, func() bool { return m.count(loads) > looked+1 }, time.Minute, time.Millisecond, "it looks again")
	}()
	_, _, err := store.Load(ctx, "ann")
	require.ErrorIs(t, err, context.Canceled)
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
