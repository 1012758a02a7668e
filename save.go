package reauth

import (
	"context"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
)

// adoption makes a stored token the current generation. It returns nil if that has
// expired, so that it has to be refreshed first. A kind of 0 is not an event: the token
// was loaded for the first time.
func (f *flight) adoption(tok Token, kind EventKind) *outcome {
	s := f.session
	now := time.Now()
	tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, now)
	g := s.newGeneration(tok, now, kind != 0)
	if g.expires != never {
		g.certain = g.expires - time.Second // it is not known how much of its lifetime has passed
	}
	cur := look(s, func(st *state) *generation { return st.current })
	other := cur != nil && !cur.tok.sameSignIn(tok)
	if !other && s.owner.now() >= g.expires {
		return nil
	}
	o := &outcome{landing: landing{gen: g, again: f.update != nil}, change: func(st *state, _ time.Duration) {
		st.pending = nil // the store holds what isn't ours to replace
		if other {
			f.elsewhere = true
			st.turn(g, nil)
		} else {
			was := *st
			st.settle(g)
			st.ages(g, &was)
		}
	}}
	if kind != 0 {
		o.events = []Event{{Kind: kind}}
	}
	return o
}

// keepNew stores what a refresh of from brought, and makes it the current generation.
// stored is what the store held.
func (f *flight) keepNew(l *lease, stored, from, tok Token) *outcome {
	s := f.session
	took := f.took()
	g := s.newGeneration(tok, f.asked, true)
	g.claimed = f.claims != ""
	if from.isZero() && f.update == nil {
		s.owner.selfStarting.Store(true)
	}
	o := &outcome{
		landing: landing{gen: g},
		events:  []Event{{Kind: EventRefreshed, Took: took}},
	}
	early := false
	settle := func(st *state, now time.Duration) {
		early = f.needed == nil
		if !tok.same(from) {
			st.remember(from, true)
		}
		was := *st
		st.renew(g, early)
		switch {
		case f.update != nil:
			st.keeps(g, from, &was)
		case early: // a look ahead that found nothing new, as TokenFile takes each minute
			st.ages(g, &was)
		}
		if !early && f.update == nil && tok.same(from) && !from.renewedBy(tok) {
			// A refresh that brings what was refused has not helped.
			st.futile = min(st.futile, math.MaxUint8-1) + 1
			o.landing = landing{own: errSameToken}
		}
	}
	f.store(o, l, stored, from, g.tok, settle)
	return o
}

// salvage keeps a new refresh token that came with an error. The old one stays beside it,
// in case the server meant something else.
func (f *flight) salvage(l *lease, stored, from, tok Token, cause error) *outcome {
	s := f.session
	o := f.failure(cause)
	fail := o.change
	if f.update != nil {
		o, fail = f.notUpdated(cause), func(*state, time.Duration) {}
	}
	kept := from.clone()
	kept.RefreshToken, kept.RefreshExpiry = tok.RefreshToken, tok.RefreshExpiry
	if look(s, func(*state) bool { return f.needed != nil }) {
		kept.AccessToken, kept.Expiry = "", time.Time{} // it was refused, or has expired
	}
	if kept.Extra == nil {
		kept.Extra = make(map[string]string)
	}
	maps.Copy(kept.Extra, tok.Extra)
	kept = kept.boundExtra(from).withPrevious(from)
	now := time.Now()
	kept.Expiry = expiry.Stored(kept.AccessToken, kept.Expiry, now)
	g := s.newGeneration(kept, now, false)
	f.store(o, l, stored, from, g.tok, func(st *state, now time.Duration) {
		st.remember(from, true)
		st.renew(g, false)
		fail(st, now)
	})
	return o
}

// store saves tok, which a refresh of from brought, and completes the outcome with what
// follows: change, and if the save failed, that it is pending. The lease is then kept, if
// the refresh token has changed, so that no other process spends the old one.
func (f *flight) store(o *outcome, l *lease, stored, from, tok Token, change func(*state, time.Duration)) {
	s := f.session
	pause := s.owner.refreshPause
	guard := tok.RefreshToken != stored.RefreshToken
	failed := func(l *lease, err error) {
		o.change = func(st *state, now time.Duration) {
			change(st, now)
			st.leavePending(now, tok, stored, l, guard, pause)
		}
		o.ifVoid = func(st *state, now time.Duration) {
			if st.signedOut.undeleted && f.epoch >= st.signIn { // what is stored is spent: see giveUp
				st.remember(from, true)
				st.leavePending(now, tok, stored, l, guard, pause)
				o.unsaved = Token{}
			}
		}
		o.events = append(o.events, Event{Kind: EventSaveFailed, Err: refreshError(s.name, err, f.secrets...)})
	}
	o.unsaved = tok
	if f.isAbandoned() { // the next flight saves it under a lease of its own
		o.saveNow = true
		failed(s.keptLease(), errUnfinished)
		return
	}
	s.change(func(*state, time.Duration) { f.brought = tok })
	saved, err := f.save(l, stored, tok)
	switch {
	case err != nil:
		failed(l, err)
	case saved:
		o.unsaved = Token{} // if a sign-out came meanwhile it finds the token in the store
		o.change = func(st *state, now time.Duration) {
			change(st, now)
			st.pending = nil
		}
	}
}

