package reauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A Refresher renews a session: it exchanges a token for the next one.
//
// Refresh is given the session's token as it was last stored, or the zero Token
// if there is none, and returns the next. A token without a RefreshToken keeps
// the old one's. [SessionFromContext] tells which session it is for.
//
// An error that wraps [ErrSignInRequired] is final: the token is deleted and the
// user must sign in again. Every other error is a passing fault; if there is a
// [*RefreshError] in its chain, its RetryAfter is honoured.
//
// The context ends after [Config.RefreshTimeout]; it has the values of the
// request that set off the refresh, not its end. Requests made with it bypass the
// authentication of the Transport that is being served, so a Refresher may use
// the very client it serves. Refresh is called by many goroutines at once, but
// for one session only by one at a time, unless a sign-in or sign-out came
// between. It must return when its context ends: until it does no other refresh
// of that session starts. A panic counts as a passing fault.
type Refresher interface {
	Refresh(ctx context.Context, old Token) (Token, error)
}

// RefresherFunc is a function that is a [Refresher].
type RefresherFunc func(ctx context.Context, old Token) (Token, error)

// Refresh calls f.
func (f RefresherFunc) Refresh(ctx context.Context, old Token) (Token, error) { return f(ctx, old) }

// A Revoker is a [Refresher] that can also tell the token server that a token is
// no longer wanted (RFC 7009). [Transport.SignOut] calls it.
type Revoker interface {
	Revoke(ctx context.Context, tok Token) error
}

var (
	errSuperseded    = errors.New("the session was signed in or out meanwhile")
	errUnfinished    = errors.New("no answer within RefreshTimeout")
	errJustRefreshed = errors.New("the refused token is itself the result of a refresh just now")
	errNoToken       = errors.New("the refresher returned neither an access token nor an error")
)

const (
	firstFailurePause   = time.Second
	longestFailurePause = 30 * time.Second
	longestRetryAfter   = 5 * time.Minute
)

// A renewing is the flight of a session: it finds out what the store holds, and
// refreshes, adopts or saves accordingly. Its goroutine goes on until the code it
// calls has returned, also after it has landed.
type renewing struct {
	*flight[*generation]
	session *session
	ctx     context.Context // detached from the request that started it
	epoch   uint64          // the session's, when it started
	sent    time.Time       // when the refresher was asked
	secrets []string        // what no error may show

	// Guarded by session.mu.
	refreshes bool        // false: it is up only to save what is owed
	needed    *generation // what its waiters can use no longer; nil: it came early
	seen      Token       // what the store was last seen to hold
	from      Token       // what it asks the refresher with
	brought   Token       // what it got for that, and is about to save
	abandoned bool        // it has landed because code that it called did not return
	told      bool        // OnEvent has heard that it failed
	lease     *lease
}

// depart starts the flight of s. s.mu is held.
func (s *session) depart(ctx context.Context, refreshes bool, needed *generation) *renewing {
	ctx = detach(ctx)
	if SessionFromContext(ctx) != s.name {
		ctx = WithSession(ctx, s.name)
	}
	f := &renewing{
		flight: newFlight[*generation](), session: s, ctx: ctx, epoch: s.epoch,
		refreshes: refreshes, needed: needed,
	}
	s.flight = f
	s.schedule()
	s.owner.begin()
	go func() { // ends when run does, which waits for nothing that has no bound
		defer s.owner.end()
		// All other code that is not ours is called through await.
		if err := contained("OnEvent", f.run); err != nil {
			f.leave()
			_ = contained("OnEvent", func() { f.fail(err) })
			f.land(nil, refreshError(s.name, err))
		}
	}()
	return f
}

