package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/reauthtest/storetest"
	"github.com/reauth-go/reauth/redisstore"
)

func TestStore(t *testing.T) {
	s := startServer(t)
	const lease = 600 * time.Millisecond
	storetest.Run(t, storetest.Storage{
		TellsChanges: true,
		Open: func(tb testing.TB) reauth.Store {
			return redisstore.New(s.client(tb), &redisstore.Options{Lease: lease})
		},
		Lose: func(tb testing.TB, session string) {
			client := s.client(tb)
			_, lock := redisstore.New(client, nil).Keys(session)
			n, err := client.Del(tb.Context(), lock).Result()
			require.NoError(tb, err)
			require.EqualValues(tb, 1, n)
		},
		Refuse: func(tb testing.TB) (accept func()) { return refuseWrites(tb, s.client(tb)) },
		Lease:  lease,
	})
}

func TestAnInvalidArgumentIsAnErrorOfEveryMethod(t *testing.T) {
	client := newClient(t, &redis.Options{Addr: "127.0.0.1:1"})
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for name, c := range map[string]struct {
		client redis.UniversalClient
		opts   *redisstore.Options
		want   []string
	}{
		"nil":                 {nil, nil, []string{"the client is nil"}},
		"nil client":          {(*redis.Client)(nil), nil, []string{"nil *redis.Client"}},
		"nil cluster client":  {(*redis.ClusterClient)(nil), nil, []string{"nil *redis.ClusterClient"}},
		"ring":                {ring, nil, []string{"*redis.Ring"}},
		"prefix parts keys":   {client, &redisstore.Options{Prefix: "a{}:"}, []string{`Options.Prefix is "a{}:"`, `"{}"`}},
		"prefix like session": {client, &redisstore.Options{Prefix: "a{s:b}"}, []string{`Options.Prefix is "a{s:b}"`, `"{s:"`}},
		"negative lease":      {client, &redisstore.Options{Lease: -time.Second}, []string{"Options.Lease is -1s", "100ms"}},
		"short lease":         {client, &redisstore.Options{Lease: 99 * time.Millisecond}, []string{"Options.Lease is 99ms", "100ms"}},
		"negative TTL":        {client, &redisstore.Options{TTL: -time.Hour}, []string{"Options.TTL is -1h0m0s", "1ms"}},
		"short TTL":           {client, &redisstore.Options{TTL: time.Microsecond}, []string{"Options.TTL is 1µs", "1ms"}},
		"all":                 {nil, &redisstore.Options{Prefix: "{}", Lease: -1, TTL: -1}, []string{"client", "Prefix", "Lease", "TTL"}},
	} {
		t.Run(name, func(t *testing.T) {
			store := redisstore.New(c.client, c.opts)
			_, _, loadErr := store.Load(t.Context(), "ann")
			held, unlock, lockErr := store.Lock(t.Context(), "ann")
			assert.Nil(t, held)
			assert.Nil(t, unlock)
			for method, err := range map[string]error{
				"Load": loadErr, "Lock": lockErr,
				"Save":   store.Save(t.Context(), "ann", reauth.Token{}),
				"Delete": store.Delete(t.Context(), "ann"),
			} {
				require.Error(t, err, method)
				for _, line := range strings.Split(err.Error(), "\n") {
					assert.True(t, strings.HasPrefix(line, "redisstore: "), "%s: %s", method, line)
				}
				for _, want := range c.want {
					assert.ErrorContains(t, err, want, method)
				}
			}
		})
	}
}

func TestFormatShowsThePrefixAlone(t *testing.T) {
	client := newClient(t, &redis.Options{Addr: "secret.example:6379", Password: "secret", Username: "secret"})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.Equal(t, `*redisstore.Store[prefix "app:"]`, fmt.Sprintf(verb, redisstore.New(client, &redisstore.Options{Prefix: "app:"})))
	}
}

func TestEverySaveSetsTheTTL(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	lasting := redisstore.New(client, nil)
	passing := redisstore.New(client, &redisstore.Options{TTL: time.Hour})
	key, _ := lasting.Keys("ann")
	ttl := func() time.Duration {
		t.Helper()
		ttl, err := client.PTTL(t.Context(), key).Result()
		require.NoError(t, err)
		return ttl
	}
	for name, saveBy := range map[string]func(*redisstore.Store) error{
		"without a lock": func(store *redisstore.Store) error {
			return store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"})
		},
		"with the lock": func(store *redisstore.Store) error {
			held, unlock := mustLock(t, store, "ann")
			defer unlock()
			return store.Save(held, "ann", reauth.Token{AccessToken: "a"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, saveBy(passing))
			assert.InDelta(t, time.Hour, ttl(), float64(time.Minute))
			require.NoError(t, client.PExpire(t.Context(), key, time.Minute).Err())
			require.NoError(t, saveBy(passing))
			assert.InDelta(t, time.Hour, ttl(), float64(time.Minute), "set anew")
			require.NoError(t, saveBy(lasting))
			assert.EqualValues(t, -1, ttl(), "taken away")
			require.NoError(t, lasting.Delete(t.Context(), "ann"))
		})
	}

	brief := redisstore.New(client, &redisstore.Options{TTL: 100 * time.Millisecond})
	require.NoError(t, brief.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
	eventually(t, "the token expires", func() bool {
		_, ok, err := brief.Load(t.Context(), "ann")
		return err == nil && !ok
	})
}

func TestPrefixesKeepStoresApart(t *testing.T) {
	s := startServer(t)
	prefixes := []string{"", "a:", "a:b", "{a}:", "reauth", "\x00"}
	var stores []*redisstore.Store
	for i, prefix := range prefixes {
		store := redisstore.New(s.client(t), &redisstore.Options{Prefix: prefix})
		stores = append(stores, store)
		require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: fmt.Sprint(i)}))
		_, unlock := mustLock(t, store, "ann")
		defer unlock()
	}
	for i, store := range stores {
		tok, ok, err := store.Load(t.Context(), "ann")
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, fmt.Sprint(i), tok.AccessToken)
	}
	ends, err := s.client(t).Keys(t.Context(), "reauth:{s:ann}:*").Result()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"reauth:{s:ann}:token", "reauth:{s:ann}:lock"}, ends, "the default prefix")
}