// settlePending tries again to save what is pending. It returns the token of this
// process that is newer than the stored one, if there is one: the store may also have
// forgotten a save that it had accepted. now is what is stored then. An outcome means that
// nothing else may be done under this lease.
func (f *flight) settlePending(l *lease, stored Token, ok bool) (mine, now Token, o *outcome) {
	s := f.session
	var pending *pendingSave
	var spent bool
	s.inspect(func(st *state) {
		pending = st.pending
		_, spent = st.recalls(stored)
		spent = ok && (spent || pending != nil && pending.stored.is(stored))
		switch {
		case pending != nil:
			mine = pending.tok
		case spent && st.current != nil && !st.current.tok.is(stored) && st.current.tok.sameSignIn(stored):
			mine = st.current.tok
		}
	})
	if mine.isZero() {
		return Token{}, stored, nil
	}
	f.hide(mine)
	switch {
	case ok && mine.is(stored): // the save that seemed to fail did not
		f.pendingSaved(pending)
	case !spent: // another process has written: that isn't ours to replace
		s.dropPending(pending)
		return Token{}, stored, nil
	default:
		saved, err := f.save(l, stored, mine)
		if err != nil || !saved {
			if err == nil {
				return Token{}, stored, new(outcome) // void
			}
			f.pendingFailed(l, mine, stored, pending, err)
			if s.isUnsettled(l) {
				return Token{}, stored, f.failure(fmt.Errorf("%w: %w", errStillOpen, err))
			}
			return mine, stored, nil
		}
		f.pendingSaved(pending)
	}
	return mine, mine, nil
}

// pendingSaved notes that p was saved.
func (f *flight) pendingSaved(p *pendingSave) {
	if p == nil {
		return
	}
	took := f.session.owner.now() - p.since
	f.session.dropPending(p)
	f.late = append(f.late, Event{Kind: EventSavedLate, Took: took})
}

// pendingFailed notes that another try to save tok failed.
func (f *flight) pendingFailed(l *lease, tok, stored Token, p *pendingSave, err error) {
	s := f.session
	report := false
	s.change(func(st *state, now time.Duration) {
		if st.pending != p {
			return
		}
		report = p == nil || now >= p.report
		st.leavePending(now, tok, stored, l, p == nil || p.guard, s.owner.refreshPause)
		if report {
			st.pending.report = now + reportPending
		}
	})
	if report {
		f.late = append(f.late, Event{Kind: EventSaveFailed, Err: refreshError(s.name, err, f.secrets...)})
	}
}

// isOutdated reports whether an event must not be reported any more: a newer sign-in or
// sign-out has superseded the one that ended, or the save is not pending any more.
func (f *flight) isOutdated(kind EventKind) bool {
	switch kind {
	case EventSignInRequired:
		return f.isPast()
	case EventSaveFailed:
		return look(f.session, func(st *state) bool { return st.pending == nil })
	}
	return false
}

// save stores tok in place of stored, unless the flight is void: then it reports false. If
// a SignOut made it void, tok is stored all the same while the store holds what the flight
// loaded: no other process must spend the spent token. The SignOut then deletes it.
//
// A write of a SignIn or SignOut under l that may still arrive is no obstacle. It may take
// effect later, as it may have without this one. To give the lease back would let another
// process spend what is stored.
func (f *flight) save(l *lease, stored, tok Token) (saved bool, err error) {
	s := f.session
	return write(s, f.ctx, l, saves, func(ctx context.Context) (bool, error) {
		if f.isVoid() {
			signedOut := false
			s.change(func(st *state, _ time.Duration) {
				if signedOut = st.signedOut != nil && st.signedOut.byCaller; signedOut {
					st.signedOut.giveUp(tok)
				}
			})
			if !signedOut {
				return false, nil
			}
			now, err := s.owner.load(ctx, s.name)
			if err != nil || !now.ok || !now.tok.is(stored) {
				return false, err
			}
		}
		err := s.owner.store.Save(ctx, s.name, tok.clone())
		return err == nil, err
	}, func(saved bool, err error) {
		if !saved || err != nil {
			return
		}
		s.change(func(st *state, _ time.Duration) {
			if st.pending != nil && !st.pending.tok.is(tok) {
				st.pending = nil // it is older, and nobody must save it any more
			}
		})
	})
}

// retryPending makes sure that what is pending is tried again, though a flight that was to
// save it has come to something else.
func (st *state) retryPending(now, pause time.Duration) {
	if p := st.pending; p != nil && p.next <= now {
		st.leavePending(now, p.tok, p.stored, p.lease, p.guard, pause)
	}
}

// lookAgain notes that a flight which was to look at the store could not. It is tried again
// after a pause, so that requests don't wait for a store that does not answer.
func (st *state) lookAgain(now, pause time.Duration) {
	if !st.stale {
		st.stale, st.look = st.current != nil, now+max(pause, grace)
	}
}

// keptLease returns the lease that is kept for a pending save, or nil. Another save that
// becomes pending keeps it too, also if a write under it may still arrive: to give it back
// would let another process spend what is stored.
func (s *cachedSession) keptLease() *lease {
	return look(s, func(st *state) *lease {
		if p := st.pending; p != nil && p.lease != nil && !p.lease.lost() {
			return p.lease
		}
		return nil
	})
}

// ages makes g no newer than the generation before it, if that has the same access token:
// only the refresh token has been exchanged, here or in another process.
func (st *state) ages(g *generation, was *state) {
	if cur := was.current; cur != nil && cur.tok.sendsSame(g.tok) {
		g.fetched, g.obtained, g.number = cur.fetched, cur.obtained, cur.number
		st.settled, st.previous = cur.number, was.previous
	}
}

// keeps makes g, which an Update of from brought, no newer than the generation before it, if
// that has the same access token, and no more refreshable.
func (st *state) keeps(g *generation, from Token, was *state) {
	st.ages(g, was)
	if was.rejected != nil && was.rejected.from.same(g.tok) {
		st.rejected = was.rejected
	}
	if from.is(g.tok) {
		st.backoff = was.backoff
	}
}
