package redisstore_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A hook of a client. Nil fields do nothing.
type hook struct {
	dial func(ctx context.Context)
	call func(ctx context.Context, cmd redis.Cmder) // before the command is sent
	done func(cmd redis.Cmder, err error)           // after it has been answered, or has failed
}

func (h hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h.dial != nil {
			h.dial(ctx)
		}
		return next(ctx, network, addr)
	}
}

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.call != nil {
			h.call(ctx, cmd)
		}
		err := next(ctx, cmd)
		if h.done != nil {
			h.done(cmd, err)
		}
		return err
	}
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A script is the result of running a script, as a client has seen it.
type script struct {
	command string // evalsha, or eval if Redis did not know the script
	failed  bool
}

// watch returns the scripts that client runs from now on.
func watch(client redis.UniversalClient) <-chan script {
	scripts := make(chan script, 1000)
	client.AddHook(hook{done: func(cmd redis.Cmder, err error) {
		if strings.HasPrefix(cmd.Name(), "eval") {
			scripts <- script{cmd.Name(), err != nil && !errors.Is(err, redis.Nil)}
		}
	}})
	return scripts
}

// receive returns the next value.
func receive[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(tb, "in vain", "waited for %s", what)
		panic("not reached")
	}
}

// A loser is a dialer whose connections lose an answer and break when told to.
type loser struct{ armed atomic.Bool }

func (l *loser) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &losingConn{Conn: c, loser: l}, err
}

// A losingConn is used by one goroutine at a time.
type losingConn struct {
	net.Conn
	loser *loser
	dead  bool
}

func (c *losingConn) Write(b []byte) (int, error) {
	if c.loser.armed.CompareAndSwap(true, false) {
		c.dead = true
	}
	return c.Conn.Write(b)
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b) // Redis has answered by then
	if c.dead {
		_ = c.Conn.Close()
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: errors.New("the answer was lost")}
	}
	return n, err
}

// A holdUp is a dialer whose connections, when told to, hold back all writes, and
// deliver no answer.
type holdUp struct {
	armed atomic.Bool
	kept  chan []byte // of size 1
}

func (h *holdUp) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &heldUpConn{c, h}, err
}

type heldUpConn struct {
	net.Conn
	holdUp *holdUp
}

func (c *heldUpConn) Write(b []byte) (int, error) {
	if c.holdUp.armed.CompareAndSwap(true, false) {
		c.holdUp.kept <- slices.Clone(b)
		return len(b), nil
	}
	return c.Conn.Write(b)
}