// run is the inside of a flight. Once it has returned, the flight has landed.
func (f *renewing) run() {
	s := f.session
	s.mu.Lock()
	cur, gone := s.current.Load(), s.out
	s.mu.Unlock()

	var known Token // what the store is expected to hold
	if cur != nil {
		known = cur.tok
		f.hide(known)
	} else {
		tok, ok, err := f.load(f.ctx)
		switch {
		case err != nil && gone == nil:
			f.fail(err)
			return
		case gone != nil && (err != nil || s.staysOut(gone, tok, ok)):
			f.stayOut(gone)
			return
		}
		var e Event
		if gone != nil {
			e.Kind = EventAdopted // somebody has signed in elsewhere
			s.isBack(gone)
		}
		if ok && f.adopt(tok, e) {
			return
		}
		known = tok
	}

	lease, err := s.take(f.ctx)
	if err != nil {
		f.fail(err)
		return
	}
	s.mu.Lock()
	f.lease = lease
	s.mu.Unlock()
	defer f.leave()

	// More than once only if, while a token is turned down, another process stores
	// one that has expired already.
	for range 3 {
		stored, ok, err := f.load(lease.held)
		if err != nil {
			f.fail(err)
			return
		}
		if f.superseded() {
			return
		}
		if gone != nil && s.staysOut(gone, stored, ok) {
			f.stayOut(gone)
			return
		}
		from := stored
		var spent []Token // what the store may hold in place of stored
		owed := s.owes()
		if owed != nil && cur != nil && !owed.hasSpent(stored) && !stored.same(cur.tok) {
			s.paid(owed) // what the store holds by now is not ours to replace
			owed = nil
		}
		switch {
		case owed != nil && cur != nil:
			// Ours is newer than what is stored, which this process has spent; or the
			// save that seemed to fail did not.
			if owed.hasSpent(stored) && f.save(lease, cur.tok) != nil {
				s.stillOwes(owed)
				spent = owed.spent
			} else {
				s.paid(owed)
				stored = cur.tok
			}
			if f.enough(cur) {
				return
			}
			from = cur.tok
		case stored.same(known):
			if f.enough(cur) {
				return
			}
		case ok:
			if f.adopt(stored, Event{Kind: EventAdopted}) {
				return
			}
		}

		tok, err := f.ask(lease, from)
		if err == nil {
			f.keep(lease, slices.Concat(spent, []Token{stored, from}), tok)
			return
		}
		if !errors.Is(err, ErrSignInRequired) {
			f.fail(err)
			return
		}
		after, ok, loadErr := f.load(lease.held)
		if loadErr != nil {
			f.remember(from, err)
			f.fail(loadErr)
			return
		}
		if !ok || after.same(stored) || after.same(from) {
			f.refuse(lease, from, stored, ok, err)
			return
		}
		if f.adopt(after, Event{Kind: EventAdopted}) {
			return
		}
		known, cur = after, nil
	}
	f.fail(errors.New("the stored token keeps changing"))
}

// enough lands a flight that is up only to save, unless a waiter has asked for
// more meanwhile.
func (f *renewing) enough(cur *generation) bool {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.refreshes || cur == nil {
		return false
	}
	f.over()
	f.land(cur, nil)
	return true
}

// over takes the flight off the session. It reports whether what it brings still
// counts. s.mu is held.
func (f *renewing) over() bool {
	s := f.session
	if s.flight != f {
		return false
	}
	s.flight = nil
	s.schedule()
	return true
}

// superseded reports whether a sign-in or sign-out has made the flight void, in
// which case it has landed already.
func (f *renewing) superseded() bool {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	return f.session.flight != f
}

// finish tells what happened, and lands. The store is done with: a handler of the
// events that takes its time keeps nobody off the session. If it has signed in or
// out, what the flight brings is void by then.
func (f *renewing) finish(g *generation, err error, events ...Event) {
	f.leave()
	for _, e := range events {
		// Who has signed in by now, perhaps since he was told of the end, is not to
		// hear of it afterwards.
		if e.Kind != 0 && !(e.Kind == EventSignInRequired && f.isPast()) {
			f.emit(e)
		}
	}
	if f.isPast() {
		g, err = nil, errSuperseded
	}
	f.land(g, err)
}

