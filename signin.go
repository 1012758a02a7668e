package reauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errStoreBusy = errors.New("the store gave no answer within RefreshTimeout")
	errSignedOut = fmt.Errorf("signed out: %w", ErrSignInRequired)
)

// write calls fn, which writes to the store, while nothing else of this process
// writes to this session there. fn gets a context made from held, which ends
// with ctx and after RefreshTimeout. Its answer is awaited even where ctx has ended:
// whether something was written is worth knowing. settled, unless nil, is called
// with that answer before anyone else has a look, also if it comes so late that
// write has given up.
func write[T any](s *session, ctx, held context.Context, what string, fn func(context.Context) (T, error), settled func(T, error)) (T, error) {
	m := s.owner
	if err := s.standInLine(ctx); err != nil {
		var zero T
		return zero, fmt.Errorf("%s: %w", what, err)
	}
	m.begin()
	f := depart(what, func() (T, error) {
		defer m.end()
		bounded, cancel := context.WithTimeout(held, m.timeout)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		v, err := await(what, func() (T, error) { return fn(bounded) })
		if settled != nil {
			settled(v, err)
		}
		s.leaveLine()
		return v, err
	})
	patience, cancel := context.WithTimeoutCause(context.Background(), m.timeout+grace, errStoreBusy)
	defer cancel()
	v, err := f.wait(patience)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(ctx) // which is what the store has heeded
	}
	if err != nil && !errors.Is(err, errSuperseded) {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return v, err
}

// standInLine takes the slot in which the store is written. It is held across
// store calls, so it is taken with a context, and given back by leaveLine.
func (s *session) standInLine(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	if s.slot == nil {
		s.slot = make(chan struct{}, 1)
	}
	slot := s.slot
	s.writers++
	s.mu.Unlock()

	timer := time.NewTimer(s.owner.timeout + grace)
	defer timer.Stop()
	var err error
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errStoreBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopWriting()
	return err
}

// leaveLine gives the slot to the next in line.
func (s *session) leaveLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.slot
	s.stopWriting()
}

// stopWriting lets go of the slot where nobody is left in line: a session at rest
// is to take little memory. s.mu is held.
func (s *session) stopWriting() {
	if s.writers--; s.writers == 0 {
		s.slot = nil
	}
}

// signIn makes tok the session's token, in the store and then here.
func (s *session) signIn(ctx context.Context, tok Token) error {
	now := time.Now()
	tok = tok.clone()
	tok.Expiry = expiryStored(tok, now)
	if fits := s.owner.fits; fits != nil {
		if err := fits(tok); err != nil {
			return err
		}
	}
	g := s.newGeneration(tok, now, false)
	lease, err := s.take(ctx)
	if err != nil {
		return err
	}
	_, err = write(s, ctx, lease.held, "the store's Save", func(ctx context.Context) (struct{}, error) {
		if s.refreshing(tok) {
			return struct{}{}, errSuperseded
		}
		return struct{}{}, s.owner.store.Save(ctx, s.name, g.tok.clone())
	}, func(_ struct{}, err error) {
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.turn(g, nil)
		}
	})
	s.drop(lease)
	if errors.Is(err, errSuperseded) {
		// What the flight brings is the next of this very token. To drop that would
		// be to spend the token twice.
		err = nil
	}
	if err == nil {
		s.owner.emit(ctx, s.name, Event{Kind: EventSignedIn})
	}
	return err
}

// refreshing reports whether the flight that is up asks for the token after tok.
func (s *session) refreshing(tok Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flight != nil && s.flight.from.same(tok)
}

// turn starts the next epoch with the generation g or, if g is nil, signed out. A
// flight that is up is void from here on. s.mu is held.
func (s *session) turn(g *generation, o *out) {
	f := s.flight
	s.epoch++
	s.flight = nil
	s.unhelpful, s.judged = 0, 0
	s.settle(g)
	s.out = o
	if f != nil {
		f.land(nil, errSuperseded)
	}
}

// giveUp starts the next epoch, signed out as o says, to which it adds the tokens
// that the store may hold and that are no other sign-in. It returns the generation
// before, and its save if that was owed.
func (s *session) giveUp(o *out) (before *generation, owed *owedSave) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, owed = s.current.Load(), s.owed
	switch {
	case before != nil:
		o.give(before.tok)
		o.any = false
	case s.out != nil: // by an earlier sign-out, which may not have reached the store yet
		o.give(s.out.given...)
		o.any = o.any && s.out.any
	}
	if owed != nil {
		o.give(owed.spent...)
	}
	if s.final != nil {
		o.give(s.final.from)
	}
	if s.flight != nil {
		o.give(s.flight.seen, s.flight.from, s.flight.brought)
	}
	s.turn(nil, o)
	return before, owed
}

