package redisstore_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/redisstore"
)

// A shared session whose access token is revoked while many replicas need it.
func TestTheCostOfARefreshDoesNotGrowWithTheReplicas(t *testing.T) {
	for _, replicas := range []int{10, 100} {
		t.Run(strconv.Itoa(replicas), func(t *testing.T) {
			server := startServer(t)
			fleet := fleet.NewReplicas(t, replicas, server.opener())
			before := commands(t, server)
			first, last := fleet.Storm(t)
			each := (commands(t, server) - before) / replicas
			t.Logf("%d replicas: %d commands each; the last answer came %v after the first", replicas, each, last-first)
			assert.LessOrEqual(t, each, 24, "connecting included")
			assert.Equal(t, 1, fleet.Refreshes())
		})
	}
}

// commands is how many commands the server has processed, those within scripts not
// counted.
func commands(tb testing.TB, s *server) int {
	tb.Helper()
	info, err := s.client(tb).Info(tb.Context(), "commandstats").Result()
	require.NoError(tb, err)
	n := 0
	for _, m := range regexp.MustCompile(`cmdstat_([a-z|]+):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.Atoi(m[2])
		require.NoError(tb, err)
		name, _, _ := strings.Cut(m[1], "|")
		switch name {
		case "eval", "evalsha", "subscribe", "unsubscribe", "hello", "client", "ping", "auth", "select":
			n += calls
		}
	}
	return n
}

func BenchmarkReplicas(b *testing.B) {
	fleet.BenchmarkReplicas(b, "redis", func(tb testing.TB) (func(testing.TB) reauth.Store, func() int) {
		server := startServer(tb)
		return server.opener(), func() int { return commands(tb, server) }
	})
}

// opener opens a Store with a client of its own.
func (s *server) opener() func(testing.TB) reauth.Store {
	return func(tb testing.TB) reauth.Store {
		return redisstore.New(newClient(tb, &redis.Options{Addr: s.addr}), nil)
	}
}
