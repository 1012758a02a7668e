package reauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSessions is how many sessions stay cached; see sessions.
	maxSessions = 1 << 17

	// grace is what code that is not ours gets beyond its deadline before it is
	// taken for code that ignores its context.
	grace = 100 * time.Millisecond

	// rememberSignOut is how long a session that is signed out stays cached while
	// it is not known whether the refresher needs a token to start from.
	rememberSignOut = 24 * time.Hour

	never = time.Duration(math.MaxInt64)
)

// sessions caches the sessions of a Transport, by name.
//
// At most limit of them stay. A new one beyond that takes the place of one that
// has not been used for a while (second chance), but never of one whose loss
// would show: one that a request or a method call is using, that has a flight up,
// a save or a delete owed, or a pause that has not run out. What remains to be
// known of any other session stands in the store, so that forgetting it costs one
// Load and can cause no second refresh.
type sessions struct {
	refresher    Refresher
	store        Store
	locker       Locker                      // the store, if it locks
	value        func(Token) (string, error) // of the header that carries a token; nil: ask the Credential
	fits         func(Token) error           // whether requests can carry a token; may be nil
	early        time.Duration
	timeout      time.Duration
	refreshPause time.Duration
	onEvent      func(context.Context, Event)
	within       func(ctx context.Context, session string) context.Context // marks a refresher's context

	base  time.Time // what now counts from
	limit int
	only  *session // the session "", which is never evicted

	mu     sync.RWMutex
	byName map[string]*session
	ring   []*session // the values of byName, in the order in which hand looks at them
	hand   int

	// selfStarting is set once the refresher has answered the zero Token, and
	// needsToken once it has turned it down. A session that is signed out can be
	// forgotten only if that would not sign it in again.
	selfStarting, needsToken atomic.Bool

	idle idleness
}

// A session is what this process knows of one session. The fields that most
// sessions do not need at rest are pointers, and those that every request reads
// stand together.
type session struct {
	owner   *sessions
	name    string
	current atomic.Pointer[generation] // written with mu held; nil: none known
	users   atomic.Int32               // raised with sessions.mu held, so that evict can trust a zero
	used    atomic.Bool                // since hand last passed

	mu        sync.Mutex // guards what follows and is never held across code that is not ours
	epoch     uint64     // counts the sign-ins and sign-outs of this process
	flight    *renewing  // the flight that is up
	lease     *lease
	failure   *failure      // of the last flight, if it failed
	out       *out          // why there is no current generation
	owed      *owedSave     // the current generation has not reached the store
	final     *finality     // the current generation can be refreshed no more
	settled   uint32        // how many generations there have been
	judged    uint32        // the number of the one that was judged last
	unhelpful uint8         // how many times in a row a refresh did not help
	writers   int32         // who write to the store, or stand in line for it
	slot      chan struct{} // theirs, if there are any; see standInLine
}

// A generation is one value of a session's token. It is never written to but
// for attend. What every request reads stands first.
type generation struct {
	// attend is when a request must look closer than at this generation alone: it
	// ends, it should be refreshed, or its save is owed.
	attend atomic.Int64

	value    [1]string // of the credential's header, shared by all requests; "": ask the Credential
	epoch    uint64
	number   uint32        // of the generations of this session
	tok      Token         // Expiry filled in where it is known
	obtained time.Duration // like all times here, since sessions.base, on the monotonic clock
	early    time.Duration // from here on it is refreshed in the background
	expires  time.Duration // never: not known
	certain  time.Duration // until then a refusal cannot be about expiry
	fetched  bool          // by a refresh or an adoption
}

type failure struct {
	err   *RefreshError
	until time.Duration // callers get err at once until then
	pause time.Duration // what the next failure doubles
}

type out struct {
	err      *RefreshError
	given    []Token       // the tokens that were given up
	any      bool          // the store could not be asked which token that is: the first it shows
	kept     bool          // the store may still hold it
	nextLook time.Duration // when the store may be asked again
	since    time.Duration
}

// give adds tokens that were given up.
func (o *out) give(toks ...Token) {
	for _, tok := range toks {
		if !slices.ContainsFunc(o.given, tok.same) {
			o.given = append(o.given, tok.clone())
		}
	}
}

// An owedSave is the save of the current generation, which the store has not taken.
// What it holds meanwhile, if nobody else has written, is a token that this process
// has spent: the one it was last seen to hold, or one whose Save seemed to fail.
type owedSave struct {
	spent []Token       // the latest of these last
	next  time.Duration // when to try again
}

// mostSpent bounds what is kept for the time that a store fails. A Save is not
// expected to take effect so many refreshes later.
const mostSpent = 8

func (o *owedSave) hasSpent(tok Token) bool { return slices.ContainsFunc(o.spent, tok.same) }

type finality struct {
	from Token
	err  error
}

