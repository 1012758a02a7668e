package simulator

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

// The rules about what callers see, and what they send.
const (
	ruleStranger     = "a token does not reach a stranger"
	ruleForeign      = "a token is sent for its own session"
	ruleUnknown      = "only tokens are sent"
	ruleBare         = "a request goes out bare only if it may"
	ruleAtMostTwice  = "a request is sent twice at most, but for its proof"
	ruleReplay       = "only a refused request is replayed, with another token"
	ruleOtherSignIn  = "nothing is replayed under another sign-in of the process"
	ruleSavedFirst   = "a token is stored before a request carries it"
	ruleFenced       = "the result of a refresh is dropped after a sign-in or sign-out"
	ruleGivenUp      = "a token that was given up is not sent any more"
	ruleOtherContext = "nobody gets the end of another's context"
	ruleInTime       = "every call ends when its context does"
	ruleForEver      = "every call ends"
	ruleCalm         = "without a fault there is no error"
	ruleAnswer       = "the answer is that of the last attempt, whole"
	ruleStillGood    = "a token that is still valid is used"
	ruleUsable       = "Token returns a token of the session"
)

// judgeAttempt looks at a request as it leaves the process. left means that its
// chain of redirects has been to a stranger. w.mu is held.
func (w *world) judgeAttempt(o *op, at *attempt, has, bearer, left bool) {
	p, t := o.p, at.t
	violated := func(rule, format string, args ...any) {
		w.violatedLocked(rule, p, o.session, o.name+": "+format, args...)
	}
	switch {
	case at.stranger && has:
		violated(ruleStranger, "%v", t)
	case left && has:
		violated(ruleStranger, "%v, after a redirect by one", t)
	case o.bare && has:
		violated(ruleBare, "it carries %v, in spite of WithoutAuth", t)
	case has && (!bearer || t == nil):
		violated(ruleUnknown, "an Authorization that nobody has issued")
	case t != nil && t.family.user != o.session:
		violated(ruleForeign, "%v", t)
	case t == nil && !o.bare && !left && !at.stranger && !w.plan.anonymous:
		violated(ruleBare, "it carries no token")
	case t == nil && !o.bare && !left && !at.stranger && !w.mayBeOut(p, o.session, o.began):
		violated(ruleLoss, "it goes out bare, but the store holds %v", w.storage.held[o.session])
	}
	tokens, proofs := 0, 0 // how often the API has refused the one or the other
	for b := o.before(at); b != nil; b = o.before(b) {
		if b.hearing.verdict == "" {
			tokens++
		} else {
			proofs++
		}
	}
	last, judged := o.before(at), o.judged(at)
	switch {
	case tokens > 1:
		violated(ruleAtMostTwice, "this is the %d. time", tokens+1)
	case proofs > 1, proofs == 1 && last.hearing.verdict != "" && t != last.t:
		violated(ruleOneProof, "with %v after %v, %d times", t, last.t, proofs)
	case proofs == 1 && last.hearing.verdict != "":
		w.tally.counts[countOtherProofs].Add(1)
	case judged != nil && (judged.status != http.StatusUnauthorized || judged.beyond || judged.t == nil || t == judged.t):
		violated(ruleReplay, "with %v after %d to %v", t, judged.status, judged.t)
	case judged != nil && t != nil:
		w.judgeReplay(o, judged, at)
	case t != nil:
		w.judgeForgotten(o, at)
	}
	if t != nil {
		w.judgeCarried(o, at)
	}
}

// judgeReplay looks at the second attempt of a request, whose first was refused. w.mu is held.
func (w *world) judgeReplay(o *op, first, second *attempt) {
	k := o.p.know(o.session)
	bySignIn := slices.ContainsFunc(k.turns, func(u *turn) bool { return u.shared && u.began.After(first.sent) })
	if first.t.family == second.t.family || second.t.family.shared || bySignIn { // for this very request
		return
	}
	if w.signedInWithID(first.t) && w.signedInWithID(second.t) {
		w.violatedLocked(ruleOtherSignIn, o.p, o.session, "%s: sent with %v, then with %v", o.name, first.t, second.t)
		return
	}
	const drained = 110 * time.Millisecond // may lie between the decision and the second attempt
	for _, u := range o.p.know(o.session).turns {
		switch {
		case u.family == second.t.family && !u.ended.IsZero() && !u.failed:
		case u.family == nil && u.began.After(first.sent) && u.began.Before(second.entered.Add(-drained)):
		default:
			continue
		}
		w.violatedLocked(ruleOtherSignIn, o.p, o.session, "%s: sent with %v, then with %v", o.name, first.t, second.t)
		return
	}
}

