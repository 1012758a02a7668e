package body

import (
	"sync/atomic"
)

const (
	ReplayWait = replayWait
	PeekLimit  = peekLimit
	SmallBody  = smallBody
	SmallChunk = smallChunk
	LargeChunk = largeChunk
)

var (
	ErrClosed   = errBodyClosed
	ErrStopped  = errBodyStopped
	ErrInUse    = errBodyInUse
	ErrPeekOver = errPeekOver
)

// Held is the memory that is taken from the pools and not given back.
var Held atomic.Int64

// Memory that is in a pool is overwritten, so that bytes read there are wrong, and the race
// detector notices who else touches it.
func init() {
	testHookChunk = func(memory []byte, taken int) {
		Held.Add(int64(taken * len(memory)))
		if taken < 0 {
			for i := range memory {
				memory[i] = '#'
			}
		}
	}
}
