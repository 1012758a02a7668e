package body

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// peekLimit is how much of a body a predicate may look at.
const peekLimit = 64 << 10

// Peek asks a predicate that may read the body about resp. Afterwards
// resp.Body gives everything that it would have given before.
func Peek(refused func(*http.Response) bool, resp *http.Response) bool {
	shown := *resp
	if resp.Body == nil { // a base that breaks the contract of http.Response
		shown.Body = http.NoBody
		return refused(&shown)
	}
	p := &peek{src: resp.Body, turn: make(chan struct{}, 1)}
	shown.Body = p
	defer func() { // also if the predicate panics
		if p.end() {
			resp.Body = &restoredBody{peek: p}
		}
	}()
	return refused(&shown)
}

var errPeekOver = errors.New("reauth: the body was read after Config.Refused returned")

// A peek is the body that a predicate reads. It keeps what it reads.
type peek struct {
	src  io.ReadCloser
	over atomic.Bool

	// turn is held by whoever reads src, and guards kept and err. It is a
	// channel because a Read may last as long as the server likes.
	turn chan struct{}
	kept []byte
	err  error // of src; not asked again after it
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
	return n, err
}

// Close leaves the body open: it is the caller's.
func (p *peek) Close() error { return nil }

// end forbids every further Read and reports whether there is something to put
// back. It does not wait for a Read that another goroutine of the predicate has
// left behind: that is restoredBody's to do, which is asked for the bytes.
func (p *peek) end() bool {
	p.over.Store(true)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		// The end of an empty body is found again, but an error might not be.
		return len(p.kept) > 0 || p.err != nil && p.err != io.EOF
	default:
		return true
	}
}

// A restoredBody is a body with what was read of it put back in front.
type restoredBody struct {
	peek   *peek
	alone  bool // no Read of the peek is in progress, so kept and err are its own
	closed atomic.Bool
}

func (b *restoredBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return b.peek.src.Read(p) // which knows what to say
	}
	if !b.alone {
		b.peek.turn <- struct{}{}
		<-b.peek.turn // and nobody reads after this, see end
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

// Close waits for no Read: it is what ends one that hangs.
func (b *restoredBody) Close() error {
	b.closed.Store(true)
	return b.peek.src.Close()
}
