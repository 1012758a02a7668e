package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// clientTime is how long a client may keep the server waiting for a request's header,
	// and in all for its body, apart from the time that its bytes earn.
	clientTime = 10 * time.Second

	// slowestBody is how many bytes of a body earn a second.
	slowestBody = 1 << 10
)

var errSlowBody = errors.New("the body came too slowly")

// withBodyDeadline limits how long next waits for the body of a request. An upload may take
// as long as it goes on, and an answer has no limit. The time between reads does not count,
// because then it is not the client that others wait for.
func withBodyDeadline(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &timedBody{ReadCloser: r.Body, out: http.NewResponseController(w), limit: limit, left: limit}
		defer body.end()
		r = r.WithContext(r.Context()) // a copy, because the server needs the original
		r.Body = body
		if r.ProtoMajor == 1 {
			w = &timedWriter{ResponseWriter: w, body: body}
		}
		next.ServeHTTP(w, r)
	})
}

// A timedBody has a read deadline during each Read.
type timedBody struct {
	io.ReadCloser
	out   *http.ResponseController
	limit time.Duration

	mu      sync.Mutex
	left    time.Duration // how much longer the client may keep Read waiting
	stopped bool          // the deadlines are not Read's any more
	read    bool          // to its end
}

func (b *timedBody) Read(p []byte) (int, error) {
	start := time.Now()
	b.setDeadline(func() time.Time { return start.Add(b.left) })
	n, err := b.ReadCloser.Read(p)
	b.setDeadline(func() time.Time {
		earned := time.Duration(n) * time.Second / slowestBody
		b.left = min(b.limit, max(0, b.left-time.Since(start))+earned)
		b.read = b.read || err == io.EOF
		// After the body the server goes on reading, to see whether the client has gone.
		return time.Time{}
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSlowBody
	}
	return n, err
}

func (b *timedBody) setDeadline(at func() time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := at(); !b.stopped {
		_ = b.out.SetReadDeadline(t) // both protocols have it
	}
}

// stop sets the deadline for what the server still reads of the body by itself. It reports
// whether there may be such a rest.
func (b *timedBody) stop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || b.read {
		return false
	}
	b.stopped = true
	_ = b.out.SetReadDeadline(time.Now().Add(b.left))
	return true
}

// end is for a rest that is left after the answer. The next request on this connection has
// deadlines of its own.
func (b *timedBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	if !b.read {
		_ = b.out.SetReadDeadline(time.Now().Add(b.left))
	}
}

// A timedWriter is for HTTP/1, where the server reads the rest of a body, or at least
// 256 KiB of it, before it writes the header of an answer.
type timedWriter struct {
	http.ResponseWriter
	body *timedBody
}

func (w *timedWriter) WriteHeader(status int) {
	if status < http.StatusOK || !w.body.stop() {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.ResponseWriter.WriteHeader(status)
	_ = w.body.out.Flush()
	// The answer may take longer.
	_ = w.body.out.SetReadDeadline(time.Time{})
}

func (w *timedWriter) Write(p []byte) (int, error) {
	w.body.mu.Lock()
	waits := !w.body.stopped && !w.body.read
	w.body.mu.Unlock()
	if waits {
		w.WriteHeader(http.StatusOK) // which Write would do
	}
	return w.ResponseWriter.Write(p)
}

func (w *timedWriter) FlushError() error {
	_, err := w.Write(nil)
	return errors.Join(err, w.body.out.Flush())
}

func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
