package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

const (
	replicas = 3
	users    = 40
	workers  = 4 // of each replica
)

// A world is a token server and API, and replicas of a program that calls it. They are in
// one process, and share a store.
type world struct {
	server   *reauthtest.Server
	web      *http.Server
	store    *store
	replicas []*reauth.Transport
}

// A store is one whose disk can be full.
type store struct {
	reauth.MemoryStore
	isFull atomic.Bool
}

func (s *store) Save(ctx context.Context, session string, tok reauth.Token) error {
	if s.isFull.Load() {
		return errors.New("no space left on device")
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func newWorld(ctx context.Context, meters metric.MeterProvider, lifetime time.Duration) (*world, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{store: new(store)}
	w.server = reauthtest.New(reauthtest.Options{AccessLifetime: lifetime, RefreshLatency: 20 * time.Millisecond})
	w.server.URL = "http://" + listener.Addr().String()
	w.server.HandlePublic("/admin", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) }))
	w.web = &http.Server{Handler: w.server, ReadHeaderTimeout: time.Minute}
	go func() { _ = w.web.Serve(listener) }() // until Close

	for range replicas {
		cfg, err := otelreauth.Instrument(reauth.Config{
			Refresher:    &oauth.Refresher{TokenURL: w.server.TokenURL(), ClientID: "metrics"},
			Origins:      []string{w.server.URL},
			Store:        w.store,
			RefreshPause: lifetime / 4,
		}, otelreauth.WithMeterProvider(meters))
		if err != nil {
			return w, err
		}
		tr, err := reauth.New(cfg)
		if err != nil {
			return w, err
		}
		w.replicas = append(w.replicas, tr)
	}
	for i := range users {
		if err := w.signIn(ctx, i); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) signIn(ctx context.Context, user int) error {
	name := nameOf(user)
	return w.replicas[user%replicas].Session(name).SignIn(ctx, reauth.Token(w.server.SignIn(name)))
}

func nameOf(user int) string { return fmt.Sprintf("user-%d", user) }

// load sends requests of all users, through all replicas, until ctx is done.
func (w *world) load(ctx context.Context) {
	var wg sync.WaitGroup
	for _, tr := range w.replicas {
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					w.get(ctx, tr, rand.N(users), "/orders")
					pause(ctx, 40*time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
}

// get sends one request. Its faults are what the metrics are about.
func (w *world) get(ctx context.Context, tr *reauth.Transport, user int, path string) {
	req, err := http.NewRequestWithContext(reauth.WithSession(ctx, nameOf(user)), http.MethodGet, w.server.APIURL(path), nil)
	if err != nil {
		return
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// close waits for the refreshes in progress and the pending saves, and ends the servers.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, tr := range w.replicas {
		errs = append(errs, tr.Wait(ctx))
	}
	return errors.Join(append(errs, w.web.Close())...)
}
