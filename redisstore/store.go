// Package redisstore keeps the tokens of sessions in Redis, for processes on
// several machines. A [Store] is a reauth.Store and a reauth.Locker.
//
// A session has two keys: one holds its token, as JSON, and one its lock. The
// lock is a lease: its key has an end, which the holder puts off while it works.
// A Save or Delete under a lease is one script that first looks whether the lock
// is still its own. So a process that was stopped in the middle of a refresh, and
// goes on after its lease has run out, cannot replace the newer token that
// another has stored meanwhile.
//
// Who waits for a lock hears through Pub/Sub that it was given back, and looks
// from time to time in any case, since such a message can be lost.
//
// What is kept is kept by Redis. A Redis that forgets, because it restarts without
// persistence, evicts keys or fails over to a replica that lags behind, forgets
// who is signed in; see the README.
package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/reauth-go/reauth"
)

// Options are what can be set about a [Store]. The zero value is meant for
// production. New copies them.
type Options struct {
	// Prefix is what the name of every key and channel begins with. Stores with
	// different prefixes have nothing in common. Empty means "reauth:".
	//
	// In a Redis Cluster the keys of one session are in one slot, and sessions
	// spread over all of them, unless the prefix has a hash tag of its own, as
	// "{billing}:" has: then all sessions are in that one slot. A prefix that
	// contains "{}" or "{s:" is an error: the first would part the keys of a
	// session, the second is what the name of a session begins with.
	Prefix string

	// Lease is for how long a lock is granted at a time. Its holder renews it
	// three times as often; if that holder dies, or cannot reach Redis for as
	// long, others wait at most this long. It also bounds for how long Redis may
	// be away between a refresh and the Save of what it brought. 0 means 15 s,
	// and less than 100 ms is an error. Processes that share a Redis may differ
	// in it.
	Lease time.Duration

	// TTL is how long a token is kept after the Save that stored it: set it well
	// above the longest time that a session may go without a refresh, after which
	// its user must sign in again. 0 means for ever; less than 1 ms is an error.
	TTL time.Duration
}

const (
	defaultPrefix = "reauth:"
	defaultLease  = 15 * time.Second
	shortestLease = 100 * time.Millisecond
)

// A Store keeps tokens in Redis. It is made by [New], and may be used by many
// goroutines at once.
//
// Its methods return when their context ends, whatever the client's
// ContextTimeoutEnabled. What was sent by then may still take effect, and holds
// a connection of the pool until the client's own timeouts end it.
type Store struct {
	client redis.UniversalClient
	prefix string
	lease  time.Duration
	ttl    time.Duration
	look   time.Duration // how often a waiter looks without having heard anything, at most
	bell   *bell
	bad    error // why the store cannot be used
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store that uses client, which stays the caller's to configure and
// to close: a *redis.Client, also one that asks Sentinels, or a
// *redis.ClusterClient. A nil opts is the zero Options. New does not talk to
// Redis, so that a program starts even while that is away.
//
// If an argument cannot be used, each method of the Store returns an error that
// names it. That goes for a *redis.Ring too: while one of its shards is down it
// looks for that shard's sessions on another, where nobody is signed in.
func New(client redis.UniversalClient, opts *Options) *Store {
	if opts == nil {
		opts = new(Options)
	}
	s := &Store{
		client: client, prefix: opts.Prefix, lease: opts.Lease, ttl: opts.TTL,
		look: 250 * time.Millisecond,
		bell: newBell(client),
	}
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
		errs = append(errs, fmt.Errorf("redisstore: Options.Lease is %v, but has to be at least %v", s.lease, shortestLease))
	}
	if s.ttl != 0 && s.ttl < time.Millisecond {
		errs = append(errs, fmt.Errorf("redisstore: Options.TTL is %v, but has to be at least 1ms, or 0 for no end", s.ttl))
	}
	s.bad = errors.Join(errs...)
	return s
}

// Format writes the prefix, whatever the verb, and nothing of the client.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "*redisstore.Store[prefix %q]", s.prefix)
}

// Load implements reauth.Store. It never reads from a replica. What is stored and
// is no token is an error.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	if s.bad != nil {
		return reauth.Token{}, false, s.bad
	}
	key := s.keys(session).token
	text, err := do(ctx, func(ctx context.Context) (string, error) {
		return loadScript.Run(ctx, s.client, []string{key}).Text()
	})
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

// Save implements reauth.Store. With the context of a lock it writes only as long
// as the lease stands, and while Redis is away it tries again until the lease is
// lost or ctx ends: the token that was spent for tok may be the one that is
// stored, and nobody else can tell. Without, it is a plain SET, whoever holds the
// lock.
//
// A token that is not UTF-8 is an error: JSON cannot keep it.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	if s.bad != nil {
		return s.bad
	}
	key := s.keys(session).token
	text, err := tok.MarshalJSON()
	if err != nil {
		return failed("save", key, err)
	}
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "save", text)
	}
	_, err = do(ctx, func(ctx context.Context) (string, error) {
		return s.client.Set(ctx, key, text, s.ttl).Result()
	})
	return failed("save", key, err)
}

// Delete implements reauth.Store, with the context of a lock and without as Save
// does.
func (s *Store) Delete(ctx context.Context, session string) error {
	if s.bad != nil {
		return s.bad
	}
	if l := s.leaseIn(ctx, session); l != nil {
		return l.write(ctx, "delete", nil)
	}
	key := s.keys(session).token
	_, err := do(ctx, func(ctx context.Context) (int64, error) {
		return s.client.Del(ctx, key).Result()
	})
	return failed("delete", key, err)
}

// decode returns the token that text is the JSON of. What package json says of a
// text may repeat a piece of it, so its error is not passed on.
func decode(text string) (reauth.Token, error) {
	var tok reauth.Token
	var shape struct {
		AccessToken *string `json:"access_token"` // in every token, be it empty, and in hardly anything else
	}
	data := []byte(text)
	if !utf8.Valid(data) || json.Unmarshal(data, &shape) != nil || shape.AccessToken == nil || json.Unmarshal(data, &tok) != nil {
		return reauth.Token{}, errors.New("what is stored is not the JSON of a token")
	}
	return tok, nil
}
