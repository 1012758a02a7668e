// Quickstart lets many requests run into an expired token at the same moment and
// shows, as a timeline, what becomes of them: all are refused, one refresh is
// made, each is sent again and answered.
//
//	go run ./examples/quickstart
//
// needs nothing else: it brings an API and a token server of its own, on a port
// of this machine. With -url and a refresh token it does the same to an API of
// yours; see -help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/reauth-go/reauth"
)

// connect is all that a program has to do about tokens.
func connect(ctx context.Context, to target, w *watch) (*http.Client, *reauth.Transport, error) {
	transport, err := reauth.New(reauth.Config{
		Refresher: &reauth.OAuth2Refresher{
			TokenURL:     to.tokenURL,
			ClientID:     to.clientID,
			ClientSecret: to.clientSecret,
			AuthStyle:    to.authStyle,
			Scopes:       to.scopes,
			Client:       w.tokenClient(), // plain, but for being watched
		},
		Origins:      []string{to.origin},
		Base:         w, // the same
		Store:        to.store,
		Refused:      w.refused,
		EarlyRefresh: to.earlyRefresh,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := transport.SignIn(ctx, to.token); err != nil {
		return nil, nil, err
	}
	return &http.Client{Transport: transport, CheckRedirect: stayHere}, transport, nil
}

// storm sends n requests at once. Each is a plain GET that knows of no token.
func storm(ctx context.Context, to target, n int, w *watch) error {
	client, transport, err := connect(ctx, to, w)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() { w.get(ctx, client, to.url, "") })
	}
	all.Wait()
	return finish(ctx, transport)
}

// finish is what a program does before it exits, also when it was interrupted: a
// refresh that is cut off can cost the session.
func finish(ctx context.Context, transport *reauth.Transport) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return transport.Wait(ctx)
}

// stayHere makes a redirect the answer, whatever it leads to.
func stayHere(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const (
	exitOK     = 0
	exitFailed = 1 // a request was lost, or a refresh was wasted
	exitUsage  = 2
)

func run(args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return exitOK
	case err != nil:
		complain(stderr, err)
		fmt.Fprintln(stderr, "Try -help.")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	out := newPage(stdout)
	if opts.url != "" {
		err = visit(ctx, opts, out, stderr)
	} else {
		err = play(ctx, opts.n, out)
	}
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	return exitOK
}

// complain writes an error of one line or more.
func complain(stderr io.Writer, err error) {
	const name = "quickstart: "
	text := strings.ReplaceAll(err.Error(), "\n", "\n"+strings.Repeat(" ", len(name)))
	fmt.Fprintf(stderr, "%s%s\n", name, text)
}

// play performs the three acts against servers of our own.
func play(ctx context.Context, n int, out *page) error {
	out.title("reauth", "one refresh for all who need it")
	var total tally
	for _, act := range []func(context.Context, int, *page) (tally, error){actStorm, actLate, actRollover} {
		t, err := act(ctx, n, out)
		if err != nil {
			return err
		}
		total.add(t)
	}
	out.act("CURTAIN", "All three acts together")
	out.sum(total)
	return total.verdict()
}

// visit lets loose the storm on an API of the user's.
func visit(ctx context.Context, opts options, out *page, stderr io.Writer) error {
	to := opts.target()
	keeper, err := newKeeper(opts.refreshToken, opts.save)
	if err != nil {
		return err
	}
	defer keeper.close()
	to.store = keeper

	out.title("reauth", "one refresh for all who need it")
	out.act("STORM", fmt.Sprintf("%s at once to %s", plural(opts.n, "request"), to.name()))
	w := newWatch(http.DefaultTransport.(*http.Transport).Clone(), opts.n, opts.refused)
	err = storm(ctx, to, opts.n, w)
	out.timeline(w)
	t := w.tally(1)
	out.totals(t)
	keeper.report(stderr)
	if err != nil {
		return err
	}
	return errors.Join(t.verdict(), w.diagnosis())
}
