package body

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
)

// A stream is a body that can be read only once, the source.
//
// At first it is undecided which attempt will use up the source. Until then Read passes on
// what is read of the source, never more than is asked for, and keeps it; and Close leaves
// the source open. There are two ways to decide:
//
//   - Replay gives the source to the second attempt. From then on a Read of the first
//     attempt fails.
//   - Release gives it to the first attempt for good. Nothing is kept any more, and Read
//     and Close are those of the source. The same happens by itself when more was read
//     than may be kept, or when a Read panics.
//
// The attempt that was given the source closes it, so that it is closed exactly once.
//
// A Read of the source may last as long as it likes, for example that of a pipe to which
// nothing is written before the response arrives. So that an attempt can end meanwhile, and
// the next take over what that Read will bring, it is a goroutine of the stream that reads,
// into the stream's memory. No lock is held while the source is read or closed.
type stream struct {
	source       io.ReadCloser
	sourceClosed atomic.Bool // so that source is closed once
	limit        int64       // the most bytes to keep
	long         bool        // it is said to be longer than a small chunk

	mu      sync.Mutex
	changed sync.Cond // signals a change of owner, filling or either closed
	owner   owner
	kept    chunks // what was read while undecided
	size    int64  // bytes in kept
	filling bool   // fill reads the source into the last chunk of kept
	fill    func() // the method fillOnce, allocated once
	most    int    // how many bytes fill may read
	got     int    // how many bytes the last fill has read
	err     error  // that it returned; after an error the source is not read again
	gone    *panicked
	waiting bool // a Read of the first attempt waits for fill
	missed  bool // the first attempt did not get all that was read
	closed  bool // by the first attempt
	closed2 bool // by the second attempt
}

// A panicked says how a Read ended that did not return: by a panic, or by runtime.Goexit,
// which leaves no value.
type panicked struct{ value any }

// again ends the calling goroutine's Read in the same way.
func (p *panicked) again() {
	if p.value != nil {
		panic(p.value)
	}
	runtime.Goexit()
}

var errBadCount = errors.New("reauth: the Read of the request's body returned an impossible count")

// An owner is the attempt to which the source was given.
type owner int

const (
	undecided owner = iota
	firstAttempt
	secondAttempt
)

func newStream(req *http.Request, limit int64) *stream {
	b := &stream{source: req.Body, limit: limit, long: req.ContentLength > smallChunk}
	b.changed.L = &b.mu
	b.fill = b.fillOnce
	return b
}

func (b *stream) First() io.ReadCloser                   { return b }
func (b *stream) GetBody() func() (io.ReadCloser, error) { return nil }

// Replay gives the source to the second attempt and returns its body: what was kept, what
// a Read in progress will bring, then what is still unread. It does not wait.
func (b *stream) Replay() (io.ReadCloser, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != undecided {
		return nil, false
	}
	b.owner = secondAttempt
	b.changed.Broadcast()
	return &secondBody{first: b}, true
}

// Release gives the source to the first attempt.
func (b *stream) Release() {
	b.mu.Lock()
	closeNow := b.releaseLocked()
	b.mu.Unlock()
	if closeNow {
		b.closeSource()
	}
}

// releaseLocked reports whether its caller must close the source, once it has unlocked,
// because the first attempt has closed its body already.
func (b *stream) releaseLocked() (closeNow bool) {
	if b.owner != undecided {
		return false
	}
	b.owner = firstAttempt
	b.freeLocked()
	return b.closed
}

// freeLocked gives the memory back if nobody needs it any more.
func (b *stream) freeLocked() {
	if b.filling || b.owner == undecided || b.owner == firstAttempt && b.waiting || b.owner == secondAttempt && !b.closed2 {
		return
	}
	b.kept.free()
}

