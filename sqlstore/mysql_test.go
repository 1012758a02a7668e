package sqlstore_test

import (
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/sqlstore"
)

// The program chooses how the driver connects, and the server its mode.
func TestEverySettingOfMySQLWillDo(t *testing.T) {
	s := sharedMariaDBServer(t)
	for _, params := range []string{
		"", "clientFoundRows=true", "interpolateParams=true", "interpolateParams=true&clientFoundRows=true",
		"sql_mode='ANSI_QUOTES'", "sql_mode='ANSI'", "sql_mode=''", "sql_mode='TRADITIONAL'", "sql_mode='NO_BACKSLASH_ESCAPES'&interpolateParams=true",
		"sql_mode='SIMULTANEOUS_ASSIGNMENT'", "sql_mode='ORACLE'",
		"charset=latin1", "charset=latin1&interpolateParams=true", "charset=utf8mb3&sql_mode=''", "charset=ascii&sql_mode=''",
		"collation=utf8mb4_unicode_ci", "time_zone='%2B05:30'", "parseTime=true&loc=Local",
	} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			d := newMariaDBTableOn(t, s, params)
			store, other := newStore(t, d, 0), newMariaDBStore(t, d, "")
			tok := reauth.Token{AccessToken: `a'\"$1 ?`, RefreshToken: "€ é 😀", Extra: map[string]string{
				"odd": "' \\ \" \n \x00 é", "long": strings.Repeat("é", 35_000),
			}}
			same := func(session string, store reauth.Store) {
				t.Helper()
				got, ok, err := store.Load(t.Context(), session)
				require.NoError(t, err)
				require.True(t, ok)
				assert.True(t, assert.ObjectsAreEqual(tok, got), "the token is another")
			}
			for _, session := range []string{"it's", "it's ", "IT'S", "é"} {
				_, ok, err := store.Load(t.Context(), session)
				require.NoError(t, err)
				require.False(t, ok)
				require.NoError(t, store.Save(t.Context(), session, tok))
				same(session, other)
				held, unlock := mustLock(t, store, session)
				mustBeLocked(t, other, session)
				require.NoError(t, store.Save(held, session, tok))
				require.NoError(t, store.Save(held, session, tok))
				same(session, other)
				unlock()
			}
			granted := func() int {
				return count(t, d.connect(t), "SELECT deadline FROM "+d.table()+" WHERE deadline IS NOT NULL")
			}
			renewing := newStore(t, d, 3*time.Second)
			held, unlock := mustLock(t, renewing, "it's")
			first := granted()
			require.Eventually(t, func() bool { return granted() > first }, 30*time.Second, 10*time.Millisecond, "it is not renewed")
			require.NoError(t, renewing.Delete(held, "it's"))
			unlock()
			for _, session := range []string{"it's ", "IT'S", "é"} {
				require.NoError(t, store.Delete(t.Context(), session))
			}
			assert.Zero(t, rows(t, d, d.connect(t)))
		})
	}
}

func newMariaDBStore(t *testing.T, d mariadb, params string) *sqlstore.Store {
	t.Helper()
	return newStoreOn(t, d, d.connectVia(t, "reauth", "", params), 0)
}

// With autocommit off, each statement would begin a transaction that nobody ends.
func TestMySQLWithoutAutocommitIsAnError(t *testing.T) {
	d := newMariaDBTable(t)
	assert.ErrorContains(t, newMariaDBStore(t, d, "autocommit=0").CreateTable(t.Context()), "autocommit is off")
}

