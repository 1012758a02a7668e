// Package evidence remembers which endpoints of an API have accepted which tokens, and
// which have refused even a new one. It decides whether a refusal is about the token.
package evidence

import (
	"hash/maphash"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// An Endpoint is a hash of an origin, a method and a path.
type Endpoint uint64

var endpointSeed = maphash.MakeSeed()

// EndpointOf returns the endpoint that req is for, and that of its origin as a whole.
// Path segments with a digit are usually identifiers, and count as one.
func EndpointOf(req *http.Request) (at, origin Endpoint) {
	var h maphash.Hash
	h.SetSeed(endpointSeed)
	h.WriteString(req.URL.Scheme)
	h.WriteByte(':')
	h.WriteString(req.URL.Host)
	sum := h.Sum64()
	// What an endpoint shows must not take the place of what its own origin does.
	origin = Endpoint(sum&^(slots-1) | slots - originSlots + sum%originSlots)
	h.WriteByte(' ')
	h.WriteString(req.Method)
	for path := req.URL.Path; path != ""; {
		segment, rest, _ := strings.Cut(path, "/")
		h.WriteByte('/')
		if strings.ContainsAny(segment, "0123456789") {
			segment = "0"
		}
		h.WriteString(segment)
		path = rest
	}
	sum = h.Sum64()
	return Endpoint(sum&^(slots-1) | sum%(slots-originSlots)), origin
}

// A Table remembers which endpoints have accepted which of a session's recent tokens. It
// is kept while a pause after a refresh is on. The low 16 bits of a slot are the number of
// the generation that was accepted last, the rest is that of an Endpoint. An Endpoint
// that hashes to a slot in use replaces the one there.
type Table struct{ slots [slots]atomic.Uint64 }

const (
	slots       = 64
	originSlots = 4 // the last ones
	numberBits  = 1<<16 - 1
)

func (e *Table) slot(at Endpoint) *atomic.Uint64 { return &e.slots[at%slots] }

// Accept notes that an endpoint has accepted the generation with this number.
func (e *Table) Accept(at Endpoint, number uint16) {
	slot, value := e.slot(at), uint64(at)&^numberBits|uint64(number)
	if slot.Load() != value {
		slot.Store(value)
	}
}

// Accepted returns whether the endpoint has accepted the generation with this number, or
// one of the given number of generations before it. A nil Table shows nothing.
func (e *Table) Accepted(at Endpoint, number, before uint16) bool {
	if e == nil {
		return false
	}
	value := e.slot(at).Load()
	return value != 0 && value&^numberBits == uint64(at)&^numberBits && number-uint16(value) <= before
}

// Pauses are the endpoints whose tokens are not refreshed before a time, because a
// refresh did not help there although they had accepted tokens before.
type Pauses map[Endpoint]time.Duration

// mostPauses bounds Pauses.
const mostPauses = 64

// Set puts an endpoint under pause until then.
func (p *Pauses) Set(now time.Duration, at Endpoint, until time.Duration) {
	if *p == nil {
		*p = make(Pauses)
	}
	for other, ends := range *p { // make room: first of those that are over
		if len(*p) >= mostPauses || ends <= now {
			delete(*p, other)
		}
	}
	(*p)[at] = until
}
