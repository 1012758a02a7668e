package redisstore_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/redisstore"
)

// refuseWrites makes servers refuse all writes, because they lack a replica.
func refuseWrites(tb testing.TB, nodes ...*redis.Client) (accept func()) {
	tb.Helper()
	set := func(replicas string) {
		for _, node := range nodes {
			require.NoError(tb, node.ConfigSet(context.Background(), "min-replicas-to-write", replicas).Err())
		}
	}
	set("1")
	return func() { set("0") }
}

// demote makes a server a replica of one that is away, as a failover does with the old
// master. It keeps its data.
func demote(tb testing.TB, node *redis.Client) (promote func()) {
	tb.Helper()
	require.NoError(tb, node.ReplicaOf(context.Background(), "127.0.0.1", "1").Err())
	return func() { require.NoError(tb, node.ReplicaOf(context.Background(), "no", "one").Err()) }
}

func TestWithARedisThatRefusesWritesNoTokenIsSpentTwice(t *testing.T) {
	for name, begin := range map[string]func(testing.TB, *redis.Client) (end func()){
		"It lacks replicas": func(tb testing.TB, node *redis.Client) func() { return refuseWrites(tb, node) },
		"It is demoted":     demote,
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			fleet.Unsaved(t, dsn(15*time.Second, s.addr), func() (mend func()) { return begin(t, s.client(t)) })
		})
	}
}

func TestALockIsHadOnlyWhereTheTokenCanBeSaved(t *testing.T) {
	for name, c := range map[string]struct {
		begin func(t *testing.T, s *server) (client redis.UniversalClient, end func())
		code  string
	}{
		"a replica": {func(t *testing.T, s *server) (redis.UniversalClient, func()) {
			return s.client(t), demote(t, s.client(t))
		}, "READONLY"},
		"no replicas": {func(t *testing.T, s *server) (redis.UniversalClient, func()) {
			return s.client(t), refuseWrites(t, s.client(t))
		}, "NOREPLICAS"},
		"no memory": {func(t *testing.T, s *server) (redis.UniversalClient, func()) {
			admin := s.client(t)
			require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
			return s.client(t), func() { require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err()) }
		}, "OOM"},
		"no right to the token": {func(t *testing.T, s *server) (redis.UniversalClient, func()) {
			admin := s.client(t)
			rights := func(more ...any) {
				user := append([]any{"acl", "setuser", "limited", "on", ">secret", "~reauth:*", "&*", "+@all"}, more...)
				require.NoError(t, admin.Do(t.Context(), user...).Err())
			}
			rights("-set")
			return newClient(t, &redis.Options{Addr: s.addr, Username: "limited", Password: "secret"}), func() { rights() }
		}, "NOPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			admin := s.client(t)
			require.NoError(t, redisstore.New(admin, nil).Save(t.Context(), "ann", reauth.Token{AccessToken: "before"}))
			client, end := c.begin(t, s)
			store := newDeaf(client)
			held, unlock, err := store.Lock(bounded(t), "ann")
			require.ErrorContains(t, err, c.code)
			assert.ErrorContains(t, err, `redisstore: lock "reauth:{s:ann}:lock"`)
			assert.Nil(t, held)
			assert.Nil(t, unlock)
			end()
			held, unlock = mustLock(t, store, "ann")
			require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
			unlock()
		})
	}
}

// A server that was demoted may have the token from before. Without a lease that is no
// harm, because nothing is spent.
func TestAReplicaAnswersNoLoadUnderALease(t *testing.T) {
	for name, stale := range map[string]string{"READONLY": "yes", "MASTERDOWN": "no"} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, "--replica-serve-stale-data", stale)
			admin := s.client(t)
			store := newDeaf(s.client(t))
			require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
			held, unlock := mustLock(t, store, "ann")
			defer unlock()
			promote := sync.OnceFunc(demote(t, admin))
			defer promote()
			ctx, cancel := context.WithTimeout(held, 300*time.Millisecond)
			defer cancel()
			_, _, err := store.Load(ctx, "ann")
			assert.Error(t, err)
			assert.NoError(t, held.Err())
			_, ok, err := store.Load(t.Context(), "ann")
			assert.True(t, ok == (stale == "yes"), "without a lease")
			assert.True(t, (err == nil) == (stale == "yes"), "without a lease: %v", err)

			promote()
			tok, ok, err := store.Load(held, "ann")
			require.NoError(t, err)
			require.True(t, ok)
			assert.Equal(t, "a", tok.AccessToken)
		})
	}
}

// A slot is a slot of a cluster that migrates.
type slot struct {
	number         int64
	source, target *redis.Client
	targetAddr     string
}

