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

// openStore opens the store that address names. Close it when it is not used any more.
// With a key its tokens are encrypted.
func openStore(ctx context.Context, address, key string) (store reauth.Store, closeStore func() error, err error) {
	switch scheme, rest, _ := strings.Cut(address, ":"); scheme {
	case "memory":
		return new(reauth.MemoryStore), func() error { return nil }, nil
	case "redis", "rediss":
		store, closeStore, err = openRedis(ctx, address)
	case "postgres", "postgresql":
		store, closeStore, err = openSQL(ctx, "pgx", address, sqlstore.PostgreSQL)
	case "sqlite":
		file := "file:" + (&url.URL{Path: rest}).EscapedPath() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
		store, closeStore, err = openSQL(ctx, "sqlite", file, sqlstore.SQLite)
	default: // the address is not repeated, because it may hold a password
		return nil, nil, errors.New("must be memory, redis://..., postgres://... or sqlite:FILE")
	}
	if err != nil || key == "" {
		return store, closeStore, err
	}
	sealed, err := seal(store, key)
	if err != nil {
		return nil, nil, errors.Join(err, closeStore())
	}
	return sealed, closeStore, nil
}

func openRedis(ctx context.Context, address string) (reauth.Store, func() error, error) {
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

func openSQL(ctx context.Context, driver, dsn string, dialect sqlstore.Dialect) (reauth.Store, func() error, error) {
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
