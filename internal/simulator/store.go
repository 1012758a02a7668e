package simulator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth"
)

var (
	errStoreFault = errors.New("the store does not answer")
	errStoreOut   = errors.New("the store is out of order")
)

// A storage is what all processes store their tokens in. It is guarded by
// world.mu.
type storage struct {
	w       *world
	tokens  map[string]reauth.Token
	held    map[string]*token    // which tokens those are
	since   map[string]time.Time // when they were saved
	locks   map[string]chan struct{}
	changes map[string]chan struct{} // closed when the token changes
	memory  reauth.MemoryStore       // does the work, where the plan says so
	out     time.Time                // until when it answers nothing
	full    time.Time                // until when it saves nothing
	past    map[string][]version
	removed map[string]time.Time // when a session was last deleted
}

func newStorage(w *world) *storage {
	return &storage{w: w, tokens: make(map[string]reauth.Token), held: make(map[string]*token), since: make(map[string]time.Time), past: make(map[string][]version), removed: make(map[string]time.Time), locks: make(map[string]chan struct{}), changes: make(map[string]chan struct{})}
}

// A version is what was stored until a time.
type version struct {
	until time.Time
	tok   reauth.Token
	held  *token
}

// mostLag is how far a replica may be behind.
const mostLag = 2 * time.Second

// remember keeps what is stored and about to be replaced. w.mu is held.
func (s *storage) remember(session string) {
	const enough = 30
	past := append(s.past[session], version{time.Now(), s.tokens[session], s.held[session]})
	s.past[session] = past[max(len(past)-enough, 0):]
	if c := s.changes[session]; c != nil {
		close(c)
		delete(s.changes, session)
	}
}

// change is closed when the token is replaced or deleted. w.mu is held.
func (s *storage) change(session string) <-chan struct{} {
	if s.changes[session] == nil {
		s.changes[session] = make(chan struct{})
	}
	return s.changes[session]
}

// before returns what was stored at a time. w.mu is held.
func (s *storage) before(session string, at time.Time) (reauth.Token, bool) {
	for _, v := range s.past[session] {
		if at.Before(v.until) {
			return v.tok, v.held != nil
		}
	}
	tok, ok := s.tokens[session]
	return tok, ok
}

// forget brings back what was stored before a refresh, as a server does that loses what it
// had acknowledged.
func (s *storage) forget(session string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	past, held := s.past[session], s.held[session]
	if held == nil || len(past) == 0 {
		return
	}
	last := past[len(past)-1]
	switch {
	case last.held == nil, last.held.family != held.family:
		return // a sign-in, or a sign-out, whose maker would have to be asked again
	case last.held.generation >= held.generation:
		return // it would remember what it has forgotten
	}
	s.w.tally.faults[storeForgets].Add(1)
	s.w.note("", session, "store: forgets %s, and holds %s again", held, last.held)
	held.forgotten = true
	s.remember(session)
	s.tokens[session], s.held[session], s.since[session] = last.tok, last.held, time.Now()
}

// holds reports whether the store holds a token of that sign-in. w.mu is held.
func (s *storage) holds(f *family) bool {
	held := s.held[f.user]
	return held != nil && held.family == f
}

// isFull reports whether the store saves nothing at the moment.
func (s *storage) isFull() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return !s.w.calm && time.Now().Before(s.full)
}

// slot is full while the session is locked. w.mu is held.
func (s *storage) slot(session string) chan struct{} {
	slot := s.locks[session]
	if slot == nil {
		slot = make(chan struct{}, 1)
		s.locks[session] = slot
	}
	return slot
}

// view is the storage as the Store of a process.
func (s *storage) view(p *process) reauth.Store {
	switch v := (view{s, p}); s.w.plan.storage {
	case locking:
		return leasingView{v}
	case memory:
		return memoryView{s, p}
	default:
		return v
	}
}

func (s *storage) outUntil(end time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.out = end
}

func (s *storage) noSavesUntil(end time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.full = end
}

func (s *storage) isOut() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return !s.w.calm && time.Now().Before(s.out)
}

// put and remove change what is stored. w.mu is held.
func (s *storage) put(p *process, session string, tok reauth.Token) {
	t := s.w.server.resolve(tok)
	s.w.judgeSave(p, session, t, tok)
	s.w.note(p.name, session, "store: holds %s in place of %s", t, s.held[session])
	s.remember(session)
	s.tokens[session], s.held[session], s.since[session] = tok, t, time.Now()
	s.tell(p, session)
	if t != nil && t.saved.IsZero() {
		t.saved = time.Now()
	}
	s.w.weigh(session)
}

func (s *storage) remove(p *process, session string, l *lease) {
	s.w.judgeDelete(p, session)
	s.w.judgeFinal(p, session)
	s.w.note(p.name, session, "store: %s is deleted", s.held[session])
	if t := s.held[session]; t != nil && (l != nil || s.w.plan.storage != locking) {
		t.family.removed = true // otherwise a refresh elsewhere may store the next one
	}
	s.remember(session)
	s.removed[session] = time.Now()
	s.tell(p, session)
	delete(s.tokens, session)
	delete(s.held, session)
	s.w.weigh(session)
}

// A view is the storage as one process sees it, without a lock.
type view struct {
	s *storage
	p *process
}

