// Package reauthtest is for token refresh what [net/http/httptest] is for HTTP. Its
// [Server] is an authorization server (RFC 6749) and the API it protects in one. It
// issues access tokens that really expire, rotates refresh tokens, and detects their
// reuse. It expires, revokes, delays and fails on command, and counts all requests. Use
// it to test a program's handling of tokens without mocks.
//
//	s := reauthtest.NewServer(t, reauthtest.Options{AccessLifetime: time.Minute})
//	signedIn := s.SignIn("ann")  // an access and a refresh token
//	s.ExpireAccess()             // from now on the API answers 401
//	// ... the client under test calls s.APIURL("/orders") ...
//	if n := s.Counts().Refreshes; n != 1 { ... }
//
// A Transport does not refresh a token that it has got less than Config.RefreshPause ago, five
// seconds, because of a refusal by an endpoint that has not accepted its tokens so far: that
// is about permission. A test that expires one token right after another sets RefreshPause
// to -1, or calls the endpoint in between.
//
// [NewServer] listens on the loopback interface. [NewPipeServer] uses no sockets and
// works in a testing/synctest bubble, where a lifetime of an hour passes in an instant.
// [New] needs no test.
//
// A sign-in starts a session, which is a chain of tokens (a "token family"). Each refresh
// makes the next generation. The first generation is 1.
//
// The package never prints or logs a token, and its errors contain none. It keeps all
// tokens it has ever issued in memory, so it is for tests and demonstrations only.
package reauthtest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/reauth-go/reauth/internal/memnet"
)

// pipeHost is in a domain that never resolves (RFC 6761 section 6.4), so that a request
// by a client other than the server's own fails.
const pipeHost = "reauth.test"

// A Server is an authorization server and the API that it protects:
//
//   - POST /token is the token endpoint (RFC 6749) for the grant types
//     refresh_token, client_credentials and password; the last takes any
//     username with any password that is not empty.
//   - POST /revoke is the revocation endpoint (RFC 7009).
//   - Every other path is the API. It refuses a request without a valid access
//     token, and answers any other with 200 and a small JSON object, which has
//     the user, the path and, as "token", the generation (not the token itself).
//     It reads the request's body to the end, and describes it in the headers
//     X-Body-Length and X-Body-SHA256 (in hex) of the answer.
//
// Handle, HandlePublic and HandleRefresh add handlers of your own, with the patterns of
// [http.ServeMux].
//
// There is no sign-in page, and no grant type authorization_code. For a program that sends
// its users to one, the test adds both; see the example of HandlePublic.
//
// A Server is a [http.Handler]. Its methods are safe for concurrent use; URL
// may be set before the first of them is called. Create it with [New],
// [NewServer] or [NewPipeServer].
type Server struct {
	// URL is the base of all the server's URLs, without a slash at its end. Set it if you
	// mount a Server made by New on a listener of your own.
	URL string

	mux       *http.ServeMux
	issuer    *issuer
	counter   *counter
	refreshes *gate
	api       *gate

	start    func() // starts to listen, once
	listener net.Listener
	http     *httptest.Server
	serving  sync.Mutex // guards the start of http against Close
	done     chan struct{}
	close    func()
}

// New returns a Server that does not belong to a test, for programs such as examples.
// Its Client and Transport reach it in memory. It is also a handler that can be mounted
// on any listener:
//
//	s := reauthtest.New(reauthtest.Options{})
//	s.URL = "http://localhost:8080"
//	err := http.ListenAndServe("localhost:8080", s)
//
// Close it if Client or Transport were used. See [NewPipeServer] for how they
// behave.
func New(opts Options) *Server {
	return newServer(opts, memnet.Listen(pipeHost))
}

// NewServer starts a Server on a port of the loopback interface, which is
// closed when the test ends. For tests in a testing/synctest bubble use
// [NewPipeServer].
func NewServer(t testing.TB, opts Options) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if listener, err = net.Listen("tcp6", "[::1]:0"); err != nil {
			t.Fatalf("reauthtest: no port to listen on: %v", err)
		}
	}
	s := newServer(opts, listener)
	s.start()
	t.Cleanup(s.Close)
	return s
}

// NewPipeServer starts a Server that only its own Client and Transport reach, over
// in-memory pipes. It is closed when the test ends. In a testing/synctest bubble it runs
// in virtual time. Create it inside the bubble, with the bubble's t, so that nothing of
// it outlives the bubble. A reauth.Transport reaches it if Config.Base is its Transport and
// the Refresher's Client its Client.
//
// Its Transport reaches this server whatever the host in the URL. A test can therefore
// simulate a redirect to another host with a pattern like "stranger.test/" for
// [Server.HandlePublic].
func NewPipeServer(t testing.TB, opts Options) *Server {
	t.Helper()
	s := New(opts)
	s.start()
	t.Cleanup(s.Close)
	return s
}

