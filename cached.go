package reauth

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
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
	listed  bool       // in idleness.pending
	writers int32      // which hold writing, or wait for it
	writing chan struct{}
	lease   *lease
	state   state
}

// A generation is one value of a session's token. It is never written to but for attend,
// and for epoch and number when it is settled. Fields that every request reads stand first.
type generation struct {
	attend atomic.Int64 // state.attention, for the fast path

	value    [1]string // of the credential's header, shared by all requests; "": ask the Credential
	epoch    uint64
	number   uint32        // of the generations of this session
	tok      Token         // Expiry filled in if it is known
	obtained time.Duration // like all times here on the clock of sessions.now
	early    time.Duration // from here on it is refreshed in the background
	expires  time.Duration // never: not known
	certain  time.Duration // until then a refusal can't be about expiry
	fetched  bool          // by a refresh or an adoption
}

// change is the only way to write the state. f may start a flight. A flight that is up
// while f starts another epoch is void, and lands here.
func (s *cachedSession) change(f func(st *state, now time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.state.flight
	f(&s.state, s.owner.now())
	s.publish()
	if up != nil && up.epoch != s.state.epoch {
		up.keep(landing{void: true})
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
// expire.
func (s *cachedSession) usable(ctx context.Context, patient bool) (*generation, error) {
	for {
		next, f := s.take(ctx, func(st *state, now time.Duration) step { return st.next(now, patient) })
		switch {
		case next.err != nil:
			return nil, next.err
		case f == nil:
			return next.use, nil
		}
		got, ok := f.wait(ctx)
		switch {
		case got.void:
			continue // this request has not been sent: it goes on with the new sign-in
		case ok && got.err == nil:
			return got.gen, nil
		case next.use != nil && ctx.Err() == nil && s.owner.now() < next.use.expires:
			return next.use, nil
		case !ok:
			return nil, context.Cause(ctx)
		}
		return nil, got.err
	}
}

// refused decides what to do about an attempt that carried g and was refused.
func (s *cachedSession) refused(ctx context.Context, g *generation) (step, *flight) {
	next, f := s.take(ctx, func(st *state, now time.Duration) step {
		return st.refused(now, g, s.owner.refreshPause)
	})
	if next.err != nil {
		next.err = refreshError(s.name, next.err)
	}
	return next, f
}

// take asks a rule what to do, and starts the flight that it asks for. It returns the
// flight to wait for, if any.
func (s *cachedSession) take(ctx context.Context, rule func(*state, time.Duration) step) (next step, f *flight) {
	s.change(func(st *state, now time.Duration) {
		next = rule(st, now)
		if next.start != startNothing {
			s.depart(ctx, st, next.start, next.needed)
		}
		if next.wait {
			f = st.flight
		}
	})
	return next, f
}

// wait returns what a flight brings to a request that was refused.
func (s *cachedSession) wait(ctx context.Context, f *flight) (*generation, error) {
	got, ok := f.wait(ctx)
	switch {
	case !ok:
		return nil, context.Cause(ctx)
	case got.void:
		return nil, look(s, func(st *state) error {
			if st.signedOut != nil {
				return st.signedOut.err
			}
			return &RefreshError{Session: s.name, Err: errMeanwhile}
		})
	}
	return got.gen, got.err
}

// judge takes note of how the API answered a replay that carried g.
func (s *cachedSession) judge(g *generation, refused bool) {
	s.change(func(st *state, _ time.Duration) { st.judge(g, refused) })
}

// saved and notSaved are the two ends of another try at a pending save.
func (s *cachedSession) saved(p *pendingSave) {
	s.change(func(st *state, _ time.Duration) {
		if st.pending == p {
			st.pending = nil
		}
	})
}

func (s *cachedSession) notSaved(p *pendingSave) {
	s.change(func(st *state, now time.Duration) {
		if st.pending == p {
			st.leavePending(now, p.spent, s.owner.refreshPause)
		}
	})
}

// holds is signedOut.holds.
func (s *cachedSession) holds(o *signedOut, tok Token, ok bool) (held bool) {
	s.change(func(*state, time.Duration) { held = o.holds(tok, ok) })
	return held
}

// isBack ends the sign-out o, because the store shows a new sign-in. If that can't be
// loaded or refreshed, it is a temporary failure.
func (s *cachedSession) isBack(o *signedOut) {
	s.change(func(st *state, _ time.Duration) {
		if st.signedOut == o {
			st.signedOut, st.isBack = nil, true
		}
	})
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
	g := &generation{tok: tok.clone(), obtained: now, early: never, expires: never, certain: never, fetched: fetched}
	switch {
	case tok.AccessToken == "":
		g.early, g.expires, g.certain = now, now, now // there is nothing to send before a refresh
	case !tok.Expiry.IsZero():
		lifetime := max(tok.Expiry.Sub(counted), 0)
		g.expires = counted.Sub(m.base) + lifetime
		// Servers count in whole seconds: the last one of the stated lifetime may be
		// missing.
		g.certain = g.expires - min(time.Second, lifetime/2)
		window := expiry.EarlyWindow(lifetime, m.early)
		// Move the threshold a little, so that clients whose tokens are the same age
		// don't refresh in the same second. Only towards the expiry: the window is the
		// earliest time for a refresh.
		if jitter := window / 5; jitter > 0 {
			window -= rand.N(jitter)
		}
		g.early = g.expires - window
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

// methodError is what a public method returns for err. Only the end of its caller's own
// context shows as a context error.
func (s *cachedSession) methodError(ctx context.Context, method string, err error, tok Token) error {
	if err == nil {
		return nil
	}
	secrets := tok.secrets()
	if g := s.current.Load(); g != nil {
		secrets = append(secrets, g.tok.secrets()...)
	}
	if ctx.Err() == nil || redact.Text(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	what := "reauth: " + method
	if s.name != "" {
		what += fmt.Sprintf(": session %q", s.name)
	}
	return wrap(what, err)
}