func newSession(owner *sessions, name string) *session {
	return &session{owner: owner, name: name}
}

func (m *sessions) now() time.Duration { return time.Since(m.base) }

// acquire returns the session called name, which stays cached until release.
func (m *sessions) acquire(name string) *session {
	if name == "" {
		return m.only
	}
	m.mu.RLock()
	s := m.byName[name]
	if s != nil {
		s.users.Add(1)
	}
	m.mu.RUnlock()
	if s == nil {
		s = m.add(name)
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	return s
}

func (s *session) release() {
	if s != s.owner.only {
		s.users.Add(-1)
	}
}

func (m *sessions) add(name string) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.byName[name]; s != nil {
		s.users.Add(1)
		return s
	}
	m.evict()
	s := newSession(m, name)
	s.users.Store(1)
	m.byName[name] = s
	m.ring = append(m.ring, s)
	return s
}

// evict makes room for one session. It looks at a few candidates only: what it
// cannot evict today the next call passes by.
func (m *sessions) evict() {
	const looks = 16
	for left := looks; left > 0 && len(m.ring) >= m.limit; left-- {
		if m.hand >= len(m.ring) {
			m.hand = 0
		}
		// Where all have been used of late, the last to be looked at goes.
		s := m.ring[m.hand]
		if used := s.used.Swap(false) && left > 1; used || !s.forgettable() {
			m.hand++
			continue
		}
		last := len(m.ring) - 1
		m.ring[m.hand] = m.ring[last]
		m.ring[last] = nil
		m.ring = m.ring[:last]
		delete(m.byName, s.name)
	}
}

// forgettable reports whether nothing would be lost with s.
func (s *session) forgettable() bool {
	if s.users.Load() != 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.owner.now()
	g := s.current.Load()
	switch {
	case s.flight != nil, s.lease != nil, s.owed != nil, s.writers != 0:
		return false
	case s.failure != nil && now < s.failure.until:
		return false
	case s.out != nil && (s.out.kept || s.owner.selfStarting.Load() || now < s.out.nextLook):
		return false
	case s.out != nil && !s.owner.needsToken.Load() && now < s.out.since+rememberSignOut:
		return false
	case g != nil && g.fetched && now < g.obtained+s.pause():
		return false
	case s.final != nil && g != nil && g.early != never && now < g.expires:
		return false
	}
	return true
}

// newGeneration makes a generation of a token whose Expiry is settled. counted
// is the time at which Expiry was last known to be counted from.
func (s *session) newGeneration(tok Token, counted time.Time, fetched bool) *generation {
	m := s.owner
	now := m.now()
	g := &generation{tok: tok.clone(), obtained: now, early: never, expires: never, certain: never, fetched: fetched}
	switch {
	case tok.AccessToken == "":
		g.early, g.expires, g.certain = now, now, now // there is nothing to send before a refresh
	case !tok.Expiry.IsZero():
		lifetime := max(tok.Expiry.Sub(counted), 0)
		g.expires = counted.Sub(m.base) + lifetime
		// Servers count in whole seconds: the last one that a token is said to live
		// may be missing.
		g.certain = g.expires - min(time.Second, lifetime/2)
		window := earlyWindow(lifetime, m.early)
		// Each generation moves its threshold a little, lest all who hold a token
		// of the same age refresh in the same second. Only towards the end: a
		// refresh is not to come more often than the window says.
		if jitter := window / 5; jitter > 0 {
			window -= rand.N(jitter)
		}
		g.early = g.expires - window
	}
	if tok.AccessToken != "" && m.value != nil {
		// A token that no header can carry is kept all the same: the one before it is
		// spent. Requests then fail by the Credential's error.
		v, _ := m.value(tok)
		g.value[0] = v
		if strings.HasSuffix(v, tok.AccessToken) {
			g.tok.AccessToken = v[len(v)-len(tok.AccessToken):] // so that there is one string for both
		}
	}
	return g
}

// settle makes g the current generation, of the present epoch. s.mu is held.
func (s *session) settle(g *generation) {
	if g != nil {
		s.settled++
		g.epoch, g.number = s.epoch, s.settled
		s.out = nil
	}
	s.failure, s.final, s.owed = nil, nil, nil
	s.current.Store(g)
	s.owner.idle.owes(s, false)
	s.schedule()
}

// owe remembers that the current generation has not reached the store, which may
// hold one of those that were spent for it. s.mu is held.
func (s *session) owe(spent []Token) {
	// Without a pause Wait would try without end.
	pause := max(s.owner.refreshPause, grace)
	s.owed = &owedSave{spent: spent[max(0, len(spent)-mostSpent):], next: s.owner.now() + pause}
	s.owner.idle.owes(s, true)
	s.schedule()
}

// owes returns the save that is owed, if any.
func (s *session) owes() *owedSave {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed
}

