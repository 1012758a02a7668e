package reauth

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/reauth-go/reauth/internal/redact"
)

// A flight finds out what the store holds, and refreshes, adopts or saves accordingly.
// It is also the promise of a generation, for which any number of requests wait. Its
// goroutine goes on until the code that it calls has returned, also after it has landed.
type flight struct {
	*promise[landing]
	session *cachedSession
	ctx     context.Context // detached from the request that started it
	epoch   uint32          // the session's when it started
	update  updateFunc      // what is called in place of the refresher, if not nil
	claims  string          // of the challenge that the refresher was told of

	// Of the flight's own goroutine.
	asked   time.Time // when the refresher was called; zero: it was not
	late    []Event   // to be reported once the lease is given back
	secrets []string  // what no error may show
	unseen  bool      // it was to look at the store, and has not
	tooSoon bool      // its turn to ask the token server has not come

	// Guarded by session.mu.
	refreshes bool        // false: it is up only to save what is pending, or to see what is stored
	checks    bool        // it looks at the store first
	needed    *generation // the one that its waiters can't use any more; nil: it is early
	seen      Token       // what the store was last seen to hold
	from      Token       // what the refresher is asked with
	brought   Token       // what it returned, which is about to be saved
	over      bool        // it took itself off the session before its outcome
	elsewhere bool        // it found the sign-in of another process
	abandoned bool        // it has landed because code that it called did not return
	told      bool        // OnEvent has heard that it failed
	lease     *lease
	turn      func() // ends its turn at a token server that is throttled
}

// An updateFunc is what Session.Update is given.
type updateFunc func(context.Context, Token) (Token, error)

// A landing is what a flight comes to.
type landing struct {
	gen   *generation
	err   error
	own   error // why a refused request keeps its own response; others go on with the current generation
	void  bool  // a sign-in or sign-out came first
	again bool  // it found nothing out: ask the rules again
	fault error // with again: of the function of an Update, for its caller alone
}

// An outcome is what a flight has found out. Only end puts it into effect.
type outcome struct {
	landing
	change  func(*state, time.Duration) // of the session's state; not if the flight is void
	ifVoid  func(*state, time.Duration) // in place of change, if a SignOut made it void
	events  []Event                     // reported after the change, which may add some
	unsaved Token                       // a token that is nowhere but here; revoked if the session was signed out meanwhile
	stays   bool                        // the flight remains up, so that no other starts
	saveNow bool                        // what is pending is saved by another flight, at once
}

// depart starts a flight. It is called within change.
func (s *cachedSession) depart(ctx context.Context, st *state, why start, needed *generation, update updateFunc) *flight {
	f := &flight{
		promise: newPromise[landing](), session: s, ctx: s.owner.forFlight(ctx, s.name), epoch: st.epoch, update: update,
		refreshes: why == startRefreshing, checks: why == startChecking || st.stale, needed: needed,
	}
	f.unseen = f.checks
	if r := scopeOf(f.ctx).refusal; r != nil {
		f.claims = claimsOf(r.Header)
	}
	st.flight = f
	if update == nil {
		st.stale, st.look = false, 0 // it looks at the store; a Forget from here on causes another look
	}
	s.owner.begin()
	go func() { // ends when run does, which waits for nothing unbounded
		defer s.owner.end()
		defer s.change(func(st *state, now time.Duration) { st.retryPending(now, s.owner.refreshPause) })
		// The rest of the foreign code that a flight calls is called by call.
		err := contained("OnEvent", func() { f.end(f.run()) })
		if err == nil {
			return
		}
		if !f.isVoid() { // the panic came before the outcome, which is then a failure
			_ = contained("OnEvent", func() { f.end(f.failure(err)) })
		}
		f.leave()
		f.land(landing{err: refreshError(s.name, err)})
	}()
	return f
}

// end puts an outcome into effect: it changes the session, gives the lease back, tells
// OnEvent, and lands. A slow event handler keeps nobody off the session in the store,
// and may itself sign in or out: then what the flight brings is void.
func (f *flight) end(o *outcome) {
	s := f.session
	var void, signedOut bool
	s.change(func(st *state, now time.Duration) {
		if void = st.flight != f && !f.over; void {
			signedOut = st.signedOut != nil && st.signedOut.byCaller
			if signedOut && o.ifVoid != nil {
				o.ifVoid(st, now)
			}
			return
		}
		if st.flight == f && !o.stays {
			st.flight = nil
		}
		if o.change != nil {
			o.change(st, now)
		}
		if !o.stays && f.unseen {
			st.lookAgain(now, s.owner.refreshPause)
		}
	})
	f.leave()
	if void { // it landed when the sign-in or sign-out came
		if signedOut && !o.unsaved.isZero() {
			_ = s.revokeOrKeep(f.ctx, o.unsaved) // the user is gone, and nobody else knows of this token
		}
		f.saveNow(o)
		return
	}
	events := append(f.late, o.events...)
	f.late = nil
	for _, e := range events {
		if !f.isOutdated(e.Kind) {
			f.emit(e)
		}
	}
	f.land(o.landing)
	f.saveNow(o)
}

