// Package simulator tries to lose a session.
//
// It runs a whole world in virtual time: several processes, each a Transport with
// many callers, over one store; a token server that rotates refresh tokens and
// revokes a session whose token is presented twice; an API; and all the faults that
// these have in real life. Processes freeze and die. Everything is decided by one
// seed: which faults there are, when, and what the callers do. Rules that
// know the promises of the library watch the run from outside, and every excuse for a
// lost session is counted.
//
// In a part of the worlds sessions are bound to keys (RFC 9449). The API and the token server
// then verify each proof, and may demand nonces that end soon, or at once.
//
// A seed decides the same every time, since no decision depends on the order in
// which goroutines arrive at it: each is derived from the seed, from who asks, and
// from how many times that one has asked before. Two things are left open, which
// are not the simulator's: the order of the scheduler, and the jitter with which
// the library spreads its refreshes and pauses. A seed that failed may therefore
// have to be run a few times.
package simulator

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Options are the settings of a run. The zero value is what the tests use.
type Options struct {
	// Lasts is how long the faults go on, in virtual time. 0 means what the seed
	// says: half a minute, more or less.
	Lasts time.Duration

	// Unlocked gives all processes a store that does not lock, with which the
	// library does not promise to keep a session.
	Unlocked bool

	// DPoP binds the sessions of every seed to keys, and not only those of a part.
	DPoP bool
}

// A Report is what came of one run.
type Report struct {
	Seed       uint64
	World      string // what the seed made of the world, in words
	Violations []Violation
	Tally      Tally

	trace *trace
	dpop  bool // Options.DPoP
}

// A Violation is a promise that was not kept.
type Violation struct {
	Rule    string // in a few words, always the same for one rule
	Process string
	Session string
	Detail  string

	line int // of the trace
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s", v.Rule, v.Detail)
}

// Failed reports whether a promise was broken.
func (r *Report) Failed() bool { return len(r.Violations) > 0 }

// Trace writes down what happened, a line each: virtual time, process, session,
// what. With around, it is shortened to the session of the first violation and
// about that many lines before it.
func (r *Report) Trace(around int) string {
	if around <= 0 || len(r.Violations) == 0 {
		return r.trace.text("", 0, -1)
	}
	v := r.Violations[0]
	return r.trace.text(v.Session, around, v.line)
}

// String says what was found, and how to see it again.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s\n", r.Seed, r.World)
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  %s\n", v)
	}
	fmt.Fprintf(&b, "again: go test ./internal/simulator -run TestSimulation -seed=%d%s -v\n", r.Seed, map[bool]string{true: " -dpop"}[r.dpop])
	return b.String()
}

// Run runs the world of seed, in a synctest bubble of its own, and returns what it
// found. It fails t only where it cannot go on. The caller decides what to do about the
// violations. It must not be called within a bubble.
func Run(t *testing.T, seed uint64, o Options) (r *Report) {
	t.Helper()
	w := newWorld(seed, o)
	r = &Report{Seed: seed, World: w.plan.String(), dpop: o.DPoP}
	defer func() {
		r.Violations, r.trace = w.violations, w.trace
		r.Tally = w.tally.read()
		// A bubble whose goroutines are all blocked for ever panics here.
		if v := recover(); v != nil {
			r.Violations = append(r.Violations, Violation{
				Rule: "something is blocked for ever", Detail: fmt.Sprint(v), line: len(w.trace.lines),
			})
		}
	}()
	synctest.Test(t, func(t *testing.T) { w.run(t) })
	return r
}
