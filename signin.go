package reauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

var errSignedOut = fmt.Errorf("signed out: %w", ErrSignInRequired)

// signIn makes tok the session's token, in the store and then here.
func (s *cachedSession) signIn(ctx context.Context, tok Token) error {
	_, err := s.signInUnless(ctx, tok, rand.Text(), func() bool { return false })
	return err
}

// signInUnless is signIn with the given SignInID, except that it does nothing and reports
// false if void reports true.
func (s *cachedSession) signInUnless(ctx context.Context, tok Token, id string, void func() bool) (done bool, err error) {
	now := time.Now()
	tok = tok.clone()
	tok.SignInID = id
	delete(tok.Extra, extraPrevious)
	tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, now)
	if err := s.owner.validateToken(tok); err != nil {
		return false, err
	}
	g := s.newGeneration(tok, now, false)
	type written struct{ saved, void bool }
	var w written
	var late []Event
	err = errUnsettled
	for errors.Is(err, errUnsettled) {
		var l *lease
		if l, late, err = s.acquireSettled(ctx, late); err != nil {
			s.owner.emit(ctx, s.name, late...)
			return false, err
		}
		w, err = write(s, ctx, l, saves, func(ctx context.Context) (written, error) {
			switch {
			case s.isUnsettled(l): // by a write that this one waited for
				return written{}, errUnsettled
			case void():
				return written{void: true}, nil
			case s.isRefreshing(tok):
				// The flight brings the token after this very one. Replacing that would
				// spend this one twice.
				return written{}, nil
			}
			return written{saved: true}, s.owner.store.Save(ctx, s.name, g.tok.clone())
		}, func(w written, err error) {
			if w.saved && err == nil {
				s.change(func(st *state, _ time.Duration) {
					st.turn(g, nil)
					st.pending = nil
				})
			}
		})
		s.release(l)
	}
	if err == nil && !w.void {
		late = append(late, Event{Kind: EventSignedIn})
	}
	s.owner.emit(ctx, s.name, late...)
	return !w.void, err
}

// acquireSettled is acquire for a write of its own. What is pending is saved first: a
// store that can't accept that can't accept another write either. The events that it adds
// to late are to be reported once the lease is given back.
func (s *cachedSession) acquireSettled(ctx context.Context, late []Event) (*lease, []Event, error) {
	for {
		l, err := s.acquire(ctx, nil)
		if err != nil {
			return nil, late, err
		}
		p := look(s, func(st *state) *pendingSave { return st.pending })
		if p != nil && p.lease == l && l.ready != nil {
			saved, saveErr := write(s, ctx, l, saves, func(ctx context.Context) (bool, error) {
				if look(s, func(st *state) bool { return st.pending != p }) {
					return false, nil // it was saved meanwhile
				}
				err := s.owner.store.Save(ctx, s.name, p.tok.clone())
				return err == nil, err
			}, nil)
			if saved {
				s.dropPending(p)
				late = append(late, Event{Kind: EventSavedLate, Took: s.owner.now() - p.since})
			}
			err = saveErr
		}
		if !s.isUnsettled(l) {
			return l, late, nil
		}
		s.release(l)
		if err != nil {
			return nil, late, fmt.Errorf("%w: %w", errStillOpen, harmless(err, p.tok.secrets()))
		}
	}
}

// isRefreshing reports whether the flight that is up asks for the token after tok.
func (s *cachedSession) isRefreshing(tok Token) bool {
	return look(s, func(st *state) bool { return st.flight != nil && st.flight.from.same(tok) })
}