// startMigration begins to migrate the slot of a session from its node to another.
func startMigration(t *testing.T, addrs []string, token string) *slot {
	t.Helper()
	ctx := t.Context()
	var nodes []*redis.Client
	for _, addr := range addrs {
		nodes = append(nodes, newClient(t, &redis.Options{Addr: addr}))
	}
	number, err := nodes[0].ClusterKeySlot(ctx, token).Result()
	require.NoError(t, err)
	source := -1
	for i, node := range nodes {
		if node.Exists(ctx, token).Val() == 1 {
			source = i
		}
	}
	require.NotEqual(t, -1, source, "no node has the token")
	target := (source + 1) % len(nodes)
	s := &slot{number, nodes[source], nodes[target], addrs[target]}
	require.NoError(t, s.target.Do(ctx, "cluster", "setslot", number, "importing", s.id(t, s.source)).Err())
	require.NoError(t, s.source.Do(ctx, "cluster", "setslot", number, "migrating", s.id(t, s.target)).Err())
	return s
}

func (s *slot) id(t *testing.T, node *redis.Client) string {
	t.Helper()
	id, err := node.Do(t.Context(), "cluster", "myid").Text()
	require.NoError(t, err)
	return id
}

// move migrates a key.
func (s *slot) move(t *testing.T, key string) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.targetAddr)
	require.NoError(t, err)
	require.NoError(t, s.source.Migrate(t.Context(), host, port, key, 0, patience).Err())
}

// finish migrates the rest of the slot.
func (s *slot) finish(t *testing.T) {
	t.Helper()
	keys, err := s.source.ClusterGetKeysInSlot(t.Context(), int(s.number), 100).Result()
	require.NoError(t, err)
	for _, key := range keys {
		s.move(t, key)
	}
	for _, node := range []*redis.Client{s.target, s.source} {
		require.NoError(t, node.Do(t.Context(), "cluster", "setslot", s.number, "node", s.id(t, s.target)).Err())
	}
}

// While a slot migrates, a script that needs one key which has moved and another that has
// not is answered TRYAGAIN.
func TestWithASlotThatMigratesNoTokenIsSpentTwice(t *testing.T) {
	addrs := startCluster(t, 3, 0)
	token, _ := redisstore.New(newClient(t, &redis.Options{Addr: addrs[0]}), nil).Keys("fleet")
	fleet.Unsaved(t, dsn(15*time.Second, addrs...), func() (mend func()) {
		slot := startMigration(t, addrs, token)
		slot.move(t, token)
		return func() { slot.finish(t) }
	})
}

func TestASlotThatMigratesIsWaitedFor(t *testing.T) {
	addrs := startCluster(t, 3, 0)
	client := newClusterClient(t, &redis.ClusterOptions{Addrs: addrs, MaxRedirects: 1}) // at most one ASK
	store := newDeaf(client)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "before"}))
	held, unlock := mustLock(t, store, "ann")
	token, _ := store.Keys("ann")
	slot := startMigration(t, addrs, token)
	slot.move(t, token)
	finish := sync.OnceFunc(func() { slot.finish(t) })
	defer func() { finish(); unlock() }()

	for name, call := range map[string]func(ctx context.Context) error{
		"Load":   func(ctx context.Context) error { _, _, err := store.Load(ctx, "ann"); return err },
		"Save":   func(ctx context.Context) error { return store.Save(ctx, "ann", reauth.Token{AccessToken: "after"}) },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "ann") },
	} {
		ctx, cancel := context.WithTimeout(held, 200*time.Millisecond)
		assert.Error(t, call(ctx), name)
		assert.Error(t, ctx.Err(), "%s is tried again until its context is done", name)
		cancel()
	}
	assert.NoError(t, held.Err())
	waiting := lockLater(t, newDeaf(newClusterClient(t, &redis.ClusterOptions{Addrs: addrs})), "ann")
	saved := make(chan error, 1)
	scripts := watch(client)
	go func() { saved <- store.Save(held, "ann", reauth.Token{AccessToken: "after"}) }()
	require.True(t, receive(t, "a Save that fails", scripts).failed)
	finish()
	require.NoError(t, receive(t, "the Save", saved))
	tok, ok, err := store.Load(held, "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "after", tok.AccessToken)
	unlock()
	if err := receive(t, "the lock, or the news of the Save", waiting); !errors.Is(err, reauth.ErrChanged) {
		require.NoError(t, err)
	}
}

// The lock comes where a Save could be done, and not before.
func TestALockWaitsUntilBothKeysCanBeServed(t *testing.T) {
	addrs := startCluster(t, 3, 0)
	store := newDeaf(newClusterClient(t, &redis.ClusterOptions{Addrs: addrs}))
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "before"}))
	token, _ := store.Keys("ann")
	slot := startMigration(t, addrs, token)
	slot.move(t, token)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := store.Lock(ctx, "ann")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	waiting := lockLater(t, store, "ann")
	slot.finish(t)
	require.NoError(t, receive(t, "the lock", waiting))
}
