package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// An interruption is the cause of a context that a signal has ended.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return i.signal.String() }

// untilInterrupted returns a context that ends with the first signal to end the
// program. The second does end it.
func untilInterrupted() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as it is under nohup, and for what a script runs in the background
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

// end ends the program by the signal itself, as if it had never been caught: that is
// how a shell knows that it should not go on with its loop.
func (i interruption) end() {
	signal.Reset(i.signal)
	if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(i.signal) == nil {
		time.Sleep(time.Second) // longer than it takes
	}
	number, _ := i.signal.(syscall.Signal) // on Windows there is nothing but to say it
	os.Exit(128 + int(number))
}
