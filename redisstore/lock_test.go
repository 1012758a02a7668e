package redisstore_test

import (
	"bufio"
	"context"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/redisstore"
)

// A lease that does not expire in a test.
const long = 10 * time.Minute

// newDeaf returns a store whose leases do not expire and whose waiters poll only after
// an hour, so that only a message can wake them.
func newDeaf(client redis.UniversalClient) *redisstore.Store {
	store := redisstore.New(client, &redisstore.Options{Lease: long})
	store.DoNotLook()
	return store
}

func mustLock(t *testing.T, store *redisstore.Store, session string) (held context.Context, unlock func()) {
	t.Helper()
	held, unlock, err := store.Lock(bounded(t), session)
	require.NoError(t, err)
	return held, unlock
}

// lockLater starts to wait for the lock. The result is nil after the lock was taken and
// released, or an error of Lock.
func lockLater(t *testing.T, store *redisstore.Store, session string) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	ctx := bounded(t)
	go func() {
		_, unlock, err := store.Lock(ctx, session)
		if err == nil {
			unlock()
		}
		result <- err
	}()
	return result
}

func TestAWaiterIsWokenByAMessage(t *testing.T) {
	onEach(t, func(t *testing.T, newClient func() redis.UniversalClient) {
		holder, client := newDeaf(newClient()), newClient()
		waiter := newDeaf(client)
		for i := range 5 { // in a cluster, on several nodes
			session := strconv.Itoa(i)
			_, unlock := mustLock(t, holder, session)
			_, unlockWarm := mustLock(t, holder, session+" too") // the node knows the scripts
			unlockWarm()
			tries := watch(client)
			result := lockLater(t, waiter, session)
			receive(t, "the first try", tries)
			receive(t, "the try when the subscription begins", tries)
			unlock()
			require.NoError(t, receive(t, "the lock", result))
		}
	})
}

// The lock is released after the waiter has found it taken, and before it listens.
func TestALockGivenBackBeforeItsWaiterListensIsNotMissed(t *testing.T) {
	s := startServer(t)
	_, unlock := mustLock(t, newDeaf(s.client(t)), "ann")
	client := s.client(t)
	require.NoError(t, client.Ping(t.Context()).Err()) // has its connection
	dialing, dial := make(chan struct{}, 1), make(chan struct{})
	client.AddHook(hook{dial: func(context.Context) {
		select {
		case dialing <- struct{}{}:
		default:
		}
		<-dial
	}})
	result := lockLater(t, newDeaf(client), "ann")
	receive(t, "the subscription", dialing)
	unlock()
	close(dial)
	require.NoError(t, receive(t, "the lock", result))
}

func TestALockGivenBackWhileItsWaiterIsCutOffIsNotMissed(t *testing.T) {
	s := startServer(t)
	_, unlock := mustLock(t, newDeaf(s.client(t)), "ann")
	proxy := cutproxy.New(t, s.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr()})
	tries := watch(client)
	result := lockLater(t, newDeaf(client), "ann")
	receive(t, "the first try", tries)
	receive(t, "the try when the subscription begins", tries)
	proxy.Refuse(true)
	proxy.Cut()
	unlock()
	proxy.Refuse(false)
	require.NoError(t, receive(t, "the lock", result))
}

// Nobody releases the lock of a process that has died, so no message is sent.
func TestTheLockOfADeadHolderIsFreeWhenItsLeaseExpires(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := newDeaf(client)
	_, lock := store.Keys("ann")
	require.NoError(t, client.HSet(t.Context(), lock, "owner", "one who has died").Err())
	require.NoError(t, client.PExpire(t.Context(), lock, 300*time.Millisecond).Err())
	require.NoError(t, receive(t, "the lock", lockLater(t, store, "ann")))
}

