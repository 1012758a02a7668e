// Package body lets the body of a request be sent twice, and looks at and drops the body
// of a refused response.
package body

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// replayWait bounds the wait for a Read of the caller's body to end.
const replayWait = time.Second

var (
	errBodyClosed  = errors.New("reauth: read of a closed request body")
	errBodyStopped = errors.New("reauth: the request was refused, and its body is kept for the replay")
)

// readableOnce reports whether req has a body that can be read only once.
func readableOnce(req *http.Request) bool {
	return req.Body != nil && req.Body != http.NoBody && req.GetBody == nil
}

// Gambles reports whether it may be impossible to replay req after a refusal, because
// more of its body may have been read than is kept with this limit. Such a request
// should not be sent with a token that is about to expire.
func Gambles(req *http.Request, limit int64) bool {
	// A length of 0 with a body means unknown, as for net/http.
	return readableOnce(req) && (req.ContentLength <= 0 || req.ContentLength > limit)
}

// A Replayable lets a request body that can be read only once be sent twice.
//
// It is itself the body of the first attempt, see First. At first it is undecided which
// attempt will use up the caller's body, the source. Until then Read passes on what it
// reads of the source, never more than is asked for, and keeps a copy; and Close leaves
// the source open. There are two ways to decide:
//
//   - Replay gives the source to the second attempt. From then on a Read of the first
//     attempt fails.
//   - Release gives it to the first attempt for good. Nothing is kept any more, and Read
//     and Close are those of the source. The same happens by itself when more was read
//     than may be kept, or when a Read panics.
//
// The transport must call one of them in any case. The attempt that was given the source
// closes it, so that it is closed exactly once.
//
// As for any body, one goroutine at a time may call Read, and any goroutine Close. No lock
// is held while the source is read or closed, since it may block.
type Replayable struct {
	source       io.ReadCloser   // the caller's body
	sourceClosed atomic.Bool     // so that source is closed once
	gone         <-chan struct{} // closed when the caller no longer waits
	limit        int64           // the most bytes to keep
	length       int64           // the bytes to expect; 0: unknown, or more than limit

	mu      sync.Mutex
	owner   owner
	kept    net.Buffers   // a copy of what was read while undecided
	size    int64         // bytes in kept
	place   [1][]byte     // the array of kept while it has one piece, as it nearly always has
	err     error         // of the last Read of source; after an error source is not read again
	closed  bool          // by the first attempt
	reading bool          // a Read of source by the first attempt is in progress
	ended   chan struct{} // not nil: Replay waits until this is closed, when that Read ends
}

// An owner is the attempt to which the source was given.
type owner int

const (
	undecided owner = iota
	firstAttempt
	secondAttempt
)

// New returns a Replayable for the body of req, of which it keeps at most limit bytes.
// If req has no body, or has GetBody, New returns nil, because nothing need be kept. With
// a limit of 0 or less the body can be replayed only as long as nothing was read of it.
func New(req *http.Request, limit int64) *Replayable {
	if !readableOnce(req) {
		return nil
	}
	b := &Replayable{source: req.Body, gone: req.Context().Done(), limit: limit}
	if req.ContentLength > 0 && req.ContentLength <= limit {
		b.length = req.ContentLength
	}
	return b
}

// First returns the body of the first attempt.
func (b *Replayable) First() io.ReadCloser { return b }

// Replay gives the source to the second attempt and returns its body: what was kept, then
// what is still unread. That body must be closed even if it is not sent.
//
// If a Read is in progress, Replay waits until it ends, at most a second, and no longer
// than the request's context lasts. It returns false if the Read does not end, or if more
// was read than was kept. Then the first attempt goes on as after Release.
func (b *Replayable) Replay() (io.ReadCloser, bool) {
	b.mu.Lock()
	switch {
	case b.owner != undecided:
		b.mu.Unlock()
		return nil, false
	case !b.reading:
		b.owner = secondAttempt
		b.mu.Unlock()
	default:
		ended := make(chan struct{})
		b.ended = ended
		b.mu.Unlock()

		timer := time.NewTimer(replayWait)
		select {
		case <-ended:
		case <-timer.C:
		case <-b.gone:
		}
		timer.Stop()
		b.Release() // without effect if endRead has decided
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != secondAttempt {
		return nil, false
	}
	second := &secondBody{first: b, kept: b.kept, err: b.err}
	b.kept = nil
	return second, true
}

// Release gives the source to the first attempt, since no replay will follow. It has no
// effect after a successful Replay.
func (b *Replayable) Release() {
	b.mu.Lock()
	closeNow := b.releaseLocked()
	b.mu.Unlock()
	if closeNow {
		b.closeSource()
	}
}

// releaseLocked reports whether its caller must close the source, once it has unlocked,
// because the first attempt has closed its body already.
func (b *Replayable) releaseLocked() (closeNow bool) {
	if b.owner != undecided {
		return false
	}
	b.owner = firstAttempt
	clear(b.kept)
	b.kept = nil
	return b.closed
}

// Read is the Read of the first attempt.
func (b *Replayable) Read(p []byte) (n int, err error) {
	if err := b.beginRead(); err != nil {
		return 0, err
	}
	returned := false // not if the source panics or calls Goexit
	defer func() {
		b.endRead(p[:n], err, !returned)
	}()
	n, err = b.source.Read(p)
	returned = true
	return n, err
}

func (b *Replayable) beginRead() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return errBodyClosed
	case b.err != nil:
		// This precedes the next case because net/http reads once more after io.EOF,
		// and would drop the connection on any other error.
		return b.err
	case b.owner == secondAttempt:
		return errBodyStopped
	}
	b.reading = true
	return nil
}

