package reauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

var errSignedOut = fmt.Errorf("signed out: %w", ErrSignInRequired)

// signIn makes tok the session's token, in the store and then here.
func (s *cachedSession) signIn(ctx context.Context, tok Token) error {
	now := time.Now()
	tok = tok.clone()
	tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, now)
	if err := s.owner.validateToken(tok); err != nil {
		return err
	}
	g := s.newGeneration(tok, now, false)
	lease, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	_, err = write(s, ctx, lease.held, "the store's Save", func(ctx context.Context) (saved bool, err error) {
		if s.isRefreshing(tok) {
			// The flight brings the token after this very one. Replacing that would
			// spend this one twice.
			return false, nil
		}
		return true, s.owner.store.Save(ctx, s.name, g.tok.clone())
	}, func(saved bool, err error) {
		if saved && err == nil {
			s.change(func(st *state, _ time.Duration) { st.turn(g, nil) })
		}
	})
	s.release(lease)
	if err == nil {
		s.owner.emit(ctx, s.name, Event{Kind: EventSignedIn})
	}
	return err
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
	lease, err := s.acquire(ctx)
	if err == nil {
		had, err = write(s, ctx, lease.held, "the store's Delete", func(ctx context.Context) (deleted, error) {
			found, err := m.load(ctx, s.name)
			had := deleted{found, err == nil}
			if had.loaded && !had.ok {
				return had, nil
			}
			if deleteErr := m.store.Delete(ctx, s.name); deleteErr != nil {
				return had, errors.Join(deleteErr, err)
			}
			return had, nil
		}, func(had deleted, err error) {
			// Once more, in case a SignIn came between.
			s.change(func(st *state, now time.Duration) {
				o := &signedOut{
					err: signedOutError, byCaller: true, givenUnseen: err != nil && !had.loaded, undeleted: err != nil,
					nextLook: now + m.refreshPause, since: now,
				}
				if had.ok {
					o.giveUp(had.tok)
				}
				st.giveUp(o)
			})
		})
		s.release(lease)
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
		if !had.ok || pending != nil {
			last = before.tok
		}
	}
	if err != nil && redact.Text(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	if !last.isZero() {
		err = errors.Join(err, s.revoke(ctx, last))
	}
	m.emit(ctx, s.name, Event{Kind: EventSignedOut, Err: err})
	return err
}

// revoke tells the token server that tok isn't needed any more, if the refresher can.
func (s *cachedSession) revoke(ctx context.Context, tok Token) error {
	m := s.owner
	revoker, ok := m.refresher.(Revoker)
	if !ok {
		return nil
	}
	_, err := callBounded(ctx, m, "revoke", errUnfinished, func(ctx context.Context) (struct{}, error) {
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
		ask = !known && (gone == nil || m.now() >= gone.nextLook)
	})
	if !ask {
		return known, nil
	}
	got, err := callBounded(ctx, m, "the store's Load", errStoreBusy, func(ctx context.Context) (found, error) {
		return m.load(ctx, s.name)
	})
	switch {
	case err != nil:
		if gone != nil {
			s.lookLater(gone)
		}
		return false, err
	case gone != nil && s.holds(gone, got.tok, got.ok):
		s.lookLater(gone)
		return false, nil
	}
	return got.ok, nil
}

// callBounded calls foreign code on behalf of a method's caller. It returns when ctx is done,
// or with the error late after RefreshTimeout, whether or not the code does.
func callBounded[T any](ctx context.Context, m *sessions, what string, late error, fn func(context.Context) (T, error)) (v T, err error) {
	bounded, cancel := context.WithTimeoutCause(ctx, m.timeout, late)
	defer cancel()
	m.begin()
	r, ok := spawn(what, func() (T, error) {
		defer m.end()
		return fn(bounded)
	}).wait(bounded)
	if !ok {
		r.err = context.Cause(bounded)
	}
	if r.err != nil {
		return v, fmt.Errorf("%s: %w", what, r.err)
	}
	return r.value, nil
}