// The client dials for its subscriptions on a goroutine that the store started.
func TestAPanicWhenSubscribingLeavesWaitersToLook(t *testing.T) {
	s := startServer(t)
	_, unlock := mustLock(t, newDeaf(s.client(t)), "ann")
	client := newClient(t, &redis.Options{Addr: s.addr, PoolSize: 1})
	require.NoError(t, client.Ping(t.Context()).Err()) // has its one connection
	dialed := make(chan struct{}, 100)
	client.AddHook(hook{dial: func(context.Context) {
		dialed <- struct{}{}
		panic("secret")
	}})
	store := redisstore.New(client, nil)
	results := []<-chan error{lockLater(t, store, "ann")}
	receive(t, "the first dial", dialed)
	results = append(results, lockLater(t, store, "ann"))
	receive(t, "the second dial", dialed)
	unlock()
	for _, result := range results {
		require.NoError(t, receive(t, "the lock", result))
	}
}

func TestWaitersShareOneConnection(t *testing.T) {
	s := startServer(t)
	admin := s.client(t)
	client := newClient(t, &redis.Options{Addr: s.addr, PoolSize: 1})
	store := newDeaf(client)
	subscribers := func() int {
		return strings.Count(admin.Do(t.Context(), "client", "list", "type", "pubsub").Val().(string), "\n")
	}
	_, unlock := mustLock(t, store, "ann") // the one connection of the pool
	unlock()
	goroutines := runtime.NumGoroutine()

	var unlocks []func()
	var results []<-chan error
	for i := range 50 {
		session := strconv.Itoa(i % 10)
		if i < 10 {
			_, unlock := mustLock(t, store, session)
			unlocks = append(unlocks, unlock)
		}
		results = append(results, lockLater(t, store, session))
	}
	for i := range 10 {
		_, lock := store.Keys(strconv.Itoa(i))
		eventually(t, "all sessions are listened for", func() bool {
			return admin.PubSubNumSub(t.Context(), lock).Val()[lock] == 1
		})
	}
	assert.Equal(t, 1, subscribers())
	require.NoError(t, store.Save(bounded(t), "ann", reauth.Token{}), "the connection of the pool is free")

	for _, unlock := range unlocks {
		unlock()
	}
	for _, result := range results {
		require.NoError(t, receive(t, "the lock", result))
	}
	eventually(t, "the connection is closed", func() bool { return subscribers() == 0 })
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	keys, err := admin.Keys(t.Context(), "*:lock").Result()
	require.NoError(t, err)
	assert.Empty(t, keys)
}

// A client repeats a call that got no answer.
func TestTheNextTryGetsALockWhoseAnswerWasLost(t *testing.T) {
	s := startServer(t)
	lose := new(loser)
	client := newClient(t, &redis.Options{Addr: s.addr, Dialer: lose.dial})
	store := newDeaf(client)
	_, unlock := mustLock(t, store, "ann") // Redis knows the scripts
	unlock()
	lose.armed.Store(true)
	held, unlock := mustLock(t, store, "ann")
	require.False(t, lose.armed.Load())
	require.NoError(t, store.Save(held, "ann", reauth.Token{}))
	unlock()
}

func TestALockWhoseAnswerNeverComesIsReleased(t *testing.T) {
	s := startServer(t)
	lose := new(loser)
	client := newClient(t, &redis.Options{Addr: s.addr, Dialer: lose.dial, MaxRetries: -1})
	store := newDeaf(client)
	_, unlock := mustLock(t, store, "ann")
	unlock()
	lose.armed.Store(true)
	_, _, err := store.Lock(bounded(t), "ann")
	require.ErrorContains(t, err, "the answer was lost")
	_, unlock = mustLock(t, newDeaf(s.client(t)), "ann")
	unlock()
}

func TestALockThatComesTooLateIsReleased(t *testing.T) {
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr()})
	store := newDeaf(client)
	_, unlock := mustLock(t, store, "ann")
	unlock()
	scripts := watch(client)
	proxy.Stall(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := store.Lock(ctx, "ann")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	proxy.Stall(false)
	require.False(t, receive(t, "the lock, too late", scripts).failed)
	_, unlock = mustLock(t, newDeaf(s.client(t)), "ann")
	unlock()
}

