package simulator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// The rules for the time after the faults.
const (
	ruleRecovers   = "after the faults every session works again in every process"
	ruleSignsIn    = "after the faults SignIn works"
	ruleWait       = "Wait returns once nothing goes on"
	ruleSpentLeft  = "the token that is stored in the end can be refreshed"
	ruleStartsOver = "a new process finds what the others left"
	ruleQuiet      = "nothing goes on in the end"
	ruleLocksFree  = "locks are given back"
	ruleBodies     = "the bodies of answers are closed"
)

// recover waits until every session works again in every process, without a
// restart of any. Users sign in where nobody could do without.
func (w *world) recover(t *testing.T) {
	time.Sleep(5 * w.plan.timeout) // the bounds of what is under way
	began := time.Now()
	works := make(map[string]bool)
	// The longest that the library leaves things alone: five minutes of a
	// Retry-After or of refreshes that do not help, and half a minute of failures.
	bound := 6 * time.Minute
	if (w.plan.lifetime < time.Second || w.plan.polls) && w.plan.told != toldExactly && w.plan.told != toldAsText {
		// A token may expire while a replay carries it. Its owner does not know that it was
		// about to expire, so several of those pauses are needed.
		bound = time.Hour
	}
	for round := 1; ; round++ {
		missing := ""
		for _, p := range w.places {
			for _, s := range w.plan.sessions {
				key := p.name + " " + s
				if works[key] {
					continue
				}
				if err := w.visitAgain(p, s, round); err != nil {
					missing = fmt.Sprintf("%s %q: %v", p.name, s, err)
				} else {
					works[key] = true
				}
			}
		}
		w.tally.slowest = time.Since(began)
		if missing == "" {
			return
		}
		if time.Since(began) > bound {
			w.violated(ruleRecovers, nil, "", "not after %v: %s", time.Since(began), missing)
			return
		}
		time.Sleep(w.plan.coarse(time.Second))
	}
}

// visitAgain makes a request, after a sign-in where that is the only way.
func (w *world) visitAgain(p *process, session string, round int) error {
	w.mu.Lock()
	// A process that was signed out stays so while the store shows what was given
	// up, so its user has to come back.
	out := w.condition(session).bad || round > 3 && !p.know(session).signOut.IsZero()
	w.mu.Unlock()
	if out && round > 1 {
		if err := p.signIn(w.newOp(p, session, fmt.Sprintf("round %d, the user comes back", round))); err != nil && !errors.Is(err, errHandler) {
			w.violated(ruleSignsIn, p, session, "%v", err)
			return err
		}
	}
	for again := false; ; again = true {
		o := w.newOp(p, session, fmt.Sprintf("round %d", round))
		if err := p.request(o, pathGood, &dice{}); err != nil {
			return err
		}
		w.mu.Lock()
		last := o.attempts[len(o.attempts)-1]
		w.mu.Unlock()
		switch {
		case last.status == 200:
			return nil
		case again || !last.unknown:
			return fmt.Errorf("status %d for %v", last.status, last.t)
		}
		time.Sleep(w.plan.coarse(w.plan.late)) // until the API knows it
	}
}

// rest waits for all processes, and sees that they have come to rest.
func (w *world) rest() {
	for _, p := range w.places {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		if err := p.tr.Wait(ctx); err != nil {
			w.violated(ruleWait, p, "", "%v", err)
		} else if n := p.inside.Load(); n > 0 {
			w.violated(ruleWait, p, "", "%d calls have not returned", n)
		}
		cancel()
	}
}

// clear looks at what is left once nobody does anything any more.
func (w *world) clear(t *testing.T) {
	w.rest()
	w.judgeLeft()
	w.startOver(t)
	moves := w.moves.Load()
	time.Sleep(time.Hour)
	if more := w.moves.Load() - moves; more > 0 {
		w.violated(ruleQuiet, nil, "", "%d calls in the hour after Wait", more)
	}
	w.judgeRest()
}

// startOver puts a new process in a place, whose user need not sign in.
func (w *world) startOver(t *testing.T) {
	p := w.start(t, 0)
	for _, s := range w.plan.sessions {
		var err error
		for range 5 { // a short-lived token may expire on its way
			if err = w.visitAgain(p, s, 1); err == nil {
				break
			}
			time.Sleep(w.plan.refreshPause() + w.plan.coarse(time.Second))
		}
		if err != nil && !w.excusedEnd(s) {
			w.violated(ruleStartsOver, p, s, "%v", err)
		}
	}
	if err := p.tr.Wait(context.Background()); err != nil {
		w.violated(ruleWait, p, "", "%v", err)
	}
}

// judgeLeft looks at what the store holds once no save is pending.
func (w *world) judgeLeft() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.plan.sessions {
		held := w.storage.held[s]
		if w.condition(s).fresh {
			w.tally.counts[countSessionsRefreshed].Add(1)
		}
		if held == nil || held.family.dead || held.spent == nil || held.spent.next.forgotten {
			continue
		}
		if sp := held.spent; sp.fate == delivered && !sp.by.dead {
			w.violatedLocked(ruleSpentLeft, sp.by, s, "it is %v, which %s has used to get %v", held, sp.by.name, sp.next)
		}
	}
}

// excusedEnd reports whether a session had to end.
func (w *world) excusedEnd(session string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.condition(session).bad
}

// judgeRest looks at what has been left open.
func (w *world) judgeRest() {
	for s, slot := range w.storage.locks {
		if len(slot) > 0 {
			w.violated(ruleLocksFree, nil, s, "the lock is still held")
		}
	}
	w.mu.Lock()
	bodies, uploads := w.bodies, w.uploads
	w.mu.Unlock()
	for _, b := range bodies {
		if !b.isClosed() && !b.o.panicked {
			w.violated(ruleBodies, b.o.p, b.o.session, "%s: %q", b.o.name, b.left)
		}
	}
	for _, u := range uploads {
		if n := u.unclosed(); n > 0 && !u.o.panicked {
			w.violated(ruleClosed, u.o.p, u.o.session, "%s: %d are open", u.o.name, n)
		}
	}
}
