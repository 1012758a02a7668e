// Package redisstore keeps the tokens of sessions in Redis, for processes on
// several machines. A [Store] is a reauth.Store and a reauth.Locker.
//
// A session has two keys, one for its token, as JSON, and one for its lock and the queue of
// those who wait for that. The lock is a
// lease, whose key expires and which the holder extends while it works. A Load, Save or
// Delete under a lease is one script that first checks whether the holder still has the
// lock. Therefore a process that was stopped during a refresh, and continues after its
// lease has expired, cannot replace the newer token that another has stored meanwhile.
//
// Pub/Sub tells waiters that a lock was released or a token has changed, and those who call
// [Store.Watch] which sessions have changed. Waiters also poll from time to time, because
// such a message can be lost.
//
// The store keeps tokens only as well as Redis does. A Redis that restarts without
// persistence, evicts keys or fails over to a replica that lags behind loses sessions;
// see the README.
package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/reauth-go/reauth"
)

// Options configure a [Store]. The zero value is meant for production. New copies them.
type Options struct {
	// Prefix begins the name of every key and channel. Stores with different prefixes
	// share nothing, and neither do those whose clients have different databases. Empty
	// means "reauth:".
	//
	// In a Redis Cluster the keys of one session are in one slot, and sessions spread
	// over all slots. If the prefix has a hash tag of its own, as "{billing}:" has, all
	// sessions are in one slot. A prefix that contains "{}" or "{s:" is an error. The
	// first would separate the keys of a session, and the second begins the name of a
	// session.
	Prefix string

	// Lease is how long a lock is granted at a time. Its holder renews it three times
	// as often. If the holder dies, or cannot reach Redis for that long, others wait at
	// most this long. Redis may also be away for that long between a refresh and the
	// Save of its result. 0 means 15 s, and less than 100 ms is an error. Processes
	// that share a Redis may have different values.
	Lease time.Duration

	// TTL is how long a token is kept after the Save that stored it. A session that is
	// not refreshed for that long is signed out, so set it high enough. 0 means no
	// limit, and less than 1 ms is an error.
	TTL time.Duration
}

const (
	defaultPrefix = "reauth:"
	defaultLease  = 15 * time.Second
	shortestLease = 100 * time.Millisecond
)

// A Store keeps tokens in Redis. Create it with [New]. It is safe for concurrent use.
//
// Its methods return when their context is done, whatever the client's
// ContextTimeoutEnabled. A command that was sent by then may still take effect, and
// occupies a connection of the pool until the client's own timeouts end it.
type Store struct {
	client   redis.UniversalClient
	database int // its number
	prefix   string
	lease    time.Duration
	ttl      time.Duration
	look     time.Duration // the longest interval at which a waiter polls
	bell     *bell
	id       string // of this Store, by which it knows what it has written
	bad      error  // set if an argument of New was invalid
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store that uses client, a *redis.Client, also one that uses Sentinel, or
// a *redis.ClusterClient. The caller configures and closes the client. Nil opts mean the
// zero Options. New does not connect to Redis, so that a program can start while Redis is
// away.
//
// If an argument is invalid, each method of the Store returns an error that names it. A
// *redis.Ring is invalid, because while one of its shards is down it looks for that
// shard's sessions on another, where nobody is signed in.
func New(client redis.UniversalClient, opts *Options) *Store {
	if opts == nil {
		opts = new(Options)
	}
	s := &Store{
		client: client, prefix: opts.Prefix, lease: opts.Lease, ttl: opts.TTL,
		look:     250 * time.Millisecond,
		database: databaseOf(client),
		id:       rand.Text(),
	}
	s.bell = newBell(client, changedMark(s.database))
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	if s.lease == 0 {
		s.lease = defaultLease
	}

	var errs []error
	switch c := client.(type) {
	case nil:
		errs = append(errs, errors.New("redisstore: the client is nil"))
	case *redis.Client:
		if c == nil {
			errs = append(errs, errors.New("redisstore: the client is a nil *redis.Client"))
		}
	case *redis.ClusterClient:
		if c == nil {
			errs = append(errs, errors.New("redisstore: the client is a nil *redis.ClusterClient"))
		}
	case *redis.Ring:
		errs = append(errs, errors.New("redisstore: the client is a *redis.Ring, which forgets sessions while a shard is down; use a *redis.Client or *redis.ClusterClient"))
	}
	for _, part := range []string{"{}", sessionTag} {
		if strings.Contains(s.prefix, part) {
			errs = append(errs, fmt.Errorf("redisstore: Options.Prefix is %q, but may not contain %q", s.prefix, part))
		}
	}
	if s.lease < shortestLease {
		errs = append(errs, fmt.Errorf("redisstore: Options.Lease is %v, but must be at least %v", s.lease, shortestLease))
	}
	if s.ttl != 0 && s.ttl < time.Millisecond {
		errs = append(errs, fmt.Errorf("redisstore: Options.TTL is %v, but must be at least 1ms, or 0 for no limit", s.ttl))
	}
	s.bad = errors.Join(errs...)
	return s
}

// Format writes the prefix, whatever the verb, and nothing about the client.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "*redisstore.Store[prefix %q]", s.prefix)
}

