// Oauth2login signs a user in with golang.org/x/oauth2, in the user's browser, and uses
// reauth from then on. It asks an API who the user is, again and again, while tokens of
// two seconds expire.
//
//	go run ./examples/oauth2login
//
// starts an OpenID provider, which needs Node.js. With -issuer it signs in at one of
// yours. See -help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/reauth-go/reauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "oauth2login: %v\nTry -help.\n", err)
		return exitUsage
	}
	if err := visit(ctx, opts, stdout); err != nil {
		fmt.Fprintln(stderr, "oauth2login:", err)
		return exitFailed
	}
	return exitOK
}

// visit runs everything from the sign-in to the sign-out.
func visit(ctx context.Context, opts options, stdout io.Writer) (err error) {
	to := opts.target
	if to.own() {
		issuer, stop, err := startProvider(ctx)
		if err != nil {
			return err
		}
		defer stop()
		to.issuer = issuer
	}
	if err := to.complete(ctx); err != nil {
		return err
	}
	out := &page{out: stdout}
	s, err := newSession(to, out.event)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end(ctx)) }()
	for {
		err := s.work(ctx, opts.renewals, out)
		if !errors.Is(err, reauth.ErrSignInRequired) {
			return err
		}
		// Nobody has signed in yet, or the provider has ended the session.
		tok, err := signIn(ctx, to.oauth2(), to.issuer, opts.listen, out.invite)
		if err != nil {
			return err
		}
		if err := s.begin(ctx, tok); err != nil {
			return err
		}
		out.signedIn(tok)
	}
}