// signOut ends the session here at once, then in the store, then at the token server.
// A failure of one doesn't keep the rest from being done.
func (s *cachedSession) signOut(ctx context.Context) error {
	m := s.owner
	signedOutError := &RefreshError{Session: s.name, Err: errSignedOut}
	// Until the store has been read it isn't known which token it holds. Until it has
	// been written, another look at it would sign in again.
	waiting := &signedOut{err: signedOutError, byCaller: true, givenUnseen: true, undeleted: true, nextLook: never}
	var before *generation
	var pending *pendingSave
	s.change(func(st *state, now time.Duration) {
		before, pending = st.current, st.pending
		if st.signedOut != nil && !st.isBack { // unless an earlier SignOut has deleted it
			waiting.undeleted = st.signedOut.undeleted
		}
		waiting.since = now
		st.giveUp(waiting)
	})

	type deleted struct {
		found
		loaded bool
	}
	var had deleted
	var lockErr error
	var late []Event
	err := errUnsettled
	for errors.Is(err, errUnsettled) {
		var l *lease
		l, late, err = s.acquireSettled(ctx, late)
		lockErr = err
		if err != nil && !errors.Is(err, errStillOpen) && err != errLockTimeout && ctx.Err() == nil {
			// Somebody who can't lock may still delete. But a process that refreshes meanwhile
			// may save again, so the caller must know.
			l, err = &lease{held: m.forFlight(ctx, s.name)}, nil
		}
		if err == nil {
			had, err = write(s, ctx, l, deletes, func(ctx context.Context) (deleted, error) {
				if s.isUnsettled(l) {
					return deleted{}, errUnsettled
				}
				found, err := m.load(ctx, s.name)
				had := deleted{found, err == nil}
				if had.loaded && !had.ok {
					return had, nil
				}
				if ctx.Err() != nil { // signOut may have returned, and there may be no lease
					return had, errors.Join(context.Cause(ctx), err)
				}
				if deleteErr := m.store.Delete(ctx, s.name); deleteErr != nil {
					return had, errors.Join(deleteErr, err)
				}
				return had, nil
			}, func(had deleted, err error) {
				// Once more, in case a SignIn or a save came between.
				s.change(func(st *state, now time.Duration) {
					o := &signedOut{
						err: signedOutError, byCaller: true, givenUnseen: err != nil && !had.loaded, undeleted: err != nil,
						nextLook: now + m.refreshPause, since: now,
					}
					if had.ok {
						o.giveUp(had.tok)
					}
					if st.pending != nil {
						pending = st.pending
					}
					st.giveUp(o)
					if err == nil {
						st.pending = nil
					}
				})
			})
			s.release(l)
		}
	}
	if lockErr != nil {
		err = errors.Join(lockErr, err)
	}
	s.change(func(st *state, now time.Duration) {
		if st.signedOut == waiting { // the store was not reached
			waiting.nextLook = now + m.refreshPause
		}
	})

	secrets := had.tok.secrets()
	last := had.tok
	if before != nil {
		secrets = append(secrets, before.tok.secrets()...)
		s.inspect(func(st *state) {
			if _, spent := st.recalls(had.tok); !had.ok || spent { // the store has forgotten a save
				last = before.tok
			}
		})
	}
	if pending != nil {
		secrets = append(secrets, pending.tok.secrets()...)
		last = pending.tok
	}
	if err != nil && redact.Text(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	if notRevoked := errors.Join(s.revokeAgain(ctx), s.revokeOrKeep(ctx, last)); notRevoked != nil {
		what := "the token could not be revoked"
		if err == nil {
			what = "signed out, but " + what
		}
		err = errors.Join(err, wrap(what, notRevoked))
	}
	m.emit(ctx, s.name, append(late, Event{Kind: EventSignedOut, Err: err})...)
	return err
}

// revokeOrKeep revokes tok. What can't be revoked is kept for the next SignOut.
func (s *cachedSession) revokeOrKeep(ctx context.Context, tok Token) error {
	if tok.isZero() {
		return nil
	}
	var before error
	if previous, ok := tok.previous(); ok { // one of the two is good
		before = s.revokeOrKeep(ctx, previous)
		tok = tok.clone()
		delete(tok.Extra, extraPrevious)
	}
	err := s.revoke(ctx, tok)
	if err != nil {
		s.owner.unrevoked.keep(s.owner.now(), s.name, tok)
	}
	return errors.Join(before, err)
}

// revokeAgain revokes what earlier calls of SignOut could not.
func (s *cachedSession) revokeAgain(ctx context.Context) error {
	var errs []error
	for _, tok := range s.owner.unrevoked.take(s.owner.now(), s.name) {
		errs = append(errs, s.revokeOrKeep(ctx, tok))
	}
	return errors.Join(errs...)
}

// revoke tells the token server that tok isn't needed any more, if the refresher can.
func (s *cachedSession) revoke(ctx context.Context, tok Token) error {
	m := s.owner
	revoker, ok := m.refresher.(Revoker)
	if !ok {
		return nil
	}
	_, err := callBounded(ctx, m, "the refresher's Revoke", errUnfinished, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, revoker.Revoke(m.within(ctx, s.name), tok.clone())
	})
	if err != nil {
		if clean := redact.Text(err.Error(), tok.secrets()); clean != err.Error() {
			err = &redact.Error{Text: clean}
		}
	}
	return err
}