// Load implements reauth.Store. It never reads from a replica of a cluster. With the
// context of a lock it checks in the same step that the lock is still held, by Redis's own
// account, and is refused by any replica. A stored value that is not a token is an error.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if s.bad != nil {
		return reauth.Token{}, false, s.bad
	}
	key := s.keys(session).token
	var text string
	var err error
	if l := s.leaseIn(ctx, session); l != nil {
		text, err = l.read(ctx)
	} else {
		text, err = do(ctx, func(ctx context.Context) (string, error) {
			return s.run(ctx, loadScript, []string{key}).Text()
		})
	}
	if errors.Is(err, redis.Nil) {
		return reauth.Token{}, false, nil
	}
	if err != nil {
		return reauth.Token{}, false, failed("load", key, err)
	}
	tok, err := decode(text)
	if err != nil {
		return reauth.Token{}, false, failed("load", key, err)
	}
	return tok, true, nil
}

// Save implements reauth.Store. With the context of a lock it writes only while the lease
// lasts. While Redis is away it retries until the lease is lost or ctx is done, because
// the stored token may be the one that was spent for tok, which no other process can
// know. Without a lock it writes even if somebody holds the lock.
//
// A token that is not UTF-8 is an error, because JSON cannot represent it.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	if s.bad != nil {
		return s.bad
	}
	key := s.keys(session).token
	data, err := tok.MarshalJSON()
	if err != nil {
		return failed("save", key, err)
	}
	text := withSavedAt(string(data), time.Now())
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "save", text)
	}
	_, err = do(ctx, func(ctx context.Context) (int64, error) { return s.write(ctx, session, "", 0, text) })
	return failed("save", key, err)
}

// Delete implements reauth.Store. It treats the context of a lock as Save does.
func (s *Store) Delete(ctx context.Context, session string) error {
	if s.bad != nil {
		return s.bad
	}
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "delete", "")
	}
	key := s.keys(session).token
	_, err := do(ctx, func(ctx context.Context) (int64, error) { return s.write(ctx, session, "", 0, "") })
	return failed("delete", key, err)
}

// write replaces the stored token, or removes it if token is empty, and tells all who wait
// or watch. owner is that of a lease, or empty. The result is 0 if it does not have the lock.
func (s *Store) write(ctx context.Context, session, owner string, number int64, token string) (int64, error) {
	keys := s.keys(session)
	return s.run(ctx, writeScript, []string{keys.token, keys.lock},
		owner, number, token, s.ttl.Milliseconds(), s.changes(), s.id+session, changedMark(s.database)).Int64()
}

// decode returns the token whose JSON is text. Its error does not wrap that of package
// json, which may quote the text.
func decode(text string) (reauth.Token, error) {
	var tok reauth.Token
	var shape struct {
		AccessToken *string `json:"access_token"` // in every token, even if empty, and in hardly anything else
	}
	data := []byte(text)
	if !utf8.Valid(data) || json.Unmarshal(data, &shape) != nil || shape.AccessToken == nil || json.Unmarshal(data, &tok) != nil {
		return reauth.Token{}, errors.New("the stored value is not the JSON of a token")
	}
	return tok, nil
}
