// Shop is a program that uses an SDK. It does not handle tokens, and does not know the
// library that does.
//
//	go run ./examples/sdk/shop
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/reauth-go/reauth/examples/sdk/orders"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	service := startService()
	defer service.Close()
	client, err := orders.New(&orders.Options{BaseURL: service.URL, Transport: service.Transport()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave(ctx, client)) }()

	switch _, err := client.List(ctx); {
	case err == nil:
		return errors.New("the service lets anyone in")
	case !errors.Is(err, orders.ErrSignInRequired):
		return err
	}
	fmt.Fprintln(out, "Nobody is signed in yet:   the SDK says so, and the program asks for a password")
	if err := client.SignIn(ctx, "ann", password); err != nil {
		return err
	}
	fmt.Fprintln(out, "Ann is signed in")

	if err := place(ctx, client, out, "tea", 3); err != nil {
		return err
	}
	service.ExpireAccess()
	fmt.Fprintln(out, "Ann's access token ends:   of which neither she nor the program hears")
	if err := place(ctx, client, out, "biscuits", 12); err != nil {
		return err
	}
	all, err := client.List(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "All her orders:            %d, renewals of her session: %d\n", len(all), service.Counts().Refreshes)

	if err := client.SignOut(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "Ann is signed out")
	return nil
}

func place(ctx context.Context, client *orders.Client, out io.Writer, item string, quantity int) error {
	order, err := client.Place(ctx, item, quantity)
	if unavailable, ok := errors.AsType[*orders.UnavailableError](err); ok {
		return fmt.Errorf("try again in %s: %w", max(unavailable.RetryAfter, time.Second), err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Order %d:                   %d × %s\n", order.ID, order.Quantity, order.Item)
	return nil
}

// leave runs before the program ends, also if it was interrupted.
func leave(ctx context.Context, client *orders.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return client.Close(ctx)
}
