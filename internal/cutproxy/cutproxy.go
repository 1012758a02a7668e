// Package cutproxy is a TCP proxy that does to connections what networks do: it
// cuts them, refuses them, and lets them go silent.
package cutproxy

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy passes on what reaches its address to another one, until it is told
// otherwise. Its methods may be called at any time by many goroutines.
type Proxy struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	pairs   map[*pair]struct{}
	refused bool
	stalled chan struct{} // closed when bytes flow again; nil while they do
	closed  bool
	wg      sync.WaitGroup
}

// A pair is one connection from a client and the one that goes with it.
type pair struct {
	client, server net.Conn
	forsaken       bool // guarded by Proxy.mu
}

// New starts a proxy to target, which ends with the test.
func New(tb testing.TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener, pairs: make(map[*pair]struct{})}
	p.wg.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all connections there are, also in the middle of an answer.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.cut()
	}
}

// Refuse says whether new connections are cut at once.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = refuse
}

// Redirect makes new connections go to another address.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Forsake lets the connections there are go silent for good, as after a host has vanished.
// New ones work.
func (p *Proxy) Forsake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.forsaken = true
	}
}

// Stall says whether bytes are kept back. They flow on when it ends.
func (p *Proxy) Stall(stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case stall && p.stalled == nil:
		p.stalled = make(chan struct{})
	case !stall && p.stalled != nil:
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refused, target := p.refused, p.target
	p.mu.Unlock()
	if refused {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	pair := &pair{client: client, server: server}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.pairs[pair] = struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pass(pair, server, client); pair.cut() })
	wg.Go(func() { p.pass(pair, client, server); pair.cut() })
	wg.Wait()
	p.mu.Lock()
	delete(p.pairs, pair)
	p.mu.Unlock()
}

func (p *Proxy) pass(pair *pair, to io.Writer, from io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		stalled, forsaken := p.stalled, pair.forsaken
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if n > 0 && !forsaken {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *pair) cut() {
	reset(p.client)
	reset(p.server)
}

// reset closes a connection so that the other side finds it broken, not ended.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Stall(false)
	p.Cut()
	p.wg.Wait()
}
