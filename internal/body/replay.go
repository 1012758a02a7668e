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

// Gambles reports whether a refusal of req may leave it impossible to replay.
// Such a request does not go out with a token that is about to expire.
func Gambles(req *http.Request, limit int64) bool {
	// A length of 0 with a body means unknown, as for net/http.
	return readableOnce(req) && (req.ContentLength <= 0 || req.ContentLength > limit)
}

// A Replayable lets a body that can be read only once be sent twice. It is
// itself the body of the first attempt: it keeps what the base reads of the
// caller's body, never reading ahead, until one of two things is settled. Either
// the request is replayed, and the caller's body passes to the second attempt;
// or no replay will follow, and it passes through to the caller's body. Whoever
// has the caller's body then closes it. The transport settles it in any case, by
// replay or by release.
//
// As with any body, one goroutine reads and any may close. No lock is held while
// the caller's body is read or closed.
type Replayable struct {
	source       io.ReadCloser   // the caller's body
	sourceClosed atomic.Bool     // guards against a second Close of source
	gone         <-chan struct{} // closed when the caller no longer waits
	limit        int64           // how much is kept at most
	length       int64           // how much to expect; 0: unknown, or over the limit

	mu      sync.Mutex
	owner   bodyOwner
	kept    net.Buffers   // what was read, while undecided
	size    int64         // of kept
	place   [1][]byte     // of its first piece, mostly the only one
	err     error         // what the source ended with; it is not read again
	closed  bool          // by the base
	reading bool          // a Read of the source is in progress
	ended   chan struct{} // not nil: replay waits for it, closed when the Read ends
}

// A bodyOwner is the attempt that has the caller's body for good.
type bodyOwner int

const (
	undecided bodyOwner = iota
	firstAttempt
	secondAttempt
)

// New returns nil if req has no body that needs keeping: none at all,
// or one with GetBody. With a limit of 0 or less nothing is kept, and the body
// can be replayed as long as nothing was read of it.
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

// first returns the body of the first attempt.
func (b *Replayable) First() io.ReadCloser { return b }

// replay takes the caller's body away from the first attempt, whose reads fail
// from then on, and returns the body of the second: what was kept, then what is
// still unread. It must be closed even if it is not sent.
//
// It waits for a Read in progress to end, but not for ever, nor longer than the
// request's context lasts. If the Read does not end, or if more was read than was
// kept, it returns false: the first attempt goes on, as after release.
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
		b.Release() // of no effect if the end of the Read has decided
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

// release says that no replay will follow: the first attempt has the caller's
// body from then on, and closes it. It has no effect after replay.
func (b *Replayable) Release() {
	b.mu.Lock()
	closeNow := b.releaseLocked()
	b.mu.Unlock()
	if closeNow {
		b.closeSource()
	}
}

// releaseLocked reports whether the caller must close the source, without the
// lock, because the base has already closed the first body.
func (b *Replayable) releaseLocked() (closeNow bool) {
	if b.owner != undecided {
		return false
	}
	b.owner = firstAttempt
	clear(b.kept)
	b.kept = nil
	return b.closed
}

// Read is the first attempt's.
func (b *Replayable) Read(p []byte) (n int, err error) {
	if err := b.beginRead(); err != nil {
		return 0, err
	}
	panicked := true
	defer func() {
		b.endRead(p[:n], err, panicked)
	}()
	n, err = b.source.Read(p)
	panicked = false
	return n, err
}

func (b *Replayable) beginRead() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return errBodyClosed
	case b.err != nil:
		// Before the next case: net/http asks once more after the end, and an
		// error there would cost the connection.
		return b.err
	case b.owner == secondAttempt:
		return errBodyStopped
	}
	b.reading = true
	return nil
}

// endRead takes note of a Read and, if replay waits for its end, decides on the
// spot: a Read that began between the end and the decision could neither fail,
// which might break a first attempt that goes on, nor take bytes.
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
	if last := len(b.kept) - 1; last >= 0 {
		piece := b.kept[last]
		n := min(len(read), cap(piece)-len(piece))
		b.kept[last] = append(piece, read[:n]...)
		read = read[n:]
		left -= int64(n)
	}
	if len(read) > 0 {
		// Another piece, as long as all before it: so there are few, and what has been
		// kept is not copied to where there is more room.
		piece := make([]byte, 0, min(max(b.length, before, int64(len(read))), left))
		if b.kept == nil {
			b.kept = b.place[:0]
		}
		b.kept = append(b.kept, append(piece, read...))
		if len(b.kept) > len(b.place) {
			b.place[0] = nil // the first has moved on with the rest
		}
	}
	return true
}

// Close is the first attempt's. While undecided it leaves the caller's body
// open for the second, unless that has nothing left to read of it.
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

// closeSource is no sync.Once, which would make a second caller wait for the first.
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
	kept   net.Buffers // what is left of it
	err    error       // what comes after kept, if not the source
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
		n, _ := s.kept.Read(p) // which lets go of what was read: a long rest should not hold it in memory
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
