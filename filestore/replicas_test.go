package filestore_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Many replicas find the shared token refused at once. Each looks, waits for the lock, and
// looks again once the first has saved the next token. Their number does not matter to any of
// them.
func TestManyReplicasThatNeedATokenAtOnceLockOnce(t *testing.T) {
	for _, replicas := range []int{2, 20, 60} {
		server := reauthtest.NewServer(t, reauthtest.Options{})
		dir := t.TempDir()
		var calls, locked atomic.Int32
		waiting := make(chan struct{}, 1000)
		clients := make([]*http.Client, replicas)
		transports := make([]*reauth.Transport, replicas)
		for i := range clients {
			tr, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "a replica"},
				Origins:   []string{server.URL},
				Store:     &countingStore{Store: open(t, dir), calls: &calls, locked: &locked, waiting: waiting},
			})
			require.NoError(t, err)
			transports[i], clients[i] = tr, &http.Client{Transport: tr}
		}
		require.NoError(t, transports[0].SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
		all := func() {
			var wg sync.WaitGroup
			for _, client := range clients {
				wg.Go(func() {
					resp, err := client.Get(server.APIURL("/"))
					if assert.NoError(t, err) {
						assert.Equal(t, http.StatusOK, resp.StatusCode)
						assert.NoError(t, resp.Body.Close())
					}
				})
			}
			wg.Wait()
			for _, tr := range transports {
				require.NoError(t, tr.Wait(t.Context()))
			}
		}
		all() // so that each has loaded the token
		server.ExpireAccess()
		release := server.BlockRefresh()
		calls.Store(0)
		locked.Store(0)
		for len(waiting) > 0 {
			<-waiting
		}
		done := make(chan struct{})
		go func() { all(); close(done) }()
		for range replicas {
			<-waiting
		}
		release()
		<-done
		assert.Equal(t, 1, server.Counts().Refreshes)
		t.Logf("%d replicas: %d calls of the store, %d locks", replicas, calls.Load(), locked.Load())
		assert.LessOrEqual(t, int(calls.Load()), 4*replicas+4)
		assert.LessOrEqual(t, int(locked.Load()), max(2, 1+replicas/4), "one that first looks at the token when it is saved may have the lock after that")
	}
}

// A countingStore counts its calls, and the locks that were had.
type countingStore struct {
	*filestore.Store
	calls, locked *atomic.Int32
	waiting       chan<- struct{} // gets a value for each call of Lock, if not nil
}

func (s *countingStore) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	s.calls.Add(1)
	return s.Store.Load(ctx, session)
}

func (s *countingStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	s.calls.Add(1)
	return s.Store.Save(ctx, session, tok)
}

func (s *countingStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	s.calls.Add(1)
	if s.waiting != nil {
		s.waiting <- struct{}{}
	}
	held, unlock, err := s.Store.Lock(ctx, session)
	if err == nil {
		s.locked.Add(1)
	}
	return held, unlock, err
}

func BenchmarkReplicas(b *testing.B) {
	fleet.BenchmarkReplicas(b, "files", func(tb testing.TB) (func(testing.TB) reauth.Store, func() int) {
		dir := tb.TempDir()
		var calls, locked atomic.Int32
		return func(tb testing.TB) reauth.Store {
			store, err := filestore.New(dir, nil)
			require.NoError(tb, err)
			return &countingStore{Store: store, calls: &calls, locked: &locked}
		}, func() int { return int(calls.Load()) }
	})
}