// paid and stillOwes are the two ends of another try at the save that is owed.
func (s *session) paid(owed *owedSave) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed == owed {
		s.owed = nil
		s.owner.idle.owes(s, false)
		s.schedule()
	}
}

func (s *session) stillOwes(owed *owedSave) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed == owed {
		s.owe(owed.spent)
	}
}

// staysOut reports whether the session is still signed out though the store shows
// tok: that is none, if ok is false, or what was given up.
func (s *session) staysOut(o *out, tok Token, ok bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.any {
		o.any = false
		if ok {
			o.give(tok)
		}
	}
	if !ok {
		o.kept = false
	}
	return !ok || slices.ContainsFunc(o.given, tok.same)
}

// isBack ends the sign-out o, since the store holds what was not given up then: if
// that can neither be refreshed nor looked at again for a while, it is a fault that
// passes.
func (s *session) isBack(o *out) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == o {
		s.out = nil
	}
}

// lookLater sets when the store is asked again for a session that is signed out.
func (s *session) lookLater(o *out) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.nextLook = s.owner.now() + s.owner.refreshPause
}

// schedule sets when the current generation needs attention next. s.mu is held.
func (s *session) schedule() {
	g := s.current.Load()
	if g == nil {
		return
	}
	at := g.expires
	if s.flight == nil {
		if s.final == nil {
			early := g.early
			if s.failure != nil {
				early = max(early, s.failure.until)
			}
			at = min(at, early)
		}
		if s.owed != nil {
			at = min(at, s.owed.next)
		}
	}
	g.attend.Store(int64(at))
}

// pause is how long a token that a refresh has just brought is not refreshed
// again because it is refused. s.mu is held.
func (s *session) pause() time.Duration {
	base := s.owner.refreshPause
	longest := max(base, 5*time.Minute)
	if base <= 0 {
		return 0
	}
	for range s.unhelpful {
		if base *= 2; base >= longest {
			return longest
		}
	}
	return base
}

// fresh is the way of nearly every request: the current generation, if nothing
// needs to be done about it.
func (s *session) fresh() *generation {
	g := s.current.Load()
	if g == nil || int64(s.owner.now()) >= g.attend.Load() {
		return nil
	}
	return g
}

// usable returns a generation that has not expired, waiting for a flight if
// there is none. Who is patient waits for the next one even where the present one
// is merely about to expire.
func (s *session) usable(ctx context.Context, patient bool) (*generation, error) {
	for {
		g, f, err := s.next(ctx, patient)
		if f == nil {
			return g, err
		}
		got, err := f.wait(ctx)
		switch {
		case err == nil:
			return got, nil
		case errors.Is(err, errSuperseded):
			continue // this request has not been sent: it goes on with the new sign-in
		case g != nil && ctx.Err() == nil && s.owner.now() < g.expires:
			return g, nil // the patient go with what is still good
		}
		return nil, err
	}
}

// next returns the generation to use, the flight to wait on, or an error. With
// both a generation and a flight, the generation is good for now.
func (s *session) next(ctx context.Context, patient bool) (*generation, *renewing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.current.Load()
	now := s.owner.now()
	if g == nil {
		f, err := s.obtain(ctx)
		return nil, f, err
	}
	if now >= g.expires {
		f, err := s.replace(ctx, g)
		return nil, f, err
	}
	if s.flight == nil {
		pausing := s.failure != nil && now < s.failure.until
		switch {
		case now >= g.early && s.final == nil && !pausing:
			s.depart(ctx, true, nil)
		case s.owed != nil && now >= s.owed.next:
			s.depart(ctx, false, nil)
		}
	}
	if patient && now >= g.early && s.flight != nil && s.flight.refreshes {
		return g, s.flight, nil
	}
	return g, nil, nil
}

// obtain returns the flight that finds a generation where there is none, or the
// error that stands for it. s.mu is held.
func (s *session) obtain(ctx context.Context) (*renewing, error) {
	now := s.owner.now()
	switch {
	case s.flight != nil:
		return s.flight, nil
	case s.failure != nil && now < s.failure.until:
		return nil, s.failure.err
	case s.out != nil && now < s.out.nextLook:
		return nil, s.out.err
	}
	return s.depart(ctx, true, nil), nil
}

// replace returns the flight that replaces g, the current generation, which has
// expired or was refused, or the error that stands for it. s.mu is held.
func (s *session) replace(ctx context.Context, g *generation) (*renewing, error) {
	switch {
	case (s.flight == nil || !s.flight.refreshes) && s.failure != nil && s.owner.now() < s.failure.until:
		return nil, s.failure.err
	case s.flight == nil:
		return s.depart(ctx, true, g), nil
	}
	s.flight.refreshes, s.flight.needed = true, g
	return s.flight, nil
}

