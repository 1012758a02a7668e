package simulator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/reauth-go/reauth"
)

var (
	errUnreachable = errors.New("connection refused")
	errAnswerLost  = errors.New("connection reset by peer")
)

// A reply is what the token server says to a refresh request.
type reply struct {
	status     int
	retryAfter time.Duration
	final      bool
	tok        *token
	broken     bool // what it says is not JSON
	cut        bool // it breaks off
	half       bool // it breaks off behind the refresh token
	downgraded bool // it does not break off there, but the rest is of no use
	spent      *spend

	// With DPoP.
	verdict string // on the proof, if that is refused
	heard   *answered
}

// ask carries a refresh request to the token server, and the answer back. deaf
// means that the client does not notice that ctx ends.
func (p *process) ask(ctx context.Context, presented string, update bool, req *http.Request) (_ *reply, deaf bool, err error) {
	called := time.Now() // from here on the process counts the lifetime of what it gets
	defer p.enter()()
	w, session := p.w, reauth.SessionFromContext(ctx)
	d := w.chance.now(p.name, session, "refresh")
	w.yield(d)
	asked := time.Now()
	c := callOf(ctx)
	if c != nil {
		c.update = update
		if called = c.began; c.sends == 0 {
			c.asked = asked
		}
		asked = c.asked
		defer func() { c.halted = c.halted || err != nil }()
	}
	if began, ok := ctx.Value(updateKey{}).(time.Time); ok {
		called = began
	}
	if err := p.cross(ctx); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	v := &visit{p: p, session: session, called: called, asked: asked, update: update, call: c, req: req}
	if c != nil {
		v.proof, v.fault = w.readProof(req.Header)
	}
	w.beginVisit(v, presented)
	defer w.endVisit(v)

	p.stumble(d)
	unreachable := w.strikes(d, refreshUnreachable)
	there, back := w.span(d, 1, 80*time.Millisecond), w.span(d, 1, 80*time.Millisecond)
	if w.strikes(d, refreshSlow) {
		back += w.span(d, 1, w.plan.timeout)
	}
	if w.strikes(d, refreshIgnoresContext) {
		deaf = true
		ctx = context.WithoutCancel(ctx)
		more := w.span(d, 1, 3*w.plan.timeout)
		if d.percent(50) {
			there += more
		} else {
			back += more
		}
	}
	gone := pass(ctx, there)
	if gone != nil {
		w.judgeEnd(v)
	}
	if gone != nil && d.percent(50) {
		w.note(p.name, session, "refresh of %s: not sent any more", v.t)
		return nil, deaf, gone
	}
	if unreachable {
		w.note(p.name, session, "refresh of %s: token server not reached", v.t)
		return nil, deaf, errUnreachable
	}
	r := w.arrive(v, d)
	if gone != nil {
		w.lose(v, r, "nobody waits for it any more")
		return nil, deaf, gone
	}
	if r == nil { // the process has died on the way
		return nil, deaf, errDead
	}
	if w.strikes(d, refreshHangs) {
		back = 1 << 40
		if deaf {
			back = 4 * w.plan.timeout
		}
	}
	if err := pass(ctx, back); err != nil {
		w.judgeEnd(v)
		w.lose(v, r, "it did not come in time")
		return nil, deaf, err
	}
	p.stumble(d)
	if err := p.cross(ctx); err != nil {
		w.lose(v, r, "the process stood still")
		return nil, deaf, err
	}
	switch {
	case w.strikes(d, refreshAnswerLost):
		w.lose(v, r, "the connection broke")
		return nil, deaf, errAnswerLost
	case w.strikes(d, refreshFailsAfter):
		w.lose(v, r, "it was a 500")
		return &reply{status: http.StatusInternalServerError, heard: v.unanswered()}, deaf, nil
	case w.strikes(d, refreshAnswerBroken):
		w.lose(v, r, "it was not JSON")
		return &reply{status: http.StatusOK, broken: true, heard: v.unanswered()}, deaf, nil
	case r.tok != nil && r.spent != nil && w.strikes(d, refreshAnswerHalf):
		r.half = true
	case r.tok != nil && r.spent != nil && w.strikes(d, tokenDowngraded):
		r.half, r.downgraded = true, true
	case w.strikes(d, refreshAnswerCut):
		w.lose(v, r, "it broke off")
		return &reply{status: http.StatusOK, cut: true, heard: v.unanswered()}, deaf, nil
	}
	return r, deaf, nil
}

