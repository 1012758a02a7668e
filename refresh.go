package reauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
)

// A Refresher renews a session: it exchanges a token for the next one.
//
// Refresh receives the session's token as it was last stored, or the zero Token if
// there is none, and returns its replacement. If that has no RefreshToken, the old one
// stays in use. [SessionFromContext] tells which session it is.
//
// An error that wraps [ErrSignInRequired] is final: the token is deleted and the user
// must sign in again. Below a *url.Error it doesn't count, because there it is what the
// Refresher's own HTTP client ran into. Every other error is temporary; if there is a
// [*RefreshError] in its chain, its RetryAfter is honored.
//
// The context ends after [Config.RefreshTimeout]. It has the values of the request that
// caused the refresh, but not its cancellation. The Transport that is being served sends
// requests with this context unauthenticated, so a Refresher may use the very client it
// serves.
//
// Refresh is called concurrently, but for one session only one call at a time, unless a
// sign-in or sign-out came between. It must return when its context is done: no other
// refresh of that session starts before. A panic counts as a temporary failure.
// The error says where it happened. It shows the value only of a runtime error, because
// any other may hold a secret.
//
// A Refresher may have two more methods:
//
//	Validate() error
//	NeedsToken() bool
//
// [New] calls Validate once and reports its error. NeedsToken reports whether the zero
// Token can only lead to ErrSignInRequired. If so, Refresh is not called for a session
// that has no token. A struct that embeds a Refresher has these methods too: if its own
// Refresh does answer the zero Token, it needs a NeedsToken of its own.
type Refresher interface {
	Refresh(ctx context.Context, old Token) (Token, error)
}

// RefresherFunc is a function that is a [Refresher].
type RefresherFunc func(ctx context.Context, old Token) (Token, error)

// Refresh calls f.
func (f RefresherFunc) Refresh(ctx context.Context, old Token) (Token, error) { return f(ctx, old) }

// A Revoker is a [Refresher] that can also tell the token server that a token is not
// needed any more (RFC 7009). [Session.SignOut] calls it.
type Revoker interface {
	Revoke(ctx context.Context, tok Token) error
}

var (
	errMeanwhile   = errors.New("the session was signed in or out meanwhile")
	errNoToken     = errors.New("the refresher returned neither an access token nor an error")
	errNotSignedIn = fmt.Errorf("not signed in: %w", ErrSignInRequired)
	errChanging    = errors.New("the stored token keeps changing")
)

// run is what a flight does.
func (f *flight) run() *outcome {
	s := f.session
	var cur *generation
	var gone *signedOut
	var back bool
	s.inspect(func(st *state) { cur, gone, back = st.current, st.signedOut, st.isBack })

	var known Token // what the store is expected to hold
	if cur != nil {
		known = cur.tok
		f.hide(known)
	} else {
		stored, ok, err := f.load(f.ctx)
		switch {
		case err != nil && gone == nil:
			return f.failure(err)
		case gone != nil && (err != nil || s.holds(gone, stored, ok)):
			return f.stillOut(gone)
		}
		if gone != nil {
			s.isBack(gone)
		}
		var adopted EventKind
		if gone != nil || back {
			adopted = EventAdopted // another process has signed in
		}
		if ok {
			if o, usable := f.adoption(stored, adopted); usable {
				return o
			}
		}
		known = stored
	}

	lease, err := s.acquire(f.ctx)
	if err != nil {
		return f.failure(err)
	}
	f.hold(lease)

	// More than once only if another process stores a token while the token server
	// refuses the one before, and that has already expired.
	for range 3 {
		stored, ok, err := f.load(lease.held)
		switch {
		case err != nil:
			return f.failure(err)
		case f.isVoid():
			return new(outcome)
		case gone != nil && s.holds(gone, stored, ok):
			return f.stillOut(gone)
		}
		from := stored
		var spent []Token // what the store may hold in place of stored
		pending := look(s, func(st *state) *pendingSave { return st.pending })
		if pending != nil && cur != nil && !pending.hasSpent(stored) && !stored.same(cur.tok) {
			s.saved(pending) // another process has written: that isn't ours to replace
			pending = nil
		}
		switch {
		case pending != nil && cur != nil:
			// The current token is newer than the stored one, which this process has
			// spent. Or the save that seemed to fail did not.
			if pending.hasSpent(stored) && !f.retry(lease, cur.tok) {
				s.notSaved(pending)
				spent = pending.spent
			} else {
				s.saved(pending)
				stored = cur.tok
			}
			if f.enough() {
				return &outcome{gen: cur}
			}
			from = cur.tok
		case stored.same(known):
			if cur != nil && f.enough() {
				return &outcome{gen: cur}
			}
		case ok:
			if o, usable := f.adoption(stored, EventAdopted); usable {
				return o
			}
		}

		tok, final, err := f.ask(lease, from)
		switch {
		case err == nil:
			return f.keepNew(lease, slices.Concat(spent, []Token{stored, from}), tok)
		case !final:
			return f.failure(err)
		}
		after, ok, loadErr := f.load(lease.held)
		if loadErr != nil {
			o := f.failure(loadErr)
			fail := o.change
			o.change = func(st *state, now time.Duration) { // don't ask with this token again
				st.rejected = &rejection{from: from, err: err}
				fail(st, now)
			}
			return o
		}
		if !ok || after.same(stored) || after.same(from) {
			return f.refusal(lease, from, stored, ok, err)
		}
		if o, usable := f.adoption(after, EventAdopted); usable {
			return o
		}
		known, cur = after, nil
	}
	return f.failure(errChanging)
}

