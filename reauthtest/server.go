// Package reauthtest is what [net/http/httptest] is, for token refresh: a
// [Server] that is an authorization server (RFC 6749) and the API it protects
// in one. It issues access tokens that really expire, rotates refresh tokens,
// notices when one is used twice, expires, revokes, delays and fails on
// command, and counts all that it sees. With it a program's handling of tokens
// can be tested without mocks.
//
//	s := reauthtest.NewServer(t, reauthtest.Options{AccessLifetime: time.Minute})
//	signedIn := s.SignIn("ann")  // an access and a refresh token
//	s.ExpireAccess()             // from now on the API answers 401
//	// ... the client under test calls s.APIURL("/orders") ...
//	if n := s.Counts().Refreshes; n != 1 { ... }
//
// [NewServer] listens on the loopback interface. [NewPipeServer] uses no
// sockets and so works in a testing/synctest bubble, where an hour's lifetime
// passes in an instant. [New] needs no test at all.
//
// A session is what one sign-in starts: a chain of tokens (a "token family"),
// of which each refresh makes the next generation. The first generation is 1.
//
// What this package prints, logs or puts into an error never contains a token.
// It keeps all it has ever issued in memory; it is for tests and demonstrations
// and nothing else.
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

// pipeHost is in a domain that never resolves (RFC 6761 section 6.4): a request
// sent by a client other than the server's own fails and reaches nobody.
const pipeHost = "reauth.test"

// A Server is an authorization server and the API that it protects:
//
//   - POST /token is the token endpoint (RFC 6749) for the grant types
//     refresh_token, client_credentials and password; the last takes any
//     username with any password that is not empty.
//   - POST /revoke is the revocation endpoint (RFC 7009).
//   - Every other path is the API. It refuses a request without a good access
//     token, and answers any other with 200 and a small JSON object: the user,
//     the path and, under "token", the generation (not the token itself). If
//     the request has a body it is read to its end, and X-Body-Length and
//     X-Body-SHA256 (in hex) in the answer tell what arrived.
//
// Handle, HandlePublic and HandleRefresh put handlers of your own in place of
// that, in the manner of [http.ServeMux].
//
// A Server is a [http.Handler]. Its methods are safe for concurrent use; URL
// may be set before the first of them is called. Create it with [New],
// [NewServer] or [NewPipeServer].
type Server struct {
	// URL is the base of all the server's URLs, without a slash at its end.
	// Set it where you mount a Server made by New on a listener of your own.
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

// New returns a Server that no test owns, for programs such as an example that
// wants to run on its own. Its Client and Transport reach it in memory; it is
// also a handler that can be mounted on any listener:
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

// NewPipeServer starts a Server that is reached over in-memory pipes, by its
// own Client and Transport only, and is closed when the test ends. In a
// testing/synctest bubble it runs in virtual time; create it inside the bubble,
// with the bubble's t, and nothing of it outlives the bubble.
//
// Its Transport comes out at this server whatever the host in the URL, so that
// a redirect to a stranger can be played with a pattern like "stranger.test/"
// for [Server.HandlePublic].
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

// Handle adds a handler to the protected API: it sees only requests with a good
// access token; [UserFromRequest] tells whose. Pattern is one of
// [http.ServeMux], and like there a bad one panics.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mux.Handle(pattern, s.protect(h))
}

// HandlePublic adds a handler that is not protected: it is called with or
// without a token, and neither counted nor failed.
func (s *Server) HandlePublic(pattern string, h http.Handler) {
	s.mux.Handle(pattern, h)
}

// HandleRefresh adds an endpoint that refreshes tokens by another protocol than
// RFC 6749: JSON, cookies. Requests to it are counted, delayed, blocked and
// failed like those to the token endpoint. The handler does the exchange with
// [Server.Refresh].
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

// Format writes what the server is and where, whatever the verb: package fmt
// would walk into the tokens that it keeps.
func (s *Server) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "reauthtest.Server at %s", s.URL)
}

// Close cuts all connections, lets go of the requests that are blocked, delayed
// or made to hang, none of which gets an answer, and waits until their handlers
// have returned. Calling it again does nothing. It does not concern listeners
// on which the Server is mounted by hand.
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
		// Cut first: httptest waits for requests in progress, and a handler of
		// the user's own may well wait for its client to go away.
		server.CloseClientConnections()
		server.Close()
	}
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.counter.update(func(c *Counts) { c.Connections++ })
	}
}

// sleep waits for d, and reports false if the server is closed before.
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
