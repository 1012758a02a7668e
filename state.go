package reauth

import (
	"slices"
	"time"

	"github.com/reauth-go/reauth/internal/evidence"
)

// A state is what a session knows, as plain data: no lock, no clock, no I/O. Its
// methods are the rules. They take the time, on the clock of sessions.now, and return
// what to do next. Only cachedSession.change calls those that write.
type state struct {
	epoch     uint32          // counts the sign-ins and sign-outs that this process knows of
	signIn    uint32          // the epoch that the last sign-in began
	isBack    bool            // though signedOut, the store has shown the sign-in of another process, which is not loaded yet
	stale     bool            // the store may hold another token than current, and no flight looks; see Transport.Forget
	settled   uint16          // how many generations there have been
	futile    uint8           // how many refreshes in a row brought back what was refused
	look      time.Duration   // with stale: not before
	current   *generation     // nil: none is known
	previous  *generation     // the one before, while it is good and current may not be known everywhere yet
	signedOut *signedOut      // why there is no current generation; nil: the store was not asked yet
	flight    *flight         // the flight that is up
	backoff   *backoff        // after a flight that failed
	pending   *pendingSave    // a token that has not reached the store
	rejected  *rejection      // the current generation can't be refreshed any more
	memory    *memory         // tokens from before current; nil: none
	evidence  *evidence.Table // who has accepted the current generation; nil: no pause is on
	pauses    evidence.Pauses // endpoints where a refresh didn't help
}

// A backoff is the pause after a flight that failed. A nil one is over.
type backoff struct {
	err   *RefreshError
	until time.Duration // callers get err at once until then
	pause time.Duration // the next failure doubles it
}

const (
	firstBackoff   = time.Second
	longestBackoff = 30 * time.Second
)

func (b *backoff) active(now time.Duration) bool { return b != nil && now < b.until }

// A rejection is the final answer to the refresh of a token that is still good for
// requests.
type rejection struct {
	from Token
	err  error
	kept bool          // the token server had no part in it: there was nothing to refresh with
	look time.Duration // with kept: when a refusal looks at the store again
}

// A signedOut is the state of a session that has no token and needs a sign-in.
type signedOut struct {
	err         *RefreshError // what requests get
	byCaller    bool          // SignOut was called; false: the token server refused to refresh
	given       []Token       // the tokens given up: none of them is a new sign-in
	givenUnseen bool          // the store couldn't be read, so the first token it shows counts as given up too
	undeleted   bool          // the store may still hold one of given
	nextLook    time.Duration // the store isn't asked again before
	since       time.Duration
}

// giveUp adds tokens to those given up.
func (o *signedOut) giveUp(toks ...Token) {
	for _, tok := range toks {
		if !tok.isZero() && !slices.ContainsFunc(o.given, tok.is) {
			o.given = append(o.given, tok.clone())
		}
	}
}

// holds reports whether the session is still signed out though the store shows tok: there
// is none, if ok is false, or it is one of those given up. After a SignOut that is any
// token of the same sign-in, because another process may have refreshed it meanwhile.
func (o *signedOut) holds(tok Token, ok bool) bool {
	if o.givenUnseen {
		o.givenUnseen = false
		if ok {
			o.giveUp(tok)
		}
	}
	if !ok {
		o.undeleted = false
	}
	return !ok || slices.ContainsFunc(o.given, func(g Token) bool {
		return g.is(tok) || o.byCaller && g.SignInID != "" && g.SignInID == tok.SignInID
	})
}

// A pendingSave is a token that this process was given and that the store has not
// accepted. The store holds one that was spent for it, unless somebody else has written.
type pendingSave struct {
	tok    Token
	stored Token         // what the store was last seen to hold in its place
	guard  bool          // the store holds a spent token, so the lease is kept while this is pending
	lease  *lease        // nil: it was lost, or isn't kept
	tries  int           // with that lease
	next   time.Duration // when to try again
	since  time.Duration
	report time.Duration // when to report again that it is pending
}

// reportPending is how often a pending save is reported.
const reportPending = 15 * time.Minute

// stretch returns the pause, doubled for each refresh in a row that brought back the token
// that was refused.
func (st *state) stretch(pause time.Duration) time.Duration {
	if pause <= 0 {
		return 0
	}
	first := pause
	for range st.futile {
		pause = evidence.Doubled(pause, first)
	}
	return pause
}

