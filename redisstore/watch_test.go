package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/redisstore"
)

// news is what somebody hears who watches.
type news struct {
	changed chan string
	missed  chan struct{}
	ended   chan error
}

// listen watches store until the test ends, and returns once it has begun to hear.
func listen(t *testing.T, store *redisstore.Store) *news {
	t.Helper()
	n := &news{changed: make(chan string, 100), missed: make(chan struct{}, 100), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		n.ended <- store.Watch(ctx, func(session string) { n.changed <- session }, func() { n.missed <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, receive(t, "the end of Watch", n.ended), context.Canceled)
	})
	receive(t, "its beginning", n.missed)
	return n
}

func TestWatchTellsWhatOthersWrite(t *testing.T) {
	onEach(t, func(t *testing.T, newClient func() redis.UniversalClient) {
		mine, other := redisstore.New(newClient(), nil), redisstore.New(newClient(), nil)
		heard, too, byOther := listen(t, mine), listen(t, mine), listen(t, other)
		stranger := listen(t, redisstore.New(newClient(), &redisstore.Options{Prefix: "another:"}))
		names := []string{"ann", "", "}", "bob\x00\xff"} // in a cluster, on several nodes
		for _, session := range names {
			held, unlock := mustLock(t, other, session)
			require.NoError(t, other.Save(held, session, reauth.Token{AccessToken: "1"}))
			unlock()
			require.NoError(t, other.Save(t.Context(), session, reauth.Token{AccessToken: "2"}))
			require.NoError(t, other.Delete(t.Context(), session))
			require.NoError(t, other.Delete(t.Context(), session)) // of nothing
			for range 3 {
				assert.Equal(t, session, receive(t, "news", heard.changed))
				assert.Equal(t, session, receive(t, "news", too.changed))
			}
		}
		require.NoError(t, mine.Save(t.Context(), "the last", reauth.Token{AccessToken: "1"}))
		assert.Equal(t, "the last", receive(t, "news", byOther.changed), "of what it has written itself it heard nothing")
		require.NoError(t, other.Save(t.Context(), "the very last", reauth.Token{AccessToken: "1"}))
		assert.Equal(t, "the very last", receive(t, "news", heard.changed))
		assert.Equal(t, "the very last", receive(t, "news", too.changed))
		assert.Empty(t, stranger.changed)
	})
}

func TestWatchTellsOfGaps(t *testing.T) {
	for name, gap := range map[string]struct{ begin, end func(*cutproxy.Proxy) }{
		"connection cut":    {func(p *cutproxy.Proxy) { p.Refuse(true); p.Cut() }, func(p *cutproxy.Proxy) { p.Refuse(false) }},
		"connection silent": {func(p *cutproxy.Proxy) { p.Stall(true) }, func(p *cutproxy.Proxy) { p.Cut(); p.Stall(false) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			proxy := cutproxy.New(t, s.addr)
			heard := listen(t, redisstore.New(newClient(t, &redis.Options{Addr: proxy.Addr()}), nil))
			other := redisstore.New(s.client(t), nil)
			gap.begin(proxy)
			require.NoError(t, other.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
			gap.end(proxy)
			receive(t, "that something may have been missed", heard.missed)
			for len(heard.changed) > 0 {
				<-heard.changed
			}
			require.NoError(t, other.Save(t.Context(), "bob", reauth.Token{AccessToken: "1"}))
			assert.Equal(t, "bob", receive(t, "news", heard.changed))
		})
	}
}

// Nobody closes the connection, so only its silence tells.
func TestWatchReplacesASilentConnection(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	heard := listen(t, redisstore.New(newClient(t, &redis.Options{Addr: proxy.Addr()}), nil))
	proxy.Forsake()
	receive(t, "that something may have been missed", heard.missed)
}

// A failover client closes its connections to a server that is the master no longer, but
// not that of Watch. The server answers, and has no news.
func TestWatchLeavesAServerThatIsNoLongerTheMaster(t *testing.T) {
	t.Parallel() // it waits most of the time
	before, after := startServer(t), startServer(t)
	var master atomic.Pointer[server]
	master.Store(before)
	client := newClient(t, &redis.Options{Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, master.Load().addr)
	}})
	heard := listen(t, redisstore.New(client, nil))
	master.Store(after)
	require.NoError(t, before.client(t).ClientKillByFilter(t.Context(), "TYPE", "normal").Err())
	receive(t, "that something may have been missed", heard.missed)
	require.NoError(t, redisstore.New(after.client(t), nil).Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
	assert.Equal(t, "ann", receive(t, "news", heard.changed))
	admin := before.client(t)
	eventually(t, "nobody listens there any more", func() bool {
		return admin.PubSubNumSub(t.Context(), "reauth:changes").Val()["reauth:changes"] == 0
	})
}

