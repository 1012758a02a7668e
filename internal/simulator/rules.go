package simulator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

// RuleTwice is the rule that everything else is for.
const RuleTwice = "a refresh token is used once"

// The rules that concern the token server and the store. Those about callers are
// in judge.go, those about events in events.go.
const (
	ruleUnknownToken   = "only refresh tokens are presented to the token server"
	ruleForeignRefresh = "a refresh token is presented for its own session"
	ruleOneAtATime     = "a process refreshes a session once at a time"
	ruleLocked         = "a refresh is made under the lock"
	ruleKnownLost      = "no refresh is begun under a lease that is known to be lost"
	ruleNeeded         = "a token is refreshed only if it expires or was refused"
	ruleFinal          = "a refresh token that was refused for good is not presented again"
	ruleAborted        = "nothing but RefreshTimeout ends a refresh request"
	ruleHammer         = "after a failure the token server is left alone for a while"
	ruleRevoked        = "only a sign-out revokes"
	ruleRevokedAgain   = "a sign-out revokes what an earlier one could not"
	ruleWrite          = "the store is written to under the lock"
	ruleNewLease       = "a sign-in after a lost lease takes another lease"
	ruleSavedWhat      = "only tokens of the session are saved"
	ruleBackwards      = "the store does not go back to an older token"
	ruleResurrected    = "a refresh does not bring back a token that was deleted or replaced"
	ruleSignedOut      = "a sign-out deletes the stored token"
	ruleUnlocked       = "a sign-out that has not locked the store returns an error"
	ruleNotYet         = "a final answer that comes early takes effect when the token expires"
	ruleDeleted        = "no session is deleted that the server still honours"
)

// beginVisit looks at a refresh request as it is made.
func (w *world) beginVisit(v *visit, presented string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := v.call != nil && v.call.sends > 0 // with another proof
	p, session, asked := v.p, v.session, v.asked
	k, now := p.know(session), time.Now()
	pause := k.failedPause - w.handlersTake() // it began before its event was heard
	t := w.server.byRefresh[presented]
	v.t = t
	w.note(p.name, session, "refreshes %s", t)
	violated := func(rule, format string, args ...any) { w.violatedLocked(rule, p, session, format, args...) }
	w.judgeProofOfRefresh(v)
	if again {
		w.tally.counts[countOtherProofs].Add(1)
	} else {
		w.tally.counts[countRefreshesAsked].Add(1)
	}

	began := asked
	if v.update {
		began = now.Add(-2 * w.plan.timeout) // it may have done something else first
	}
	if k.asking++; k.asking == 1 {
		k.asked = began
	} else if !slices.ContainsFunc(k.turns, func(t *turn) bool {
		return t.ended.IsZero() || !t.ended.Before(earlier(k.asked, v.called).Add(-w.handlersTake()))
	}) {
		violated(ruleOneAtATime, "%v is the %d. at once", t, k.asking)
	}
	k.asked = earlier(k.asked, began) // a call that goes on with another proof may be older than the others
	if again {
		v.leases = v.call.leases
	} else if w.plan.storage == locking {
		for _, l := range k.leases {
			if l.unlocks == 0 {
				v.leases = append(v.leases, l)
			}
		}
		if v.update {
			// it may have begun before the lease was lost
		} else if len(v.leases) == 0 {
			violated(ruleLocked, "%v is refreshed without a lease", t)
		} else if !slices.ContainsFunc(v.leases, func(l *lease) bool { return !l.knownLost(asked) }) {
			v.knew = true
			violated(ruleKnownLost, "%v", t)
		}
	}
	if v.call != nil {
		v.call.leases = v.leases
	}
	switch {
	case t == nil:
		violated(ruleUnknownToken, "nobody has issued that")
		return
	case t.family.user != session:
		violated(ruleForeignRefresh, "%v is of another session", t)
	}
	if !w.plan.rotates || v.update || again {
		return // a refresh token that stays the same does not tell the generation
	}
	// A salvaged one, and the one before it, may both have to be tried again, and so may one
	// that the store has forgotten and found again, or that an Update elsewhere has kept, which looks as if it had been renewed.
	kept := w.storage.held[session] == t && w.storage.since[session].After(k.finalAt)
	if k.final[t] && !kept && !t.salvaged && !t.forgotten && !(t.spent != nil && t.spent.next.salvaged) {
		violated(ruleFinal, "%v", t)
	}
	// The rule does not hold for a token that has come meanwhile.
	since, carried := k.carried[t]
	known := carried && since.Before(k.failed) || t.salvaged && t.got.Before(k.failed)
	if known && t.generation > 1 && !k.failed.IsZero() && now.Before(k.failed.Add(pause)) {
		violated(ruleHammer, "%v is refreshed %v after a failure; the pause is %v or more", t, now.Sub(k.failed), k.failedPause)
	}
	w.judgeNeed(v, k)
}

func (w *world) endVisit(v *visit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.p.know(v.session).asking--
}