// retry tries again to save tok.
func (f *flight) retry(l *lease, tok Token) bool {
	saved, err := f.save(l, tok)
	return saved && err == nil
}

// adoption makes a stored token the current generation, unless it has expired. A kind
// of 0 is not an event: the token was loaded for the first time.
func (f *flight) adoption(tok Token, kind EventKind) (o *outcome, usable bool) {
	s := f.session
	now := time.Now()
	tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, now)
	g := s.newGeneration(tok, now, kind != 0)
	if g.expires != never {
		g.certain = g.expires - time.Second // it is not known how much of its lifetime has passed
	}
	if s.owner.now() >= g.expires {
		return nil, false
	}
	o = &outcome{gen: g, change: func(st *state, _ time.Duration) { st.settle(g) }}
	if kind != 0 {
		o.events = []Event{{Kind: kind}}
	}
	return o, true
}

// ask asks the refresher for the token after from. An error is final if the user must
// sign in.
func (f *flight) ask(l *lease, from Token) (tok Token, final bool, err error) {
	s := f.session
	s.change(func(st *state, now time.Duration) {
		switch {
		case st.flight != f:
			err = errMeanwhile
		case st.rejected != nil && st.rejected.from.same(from):
			final, err = true, st.rejected.err
		case !f.refreshes && st.backoff.active(now):
			err = st.backoff.err
		case from.isZero() && s.owner.declaresNeed:
			final, err = true, errNotSignedIn
		default:
			f.refreshes, f.from = true, from // though it may have been up only to save
		}
	})
	if err != nil {
		return Token{}, final, err
	}
	f.hide(from)
	f.emit(Event{Kind: EventRefreshStarted})
	switch { // which may have taken a while
	case f.isVoid():
		return Token{}, false, errMeanwhile
	case l.held.Err() != nil:
		return Token{}, false, errLockLost
	}
	f.asked = time.Now()
	tok, err = call(f, f.ctx, "the refresher", func(ctx context.Context) (Token, error) {
		return s.owner.refresher.Refresh(s.owner.within(ctx, s.name), from.clone())
	})
	if err != nil {
		if final = requiresSignIn(err); final && from.isZero() {
			s.owner.needsToken.Store(true)
		}
		if !final {
			err = withoutSignIn(err)
		}
		return Token{}, final, err
	}
	f.hide(tok)
	if tok.AccessToken == "" {
		return Token{}, false, errNoToken
	}
	if tok.RefreshToken == "" {
		tok.RefreshToken = from.RefreshToken
	}
	tok.Expiry = expiry.Refreshed(tok.AccessToken, tok.Expiry, f.asked)
	return tok, false, nil
}