// saveNow starts the flight that saves what this one could not, if that can't wait.
func (f *flight) saveNow(o *outcome) {
	if !o.saveNow {
		return
	}
	f.session.change(func(st *state, _ time.Duration) {
		if st.pending != nil && st.flight == nil {
			f.session.depart(f.ctx, st, startSaving, nil, nil)
		}
	})
}

// land releases the waiters, unless the flight has landed.
func (f *flight) land(l landing) {
	if f.isPast() {
		l = landing{void: true}
	}
	f.keep(l)
}

// isVoid reports whether a sign-in or sign-out came while the flight was up.
func (f *flight) isVoid() bool {
	return look(f.session, func(st *state) bool { return st.flight != f })
}

// isPast is isVoid for a flight that is not up any more.
func (f *flight) isPast() bool {
	return look(f.session, func(st *state) bool { return st.epoch != f.epoch })
}

func (f *flight) isAbandoned() bool {
	return look(f.session, func(*state) bool { return f.abandoned })
}

// enough takes a flight off the session that is up only to save, unless a waiter has
// asked for more meanwhile.
func (f *flight) enough() bool {
	done := false
	f.session.change(func(st *state, _ time.Duration) {
		if done = st.flight == f && !f.refreshes; done {
			f.over, st.flight = true, nil
		}
	})
	return done
}

// hold keeps the lease until leave.
func (f *flight) hold(l *lease) { f.session.inspect(func(*state) { f.lease = l }) }

// takeTurn waits until the token server may be asked, if it is throttled, and not longer
// than RefreshTimeout. It doesn't wait with the lease held.
func (f *flight) takeTurn() {
	s := f.session
	if !look(s, func(*state) bool { return f.refreshes && f.update == nil }) {
		return
	}
	ctx, cancel := context.WithTimeout(f.ctx, s.owner.timeout)
	defer cancel()
	done, ok := s.owner.throttle.Wait(ctx, s.owner.now)
	f.tooSoon = !ok
	s.change(func(*state, time.Duration) { f.turn = done })
}

// leave gives back the lease and the turn, if the flight still has them.
func (f *flight) leave() {
	s := f.session
	var lease *lease
	var turn func()
	s.inspect(func(*state) { lease, turn, f.lease, f.turn = f.lease, f.turn, nil, nil })
	if turn != nil {
		turn()
	}
	if lease != nil {
		s.release(lease)
	}
}

// took is the time since the refresher was called, and 0 exactly if it was not: a clock can be
// coarse.
func (f *flight) took() time.Duration {
	if f.asked.IsZero() {
		return 0
	}
	return max(time.Since(f.asked), 1)
}

func (f *flight) emit(e Event) { f.session.owner.emit(f.ctx, f.session.name, e) }

// hide keeps the secrets of tok out of the errors of this flight.
func (f *flight) hide(tok Token) { f.secrets = append(f.secrets, tok.secrets()...) }

// call calls foreign code with a context that ends after RefreshTimeout, and waits for
// it. If the code ignores its context, the waiters are released.
func call[T any](f *flight, ctx context.Context, what string, fn func(context.Context) (T, error)) (T, error) {
	timeout := f.session.owner.timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	abandoned := make(chan struct{})
	watch := time.AfterFunc(timeout+grace, func() { f.abandon(what); close(abandoned) })
	v, err := await(what, func() (T, error) { return fn(ctx) })
	if !watch.Stop() {
		<-abandoned // from here on it is settled whether the lease is still there
	}
	if err != nil && ctx.Err() != nil && redact.ContextError(err) != nil {
		err = errUnfinished
	}
	if err != nil {
		err = wrap(what, err)
	}
	return v, err
}

// abandon releases the waiters, and the lease. The flight stays up, so that no other
// starts before the code that it called has returned.
func (f *flight) abandon(what string) {
	s := f.session
	err := refreshError(s.name, wrap(what, errUnfinished))
	o := &outcome{landing: landing{err: err}, stays: true}
	s.change(func(st *state, _ time.Duration) {
		f.abandoned = true
		switch {
		case st.flight != f || !f.refreshes:
		case st.signedOut != nil && !st.isBack: // it was looking for a sign-in, as in vain as with any other failure of the store
			o.err = st.signedOut.err
		default:
			f.told = true
			o.events = []Event{{Kind: EventRefreshFailed, Err: err, Took: f.took()}}
		}
	})
	if contained("OnEvent", func() { f.end(o) }) != nil {
		f.land(landing{err: err})
	}
}