// Load implements [reauth.Store]. A dead process finds nothing, so that its Transport,
// which nobody can end, does not try to save what is pending for ever.
func (v view) Load(ctx context.Context, session string) (tok reauth.Token, ok bool, err error) {
	if v.p.isDead() {
		return reauth.Token{}, false, nil
	}
	d := v.s.w.chance.now(v.p.name, session, "replica")
	lags, by := leaseOf(ctx) == nil && v.s.w.strikes(d, loadLags), v.s.w.span(d, 1, mostLag)
	failed := func() {
		v.s.w.mu.Lock()
		defer v.s.w.mu.Unlock()
		v.p.know(session).loadFailed = time.Now()
	}
	late := time.AfterFunc(v.s.w.plan.timeout, failed) // too late is as bad
	returned := false
	defer func() {
		if !late.Stop() || err != nil || !returned { // also if it panics
			failed()
		}
	}()
	err = v.call(ctx, session, "Load", nil, loadFails, faultKinds, func() error {
		tok, ok = v.s.tokens[session]
		if lags {
			tok, ok = v.s.before(session, time.Now().Add(-by))
		}
		return nil
	})
	returned = true
	if err != nil {
		return reauth.Token{}, false, err
	}
	return tok, ok, nil
}

func (v view) Save(ctx context.Context, session string, tok reauth.Token) error {
	v.s.w.mu.Lock()
	t := v.s.w.server.resolve(tok)
	if t != nil && t.saveBegan.IsZero() {
		t.saveBegan = time.Now()
	}
	v.s.w.mu.Unlock()
	err := errStoreFault
	defer func() { // also if it panics
		v.s.w.mu.Lock()
		defer v.s.w.mu.Unlock()
		switch {
		case t == nil:
		case err != nil:
			t.saveFailed = true
		case t.generation == 1 && !v.p.dead:
			t.family.stored = true
		}
	}()
	err = v.call(ctx, session, "Save", t, saveFails, saveFailsAfter, func() error {
		v.s.put(v.p, session, tok)
		return nil
	})
	if err != nil {
		return fmt.Errorf("saving %s: %w", tok.AccessToken, err)
	}
	return nil
}

func (v view) Delete(ctx context.Context, session string) error {
	return v.call(ctx, session, "Delete", nil, deleteFails, deleteFailsAfter, func() error {
		v.s.remove(v.p, session, leaseOf(ctx))
		return nil
	})
}

// call is a call of the store, with all that can go wrong. t is what it saves, if
// anything. do is called with w.mu held.
func (v view) call(ctx context.Context, session, what string, t *token, before, after fault, do func() error) error {
	w, p, called := v.s.w, v.p, time.Now()
	defer p.enter()()
	d := w.chance.now(p.name, session, what)
	w.yield(d)
	if what == "Save" {
		p.stumble(d)
	}
	if err := p.cross(ctx); err != nil {
		return err
	}
	l := leaseOf(ctx)
	if what != "Load" {
		w.judgeWrite(ctx, called, p, session, what, l, t)
	}
	if w.strikes(d, storePanics) {
		panic("the store has a bad day")
	}
	there, back := w.span(d, 1, 3*time.Millisecond), w.span(d, 1, 3*time.Millisecond)
	if w.strikes(d, storeSlow) {
		there += w.span(d, 1, w.plan.timeout/2)
	}
	if w.strikes(d, storeHangs) {
		there += 1 << 40
	}
	fails := w.strikes(d, before)
	failsAfter := after != faultKinds && w.strikes(d, after)
	if w.strikes(d, storeIgnoresContext) {
		ctx = context.WithoutCancel(ctx)
		there = w.span(d, w.plan.timeout/2, 3*w.plan.timeout)
		if (what != "Load" || leaseOf(ctx) != nil) && there >= w.plan.timeout { // a SignOut loads as it deletes
			w.mu.Lock()
			p.know(session).stuck = time.Now().Add(there)
			w.mu.Unlock()
		}
	}
	if err := pass(ctx, there); err != nil {
		return err
	}
	switch {
	case fails:
		w.note(p.name, session, "store: %s fails", what)
		return errStoreFault
	case v.s.isOut(), what == "Save" && v.s.isFull():
		return errStoreOut
	}
	w.mu.Lock()
	err := errStoreFault // the process has died, and nobody sees that
	switch {
	case !p.arrives(d):
	case what != "Load" && l != nil && !l.valid():
		w.note(p.name, session, "store: %s is refused: its lease is gone", what)
		err = errLeaseLost
	default:
		err = do()
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := pass(ctx, back); err != nil {
		return err
	}
	if failsAfter {
		w.note(p.name, session, "store: %s has been done, and fails", what)
		return errStoreFault
	}
	return p.cross(ctx)
}

// A memoryView is a MemoryStore that is watched.
type memoryView struct {
	s *storage
	p *process
}

func (v memoryView) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	return v.s.memory.Load(ctx, session)
}

func (v memoryView) Save(ctx context.Context, session string, tok reauth.Token) error {
	v.s.w.mu.Lock()
	defer v.s.w.mu.Unlock()
	v.s.put(v.p, session, tok)
	if t := v.s.held[session]; t != nil && t.generation == 1 {
		t.family.stored = true
	}
	return v.s.memory.Save(ctx, session, tok)
}

func (v memoryView) Delete(ctx context.Context, session string) error {
	v.s.w.mu.Lock()
	defer v.s.w.mu.Unlock()
	v.s.remove(v.p, session, nil)
	return v.s.memory.Delete(ctx, session)
}

func (v memoryView) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	held, unlock, err := v.s.memory.Lock(ctx, session)
	if err != nil && ctx.Err() != nil {
		v.s.w.mu.Lock()
		defer v.s.w.mu.Unlock()
		v.p.know(session).lockTimedOut = time.Now()
	}
	return held, unlock, err
}
