package memnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/memnet"
)

func TestDialReachesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test")
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, io.LimitReader(conn, 5))
		}()
		conn, err := l.DialContext(t.Context(), "tcp", "whatever.test:80")
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		require.NoError(t, err)
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
	})
}

func TestAddr(t *testing.T) {
	l := memnet.Listen("server.test")
	assert.Equal(t, "server.test", l.Addr().String())
	assert.Equal(t, "memory", l.Addr().Network())
}

func TestConnectionHasDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t, memnet.Listen("server.test"))
		defer client.Close()
		defer server.Close()
		start := time.Now()
		require.NoError(t, client.SetReadDeadline(start.Add(time.Minute)))
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestCloseEndsAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test")
		failed := make(chan error)
		go func() {
			_, err := l.Accept()
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-failed, net.ErrClosed)
		_, err := l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestCloseEndsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test")
		failed := make(chan error)
		go func() {
			_, err := l.DialContext(t.Context(), "tcp", "")
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-failed, net.ErrClosed)
	})
}

func TestDialAfterCloseFails(t *testing.T) {
	l := memnet.Listen("server.test")
	require.NoError(t, l.Close())
	_, err := l.DialContext(t.Context(), "tcp", "")
	require.ErrorIs(t, err, net.ErrClosed)
	op, ok := errors.AsType[*net.OpError](err)
	require.True(t, ok)
	assert.Equal(t, "dial", op.Op)
}

func TestCloseTwice(t *testing.T) {
	l := memnet.Listen("server.test")
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
}

func TestCloseLeavesConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test")
		client, server := connect(t, l)
		defer client.Close()
		defer server.Close()
		require.NoError(t, l.Close())
		go func() { _, _ = client.Write([]byte{7}) }()
		got := make([]byte, 1)
		_, err := server.Read(got)
		require.NoError(t, err)
		assert.Equal(t, byte(7), got[0])
	})
}

func TestDialHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test") // nobody accepts
		defer l.Close()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.DialContext(ctx, "tcp", "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestDialWithEndedContextConnectsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("server.test")
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("no longer wanted")
		cancel(cause)
		for range 50 { // a select that chose at random would not fail each time
			_, err := l.DialContext(ctx, "tcp", "")
			require.ErrorIs(t, err, cause)
		}
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-accepted, net.ErrClosed)
	})
}

// connect returns both ends of a connection through l.
func connect(t *testing.T, l *memnet.Listener) (client, server net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn)
	go func() {
		conn, err := l.Accept()
		assert.NoError(t, err)
		accepted <- conn
	}()
	client, err := l.DialContext(t.Context(), "tcp", "")
	require.NoError(t, err)
	return client, <-accepted
}
