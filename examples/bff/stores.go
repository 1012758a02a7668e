package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/redisstore"
	"github.com/reauth-go/reauth/sealedstore"
	"github.com/reauth-go/reauth/sqlstore"
)

// keepFor is how long Redis keeps a session that is not refreshed, because closing a
// browser does not sign out. Memory and SQL keep it without limit.
const keepFor = 30 * 24 * time.Hour

// A store keeps the tokens.
type store struct {
	reauth.Store
	shared watched // below any encryption; nil if no other process can reach it
	close  func() error
}

// A watched store tells what other processes do.
type watched interface {
	reauth.Store
	Watch(ctx context.Context, changed func(session string), missed func()) error
}

// openStore opens the store that address names. Close it when it is not used any more.
// With a key its tokens are encrypted.
func openStore(ctx context.Context, address, key string) (s *store, err error) {
	var shared watched
	var closeStore func() error
	switch scheme, rest, _ := strings.Cut(address, ":"); scheme {
	case "memory":
		return &store{Store: new(reauth.MemoryStore), close: func() error { return nil }}, nil
	case "redis", "rediss":
		shared, closeStore, err = openRedis(ctx, address)
	case "postgres", "postgresql":
		shared, closeStore, err = openSQL(ctx, "pgx", address, sqlstore.PostgreSQL)
	case "sqlite":
		file := "file:" + (&url.URL{Path: rest}).EscapedPath() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
		shared, closeStore, err = openSQL(ctx, "sqlite", file, sqlstore.SQLite)
	default: // the address is not repeated, because it may hold a password
		err = errors.New("must be memory, redis://..., postgres://... or sqlite:FILE")
	}
	if err != nil {
		return nil, err
	}
	s = &store{Store: shared, shared: shared, close: closeStore}
	if key != "" {
		if s.Store, err = seal(shared, key); err != nil {
			return nil, errors.Join(err, closeStore())
		}
	}
	return s, nil
}

func openRedis(ctx context.Context, address string) (watched, func() error, error) {
	opts, err := redis.ParseURL(address)
	if err != nil {
		return nil, nil, errors.New("not a Redis address, such as redis://user:password@localhost:6379/0")
	}
	client := redis.NewClient(opts)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return redisstore.New(client, &redisstore.Options{TTL: keepFor}), client.Close, nil
}

func openSQL(ctx context.Context, driver, dsn string, dialect sqlstore.Dialect) (watched, func() error, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("not an address of %v", dialect)
	}
	store, err := sqlstore.New(db, dialect, nil)
	if err == nil {
		err = store.CreateTable(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return store, db.Close, nil
}

func seal(store reauth.Store, key string) (reauth.Store, error) {
	bytes, err := hex.DecodeString(key)
	if err != nil {
		return nil, errors.New("BFF_STORE_KEY is not hexadecimal")
	}
	return sealedstore.New(store, bytes)
}
