package reauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth/internal/ascii"
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
// With any error the Token may have a RefreshToken: the token server has answered with a new
// one, but with no usable access token. It is stored, the error counts as temporary, and the
// next refresh starts from it. If that is refused for good, the one before is tried once.
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
	errUnusable    = errors.New("the refresher returned an access token that no header can carry")
	errNotSignedIn = fmt.Errorf("not signed in: %w", ErrSignInRequired)
	errChanging    = errors.New("the stored token keeps changing")
	errThrottled   = errors.New("the token server has asked for a pause, and other sessions are waiting too")
	errStillOpen   = errors.New("an earlier save has not been accepted yet")
	errUnsettled   = errors.New("an earlier write has ended without an answer")
)

// run is what a flight does.
func (f *flight) run() *outcome {
	s := f.session
	var cur *generation
	var gone *signedOut
	var looks bool
	s.inspect(func(st *state) {
		cur, gone = st.current, st.signedOut
		looks = f.update == nil && st.pending == nil
	})

	var known Token // what the store is expected to hold
	if cur != nil {
		known = cur.tok
		f.hide(known)
	}
	// Of many processes that need a token at once, one takes the lock and refreshes. The
	// others look, and adopt what it has saved.
	var o *outcome
	found := func() bool {
		switch {
		case cur == nil:
			o = f.first(gone, &known)
		case looks:
			o = f.glance(cur)
		}
		return o != nil
	}
	if found() {
		return o
	}
	f.takeTurn()

	began := time.Now()
	l, err := s.acquire(f.ctx, found)
	switch {
	case err != nil:
		return f.failure(err)
	case l == nil:
		return o
	}
	f.hold(l)
	if s.owner.locker != nil {
		f.late = append(f.late, Event{Kind: EventLocked, Took: time.Since(began)})
	}

	// More than once only if another process stores a token while the token server
	// refuses the one before, and that has already expired.
	for range 3 {
		stored, ok, err := f.load(l.held)
		switch {
		case err != nil:
			return f.failure(err)
		case f.isVoid():
			return new(outcome)
		}
		f.unseen = false
		mine, stored, o := f.settlePending(l, stored, ok)
		switch {
		case o != nil:
			return o
		case gone != nil && s.holds(gone, stored, ok):
			return f.stillOut(gone)
		}
		from := stored
		switch {
		case !mine.isZero():
			if cur != nil && f.enough() {
				return f.nothing()
			}
			from = mine
		case ok && cur != nil && stored.is(known):
			if f.enough() {
				return f.nothing()
			}
		case ok:
			if o := f.adoption(stored, EventAdopted); o != nil {
				return o
			}
		}

		if s.isUnsettled(l) { // A write may still arrive that would replace what a refresh brings.
			return f.nothing()
		}
		tok, final, err := f.ask(l, from)
		switch {
		case err == nil:
			return f.keepNew(l, stored, from, tok)
		case tok.RefreshToken != "" && tok.RefreshToken != from.RefreshToken:
			return f.salvage(l, stored, from, tok, err)
		case f.update != nil:
			return f.notUpdated(err)
		case !final:
			return f.failure(err)
		}
		after, ok, loadErr := f.load(l.held)
		if loadErr != nil {
			o := f.failure(loadErr)
			fail := o.change
			o.change = func(st *state, now time.Duration) { // don't ask with this token again
				st.rejected = &rejection{from: from, err: err}
				fail(st, now)
			}
			return o
		}
		if !ok || after.is(stored) || after.is(from) {
			return f.refusal(l, from, stored, ok, err)
		}
		if o := f.adoption(after, EventAdopted); o != nil {
			return o
		}
		known, cur = after, nil
	}
	return f.failure(errChanging)
}

// first looks at the store of a session of which no token is known. It returns nil if a
// token has to be refreshed or found under the lease. So has the sign-in of another
// process: without the lease a look may be outdated, and show one that is over.
func (f *flight) first(gone *signedOut, known *Token) *outcome {
	s := f.session
	if gone != nil && look(s, func(st *state) bool { return st.pending != nil }) {
		return nil // what is pending comes first
	}
	isBack := look(s, func(st *state) bool { return st.isBack })
	stored, ok, err := f.load(f.ctx)
	switch {
	case err != nil && (gone == nil || isBack):
		return f.failure(err)
	case gone != nil && (err != nil || s.holds(gone, stored, ok)):
		return f.stillOut(gone)
	}
	var kind EventKind // the first token that is found is not an adoption
	if !known.isZero() {
		kind = EventAdopted
	}
	*known = stored
	if !ok || gone != nil {
		return nil
	}
	return f.adoption(stored, kind)
}

// glance looks at the store without the lease, for briefWait at most, because it may hold
// another token than cur. Such a look may be outdated. So it believes a token that is new
// to this process and of the same sign-in; another sign-in, or that there is no token, has
// to be seen under the lease: then it returns nil. A failure is of no consequence.
func (f *flight) glance(cur *generation) *outcome {
	s := f.session
	ctx, cancel := context.WithTimeout(f.ctx, briefWait)
	defer cancel()
	stored, ok, err := f.load(ctx)
	had := look(s, func(st *state) bool {
		had, _ := st.recalls(stored)
		return had && !cur.tok.renewedBy(stored)
	})
	same := cur.tok.sameSignIn(stored)
	switch {
	case err != nil, ok && (cur.tok.is(stored) || had && same):
		f.unseen = f.unseen && err != nil
		if f.enough() {
			return f.nothing()
		}
	case ok && same:
		f.unseen = false
		return f.adoption(stored, EventAdopted)
	}
	return nil
}