// load asks the store for the session's token.
func (f *flight) load(ctx context.Context) (Token, bool, error) {
	s := f.session
	got, err := call(f, ctx, loads, func(ctx context.Context) (found, error) {
		return s.owner.load(ctx, s.name)
	})
	if err == nil && f.isAbandoned() {
		err = errUnfinished // the lease is gone, and nobody waits any longer
	}
	if err == nil {
		// A sign-in may have been written that has not settled yet. It must not pass for
		// what another process stored: let it settle, and see.
		err = s.lockWrites(f.ctx)
	}
	if err != nil {
		return Token{}, false, err
	}
	s.change(func(st *state, _ time.Duration) {
		if st.flight == f && got.ok {
			f.seen = got.tok
		}
	})
	s.unlockWrites()
	if !got.ok {
		return Token{}, false, nil
	}
	f.hide(got.tok)
	return got.tok, true, nil
}

// failure is a temporary failure, after which there is a pause. A flight that was up
// only to save or to check has kept nobody from a token.
func (f *flight) failure(cause error) *outcome {
	s := f.session
	err := refreshError(s.name, cause, f.secrets...)
	pause, spread := s.owner.refreshPause, rand.Float64()
	o := &outcome{landing: landing{err: err}}
	o.change = func(st *state, now time.Duration) {
		switch {
		case f.update != nil:
			o.landing = landing{again: true, fault: err}
		case f.refreshes:
			if pause := err.asksForPause(); pause > 0 {
				s.owner.throttle.Pause(now, now+pause)
			}
			st.failed(now, err, spread)
			if !f.told {
				o.events = append(o.events, Event{Kind: EventRefreshFailed, Err: err, Took: f.took()})
			}
		}
		st.retryPending(now, pause)
	}
	return o
}

// refusal is the final answer to the refresh of from. It signs the session out, or if the
// token is still good, does so when that expires or is refused. If the token server had no
// part in it, because there is nothing to refresh with, the token stays until it expires.
// ok is whether the store holds a token, stored.
func (f *flight) refusal(l *lease, from, stored Token, ok bool, cause error) *outcome {
	s := f.session
	pause := s.owner.refreshPause
	err := refreshError(s.name, cause, f.secrets...)
	o := &outcome{landing: landing{err: err}}
	if !f.asked.IsZero() { // otherwise it has been reported before
		o.events = []Event{{Kind: EventRefreshFailed, Err: err, Took: f.took()}}
	}

	signedOutElsewhere := from.isZero() // which counts at once
	keeps := from.RefreshToken == "" && from.AccessToken != "" && err.StatusCode == 0
	putOff := false
	s.change(func(st *state, now time.Duration) {
		good := st.current != nil && now < st.current.expires && !signedOutElsewhere
		if putOff = st.flight == f && good && (f.needed == nil || keeps); putOff {
			st.rejected, st.backoff = &rejection{from: from, err: cause, kept: keeps, look: now + pause}, nil
			f.over, st.flight = true, nil
		}
	})
	if putOff {
		if keeps {
			o.landing = landing{own: errNotRenewable}
		}
		return o
	}

	var notDeleted error
	if ok {
		_, notDeleted = write(s, f.ctx, l, deletes, func(ctx context.Context) (struct{}, error) {
			if f.isVoid() {
				return struct{}{}, nil
			}
			return struct{}{}, s.owner.store.Delete(ctx, s.name)
		}, nil)
	}
	if !signedOutElsewhere || look(s, func(st *state) bool { return st.current != nil }) {
		o.events = append(o.events, Event{Kind: EventSignInRequired, Err: err})
	}
	o.change = func(st *state, now time.Duration) {
		gone := &signedOut{err: err, undeleted: notDeleted != nil, nextLook: now + pause, since: now}
		gone.giveUp(from, stored)
		if st.current != nil {
			gone.giveUp(st.current.tok)
		}
		if st.pending != nil {
			gone.giveUp(st.pending.tok)
		}
		st.pending = nil
		st.settle(nil)
		st.signedOut = gone
	}
	return o
}

// stillOut is the outcome for a session that is signed out if the store shows no new
// sign-in.
func (f *flight) stillOut(gone *signedOut) *outcome {
	pause := f.session.owner.refreshPause
	return &outcome{landing: landing{err: gone.err}, change: func(st *state, now time.Duration) {
		gone.nextLook = now + pause
		st.isBack = false // a sign-in may have been seen, and gone again
	}}
}
