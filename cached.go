package reauth

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/evidence"
	"github.com/reauth-go/reauth/internal/expiry"
)

const (
	// grace is what foreign code gets beyond its deadline before it counts as code that
	// ignores its context.
	grace = 100 * time.Millisecond

	never = time.Duration(math.MaxInt64)
)

// A cachedSession is the shell around the state of one session: its lock, its lease in
// the store, and what evict needs to know. Fields that every request reads stand
// together.
type cachedSession struct {
	owner   *sessions
	name    string
	current atomic.Pointer[generation] // that of the state, for the fast path
	users   atomic.Int32               // raised with sessions.mu held, so that evict can trust a zero
	used    atomic.Bool                // since evict last passed

	mu      sync.Mutex // guards what follows; never held across foreign code
	signing *signing   // the Config.SignIn that is running or has failed just now
	listed  bool       // in idleness.pending
	stuck   bool       // whoever waited for the write that holds writing has given up
	writers int32      // which hold writing, or wait for it
	writing chan struct{}
	lease   *lease
	state   state
}

// A generation is one value of a session's token. It is never written to but for attend,
// and for epoch and number when it is settled. Fields that every request reads stand first.
type generation struct {
	attend atomic.Int64                   // state.attention, for the fast path
	watch  atomic.Pointer[evidence.Table] // who accepts it is noted here; nil: no pause is on

	value    [1]string // of the credential's header, shared by all requests; "": ask the Credential
	epoch    uint32
	number   uint16        // of the generations of this session
	fetched  bool          // by a refresh or an adoption
	claimed  bool          // the refresher was told of claims that an API asks for
	tok      Token         // Expiry filled in if it is known
	obtained time.Duration // like all times here on the clock of sessions.now
	early    time.Duration // from here on it is refreshed in the background
	urgent   time.Duration // from here on a request that can't be sent twice waits for that
	expires  time.Duration // never: not known
	certain  time.Duration // until then a refusal can't be about expiry
}