// Read is the Read of the first attempt.
func (b *stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.mu.Lock()
	switch {
	case b.closed:
		err = errBodyClosed
	case b.err != nil && !b.missed:
		// This precedes the next case because net/http reads once more after io.EOF,
		// and would drop the connection on any other error.
		err = b.err
	case b.owner == secondAttempt:
		err = errBodyStopped
	case b.owner == firstAttempt:
		b.mu.Unlock()
		return b.source.Read(p)
	}
	if err != nil {
		b.mu.Unlock()
		return 0, err
	}
	defer b.mu.Unlock()
	c := b.kept.room(b.long)
	before := len(c.data)
	b.most = min(len(p), cap(c.data)-before)
	if left := b.limit - b.size; left > 0 {
		b.most = int(min(int64(b.most), left))
	} // Otherwise this Read is about to find the end, or to go over the limit.
	b.filling, b.waiting = true, true
	go b.fill() // ends with the Read of the source
	for b.filling && b.owner != secondAttempt && !b.closed {
		b.changed.Wait()
	}
	b.waiting = false
	switch {
	case b.owner == secondAttempt: // which may have freed c
		if b.filling || b.got > 0 || b.err == nil {
			b.missed = !b.filling // else filled finds out
			return 0, errBodyStopped
		}
		return 0, b.err
	case b.closed:
		b.freeLocked()
		return 0, errBodyClosed
	}
	copy(p, c.data[before:])
	b.freeLocked()
	if b.gone != nil {
		b.gone.again()
	}
	return b.got, b.err
}

// fillOnce reads the source once.
func (b *stream) fillOnce() {
	c := b.kept.last // while filling nobody writes any of these
	into := c.data[len(c.data) : len(c.data)+b.most]
	var n int
	var err error
	returned := false
	defer func() {
		if returned {
			b.filled(c, n, err, nil)
		} else {
			b.filled(c, 0, nil, &panicked{recover()})
		}
	}()
	n, err = b.source.Read(into)
	if n < 0 || n > len(into) {
		n, err = 0, errBadCount
	}
	returned = true
}

// filled records the end of fillOnce.
func (b *stream) filled(c *chunk, n int, err error, gone *panicked) {
	b.mu.Lock()
	b.filling, b.got, b.err, b.gone = false, n, err, gone
	c.data = c.data[:len(c.data)+n]
	b.size += int64(n)
	b.missed = b.missed || n > 0 && b.owner == secondAttempt
	closeNow := false
	if gone != nil || n > 0 && b.size > b.limit { // after a panic it is unknown how much was read
		closeNow = b.releaseLocked()
	}
	b.freeLocked()
	b.changed.Broadcast()
	b.mu.Unlock()
	if closeNow {
		b.closeSource()
	}
}

// Close is the Close of the first attempt. While it is undecided who gets the source,
// Close leaves that open, unless it is at its end and the second attempt will not read it.
func (b *stream) Close() error {
	b.mu.Lock()
	b.closed = true
	b.changed.Broadcast()
	closeNow := b.owner == firstAttempt || b.owner == undecided && b.err != nil
	b.mu.Unlock()
	if closeNow {
		return b.closeSource()
	}
	return nil
}

// closeSource closes the source once. It does not use a sync.Once, which would make a
// second caller wait for the first.
func (b *stream) closeSource() error {
	if b.sourceClosed.CompareAndSwap(false, true) {
		return b.source.Close()
	}
	return nil
}

// A secondBody is the body of the second attempt.
type secondBody struct {
	first *stream
	err   error // of the source
}

func (s *secondBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n, err := s.first.readKept(p); n > 0 || err != nil {
		return n, err
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.first.source.Read(p)
	s.err = err
	return n, err
}

// readKept reads, for the second attempt, what was kept. Once there is nothing left, nor a
// Read in progress, it returns the error of the source, if there was one.
func (b *stream) readKept(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed2 {
		if n := b.kept.read(p); n > 0 {
			return n, nil
		}
		if !b.filling {
			b.kept.free()
			if b.gone != nil {
				b.gone.again()
			}
			return 0, b.err
		}
		b.changed.Wait()
	}
	return 0, errBodyClosed
}

func (s *secondBody) Close() error {
	b := s.first
	b.mu.Lock()
	b.closed2 = true
	b.freeLocked()
	b.changed.Broadcast()
	b.mu.Unlock()
	return b.closeSource()
}
