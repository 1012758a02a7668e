package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

type opKey struct{}

// An op is one thing that a caller does.
type op struct {
	p       *process
	session string
	name    string
	began   time.Time
	ctx     context.Context
	cancel  context.CancelCauseFunc
	ending  *ending // why its context ends, if it does
	bare    bool    // WithoutAuth
	upload  *upload

	// Guarded by world.mu.
	attempts []*attempt
	ended    time.Time // when its context did
	panicked bool      // by a handler of events
	updates  bool      // it is an Update
	unlocked bool      // it has deleted without a lease
}

// An ending is the cause of the end of one op's context.
type ending struct{ of string }

func (e *ending) Error() string { return e.of + " was ended by its caller" }

func (w *world) newOp(p *process, session, name string) *op {
	o := &op{p: p, session: session, name: p.name + " " + name, began: time.Now()}
	o.ending = &ending{o.name}
	ctx := reauth.WithSession(context.WithValue(context.Background(), opKey{}, o), session)
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	return o
}

// endsSometime gives the op a context that may end early. The function that it
// returns tidies up.
func (o *op) endsSometime(d *dice) (done func()) {
	w := o.p.w
	cancel, deadline := w.strikes(d, callerCancels), w.strikes(d, callerDeadline)
	after := w.span(d, 1, pick(d, 50*time.Millisecond, 500*time.Millisecond, 3*time.Second))
	own := d.percent(50)
	stop := func() {}
	switch {
	case cancel:
		timer := time.AfterFunc(after, func() { o.cancel(o.ending) })
		stop = func() { timer.Stop() }
	case deadline:
		var end context.CancelFunc
		if own {
			o.ctx, end = context.WithTimeoutCause(o.ctx, after, o.ending)
		} else {
			o.ctx, end = context.WithTimeout(o.ctx, after)
		}
		stop = end
	}
	unwatch := context.AfterFunc(o.ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		o.ended = time.Now()
	})
	return func() {
		unwatch()
		stop()
		o.cancel(nil)
	}
}

// populate lets the callers of a process loose.
func (p *process) populate() {
	for n := range p.w.plan.callers {
		p.w.callers.Go(func() { p.call(n) })
	}
	if p.w.plan.polls {
		p.w.callers.Go(p.poll)
	}
}

// call is the life of a caller. It ends with the faults, or with its process.
func (p *process) call(n int) {
	w := p.w
	who := fmt.Sprintf("%s.%d", p.name, n)
	next := time.Now()
	for i := 1; ; i++ {
		// The times of its actions are settled beforehand. An action that comes while it
		// is still busy with another is left out.
		d := w.chance.of(who, "")
		next = next.Add(w.span(d, 1, 2*w.plan.pace))
		if wait := time.Until(next); wait > 0 {
			time.Sleep(wait)
		} else if wait < 0 {
			continue
		}
		w.mu.Lock()
		over := p.dead || w.calm
		w.mu.Unlock()
		if over {
			return
		}
		session := w.plan.sessions[d.below(len(w.plan.sessions))]
		name := fmt.Sprintf("%d#%d", n, i)
		if d.percent(4) {
			p.storm(d, session, name)
			continue
		}
		o := w.newOp(p, session, name)
		done := o.endsSometime(d)
		required := p.do(o, d)
		done()
		if required && d.percent(30) {
			p.signIn(w.newOp(p, session, name+" sees the sign-in page"))
		}
	}
}

// poll asks an endpoint again and again that refuses every token.
func (p *process) poll() {
	w := p.w
	for i := 1; ; i++ {
		d := w.chance.of(p.name, "poll")
		time.Sleep(w.span(d, 1, w.plan.pace))
		w.mu.Lock()
		over := p.dead || w.calm
		w.mu.Unlock()
		if over {
			return
		}
		_ = p.request(w.newOp(p, w.plan.sessions[0], fmt.Sprintf("poll#%d", i)), pathDenied, d)
	}
}

// storm sends many requests at once.
func (p *process) storm(d *dice, session, name string) {
	w := p.w
	var wg sync.WaitGroup
	for i := range 5 + d.below(15) {
		o := w.newOp(p, session, fmt.Sprintf("%s/%d", name, i))
		own := w.chance.of(o.name, "storm")
		done := o.endsSometime(own)
		wg.Go(func() {
			defer done()
			p.request(o, pathGood, own)
		})
	}
	wg.Wait()
}

// do does one thing, and reports whether it found that a sign-in is required.
func (p *process) do(o *op, d *dice) (required bool) {
	turns := d.percent(p.w.plan.turns)
	switch n := d.below(100); {
	case turns && n < 60:
		p.signIn(o)
	case turns:
		p.signOut(o)
	case n < 5:
		_, err := p.token(o)
		return errors.Is(err, reauth.ErrSignInRequired)
	case n < 8:
		p.renew(o)
	case n < 10:
		p.signedIn(o)
	case n < 11:
		p.update(o, d)
	case n < 12:
		p.forget(o.session, d)
	case n < 14:
		o.bare = true
		o.ctx = reauth.WithoutAuth(o.ctx)
		p.request(o, pathGood, d)
	default:
		path := pick(d, pathGood, pathGood, pathGood, pathGood, pathGood, pathSlow, pathDenied, pathScope, pathAway, pathBack, pathUpload, pathUpload, pathUpload)
		return errors.Is(p.request(o, path, d), reauth.ErrSignInRequired)
	}
	return false
}

