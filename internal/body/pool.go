package body

import "sync"

const (
	smallChunk = 4 << 10
	largeChunk = 32 << 10 // as much as net/http reads at a time
)

// A chunk is a piece of memory with a part of a body, in a list. Chunks are pooled. A body
// gets the next chunk when it has filled the one before, whatever length it is said to have.
type chunk struct {
	next *chunk
	data []byte // what is in the chunk; its capacity is the size of the chunk
	read int    // how much of data the second attempt has read
}

var (
	smallChunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, 0, smallChunk)} }}
	largeChunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, 0, largeChunk)} }}
)

// testHookChunk is called with the memory of each chunk that is taken (+1) or given back (-1).
var testHookChunk = func([]byte, int) {}

// newChunk takes a chunk from the pool.
func newChunk(small bool) *chunk {
	pool := &largeChunks
	if small {
		pool = &smallChunks
	}
	c := pool.Get().(*chunk)
	testHookChunk(c.data[:cap(c.data)], 1)
	return c
}

// free gives the chunk back.
func (c *chunk) free() {
	c.next, c.data, c.read = nil, c.data[:0], 0
	testHookChunk(c.data[:cap(c.data)], -1)
	if cap(c.data) == smallChunk {
		smallChunks.Put(c)
	} else {
		largeChunks.Put(c)
	}
}

// chunks is a list of them.
type chunks struct{ first, last *chunk }

// room returns the last chunk, or a new one if that is full. The first one is small if the
// body is not said to be long, since most bodies are small.
func (l *chunks) room(long bool) *chunk {
	if c := l.last; c != nil && len(c.data) < cap(c.data) {
		return c
	}
	c := newChunk(l.last == nil && !long)
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	return c
}

// read reads what is in the chunks, and frees those that were read, except the last.
func (l *chunks) read(p []byte) (n int) {
	for c := l.first; c != nil; c = l.first {
		m := copy(p[n:], c.data[c.read:])
		n += m
		c.read += m
		if c.read < len(c.data) || c == l.last {
			break
		}
		l.first = c.next
		c.free()
	}
	return n
}

// free gives all chunks back.
func (l *chunks) free() {
	for c := l.first; c != nil; c = l.first {
		l.first = c.next
		c.free()
	}
	l.last = nil
}