// A step is what a caller does next. Without use, wait and err the caller keeps the
// response that it has.
type step struct {
	use      *generation   // send the request with this one
	fallback bool          // use is the generation before the current one
	wait     bool          // for the flight; if use is set too, that one is good meanwhile
	brief    bool          // with wait and use: no longer than briefWait
	err      *RefreshError // fail with this error
	start    start         // first start a flight
	needed   *generation   // for start: the generation that its waiters can't use any more; nil if it is an early one
	own      error         // why the caller keeps the response that refused
	held     time.Duration // with own: how long such a refusal won't start a refresh
}

// A start says why a flight is started.
type start int

const (
	startNothing  start = iota
	startSaving         // only to save what is pending
	startChecking       // only to see what is stored
	startRefreshing
)

// briefWait bounds the waits for what a request could do without.
const briefWait = time.Second

// next returns what a request does that has not been sent. One that is patient waits
// for the next generation even if the current one is only about to expire. While the token
// server is throttled, an early refresh is put off.
func (st *state) next(now time.Duration, patient, throttled bool) step {
	g := st.current
	switch {
	case g == nil:
		return st.find(now)
	case now >= g.expires:
		return st.replace(now)
	}
	next := step{use: g}
	if st.flight == nil {
		switch {
		case st.stale && now >= st.look:
			next.start = startChecking
		case now >= g.early && !throttled && st.rejected == nil && !st.backoff.active(now):
			next.start = startRefreshing
		case st.pending != nil && st.pending.lease == nil && now >= st.pending.next:
			next.start = startSaving
		}
	}
	switch {
	case st.isChecking(now):
		next.wait, next.brief = true, true
	case patient && now >= g.urgent:
		next.wait = next.start == startRefreshing || st.isRefreshing()
	case patient && st.isRefreshing() && st.flight.needed == g:
		next.wait, next.brief = true, true // a refusal has shown that g won't do
	}
	return next
}

// find returns how to get a generation where there is none.
func (st *state) find(now time.Duration) step {
	switch {
	case st.flight != nil:
		return step{wait: true}
	case st.backoff.active(now):
		return step{err: st.backoff.err}
	case st.signedOut != nil && !st.isBack && now < st.signedOut.nextLook:
		return step{err: st.signedOut.err}
	}
	return step{wait: true, start: startRefreshing}
}

// replace returns how to get another generation than the current one, which has
// expired or was refused.
func (st *state) replace(now time.Duration) step {
	switch {
	case !st.isRefreshing() && st.backoff.active(now):
		return step{err: st.backoff.err}
	case st.flight == nil:
		return step{wait: true, start: startRefreshing, needed: st.current}
	}
	st.flight.refreshes, st.flight.needed = true, st.current
	return step{wait: true}
}

// isRefreshing reports whether a flight is up, and not only to save.
func (st *state) isRefreshing() bool { return st.flight != nil && st.flight.refreshes }

// isChecking reports whether the store may hold another token than the current one, as
// Forget has said, and has not been asked since.
func (st *state) isChecking(now time.Duration) bool {
	return st.stale && now >= st.look || st.flight != nil && st.flight.checks
}

// attention returns when a request must look at more than the current generation,
// which is not nil: that one expires or should be refreshed, or a save is due.
func (st *state) attention() time.Duration {
	g := st.current
	at := g.expires
	if st.stale {
		at = min(at, st.look)
	}
	switch {
	case st.flight != nil && st.flight.checks:
		return 0
	case st.flight != nil:
		return at
	}
	if st.rejected == nil {
		early := g.early
		if st.backoff != nil {
			early = max(early, st.backoff.until)
		}
		at = min(at, early)
	}
	if st.pending != nil && st.pending.lease == nil {
		at = min(at, st.pending.next)
	}
	return at
}

// settle makes g the current generation of this epoch.
func (st *state) settle(g *generation) {
	if before := st.current; before != nil && before != g {
		st.remember(before.tok, false)
	}
	if g != nil {
		st.settled++
		g.epoch, g.number = st.epoch, st.settled
		st.signedOut = nil
		if g.fetched {
			if st.evidence == nil {
				st.evidence = new(evidence.Table)
			}
			g.watch.Store(st.evidence)
		}
	}
	st.backoff, st.rejected, st.previous, st.isBack = nil, nil, nil, false
	st.current = g
}

// renew makes g, which a refresh brought, the current generation. An early refresh
// leaves the one before good for a while.
func (st *state) renew(g *generation, early bool) {
	before := st.current
	st.settle(g)
	if early && before != nil && !before.tok.sendsSame(g.tok) {
		st.previous = before
	}
}

