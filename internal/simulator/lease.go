package simulator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/reauth-go/reauth"
)

var errLeaseLost = errors.New("the lease was lost")

type leaseKey struct{}

// A lease is one process's lock on a session. As long as the process runs it is
// extended. It runs out while the process is frozen, and after its death. A write
// under a lease that has run out, or was given back, is refused.
type lease struct {
	p       *process
	session string
	d       *dice                   // guarded by world.mu
	tell    context.CancelCauseFunc // ends the context that the process holds
	held    context.Context

	// Guarded by world.mu.
	lost     bool
	had      time.Time // when the process was told that it has it
	told     time.Time // when it was told that it is lost
	released bool
	unlocks  int
	expiry   *time.Timer // while nobody extends it
}

func leaseOf(ctx context.Context) *lease {
	l, _ := ctx.Value(leaseKey{}).(*lease)
	return l
}

// valid reports whether the store still takes what is written under the lease.
// w.mu is held.
func (l *lease) valid() bool { return !l.lost && !l.released }

// knownLost reports whether the process knew, before that time, that the lease is
// lost. w.mu is held.
func (l *lease) knownLost(at time.Time) bool {
	return l.lost && !l.told.IsZero() && l.told.Before(at) && l.had.Before(at)
}

// A leasingView is a view that locks.
type leasingView struct{ view }

var _ reauth.Locker = leasingView{}

// Lock implements [reauth.Locker].
func (v leasingView) Lock(ctx context.Context, session string) (held context.Context, unlock func(), err error) {
	w, p := v.s.w, v.p
	if p.isDead() {
		return context.WithoutCancel(ctx), func() {}, nil // see view.Load
	}
	err = errStoreFault
	defer func() { // also if it panics
		if err == nil || errors.Is(err, reauth.ErrChanged) {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if ctx.Err() == nil {
			p.know(session).lockFailed = time.Now()
		} else {
			p.know(session).lockTimedOut = time.Now()
		}
	}()
	return v.lock(ctx, session)
}

func (v leasingView) lock(ctx context.Context, session string) (context.Context, func(), error) {
	w, p := v.s.w, v.p
	defer p.enter()()
	d := w.chance.now(p.name, session, "Lock")
	w.yield(d)
	if err := p.cross(ctx); err != nil {
		return nil, nil, err
	}
	if w.strikes(d, storePanics) {
		panic("the store has a bad day")
	}
	there, back := w.span(d, 1, 3*time.Millisecond), w.span(d, 1, 3*time.Millisecond)
	if w.strikes(d, storeHangs) {
		there += 1 << 40
	}
	if w.strikes(d, storeIgnoresContext) {
		ctx = context.WithoutCancel(ctx)
		there = w.span(d, 1, 3*time.Millisecond)
		back = w.span(d, w.plan.timeout/2, 3*w.plan.timeout)
	}
	if err := pass(ctx, there); err != nil {
		return nil, nil, err
	}
	if w.strikes(d, lockFails) {
		w.note(p.name, session, "store: Lock fails")
		return nil, nil, errStoreFault
	}
	if v.s.isOut() {
		return nil, nil, errStoreOut
	}
	w.mu.Lock()
	slot, changed := v.s.slot(session), v.s.change(session)
	w.mu.Unlock()
	if !w.plan.tells {
		changed = nil
	}
	select {
	case slot <- struct{}{}:
	case <-changed:
		if err := pass(ctx, back); err != nil {
			return nil, nil, err
		}
		w.note(p.name, session, "store: the token has changed")
		return nil, nil, reauth.ErrChanged
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-p.died:
		return nil, nil, errDead
	}
	l := v.s.grant(ctx, p, session, d)
	err := pass(ctx, back)
	if err == nil {
		err = p.cross(ctx)
	}
	if err == nil && w.strikes(d, lockAnswerLost) {
		err = errStoreFault
	}
	if err != nil {
		w.note(p.name, session, "store: the answer to Lock is lost: %v", err)
		l.abandon()
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.had = time.Now()
	return l.held, l.unlock, nil
}

// grant makes the lease of whoever has the lock.
func (s *storage) grant(ctx context.Context, p *process, session string, d *dice) *lease {
	w := s.w
	held, tell := context.WithCancelCause(context.WithoutCancel(ctx))
	l := &lease{p: p, session: session, d: w.chance.now(p.name, session, "lease"), tell: tell}
	l.held = context.WithValue(held, leaseKey{}, l)
	loses, after := w.strikes(d, leaseLost), w.span(d, 1, 2*w.plan.timeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p.name, session, "store: locked")
	p.leases[l] = struct{}{}
	k := p.know(session)
	k.leases = slices.DeleteFunc(k.leases, func(l *lease) bool { return l.unlocks > 0 })
	k.leases = append(k.leases, l)
	if p.dead || p.frozen != nil {
		l.languish()
	}
	if loses {
		time.AfterFunc(after, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			l.lose()
		})
	}
	return l
}

// languish lets the lease run out, since nobody extends it. w.mu is held.
func (l *lease) languish() {
	w := l.p.w
	l.expiry = time.AfterFunc(w.span(l.d, w.plan.lease/2, w.plan.lease), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if l.p.dead || l.p.frozen != nil {
			l.lose()
		}
	})
}

// revive is the end of that. w.mu is held.
func (l *lease) revive() {
	if l.expiry != nil {
		l.expiry.Stop()
	}
}

// lose takes the lease away. Its process hears of it, perhaps a little later. w.mu
// is held.
func (l *lease) lose() {
	w := l.p.w
	if !l.valid() {
		return
	}
	l.lost = true
	w.note(l.p.name, l.session, "store: the lease is lost")
	l.leave()
	if later := w.span(l.d, 1, 300*time.Millisecond); l.d.percent(50) {
		time.AfterFunc(later, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			l.told = time.Now()
			l.tell(errLeaseLost)
		})
		return
	}
	l.told = time.Now()
	l.tell(errLeaseLost)
}

// leave frees the lock. w.mu is held.
func (l *lease) leave() {
	<-l.p.w.storage.slot(l.session)
	delete(l.p.leases, l)
}

// abandon ends a lease of which its process does not know: the client gives it
// back in the background, or it runs out.
func (l *lease) abandon() {
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	l.unlocks++ // nobody will
	after := w.span(l.d, w.plan.lease/2, w.plan.lease)
	if l.d.percent(50) {
		after = w.span(l.d, 1, 5*time.Millisecond)
	}
	time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		l.lose()
	})
}

// unlock is what Lock returns.
func (l *lease) unlock() {
	p := l.p
	defer p.enter()()
	w := p.w
	w.mu.Lock()
	l.unlocks++
	if l.unlocks > 1 {
		w.violatedLocked("unlock is called once", p, l.session, "it was called %d times", l.unlocks)
	}
	takes := w.span(l.d, 1, 3*time.Millisecond)
	w.mu.Unlock()
	if p.cross(context.Background()) != nil {
		return // it runs out
	}
	time.Sleep(takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || !l.valid() {
		return
	}
	l.released = true
	w.note(p.name, l.session, "store: unlocked")
	l.leave()
	l.tell(errors.New("unlocked"))
}
