package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A call is one use of the client, on a goroutine of its own, because the client does
// not notice that its context is done while it waits for an answer.
type call[T any] struct {
	done  chan struct{} // closed once value and err are set
	value T
	err   error
}

// start calls fn. The goroutine ends when fn does. The client checks ctx before each
// attempt, and bounds an attempt by its DialTimeout, WriteTimeout and ReadTimeout.
func start[T any](ctx context.Context, fn func(context.Context) (T, error)) *call[T] {
	c := &call[T]{done: make(chan struct{}), err: errors.New("the client did not return")} // as after runtime.Goexit
	go func() {
		defer close(c.done)
		defer func() {
			if p := recover(); p != nil {
				c.err = panicked(p)
			}
		}()
		c.value, c.err = fn(ctx)
	}()
	return c
}

// panicked reports a panic in the client or one of its hooks, without the value, which
// may hold anything.
func panicked(p any) error {
	if _, ok := p.(runtime.Error); ok {
		return fmt.Errorf("the client panicked: %v", p)
	}
	return fmt.Errorf("the client panicked with a %T", p)
}

// wait returns the result of the call, or the cause of ctx if that is done.
func (c *call[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-c.done:
		if c.err == nil || errors.Is(c.err, redis.Nil) {
			return c.value, c.err
		}
		if err := ended(ctx); err != nil { // this is why the client gave up
			return c.value, err
		}
		return c.value, harmless(c.err)
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// ended returns the cause of ctx if it is done, or nil. With ContextTimeoutEnabled a
// read ends at the deadline, possibly before the context is done.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// harmless returns err without the arguments that Redis repeats when it does not know a
// command, because they may hold a token.
func harmless(err error) error {
	if text, _, found := strings.Cut(err.Error(), ", with args beginning with"); found {
		return errors.New(text)
	}
	return err
}

// do calls fn, and returns at the latest when ctx is done.
func do[T any](ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	if ctx.Err() != nil {
		var none T
		return none, context.Cause(ctx)
	}
	return start(ctx, fn).wait(ctx)
}

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// persist calls fn until it succeeds, fails with an error that is not worth a retry, or
// ctx is done. It returns the last failure.
func persist[T any](ctx context.Context, retry func(error) bool, fn func(context.Context) (T, error)) (T, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		v, err := do(ctx, fn)
		if err == nil || !retry(err) || !sleep(ctx, pause-rand.N(pause/2)) {
			return v, err
		}
	}
}

// passing reports whether a failed call may succeed later. Errors about Redis itself
// are temporary (LOADING, READONLY, CLUSTERDOWN, TRYAGAIN, OOM and more). Errors about the
// command or the user are not.
func passing(err error) bool {
	if errors.Is(err, redis.ErrClosed) {
		return false
	}
	if redis.IsMaxClientsError(err) {
		return true
	}
	switch code(err) {
	case "ERR", "NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE", "CROSSSLOT":
		return false
	}
	return true
}

// unready reports whether Redis has answered that it can't serve the keys for now: it
// starts, fails over, or migrates their slot.
func unready(err error) bool {
	switch code(err) {
	case "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN":
		return true
	}
	return migrating(err)
}

// migrating reports whether a node of a cluster has answered that the keys are elsewhere,
// some of them or all. A client follows such answers itself, but only a few in a row.
func migrating(err error) bool {
	switch code(err) {
	case "TRYAGAIN", "MOVED", "ASK":
		return true
	}
	return false
}

// code returns the first word of an answer that is an error, which tells its kind. Before
// Redis 7 the error of a command in a script stands within another: "ERR Error running
// script (call to f_…): @user_script:7: @user_script: 7: -READONLY You can't write …".
func code(err error) string {
	text := err.Error()
	if strings.HasPrefix(text, "ERR Error running script") {
		if _, inner, ok := strings.Cut(text, ": -"); ok {
			text = inner
		}
	}
	word, _, _ := strings.Cut(text, " ")
	return word
}

// sleep waits for d. If ctx is done first, it reports false at once.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// failed adds to err what could not be done. A nil err stays nil.
func failed(what, key string, err error) error {
	if err == nil {
		return nil
	}
	const longest = 200 // of a key that is quoted; a session's name may be of any length
	if len(key) > longest {
		key = key[:longest] + "..."
	}
	return fmt.Errorf("redisstore: %s %q: %w", what, key, err)
}
