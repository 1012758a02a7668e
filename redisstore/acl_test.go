package redisstore_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// The rights that the README gives to a Redis user are sufficient, also for messages.
func TestTheRightsInTheREADMEAreEnough(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	find := func(re string) []any {
		found := regexp.MustCompile(re).FindSubmatch(text)
		require.NotNil(t, found, re)
		var args []any
		for _, arg := range strings.Fields(string(found[1])) {
			args = append(args, arg)
		}
		return args
	}
	user := find(`(?m)^(ACL SETUSER reauth on >PASSWORD .*)$`)
	inCluster := append(user, find("In a cluster also `([^`]*)`")...)

	s := startServer(t)
	require.NoError(t, s.client(t).Do(t.Context(), user...).Err())
	suffice(t, func() redis.UniversalClient {
		return newClient(t, &redis.Options{Addr: s.addr, Username: "reauth", Password: "PASSWORD"})
	})

	addrs := startCluster(t, 3, 0)
	for _, addr := range addrs {
		require.NoError(t, newClient(t, &redis.Options{Addr: addr}).Do(t.Context(), inCluster...).Err())
	}
	suffice(t, func() redis.UniversalClient {
		return newClusterClient(t, &redis.ClusterOptions{Addrs: addrs, Username: "reauth", Password: "PASSWORD"})
	})
	for _, addr := range addrs {
		denied, err := newClient(t, &redis.Options{Addr: addr}).Do(t.Context(), "acl", "log").Slice()
		require.NoError(t, err)
		require.Empty(t, denied)
	}
}

func suffice(t *testing.T, open func() redis.UniversalClient) {
	t.Helper()
	holder, client := newDeaf(open()), open()
	for _, session := range []string{"ann", "bob", "cid"} {
		held, unlock := mustLock(t, holder, session)
		tries := watch(client)
		result := lockLater(t, newDeaf(client), session)
		for range 2 { // first, and when it listens
			for receive(t, "a try", tries).failed {
			}
		}
		require.NoError(t, holder.Save(held, session, reauth.Token{AccessToken: "a"}))
		require.ErrorIs(t, receive(t, "the news", result), reauth.ErrChanged)
		result = lockLater(t, newDeaf(client), session)
		for range 2 {
			for receive(t, "a try", tries).failed {
			}
		}
		_, ok, err := holder.Load(held, session)
		require.NoError(t, err)
		require.True(t, ok)
		unlock()
		require.NoError(t, receive(t, "the lock", result))
		n, err := holder.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		require.Zero(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan error, 1)
		heard := make(chan struct{}, 1)
		go func() { watching <- newDeaf(client).Watch(ctx, func(string) {}, func() { heard <- struct{}{} }) }()
		receive(t, "news", heard)
		cancel()
		require.ErrorIs(t, receive(t, "the end", watching), context.Canceled)
		require.NoError(t, holder.Save(t.Context(), session, reauth.Token{AccessToken: "a"}))
		require.NoError(t, holder.Delete(t.Context(), session))
	}
}
