// Bridges uses a session in libraries that need an oauth2.TokenSource.
//
//	go run ./examples/bridges
//
// starts a server and crosses the bridge once, with a token that was just revoked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bridges:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := reauthtest.New(reauthtest.Options{})
	s.URL = "http://" + listener.Addr().String()
	serve(s)
	defer s.Close()
	web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	defer web.Close()
	go func() { _ = web.Serve(listener) }() // until Close

	transport, err := connect(ctx, s)
	if err != nil {
		return err
	}
	defer func() { // interrupting a refresh can invalidate the session
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, transport.Wait(ctx))
	}()
	return cross(ctx, out, transport, s)
}