// isPast reports whether somebody has signed in or out since the flight set out.
func (f *renewing) isPast() bool {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	return f.session.epoch != f.epoch
}

// leave gives up the lease, if the flight still has it.
func (f *renewing) leave() {
	s := f.session
	s.mu.Lock()
	lease := f.lease
	f.lease = nil
	s.mu.Unlock()
	if lease != nil {
		s.drop(lease)
	}
}

// hide keeps the secrets of tok out of the errors of this flight.
func (f *renewing) hide(tok Token) {
	f.secrets = append(f.secrets, tok.AccessToken, tok.RefreshToken)
	for _, v := range tok.Extra {
		if len(v) >= 8 { // shorter ones are no secrets, and occur in any text
			f.secrets = append(f.secrets, v)
		}
	}
}

func (f *renewing) emit(e Event) { f.session.owner.emit(f.ctx, f.session.name, e) }

// call calls code that is not ours with a context that ends after RefreshTimeout,
// and waits for it. If it does not heed its context the waiters are let go.
func call[T any](f *renewing, ctx context.Context, what string, fn func(context.Context) (T, error)) (T, error) {
	timeout := f.session.owner.timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	abandoned := make(chan struct{})
	watch := time.AfterFunc(timeout+grace, func() { f.abandon(what); close(abandoned) })
	v, err := await(what, func() (T, error) { return fn(ctx) })
	if !watch.Stop() {
		<-abandoned // whether the lease is still there is settled from here on
	}
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = errUnfinished
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return v, err
}

// abandon lets the waiters go, and the lease. The flight stays up, so that no
// other starts before this one has ended.
func (f *renewing) abandon(what string) {
	s := f.session
	err := refreshError(s.name, fmt.Errorf("%s: %w", what, errUnfinished))
	s.mu.Lock()
	f.abandoned = true
	superseded := s.flight != f
	tell := f.refreshes && !superseded
	f.told = f.told || tell
	s.mu.Unlock()
	f.leave()
	if superseded {
		return
	}
	if tell {
		failed := Event{Kind: EventRefreshFailed, Err: err, Took: s.owner.timeout + grace}
		_ = contained("OnEvent", func() { f.emit(failed) })
	}
	f.land(nil, err)
}

func (f *renewing) isAbandoned() bool {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	return f.abandoned
}

func (f *renewing) load(ctx context.Context) (Token, bool, error) {
	type found struct {
		tok Token
		ok  bool
	}
	s := f.session
	got, err := call(f, ctx, "the store's Load", func(ctx context.Context) (found, error) {
		tok, ok, err := s.owner.store.Load(ctx, s.name)
		return found{tok, ok}, err
	})
	if err == nil && f.isAbandoned() {
		err = errUnfinished // the lease is gone, and nobody waits any longer
	}
	if err == nil {
		// A sign-in that has been written but has not settled must not pass for what
		// another process stored: let it settle, and see.
		if err = s.standInLine(f.ctx); err == nil {
			s.mu.Lock()
			if s.flight != f {
				err = errSuperseded
			} else if got.ok {
				f.seen = got.tok
			}
			s.mu.Unlock()
			s.leaveLine()
		}
	}
	if err != nil || !got.ok {
		return Token{}, false, elsewhere(err)
	}
	f.hide(got.tok)
	return got.tok, true, nil
}

// adopt makes a stored token the current generation and lands, unless the token
// has expired or cannot be used.
func (f *renewing) adopt(tok Token, e Event) bool {
	s := f.session
	now := time.Now()
	tok.Expiry = expiryStored(tok, now)
	g := s.newGeneration(tok, now, e.Kind == EventAdopted)
	if g.expires != never {
		g.certain = g.expires - time.Second // how much of its lifetime has passed is not known
	}
	if s.owner.now() >= g.expires {
		return false
	}
	f.arrive(g, nil, e)
	return true
}