// judgeCarried looks at the token of an attempt. w.mu is held.
func (w *world) judgeCarried(o *op, at *attempt) {
	p, t, now := o.p, at.t, at.sent
	k := p.know(o.session)
	violated := func(rule, format string, args ...any) {
		w.violatedLocked(rule, p, o.session, o.name+": "+format, args...)
	}
	saving := t.saveBegan
	if saving.IsZero() {
		saving = t.got // it may have stood in line behind a sign-in
	}
	pending := t.saveFailed || !saving.IsZero() && now.Sub(saving) >= w.plan.timeout
	// A save waits for another lease if a sign-in under this one has ended without an answer.
	unsettled := slices.ContainsFunc(k.turns, func(u *turn) bool { return u.failed && !u.ended.Before(t.counted.Add(-w.plan.timeout)) })
	late := unsettled || t.by != nil && t.got.Sub(t.counted) >= w.plan.timeout // the lock was given up before it came
	if t.saved.IsZero() && !pending && !late {
		violated(ruleSavedFirst, "%v is not stored", t)
	}
	carried, ok := k.carried[t]
	if !ok {
		k.carried[t] = at.entered
	}
	k.last = t
	k.seen.carries(t)
	for _, u := range k.turns {
		signOut := u.family == nil
		switch {
		case t.by == p && t.counted.Before(u.began) &&
			(signOut && t.got.After(u.began) || !signOut && !u.ended.IsZero() && !u.failed && t.got.After(u.ended)):
			violated(ruleFenced, "%v", t)
		case signOut && o.began.After(u.began) && (ok && carried.Before(u.began) || t.by == p && !t.got.IsZero() && t.got.Before(u.began)):
			violated(ruleGivenUp, "%v", t)
		}
	}
}

// judgeOp looks at how a call of the Transport has ended.
func (w *world) judgeOp(o *op, what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.p.dead {
		return
	}
	now := time.Now()
	violated := func(rule, format string, args ...any) {
		w.violatedLocked(rule, o.p, o.session, o.name+": "+what+": "+format, args...)
	}
	if !o.p.halted(o.began) && !o.panicked {
		bound := time.Millisecond + 2*w.handlersTake()
		if what == "SignIn" || what == "SignOut" {
			bound += 2 * (w.plan.timeout + 150*time.Millisecond) // they want to know what has been written
		}
		if !o.ended.IsZero() && now.Sub(o.ended) > bound {
			violated(ruleInTime, "%v late", now.Sub(o.ended))
		}
		if now.Sub(o.began) > 40*(w.plan.timeout+100*time.Millisecond)+30*time.Second+bound {
			violated(ruleForEver, "it took %v", now.Sub(o.began))
		}
	}
	if err == nil {
		return
	}
	w.note(o.p.name, o.session, "%s: %s: %v", o.name, what, err)
	if why := harmful(err); why != "" {
		violated(ruleErrors, "%s: %v", why, err)
	}
	if w.judgeUpdateError(o, what, err) {
		return
	}
	ended := o.ctx.Err() != nil
	if e, ok := errors.AsType[*ending](err); ok && (e != o.ending || !ended) {
		violated(ruleOtherContext, "%v", err)
	}
	if !ended && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		violated(ruleOtherContext, "%v", err)
	}
	required := errors.Is(err, reauth.ErrSignInRequired)
	if required && !w.mayBeOut(o.p, o.session, o.began) {
		violated(ruleLoss, "%v, but the store holds %v", err, w.storage.held[o.session])
	}
	if _, ok := errors.AsType[*reauth.RefreshError](err); ok && len(o.attempts) == 0 && (what == "request" || what == "Token") && !ended && !required && !o.bare && !strings.Contains(err.Error(), "OnEvent panicked") {
		k := o.p.know(o.session)
		// It may have waited for a flight from before, and for a handler after that.
		if t := k.good(); t != nil && !now.Before(k.carried[t].Add(w.handlersTake())) && w.storage.holds(t.family) && !w.storage.held[o.session].salvaged {
			violated(ruleStillGood, "%v, but %v is good for %v", err, t, t.told().Sub(now))
		}
	}
	harmless := slices.Max(w.plan.rates[:]) == 0 && !ended && !required && !o.panicked
	harmless = harmless && o.p.know(o.session).proofFailed.IsZero() // nonces end, without a fault too
	if _, pause := errors.AsType[*reauth.RefreshError](err); harmless && !(pause && what == "Refresh") && !strings.Contains(err.Error(), "meanwhile") && !strings.Contains(err.Error(), "not free in time") {
		violated(ruleCalm, "%v", err)
	}
}

// judgeOut looks at a session that is said to have no token.
func (w *world) judgeOut(o *op, says string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !o.p.dead && !w.mayBeOut(o.p, o.session, o.began) {
		w.violatedLocked(ruleLoss, o.p, o.session, "%s: %s, but the store holds %v", o.name, says, w.storage.held[o.session])
	}
}

// judgeAnswer compares what the caller was given with what the API said last.
func (w *world) judgeAnswer(o *op, status int, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == http.StatusOK {
		w.tally.counts[countAnswered].Add(1)
	}
	if o.panicked {
		return
	}
	last := o.attempts[len(o.attempts)-1]
	w.judgeRefusal(o, last)
	w.judgeVerdict(o, last)
	if status != last.status || !strings.HasPrefix(last.text, text) {
		w.violatedLocked(ruleAnswer, o.p, o.session, "%s: %d %q, after %q", o.name, status, text, last.text)
	}
}

// judgeToken looks at a token that a caller was given.
func (w *world) judgeToken(o *op, tok reauth.Token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.server.byAccess[tok.AccessToken]; o.panicked {
		// its handler of events took its result away
	} else if t == nil || t.family.user != o.session {
		w.violatedLocked(ruleUsable, o.p, o.session, "%s: %v", o.name, t)
	}
}
