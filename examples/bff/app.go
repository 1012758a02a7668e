package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// An app is a running backend with the servers around it.
type app struct {
	url    string
	shared bool               // the store may also be another process's
	demo   *reauthtest.Server // nil if it is another process's
	failed chan error         // why a server, or the watch, has ended unexpectedly

	backend    *backend
	server     *http.Server
	demoServer *http.Server
	unwatch    func()
	closeStore func() error
	grace      time.Duration // how long stop waits for requests in progress
}

// start returns when the backend can be reached. ctx bounds how long that takes.
func start(ctx context.Context, opts options, log *slog.Logger) (*app, error) {
	a := &app{
		shared:     opts.store != "memory",
		failed:     make(chan error, 3),
		unwatch:    func() {},
		closeStore: func() error { return nil },
		grace:      10 * time.Second,
	}
	if err := a.start(ctx, opts, log); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

func (a *app) start(ctx context.Context, opts options, log *slog.Logger) error {
	servers := strings.TrimSuffix(opts.demo, "/")
	if servers == "" {
		listener, err := net.Listen("tcp", opts.demoAddr)
		if err != nil {
			return fmt.Errorf("-demo-addr: %w", err)
		}
		a.demo = newDemo(opts.lifetime)
		a.demo.URL = "http://" + listener.Addr().String()
		servers = a.demo.URL
		a.demoServer = &http.Server{Handler: checkPassword(a.demo)}
		a.serve(listener, a.demoServer, log)
	}
	api, err := url.Parse(servers + "/v1")
	if err != nil || api.Host == "" {
		return fmt.Errorf("-demo %q is no URL", opts.demo)
	}

	store, err := openStore(ctx, opts.store, opts.storeKey)
	if err != nil {
		return fmt.Errorf("-store: %w", err)
	}
	a.closeStore = store.close
	if a.shared && opts.storeKey == "" {
		log.Warn("tokens are stored as they are; set BFF_STORE_KEY to encrypt them")
	}

	a.backend, err = newBackend(config{
		api:           api,
		tokenURL:      servers + "/token",
		revocationURL: servers + "/revoke",
		clientID:      demoClientID,
		clientSecret:  demoClientSecret,
		store:         store.Store,
		secure:        opts.tls || opts.secure,
		clientTime:    opts.clientTime,
		log:           log,
	})
	if err != nil {
		return err
	}
	if store.shared != nil {
		a.watch(store.shared)
	}
	server := &http.Server{Handler: a.backend.handler(), ReadHeaderTimeout: opts.clientTime}
	scheme := "http://"
	if opts.tls {
		scheme = "https://"
		if server.TLSConfig, err = ownCertificate(opts.addr); err != nil {
			return fmt.Errorf("-tls: %w", err)
		}
	}
	listener, err := net.Listen("tcp", opts.addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	a.url = scheme + listener.Addr().String()
	// A live view lasts as long as its page, so it would keep the server from ending.
	server.RegisterOnShutdown(a.backend.live.close)
	a.server = server
	a.serve(listener, server, log)
	return nil
}

// watch lets a sign-out at another replica hold here at once, until stop.
func (a *app) watch(store watched) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	a.unwatch = func() { cancel(); <-ended }
	tr := a.backend.transport
	go func() {
		defer close(ended)
		if err := store.Watch(ctx, tr.Forget, tr.ForgetAll); ctx.Err() == nil {
			a.failed <- fmt.Errorf("the store's Watch: %w", err)
		}
	}()
}

// serve serves until stop.
func (a *app) serve(listener net.Listener, server *http.Server, log *slog.Logger) {
	// There is no limit for a whole request or answer, because both may stream.
	server.ReadHeaderTimeout = cmp.Or(server.ReadHeaderTimeout, clientTime)
	server.IdleTimeout = 2 * time.Minute
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // errors of clients
	go func() {                                                         // ends with the server
		var err error
		if server.TLSConfig != nil {
			err = server.ServeTLS(listener, "", "")
		} else {
			err = server.Serve(listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			a.failed <- err
		}
	}()
}

// stop waits for requests in progress, and then for refreshes, because interrupting one
// can invalidate the session. The token server stops last.
func (a *app) stop() error {
	var errs []error
	if a.server != nil {
		errs = append(errs, a.end(a.server))
	}
	if a.backend != nil {
		// A refresh has a time of its own, however long the requests took.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := a.backend.transport.Wait(ctx); err != nil {
			errs = append(errs, fmt.Errorf("a refresh has not ended: %w", err))
		}
	}
	a.unwatch()
	errs = append(errs, a.closeStore())
	if a.demoServer != nil {
		errs = append(errs, a.end(a.demoServer))
		a.demo.Close()
	}
	return errors.Join(errs...)
}

// end interrupts the requests that have not ended by themselves within the grace period.
func (a *app) end(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were broken off: %w", err), server.Close())
	}
	return nil
}