// keepNew stores what a refresh brought, and makes it the current generation. The last
// of spent is what it was refreshed from.
func (f *flight) keepNew(l *lease, spent []Token, tok Token) *outcome {
	s := f.session
	pause := s.owner.refreshPause
	took := time.Since(f.asked)
	g := s.newGeneration(tok, f.asked, true)
	if spent[len(spent)-1].isZero() {
		s.owner.selfStarting.Store(true)
	}
	o := &outcome{
		gen:     g,
		unsaved: tok,
		events:  []Event{{Kind: EventRefreshed, Took: took}},
		change: func(st *state, now time.Duration) {
			st.settle(g)
			st.leavePending(now, spent, pause)
		},
	}
	failed := func(err error) *outcome {
		o.events = append(o.events, Event{Kind: EventSaveFailed, Err: refreshError(s.name, err, f.secrets...)})
		return o
	}
	if f.isAbandoned() { // the lease is gone: the next flight saves it, if that is still right
		o.saveNow = true
		return failed(errUnfinished)
	}
	s.change(func(*state, time.Duration) { f.brought = tok })
	saved, err := f.save(l, g.tok)
	switch {
	case err != nil:
		return failed(err)
	case saved:
		o.unsaved = Token{} // if a sign-out came meanwhile it finds the token in the store
		o.change = func(st *state, _ time.Duration) { st.settle(g) }
	}
	return o
}

// failure is a temporary failure, after which there is a pause. A flight that was up
// only to save has kept nobody from a token: then the save remains pending.
func (f *flight) failure(cause error) *outcome {
	err := refreshError(f.session.name, cause, f.secrets...)
	pause, spread := f.session.owner.refreshPause, rand.Float64()
	o := &outcome{err: err}
	o.change = func(st *state, now time.Duration) {
		switch {
		case f.refreshes:
			st.failed(now, err, spread)
			if !f.told {
				e := Event{Kind: EventRefreshFailed, Err: err}
				if !f.asked.IsZero() {
					e.Took = time.Since(f.asked)
				}
				o.events = append(o.events, e)
			}
		case st.pending != nil:
			st.leavePending(now, st.pending.spent, pause)
		}
	}
	return o
}

// refusal is the token server's final answer to the refresh of from. It signs the
// session out, or if the token is still good, does so when that expires or is refused.
// ok is whether the store holds a token, stored.
func (f *flight) refusal(l *lease, from, stored Token, ok bool, cause error) *outcome {
	s := f.session
	err := refreshError(s.name, cause, f.secrets...)
	o := &outcome{err: err}
	if !f.asked.IsZero() { // otherwise it has been reported before
		o.events = []Event{{Kind: EventRefreshFailed, Err: err, Took: time.Since(f.asked)}}
	}

	signedOutElsewhere := from.isZero() // which counts at once
	putOff := false
	s.change(func(st *state, now time.Duration) {
		stillGood := st.current != nil && f.needed == nil && now < st.current.expires
		if putOff = st.flight == f && stillGood && !signedOutElsewhere; putOff {
			st.rejected, st.backoff = &rejection{from: from, err: cause}, nil
			f.over, st.flight = true, nil
		}
	})
	if putOff {
		return o
	}

	var notDeleted error
	if ok {
		_, notDeleted = write(s, f.ctx, l.held, "the store's Delete", func(ctx context.Context) (struct{}, error) {
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
		gone := &signedOut{err: err, undeleted: notDeleted != nil, nextLook: now + s.owner.refreshPause, since: now}
		gone.giveUp(from, stored)
		if st.current != nil {
			gone.giveUp(st.current.tok)
		}
		if st.pending != nil {
			gone.giveUp(st.pending.spent...)
		}
		st.settle(nil)
		st.signedOut = gone
	}
	return o
}

// stillOut is the outcome for a session that is signed out if the store shows no new
// sign-in.
func (f *flight) stillOut(gone *signedOut) *outcome {
	pause := f.session.owner.refreshPause
	return &outcome{err: gone.err, change: func(st *state, now time.Duration) {
		gone.nextLook = now + pause
		st.signedOut = gone // a sign-in may have been seen, and gone again
	}}
}
