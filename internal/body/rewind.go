package body

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A rewindable is a body with GetBody.
//
// GetBody may rewind and return the very reader that an earlier attempt is still reading,
// as those of libraries that retry do. The bytes that this attempt then takes are missing
// from the next, which can look whole all the same. So GetBody is called only after earlier
// attempts have let go of their bodies: no Read is in progress, and none will follow.
type rewindable struct {
	getBody func() (io.ReadCloser, error)
	gone    <-chan struct{} // closed when the caller no longer waits

	mu      sync.Mutex
	attempt int           // 1 or 2
	bodies  []*tracked    // of this attempt; more than one if the base has called GetBody
	place   [1]*tracked   // the array of bodies while there is one, as there nearly always is
	opening bool          // getBody is being called
	changed chan struct{} // not nil: somebody waits; closed when a Read, a Close or getBody has returned
	halt    chan struct{} // not nil: Replay waits; until this is closed neither a Read nor getBody begins
	first   tracked
}

func newRewindable(req *http.Request) *rewindable {
	b := &rewindable{getBody: req.GetBody, gone: req.Context().Done(), attempt: 1}
	b.first = tracked{set: b, source: req.Body}
	b.place[0] = &b.first
	b.bodies = b.place[:]
	return b
}

func (b *rewindable) First() io.ReadCloser { return &b.first }
func (b *rewindable) Release()             {}

// Replay stops the Reads of the first attempt and waits for those in progress, at most a
// second, and no longer than the request's context lasts. Then it closes the bodies of the
// first attempt, as net/http does before it calls GetBody, and calls GetBody.
//
// If a Read does not end, the first attempt goes on, since the response may depend on it.
func (b *rewindable) Replay() (io.ReadCloser, bool) {
	b.mu.Lock()
	if b.attempt != 1 {
		b.mu.Unlock()
		return nil, false
	}
	halt := make(chan struct{})
	b.halt = halt
	quiet := b.awaitLocked((*tracked).busy)
	before := b.bodies
	if quiet {
		b.attempt = 2
		b.bodies = nil
		for _, t := range before {
			t.stopped = true
		}
		b.opening = true
	}
	b.halt = nil
	close(halt)
	b.mu.Unlock()
	if !quiet {
		return nil, false
	}
	for _, t := range before {
		_ = t.Close()
	}
	body, err := b.open()
	return body, err == nil
}

// GetBody returns a function that does what the request's GetBody does, for the base, which
// calls it when it sends a request again by itself. It waits until bodies that the base has
// closed are not read any more. A base that sends a request twice at the same time has not
// closed the first body, and is not kept waiting.
func (b *rewindable) GetBody() func() (io.ReadCloser, error) {
	b.mu.Lock()
	attempt := b.attempt
	b.mu.Unlock()
	return func() (io.ReadCloser, error) {
		b.mu.Lock()
		quiet := b.awaitLocked(func(t *tracked) bool { return t.closed && t.busy() })
		for b.halt != nil { // a Replay that waits goes first
			b.unhaltedLocked()
			quiet = b.awaitLocked(func(t *tracked) bool { return t.closed && t.busy() })
		}
		over := b.attempt != attempt
		b.opening = b.opening || quiet && !over
		b.mu.Unlock()
		switch {
		case over:
			return nil, errBodyStopped
		case !quiet:
			return nil, errBodyInUse
		}
		return b.open()
	}
}

// unhaltedLocked waits for the end of a Replay that waits. It unlocks meanwhile.
func (b *rewindable) unhaltedLocked() {
	for b.halt != nil {
		halt := b.halt
		b.mu.Unlock()
		<-halt
		b.mu.Lock()
	}
}

// awaitLocked waits until no body is busy and GetBody is not being called, and reports
// whether it got there. It unlocks while it waits.
func (b *rewindable) awaitLocked(busy func(*tracked) bool) bool {
	if !b.opening && !slices.ContainsFunc(b.bodies, busy) {
		return true
	}
	timer := time.NewTimer(replayWait)
	defer timer.Stop()
	for b.opening || slices.ContainsFunc(b.bodies, busy) {
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		inTime := true
		select {
		case <-changed:
		case <-timer.C:
			inTime = false
		case <-b.gone:
			inTime = false
		}
		b.mu.Lock()
		if !inTime {
			return false
		}
	}
	return true
}

// changedLocked wakes those that wait.
func (b *rewindable) changedLocked() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// open calls the request's GetBody. Its caller has set opening, so that calls do not
// overlap.
func (b *rewindable) open() (body io.ReadCloser, err error) {
	var t *tracked
	defer func() { // also if GetBody panics
		b.mu.Lock()
		b.opening = false
		if t != nil {
			b.bodies = append(slices.DeleteFunc(b.bodies, (*tracked).hasLetGo), t)
		}
		b.changedLocked()
		b.mu.Unlock()
	}()
	body, err = b.getBody()
	if err != nil || body == nil || body == http.NoBody {
		return body, err
	}
	t = &tracked{set: b, source: body}
	return t, nil
}

// A tracked is a body that knows whether it is being read. Its fields are guarded by set.mu.
type tracked struct {
	set     *rewindable
	source  io.ReadCloser
	err     error // of source
	reading bool
	closed  bool
	closing bool // source.Close has not returned
	stopped bool // the attempt that it belongs to is over
}

func (t *tracked) Read(p []byte) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	var err error
	defer func() { t.end(err) }() // also if source panics
	n, err := t.source.Read(p)
	return n, err
}

func (t *tracked) begin() error {
	b := t.set
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unhaltedLocked()
	switch {
	case t.stopped && t.err != nil:
		return t.err // see stream.Read
	case t.stopped:
		return errBodyStopped
	case t.closed:
		return errBodyClosed
	}
	t.reading = true
	return nil
}

func (t *tracked) end(err error) {
	t.set.mu.Lock()
	t.reading = false
	t.err = err
	t.set.changedLocked()
	t.set.mu.Unlock()
}

func (t *tracked) Close() error {
	b := t.set
	b.mu.Lock()
	if t.closed {
		b.mu.Unlock()
		return nil
	}
	t.closed, t.closing = true, true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		t.closing = false
		b.changedLocked()
		b.mu.Unlock()
	}()
	return t.source.Close()
}

// busy and hasLetGo are called with set.mu held.
func (t *tracked) busy() bool     { return t.reading || t.closing }
func (t *tracked) hasLetGo() bool { return t.closed && !t.busy() }