// notUpdated is the outcome of an Update whose function has failed. Nothing has changed
// for others.
func (f *flight) notUpdated(err error) *outcome {
	o := &outcome{landing: landing{again: true, fault: harmless(err, f.secrets)}}
	if !f.asked.IsZero() {
		o.events = []Event{{Kind: EventRefreshFailed, Err: refreshError(f.session.name, err, f.secrets...), Took: f.took()}}
	}
	return o
}

// nothing is the outcome of a flight that has found nothing new.
func (f *flight) nothing() *outcome {
	return &outcome{landing: landing{again: true}}
}

// ask asks the refresher, or the function of an Update, for the token after from. An error
// is final if the user must sign in. With an error, the token may have a new refresh token
// that is worth keeping.
func (f *flight) ask(l *lease, from Token) (tok Token, final bool, err error) {
	s := f.session
	s.change(func(st *state, now time.Duration) {
		switch {
		case st.flight != f:
			err = errMeanwhile
		case f.update != nil:
			f.from = from
		case st.rejected != nil && st.rejected.from.same(from):
			final, err = true, st.rejected.err
		case from.isZero() && s.owner.declaresNeed:
			final, err = true, errNotSignedIn
		case !f.refreshes && st.backoff.active(now):
			err = st.backoff.err
		case f.tooSoon:
			err = errThrottled
		default:
			f.refreshes, f.from = true, from // though it may have been up only to save
		}
	})
	if err != nil {
		return Token{}, final, err
	}
	f.hide(from)
	f.emit(Event{Kind: EventRefreshStarted}) // which may take a while
	if err := f.mayAsk(l); err != nil {
		return Token{}, false, err
	}
	tok, final, err = f.exchange(from)
	if previous, ok := from.previous(); ok && final && f.update == nil {
		// It was not certain that this is the refresh token that the server meant. The one
		// from before is tried once.
		if err := f.mayAsk(l); err != nil {
			return Token{}, false, err
		}
		tok, final, err = f.exchange(previous)
	}
	return tok, final, err
}

// mayAsk returns why the token server must not be asked any more, if there is a reason.
func (f *flight) mayAsk(l *lease) error {
	switch {
	case f.isVoid():
		return errMeanwhile
	case l.held.Err() != nil:
		return errLockLost
	case f.isAbandoned(): // the lease is gone
		return errUnfinished
	case f.session.isUnsettled(l):
		return errStillOpen
	}
	return nil
}

// exchange calls the refresher, or the function of an Update.
func (f *flight) exchange(from Token) (tok Token, final bool, err error) {
	s := f.session
	what, fn := "the refresher", s.owner.refresher.Refresh
	if f.update != nil {
		what, fn = "the function of Update", f.update
	}
	visible := from.clone()
	delete(visible.Extra, extraPrevious)
	f.asked = time.Now()
	tok, err = call(f, f.ctx, what, func(ctx context.Context) (Token, error) {
		return fn(s.owner.within(ctx, s.name), visible)
	})
	if err != nil {
		if final = requiresSignIn(err); final && from.isZero() && f.update == nil {
			s.owner.needsToken.Store(true)
		}
		if !final {
			err = withoutSignIn(err)
		}
		f.hide(tok)
		return tok, final, err
	}
	f.hide(tok)
	tok = tok.clone()
	delete(tok.Extra, extraPrevious)
	switch {
	case f.update != nil && tok.isZero(), f.update == nil && tok.AccessToken == "":
		return tok, false, errNoToken
	case f.update == nil && !ascii.IsFieldValue(tok.AccessToken):
		return tok, false, errUnusable // its refresh token is worth keeping
	}
	if tok.SignInID == "" {
		tok.SignInID = from.SignInID
	}
	if f.update == nil {
		if tok.RefreshToken == "" {
			tok.RefreshToken = from.RefreshToken
		}
		if tok.RefreshToken == from.RefreshToken && tok.RefreshExpiry.IsZero() {
			tok.RefreshExpiry = from.RefreshExpiry
		}
		// A time that is over already would cause an early refresh for every request.
		if !tok.RefreshExpiry.After(f.asked) {
			tok.RefreshExpiry = time.Time{}
		}
		if !tok.RefreshAfter.After(f.asked) {
			tok.RefreshAfter = time.Time{}
		}
		tok.SignInID = from.SignInID
		tok = tok.boundExtra(from)
	}
	if f.update != nil && tok.AccessToken == from.AccessToken {
		tok.Expiry = expiry.Stored(tok.AccessToken, tok.Expiry, f.asked)
	} else {
		tok.Expiry = expiry.Refreshed(tok.AccessToken, tok.Expiry, f.asked)
	}
	return tok, false, nil
}