// signOut ends the session here at once, then in the store, then at the token
// server. What fails does not keep the rest from being done.
func (s *session) signOut(ctx context.Context) error {
	m := s.owner
	refusal := &RefreshError{Session: s.name, Err: errSignedOut}
	// Until the store has been asked nobody knows which token it holds, and until
	// it has been written to, looking at it again would sign in again.
	waiting := &out{err: refusal, any: true, kept: true, nextLook: never, since: m.now()}
	before, owed := s.giveUp(waiting)

	type found struct {
		tok    Token
		ok     bool
		loaded bool
	}
	var had found
	lease, err := s.take(ctx)
	if err == nil {
		had, err = write(s, ctx, lease.held, "the store's Delete", func(ctx context.Context) (found, error) {
			tok, ok, err := m.store.Load(ctx, s.name)
			had := found{tok, ok, err == nil}
			if had.loaded && !ok {
				return had, nil
			}
			if deleteErr := m.store.Delete(ctx, s.name); deleteErr != nil {
				return had, errors.Join(deleteErr, err)
			}
			return had, nil
		}, func(had found, err error) {
			now := m.now()
			o := &out{err: refusal, any: err != nil && !had.loaded, kept: err != nil, nextLook: now + m.refreshPause, since: now}
			if had.ok {
				o.given = []Token{had.tok}
			}
			s.giveUp(o) // once more, for a SignIn that came between
		})
		s.drop(lease)
	}
	s.mu.Lock()
	if s.out == waiting { // the store was not reached
		waiting.nextLook = m.now() + m.refreshPause
	}
	s.mu.Unlock()

	secrets := []string{had.tok.AccessToken, had.tok.RefreshToken}
	if before != nil {
		secrets = append(secrets, before.tok.AccessToken, before.tok.RefreshToken)
	}
	if err != nil && scrub(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	last := had.tok
	if before != nil && (!had.ok || owed != nil) {
		last = before.tok
	}
	if !last.isZero() {
		err = errors.Join(err, s.revoke(ctx, last))
	}
	m.emit(ctx, s.name, Event{Kind: EventSignedOut, Err: err})
	return err
}

// discard revokes what a flight brought after the session was signed out: the
// user is gone, and nobody else knows of that token.
func (s *session) discard(ctx context.Context, tok Token) {
	s.mu.Lock()
	gone := s.out != nil && errors.Is(s.out.err, errSignedOut)
	s.mu.Unlock()
	if gone {
		_ = s.revoke(ctx, tok)
	}
}

// revoke tells the token server that tok is no longer wanted, where the refresher
// can.
func (s *session) revoke(ctx context.Context, tok Token) error {
	m := s.owner
	revoker, ok := m.refresher.(Revoker)
	if !ok {
		return nil
	}
	bounded, cancel := context.WithTimeoutCause(ctx, m.timeout, errUnfinished)
	defer cancel()
	m.begin()
	_, err := depart("Revoke", func() (struct{}, error) {
		defer m.end()
		return struct{}{}, revoker.Revoke(m.within(bounded, s.name), tok.clone())
	}).wait(bounded)
	if err != nil {
		err = fmt.Errorf("revoke: %w", err)
		if clean := scrub(err.Error(), []string{tok.AccessToken, tok.RefreshToken}); clean != err.Error() {
			err = &textError{text: clean}
		}
	}
	return err
}

// signedIn reports whether there is a token, asking the store if that is not
// known here.
func (s *session) signedIn(ctx context.Context) (bool, error) {
	m := s.owner
	s.mu.Lock()
	current, gone, look := s.current.Load(), s.out, true
	if gone != nil {
		look = m.now() >= gone.nextLook
	}
	s.mu.Unlock()
	if current != nil || !look {
		return current != nil, nil
	}
	type found struct {
		tok Token
		ok  bool
	}
	bounded, cancel := context.WithTimeoutCause(ctx, m.timeout, errStoreBusy)
	defer cancel()
	m.begin()
	got, err := depart("the store's Load", func() (found, error) {
		defer m.end()
		tok, ok, err := m.store.Load(bounded, s.name)
		return found{tok, ok}, err
	}).wait(bounded)
	if err != nil {
		if gone != nil {
			s.lookLater(gone)
		}
		return false, fmt.Errorf("the store's Load: %w", err)
	}
	if gone == nil {
		return got.ok, nil
	}
	if s.staysOut(gone, got.tok, got.ok) {
		s.lookLater(gone)
		return false, nil
	}
	return true, nil
}