// judgeNeed asks whether the token had to be refreshed. w.mu is held.
func (w *world) judgeNeed(v *visit, k *knowledge) {
	t, now := v.t, v.asked
	if t.lifetime == 0 && !t.unknown || t.salvaged || t.spent != nil && k.final[t.spent.next] {
		w.tally.counts[countSkippedNeed].Add(1) // how its owner reads it cannot be known
		return
	}
	window := w.plan.window(t.lifetime)
	if !t.unknown && !now.Before(t.told().Add(-window)) || t.signedInBare {
		if now.Before(t.told()) && !k.refused[t] {
			w.tally.counts[countEarly].Add(1)
		}
		return
	}
	if !k.refused[t] {
		w.violatedLocked(ruleNeeded, v.p, v.session, "%v is good for %v more, as far as the process knows", t, t.told().Sub(now))
		return
	}
	certain := t.told().Add(-min(time.Second, t.lifetime/2))
	if b := w.before(v.p, v.session, t); b != nil && w.server.isUnknown(t) && !k.seen.taken[t] {
		w.violatedLocked(ruleFallback, v.p, v.session, "%v is refreshed, while %v is good", t, b)
	}
	if k.seen.credible[t] {
		return
	}
	if t.by != v.p || !t.unknown && !now.Before(certain) {
		return
	}
	if pause := w.plan.refreshPause(); now.Before(t.got.Add(pause)) {
		w.violatedLocked(rulePause, v.p, v.session, "%v is refreshed %v after it came; the pause is %v", t, now.Sub(t.got), pause)
	}
}

// judgeReuse looks at a refresh token that is presented a second time. w.mu is held.
func (w *world) judgeReuse(v *visit) {
	sp := v.t.spent
	why, ok := w.excuse(v, sp)
	if !ok {
		w.violatedLocked(RuleTwice, v.p, v.session, "%v was used by %s %v ago, which brought %v", v.t, sp.by.name, time.Since(sp.asked), sp.next)
		return
	}
	w.note(v.p.name, v.session, "token server: %v has been used before; excused: %v", v.t, why)
	v.t.family.excused = true
	w.tally.counts[countReuses].Add(1)
	w.tally.excuses[why].Add(1)
}

// judgeRevocation looks at a request that gives a token back.
func (w *world) judgeRevocation(p *process, session, presented string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.server.byRefresh[presented]
	w.tally.counts[countRevocations].Add(1)
	w.note(p.name, session, "gives back %s", t)
	switch {
	case t == nil:
		w.violatedLocked(ruleUnknownToken, p, session, "nobody has issued the token that is given back")
	case t.family.user != session:
		w.violatedLocked(ruleForeignRefresh, p, session, "%v is given back for another session", t)
	case !slices.ContainsFunc(p.know(session).turns, func(t *turn) bool { return t.family == nil }):
		w.violatedLocked(ruleRevoked, p, session, "%v", t)
	}
	if t != nil {
		p.know(session).gaveBack[w.server.givenBack(presented)] = time.Now()
	}
}

// judgeWrite looks at a Save or Delete as it begins, maybe some time after it was called.
func (w *world) judgeWrite(ctx context.Context, called time.Time, p *process, session, what string, l *lease, t *token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	signIn := func(u *turn) bool { return t != nil && u.family == t.family && l.knownLost(u.began) }
	switch {
	case w.plan.storage != locking:
	case l == nil:
		o, _ := ctx.Value(opKey{}).(*op)
		if what != "Delete" || o == nil || o.p != p || !p.know(session).signsOutUnlocked(called) {
			w.violatedLocked(ruleWrite, p, session, "%s without a lease", what)
			return
		}
		o.unlocked = true
	case l.p != p || l.session != session:
		w.violatedLocked(ruleWrite, p, session, "%s under the lease of another", what)
	case l.unlocks > 0 && ctx.Err() == nil:
		w.violatedLocked(ruleWrite, p, session, "%s under a lease that was given back", what)
	case l.lost && t != nil && t.generation == 1 && slices.ContainsFunc(p.know(session).turns, signIn):
		w.violatedLocked(ruleNewLease, p, session, "SignIn of %v, %v after that", t, time.Since(l.told))
	}
}

// judgeSave looks at a token that replaces another in the store. w.mu is held.
func (w *world) judgeSave(p *process, session string, t *token, tok reauth.Token) {
	if t != nil {
		w.judgeKeyStored(p, session, t, tok)
	}
	switch {
	case t == nil || t.family.user != session || tok.RefreshToken != t.refresh || tok.AccessToken != t.access && !w.isBare(t, tok):
		w.violatedLocked(ruleSavedWhat, p, session, "%v is not that", t)
		return
	case t.generation == 1:
		return // a sign-in, which may replace whatever there is
	}
	before := w.storage.held[session]
	switch {
	case before == nil && t.family.removed && p.know(session).outFailed: // it was pending, and the user knows
	case before == nil && t.family.removed:
		w.violatedLocked(ruleResurrected, p, session, "%v is saved after its session was deleted", t)
	case before == nil || before == t:
	case before.family == t.family && before.generation > t.generation:
		w.violatedLocked(ruleBackwards, p, session, "%v replaces %v", t, before)
	case before.family != t.family && before.family.stored:
		w.violatedLocked(ruleResurrected, p, session, "%v replaces %v, of another sign-in", t, before)
	}
}

