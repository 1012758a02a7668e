// Bff is a web application whose backend keeps the tokens (a backend for frontend). The
// browser has only a cookie. The backend turns the cookie into a session, and proxies the
// browser's API calls through a reauth.Transport, which puts the session's access token
// on each of them.
//
//	go run ./examples/bff
//
// needs nothing else, because the program starts a token server and an API of its own,
// whose access tokens live for two seconds. With -once it visits itself and exits. See
// -help for the rest.
//
// The code about tokens is in tokens.go. The answers that a browser gets when they fail
// are in proxy.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	addr     string
	tls      bool
	secure   bool // the browser uses HTTPS, even if a proxy in front does not
	store    string
	storeKey string // from the environment
	demo     string
	demoAddr string
	lifetime time.Duration
	once     bool

	clientTime time.Duration // see the constant; 0 means that
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "bff: %v\nTry -help.\n", err)
		return exitUsage
	}
	a, err := start(ctx, opts, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		fmt.Fprintf(stderr, "bff: %v\n", err)
		return exitFailed
	}
	if opts.once {
		// The time in which the tokens expire, and half a minute for the rest.
		bounded, cancel := context.WithTimeout(ctx, (onceRollovers+1)*opts.lifetime+30*time.Second)
		err = once(bounded, a, stdout)
		cancel()
	} else {
		a.announce(stdout)
		select {
		case <-ctx.Done():
		case err = <-a.failed:
		}
	}
	if err := errors.Join(err, a.stop()); err != nil {
		fmt.Fprintf(stderr, "bff: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func parse(args []string, stdout io.Writer) (options, error) {
	opts := options{storeKey: os.Getenv("BFF_STORE_KEY")}
	flags := flag.NewFlagSet("bff", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&opts.addr, "addr", "", "`address` to listen on (default 127.0.0.1:8080; with -once, any free port)")
	flags.BoolVar(&opts.tls, "tls", false, "serve HTTPS, and so HTTP/2, under a certificate made on the spot, which browsers warn of")
	flags.BoolVar(&opts.secure, "secure", false, "browsers come by HTTPS, which a proxy in front ends")
	flags.StringVar(&opts.store, "store", "", "where the tokens are kept: memory, redis://..., postgres://... or sqlite:FILE\n(default memory); with a password in it, better in the environment")
	flags.StringVar(&opts.demo, "demo", "", "use the token server and API of another bff, at this `URL`, in place of starting them")
	flags.StringVar(&opts.demoAddr, "demo-addr", "127.0.0.1:0", "`address` of the token server and API")
	flags.DurationVar(&opts.lifetime, "lifetime", 2*time.Second, "how long its access tokens live")
	flags.BoolVar(&opts.once, "once", false, "do once, without a browser, what a visitor does, and end")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Bff is a web application whose backend keeps the tokens.\n\nFlags:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		fmt.Fprintln(stdout, "\nIn the environment:\n  BFF_STORE\n    \twhat -store says, out of sight of others on this machine\n  BFF_STORE_KEY\n    \t32 bytes in hexadecimal (openssl rand -hex 32), with which stored tokens are encrypted")
		return opts, err
	case err != nil:
		return opts, err
	case flags.NArg() > 0:
		return opts, fmt.Errorf("%q is not a flag", flags.Arg(0))
	case opts.lifetime <= 0:
		return opts, fmt.Errorf("-lifetime %s: a token has to live for a while", opts.lifetime)
	}
	opts.store = cmp.Or(opts.store, os.Getenv("BFF_STORE"), "memory")
	if opts.addr == "" {
		opts.addr = "127.0.0.1:8080"
		if opts.once {
			opts.addr = "127.0.0.1:0"
		}
	}
	return opts, nil
}

// announce prints the address.
func (a *app) announce(w io.Writer) {
	fmt.Fprintf(w, "bff: open %s and sign in as %s, with the password %q\n", a.url, strings.Join(demoUsers, " or "), demoPassword)
	if a.demo != nil && a.shared {
		fmt.Fprintf(w, "bff: a second replica: the same -store, and -addr 127.0.0.1:8081 -demo %s\n", a.demo.URL)
	}
}
