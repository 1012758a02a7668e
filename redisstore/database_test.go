package redisstore_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/redisstore"
)

// All databases of a Redis share the channels of Pub/Sub.
func TestDatabasesShareNothing(t *testing.T) {
	s := startServer(t)
	in := func(database int) *redis.Client {
		return newClient(t, &redis.Options{Addr: s.addr, DB: database})
	}
	for _, pair := range [][2]int{{0, 1}, {1, 0}, {1, 11}} {
		mine, others := newDeaf(in(pair[0])), newDeaf(in(pair[1]))
		heard := listen(t, redisstore.New(in(pair[0]), nil))
		wait := func() <-chan error {
			client := in(pair[0])
			tries := watch(client)
			result := lockLater(t, newDeaf(client), "")
			for range 2 { // first, and when it listens
				for receive(t, "a try", tries).failed {
				}
			}
			return result
		}

		_, unlock := mustLock(t, mine, "")
		result := wait()
		require.NoError(t, others.Save(t.Context(), "", reauth.Token{AccessToken: "another's"}))
		require.NoError(t, others.Delete(t.Context(), ""))
		unlock() // messages come in order, so that of a change would come first
		require.NoError(t, receive(t, "the lock", result), "the token has not changed")
		require.NoError(t, mine.Save(t.Context(), "bob", reauth.Token{AccessToken: "mine"}))
		assert.Equal(t, "bob", receive(t, "news", heard.changed), "the others were no news")

		held, unlock := mustLock(t, mine, "")
		result = wait()
		require.NoError(t, mine.Save(held, "", reauth.Token{AccessToken: "mine"}))
		require.ErrorIs(t, receive(t, "the news", result), reauth.ErrChanged)
		unlock()
		require.NoError(t, mine.Delete(t.Context(), ""))
		for range 2 {
			assert.Empty(t, receive(t, "news", heard.changed))
		}
	}
}
