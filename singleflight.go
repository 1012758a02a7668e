package reauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// A flight is a promise that one goroutine keeps and any number wait on, each
// with its own context.
type flight[T any] struct {
	once   sync.Once
	landed chan struct{} // closed after value and err were set, which makes them readable
	value  T
	err    error
}

func newFlight[T any]() *flight[T] {
	return &flight[T]{landed: make(chan struct{})}
}

// land keeps the promise. The first call counts; it reports whether it was that.
func (f *flight[T]) land(value T, err error) (first bool) {
	f.once.Do(func() {
		f.value, f.err = value, err
		close(f.landed)
		first = true
	})
	return first
}

// wait returns what the flight brought, or the cause of ctx as soon as that
// ends. Once the flight has landed, its result is returned whatever ctx says.
func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.landed:
		return f.value, f.err
	default:
	}
	select {
	case <-f.landed:
		return f.value, f.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// depart runs fn on a goroutine of its own, which ends when fn returns. What fn
// returns, or that it panicked or called runtime.Goexit, is what the flight
// lands with, unless it has landed before.
func depart[T any](what string, fn func() (T, error)) *flight[T] {
	f := newFlight[T]()
	go func() {
		var value T
		var err error
		returned := false
		defer func() {
			if v := recover(); v != nil {
				err = panicError(what, v)
			} else if !returned {
				err = fmt.Errorf("%s ended its goroutine", what)
			}
			f.land(value, err)
		}()
		value, err = fn()
		returned = true
	}()
	return f
}

// await is depart without a way to leave early: it gives code that is not ours
// a goroutine of its own, so that a panic or a Goexit in it ends there.
func await[T any](what string, fn func() (T, error)) (T, error) {
	return depart(what, fn).wait(context.Background())
}

// contained is await for code that returns nothing.
func contained(what string, fn func()) error {
	_, err := await(what, func() (struct{}, error) { fn(); return struct{}{}, nil })
	return err
}

// panicError tells that a panic happened, and where. Of the value that was
// panicked with it repeats only what the runtime itself wrote: anything else may
// hold a secret.
func panicError(what string, v any) error {
	text := fmt.Sprintf("%s panicked with a %T", what, v)
	if _, ok := v.(runtime.Error); ok {
		text = fmt.Sprintf("%s panicked: %v", what, v)
	}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	panicking := false
	for {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !inRuntime && frame.Function != "" {
			return fmt.Errorf("%s at %s:%d", text, frame.File, frame.Line)
		}
		panicking = panicking || inRuntime
		if !more {
			return errors.New(text)
		}
	}
}