func TestAKeyWithoutATokenIsAnErrorThatDoesNotShowIt(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := redisstore.New(client, nil)
	key, _ := store.Keys("ann")
	for _, text := range []string{
		"", "secret", `"secret"`, "null", "{}", "[]", "12345", `{"access_token":12345}`, `{"access_token":"secret"`,
		`{"access_token":"secret","expiry":"secret"}`, `{"access_token":"secret","extra":{"secret":12345}}`,
		`{"access_token":"secret"} secret`, "{\"access_token\":\"secret\xff\"}", `{"other":"secret"}`,
	} {
		require.NoError(t, client.Set(t.Context(), key, text, 0).Err())
		_, ok, err := store.Load(t.Context(), "ann")
		require.Error(t, err, text)
		assert.False(t, ok)
		assert.ErrorContains(t, err, `redisstore: load "reauth:{s:ann}:token"`)
		assert.NotContains(t, err.Error(), "secret")
		assert.NotContains(t, err.Error(), "12345")
	}
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
	_, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.True(t, ok)

	require.NoError(t, client.Del(t.Context(), key).Err())
	require.NoError(t, client.LPush(t.Context(), key, "secret").Err())
	_, _, err = store.Load(t.Context(), "ann")
	assert.ErrorContains(t, err, "WRONGTYPE")
	assert.ErrorContains(t, err, key)
}

// golang.org/x/oauth2 writes it like this.
func TestATokenThatAnotherProgramHasStoredIsLoaded(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	store := redisstore.New(client, nil)
	key, _ := store.Keys("ann")
	text := `{"access_token":"a","token_type":"Bearer","refresh_token":"r","expiry":"2031-01-02T03:04:05Z","expires_in":3600}`
	require.NoError(t, client.Set(t.Context(), key, text, 0).Err())
	tok, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, reauth.Token{AccessToken: "a", TokenType: "Bearer", RefreshToken: "r", Expiry: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)}, tok)
}

func TestATokenThatIsNotUTF8IsNotSaved(t *testing.T) {
	s := startServer(t)
	store := redisstore.New(s.client(t), nil)
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	for _, tok := range []reauth.Token{
		{AccessToken: "\xff"}, {TokenType: "\xff"}, {RefreshToken: "\xff"},
		{Extra: map[string]string{"\xff": ""}}, {Extra: map[string]string{"a": "\xff"}},
	} {
		assert.ErrorContains(t, store.Save(t.Context(), "ann", tok), "UTF-8")
		assert.ErrorContains(t, store.Save(held, "ann", tok), "UTF-8")
	}
	_, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.False(t, ok)
}

// Redis is silent, and the client itself would wait for ReadTimeout.
func TestAllMethodsReturnWhenTheirContextIsDone(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		t.Run(fmt.Sprintf("ContextTimeoutEnabled=%v", enabled), func(t *testing.T) {
			s := startServer(t)
			proxy := cutproxy.New(t, s.addr)
			client := newClient(t, &redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: enabled, ReadTimeout: -1})
			store := newDeaf(client)
			held, unlock := mustLock(t, store, "ann")
			proxy.Stall(true)
			for name, call := range map[string]func(ctx context.Context) error{
				"Load":   func(ctx context.Context) error { _, _, err := store.Load(ctx, "ann"); return err },
				"Lock":   func(ctx context.Context) error { _, _, err := store.Lock(ctx, "bob"); return err },
				"Save":   func(ctx context.Context) error { return store.Save(ctx, "ann", reauth.Token{}) },
				"Delete": func(ctx context.Context) error { return store.Delete(ctx, "ann") },
			} {
				for _, parent := range []context.Context{t.Context(), held} {
					ctx, cancel := context.WithTimeout(parent, 20*time.Millisecond)
					assert.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
					cancel()
					assert.Error(t, call(ctx), name)
					ctx, cancel = context.WithCancel(parent)
					timer := time.AfterFunc(20*time.Millisecond, cancel)
					assert.ErrorIs(t, call(ctx), context.Canceled, name)
					timer.Stop()
					assert.ErrorIs(t, call(ctx), context.Canceled, name)
				}
			}
			assert.NoError(t, held.Err())
			proxy.Stall(false)
			unlock()
		})
	}
}

// Redis repeats the arguments of a command that it does not know.
func TestAnErrorOfRedisShowsNoToken(t *testing.T) {
	s := startServer(t, "--rename-command", "EVALSHA", "")
	client := s.client(t)
	require.ErrorContains(t, client.EvalSha(t.Context(), "0", nil, "secret").Err(), "secret", "what this test is about")
	store := redisstore.New(client, &redisstore.Options{Prefix: "p"})
	err := store.Save(t.Context(), "", reauth.Token{AccessToken: "secret"})
	require.ErrorContains(t, err, "unknown command")
	for ; err != nil; err = errors.Unwrap(err) {
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestAPanicInTheClientIsAnError(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	client.AddHook(hook{call: func(context.Context, redis.Cmder) { panic("secret") }})
	store := redisstore.New(client, nil)
	err := store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"})
	require.ErrorContains(t, err, "the client panicked with a string")
	assert.NotContains(t, err.Error(), "secret")
	_, _, err = store.Lock(t.Context(), "ann")
	assert.ErrorContains(t, err, "the client panicked")
}