// A verdict is what to do about a refused attempt: handOver,
// or one of the next three.
type verdict struct {
	handOver bool          // the refusal is the answer
	replay   *generation   // send again with this
	wait     *renewing     // send again with what this brings
	err      *RefreshError // this is the answer
	held     time.Duration // with handOver: how much longer the token will not be refreshed; 0 if that is not why
	absent   bool          // with wait or err: there was no current generation
}

// refused decides what to do about an attempt that carried g.
func (s *session) refused(ctx context.Context, g *generation) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.current.Load()
	now := s.owner.now()
	var f *renewing
	var err error
	switch {
	case g.epoch != s.epoch:
		return verdict{handOver: true}
	case cur == nil:
		f, err = s.obtain(ctx)
	case cur != g && now < cur.expires:
		return verdict{replay: cur}
	case cur != g:
		f, err = s.replace(ctx, cur)
	case s.flight != nil && s.flight.refreshes:
		f, err = s.replace(ctx, cur)
	case s.failure != nil && now < s.failure.until:
		err = s.failure.err
	case cur.fetched && now < cur.certain && now < cur.obtained+s.pause():
		return verdict{handOver: true, held: cur.obtained + s.pause() - now}
	default:
		f, err = s.replace(ctx, cur)
	}
	v := verdict{wait: f, absent: cur == nil}
	if err != nil {
		v.err = refreshError(s.name, err)
	}
	return v
}

// supersededError is what a request that was refused under another sign-in gets.
func (s *session) supersededError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		return s.out.err
	}
	return &RefreshError{Session: s.name, Err: errSuperseded}
}

// methodError is what a method of Transport returns for err. The end of its
// caller's context shows as such; nothing else passes for it.
func (s *session) methodError(ctx context.Context, method string, err error, tok Token) error {
	if err == nil {
		return nil
	}
	secrets := []string{tok.AccessToken, tok.RefreshToken}
	if g := s.current.Load(); g != nil {
		secrets = append(secrets, g.tok.AccessToken, g.tok.RefreshToken)
	}
	if ctx.Err() == nil || scrub(err.Error(), secrets) != err.Error() {
		err = harmless(err, secrets)
	}
	return fmt.Errorf("reauth: %s: session %q: %w", method, s.name, err)
}

func (m *sessions) emit(ctx context.Context, session string, e Event) {
	if m.onEvent != nil {
		e.Session = session
		m.onEvent(ctx, e)
	}
}

// judge takes note of how the API answered a replay that carried g. Refusals
// count only while no replay with the same generation was accepted: one endpoint
// that refuses every token says nothing about the refresh.
func (s *session) judge(g *generation, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case g.epoch != s.epoch: // it says nothing about this sign-in
	case !refused:
		s.unhelpful, s.judged = 0, g.number
	case s.judged != g.number && g.fetched:
		s.judged = g.number
		if s.unhelpful < math.MaxUint8 {
			s.unhelpful++
		}
	}
}

// idleness knows what a program should wait for before it exits.
type idleness struct {
	mu      sync.Mutex
	running int // goroutines of this package
	owing   map[*session]struct{}
	changed chan struct{} // closed, if anybody waits, when either changes
}

func (m *sessions) begin() { m.idle.add(1) }
func (m *sessions) end()   { m.idle.add(-1) }

func (i *idleness) add(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running += n
	i.notify()
}

func (i *idleness) owes(s *session, owed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, was := i.owing[s]; was == owed {
		return
	}
	if owed {
		if i.owing == nil {
			i.owing = make(map[*session]struct{})
		}
		i.owing[s] = struct{}{}
	} else {
		delete(i.owing, s)
	}
	i.notify()
}

func (i *idleness) notify() {
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
}

// busy returns the sessions that owe a save and a channel that is closed at the
// next change, or nil if there is nothing to wait for.
func (i *idleness) busy() ([]*session, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running == 0 && len(i.owing) == 0 {
		return nil, nil
	}
	if i.changed == nil {
		i.changed = make(chan struct{})
	}
	owing := make([]*session, 0, len(i.owing))
	for s := range i.owing {
		owing = append(owing, s)
	}
	return owing, i.changed
}

// wait returns once nothing is running or owed. Saves that are owed are tried
// again when their time has come.
func (m *sessions) wait(ctx context.Context) error {
	for {
		owing, changed := m.idle.busy()
		if changed == nil {
			return nil
		}
		again := never
		for _, s := range owing {
			s.mu.Lock()
			if s.owed != nil && s.flight == nil {
				if left := s.owed.next - m.now(); left > 0 {
					again = min(again, left)
				} else {
					s.depart(ctx, false, nil)
				}
			}
			s.mu.Unlock()
		}
		var due <-chan time.Time
		if again != never {
			due = time.After(again)
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