func TestALockThatComesAfterItsLeaseIsTakenAnew(t *testing.T) {
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	const lease = 500 * time.Millisecond
	store := redisstore.New(newClient(t, &redis.Options{Addr: proxy.Addr()}), &redisstore.Options{Lease: lease})
	_, unlock := mustLock(t, store, "ann")
	unlock()
	proxy.Stall(true)
	time.AfterFunc(2*lease, func() { proxy.Stall(false) })
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	require.NoError(t, held.Err())
	require.NoError(t, store.Save(held, "ann", reauth.Token{}))
}

// A quietContext is done without waking those who wait for it.
type quietContext struct {
	context.Context
	ended atomic.Bool
}

func (*quietContext) Done() <-chan struct{} { return nil }

func (c *quietContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

// As above, but the context is done just when the lock comes.
func TestALockThatComesAfterItsLeaseAndTooLateIsGivenBack(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	const lease = 100 * time.Millisecond
	scripts := watch(client)
	ctx := &quietContext{Context: t.Context()}
	client.AddHook(hook{
		call: func(context.Context, redis.Cmder) {
			if !ctx.ended.Load() {
				<-time.After(lease)
			}
		},
		done: func(redis.Cmder, error) { ctx.ended.Store(true) },
	})
	_, _, err := redisstore.New(client, &redisstore.Options{Lease: lease}).Lock(ctx, "ann")
	require.ErrorIs(t, err, context.Canceled)
	for receive(t, "the lock", scripts).failed { // Redis does not know the script
	}
	for receive(t, "its return", scripts).failed {
	}
}

func TestALeaseThatCannotBeRenewedIsLost(t *testing.T) {
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr()})
	store := redisstore.New(client, &redisstore.Options{Lease: 300 * time.Millisecond})
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "before"}))
	held, unlock := mustLock(t, store, "ann")
	proxy.Stall(true)
	receive(t, "the end of the lease", held.Done())
	lost := context.Cause(held)
	assert.ErrorContains(t, lost, "could not be renewed")
	assert.ErrorContains(t, lost, `reauth:{s:ann}:lock`)

	// These do not call Redis, which would not answer.
	assert.Equal(t, lost, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
	assert.Equal(t, lost, store.Save(context.WithoutCancel(held), "ann", reauth.Token{AccessToken: "after"}))
	assert.Equal(t, lost, store.Delete(held, "ann"))
	_, _, err := store.Load(held, "ann")
	assert.ErrorIs(t, err, lost)
	unlock()

	proxy.Stall(false)
	held, unlock = mustLock(t, store, "ann")
	defer unlock()
	tok, ok, err := store.Load(held, "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "before", tok.AccessToken)
	assert.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "after"}))
}

func TestALockThatIsGoneIsNotedByItsHolder(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := redisstore.New(client, &redisstore.Options{Lease: 1500 * time.Millisecond})
	for name, take := range map[string]func(lock string) error{
		"gone":      func(lock string) error { return client.Del(t.Context(), lock).Err() },
		"another's": func(lock string) error { return client.HSet(t.Context(), lock, "owner", "another").Err() },
	} {
		t.Run(name, func(t *testing.T) {
			held, unlock := mustLock(t, store, name)
			_, lock := store.Keys(name)
			require.NoError(t, take(lock))
			receive(t, "the end of the lease", held.Done())
			assert.ErrorContains(t, context.Cause(held), "the lock is missing or belongs to another")
			unlock()
		})
	}
	_, lock := store.Keys("another's")
	assert.Equal(t, "another", client.HGet(t.Context(), lock, "owner").Val())
}