// remember notes that this process has had tok or, if spent is true, has exchanged it for
// the next.
func (st *state) remember(tok Token, spent bool) {
	if st.memory == nil {
		st.memory = new(memory)
	}
	st.memory.add(tok, spent)
}

// recalls reports whether this process has had tok, and whether it has exchanged it for
// the next.
func (st *state) recalls(tok Token) (had, spent bool) {
	had = st.current != nil && st.current.tok.same(tok) && st.current.tok.sameSignIn(tok)
	if st.memory == nil {
		return had, false
	}
	i := st.memory.find(tok)
	return had || i >= 0, i >= 0 && st.memory.spent&(1<<i) != 0
}

// leavePending notes that tok has not reached the store, which holds stored. If guard is
// true the lease l, unless nil, is kept until it does. A pause of 0 would make Wait try
// again and again.
func (st *state) leavePending(now time.Duration, tok, stored Token, l *lease, guard bool, pause time.Duration) {
	p := &pendingSave{tok: tok.clone(), stored: stored.clone(), guard: guard, since: now, report: now + reportPending}
	if before := st.pending; before != nil {
		p.since, p.report, p.tries = before.since, before.report, before.tries
	}
	pause = max(pause, grace)
	if guard && l != nil && l.ready != nil { // other processes wait, so try soon
		p.lease = l
		pause = min(pause, grace<<min(p.tries, 10))
		p.tries++
	}
	p.next = now + pause
	st.pending = p
}

// turn starts the next epoch with g or, if that is nil, signed out as o says. A flight
// that is up is void from here on.
func (st *state) turn(g *generation, o *signedOut) {
	st.epoch++
	st.flight = nil
	st.futile, st.pauses, st.evidence = 0, nil, nil
	st.settle(g)
	st.signedOut = o
	if g != nil {
		st.signIn = st.epoch
	}
}

// giveUp starts the next epoch signed out as o says. It adds to o the tokens that the
// store may hold and that are not another sign-in. What is pending stays so until the
// store is known to hold nothing: another process could spend what is stored.
func (st *state) giveUp(o *signedOut) {
	switch {
	case st.current != nil:
		o.giveUp(st.current.tok)
		o.givenUnseen = false
	case st.signedOut != nil: // by an earlier sign-out, which may not have reached the store yet
		o.giveUp(st.signedOut.given...)
		o.givenUnseen = o.givenUnseen && st.signedOut.givenUnseen
	}
	if st.pending != nil {
		o.giveUp(st.pending.tok)
	}
	if st.rejected != nil {
		o.giveUp(st.rejected.from)
	}
	if st.flight != nil {
		o.giveUp(st.flight.seen, st.flight.from, st.flight.brought)
	}
	st.turn(nil, o)
}

// failed starts the backoff after a flight that failed with err. spread, from 0 to 1,
// shortens it by up to a quarter, so that processes don't try again all at once.
func (st *state) failed(now time.Duration, err *RefreshError, spread float64) {
	pause := firstBackoff
	if st.backoff != nil {
		pause = min(2*st.backoff.pause, longestBackoff)
	}
	jittered := pause - time.Duration(spread*float64(pause/4))
	if err.RetryAfter <= 0 {
		err.RetryAfter = jittered // so that its caller knows when to try again
	}
	st.backoff = &backoff{
		err:   err,
		until: now + max(jittered, err.pause()),
		pause: pause,
	}
}

// A startKind is what is known of how a refresher starts a session: it may refuse the
// zero Token (needsToken), and it may have made a token from it (selfStarting).
type startKind struct{ needsToken, selfStarting bool }

// rememberSignOut is how long a session that is signed out stays cached while it isn't
// known whether the refresher needs a token to start from.
const rememberSignOut = 24 * time.Hour

// forgettable reports whether nothing is lost if the state is forgotten: the next
// request finds the rest in the store, and can't cause a second refresh.
func (st *state) forgettable(now time.Duration, pause time.Duration, refresher startKind) bool {
	g, o := st.current, st.signedOut
	switch {
	case st.flight != nil, st.pending != nil, st.backoff.active(now):
		return false
	case o != nil && (o.undeleted || refresher.selfStarting || now < o.nextLook):
		return false
	case o != nil && !refresher.needsToken && now < o.since+rememberSignOut:
		return false
	case g != nil && g.fetched && (now < g.obtained+st.stretch(pause) || st.pauses.Matter(now, g.obtained, pause)):
		return false
	case st.rejected != nil && g != nil && g.early != never && now < g.expires:
		return false
	}
	return true
}
