package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/redisstore"
)

// age makes the token of a session one that was saved long ago.
func age(t *testing.T, client redis.UniversalClient, store *redisstore.Store, session string, by time.Duration) {
	t.Helper()
	key, _ := store.Keys(session)
	ttl := client.PTTL(t.Context(), key).Val()
	text := fmt.Sprintf(`{"saved_at":%d,"access_token":"a","refresh_token":"r"}`, time.Now().Add(-by).UnixMilli())
	require.NoError(t, client.Set(t.Context(), key, text, max(ttl, 0)).Err())
}

func isThere(t *testing.T, store *redisstore.Store, session string) bool {
	t.Helper()
	_, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	return ok
}

func TestPurgeDeletesWhatWasSavedLongAgo(t *testing.T) {
	onEach(t, func(t *testing.T, newClient func() redis.UniversalClient) {
		client := newClient()
		store := redisstore.New(client, &redisstore.Options{Prefix: `a*[b]?\`})
		another := redisstore.New(client, &redisstore.Options{Prefix: "another"})
		heard := listen(t, store)
		const n = 50
		for i := range n {
			session := fmt.Sprint(i)
			require.NoError(t, store.Save(t.Context(), session, reauth.Token{AccessToken: "a"}))
			if i%2 == 0 {
				age(t, client, store, session, 2*time.Hour)
			}
		}
		age(t, client, another, "0", 2*time.Hour)
		deleted, err := store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, n/2, deleted)
		for i := range n {
			assert.Equal(t, i%2 == 1, isThere(t, store, fmt.Sprint(i)), i)
		}
		assert.True(t, isThere(t, another, "0"))
		gone := map[string]bool{}
		for range n / 2 {
			gone[receive(t, "news of what this Store has purged", heard.changed)] = true
		}
		assert.Len(t, gone, n/2)
		deleted, err = store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, deleted)
	})
}

func TestPurgeLeavesALockedSessionAlone(t *testing.T) {
	client := startServer(t).client(t)
	store := redisstore.New(client, nil)
	age(t, client, store, "ann", 2*time.Hour)
	_, unlock := mustLock(t, store, "ann")
	deleted, err := store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Zero(t, deleted)
	assert.True(t, isThere(t, store, "ann"))
	unlock()
}

// Those who stand in it hear of the change, and leave.
func TestPurgeLeavesNoQueueBehind(t *testing.T) {
	client := startServer(t).client(t)
	store := redisstore.New(client, nil)
	age(t, client, store, "ann", 2*time.Hour)
	_, lock := store.Keys("ann")
	require.NoError(t, client.HSet(t.Context(), lock, "queue", "ONE TWO ").Err())
	deleted, err := store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, 1, deleted)
	assert.Zero(t, client.DBSize(t.Context()).Val())
}

func TestPurgeLeavesATokenThatIsSavedMeanwhile(t *testing.T) {
	s := startServer(t)
	store := redisstore.New(s.client(t), nil)
	client := s.client(t)
	age(t, client, store, "ann", 2*time.Hour)
	read := false
	client.AddHook(hook{done: func(cmd redis.Cmder, _ error) {
		if !read && strings.HasPrefix(cmd.Name(), "eval") {
			read = true
			require.NoError(t, store.Save(context.Background(), "ann", reauth.Token{AccessToken: "new"}))
		}
	}})
	deleted, err := redisstore.New(client, nil).Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Zero(t, deleted)
	assert.True(t, isThere(t, store, "ann"))
}

// A token of the first version, or of another program, has no time.
func TestPurgeGivesATokenWithoutATimeTheTimeOfTheFirstPurge(t *testing.T) {
	client := startServer(t).client(t)
	store := redisstore.New(client, nil)
	key, _ := store.Keys("ann")
	require.NoError(t, client.Set(t.Context(), key, `{"access_token":"a","extra":{"b":"c"}}`, time.Hour).Err())
	deleted, err := store.Purge(t.Context(), time.Minute)
	require.NoError(t, err)
	assert.Zero(t, deleted)
	tok, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, reauth.Token{AccessToken: "a", Extra: map[string]string{"b": "c"}}, tok)
	assert.Contains(t, client.Get(t.Context(), key).Val(), `"saved_at":`)
	assert.Greater(t, client.PTTL(t.Context(), key).Val(), time.Minute, "its own end stays")
	eventually(t, "it is older than a millisecond", func() bool {
		n, err := store.Purge(t.Context(), time.Millisecond)
		return err == nil && n == 1
	})
	assert.False(t, isThere(t, store, "ann"))
}

// Each Purge would add a time that does not count, and none delete the token.
func TestPurgeReplacesATimeThatIsNone(t *testing.T) {
	client := startServer(t).client(t)
	store := redisstore.New(client, nil)
	key, _ := store.Keys("ann")
	for _, member := range []string{`"saved_at":"2026-01-01T00:00:00Z"`, `"saved_at":null`, `"saved_at":1700000000000.5`, `"Saved_At":"x"`} {
		require.NoError(t, client.Set(t.Context(), key, `{"access_token":"a","extra":{"b":"c"},`+member+`}`, 0).Err())
		deleted, err := store.Purge(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Zero(t, deleted)
		tok, _, err := store.Load(t.Context(), "ann")
		require.NoError(t, err)
		assert.Equal(t, reauth.Token{AccessToken: "a", Extra: map[string]string{"b": "c"}}, tok)
		assert.Equal(t, 1, strings.Count(strings.ToLower(client.Get(t.Context(), key).Val()), "saved_at"), member)
		eventually(t, "it is older than a millisecond", func() bool {
			n, err := store.Purge(t.Context(), time.Millisecond)
			return err == nil && n == 1
		})
	}
}

func TestPurgeLeavesWhatIsNoToken(t *testing.T) {
	client := startServer(t).client(t)
	store := redisstore.New(client, nil)
	ann, _ := store.Keys("ann")
	bob, _ := store.Keys("bob")
	require.NoError(t, client.Set(t.Context(), ann, "no token", 0).Err())
	require.NoError(t, client.RPush(t.Context(), bob, "a list").Err())
	deleted, err := store.Purge(t.Context(), time.Nanosecond)
	require.NoError(t, err)
	assert.Zero(t, deleted)
	assert.Equal(t, int64(2), client.Exists(t.Context(), ann, bob).Val())
}

func TestPurgeNeedsATime(t *testing.T) {
	_, err := redisstore.New(startServer(t).client(t), nil).Purge(t.Context(), 0)
	require.ErrorContains(t, err, "olderThan is 0s")
}

// A wrappedCluster is a client of a type that this package does not know.
type wrappedCluster struct{ *redis.ClusterClient }

// A SCAN would see one node only.
func TestPurgeGoesThroughAllNodesAlsoWithAWrappedClient(t *testing.T) {
	client := newClusterClient(t, &redis.ClusterOptions{Addrs: startCluster(t, 3, 0)})
	store := redisstore.New(wrappedCluster{client}, nil)
	const n = 30
	for i := range n {
		age(t, client, store, fmt.Sprint(i), 2*time.Hour)
	}
	deleted, err := store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, n, deleted)
}
