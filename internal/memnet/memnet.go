// Package memnet is a network in memory: a [Listener] whose connections are the
// two ends of a [net.Pipe]. There is no socket in it, so a server and its
// clients can run inside a testing/synctest bubble, in virtual time.
package memnet

import (
	"context"
	"net"
	"sync"
)

// A Listener is a [net.Listener] that only its own [Listener.DialContext]
// reaches. Its methods are safe for concurrent use.
type Listener struct {
	addr   addr
	dialed chan net.Conn // the server's ends, handed straight to Accept
	closed chan struct{}
	once   sync.Once
}

// Listen returns a Listener with the given address, which is only a name.
// It holds no resource but memory until the first dial.
func Listen(address string) *Listener {
	return &Listener{
		addr:   addr(address),
		dialed: make(chan net.Conn),
		closed: make(chan struct{}),
	}
}

// Accept returns the server's end of the next connection that is dialed. Once
// the listener is closed it fails with [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	if l.isClosed() {
		return nil, l.failed("accept", net.ErrClosed)
	}
	select {
	case conn := <-l.dialed:
		return conn, nil
	case <-l.closed:
		return nil, l.failed("accept", net.ErrClosed)
	}
}

// DialContext connects to the listener, whatever network and address it is
// given, so that it can be the DialContext of an [net/http.Transport]. It waits
// until the connection is accepted, or fails with the context's cause, or with
// [net.ErrClosed] once the listener is closed. The context's end has no effect
// on a connection already made.
func (l *Listener) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, l.failed("dial", context.Cause(ctx))
	}
	if l.isClosed() {
		return nil, l.failed("dial", net.ErrClosed)
	}
	client, server := net.Pipe()
	var err error
	select {
	case l.dialed <- server:
		return client, nil
	case <-l.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, l.failed("dial", err)
}

// Close ends Accept and DialContext, those in progress included. Connections
// already made live on. Further calls do nothing; it never fails.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the address given to [Listen], on the network "memory".
func (l *Listener) Addr() net.Addr { return l.addr }

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *Listener) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: err}
}

type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }
