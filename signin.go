package reauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

var errSignedOut = fmt.Errorf("signed out: %w", ErrSignInRequired)

// signIn makes tok the session's token, in the store and then here.
func (s *cachedSession) signIn(ctx context.Context, tok Token) error {
	now := time.Now()
	tok = tok.clone()
	tok.SignInID = rand.Text()
	delete(tok.Extra, extraPrevious)
	tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, now)
	if err := s.owner.validateToken(tok); err != nil {
		return err
	}
	g := s.newGeneration(tok, now, false)
	lease, late, err := s.acquireSettled(ctx)
	if err != nil {
		s.owner.emit(ctx, s.name, late...)
		return err
	}
	_, err = write(s, ctx, lease, "the store's Save", func(ctx context.Context) (saved bool, err error) {
		if s.isRefreshing(tok) {
			// The flight brings the token after this very one. Replacing that would
			// spend this one twice.
			return false, nil
		}
		return true, s.owner.store.Save(ctx, s.name, g.tok.clone())
	}, func(saved bool, err error) {
		if saved && err == nil {
			s.change(func(st *state, _ time.Duration) {
				st.turn(g, nil)
				st.pending = nil
			})
		}
	})
	s.release(lease)
	if err == nil {
		late = append(late, Event{Kind: EventSignedIn})
	}
	s.owner.emit(ctx, s.name, late...)
	return err
}

// acquireSettled is acquire for a write of its own. What is pending is saved first: a
// store that can't accept that can't accept another write either. The events are to be
// reported once the lease is given back.
func (s *cachedSession) acquireSettled(ctx context.Context) (_ *lease, late []Event, _ error) {
	for {
		l, err := s.acquire(ctx)
		if err != nil {
			return nil, late, err
		}
		p := look(s, func(st *state) *pendingSave { return st.pending })
		if p != nil && p.lease == l && l.ready != nil {
			saved, saveErr := write(s, ctx, l, "the store's Save", func(ctx context.Context) (bool, error) {
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
		waiting.since = now
		st.giveUp(waiting)
	})

	type deleted struct {
		found
		loaded bool
	}
	var had deleted
	l, late, err := s.acquireSettled(ctx)
	lockErr := err
	if err != nil && !errors.Is(err, errStillOpen) && err != errLockTimeout && ctx.Err() == nil {
		// Somebody who can't lock may still delete. But a process that refreshes meanwhile
		// may save again, so the caller must know.
		l, err = &lease{held: m.forFlight(ctx, s.name)}, nil
	}
	if err == nil {
		had, err = write(s, ctx, l, "the store's Delete", func(ctx context.Context) (deleted, error) {
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
		if !had.ok {
			last = before.tok
		}
	}
	if pending != nil {
		secrets = append(secrets, pending.tok.secrets()...)
		last = pending.tok
	}
	if err != nil && redact.Text(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	if notRevoked := errors.Join(m.unrevoked.again(ctx, s), s.revokeOrKeep(ctx, last)); notRevoked != nil {
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
	err := s.revoke(ctx, tok)
	if err != nil {
		s.owner.unrevoked.keep(s.owner.now(), s.name, tok)
	}
	return err
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

// signedIn reports whether there is a token. It asks the store if that isn't known here.
func (s *cachedSession) signedIn(ctx context.Context) (bool, error) {
	m := s.owner
	var known, ask bool
	var gone *signedOut
	s.inspect(func(st *state) {
		known, gone = st.current != nil, st.signedOut
		ask = !known && (gone == nil || st.isBack || m.now() >= gone.nextLook)
	})
	if !ask {
		return known, nil
	}
	got, err := callBounded(m.inherit(ctx, s.name), m, "the store's Load", errStoreBusy, func(ctx context.Context) (found, error) {
		return m.load(ctx, s.name)
	})
	switch {
	case err != nil:
		if gone != nil {
			s.lookLater(gone)
		}
		return false, wrap("the store's Load", err)
	case gone != nil && s.holds(gone, got.tok, got.ok):
		s.lookLater(gone)
		return false, nil
	}
	return got.ok, nil
}

// unrevoked are the tokens whose revocation failed. The next SignOut of the session tries
// again.
type unrevoked struct {
	mu   sync.Mutex
	kept []unrevokedToken // the oldest first
}

type unrevokedToken struct {
	session string
	tok     Token
	since   time.Duration
}

const (
	mostUnrevoked    = 1024
	longestUnrevoked = time.Hour
)

func (u *unrevoked) keep(now time.Duration, session string, tok Token) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = slices.DeleteFunc(u.kept, func(k unrevokedToken) bool { return now-k.since > longestUnrevoked })
	if over := len(u.kept) - mostUnrevoked + 1; over > 0 {
		u.kept = slices.Delete(u.kept, 0, over)
	}
	u.kept = append(u.kept, unrevokedToken{session, tok.clone(), now})
}

// again revokes what is kept of the session. What fails again stays.
func (u *unrevoked) again(ctx context.Context, s *cachedSession) error {
	now := s.owner.now()
	var mine []unrevokedToken
	u.mu.Lock()
	u.kept = slices.DeleteFunc(u.kept, func(k unrevokedToken) bool {
		if k.session == s.name && now-k.since <= longestUnrevoked {
			mine = append(mine, k)
		}
		return k.session == s.name
	})
	u.mu.Unlock()
	var errs []error
	for _, k := range mine {
		errs = append(errs, s.revokeOrKeep(ctx, k.tok))
	}
	return errors.Join(errs...)
}

// A signing is one run of Config.SignIn, shared by all who wait for it. It is kept once it
// is over, with its error.
type signing struct {
	*promise[error]
	cancel  context.CancelFunc
	waiters int           // guarded by session.mu; once none is left the run is cancelled
	until   time.Duration // guarded by session.mu: it has failed, and until then there is no other
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
	run := s.signing
	if run != nil && run.until != 0 && m.now() >= run.until {
		run = nil
	}
	if run == nil {
		run = &signing{promise: newPromise[error]()}
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
		if run.until == 0 {
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

func (s *cachedSession) runSignIn(ctx context.Context, run *signing) {
	m := s.owner
	defer m.end()
	tok, err := await("Config.SignIn", func() (Token, error) { return m.signIn(m.within(ctx, s.name)) })
	if err == nil && tok.isZero() {
		err = errors.New("Config.SignIn returned neither a token nor an error")
	}
	var failed error
	if err == nil {
		if panicked := contained("OnEvent", func() { err = s.signIn(ctx, tok) }); panicked != nil {
			failed = refreshError(s.name, panicked) // the sign-in itself has been done
		}
	}
	if err != nil {
		text := redact.Text("sign-in: "+err.Error(), tok.secrets())
		chain := errors.Join(ErrSignInRequired, redact.Without(redact.Without(err, context.Canceled), context.DeadlineExceeded))
		failed = refreshError(s.name, &redact.Error{Text: text, Chain: chain})
	}
	s.mu.Lock()
	if cancelled := run.waiters < 0; failed != nil && !cancelled {
		run.until = m.now() + max(m.refreshPause, 1)
	} else if s.signing == run {
		s.signing = nil
	}
	s.mu.Unlock()
	run.keep(failed)
}
