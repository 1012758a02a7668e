// Package throttle paces those who ask a server that has asked for a pause.
package throttle

import (
	"context"
	"sync"
	"time"
)

// apart is how far apart the server is asked while a Throttle is on.
const apart = time.Second

// A Throttle is on while a pause lasts that a server has asked for. Then those who need the
// server ask it one at a time. The zero value is off. Times are on a clock of the caller's.
type Throttle struct {
	mu    sync.Mutex
	until time.Duration
	last  time.Duration // when somebody asked last
	turn  chan struct{} // has one slot, for the one whose turn it is; made by the first Pause
}

// Pause turns the Throttle on until a time.
func (t *Throttle) Pause(now, until time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turn == nil {
		t.turn = make(chan struct{}, 1)
	}
	if until > t.until {
		t.until, t.last = until, now
	}
}

// IsOn reports whether the Throttle is on.
func (t *Throttle) IsOn(now time.Duration) bool {
	until, _ := t.times()
	return now < until
}

func (t *Throttle) times() (until, last time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.until, t.last
}

// Wait returns true once the caller may ask the server, and false if ctx is done before.
// If done is not nil, the caller has its turn until it calls that.
func (t *Throttle) Wait(ctx context.Context, now func() time.Duration) (done func(), ok bool) {
	for {
		until, _ := t.times()
		left := until - now()
		if left <= 0 {
			return nil, true
		}
		over := time.After(left)
		select {
		case t.turn <- struct{}{}:
		case <-over: // unless there is another pause
			continue
		case <-ctx.Done():
			return nil, false
		}
		_, last := t.times()
		select {
		case <-time.After(last + apart - now()):
		case <-over:
		case <-ctx.Done():
			<-t.turn
			return nil, false
		}
		t.mu.Lock()
		t.last = now()
		t.mu.Unlock()
		return func() { <-t.turn }, true
	}
}