// isBare reports whether tok is t without its access token: as a sign-in handed it over, or
// as it was salvaged, beside the access token of one before it or none. w.mu is held.
func (w *world) isBare(t *token, tok reauth.Token) bool {
	if t.signedInBare || tok.AccessToken == "" && t.family.tokens[0].signedInBare && !w.plan.rotates {
		return true
	}
	before := w.server.byAccess[tok.AccessToken]
	return t.salvaged && (tok.AccessToken == "" || before != nil && before.family == t.family && before.generation < t.generation)
}

// judgeDelete looks at a deletion. w.mu is held.
func (w *world) judgeDelete(p *process, session string) {
	k, held := p.know(session), w.storage.held[session]
	if held == nil || held.family.dead || k.outFailed {
		return
	}
	if failed := held.generation == 1 && held.saveFailed; failed {
		return // the user was told that the sign-in has not succeeded
	}
	if !k.isSigningOut() {
		w.violatedLocked(ruleDeleted, p, session, "%v is deleted", held)
	}
}

// judgeFinal looks at the deletion of a token that was refused for good. w.mu is held.
func (w *world) judgeFinal(p *process, session string) {
	k, held := p.know(session), w.storage.held[session]
	if held == nil || held.salvaged || k.outFailed || k.isSigningOut() {
		return
	}
	if t := k.good(); t != nil && t.family == held.family {
		w.violatedLocked(ruleNotYet, p, session, "%v is deleted, but %v is good for %v", held, t, time.Until(t.told()))
	}
}

// judgeSignOut looks at the store after a SignOut that has succeeded. w.mu is held.
func (w *world) judgeSignOut(o *op, u *turn) {
	if held := w.storage.held[o.session]; held != nil && w.storage.since[o.session].Before(u.began) {
		w.violatedLocked(ruleSignedOut, o.p, o.session, "it holds %v", held)
	}
	if o.unlocked {
		w.violatedLocked(ruleUnlocked, o.p, o.session, "%s", o.name)
	}
}

// judgeRevocations looks at what a SignOut has given back. w.mu is held.
func (w *world) judgeRevocations(o *op, u *turn) {
	p, k := o.p, o.p.know(o.session)
	for _, other := range k.turns { // which may be at it
		if other != u && other.family == nil && other.overlaps(u) {
			return
		}
	}
	for t, failed := range k.notGivenBack {
		if failed.Before(u.began) && k.gaveBack[t].Before(u.began) && o.ctx.Err() == nil && !o.panicked && !p.halted(failed) {
			w.violatedLocked(ruleRevokedAgain, p, o.session, "%s: %v", o.name, t)
		}
	}
}

// judgeEnd looks at a refresh request whose context has ended.
func (w *world) judgeEnd(v *visit) {
	if passed := time.Since(v.asked); passed < w.plan.timeout && !v.update { // an Update may have done something else first
		w.violated(ruleAborted, v.p, v.session, "that of %v has ended after %v", v.t, passed)
	}
}

// mayBeOut reports whether a process may say, at any time since, that a sign-in is
// required. w.mu is held.
func (w *world) mayBeOut(p *process, session string, since time.Time) bool {
	k, c := p.know(session), w.condition(session)
	if !k.signOut.IsZero() || c.bad {
		return true
	}
	// The process may say what it saw when it last looked at the store, and the flight
	// that did so may have taken its time.
	if w.plan.rates[loadLags] > 0 {
		since = since.Add(-mostLag)
	}
	if w.plan.signsIn {
		since = since.Add(-6 * w.plan.timeout) // which takes its time, and then has to lock
	}
	since = since.Add(-w.plan.refreshPause() - 6*(w.plan.timeout+100*time.Millisecond) - w.handlersTake())
	for _, u := range k.turns { // it may tell of a sign-out that is over
		if u.family == nil && !u.ended.Before(since) {
			return true
		}
	}
	return !c.lastBad.Before(since) || !k.loadFailed.Before(since) || p.halted(since)
}

// handlersTake is how long handlers of events may keep things up.
func (w *world) handlersTake() time.Duration {
	if w.plan.rates[handlerSlow] == 0 && !w.plan.handlerSignIn {
		return 0
	}
	return 2 * time.Second
}

// harmful returns what is wrong with an error that somebody is given, or "".
func harmful(err error) string {
	if strings.Contains(err.Error(), secretMark) || strings.Contains(err.Error(), "eyJ") {
		return "it holds a secret"
	}
	if e, ok := errors.AsType[*reauth.RefreshError](err); ok {
		if errors.Is(e, context.DeadlineExceeded) || errors.Is(e, context.Canceled) {
			return "a RefreshError passes for the end of a context"
		}
	}
	return ""
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