// The script notices it, whether or not somebody else has the lock.
func TestAHolderThatLostTheLockReadsAndWritesNothing(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := newDeaf(client) // does not renew in a while
	for name, write := range map[string]func(held context.Context, session string) error{
		"Save": func(held context.Context, session string) error {
			return store.Save(held, session, reauth.Token{AccessToken: "lost"})
		},
		"Delete": store.Delete,
		"Load": func(held context.Context, session string) error {
			_, _, err := store.Load(held, session)
			return err
		},
	} {
		for _, owner := range []string{"", "another"} {
			session := name + " " + owner
			require.NoError(t, store.Save(t.Context(), session, reauth.Token{AccessToken: "kept"}))
			held, unlock := mustLock(t, store, session)
			_, lock := store.Keys(session)
			require.NoError(t, client.Del(t.Context(), lock).Err())
			if owner != "" {
				require.NoError(t, client.HSet(t.Context(), lock, "owner", owner).Err())
			}
			require.NoError(t, held.Err())
			assert.ErrorContains(t, write(held, session), "the lock is missing or belongs to another", session)
			assert.Error(t, held.Err(), session)
			unlock()
			tok, ok, err := store.Load(t.Context(), session)
			require.NoError(t, err)
			assert.True(t, ok, session)
			assert.Equal(t, "kept", tok.AccessToken, session)
		}
	}
}

// A network may deliver data of a connection that its sender has given up.
func TestAWriteThatIsHeldUpDoesNotReplaceTheNext(t *testing.T) {
	s := startServer(t)
	late := &holdUp{kept: make(chan []byte, 1)}
	store := newDeaf(newClient(t, &redis.Options{Addr: s.addr, Dialer: late.dial, ReadTimeout: 100 * time.Millisecond}))
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "1"}))
	deliver := func() string {
		t.Helper()
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write(receive(t, "what was held up", late.kept))
		require.NoError(t, err)
		answer, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		return answer
	}

	late.armed.Store(true)
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "2"}), "by the second attempt")
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "3"}))
	assert.Equal(t, ":1\r\n", deliver())
	tok, ok, err := store.Load(held, "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "3", tok.AccessToken)

	late.armed.Store(true)
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "4"}))
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "5"}), "without the lock")
	assert.Equal(t, ":1\r\n", deliver())
	tok, _, err = store.Load(held, "ann")
	require.NoError(t, err)
	assert.Equal(t, "5", tok.AccessToken)

	late.armed.Store(true)
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "6"}))
	require.NoError(t, store.Delete(held, "ann"), "a sign-out")
	assert.Equal(t, ":1\r\n", deliver())
	_, ok, err = store.Load(held, "ann")
	require.NoError(t, err)
	assert.False(t, ok)
}

// Nobody else can store the refreshed token, so Save does not give up while the lock
// keeps others from spending the same token.
func TestASaveUnderALeaseOutlastsAnInterruption(t *testing.T) {
	s := startServer(t)
	proxy := cutproxy.New(t, s.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr(), MaxRetries: -1, DialerRetries: 1})
	store := newDeaf(client)
	held, unlock := mustLock(t, store, "ann")
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "1"}))
	scripts := watch(client)

	interrupt := func(write func() error) error {
		for len(scripts) > 0 {
			<-scripts
		}
		proxy.Refuse(true)
		proxy.Cut()
		done := make(chan error, 1)
		go func() { done <- write() }()
		for !receive(t, "a failure", scripts).failed {
		}
		proxy.Refuse(false)
		return receive(t, "the end of the call", done)
	}
	require.NoError(t, interrupt(func() error { return store.Save(held, "ann", reauth.Token{AccessToken: "2"}) }))
	tok, _, err := store.Load(held, "ann")
	require.NoError(t, err)
	assert.Equal(t, "2", tok.AccessToken)
	require.NoError(t, interrupt(func() error { return store.Delete(held, "ann") }))
	_, ok, err := store.Load(held, "ann")
	require.NoError(t, err)
	assert.False(t, ok)
	require.NoError(t, interrupt(func() error { unlock(); return nil }))
	_, unlock = mustLock(t, store, "ann")
	unlock()

	// Without a lease the caller can simply repeat the call.
	proxy.Refuse(true)
	proxy.Cut()
	require.Error(t, store.Save(t.Context(), "ann", reauth.Token{}))
}

func TestUnlockGivesUpWhenTheLeaseWouldHaveRunOut(t *testing.T) {
	s := startServer(t)
	store := redisstore.New(newClient(t, &redis.Options{Addr: s.addr}), &redisstore.Options{Lease: 500 * time.Millisecond})
	_, unlock := mustLock(t, store, "ann")
	s.kill()
	done := make(chan struct{})
	go func() { unlock(); close(done) }()
	receive(t, "unlock", done)
}

