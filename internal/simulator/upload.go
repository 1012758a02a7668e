package simulator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	ruleWhole     = "a body arrives whole or not at all"
	ruleOneReader = "a body is read by one at a time"
	ruleClosed    = "a request's body is closed"
)

// An upload is the body of a request.
type upload struct {
	w       *world
	o       *op
	content []byte
	piece   int
	pace    time.Duration // before each piece; 0: none
	hangs   time.Duration // before its last piece; 0: not at all
	again   bool          // it can be sent again for certain
	seeker  *source       // if not nil, GetBody goes back to the begin of this one, which all bodies read

	mu   sync.Mutex
	open []*uploadBody
}

// newUpload makes the body of a request and puts it on.
func newUpload(w *world, o *op, req *http.Request, d *dice) *upload {
	u := &upload{w: w, o: o, content: make([]byte, pick(d, 0, 1, 40, 64, 65, 300)), piece: 1 + d.below(100)}
	for i := range u.content {
		u.content[i] = byte(d.next())
	}
	if d.percent(30) {
		u.pace = w.span(d, 1, 30*time.Millisecond)
	}
	if d.percent(3) {
		u.hangs = w.span(d, time.Second, 5*time.Second)
	}
	if d.percent(30) {
		u.seeker = &source{left: u.content}
	}
	req.Body = u.body()
	req.ContentLength = int64(len(u.content))
	if d.percent(30) {
		req.ContentLength = -1
	}
	if d.percent(50) {
		req.GetBody = func() (io.ReadCloser, error) {
			if u.seeker != nil {
				u.seeker.left = u.content
			}
			return u.body(), nil
		}
		u.hangs = 0
	}
	u.again = req.GetBody != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uploads = append(w.uploads, u)
	return u
}

func (u *upload) body() *uploadBody {
	b := &uploadBody{u: u, source: u.seeker, closed: make(chan struct{})}
	if b.source == nil {
		b.source = &source{left: u.content}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open = append(u.open, b)
	return b
}

// left returns how many bodies have not been closed.
func (u *upload) unclosed() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, b := range u.open {
		if !b.isClosed() {
			n++
		}
	}
	return n
}

// An uploadBody is one reading of an upload.
type uploadBody struct {
	*source
	u      *upload
	once   sync.Once
	closed chan struct{}
}

// A source is where bodies read from. Some programs have one for all attempts, and seek.
type source struct {
	left    []byte
	reading atomic.Bool
}

func (b *uploadBody) Read(to []byte) (int, error) {
	if b.reading.Swap(true) {
		b.u.w.violated(ruleOneReader, b.u.o.p, b.u.o.session, "the body of %s", b.u.o.name)
	}
	defer b.reading.Store(false)
	wait := b.u.pace
	if b.u.hangs > 0 && len(b.left) <= b.u.piece {
		wait = b.u.hangs
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-b.closed:
		}
	}
	switch {
	case b.isClosed():
		return 0, errors.New("read of a closed body")
	case len(b.left) == 0:
		return 0, io.EOF
	}
	n := copy(to, b.left[:min(b.u.piece, len(b.left))])
	b.left = b.left[n:]
	return n, nil
}

func (b *uploadBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

func (b *uploadBody) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// A requestBody is the body of a request at the API.
type requestBody struct {
	w   *world
	o   *op
	req *http.Request
	d   *dice
}

func (b *requestBody) close() {
	if b.req.Body != nil {
		b.req.Body.Close()
	}
}

// read reads the body to its end, and checks it. As with a real connection, the
// end of the request's context ends that too.
func (b *requestBody) read() error {
	if b.req.Body == nil {
		return nil
	}
	ctx := b.req.Context()
	var got []byte
	over := make(chan error, 1)
	go func() { // ends when the body is closed
		var err error
		got, err = io.ReadAll(b.req.Body)
		over <- err
	}()
	select {
	case err := <-over:
		b.close()
		if err == nil {
			b.check(got)
		}
		return err
	case <-ctx.Done():
		b.close()
		return context.Cause(ctx)
	}
}

// readBehind goes on reading for a while after the answer, as net/http does.
func (b *requestBody) readBehind() {
	if b.req.Body == nil {
		return
	}
	enough := b.d.below(200)
	after := b.w.span(b.d, 1, 50*time.Millisecond)
	go func() { // ends when it has read enough, or when the body is closed
		defer b.close()
		_, _ = io.CopyN(io.Discard, b.req.Body, int64(enough))
		time.Sleep(after)
	}()
}

// check compares what has arrived with what was sent.
func (b *requestBody) check(got []byte) {
	u := b.o.upload
	if u == nil {
		return
	}
	if !bytes.Equal(got, u.content) {
		b.w.violated(ruleWhole, b.o.p, b.o.session, "%s: %d bytes arrived, of %d", b.o.name, len(got), len(u.content))
		return
	}
	b.w.tally.counts[countBodies].Add(1)
}
