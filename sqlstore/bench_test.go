package sqlstore_test

import (
	"testing"

	"github.com/reauth-go/reauth"
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