// Rows are locked and unlocked, saved and deleted by many at once. Deadlocks, and MariaDB's
// word that a row has changed, are nobody's concern.
func TestEveryIsolationOfMySQLWillDo(t *testing.T) {
	for _, params := range []string{
		"tx_isolation='READ-UNCOMMITTED'", "tx_isolation='READ-COMMITTED'", "tx_isolation='REPEATABLE-READ'", "tx_isolation='SERIALIZABLE'",
		"tx_isolation='REPEATABLE-READ'&innodb_snapshot_isolation=1", "tx_isolation='SERIALIZABLE'&innodb_snapshot_isolation=1",
	} {
		t.Run(params, func(t *testing.T) {
			d := newMariaDBTableOn(t, sharedMariaDBServer(t), "interpolateParams=true&"+params)
			var wg sync.WaitGroup
			for i := range 8 {
				store := newStore(t, d, time.Minute)
				wg.Go(func() {
					for n := range 10 {
						held, unlock, err := lockAgain(t.Context(), store, "shared")
						if !assert.NoError(t, err) {
							return
						}
						assert.NoError(t, store.Save(held, "shared", token("1")))
						unlock()
						mine := strings.Repeat("a", i+n)
						assert.NoError(t, store.Save(t.Context(), mine, token("1")))
						assert.NoError(t, store.Delete(t.Context(), mine))
					}
				})
			}
			wg.Wait()
			assert.Equal(t, 1, rows(t, d, d.connect(t)))
		})
	}
}

// InnoDB undoes one of the statements of a deadlock.
func TestAStatementThatMySQLHasUndoneIsSentAgain(t *testing.T) {
	d := newMariaDBTable(t)
	for _, refusal := range []error{
		&mysql.MySQLError{Number: 1213, SQLState: [5]byte{'4', '0', '0', '0', '1'}, Message: "Deadlock found"},
		&mysql.MySQLError{Number: 1020, Message: "Record has changed since last read in table"},
	} {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		m.failBefore(times(2, others, refusal))
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		m.failBefore(times(2, loads, refusal))
		mustHold(t, store, "ann", "access-1")
		m.failBefore(times(2, takes, refusal))
		held, unlock := mustLock(t, store, "ann")
		m.failBefore(times(2, writes, refusal))
		require.NoError(t, store.Save(held, "ann", token("2")))
		assert.Equal(t, 3, m.count(writes))
		unlock()
		m.failBefore(always(others, refusal))
		assert.ErrorIs(t, store.Save(t.Context(), "ann", token("1")), refusal, "but not for ever")
	}
}

// Another's transaction holds the row for longer than the server lets a statement wait.
func TestARowThatAnotherTransactionHoldsIsWaitedFor(t *testing.T) {
	d := newMariaDBTableOn(t, sharedMariaDBServer(t), "innodb_lock_wait_timeout=1")
	db := d.connect(t)
	store := newStoreOn(t, d, db, 0)
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
	tx, err := d.connect(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT * FROM "+d.table()+" WHERE session = 'ann' FOR UPDATE")
	require.NoError(t, err)
	assert.ErrorContains(t, store.Save(t.Context(), "ann", token("2")), "Lock wait timeout exceeded", "without a lock")
	locked := make(chan error, 1)
	go func() {
		_, unlock, err := store.Lock(t.Context(), "ann")
		if err == nil {
			defer unlock()
		}
		locked <- err
	}()
	require.Eventually(t, func() bool { return db.Stats().InUse > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, tx.Rollback())
	require.NoError(t, <-locked)
}

// A replica is read-only, as a rule, and may show late what was written.
func TestWatchTakesAReadOnlyMySQLForAReplica(t *testing.T) {
	s := ownMariaDB(t)
	s.readOnly(t, true)
	admin := mariadb{mariadbServer: s}.connectVia(t, "admin", "", "")
	for _, params := range []string{"interpolateParams=true", "sql_mode='ANSI'", "charset=latin1", "collation=utf8mb4_unicode_ci"} {
		d := mariadb{s, "t_" + strings.ToLower(rand.Text()), params}
		require.NoError(t, newStoreOn(t, d, admin, 0).CreateTable(t.Context()))
		w := watch(t, watchable(t, d, false))
		mustExec(t, admin, "INSERT INTO "+d.name+" (session, token, version, saved_at, changed_by) VALUES ('hidden', '{}', 1, $1, 'another.1')",
			time.Now().Add(-20*time.Second).UnixMilli())
		w.hears(t, "hidden")
	}
}