// A signing is one run of Config.SignIn, shared by all who wait for it. It is kept once it
// is over, with its error.
type signing struct {
	*promise[error]
	cancel context.CancelFunc
	epoch  uint32 // the session's when it started
	id     string // the SignInID of what it brings

	// Guarded by session.mu.
	waiters int // once none is left the run is cancelled
	over    bool
	until   time.Duration // if it has failed there is no other until then
}

// brought reports whether a sign-in is that of Config.SignIn, and the last one.
func (s *cachedSession) brought(signInID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signing.brought(signInID)
}

// brought reports whether run is over and its sign-in is the one with this ID. It needs
// session.mu.
func (run *signing) brought(signInID string) bool {
	return run != nil && run.over && run.id == signInID
}

// signInAgain runs Config.SignIn for a request or call whose session needs a sign-in, as
// cause says, or joins the run that is up. If it reports false, the error is the caller's.
// Otherwise the caller looks again. Each caller waits on its own context; the run is
// cancelled when nobody waits.
func (s *cachedSession) signInAgain(ctx context.Context, cause error) (again bool, err error) {
	m := s.owner
	if m.signIn == nil || !errors.Is(cause, ErrSignInRequired) || scopeOf(ctx).isRefreshing(m) {
		return false, cause
	}
	s.mu.Lock()
	if s.state.current != nil { // somebody has signed in since cause was found
		s.mu.Unlock()
		return true, nil
	}
	run := s.signing
	if run != nil && run.over && m.now() >= run.until {
		run = nil
	}
	if run == nil {
		run = &signing{promise: newPromise[error](), epoch: s.state.epoch, id: rand.Text()}
		var own context.Context
		own, run.cancel = context.WithCancel(m.forFlight(ctx, s.name))
		s.signing = run
		m.begin()
		go s.runSignIn(own, run) // ends when Config.SignIn and the store return
	}
	cancelled := run.waiters < 0
	if !cancelled {
		run.waiters++
	}
	s.mu.Unlock()

	err, ok := run.wait(ctx)
	if cancelled { // there is one at a time, so the next one had to wait
		return ok, context.Cause(ctx)
	}
	s.mu.Lock()
	if run.waiters--; run.waiters == 0 {
		if !run.over {
			run.waiters = -1 // nobody joins a run that is cancelled
		}
		run.cancel()
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return false, context.Cause(ctx)
	case err != nil:
		return false, err
	}
	return true, nil
}

// obtain is usable, and signs in where nothing else helps.
func (s *cachedSession) obtain(ctx context.Context, patient bool) (*generation, error) {
	for {
		g, err := s.usable(ctx, patient)
		if err == nil {
			return g, nil
		}
		if again, err := s.signInAgain(ctx, err); !again {
			return nil, err
		}
	}
}

// runSignIn runs Config.SignIn, and signs in with what it brings, whether or not anybody
// still waits: the user has signed in. A SignIn or SignOut that came meanwhile wins.
func (s *cachedSession) runSignIn(ctx context.Context, run *signing) {
	m := s.owner
	defer m.end()
	tok, err := await("Config.SignIn", func() (Token, error) { return m.signIn(m.within(ctx, s.name)) })
	if err == nil && tok.isZero() {
		err = errors.New("Config.SignIn returned neither a token nor an error")
	}
	done := true
	var failed error
	if err == nil {
		ctx = context.WithoutCancel(ctx)
		void := func() bool { return look(s, func(st *state) bool { return st.epoch != run.epoch }) }
		if panicked := contained("OnEvent", func() { done, err = s.signInUnless(ctx, tok, run.id, void) }); panicked != nil {
			failed = refreshError(s.name, panicked) // the sign-in itself has been done
		}
	}
	if err != nil {
		text := redact.Text("sign-in: "+err.Error(), tok.secrets())
		chain := errors.Join(ErrSignInRequired, redact.Without(redact.Without(err, context.Canceled), context.DeadlineExceeded))
		failed = refreshError(s.name, &redact.Error{Text: text, Chain: chain})
	}
	gone := look(s, func(st *state) *signedOut { return st.signedOut })
	if err == nil && !done && gone != nil {
		failed = gone.err
		if gone.byCaller { // the user is gone, and nobody else knows of this token
			_ = s.revokeOrKeep(ctx, tok)
		}
	}
	s.mu.Lock()
	run.over = true
	if cancelled := run.waiters < 0; err != nil && !cancelled {
		run.until = m.now() + max(m.refreshPause, 1)
	}
	s.mu.Unlock()
	run.keep(failed)
}
