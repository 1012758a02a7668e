package redisstore_test

import (
	"strings"
	"testing"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
	"github.com/reauth-go/reauth/redisstore"
)

func BenchmarkStore(b *testing.B) {
	s := startServer(b)
	storetest.Benchmark(b, storetest.Storage{
		Open: func(tb testing.TB) reauth.Store { return redisstore.New(s.client(tb), nil) },
	})
}

// BenchmarkCall compares the calls of a Store with the simplest ones of the client.
// call=Lock is a Lock and its unlock.
func BenchmarkCall(b *testing.B) {
	s := startServer(b)
	client := s.client(b)
	store := redisstore.New(client, nil)
	ctx := b.Context()
	tok := reauth.Token{AccessToken: strings.Repeat("a", 1000), RefreshToken: "r"}
	key, _ := store.Keys("ann")
	held, unlock, err := store.Lock(ctx, "ann")
	if err != nil {
		b.Fatal(err)
	}
	defer unlock()
	for _, call := range []struct {
		name string
		run  func() error
	}{
		{"Save", func() error { return store.Save(held, "ann", tok) }},
		{"PING", func() error { return client.Ping(ctx).Err() }},
		{"GET", func() error { return client.Get(ctx, key).Err() }},
		{"Load", func() error { _, _, err := store.Load(held, "ann"); return err }},
		{"Lock", func() error {
			_, unlock, err := store.Lock(ctx, "bob")
			if err == nil {
				unlock()
			}
			return err
		}},
	} {
		b.Run("call="+call.name, func(b *testing.B) {
			for b.Loop() {
				if err := call.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
