package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/sealedstore"
	"github.com/reauth-go/reauth/sqlstore"
)

// The client that the third party knows.
const (
	clientID     = "accounts"
	clientSecret = "the-demo's-secret" // public here, and in the environment of a real service
)

// A backend is what the web process and the worker process have in common. Each has its own.
type backend struct {
	db        *sql.DB
	store     *sqlstore.Store // below the encryption
	transport *reauth.Transport
	refresher *oauth.Refresher
	signIn    oauth2.Config
	api       string // below it are the paths of the third party's API
	url       string
	log       *slog.Logger
}

// openBackend connects to the database and makes its tables. Close the backend.
func openBackend(ctx context.Context, opts options, log *slog.Logger) (_ *backend, err error) {
	b := &backend{
		refresher: &oauth.Refresher{
			TokenURL:      opts.provider + "/token",
			RevocationURL: opts.provider + "/revoke",
			ClientID:      clientID,
			ClientSecret:  clientSecret,
		},
		signIn: oauth2.Config{
			ClientID: clientID, ClientSecret: clientSecret, RedirectURL: opts.url + "/callback",
			Endpoint: oauth2.Endpoint{
				AuthURL: opts.provider + "/authorize", TokenURL: opts.provider + "/token",
				AuthStyle: oauth2.AuthStyleInHeader, // trying both would use a code twice
			},
		},
		api: opts.provider, url: opts.url, log: log,
	}
	if b.db, err = sql.Open("pgx", opts.database); err != nil {
		return nil, errors.New("ACCOUNTS_DATABASE is no PostgreSQL address") // it may hold a password
	}
	defer func() {
		if err != nil {
			_ = b.db.Close()
		}
	}()
	b.db.SetMaxOpenConns(20)
	// Notify and Listen let the other process know at once.
	b.store, err = sqlstore.New(b.db, sqlstore.PostgreSQL, &sqlstore.Options{Notify: true, Listen: listen(opts.database)})
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for text := range strings.SplitSeq(opts.keys, ",") {
		key, err := hex.DecodeString(text)
		if err != nil {
			return nil, errors.New("ACCOUNTS_KEY is not hexadecimal")
		}
		keys = append(keys, key)
	}
	sealed, err := sealedstore.New(b.store, keys...)
	if err != nil {
		return nil, fmt.Errorf("ACCOUNTS_KEY: %w", err)
	}
	b.transport, err = reauth.New(reauth.Config{
		Refresher:      b.refresher,
		Origins:        []string{opts.provider},
		Store:          sealed,
		RequireSession: true, // a call that forgets whose account it is for fails
		OnEvent:        reauth.LogEvents(log),
	})
	if err != nil {
		return nil, err
	}
	if err := b.store.CreateTable(ctx); err != nil {
		return nil, err
	}
	return b, b.createTables(ctx)
}

// withBackend runs use with a backend that learns at once what other processes do.
func withBackend(ctx context.Context, opts options, log *slog.Logger, use func(*backend) error) error {
	b, err := openBackend(ctx, opts, log)
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	ctx, unwatch := context.WithCancel(ctx)
	watching.Go(func() { // ends with unwatch
		err := b.store.Watch(ctx, b.transport.Forget, b.transport.ForgetAll)
		if ctx.Err() == nil {
			log.Error("other processes' changes are noticed late", "error", err)
		}
	})
	err = use(b)
	unwatch()
	watching.Wait()
	return errors.Join(err, b.close())
}

// close waits for the refreshes in progress, because the interruption of one can cost an
// account its connection.
func (b *backend) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(b.transport.Wait(ctx), b.db.Close())
}

// client returns the client of one account. Its token is put on every request, and
// refreshed once for all processes.
func (b *backend) client(id string) *http.Client {
	return &http.Client{Transport: b.transport.Session(id), Timeout: 30 * time.Second}
}

// listen opens connections on which PostgreSQL tells what other processes have written.
func listen(database string) func(context.Context) (sqlstore.Listener, error) {
	return func(ctx context.Context) (sqlstore.Listener, error) {
		conn, err := pgx.Connect(ctx, database)
		if err != nil {
			return nil, err
		}
		return listener{conn}, nil
	}
}

type listener struct{ *pgx.Conn }

func (l listener) Listen(ctx context.Context, channel string) error {
	_, err := l.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize())
	return err
}

func (l listener) WaitForNotification(ctx context.Context) (string, error) {
	n, err := l.Conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}
