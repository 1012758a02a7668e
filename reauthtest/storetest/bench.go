package storetest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/reauth-go/reauth"
)

// Benchmark compares the cost of a storage for the users of a Transport with that of a
// reauth.MemoryStore:
//
//   - case=fresh is a request with a fresh token, over a base transport that
//     answers at once. It does not touch the store.
//   - case=contended is one refresh that 1 or 8 Transports, each with a store of
//     its own from Open, need at the same moment, from their calls until all have
//     the new token. The token server answers at once, so the rest is the cost of
//     the store, which locks, loads, saves and wakes waiters.
func Benchmark(b *testing.B, s Storage) {
	memory := new(reauth.MemoryStore)
	for _, c := range []struct {
		name string
		open func(testing.TB) reauth.Store
	}{
		{"memory", func(testing.TB) reauth.Store { return memory }},
		{"this", s.Open},
	} {
		b.Run("case=fresh/store="+c.name, func(b *testing.B) { benchmarkFresh(b, c.open) })
		for _, processes := range []int{1, 8} {
			b.Run(fmt.Sprintf("case=contended/processes=%d/store=%s", processes, c.name), func(b *testing.B) {
				benchmarkContended(b, c.open, processes)
			})
		}
	}
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// newSession returns a session of a Transport whose API and token server answer at once.
func newSession(b *testing.B, store reauth.Store, refresher reauth.Refresher) *reauth.Session {
	b.Helper()
	transport, err := reauth.New(reauth.Config{
		Refresher: refresher,
		Origins:   []string{"https://api.example.com"},
		Base: roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		}),
		Store:        store,
		RefreshPause: time.Nanosecond, // a token that was refreshed just now is refreshed again
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { // before the store is closed, because it releases locks in the background
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := transport.Wait(ctx); err != nil {
			b.Error(err)
		}
	})
	return transport.Session("storetest benchmark")
}

func benchmarkFresh(b *testing.B, open func(testing.TB) reauth.Store) {
	session := newSession(b, open(b), reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) {
		return reauth.Token{}, reauth.ErrSignInRequired
	}))
	if err := session.SignIn(b.Context(), reauth.Token{AccessToken: "a", Expiry: time.Now().Add(24 * time.Hour)}); err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://api.example.com/", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := session.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
	if err := session.SignOut(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func benchmarkContended(b *testing.B, open func(testing.TB) reauth.Store, processes int) {
	refreshes := 0 // one at a time, which the store guarantees
	refresher := reauth.RefresherFunc(func(_ context.Context, old reauth.Token) (reauth.Token, error) {
		refreshes++
		n, err := strconv.Atoi(old.RefreshToken)
		next := strconv.Itoa(n + 1)
		return reauth.Token{AccessToken: next, RefreshToken: next}, err
	})
	sessions := make([]*reauth.Session, processes) // the same one, in each process
	for i := range sessions {
		sessions[i] = newSession(b, open(b), refresher)
	}
	tok := reauth.Token{AccessToken: "1", RefreshToken: "1"}
	if err := sessions[0].SignIn(b.Context(), tok); err != nil {
		b.Fatal(err)
	}
	for _, session := range sessions {
		if _, err := session.Token(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	rounds := 0
	for b.Loop() {
		rounds++
		results := make([]reauth.Token, processes)
		var wg sync.WaitGroup
		for i, session := range sessions {
			wg.Go(func() {
				var err error
				if results[i], err = session.Refresh(b.Context(), tok); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range results {
			if results[i].AccessToken != results[0].AccessToken {
				b.Fatal("two processes have different tokens after one refresh")
			}
		}
		tok = results[0]
	}
	if refreshes != rounds {
		b.Fatalf("%d refreshes in %d rounds", refreshes, rounds)
	}
	if err := sessions[0].SignOut(b.Context()); err != nil {
		b.Fatal(err)
	}
}
