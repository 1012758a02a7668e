package reauthtest

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Failure is a way in which a request fails. It is an answer made of the fields below,
// or one of [Hang], [Drop], [LoseAnswer] and [BrokenAnswer].
type Failure struct {
	// Status is the status of the answer. 0 means 503 or, if Code is set, the status for
	// that code, which is 400 from the token endpoint (401 for invalid_client) and 401
	// from the API.
	Status int

	// Code is an error code. The token endpoint sends it in the body (RFC 6749 section
	// 5.2), and the API also in the WWW-Authenticate header (RFC 6750 section 3.1).
	// Empty means none, except that a 401 from the API then has invalid_token.
	Code string

	// RetryAfter is the Retry-After header, rounded up to seconds; 0 means none.
	RetryAfter time.Duration

	// Header and Body replace the header and body that the fields above would make. A
	// header without values is omitted from the answer. Set "WWW-Authenticate" to nil
	// for a 401 without a challenge.
	Header http.Header
	Body   string

	mode failureMode
}

type failureMode int

const (
	answer failureMode = iota
	hang
	dropConnection
	loseAnswer
)

var (
	// Hang gives no answer and does nothing until the client has gone. A later call of
	// FailRefresh or FailAPI makes the hanging requests go on as if they had just
	// arrived.
	Hang = Failure{mode: hang}

	// Drop cuts the connection before the request has had any effect. Over HTTP/1 the
	// client has then received the first few bytes of an answer, because without them
	// net/http would repeat some requests by itself. Over HTTP/2 only the stream is
	// reset.
	Drop = Failure{mode: dropConnection}

	// LoseAnswer executes the request, including rotation, and then cuts the connection
	// as Drop does.
	LoseAnswer = Failure{mode: loseAnswer}

	// BrokenAnswer is 200 with truncated JSON. The request has no effect.
	BrokenAnswer = Failure{
		Status: http.StatusOK,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   `{"access_token":`,
	}
)

// FailRefresh makes the next n refresh requests fail. If n is negative, all requests fail
// until the next call, and if it is 0, none. Each call replaces the previous one. A
// request that is blocked or delayed fails after that.
func (s *Server) FailRefresh(f Failure, n int) { s.refreshes.fail(f, n) }

// FailAPI is FailRefresh for requests to the protected API. They fail whatever their
// token is.
func (s *Server) FailAPI(f Failure, n int) { s.api.fail(f, n) }

// BlockRefresh holds back the refresh requests that arrive from now on. They are counted
// at once. They go on, whether or not their clients still wait, when release is called.
// One call of release is enough, and further ones do nothing. With several blocks a
// request waits for all of them.
func (s *Server) BlockRefresh() (release func()) { return s.refreshes.block() }

// BlockAPI is BlockRefresh for requests to the protected API.
func (s *Server) BlockAPI() (release func()) { return s.api.block() }

// A gate controls the requests to an endpoint.
type gate struct {
	latency time.Duration

	mu      sync.Mutex
	blocks  map[chan struct{}]bool // each closed by its release
	failure Failure
	left    int           // the number of requests that will fail; negative: all
	renewed chan struct{} // closed by the next call of fail
}

func newGate(latency time.Duration) *gate {
	return &gate{
		latency: latency,
		blocks:  make(map[chan struct{}]bool),
		renewed: make(chan struct{}),
	}
}

func (g *gate) fail(f Failure, n int) {
	f = f.clone()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failure, g.left = f, n
	close(g.renewed)
	g.renewed = make(chan struct{})
}

func (g *gate) block() (release func()) {
	block := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocks[block] = true
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.blocks, block)
		close(block)
	})
}

func (g *gate) blocked() map[chan struct{}]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.blocks)
}

// take returns the failure for the next request, if there is one, and a channel that is
// closed by the next call of fail.
func (g *gate) take() (f Failure, failing bool, renewed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == 0 {
		return Failure{}, false, nil
	}
	if g.left > 0 {
		g.left--
	}
	return g.failure, true, g.renewed
}

// admit returns when the request may go on, and how it must fail, if at all. A request
// that has hung is dropped.
func (s *Server) admit(g *gate, r *http.Request) (f Failure, failing bool) {
	for block := range g.blocked() {
		select {
		case <-block:
		case <-s.done:
			return Drop, true
		}
	}
	if !s.sleep(g.latency) {
		return Drop, true
	}
	for {
		f, failing, renewed := g.take()
		if !failing || f.mode != hang {
			return f, failing
		}
		// net/http notices that the client has gone only after the body has been read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return Drop, true
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		select {
		case <-renewed:
		case <-r.Context().Done():
			return Drop, true
		case <-s.done:
			return Drop, true
		}
	}
}

// clone returns a deep copy with canonical names in Header.
func (f Failure) clone() Failure {
	header := make(http.Header, len(f.Header))
	for name, values := range f.Header {
		header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	f.Header = header
	return f
}

// writeOAuth answers as the token endpoint.
func (f Failure) writeOAuth(w http.ResponseWriter) {
	if f.Status == 0 && f.Code != "" {
		f.Status = http.StatusBadRequest
		if f.Code == "invalid_client" {
			f.Status = http.StatusUnauthorized
		}
	}
	noStore(w)
	f.write(w)
}

// writeAPI answers as a protected resource (RFC 6750 section 3).
func (f Failure) writeAPI(w http.ResponseWriter) {
	if f.Status == 0 && f.Code != "" {
		f.Status = http.StatusUnauthorized
	}
	if f.Status == http.StatusUnauthorized && f.Code == "" {
		f.Code = "invalid_token"
	}
	if f.Code != "" {
		w.Header().Set("WWW-Authenticate", `Bearer error="`+f.Code+`"`)
	}
	f.write(w)
}

func (f Failure) write(w http.ResponseWriter) {
	if f.mode != answer {
		drop(w)
		return
	}
	status := f.Status
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	header := w.Header()
	if f.RetryAfter > 0 {
		seconds := (f.RetryAfter + time.Second - 1) / time.Second
		header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	body := f.Body
	switch {
	case body != "":
	case f.Code != "":
		header.Set("Content-Type", "application/json")
		body = `{"error":` + strconv.Quote(f.Code) + "}\n"
	default:
		header.Set("Content-Type", "text/plain; charset=utf-8")
		body = http.StatusText(status) + "\n"
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		// This shows the client the end of an answer to half a request.
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	maps.Copy(header, f.Header)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // it fails only if the client has gone
}

// drop cuts the connection, as far as the protocol allows.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, or no server at all
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // a pipe waits for its reader
	_, _ = io.WriteString(conn, "HTTP/1.1")
}

// A lost is a ResponseWriter that discards the answer.
type lost struct{ header http.Header }

func newLost() lost { return lost{make(http.Header)} }

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(p []byte) (int, error) { return len(p), nil }
func (l lost) WriteHeader(int)             {}
func (l lost) Flush()                      {}
