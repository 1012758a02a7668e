package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// An interruption is the cause of a context that a signal has cancelled.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return i.signal.String() }

// untilInterrupted returns a context that the first signal cancels. The second signal ends
// the program.
func untilInterrupted() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as under nohup, and for background commands of a script
			signal.Notify(signals, s)
		}
	}
	go func() {
		cancel(interruption{<-signals})
		interruption{<-signals}.end()
	}()
	return ctx
}

func interrupted(ctx context.Context) bool {
	_, ok := errors.AsType[interruption](context.Cause(ctx))
	return ok
}

// end ends the program by the signal itself, as if it had not been caught, so that a shell
// knows that it should not continue its loop.
func (i interruption) end() {
	signal.Reset(i.signal)
	if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(i.signal) == nil {
		time.Sleep(time.Second) // longer than it takes
	}
	number, _ := i.signal.(syscall.Signal) // on Windows only the exit status is possible
	os.Exit(128 + int(number))
}
