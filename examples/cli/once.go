package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"github.com/reauth-go/reauth/reauthtest"
)

const runs = 20

// once runs this program twenty times at once with an expired access token, and reports
// the result.
func once(ctx context.Context, a *app) (err error) {
	d, err := startDemo("127.0.0.1:0", reauthtest.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	dir, err := os.MkdirTemp("", "notes")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	s, err := open(d.tokens.URL, a.store, dir)
	if err != nil {
		return err
	}
	if err := s.signIn(ctx, "ann", "secret", a.stderr); err != nil {
		return err
	}
	defer func() { // an entry in a keychain would stay
		err = errors.Join(err, s.handle.SignOut(context.WithoutCancel(ctx)), s.finish(ctx, a.stderr))
	}()
	d.tokens.ExpireAccess()

	failed := runAtOnce(ctx, d.tokens, "whoami", "-server", d.tokens.URL, "-store", a.store, "-dir", dir)
	fmt.Fprintf(a.stdout, "%d runs at once: %d successes, %s.\n", runs, runs-len(failed), renewals(d.tokens.Counts().Refreshes))
	if n := d.tokens.Counts().Refreshes; n != 1 {
		failed = append(failed, fmt.Errorf("%s where one was needed", renewals(n)))
	}
	return errors.Join(failed...)
}

// runAtOnce returns the errors of the runs that failed. The server answers only after all
// runs have sent their request, so each of them has its token refused.
func runAtOnce(ctx context.Context, server *reauthtest.Server, args ...string) (failed []error) {
	self, err := os.Executable()
	if err != nil {
		return []error{err}
	}
	before := server.Counts().APIRequests
	release := server.BlockAPI()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	errs := make(chan error, runs)
	var all sync.WaitGroup
	for range runs {
		all.Go(func() {
			defer stop() // a run that has ended sends no request
			if out, err := exec.CommandContext(ctx, self, args...).CombinedOutput(); err != nil {
				errs <- fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	_ = server.Await(asking, func(c reauthtest.Counts) bool { return c.APIRequests >= before+runs })
	release()
	all.Wait()
	close(errs)
	for err := range errs {
		failed = append(failed, err)
	}
	return failed
}

func renewals(n int) string {
	if n == 1 {
		return "1 refresh"
	}
	return fmt.Sprintf("%d refreshes", n)
}
