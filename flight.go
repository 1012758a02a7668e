package reauth

import (
	"context"
	"errors"
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
	epoch   uint64          // the session's when it started

	// Of the flight's own goroutine.
	asked   time.Time // when the refresher was called
	secrets []string  // what no error may show

	// Guarded by session.mu.
	refreshes bool        // false: it is up only to save what is pending
	needed    *generation // the one that its waiters can't use any more; nil: it is early
	seen      Token       // what the store was last seen to hold
	from      Token       // what the refresher is asked with
	brought   Token       // what it returned, which is about to be saved
	over      bool        // it took itself off the session before its outcome
	abandoned bool        // it has landed because code that it called did not return
	told      bool        // OnEvent has heard that it failed
	lease     *lease
}

// A landing is what a flight comes to.
type landing struct {
	gen  *generation
	err  error
	void bool // a sign-in or sign-out came first; gen and err are nil
}

// An outcome is what a flight has found out. Only end puts it into effect.
type outcome struct {
	gen     *generation
	err     error
	change  func(*state, time.Duration) // of the session's state; not if the flight is void
	events  []Event                     // reported after the change, which may add some
	unsaved Token                       // a token that is nowhere but here; revoked if the session was signed out meanwhile
	stays   bool                        // the flight remains up, so that no other starts
	saveNow bool                        // what is pending is saved by another flight, at once
}

// depart starts a flight. It is called within change.
func (s *cachedSession) depart(ctx context.Context, st *state, why start, needed *generation) *flight {
	f := &flight{
		promise: newPromise[landing](), session: s, ctx: naming(detach(ctx), s.name), epoch: st.epoch,
		refreshes: why == startRefreshing, needed: needed,
	}
	st.flight = f
	s.owner.begin()
	go func() { // ends when run does, which waits for nothing unbounded
		defer s.owner.end()
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
			return
		}
		if st.flight == f && !o.stays {
			st.flight = nil
		}
		if o.change != nil {
			o.change(st, now)
		}
	})
	f.leave()
	if void { // it landed when the sign-in or sign-out came
		if signedOut && !o.unsaved.isZero() {
			_ = s.revoke(f.ctx, o.unsaved) // the user is gone, and nobody else knows of this token
		}
		return
	}
	for _, e := range o.events {
		// Don't report a sign-out that a newer sign-in has superseded.
		if e.Kind != EventSignInRequired || !f.isPast() {
			f.emit(e)
		}
	}
	f.land(landing{gen: o.gen, err: o.err})
	if o.saveNow {
		s.change(func(st *state, _ time.Duration) {
			if st.pending != nil && st.flight == nil {
				s.depart(f.ctx, st, startSaving, nil)
			}
		})
	}
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
func (f *flight) hold(l *lease) {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	f.lease = l
}

// leave gives the lease back, if the flight still has it.
func (f *flight) leave() {
	s := f.session
	s.mu.Lock()
	lease := f.lease
	f.lease = nil
	s.mu.Unlock()
	if lease != nil {
		s.release(lease)
	}
}

func (f *flight) emit(e Event) { f.session.owner.emit(f.ctx, f.session.name, e) }

// hide keeps the secrets of tok out of the errors of this flight.
func (f *flight) hide(tok Token) { f.secrets = append(f.secrets, tok.secrets()...) }

var errUnfinished = errors.New("no answer within Config.RefreshTimeout")

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
	o := &outcome{err: err, stays: true}
	s.change(func(st *state, _ time.Duration) {
		f.abandoned = true
		switch {
		case st.flight != f || !f.refreshes:
		case st.signedOut != nil: // it was looking for a sign-in, as in vain as with any other failure of the store
			o.err = st.signedOut.err
		default:
			f.told = true
			o.events = []Event{{Kind: EventRefreshFailed, Err: err, Took: s.owner.timeout + grace}}
		}
	})
	if contained("OnEvent", func() { f.end(o) }) != nil {
		f.land(landing{err: err})
	}
}

// load asks the store for the session's token.
func (f *flight) load(ctx context.Context) (Token, bool, error) {
	s := f.session
	got, err := call(f, ctx, "the store's Load", func(ctx context.Context) (found, error) {
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

// save stores tok, unless the flight is void: then it reports false.
func (f *flight) save(l *lease, tok Token) (saved bool, err error) {
	s := f.session
	return write(s, f.ctx, l.held, "the store's Save", func(ctx context.Context) (bool, error) {
		if f.isVoid() {
			return false, nil
		}
		err := s.owner.store.Save(ctx, s.name, tok.clone())
		return err == nil, err
	}, nil)
}
