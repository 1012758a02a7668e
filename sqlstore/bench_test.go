package sqlstore_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// The server and the file have their default durability, so the time of the disk is part
// of the cost.
func BenchmarkPostgreSQL(b *testing.B) { benchmark(b, newPostgresOn(b, ownServer(b))) }

func BenchmarkMariaDB(b *testing.B) {
	benchmark(b, newMariaDBTableOn(b, ownMariaDB(b), "interpolateParams=true"))
}

func BenchmarkSQLite(b *testing.B) { benchmark(b, newSQLite(b)) }

func benchmark(b *testing.B, d database) {
	storetest.Benchmark(b, storetest.Storage{
		Open: func(tb testing.TB) reauth.Store { return newStore(tb, d, 0) },
	})
}

// The replicas share a pool of a hundred connections, which are open. Their statements are
// counted.
func BenchmarkReplicas(b *testing.B) {
	for name, create := range map[string]func(testing.TB) database{
		"postgresql": newPostgres, "mariadb": func(tb testing.TB) database { return newMariaDBTable(tb) }, "sqlite": newSQLite,
	} {
		fleet.BenchmarkReplicas(b, name, func(tb testing.TB) (func(testing.TB) reauth.Store, func() int) {
			d := create(tb)
			db, m := meddle(tb, d)
			db.SetMaxOpenConns(100)
			db.SetMaxIdleConns(100)
			var all []*sql.Conn
			for range 100 {
				conn, err := db.Conn(tb.Context())
				require.NoError(tb, err)
				all = append(all, conn)
			}
			for _, conn := range all {
				require.NoError(tb, conn.Close())
			}
			return func(tb testing.TB) reauth.Store { return newStoreOn(tb, d, db, 15*time.Second) }, m.all
		})
	}
}