// arrive is what happens at the token server. The result is nil if the request
// never arrived.
func (w *world) arrive(v *visit, d *dice) *reply {
	unavailable, tooMany := w.strikes(d, refreshUnavailable), w.strikes(d, refreshTooMany)
	retryAfter := w.span(d, 0, 5*time.Second).Truncate(time.Second)
	out := w.server.isOut()
	refuses, final, withheld := false, false, false
	if v.call != nil {
		refuses, final, withheld = w.strikes(d, proofRefused), w.strikes(d, proofLooksFinal), w.strikes(d, nonceWithheld)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !v.p.arrives(d):
		return nil
	case unavailable, out:
		w.note(v.p.name, v.session, "token server: 503 for the refresh of %s", v.t)
		return w.answerRefresh(v, &reply{status: http.StatusServiceUnavailable})
	case tooMany:
		w.note(v.p.name, v.session, "token server: 429 for the refresh of %s, Retry-After %v", v.t, retryAfter)
		return w.answerRefresh(v, &reply{status: http.StatusTooManyRequests, retryAfter: retryAfter})
	}
	if r := w.weighProofOfRefresh(v, refuses, final, withheld); r != nil {
		return r
	}
	next := w.server.refresh(v)
	if next == nil {
		return w.answerRefresh(v, &reply{status: http.StatusBadRequest, final: true})
	}
	r := w.answerRefresh(v, &reply{status: http.StatusOK, tok: next})
	if v.t.spent != nil && v.t.spent.next == next {
		r.spent = v.t.spent
	}
	return r
}

// lose notes that the answer to a visit was lost.
func (w *world) lose(v *visit, r *reply, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r == nil || r.tok == nil {
		return
	}
	w.note(v.p.name, v.session, "the answer with %s is lost: %s", r.tok, why)
	if r.spent != nil {
		r.spent.fate, r.spent.ended = lost, time.Now()
	}
}

// deliver notes that the process has the answer, in a call of Refresh if there is DPoP.
func (w *world) deliver(p *process, session string, presented string, r *reply, c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := p.know(session)
	w.hearRefresh(p, session, c, r)
	switch {
	case r.final && c != nil && (c.proofs < 2 || c.update): // which another proof is to show, or is the Update's
	case r.final:
		if t := w.server.byRefresh[presented]; t != nil {
			k.final[t], k.refusedForGood, k.finalAt = true, t, time.Now()
		}
	case r.tok != nil:
		if r.half {
			w.note(p.name, session, "has the refresh token of %s", r.tok)
			r.tok.salvaged, k.salvaged, k.required = true, r.tok, false
			w.tally.counts[countSalvaged].Add(1)
			r.tok.got = time.Now()
			r.spent.fate, r.spent.ended = delivered, time.Now()
			return
		}
		w.note(p.name, session, "has %s", r.tok)
		w.tally.counts[countRefreshes].Add(1)
		r.tok.got, k.obtained = time.Now(), r.tok
		if r.spent != nil {
			r.spent.fate, r.spent.ended = delivered, time.Now()
		}
	}
}

// refresh is the process's RefresherFunc.
func (p *process) refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	w, session := p.w, reauth.SessionFromContext(ctx)
	if old.RefreshToken == "" {
		return reauth.Token{}, fmt.Errorf("nobody has signed in: %w", reauth.ErrSignInRequired)
	}
	update := ctx.Value(updateKey{}) != nil
	r, _, err := p.ask(ctx, old.RefreshToken, update, nil)
	if err != nil {
		return reauth.Token{}, fmt.Errorf("refreshing with %s: %w", old.RefreshToken, err)
	}
	d := w.chance.now(p.name, session, "refresher")
	v := &visit{p: p, session: session}
	switch {
	case w.strikes(d, refreshPanics):
		w.lose(v, r, "the refresher panics")
		panic("the refresher does not like " + old.RefreshToken)
	case w.strikes(d, refreshExits):
		w.lose(v, r, "the refresher ends its goroutine")
		runtime.Goexit()
	}
	if update && r.half {
		w.lose(v, r, "the function of an Update has to have all of it")
		return reauth.Token{}, errors.New("no token")
	}
	if !update || !r.final {
		w.deliver(p, session, old.RefreshToken, r, nil)
	}
	switch {
	case r.half:
		return reauth.Token{RefreshToken: r.tok.refresh}, errors.New("it has broken off")
	case r.final:
		return reauth.Token{}, fmt.Errorf("invalid_grant: %w", reauth.ErrSignInRequired)
	case r.status != http.StatusOK, r.broken, r.cut:
		return reauth.Token{}, &reauth.RefreshError{StatusCode: r.status, RetryAfter: r.retryAfter, Err: errors.New("no token")}
	}
	tok := reauth.Token{AccessToken: r.tok.access, RefreshToken: r.tok.refresh}
	if !w.plan.rotates {
		tok.RefreshToken = ""
	}
	if r.tok.lifetime > 0 {
		tok.Expiry = r.tok.issued.Add(r.tok.lifetime)
	}
	return tok, nil
}
