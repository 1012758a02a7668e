// Package evidence remembers which endpoints of an API have accepted which tokens, and
// which have refused even a new one. It decides whether a refusal is about the token.
package evidence

import (
	"cmp"
	"hash/maphash"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// An Endpoint is a hash of an origin, a method and a path.
type Endpoint uint64

var endpointSeed = maphash.MakeSeed()

// A Place is where a request went: its endpoint, the folder that the endpoint is in, and its
// origin as a whole. The zero Place is not known.
type Place struct{ At, Folder, Origin Endpoint }

// PlaceOf returns where req goes. Path segments with a digit are usually identifiers, and
// count as one.
func PlaceOf(req *http.Request) (p Place) {
	var h maphash.Hash
	h.SetSeed(endpointSeed)
	h.WriteString(req.URL.Scheme)
	h.WriteByte(':')
	h.WriteString(req.URL.Host)
	sum := h.Sum64()
	// What an endpoint shows must not take the place of what its own origin does.
	p.Origin = Endpoint(sum&^(slots-1) | slots - originSlots + sum%originSlots)
	h.WriteByte(' ')
	h.WriteString(cmp.Or(req.Method, http.MethodGet))
	for path := cmp.Or(req.URL.Path, "/"); path != ""; { // RFC 9110 section 4.2.3
		p.Folder = Endpoint(h.Sum64())
		segment, rest, _ := strings.Cut(path, "/")
		h.WriteByte('/')
		if strings.ContainsAny(segment, "0123456789") {
			segment = "0"
		}
		h.WriteString(segment)
		path = rest
	}
	sum = h.Sum64()
	p.At = Endpoint(sum&^(slots-1) | sum%(slots-originSlots))
	return p
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

// Accept notes that an endpoint has accepted the generation with this number. An answer to
// an older one may come late, and says nothing new.
func (e *Table) Accept(at Endpoint, number uint16) {
	slot, value := e.slot(at), uint64(at)&^numberBits|uint64(number)
	before := slot.Load()
	isOlder := before != 0 && (before^value)&^numberBits == 0 && int16(number-uint16(before)) < 0
	if before != value && !isOlder {
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

// Pauses are the endpoints where a refresh did not help. The zero value has none.
type Pauses map[Endpoint]Pause

// A Pause is on while a refusal is not believed to be about the token.
type Pause struct {
	Folder Endpoint
	Number uint16 // of the generation that was refused
	Known  bool   // the endpoint had accepted that, or the one before
	Length time.Duration
	Until  time.Duration
}

const (
	mostPauses = 64
	longest    = 5 * time.Minute
)

// Set puts an endpoint under a pause, because it has refused the generation with this
// number, which a refresh had just brought. It is twice as long as the one before, unless
// the endpoint is known to accept tokens.
func (p *Pauses) Set(now time.Duration, at Place, number uint16, length time.Duration, known bool) {
	before, paused := (*p)[at.At]
	if length <= 0 || paused && before.Number == number { // it is on already
		return
	}
	if !known {
		length = Doubled(max(before.Length, length), length)
	}
	if *p == nil {
		*p = make(Pauses)
	}
	for other, q := range *p { // make room: first of those that are long over
		if len(*p) >= mostPauses || q.Until+longest <= now {
			delete(*p, other)
		}
	}
	(*p)[at.At] = Pause{at.Folder, number, known, length, now + length}
}

// Doubled returns twice the length, which is at most five minutes unless it was longer in
// the first place.
func Doubled(length, first time.Duration) time.Duration {
	limit := max(first, longest)
	if length >= limit/2 {
		return limit
	}
	return 2 * length
}

// Left returns how long the pause of an endpoint lasts. One that began before the endpoint
// was known to accept tokens is over then.
func (p Pauses) Left(now time.Duration, at Place, known bool) time.Duration {
	q := p[at.At]
	if known && !q.Known {
		return 0
	}
	return q.Until - now
}

// Stretch returns how long after a refresh a refusal is not believed from an endpoint of
// which nothing is known: length, and longer if more than two others in its folder refuse
// whatever token they get.
func (p Pauses) Stretch(at Place, length time.Duration) time.Duration {
	first, others := length, -2
	for _, q := range p {
		if q.Folder == at.Folder {
			others++
		}
	}
	for ; length > 0 && others > 0; others-- {
		length = Doubled(length, first)
	}
	return length
}

// Matter reports whether a pause is on, or stretched anywhere, if a refresh was at a time.
func (p Pauses) Matter(now, refresh, length time.Duration) bool {
	for _, q := range p {
		if now < q.Until || now < refresh+p.Stretch(Place{Folder: q.Folder}, length) {
			return true
		}
	}
	return false
}