// endRead records a Read that has ended. If Replay waits for that, endRead decides in its
// place, without unlocking in between. Otherwise the first attempt could begin another
// Read before Replay wakes up, and that Read could not be right: if it failed, Replay
// could no longer give up, and if it succeeded, the wait would begin again.
func (b *Replayable) endRead(read []byte, err error, panicked bool) {
	b.mu.Lock()
	b.reading = false
	b.err = err
	closeNow := false
	if panicked || !b.keepLocked(read) {
		closeNow = b.releaseLocked()
	}
	if b.ended != nil {
		if b.owner == undecided {
			b.owner = secondAttempt
		}
		close(b.ended)
		b.ended = nil
	}
	b.mu.Unlock()
	if closeNow {
		b.closeSource()
	}
}

// keepLocked keeps a copy of what was read, and reports false if the limit forbids it.
func (b *Replayable) keepLocked(read []byte) bool {
	if b.owner != undecided || len(read) == 0 {
		return true
	}
	left := b.limit - b.size
	if int64(len(read)) > left {
		return false
	}
	before := b.size
	b.size += int64(len(read))
	if last := len(b.kept) - 1; last >= 0 { // fill the last piece
		piece := b.kept[last]
		n := min(len(read), cap(piece)-len(piece))
		b.kept[last] = append(piece, read[:n]...)
		read = read[n:]
		left -= int64(n)
	}
	if len(read) > 0 {
		// Add a piece with room for as much again as is kept. Then there are few pieces,
		// and what has been kept need not be copied to a larger one.
		piece := make([]byte, 0, min(max(b.length, before, int64(len(read))), left))
		if b.kept == nil {
			b.kept = b.place[:0]
		}
		b.kept = append(b.kept, append(piece, read...))
		if len(b.kept) > len(b.place) {
			b.place[0] = nil // append has moved the pieces to another array
		}
	}
	return true
}

// Close is the Close of the first attempt. While it is undecided who gets the source,
// Close leaves that open, unless it is at its end and the second attempt will not read it.
func (b *Replayable) Close() error {
	b.mu.Lock()
	b.closed = true
	closeNow := b.owner == firstAttempt || b.owner == undecided && b.err != nil
	b.mu.Unlock()
	if closeNow {
		return b.closeSource()
	}
	return nil
}

// closeSource closes the source once. It does not use a sync.Once, which would make a
// second caller wait for the first.
func (b *Replayable) closeSource() error {
	if b.sourceClosed.CompareAndSwap(false, true) {
		return b.source.Close()
	}
	return nil
}

// A secondBody is the body of the second attempt.
type secondBody struct {
	first *Replayable

	mu     sync.Mutex
	kept   net.Buffers // what the first attempt kept and this one has not read yet
	err    error       // of source, which is not read again
	closed bool
}

func (s *secondBody) Read(p []byte) (int, error) {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return 0, errBodyClosed
	case len(s.kept) > 0:
		defer s.mu.Unlock()
		n, _ := s.kept.Read(p) // drops each piece that was read, so that its memory can be reused
		return n, nil
	case s.err != nil:
		defer s.mu.Unlock()
		return 0, s.err
	}
	s.mu.Unlock()

	n, err := s.first.source.Read(p)
	if err != nil {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *secondBody) Close() error {
	s.mu.Lock()
	s.closed = true
	clear(s.kept)
	s.kept = nil
	s.mu.Unlock()
	return s.first.closeSource()
}
