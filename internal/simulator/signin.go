package simulator

import (
	"context"
	"errors"
	"time"

	"github.com/reauth-go/reauth"
)

const (
	ruleOneSignIn = "a process signs a session in once at a time by Config.SignIn"
	ruleForgets   = "after Forget the next request goes by what is stored"
)

var errUserLeft = errors.New("the user has closed the browser")

// sharedSignIn is the Config.SignIn of a process.
func (p *process) sharedSignIn(ctx context.Context) (reauth.Token, error) {
	w, session := p.w, reauth.SessionFromContext(ctx)
	if err := p.cross(ctx); err != nil {
		return reauth.Token{}, err
	}
	d := w.chance.now(p.name, session, "Config.SignIn")
	w.tally.counts[countConfigSignIns].Add(1)
	w.mu.Lock()
	k := p.know(session)
	w.note(p.name, session, "Config.SignIn")
	if k.signing++; k.signing > 1 {
		w.violatedLocked(ruleOneSignIn, p, session, "this is the %d. at once", k.signing)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		k.signing--
	}()
	err := pass(ctx, w.span(d, 1, 2*w.plan.timeout))
	if err == nil && w.strikes(d, signInFails) {
		err = errUserLeft
	}
	if err != nil {
		w.note(p.name, session, "Config.SignIn: %v", err)
		return reauth.Token{}, err
	}
	t := w.server.signIn(p, session)
	tok := w.server.handOver(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p.name, session, "Config.SignIn: %v", t)
	t.family.shared = true
	k.turns = append(k.turns, &turn{began: time.Now(), family: t.family, shared: true})
	k.failed, k.required = time.Time{}, false
	return tok, nil
}

// settleShared notes how the sign-ins of Config.SignIn have ended that are not known to:
// the latest as OnEvent hears, all others have failed. w.mu is held.
func (k *knowledge) settleShared() {
	latest := true
	for i := len(k.turns) - 1; i >= 0; i-- {
		if u := k.turns[i]; u.shared && u.ended.IsZero() {
			u.ended, u.failed = time.Now(), !latest
			latest = false
		}
	}
}

// tell calls Forget in all processes but p, as a store does that can watch. w.mu is held.
func (s *storage) tell(p *process, session string) {
	w := s.w
	if !w.plan.watches {
		return
	}
	for _, other := range w.places {
		if other == p || other == nil {
			continue
		}
		time.AfterFunc(w.span(w.chance.of(other.name, "watch"), 1, 50*time.Millisecond), func() {
			w.mu.Lock()
			other.know(session).forgot = time.Now()
			w.note(other.name, session, "Forget")
			w.mu.Unlock()
			other.tr.Forget(session)
		})
	}
}

// judgeForgotten looks at a request that began after Forget. w.mu is held.
func (w *world) judgeForgotten(o *op, at *attempt) {
	k, held := o.p.know(o.session), w.storage.held[o.session]
	const brief = time.Second
	switch {
	case !w.plan.isReliable, k.forgot.IsZero(), !o.began.After(k.forgot), at.hop > 0:
	case !w.storage.since[o.session].Before(k.forgot), !w.storage.removed[o.session].Before(k.forgot):
	case held != nil && held.family == at.t.family, at.entered.Sub(o.began) >= brief:
	case !k.lockTimedOut.Before(k.forgot) && o.began.Before(k.lockTimedOut.Add(max(w.plan.refreshPause(), 100*time.Millisecond))): // then it looks again
	case k.turnsSince(k.forgot):
	case held == nil && w.plan.function: // a refresher that may not need a token is asked after a pause
	default:
		w.violatedLocked(ruleForgets, o.p, o.session, "%s: %v, but the store holds %v", o.name, at.t, held)
	}
}

// turnsSince reports whether a sign-in or sign-out was under way at any time since.
func (k *knowledge) turnsSince(t time.Time) bool {
	for _, u := range k.turns {
		if u.ended.IsZero() || !u.ended.Before(t) {
			return true
		}
	}
	return false
}

// signedInWithID reports whether the sign-in of a token has reached the store, so that all
// processes know its identity. w.mu is held.
func (w *world) signedInWithID(t *token) bool { return !t.family.tokens[0].saved.IsZero() }