func TestALeaseIsForItsSessionAlone(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := newDeaf(client)
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	both, unlockBob, err := store.Lock(held, "bob")
	require.NoError(t, err)
	defer unlockBob()
	_, lock := store.Keys("bob")
	require.NoError(t, client.Del(t.Context(), lock).Err())
	assert.Error(t, store.Save(both, "bob", reauth.Token{}))
	assert.NoError(t, store.Save(held, "ann", reauth.Token{}))
	assert.NoError(t, store.Save(held, "cid", reauth.Token{}), "as without a lock")
	assert.NoError(t, store.Save(t.Context(), "bob", reauth.Token{}), "without the lock")
}

func TestScriptsThatRedisHasForgottenAreSentAgain(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	forget := func() { require.NoError(t, s.client(t).ScriptFlush(t.Context()).Err()) }
	store := redisstore.New(client, &redisstore.Options{Lease: 1500 * time.Millisecond})
	scripts := watch(client)
	sentAgain := func() {
		t.Helper()
		for receive(t, "a script as a whole", scripts).command != "eval" {
		}
	}
	forget()
	held, unlock := mustLock(t, store, "ann")
	sentAgain()
	forget()
	sentAgain() // to renew the lease
	forget()
	sentAgain()
	require.NoError(t, held.Err())
	forget()
	require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "a"}))
	forget()
	_, ok, err := store.Load(held, "ann")
	require.NoError(t, err)
	require.True(t, ok)
	forget()
	require.NoError(t, store.Delete(held, "ann"))
	forget()
	unlock()
	_, unlock = mustLock(t, store, "ann")
	unlock()
}

// waitersOf returns ten stores that wait for the lock of a session and listen, and what
// counts their calls.
func waitersOf(t *testing.T, s *server, session string) (results []<-chan error, calls *atomic.Int64) {
	t.Helper()
	const waiters = 10
	calls = new(atomic.Int64)
	for range waiters {
		client := s.client(t)
		client.AddHook(hook{done: func(cmd redis.Cmder, _ error) {
			if strings.HasPrefix(cmd.Name(), "eval") {
				calls.Add(1)
			}
		}})
		results = append(results, lockLater(t, newDeaf(client), session))
	}
	admin := s.client(t)
	_, lock := newDeaf(admin).Keys(session)
	eventually(t, "all listen", func() bool { return admin.PubSubNumSub(t.Context(), lock).Val()[lock] == waiters })
	eventually(t, "all have tried again since", func() bool { return calls.Load() >= 2*waiters })
	return results, calls
}

// One waiter after the other gets the lock, and wakes the next.
func TestAnUnlockWithoutAChangeWakesOneWaiter(t *testing.T) {
	s := startServer(t)
	store := newDeaf(s.client(t))
	_, unlock := mustLock(t, store, "ann")
	results, calls := waitersOf(t, s, "ann")
	unlock()
	for _, result := range results {
		require.NoError(t, receive(t, "the lock", result))
	}
	n := int64(len(results))
	// Each has made one call at first, and one when it listened, now one to take the lock, and one to release
	// it. One may have been woken twice, because it heard of the lock before it was called.
	eventually(t, "all have released it", func() bool { return calls.Load() >= 4*n })
	assert.LessOrEqual(t, calls.Load(), 5*n)
}

