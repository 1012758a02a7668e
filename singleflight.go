package reauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// A promise is kept by one goroutine. Any number wait for it, each with a context of
// its own.
type promise[T any] struct {
	once  sync.Once
	kept  chan struct{} // closed after value was set, which makes it readable
	value T
}

func newPromise[T any]() *promise[T] {
	return &promise[T]{kept: make(chan struct{})}
}

// keep keeps the promise. Only the first call counts.
func (p *promise[T]) keep(value T) {
	p.once.Do(func() {
		p.value = value
		close(p.kept)
	})
}

// wait returns the value, or false as soon as ctx is done. Once the promise is kept
// the value is returned even if ctx is done.
func (p *promise[T]) wait(ctx context.Context) (value T, ok bool) {
	select {
	case <-p.kept:
		return p.value, true
	default:
	}
	select {
	case <-p.kept:
		return p.value, true
	case <-ctx.Done():
		return value, false
	}
}

// A result is what a function returned.
type result[T any] struct {
	value T
	err   error
}

// spawn runs fn on a goroutine of its own, which ends when fn returns. A panic in fn or
// a call of runtime.Goexit becomes an error.
func spawn[T any](what string, fn func() (T, error)) *promise[result[T]] {
	p := newPromise[result[T]]()
	go func() {
		var r result[T]
		returned := false
		defer func() {
			if v := recover(); v != nil {
				r.err = panicError(what, v)
			} else if !returned {
				r.err = fmt.Errorf("%s ended its goroutine", what)
			}
			p.keep(r)
		}()
		r.value, r.err = fn()
		returned = true
	}()
	return p
}

// await is spawn and a wait for the result. Foreign code gets a goroutine of its own,
// so that a panic or a Goexit in it ends there.
func await[T any](what string, fn func() (T, error)) (T, error) {
	r, _ := spawn(what, fn).wait(context.Background())
	return r.value, r.err
}

// contained is await for code that returns nothing.
func contained(what string, fn func()) error {
	_, err := await(what, func() (struct{}, error) { fn(); return struct{}{}, nil })
	return err
}

// panicError says that a panic happened, and where. It repeats the panic's value only
// if that comes from the runtime: any other may hold a secret.
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