func newServer(opts Options, listener net.Listener) *Server {
	opts = opts.withDefaults()
	counter := new(counter)
	s := &Server{
		mux:       http.NewServeMux(),
		issuer:    newIssuer(opts, counter),
		counter:   counter,
		refreshes: newGate(opts.RefreshLatency),
		api:       newGate(opts.APILatency),
		listener:  listener,
		done:      make(chan struct{}),
	}
	scheme := "http://"
	if opts.TLS {
		scheme = "https://"
	}
	s.URL = scheme + listener.Addr().String()
	s.start = sync.OnceFunc(func() { s.listen(opts.TLS) })
	s.close = sync.OnceFunc(s.shutDown)
	s.mux.HandleFunc("/token", s.serveToken)
	s.mux.HandleFunc("/revoke", s.serveRevoke)
	return s
}

// ServeHTTP answers a request to any of the server's endpoints.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.issuer.clock().UTC().Format(http.TimeFormat))
	if _, pattern := s.mux.Handler(r); pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.protect(http.HandlerFunc(serveDefault)).ServeHTTP(w, r)
}

// Handle adds a handler to the protected API. It gets only requests with a valid access
// token, and [UserFromRequest] returns whose it is. The pattern is one of
// [http.ServeMux]; an invalid one panics.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mux.Handle(pattern, s.protect(h))
}

// HandlePublic adds a handler that is not protected. It is called with or without a
// token. Its requests are neither counted nor failed.
func (s *Server) HandlePublic(pattern string, h http.Handler) {
	s.mux.Handle(pattern, h)
}

// HandleRefresh adds an endpoint that refreshes tokens by another protocol than RFC 6749,
// such as JSON or cookies. Requests to it are counted, delayed, blocked and failed like
// those to the token endpoint. The handler calls [Server.Refresh].
func (s *Server) HandleRefresh(pattern string, h http.Handler) {
	s.mux.Handle(pattern, s.refreshEndpoint(h))
}

// TokenURL is the address of the token endpoint.
func (s *Server) TokenURL() string { return s.URL + "/token" }

// RevocationURL is the address of the revocation endpoint.
func (s *Server) RevocationURL() string { return s.URL + "/revoke" }

// APIURL is the address of a path of the API; path starts with a slash.
func (s *Server) APIURL(path string) string { return s.URL + path }

// Client returns a new plain client that uses Transport. It puts no token on
// its requests.
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.Transport()} }

// Transport returns the transport that reaches the server and, with
// Options.TLS, trusts its certificate. It is the same one each time, and Close
// closes its idle connections. It uses no proxy.
func (s *Server) Transport() *http.Transport {
	s.start()
	return s.http.Client().Transport.(*http.Transport)
}

// Format writes the type and the URL of the server, whatever the verb, because package
// fmt would print the tokens that it keeps.
func (s *Server) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "reauthtest.Server at %s", s.URL)
}

// Close cuts all connections, releases the requests that are blocked, delayed or hanging,
// without an answer, and waits until their handlers have returned. Calling it again does
// nothing. Close does not affect listeners on which you have mounted the Server.
func (s *Server) Close() { s.close() }

func (s *Server) listen(useTLS bool) {
	server := &httptest.Server{
		Listener:    s.listener,
		EnableHTTP2: useTLS,
		Config:      &http.Server{Handler: s, ConnState: s.connState},
	}
	if useTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	if pipes, ok := s.listener.(*memnet.Listener); ok {
		transport := server.Client().Transport.(*http.Transport)
		transport.DialContext = pipes.DialContext
		if useTLS {
			transport.TLSClientConfig.ServerName = "example.com" // in httptest's certificate
		}
	}
	s.serving.Lock()
	defer s.serving.Unlock()
	s.http = server
}

func (s *Server) shutDown() {
	close(s.done)
	_ = s.listener.Close()
	s.serving.Lock()
	server := s.http
	s.serving.Unlock()
	if server != nil {
		// Cut connections first, because httptest waits for requests in progress, and a
		// handler of the user's may wait for its client to go away.
		server.CloseClientConnections()
		server.Close()
	}
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.counter.update(func(c *Counts) { c.Connections++ })
	}
}

// sleep waits for d, and reports false if the server is closed first.
func (s *Server) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.done:
		return false
	}
}
