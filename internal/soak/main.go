// Soak lets several processes share sessions for minutes or hours, with faults on,
// and counts what was lost: nothing, if all is well.
//
//	go run ./internal/soak -for 15m -store redis
//
// from the project's root. It starts what it needs on ports of its own: oidc-provider
// (see CONTRIBUTING for what to install; -server builtin does without), a Redis, and
// a proxy that stands between all processes and the server and does what networks and
// overloaded servers do. Tokens live three seconds, refresh tokens rotate, and one that
// is used twice ends its session. Redis is restarted and its connections are cut.
// Processes are told to end, or killed, and others take their place; one is stopped for
// longer than its lease lasts, and goes on.
//
// The proxy breaks no answer to a refresh that the server has granted: on a server
// that detects reuse no client survives that. Where a process is killed or stopped
// between such an answer and its save, the session is lost as well. That is counted
// apart, and its user signs in again.
//
// It ends with 1 if anything was lost, if a refresh token was used twice for no such
// reason, or if too few requests were answered, and says which.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type settings struct {
	duration  time.Duration
	store     string
	server    string
	processes int
	callers   int
	sessions  int
	report    time.Duration
}

func main() {
	if orders, ok := os.LookupEnv(workerVariable); ok {
		if err := work(orders); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(2)
		}
		return
	}
	var s settings
	flag.DurationVar(&s.duration, "for", time.Minute, "how long")
	flag.StringVar(&s.store, "store", "file", "what the processes share: file or redis")
	flag.StringVar(&s.server, "server", "oidc", "the token server and API: oidc, which is oidc-provider, or builtin")
	flag.IntVar(&s.processes, "processes", 4, "how many processes at a time")
	flag.IntVar(&s.callers, "callers", 10, "how many callers in each")
	flag.IntVar(&s.sessions, "sessions", 4, "how many sessions they share")
	flag.DurationVar(&s.report, "report", 30*time.Second, "how often to say how it goes")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := soak(ctx, s); {
	case errors.Is(err, errLost):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
}

var errLost = errors.New("something was lost")

// soak is the whole of it.
func soak(ctx context.Context, s settings) error {
	if s.processes < 1 || s.callers < 1 || s.sessions < 1 {
		return fmt.Errorf("-processes %d, -callers %d, -sessions %d: each has to be 1 at least", s.processes, s.callers, s.sessions)
	}
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	server, err := startServer(ctx, s.server)
	if err != nil {
		return err
	}
	defer server.stop()
	proxy, err := startProxy(server.url)
	if err != nil {
		return err
	}
	defer proxy.stop()
	store, err := startStore(s.store, dir)
	if err != nil {
		return err
	}
	defer store.stop()

	f := &fleet{settings: s, server: server, proxy: proxy, store: store}
	if err := f.signIn(ctx); err != nil {
		return err
	}
	return f.run(ctx)
}
