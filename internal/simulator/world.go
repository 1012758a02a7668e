package simulator

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A world is one run. Its state is guarded by mu, which is never held while time
// passes.
type world struct {
	seed   uint64
	plan   *plan
	chance *chance
	trace  *trace
	tally  counters
	began  time.Time
	ends   time.Time    // of the faults
	moves  atomic.Int64 // how many times anything crossed a process's boundary

	callers sync.WaitGroup

	mu         sync.Mutex
	calm       bool // no new faults
	server     *server
	storage    *storage
	places     []*process // who is alive, by place
	born       int
	sessions   map[string]*condition
	bodies     []*answerBody
	uploads    []*upload
	violations []Violation

	deaths chan *process // those who need a successor

	// With DPoP.
	api, login *gate           // of the API and of the token server
	programKey crypto.Signer   // nil: each session has a key of its own
	jtis       map[string]bool // of all proofs that were sent
	verifiers  sync.Map        // of a proof's header, a *verifier
}

// A condition is how a session stands, seen from above.
type condition struct {
	bad     bool      // the store holds no token, or one that the server no longer honours
	lastBad time.Time // when it last was
	fresh   bool      // it has seen a refresh
}

func newWorld(seed uint64, o Options) *world {
	w := &world{seed: seed, chance: newChance(seed), trace: &trace{}, sessions: make(map[string]*condition)}
	w.plan = newPlan(w.chance, o)
	w.places = make([]*process, w.plan.processes)
	return w
}

// run is the life of the world.
func (w *world) run(t *testing.T) {
	w.began = time.Now()
	w.trace.began, w.chance.began = w.began, w.began
	w.ends = w.began.Add(w.plan.lasts)
	w.calm = true
	// Channels belong to the bubble that they are made in.
	w.server, w.storage, w.deaths = newServer(w), newStorage(w), make(chan *process, 1000)
	w.furnish()
	w.tally.counts[countSessions].Add(int64(len(w.plan.sessions)))
	for place := range w.places {
		w.start(t, place)
	}
	for i, s := range w.plan.sessions {
		p := w.places[i%len(w.places)]
		p.signIn(w.newOp(p, s, "the first sign-in"))
	}

	w.note("", "", "the faults begin")
	w.setCalm(false)
	for _, p := range w.places {
		p.populate()
	}
	w.operate(t)
	w.note("", "", "the faults end")
	w.setCalm(true)
	w.replace(t)
	w.callers.Wait()

	w.rest()
	w.recover(t)
	w.clear(t)
	w.tally.virtual = time.Since(w.began)
}

func (w *world) setCalm(calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm = calm
}

// operate makes the incidents happen, and puts new processes in the places of the
// dead, until the faults end.
func (w *world) operate(t *testing.T) {
	for _, i := range append(w.plan.schedule, incident{at: w.plan.lasts, kind: faultKinds}) {
		for {
			wait := time.Until(w.began.Add(i.at))
			if wait <= 0 {
				break
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case p := <-w.deaths:
				timer.Stop()
				w.start(t, p.place).populate()
			}
		}
		w.happen(i)
	}
}

// replace puts new processes in the places of those who have just died.
func (w *world) replace(t *testing.T) {
	for {
		select {
		case p := <-w.deaths:
			w.start(t, p.place)
		default:
			return
		}
	}
}

func (w *world) happen(i incident) {
	if i.kind == faultKinds {
		return
	}
	w.mu.Lock()
	p := w.places[i.process]
	w.mu.Unlock()
	if i.kind != storeForgets { // which may have nothing to forget
		w.tally.faults[i.kind].Add(1)
	}
	switch i.kind {
	case serverOutage:
		w.note("", "", "the token server is out for %v", i.lasts)
		w.server.outUntil(time.Now().Add(i.lasts))
	case storeOutage:
		w.note("", "", "the store is out for %v", i.lasts)
		w.storage.outUntil(time.Now().Add(i.lasts))
	case savesOutage:
		w.note("", "", "the store saves nothing for %v", i.lasts)
		w.storage.noSavesUntil(time.Now().Add(i.lasts))
	case storeForgets:
		w.storage.forget(i.session)
	case nonceModeChanges:
		w.changeMind(i)
	case sessionEnded:
		w.server.endSession(i.session)
	case accessRevoked:
		w.server.revokeAccess(i.session)
	case processFreezes:
		p.freeze(min(i.lasts, time.Until(w.ends)))
	case processDies:
		p.die()
	}
}

// strikes decides whether a fault happens on an occasion.
func (w *world) strikes(d *dice, f fault) bool {
	hit := d.percent(w.plan.rates[f])
	if !hit {
		return false
	}
	w.mu.Lock()
	calm := w.calm
	w.mu.Unlock()
	if calm {
		return false
	}
	w.tally.faults[f].Add(1)
	return true
}

// span is a time between least and most, in steps of the grain.
func (w *world) span(d *dice, least, most time.Duration) time.Duration {
	return w.plan.coarse(d.between(least, most))
}

// yield offers the scheduler to let others go first.
func (w *world) yield(d *dice) {
	n := d.below(4)
	if !w.plan.yields {
		return
	}
	for range n {
		runtime.Gosched()
	}
}

func (w *world) note(process, session, format string, args ...any) {
	w.trace.note(process, session, format, args...)
}

// violated notes that a rule was broken.
func (w *world) violated(rule string, p *process, session, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violatedLocked(rule, p, session, format, args...)
}

func (w *world) violatedLocked(rule string, p *process, session, format string, args ...any) {
	name := ""
	if p != nil {
		name = p.name
	}
	w.note(name, session, "VIOLATION "+rule+": "+format, args...)
	const enough = 20
	if len(w.violations) < enough {
		w.violations = append(w.violations, Violation{
			Rule: rule, Process: name, Session: session,
			Detail: fmt.Sprintf("%v %s %q: ", time.Since(w.began), name, session) + fmt.Sprintf(format, args...),
			line:   w.trace.len() - 1,
		})
	}
}

// condition is how a session stands. w.mu is held.
func (w *world) condition(session string) *condition {
	c := w.sessions[session]
	if c == nil {
		c = &condition{bad: true, lastBad: w.began}
		w.sessions[session] = c
	}
	return c
}

// weigh looks at how a session stands after something has changed. w.mu is held.
func (w *world) weigh(session string) {
	c := w.condition(session)
	if c.bad {
		c.lastBad = time.Now()
	}
	held := w.storage.held[session]
	c.bad = held == nil || held.family.dead
}

// pass lets time go by, unless ctx ends before.
func pass(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errDead = errors.New("the process is dead")

func newClient(base http.RoundTripper) *http.Client { return &http.Client{Transport: base} }
