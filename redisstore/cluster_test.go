package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
	"github.com/reauth-go/reauth/redisstore"
)

func TestStoreInACluster(t *testing.T) {
	addrs := startCluster(t, 3, 0)
	const lease = 600 * time.Millisecond
	storetest.Run(t, storetest.Storage{
		TellsChanges: true,
		Open: func(tb testing.TB) reauth.Store {
			return redisstore.New(newClusterClient(tb, &redis.ClusterOptions{Addrs: addrs}), &redisstore.Options{Lease: lease})
		},
		Lose: func(tb testing.TB, session string) {
			client := newClusterClient(tb, &redis.ClusterOptions{Addrs: addrs})
			_, lock := redisstore.New(client, nil).Keys(session)
			n, err := client.Del(tb.Context(), lock).Result()
			require.NoError(tb, err)
			require.EqualValues(tb, 1, n)
		},
		Refuse: func(tb testing.TB) (accept func()) {
			var nodes []*redis.Client
			for _, addr := range addrs {
				nodes = append(nodes, newClient(tb, &redis.Options{Addr: addr}))
			}
			return refuseWrites(tb, nodes...)
		},
		Lease: lease,
	})
}

// A replica may still have the previous token, which is spent.
func TestLoadNeverReadsFromAReplica(t *testing.T) {
	addrs := startCluster(t, 1, 1)
	replica := newClient(t, &redis.Options{Addr: addrs[1]})
	client := newClusterClient(t, &redis.ClusterOptions{Addrs: addrs, RouteRandomly: true})
	store := redisstore.New(client, nil)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
	token, _ := store.Keys("ann")

	reads := func() bool {
		if err := client.Get(t.Context(), token).Err(); !errors.Is(err, redis.Nil) { // the replica may lag behind
			require.NoError(t, err)
		}
		return strings.Contains(replica.Info(t.Context(), "commandstats").Val(), "cmdstat_get:")
	}
	eventually(t, "the client reads from the replica", reads)
	require.NoError(t, replica.ConfigResetStat(t.Context()).Err())
	for range 50 {
		_, ok, err := store.Load(t.Context(), "ann")
		require.NoError(t, err)
		require.True(t, ok)
	}
	stats := replica.Info(t.Context(), "commandstats").Val()
	assert.NotContains(t, stats, "cmdstat_get:")
	assert.NotContains(t, stats, "cmdstat_eval")
}

func TestTheKeysOfASessionAreInOneSlot(t *testing.T) {
	s := startServer(t, "--cluster-enabled", "yes")
	client := s.client(t)
	slot := func(key string) int64 {
		slot, err := client.ClusterKeySlot(t.Context(), key).Result()
		require.NoError(t, err)
		return slot
	}
	seen := make(map[string]string)
	for _, prefix := range []string{"", "app:", "{billing}:", "{", "}", "a{b", "a}b{c}{", "{s", "{s}:", "{ ", "\x00\xff{\x00}"} {
		store := redisstore.New(client, &redisstore.Options{Prefix: prefix})
		for _, session := range []string{
			"", "ann", "bob", "{", "}", "{}", "}{", "{ann}", "ann}", "}ann", "{s:ann}", "s:ann}", "{s:", "}:token", "}:lock",
			"ann}:token", "ann}:lock", ":token", ":lock", "\x00", "\xff\xfe", "\r\n", strings.Repeat("a", 5000), "a b",
		} {
			token, lock := store.Keys(session)
			require.Equal(t, slot(token), slot(lock), "session %q with prefix %q", session, prefix)
			for _, key := range []string{token, lock} {
				whose := prefix + "\n" + session
				require.NotContains(t, seen, key, "a key of %q", whose)
				seen[key] = whose
			}
		}
	}

	slots := make(map[int64]bool)
	store := redisstore.New(client, nil)
	for _, session := range []string{"ann", "bob", "cid", "dan"} {
		token, _ := store.Keys(session)
		slots[slot(token)] = true
	}
	assert.Greater(t, len(slots), 1, "sessions spread over slots")
}
