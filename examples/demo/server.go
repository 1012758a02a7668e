package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// slowPath is answered only after letGo.
const slowPath = "/report"

// A stage is what an act is played on.
type stage struct {
	n      int // requests of the storm
	out    *page
	listen func() (net.Listener, dialer, error)
}

// A dialer connects to a listener.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// onLoopback listens on a port of this machine.
func onLoopback() (net.Listener, dialer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	return listener, new(net.Dialer).DialContext, err
}

// An embedded is an API and a token server at one address. Both speak
// HTTP/2 without TLS, so that thousands of requests share a few connections.
type embedded struct {
	*reauthtest.Server
	http    *http.Server
	dial    dialer
	arrived chan struct{} // closed when a request for slowPath has arrived
	arrive  func()
	gate    chan struct{}
	letGo   func()
}

func (s stage) serve(opts reauthtest.Options) (*embedded, error) {
	listener, dial, err := s.listen()
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	e := &embedded{
		Server: reauthtest.New(opts), dial: dial, arrived: make(chan struct{}), gate: make(chan struct{}),
	}
	e.URL = "http://" + listener.Addr().String()
	e.arrive = sync.OnceFunc(func() { close(e.arrived) })
	e.letGo = sync.OnceFunc(func() { close(e.gate) })
	e.http = &http.Server{Handler: e, Protocols: protocols(), ReadHeaderTimeout: time.Minute}
	go func() { _ = e.http.Serve(listener) }() // until close
	return e, nil
}

func (e *embedded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == slowPath {
		e.arrive()
		select {
		case <-e.gate:
		case <-r.Context().Done():
		}
	}
	e.Server.ServeHTTP(w, r)
}

// gather holds the API's answers back until n requests have arrived, so that all of
// them are refused at the same time, however slow this machine is.
func (e *embedded) gather(ctx context.Context, n int) {
	release := e.BlockAPI()
	go func() { // until then, or until ctx ends or e is closed
		defer release()
		_ = e.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests >= n })
	}()
}

// target signs a user in.
func (e *embedded) target() target {
	return target{
		url:      e.APIURL("/orders"),
		origin:   e.URL,
		tokenURL: e.TokenURL(),
		token:    reauth.Token(e.SignIn("ann")),
	}
}

func (e *embedded) close() {
	e.letGo()
	e.Close()
	_ = e.http.Close()
}

// base returns a transport that reaches e.
func (e *embedded) base() *http.Transport {
	return &http.Transport{Protocols: protocols(), DialContext: e.dial}
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}