// arrive makes g the current generation and lands. A token that the store could
// not be given is owed to it; then spent is what the store may hold.
func (f *renewing) arrive(g *generation, spent []Token, events ...Event) bool {
	s := f.session
	s.mu.Lock()
	if s.flight != f {
		s.mu.Unlock()
		return false
	}
	s.flight = nil
	s.settle(g)
	if spent != nil {
		s.owe(spent)
	}
	s.mu.Unlock()
	f.finish(g, nil, events...)
	return true
}

// ask asks the refresher for the token after from, unless it has already said
// that there is none.
func (f *renewing) ask(lease *lease, from Token) (Token, error) {
	s := f.session
	s.mu.Lock()
	var err error
	switch {
	case s.flight != f:
		err = errSuperseded
	case s.final != nil && s.final.from.same(from):
		err = s.final.err
	case !f.refreshes && s.failure != nil && s.owner.now() < s.failure.until:
		err = s.failure.err
	default:
		f.refreshes, f.from = true, from // though it may have been up only to save
	}
	s.mu.Unlock()
	if err != nil {
		return Token{}, err
	}
	f.hide(from)
	f.emit(Event{Kind: EventRefreshStarted})
	switch { // that may have taken a while
	case f.superseded():
		return Token{}, errSuperseded
	case lease.held.Err() != nil:
		return Token{}, errLockLost
	}
	f.sent = time.Now()
	tok, err := call(f, f.ctx, "the refresher", func(ctx context.Context) (Token, error) {
		return s.owner.refresher.Refresh(s.owner.within(ctx, s.name), from.clone())
	})
	if err != nil {
		if from.isZero() && errors.Is(err, ErrSignInRequired) {
			s.owner.needsToken.Store(true)
		}
		return Token{}, err
	}
	f.hide(tok)
	if tok.AccessToken == "" {
		return Token{}, errNoToken
	}
	if tok.RefreshToken == "" {
		tok.RefreshToken = from.RefreshToken
	}
	tok.Expiry = expiryRefreshed(tok, f.sent)
	return tok, nil
}

// keep stores what a refresh brought, then lets it be used. The last of those spent
// is what it was refreshed from.
func (f *renewing) keep(lease *lease, spent []Token, tok Token) {
	s := f.session
	took := time.Since(f.sent)
	g := s.newGeneration(tok, f.sent, true)
	if spent[len(spent)-1].isZero() {
		s.owner.selfStarting.Store(true)
	}
	if f.isAbandoned() { // the lease is gone: the next flight saves it, if that is still right
		owed := Event{Kind: EventSaveOwed, Err: refreshError(s.name, errUnfinished)}
		if f.arrive(g, spent, Event{Kind: EventRefreshed, Took: took}, owed) {
			s.mu.Lock()
			if s.owed != nil && s.flight == nil {
				s.depart(f.ctx, false, nil)
			}
			s.mu.Unlock()
			return
		}
		s.discard(f.ctx, tok)
		return
	}
	s.mu.Lock()
	f.brought = tok
	s.mu.Unlock()
	err := f.save(lease, g.tok)
	if errors.Is(err, errSuperseded) {
		f.leave()
		s.discard(f.ctx, tok)
		return
	}
	events := []Event{{Kind: EventRefreshed, Took: took}}
	if err == nil {
		spent = nil
	} else {
		events = append(events, Event{Kind: EventSaveOwed, Err: refreshError(s.name, err, f.secrets...)})
	}
	// What was saved, a sign-out finds in the store.
	if !f.arrive(g, spent, events...) && err != nil {
		f.leave()
		s.discard(f.ctx, tok)
	}
}