// request sends a request and reads its answer.
func (p *process) request(o *op, path string, d *dice) (err error) {
	w := p.w
	method := http.MethodGet
	if path == pathUpload {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(o.ctx, method, apiOrigin+path, nil)
	if err != nil {
		panic(err)
	}
	if path == pathUpload {
		o.upload = newUpload(w, o, req, d)
	}
	status, text := 0, ""
	o.guarded(func() {
		var resp *http.Response
		if resp, err = p.client.Do(req); err != nil {
			return
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		most := int64(d.below(100))
		if d.percent(80) {
			most = 1 << 20
		}
		if b, ok := resp.Body.(*answerBody); ok && b.endless {
			most = 5 // more does not come
		}
		read, _ := io.ReadAll(io.LimitReader(resp.Body, most))
		text = string(read)
	})
	w.judgeOp(o, "request", err)
	if err == nil {
		w.judgeAnswer(o, status, text)
	}
	return err
}

func (p *process) token(o *op) (tok reauth.Token, err error) {
	o.guarded(func() { tok, err = p.tr.Token(o.ctx) })
	p.w.judgeOp(o, "Token", err)
	if err == nil {
		p.w.judgeToken(o, tok)
	}
	return tok, err
}

// renew refreshes as if the token had been refused elsewhere.
func (p *process) renew(o *op) {
	tok, err := p.token(o)
	if err != nil {
		return
	}
	w := p.w
	w.mu.Lock()
	p.know(o.session).refused[w.server.resolve(tok)] = true
	w.mu.Unlock()
	var next reauth.Token
	o.guarded(func() { next, err = p.tr.Refresh(o.ctx, tok) })
	w.judgeOp(o, "Refresh", err)
	if err == nil {
		w.judgeToken(o, next)
	}
}

// forget calls Forget or ForgetAll.
func (p *process) forget(session string, d *dice) {
	p.w.tally.counts[countForgets].Add(1)
	if d.percent(20) {
		p.tr.ForgetAll()
		return
	}
	p.tr.Forget(session)
}

func (p *process) signedIn(o *op) {
	var ok bool
	var err error
	o.guarded(func() { ok, err = p.tr.SignedIn(o.ctx) })
	p.w.judgeOp(o, "SignedIn", err)
	if err == nil && !ok {
		p.w.judgeOut(o, "SignedIn says no")
	}
}

// signIn signs the user in at the token server, and hands over what that brings.
func (p *process) signIn(o *op) error {
	w := p.w
	t := w.server.signIn(p, o.session)
	tok := w.server.handOver(t)
	w.tally.counts[countSignIns].Add(1)
	w.mu.Lock()
	w.note(p.name, o.session, "%s: SignIn of %v", o.name, t)
	k := p.know(o.session)
	u := &turn{began: time.Now(), family: t.family}
	k.turns = append(k.turns, u)
	k.failed, k.required = time.Time{}, false
	w.mu.Unlock()

	err := errHandler
	o.guarded(func() { err = p.tr.SignIn(o.ctx, tok) })
	w.mu.Lock()
	w.note(p.name, o.session, "%s: SignIn of %v: %v", o.name, t, err)
	u.ended, u.failed = time.Now(), err != nil
	if err == nil && k.signOut.Before(u.began) && !slices.ContainsFunc(k.turns, func(o *turn) bool { return o.family == nil && o.overlaps(u) }) {
		k.signOut = time.Time{}
	}
	w.mu.Unlock()
	w.judgeOp(o, "SignIn", err)
	return err
}

func (p *process) signOut(o *op) {
	w := p.w
	w.tally.counts[countSignOuts].Add(1)
	w.mu.Lock()
	w.note(p.name, o.session, "%s: SignOut", o.name)
	k := p.know(o.session)
	u := &turn{began: time.Now()}
	k.turns = append(k.turns, u)
	k.signOut, k.failed = u.began, time.Time{}
	w.mu.Unlock()

	err := errHandler
	o.guarded(func() { err = p.tr.SignOut(o.ctx) })
	w.mu.Lock()
	w.note(p.name, o.session, "%s: SignOut: %v", o.name, err)
	u.ended, u.failed = time.Now(), err != nil
	if err == nil && !p.dead {
		w.judgeSignOut(o, u)
	}
	w.judgeRevocations(o, u)
	k.outFailed = k.outFailed || err != nil
	w.mu.Unlock()
	w.judgeOp(o, "SignOut", err)
}

var errHandler = errors.New("a handler of events panicked")

// guarded calls a method of the Transport. A handler of events that it calls may
// panic, which then is its caller's.
func (o *op) guarded(call func()) {
	defer func() {
		switch v := recover(); v.(type) {
		case nil:
		case handlerPanic:
			o.p.w.mu.Lock()
			defer o.p.w.mu.Unlock()
			o.panicked = true
		default:
			panic(v)
		}
	}()
	call()
}
