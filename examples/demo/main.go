// Demo sends many requests at the moment when their access token expires, and
// shows on a timeline what happens to them. All are refused, one refresh is made,
// and each request is sent again and answered.
//
//	go run ./examples/demo
//
// needs nothing else, because the program starts an API and a token server of its
// own on a port of this machine. With -url and a refresh token it sends the
// requests to an API of yours; see -help.
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
	"github.com/reauth-go/reauth/oauth"
)

// connect is everything a program has to do about tokens.
func connect(ctx context.Context, to target, w *watch) (*http.Client, *reauth.Transport, error) {
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL:     to.tokenURL,
			ClientID:     to.clientID,
			ClientSecret: to.clientSecret,
			AuthStyle:    to.authStyle,
			Scopes:       to.scopes,
			Client:       w.tokenClient(), // a plain client that the watch records
		},
		Origins:      []string{to.origin},
		Base:         w, // http.DefaultTransport, recorded too
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

// storm sends n requests at once. Each is a plain GET without a token.
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

// finish waits for refreshes in progress. A program does this before it exits, also
// when it is interrupted, because an interrupted refresh can invalidate the session.
func finish(ctx context.Context, transport *reauth.Transport) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return transport.Wait(ctx)
}

// stayHere returns a redirect as the answer instead of following it.
func stayHere(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const (
	exitOK     = 0
	exitFailed = 1 // a request was lost, or there were too many refreshes
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
		err = play(ctx, stage{opts.n, out, onLoopback})
	}
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	return exitOK
}

// complain writes an error of one or more lines.
func complain(stderr io.Writer, err error) {
	const name = "demo: "
	text := strings.ReplaceAll(err.Error(), "\n", "\n"+strings.Repeat(" ", len(name)))
	fmt.Fprintf(stderr, "%s%s\n", name, text)
}

// play performs the three acts against the servers of this program.
func play(ctx context.Context, on stage) error {
	on.out.title("reauth", "one refresh for all who need it")
	var total tally
	for _, act := range []func(context.Context, stage) (tally, error){actStorm, actLate, actRollover} {
		t, err := act(ctx, on)
		if err != nil {
			return err
		}
		total.add(t)
	}
	on.out.act("CURTAIN", "All three acts together")
	on.out.sum(total)
	return total.verdict()
}

// visit sends the storm to an API of the user's.
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
