package storetest_test

import (
	"testing"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

func TestMemoryStore(t *testing.T) {
	store := new(reauth.MemoryStore)
	storetest.Run(t, storetest.Storage{Open: func(testing.TB) reauth.Store { return store }})
}

// unlocked is a store that does not lock.
type unlocked struct{ reauth.Store }

func TestAStoreThatDoesNotLock(t *testing.T) {
	store := new(reauth.MemoryStore)
	storetest.Run(t, storetest.Storage{Open: func(testing.TB) reauth.Store { return unlocked{store} }})
}

func BenchmarkMemoryStore(b *testing.B) {
	store := new(reauth.MemoryStore)
	storetest.Benchmark(b, storetest.Storage{Open: func(testing.TB) reauth.Store { return store }})
}
