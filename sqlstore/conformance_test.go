package sqlstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
	"github.com/reauth-go/reauth/sqlstore"
)

func TestStoreOnPostgreSQL(t *testing.T) { conform(t, newPostgres(t)) }

func TestStoreOnSQLite(t *testing.T) { conform(t, newSQLite(t)) }

// The options of the driver under which a statement is a single one, or prepared first, and
// under which a row that is found counts as affected, or only if it changes.
func TestStoreOnMariaDB(t *testing.T) {
	for _, params := range []string{"interpolateParams=true", "clientFoundRows=true"} {
		t.Run(params, func(t *testing.T) { conform(t, newMariaDBTableOn(t, sharedMariaDBServer(t), params)) })
	}
}

// conform runs the suite over ordinary pools, and over pools of one connection, which
// would block if the store kept it.
func conform(t *testing.T, d database) {
	const lease = time.Second // short, but longer than the delays of a busy machine
	admin := d.connect(t)
	for _, pool := range []struct {
		name        string
		connections int
	}{{"Pool", 0}, {"OneConnection", 1}} {
		t.Run(pool.name, func(t *testing.T) {
			storetest.Run(t, storetest.Storage{
				Open: func(tb testing.TB) reauth.Store {
					db := d.connect(tb)
					db.SetMaxOpenConns(pool.connections)
					store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: d.table(), Lease: lease, Poll: 10 * time.Millisecond})
					require.NoError(tb, err)
					return store
				},
				Lose: func(tb testing.TB, session string) {
					mustExec(tb, admin, "UPDATE "+d.table()+" SET owner = 'dead', deadline = 1 WHERE session = $1", session)
				},
				Refuse:       func(tb testing.TB) (accept func()) { return refuseWrites(tb, d) },
				TellsChanges: true,
				Lease:        lease,
			})
		})
	}
}
