// Accounts is the back end of a service whose users connect their accounts at a third
// party. It keeps a token for each account in PostgreSQL, encrypted. A web process
// connects and disconnects accounts, and a worker process calls the third party's API
// for all of them.
//
//	export ACCOUNTS_DATABASE=postgres://localhost/accounts ACCOUNTS_KEY=$(openssl rand -hex 32)
//	go run ./examples/accounts
//
// starts a third party too, and runs everything in one process. With the argument web,
// worker or provider it is one of the three. See -help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "accounts:", err)
		os.Exit(1)
	}
}

// options are what the command line and the environment say. An URL has no slash at its end.
type options struct {
	database, keys string // from the environment, which other users can't read
	addr           string
	url            string // of the web process, as browsers see it
	provider       string
	every          time.Duration
	lifetime       time.Duration
}

// run runs one part of the service, or without an argument all of them, until ctx is done
// or a part fails.
func run(ctx context.Context, args []string, stdout io.Writer, log *slog.Logger) error {
	parts := []string{"provider", "worker", "web"}
	if len(args) > 0 && slices.Contains(parts, args[0]) {
		parts, args = args[:1], args[1:]
	}
	opts, err := parse(args, stdout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { // ends with ctx
			switch part {
			case "provider":
				handler := newProvider(opts.provider, opts.url+"/callback", opts.lifetime)
				ended <- serve(ctx, strings.TrimPrefix(opts.provider, "http://"), handler)
			case "web":
				ended <- withBackend(ctx, opts, log, func(b *backend) error {
					fmt.Fprintf(stdout, "accounts: open %s\n", opts.url)
					return serve(ctx, opts.addr, b.handler())
				})
			case "worker":
				ended <- withBackend(ctx, opts, log, func(b *backend) error { return b.work(ctx, opts.every) })
			}
		}()
	}
	for range parts { // the first to end is the reason why the others do
		err = errors.Join(err, <-ended)
		cancel()
	}
	return err
}

func parse(args []string, stdout io.Writer) (options, error) {
	opts := options{database: os.Getenv("ACCOUNTS_DATABASE"), keys: os.Getenv("ACCOUNTS_KEY")}
	flags := flag.NewFlagSet("accounts", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&opts.addr, "addr", "127.0.0.1:8080", "`address` on which the web process listens")
	flags.StringVar(&opts.url, "url", "", "the web process's `URL` in browsers (default http:// and -addr)")
	flags.StringVar(&opts.provider, "provider", "http://127.0.0.1:9000", "the third party's `URL`")
	flags.DurationVar(&opts.every, "every", 10*time.Second, "how often the worker calls the API for each account")
	flags.DurationVar(&opts.lifetime, "lifetime", 30*time.Second, "how long the third party's access tokens live")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, "accounts [web | worker | provider] [flags]\n\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		fmt.Fprint(stdout, "\nIn the environment:\n  ACCOUNTS_DATABASE\n    \ta PostgreSQL address, postgres://...\n"+
			"  ACCOUNTS_KEY\n    \t32 bytes in hexadecimal (openssl rand -hex 32), with which tokens are encrypted;\n"+
			"    \tafter commas, older ones that still decrypt\n")
		return opts, err
	case err != nil:
		return opts, err
	case flags.NArg() > 0:
		return opts, fmt.Errorf("%q is neither web, worker nor provider", flags.Arg(0))
	case opts.every < time.Millisecond || opts.lifetime < time.Second:
		return opts, errors.New("-every must be at least 1ms, and -lifetime 1s")
	}
	if opts.url == "" {
		opts.url = "http://" + opts.addr
	}
	opts.url, opts.provider = strings.TrimSuffix(opts.url, "/"), strings.TrimSuffix(opts.provider, "/")
	return opts, nil
}

// serve serves until ctx is done, and then until the requests in progress have ended.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }() // ends with the server
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(server.Shutdown(ctx), server.Close())
	}
}
