package body

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// peekLimit is how much of a body a predicate may look at.
const peekLimit = 64 << 10

// Peek returns what refused, which may read the body, reports of resp. Afterwards resp.Body
// returns everything that it would have returned before.
//
// refused gets a copy of resp. The first 64 KiB of the body can be read there, until
// refused returns. If that is all of it, the trailer is there too.
func Peek(refused func(*http.Response) bool, resp *http.Response) bool {
	shown := *resp
	if resp.Body == nil { // against the contract of http.Response
		shown.Body = http.NoBody
		return refused(&shown)
	}
	p := &peek{src: resp.Body, turn: make(chan struct{}, 1)}
	p.ended = func() { shown.Trailer = resp.Trailer } // HTTP/2 makes the map only now
	shown.Body = p
	defer func() { // also if the predicate panics
		if p.end() {
			resp.Body = &restoredBody{peek: p}
		}
	}()
	return refused(&shown)
}

var errPeekOver = errors.New("reauth: the body was read after Config.Refused returned")

// A peek is the body that the predicate gets. It keeps everything it reads.
type peek struct {
	src  io.ReadCloser
	over atomic.Bool // the predicate has returned

	ended func() // called once, when a Read of the predicate has reached the end of src

	// turn is full while src is being read, and guards kept and err. It is a channel
	// because end must not wait for it: a Read may last as long as the server likes.
	turn chan struct{}
	kept []byte
	err  error // of src, which is not read again
}

func (p *peek) Read(b []byte) (int, error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.over.Load() {
		return 0, errPeekOver
	}
	if p.err != nil {
		return 0, p.err
	}
	left := peekLimit - len(p.kept)
	if left == 0 {
		return 0, io.EOF
	}
	n, err := p.src.Read(b[:min(left, len(b))])
	p.kept = append(p.kept, b[:n]...)
	p.err = err
	if err == io.EOF && !p.over.Load() {
		p.ended()
	}
	return n, err
}

// Close leaves the body open, since the caller will read it.
func (p *peek) Close() error { return nil }

// end makes every further Read fail, and reports whether there is something to put back.
// A goroutine of the predicate may have been left behind in a Read. end does not wait for
// it; restoredBody does, when the caller reads.
func (p *peek) end() bool {
	p.over.Store(true)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		// An empty body returns io.EOF again. Another error might not be repeated.
		return len(p.kept) > 0 || p.err != nil && p.err != io.EOF
	default:
		return true
	}
}

// A restoredBody is a body in front of which everything is put back that was read of it.
type restoredBody struct {
	peek   *peek
	alone  bool // no Read of the peek is in progress, so kept and err need no guard
	closed atomic.Bool
}

func (b *restoredBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return b.peek.src.Read(p) // for its error
	}
	if !b.alone {
		b.peek.turn <- struct{}{}
		<-b.peek.turn // later Reads of the peek fail at once, see end
		b.alone = true
	}
	if len(b.peek.kept) > 0 {
		n := copy(p, b.peek.kept)
		b.peek.kept = b.peek.kept[n:]
		return n, nil
	}
	if b.peek.err != nil {
		return 0, b.peek.err
	}
	return b.peek.src.Read(p)
}

// Close does not wait for a Read, since it may be what ends a Read that hangs.
func (b *restoredBody) Close() error {
	b.closed.Store(true)
	return b.peek.src.Close()
}