func (f *renewing) save(lease *lease, tok Token) error {
	s := f.session
	_, err := write(s, f.ctx, lease.held, "the store's Save", func(ctx context.Context) (struct{}, error) {
		if f.superseded() {
			return struct{}{}, errSuperseded
		}
		return struct{}{}, s.owner.store.Save(ctx, s.name, tok.clone())
	}, nil)
	return err
}

// fail lands with a passing fault, and starts the pause after it. A flight that
// was up only to save has kept nobody from a token: then the save is still owed.
func (f *renewing) fail(cause error) {
	s := f.session
	err := refreshError(s.name, cause, f.secrets...)
	s.mu.Lock()
	counts := s.flight == f
	tell := f.refreshes && !f.told
	switch {
	case counts && !f.refreshes:
		if s.owed != nil {
			s.owe(s.owed.spent)
		}
		f.over()
	case counts:
		pause := firstFailurePause
		if s.failure != nil {
			pause = min(2*s.failure.pause, longestFailurePause)
		}
		jittered := pause - rand.N(pause/4)
		s.failure = &failure{
			err:   err,
			until: s.owner.now() + max(jittered, min(err.RetryAfter, longestRetryAfter)),
			pause: pause,
		}
		f.over()
	}
	s.mu.Unlock()
	var e Event
	if counts && tell {
		e = Event{Kind: EventRefreshFailed, Err: err}
		if !f.sent.IsZero() {
			e.Took = time.Since(f.sent)
		}
	}
	f.finish(nil, err, e)
}

// remember notes that from cannot be refreshed, so that it is not tried again.
func (f *renewing) remember(from Token, err error) {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == f {
		s.final = &finality{from: from, err: err}
	}
}

// refuse lands with a final answer to the refresh of from, and signs the session
// out, unless its token is still good: then that happens when it is no longer. ok
// is whether the store holds a token, stored.
func (f *renewing) refuse(lease *lease, from, stored Token, ok bool, cause error) {
	s := f.session
	err := refreshError(s.name, cause, f.secrets...)
	var failed Event
	if !f.sent.IsZero() { // else it has been told of before
		failed = Event{Kind: EventRefreshFailed, Err: err, Took: time.Since(f.sent)}
	}

	s.mu.Lock()
	if s.flight != f {
		s.mu.Unlock()
		return
	}
	g := s.current.Load()
	signedOut := from.isZero() // elsewhere, which counts at once
	if g != nil && f.needed == nil && !signedOut && s.owner.now() < g.expires {
		s.final = &finality{from: from, err: cause}
		s.failure = nil
		f.over()
		s.mu.Unlock()
		f.finish(nil, err, failed)
		return
	}
	s.mu.Unlock()

	var kept error
	if ok {
		_, kept = write(s, f.ctx, lease.held, "the store's Delete", func(ctx context.Context) (struct{}, error) {
			if f.superseded() {
				return struct{}{}, errSuperseded
			}
			return struct{}{}, s.owner.store.Delete(ctx, s.name)
		}, nil)
	}

	s.mu.Lock()
	if s.flight != f {
		s.mu.Unlock()
		return
	}
	s.flight = nil
	o := &out{err: err, kept: kept != nil, nextLook: s.owner.now() + s.owner.refreshPause, since: s.owner.now()}
	o.give(from, stored)
	if g != nil {
		o.give(g.tok)
	}
	if s.owed != nil {
		o.give(s.owed.spent...)
	}
	s.settle(nil)
	s.out = o
	s.mu.Unlock()
	var lost Event
	if g != nil || !from.isZero() {
		lost = Event{Kind: EventSignInRequired, Err: err}
	}
	f.finish(nil, err, failed, lost)
}

// stayOut lands a flight that has looked at the store of a signed-out session in
// vain.
func (f *renewing) stayOut(gone *out) {
	s := f.session
	s.lookLater(gone)
	s.mu.Lock()
	if f.over() {
		s.out = gone // it may have been back, and gone again
	}
	s.mu.Unlock()
	f.land(nil, gone.err)
}
