package simulator

import (
	"net/http"
	"slices"
	"time"
)

// The rules about refusals that say something about the token, and those that do not.
const (
	rulePause    = "a token that a refresh has just brought is not refreshed because an endpoint refuses it that never took one"
	ruleEvidence = "a refusal by an endpoint that has accepted the token starts a refresh"
	ruleFallback = "where the API does not know a new token yet, the one before is used"
)

// An experience is what a process has seen of the API in one session.
type experience struct {
	accepted map[string]*token    // by endpoint: the last token that it accepted
	credible map[*token]bool      // it was refused by an endpoint that had accepted it or the one before
	taken    map[*token]bool      // some endpoint has accepted it
	order    []*token             // in which requests first carried them
	last     string               // the endpoint that was the last to accept a token
	when     time.Time            // and when that was sent to it
	paused   map[string]time.Time // by endpoint: when a replay was refused there
}

func newExperience() experience {
	return experience{
		accepted: make(map[string]*token), credible: make(map[*token]bool), taken: make(map[*token]bool), paused: make(map[string]time.Time),
	}
}

// carries notes that a request carries t.
func (x *experience) carries(t *token) {
	if !slices.Contains(x.order, t) {
		x.order = append(x.order, t)
	}
}

// isRecent reports whether t is u or one of the two that came before it.
func (x *experience) isRecent(t, u *token) bool {
	i, j := slices.Index(x.order, t), slices.Index(x.order, u)
	return i >= 0 && j >= 0 && j-i <= 2
}

// learn takes note of an answer.
func (x *experience) learn(o *op, at *attempt) {
	refused := at.status == http.StatusUnauthorized && !at.beyond
	judged := o.judged(at)
	replay := judged != nil
	before := x.accepted[at.endpoint]
	first := at.t
	if replay {
		first = judged.t
	}
	fallback := replay && first.family == at.t.family && first.generation > at.t.generation
	// A token that was adopted again is another generation.
	at.trusted = before == at.t && x.last == at.endpoint && x.when.After(o.p.know(o.session).changed)
	switch {
	case at.hearing.verdict != "": // which says nothing of the token
		return
	case at.status >= 500: // it may not have looked at the token
		return
	case !refused:
		if before == nil || slices.Index(x.order, before) <= slices.Index(x.order, at.t) { // not a slow answer
			x.accepted[at.endpoint] = at.t
		}
		x.last, x.taken[at.t], x.when = at.endpoint, true, at.sent
	case before != nil && x.isRecent(before, at.t):
		x.credible[at.t] = true
		if replay {
			x.paused[at.endpoint] = time.Now()
		}
	}
	if fallback {
		o.p.w.tally.counts[countFallbacks].Add(1)
		if refused { // the API did not know the newer one, and has refused the one before as well
			x.credible[first] = true
		}
	}
}

// judgeRefusal looks at a refusal that a caller is given without a second attempt. w.mu is
// held.
func (w *world) judgeRefusal(o *op, at *attempt) {
	k, t := o.p.know(o.session), at.t
	switch {
	case at.status != http.StatusUnauthorized, at.beyond, at.hearing.verdict != "", at.stranger, t == nil, o.upload != nil:
		return
	case o.judged(at) != nil: // a replay
		return
	case w.isReplaced(o, at): // the request was sent under another sign-in
		return
	}
	if before := w.before(o.p, o.session, t); at.unknown && before != nil && !k.seen.taken[t] {
		w.violatedLocked(ruleFallback, o.p, o.session, "%s: %v, while %v is good", o.name, t, before)
	}
	if at.trusted && at.answered.Sub(k.seen.paused[at.endpoint]) > w.plan.refreshPause() {
		w.violatedLocked(ruleEvidence, o.p, o.session, "%s: %v at %s", o.name, t, at.endpoint)
	}
}

// before returns the token before t, if t came by an early refresh a moment ago, and the one
// before it is still good. w.mu is held.
func (w *world) before(p *process, session string, t *token) *token {
	k, now := p.know(session), time.Now()
	if t.by != p || t.generation < 2 || k.obtained != t || t.salvaged || !now.Before(t.got.Add(w.plan.refreshPause())) {
		return nil
	}
	b := t.family.tokens[t.generation-2]
	_, carried := k.carried[b]
	good := carried && !k.refused[b] && w.server.accepts(b) && b.lifetime > 0 && now.Before(b.told())
	if !good {
		return nil
	}
	return b
}

// isReplaced reports whether a sign-in or sign-out may have come since a request began.
// w.mu is held.
func (w *world) isReplaced(o *op, at *attempt) bool {
	families := w.server.families[o.session]
	held := w.storage.held[o.session]
	if families[len(families)-1] != at.t.family || held == nil || held.family != at.t.family {
		return true
	}
	return slices.ContainsFunc(o.p.know(o.session).turns, func(u *turn) bool {
		return u.ended.IsZero() || !u.ended.Before(o.began) // the token may have been taken long before it was sent
	})
}