// Nothing happens for longer than the silence after which it asks.
func TestWatchThatMayNotPublishStaysConnected(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := startServer(t)
	require.NoError(t, s.client(t).Do(t.Context(), "ACL", "SETUSER", "mute", "on", ">PASSWORD", "~*", "&*", "+@all", "-publish").Err())
	heard := listen(t, redisstore.New(newClient(t, &redis.Options{Addr: s.addr, Username: "mute", Password: "PASSWORD"}), nil))
	admin := s.client(t)
	eventually(t, "it asks twice", func() bool {
		return strings.Contains(admin.Info(t.Context(), "commandstats").Val(), "cmdstat_ping:calls=2,")
	})
	assert.Empty(t, heard.missed)
}

func TestWatchWaitsForARedisThatIsAway(t *testing.T) {
	s := startServer(t)
	s.kill()
	store := redisstore.New(s.client(t), nil)
	n := &news{changed: make(chan string, 100), missed: make(chan struct{}, 100), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		n.ended <- store.Watch(ctx, func(session string) { n.changed <- session }, func() { n.missed <- struct{}{} })
	}()
	s.start(t)
	receive(t, "its beginning", n.missed)
	cancel()
	require.ErrorIs(t, receive(t, "the end", n.ended), context.Canceled)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	proxy.Stall(true)
	store := redisstore.New(newClient(t, &redis.Options{Addr: proxy.Addr()}), nil)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- store.Watch(ctx, func(string) {}, func() {}) }()
	cancel(cause)
	require.ErrorIs(t, receive(t, "the end", ended), cause)
	proxy.Stall(false)
}

func TestWatchThatCanNeverWorkIsAnError(t *testing.T) {
	s := startServer(t)
	store := redisstore.New(s.client(t), nil)
	require.ErrorContains(t, store.Watch(t.Context(), nil, nil), "changed is nil\nredisstore: Watch: missed is nil")
	require.ErrorContains(t, redisstore.New(nil, nil).Watch(t.Context(), func(string) {}, func() {}), "the client is nil")
	require.NoError(t, s.client(t).Do(t.Context(), "ACL", "SETUSER", "deaf", "on", ">PASSWORD", "~*", "+@all", "resetchannels").Err())
	store = redisstore.New(newClient(t, &redis.Options{Addr: s.addr, Username: "deaf", Password: "PASSWORD"}), nil)
	require.ErrorContains(t, store.Watch(t.Context(), func(string) {}, func() {}), "NOPERM")
	s = startServer(t, "--rename-command", "SUBSCRIBE", "") // as behind a proxy without Pub/Sub
	store = redisstore.New(s.client(t), nil)
	require.ErrorContains(t, store.Watch(bounded(t), func(string) {}, func() {}), "unknown command")
}

func TestAPanicOfChangedPassesThroughWatch(t *testing.T) {
	s := startServer(t)
	store := redisstore.New(s.client(t), nil)
	assert.PanicsWithValue(t, "mine", func() {
		_ = store.Watch(t.Context(), func(string) {}, func() { panic("mine") })
	})
}
