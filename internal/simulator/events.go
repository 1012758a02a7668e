package simulator

import (
	"context"
	"errors"
	"time"

	"github.com/reauth-go/reauth"
)

const (
	ruleErrors = "an error shows no secret and passes for nobody's context"
	ruleOnce   = "OnEvent hears of a loss once"
	ruleLoss   = "no session is lost that the server still honours"
)

// handlerPanic is what a handler panics with.
type handlerPanic struct{}

// hear is the OnEvent of a process.
func (p *process) hear(ctx context.Context, e reauth.Event) {
	w := p.w
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return
	}
	k, now := p.know(e.Session), time.Now()
	if e.Err != nil {
		w.note(p.name, e.Session, "event: %v: %v", e.Kind, e.Err)
		if why := harmful(e.Err); why != "" {
			w.violatedLocked(ruleErrors, p, e.Session, "event %v: %s: %v", e.Kind, why, e.Err)
		}
	} else {
		w.note(p.name, e.Session, "event: %v", e.Kind)
	}
	switch e.Kind {
	case reauth.EventRefreshed, reauth.EventAdopted, reauth.EventSignedIn:
		k.changed = now
		k.failed, k.required = time.Time{}, false
		if e.Kind == reauth.EventSignedIn {
			k.settleShared()
		}
		if e.Kind == reauth.EventAdopted && !k.signOut.IsZero() && !k.outFailed && !k.isSigningOut() && now.After(k.signOut.Add(w.handlersTake())) {
			k.signOut = time.Time{}
		}
	case reauth.EventRefreshFailed:
		k.failed = time.Time{}
		if errors.Is(e.Err, reauth.ErrSignInRequired) {
			k.changed = now // perhaps, and a handler that panics may not live to hear it
		}
		if o, _ := ctx.Value(opKey{}).(*op); o != nil && o.updates {
			break // which starts no pause
		}
		if r, ok := errors.AsType[*reauth.RefreshError](e.Err); ok && !errors.Is(e.Err, reauth.ErrSignInRequired) {
			k.failed, k.failedPause = now, max(750*time.Millisecond, min(r.RetryAfter, 5*time.Minute))
		}
	case reauth.EventSaveFailed:
		if k.obtained != nil {
			k.obtained.saveFailed = true
		}
	case reauth.EventSignInRequired:
		if k.required && k.requiredFor == k.refusedForGood && w.handlersTake() == 0 {
			w.violatedLocked(ruleOnce, p, e.Session, "and nobody has signed in since")
		}
		k.required = !k.changed.Equal(now) // or somebody may have signed in a moment ago
		k.requiredFor, k.failed, k.changed = k.refusedForGood, time.Time{}, now
		if !w.mayBeOut(p, e.Session, now) {
			w.violatedLocked(ruleLoss, p, e.Session, "event %v, but the store holds %v", e.Kind, w.storage.held[e.Session])
		}
		w.tally.counts[countLost].Add(1)
	}
	w.mu.Unlock()
	switch e.Kind {
	case reauth.EventReplayed:
		w.tally.counts[countReplays].Add(1)
	case reauth.EventAdopted:
		w.tally.counts[countAdoptions].Add(1)
	case reauth.EventSaveFailed:
		w.tally.counts[countPendingSaves].Add(1)
	}
	d := w.chance.now(p.name, e.Session, "event")
	w.yield(d)
	if w.strikes(d, handlerSlow) {
		time.Sleep(w.span(d, 1, 300*time.Millisecond))
	}
	if w.strikes(d, handlerPanics) {
		w.mu.Lock()
		k.failed, k.required = time.Time{}, false // the events that follow are not heard
		w.mu.Unlock()
		panic(handlerPanic{})
	}
	if e.Kind == reauth.EventSignInRequired && w.plan.handlerSignIn {
		p.signIn(w.newOp(p, e.Session, "a sign-in by OnEvent"))
	}
}