func TestAChangeCostsItsWaitersNoCall(t *testing.T) {
	for name, write := range map[string]func(store *redisstore.Store, held context.Context) error{
		"Save": func(store *redisstore.Store, held context.Context) error {
			return store.Save(held, "ann", reauth.Token{AccessToken: "2"})
		},
		"Delete": func(store *redisstore.Store, held context.Context) error { return store.Delete(held, "ann") },
		"Save without the lock": func(store *redisstore.Store, _ context.Context) error {
			return store.Save(context.Background(), "ann", reauth.Token{AccessToken: "2"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			store := newDeaf(s.client(t))
			require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
			held, unlock := mustLock(t, store, "ann")
			results, calls := waitersOf(t, s, "ann")
			before := calls.Load()
			require.NoError(t, write(store, held))
			for _, result := range results {
				require.ErrorIs(t, receive(t, "the news", result), reauth.ErrChanged)
			}
			assert.Equal(t, before, calls.Load())
			unlock()
			late := lockLater(t, newDeaf(s.client(t)), "ann")
			require.NoError(t, receive(t, "the lock", late), "those who have left are not called")
		})
	}
}

// The queue calls somebody who has left.
func TestAWaiterThatLeavesIsNotCalled(t *testing.T) {
	s := startServer(t)
	store := newDeaf(s.client(t))
	_, unlock := mustLock(t, store, "ann")
	admin := s.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, _, err := newDeaf(s.client(t)).Lock(ctx, "ann"); left <- err }()
	eventually(t, "it waits", func() bool { return waiting(t, admin) == 1 })
	stays := lockLater(t, newDeaf(s.client(t)), "ann")
	eventually(t, "another waits", func() bool { return waiting(t, admin) == 2 })
	cancel()
	require.ErrorIs(t, receive(t, "the end of its wait", left), context.Canceled)
	eventually(t, "it has left the queue", func() bool { return waiting(t, admin) == 1 })
	unlock()
	require.NoError(t, receive(t, "the lock", stays))
	assert.Zero(t, waiting(t, admin))
}

// The token has changed without a message. Whoever finds that out leaves the queue too.
func TestAWaiterThatFindsAChangeLeavesTheQueue(t *testing.T) {
	s := startServer(t)
	admin := s.client(t)
	store := newDeaf(s.client(t))
	for name, change := range map[string]func(key string) error{
		"another program": func(key string) error {
			return admin.Set(t.Context(), key, `{"access_token":"another"}`, 0).Err()
		},
		"the end of its TTL": func(key string) error { return admin.PExpire(t.Context(), key, time.Millisecond).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
			_, unlock := mustLock(t, store, "ann")
			defer unlock()
			result := lockLater(t, redisstore.New(s.client(t), nil), "ann")
			eventually(t, "it waits", func() bool { return waiting(t, admin) == 1 })
			key, _ := store.Keys("ann")
			require.NoError(t, change(key))
			require.ErrorIs(t, receive(t, "the news", result), reauth.ErrChanged)
			assert.Zero(t, waiting(t, admin))
		})
	}
}

// waiting is how many stand in the queue for ann's lock.
func waiting(t *testing.T, client redis.UniversalClient) int {
	return len(strings.Fields(client.HGet(t.Context(), "reauth:{s:ann}:lock", "queue").Val()))
}

// It has been called, and leaves before it can take the lock.
func TestAWaiterThatIsCalledAndLeavesCallsTheNext(t *testing.T) {
	s := startServer(t)
	store := newDeaf(s.client(t))
	_, unlock := mustLock(t, store, "ann")
	admin := s.client(t)
	require.NoError(t, admin.HSet(t.Context(), "reauth:{s:ann}:lock", "queue", "GONE ").Err())
	stays := lockLater(t, newDeaf(s.client(t)), "ann")
	eventually(t, "another waits", func() bool { return waiting(t, admin) == 2 })
	unlock() // which calls the one that is gone
	store.Leave("ann", "GONE")
	require.NoError(t, receive(t, "the lock", stays))
}

// A client of the first version tells all waiters, and does not know of the queue.
func TestAMessageOfTheFirstVersionWakesAll(t *testing.T) {
	s := startServer(t)
	admin := s.client(t)
	lock := "reauth:{s:ann}:lock"
	require.NoError(t, admin.HSet(t.Context(), lock, "owner", "of the first version", "writes", 0).Err())
	results, _ := waitersOf(t, s, "ann")
	require.NoError(t, admin.Del(t.Context(), lock).Err())
	require.NoError(t, admin.Publish(t.Context(), lock, "").Err())
	for _, result := range results {
		require.NoError(t, receive(t, "the lock", result))
	}
}
