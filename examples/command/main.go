// Command calls an API with a token that another program prints, as "gcloud auth
// print-access-token" and "gh auth token" do:
//
//	go run ./examples/command -url https://api.github.com/user gh auth token
//
// It runs the program when it needs a token, and again when the API refuses that token.
// Without arguments it shows this with an API and a program of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/reauth-go/reauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "command:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("command", flag.ContinueOnError)
	target := flags.String("url", "", "what to get; the token goes to its origin only")
	env := flags.String("env", "", "names of more variables of the environment that the program gets, with commas between, such as GH_HOST")
	timeout := flags.Duration("timeout", 30*time.Second, "how long the program may take")
	verbose := flags.Bool("v", false, "show what the program prints to standard error, which may be a secret")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 2 && flags.Arg(0) == printToken && *target == "" {
		return printFrom(ctx, flags.Arg(1), out)
	}
	if *target == "" && flags.NArg() == 0 {
		return demo(ctx, out)
	}
	c := &command{args: flags.Args(), pass: strings.FieldsFunc(*env, func(r rune) bool { return r == ',' }), until: ctx}
	if *verbose {
		c.log = os.Stderr
	}
	transport, err := newTransport(c, *target, *timeout)
	if err != nil {
		return err
	}
	status, err := get(ctx, &http.Client{Transport: transport}, *target, out)
	_ = transport.Wait(context.Background()) // Ctrl-C reaches this program alone: the other has to be ended
	if err == nil && status >= 400 {
		err = fmt.Errorf("the API answered %d", status)
	}
	return err
}

// newTransport returns a Transport for the origin of target. It needs no sign-in: the program
// that c runs is signed in.
func newTransport(c *command, target string, timeout time.Duration) (*reauth.Transport, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		return nil, errors.New("-timeout must be more than 0")
	}
	return reauth.New(reauth.Config{
		Refresher: c, Origins: []string{u.Scheme + "://" + u.Host}, RefreshTimeout: timeout,
	})
}

// get copies an answer to out.
func get(ctx context.Context, client *http.Client, target string, out io.Writer) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(out, resp.Body)
	return resp.StatusCode, err
}