// change is the only way to write the state. f may start a flight. A flight that is up
// while f starts another epoch is void, and lands here. A pending save is a user of the
// lease that is kept for it, and has a timer.
func (s *cachedSession) change(f func(st *state, now time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	up, pending := st.flight, st.pending
	f(st, s.owner.now())
	s.publish()
	if up != nil && up.epoch != st.epoch {
		l := landing{void: true}
		if up.elsewhere {
			l.own = errOtherSignIn
		}
		up.keep(l)
	}
	if p := st.pending; p != pending {
		if p != nil && p.lease != nil && !s.stillHas(p.lease) {
			p.lease = nil
		}
		if p != nil && p.lease != nil {
			p.lease.users++
			p.lease.kept = true
			time.AfterFunc(p.next-s.owner.now(), func() { s.savePending(p) })
		}
		if pending != nil && pending.lease != nil {
			pending.lease.kept = p != nil && p.lease == pending.lease
			s.releaseLocked(pending.lease)
		}
	}
}

// publish shows the state to those who don't take the lock.
func (s *cachedSession) publish() {
	g := s.state.current
	if g != nil {
		g.attend.Store(int64(s.state.attention()))
	}
	if s.current.Load() != g {
		s.current.Store(g)
	}
	if pending := s.state.pending != nil; pending != s.listed {
		s.listed = pending
		s.owner.idle.list(s, pending)
	}
}

// inspect reads the state.
func (s *cachedSession) inspect(f func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

// look returns what f reads of the state.
func look[T any](s *cachedSession, f func(*state) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(&s.state)
}

// fresh is the fast path: it returns the current generation unless that needs
// attention.
func (s *cachedSession) fresh() *generation {
	g := s.current.Load()
	if g == nil || int64(s.owner.now()) >= g.attend.Load() {
		return nil
	}
	return g
}

// usable returns a generation that has not expired. It waits for a flight if there is
// none. A patient caller also waits out a refresh if the current token is only about to
// expire, or has been refused.
func (s *cachedSession) usable(ctx context.Context, patient bool) (*generation, error) {
	for {
		next, f := s.take(ctx, func(st *state, now time.Duration) step { return st.next(now, patient, s.owner.throttle.IsOn(now)) })
		var got landing
		switch {
		case next.err != nil:
			got.err = next.err
		case f == nil:
			return next.use, nil
		default:
			var err error
			if got, err = s.await(ctx, f, next.brief); err != nil && (next.use == nil || ctx.Err() != nil) {
				return nil, err
			} else if err != nil {
				return next.use, nil
			}
		}
		switch {
		case got.void, got.again:
			if next.brief && !got.void {
				patient = false // it has waited as long as it is to
			}
			continue // this request has not been sent: it goes on with what there is now
		case s.isNoRefresh(f, got):
			continue
		case got.gen != nil:
			return got.gen, nil
		case next.use != nil && s.isStillGood(next.use):
			return next.use, nil
		case got.own != nil:
			patient = false
			continue
		}
		return nil, got.err
	}
}

// isNoRefresh reports whether f was an Update that has left no token which requests can
// carry.
func (s *cachedSession) isNoRefresh(f *flight, got landing) bool {
	return got.gen != nil && f.update != nil && s.owner.now() >= got.gen.expires
}

// isStillGood reports whether requests may carry g: it is the current generation, or has
// the same access token, and has not expired.
func (s *cachedSession) isStillGood(g *generation) bool {
	cur := s.current.Load()
	return cur != nil && (cur == g || cur.epoch == g.epoch && g.tok.sendsSame(cur.tok)) && s.owner.now() < cur.expires
}

// await waits for a flight, if it is to be brief no longer than briefWait.
func (s *cachedSession) await(ctx context.Context, f *flight, brief bool) (landing, error) {
	began := s.owner.now()
	waiting := ctx
	if brief {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, briefWait)
		defer cancel()
	}
	got, ok := f.wait(waiting)
	s.owner.emit(ctx, s.name, Event{Kind: EventWaited, Took: s.owner.now() - began})
	if !ok {
		return landing{}, context.Cause(waiting)
	}
	return got, nil
}

// replacement is what a request that was refused goes on with.
type replacement struct {
	gen      *generation // nil: without a token
	fallback bool        // gen is the generation before the current one
	own      error       // or why its own response is the answer
	void     bool        // a sign-in or sign-out came first: the request fails
}

// replace waits for what a flight brings to a request that was refused with g. found is
// false if the rules must be asked again.
func (s *cachedSession) replace(ctx context.Context, f *flight, g *generation) (r replacement, found bool, err error) {
	got, err := s.await(ctx, f, false)
	switch {
	case err != nil:
		return r, true, err
	case got.own != nil:
		return replacement{own: got.own}, true, nil
	case got.void:
		r.void = true
		return r, true, look(s, func(st *state) error {
			if st.signedOut != nil {
				return st.signedOut.err
			}
			return &RefreshError{Session: s.name, Err: errMeanwhile}
		})
	case got.again, s.isNoRefresh(f, got), got.gen != nil && g.tok.sendsSame(got.gen.tok):
		return r, false, nil
	case got.gen != nil && !g.tok.sameSignIn(got.gen.tok):
		return replacement{own: errOtherSignIn}, true, nil
	}
	return replacement{gen: got.gen}, true, got.err
}

// take asks a rule what to do, and starts the flight that it asks for. It returns the
// flight to wait for, if any.
func (s *cachedSession) take(ctx context.Context, rule func(*state, time.Duration) step) (next step, f *flight) {
	s.change(func(st *state, now time.Duration) {
		next = rule(st, now)
		if next.start != startNothing {
			s.depart(ctx, st, next.start, next.needed, nil)
		}
		if next.wait {
			f = st.flight
		}
	})
	return next, f
}

// refused decides what to do about an attempt that was refused.
func (s *cachedSession) refused(ctx context.Context, a attempt) (step, *flight) {
	next, f := s.take(ctx, func(st *state, now time.Duration) step {
		next := st.refused(now, a, s.owner.refreshPause)
		if cur := st.current; next.own == errOtherSignIn && cur != nil && now < cur.expires &&
			s.signing.brought(cur.tok.SignInID) && s.signing.epoch == a.gen.epoch {
			return step{use: cur} // as those whose refusal came before the end of Config.SignIn
		}
		return next
	})
	if next.err != nil {
		next.err = refreshError(s.name, next.err)
	}
	return next, f
}

// judge takes note of how the API answered a replay.
func (s *cachedSession) judge(ctx context.Context, a attempt, refused bool) {
	s.take(ctx, func(st *state, now time.Duration) step {
		return st.judge(now, a, refused, s.owner.refreshPause)
	})
}

// accepted takes note that the API accepted a token, while a pause after its refresh is
// on.
func (s *cachedSession) accepted(g *generation, table *evidence.Table, req *http.Request) {
	at := evidence.PlaceOf(req)
	table.Accept(at.At, g.number)
	table.Accept(at.Origin, g.number)
	if s.owner.now() < g.obtained+s.owner.refreshPause {
		return
	}
	s.change(func(st *state, now time.Duration) {
		if st.pauseIsOver(now, g, s.owner.refreshPause) {
			g.watch.Store(nil)
			if st.current == g {
				st.evidence = nil
			}
		}
	})
}

// dropPending forgets a pending save: it was done, or isn't needed any more.
func (s *cachedSession) dropPending(p *pendingSave) {
	s.change(func(st *state, _ time.Duration) {
		// Its timer may have put another in its place meanwhile.
		if st.pending != nil && p != nil && st.pending.tok.is(p.tok) {
			st.pending = nil
		}
	})
}

// savePending starts a flight that tries again to save p, whose lease is kept for that.
// It gives the lease back once the refresh token has expired: then it protects nothing.
func (s *cachedSession) savePending(p *pendingSave) {
	s.change(func(st *state, now time.Duration) {
		if st.pending != p {
			return
		}
		expired := !p.tok.RefreshExpiry.IsZero() && time.Now().After(p.tok.RefreshExpiry)
		switch {
		case expired:
			st.leavePending(now, p.tok, p.stored, nil, false, s.owner.refreshPause)
			return
		case st.flight != nil: // which tries itself, or sees to it at its end
			return
		}
		s.depart(context.Background(), st, startSaving, nil, nil)
	})
}

// holds is signedOut.holds. A token that this process has spent is not a sign-in either. A
// new one ends the sign-out. If it can't be loaded or refreshed, that is a temporary
// failure.
func (s *cachedSession) holds(o *signedOut, tok Token, ok bool) (held bool) {
	s.change(func(st *state, _ time.Duration) {
		_, spent := st.recalls(tok)
		held = o.holds(tok, ok) || spent
		if !held && st.signedOut == o {
			st.isBack = true
		}
	})
	return held
}

// lookLater sets when the store is asked again for a session that is signed out.
func (s *cachedSession) lookLater(o *signedOut) {
	s.change(func(_ *state, now time.Duration) { o.nextLook = now + s.owner.refreshPause })
}

// newGeneration makes a generation of a token whose Expiry is settled. counted is the
// time from which Expiry is known to count.
func (s *cachedSession) newGeneration(tok Token, counted time.Time, fetched bool) *generation {
	m := s.owner
	now := m.now()
	g := &generation{tok: tok.clone(), obtained: now, early: never, urgent: never, expires: never, certain: never, fetched: fetched}
	at := func(t time.Time) time.Duration { return counted.Sub(m.base) + t.Sub(counted) }
	switch {
	case tok.AccessToken == "", tok.RefreshToken != "" && !ascii.IsFieldValue(tok.AccessToken):
		g.early, g.urgent, g.expires, g.certain = now, now, now, now // there is nothing to send before a refresh
	case !tok.Expiry.IsZero():
		lifetime := max(tok.Expiry.Sub(counted), 0)
		g.expires = counted.Sub(m.base) + lifetime
		// Servers count in whole seconds: the last one of the stated lifetime may be
		// missing.
		g.certain = g.expires - min(time.Second, lifetime/2)
		window := expiry.EarlyWindow(lifetime, m.early)
		g.urgent = g.expires - min(window, lifetime/10)
		g.early = g.expires - jittered(window)
	}
	if m.early >= 0 && tok.AccessToken != "" {
		if t := tok.RefreshAfter; !t.IsZero() && at(t) < g.expires {
			spread := min(g.expires-at(t), max(t.Sub(counted), 0)) / 5
			g.early = at(t) + spread - jittered(spread)
		}
		if t := tok.RefreshExpiry; !t.IsZero() {
			window := expiry.EarlyWindow(max(t.Sub(counted), 0), m.early)
			g.early = min(g.early, at(t)-jittered(window))
		}
	}
	if tok.AccessToken != "" && m.headerValue != nil {
		// A token that no header can carry is kept all the same, because the one before
		// it is spent. Requests then fail with the Credential's error.
		v, err := await("HeaderValue", func() (string, error) { return m.headerValue(tok) })
		if err != nil {
			v = ""
		}
		g.value[0] = v
		if strings.HasSuffix(v, tok.AccessToken) {
			g.tok.AccessToken = v[len(v)-len(tok.AccessToken):] // one string in memory for both
		}
	}
	return g
}

// jittered returns a window shortened a little, so that clients whose tokens are the same
// age don't refresh in the same second. It is never longer: a window is the earliest time
// for a refresh.
func jittered(window time.Duration) time.Duration {
	if jitter := window / 5; jitter > 0 {
		return window - rand.N(jitter)
	}
	return window
}
