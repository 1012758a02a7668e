package simulator

import (
	"net/http"
	"strings"
	"time"
)

// The rules about what follows when a proof is refused.
const (
	ruleOwnNonces   = "a server is sent its own nonces"
	ruleOwnNonce    = "after a refusal the next proof has the nonce that came with it"
	ruleNonceKept   = "the nonce of a refusal is for that request alone until its next proof is answered"
	ruleNextProof   = "what is refused because of its proof is sent again with another"
	ruleOneProof    = "a request is sent again with another proof once at most, and with the same token"
	ruleAskedAgain  = "a token request is sent again only if its proof may have been refused, once for each reason"
	ruleWantOfNonce = "nothing fails for want of a nonce, unless that ended meanwhile"
)

// judgeNextProof looks at a proof that may follow an answer, which is nil if there was none
// before. w.mu is held.
func (w *world) judgeNextProof(p *process, session string, owner any, pr *proof, last *hearing) (own bool) {
	violated := func(rule, format string, args ...any) { w.violatedLocked(rule, p, session, format, args...) }
	n := pr.nonce
	switch {
	case last == nil:
	case last.given != nil && last.given != n:
		violated(ruleOwnNonce, "%q came with it, and %q is sent", last.given.text, n.text)
	case last.verdict == invalidProof && last.given == nil && n.text != "":
		violated(ruleOwnNonce, "no nonce came with it, and %q is sent", n.text)
	}
	if n.owner != nil && n.owner != owner && !n.freed {
		violated(ruleNonceKept, "%q is that of another", n.text)
	}
	return last != nil && last.given == n
}

// prove looks at the proof of an attempt as it leaves the process. w.mu is held.
func (w *world) prove(o *op, at *attempt, req *http.Request, pr *proof, fault error, access string) {
	if !w.judgeProof(o.p, o.session, w.api, req, pr, fault, access) {
		return
	}
	w.judgeKey(o.p, o.session, pr, at.t)
	at.hearing.proof, at.hearing.sent = pr, at.sent
	last := o.before(at)
	if last == nil {
		w.judgeNextProof(o.p, o.session, o, pr, nil)
		return
	}
	at.hearing.again = last.hearing.verdict != ""
	heard := &last.hearing
	if last.status < 400 || last.hearing.proof == nil {
		heard = nil
	}
	at.hearing.own = w.judgeNextProof(o.p, o.session, o, pr, heard)
}

// before returns the attempt before at, if it was of the same hop.
func (o *op) before(at *attempt) *attempt {
	if i := at.number - 2; i >= 0 && o.attempts[i].hop == at.hop {
		return o.attempts[i]
	}
	return nil
}

// repeatable reports whether o can be sent again after at for certain.
func (o *op) repeatable(at *attempt) bool {
	return o.upload == nil || o.upload.again && !at.early
}

// judged returns the attempt before at whose token the API has judged, if it was of the same
// hop.
func (o *op) judged(at *attempt) *attempt {
	for b := o.before(at); b != nil; b = o.before(b) {
		if b.hearing.verdict == "" {
			return b
		}
	}
	return nil
}

// challenge is the WWW-Authenticate of a refusal.
func (w *world) challenge(code string) string {
	if w.provesToAPI() {
		return `DPoP realm="api", algs="ES256 EdDSA", error="` + code + `"`
	}
	return `Bearer realm="api", error="` + code + `"`
}

func (w *world) provesToAPI() bool { return w.plan.dpop != nil && w.plan.dpop.everywhere }

// weighProof is what the API says of the proof of an attempt. It looks at it first, or once
// it has found the token to be good.
func (w *world) weighProof(at *attempt, good bool, d *dice) {
	pr := at.hearing.proof
	if pr == nil || w.plan.dpop.tokenFirst && !good {
		return
	}
	refuses := w.strikes(d, proofRefused)
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.hearing.verdict = w.api.check(pr); at.hearing.verdict == "" && refuses {
		at.hearing.verdict = invalidProof
	}
	w.countVerdict(at.hearing.verdict)
}

// countVerdict counts what servers say of proofs.
func (w *world) countVerdict(verdict string) {
	switch verdict {
	case useNonce:
		w.tally.counts[countDemands].Add(1)
	case invalidProof:
		w.tally.counts[countInvalidProofs].Add(1)
	}
}

// answerProof decides what an answer of the API says to a proof, beside its status.
func (w *world) answerProof(at *attempt, status int, header http.Header, d *dice) {
	h := &at.hearing
	if h.proof == nil {
		return
	}
	withheld := h.verdict == useNonce && w.strikes(d, nonceWithheld)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !withheld {
		h.given = w.api.give(h.proof, h.verdict, status)
	}
	h.date = time.Now().Add(w.plan.skew)
	h.kept = h.verdict != "" || status == http.StatusUnauthorized
	h.headers(header)
}

// judgeVerdict looks at the last answer to a request, which its caller was given, if it
// refuses the proof. w.mu is held.
func (w *world) judgeVerdict(o *op, at *attempt) {
	h := &at.hearing
	if h.verdict == "" {
		return
	}
	first, refused, invalid := at, false, false
	for b := o.before(at); b != nil; b = o.before(b) {
		first = b
		refused = refused || b.hearing.verdict != ""
		invalid = invalid || b.hearing.verdict == invalidProof
	}
	switch {
	case !refused && at.otherMayDo && o.repeatable(at):
		w.violatedLocked(ruleNextProof, o.p, o.session, "%s: %s", o.name, h.verdict)
	case refused && h.verdict == useNonce:
		w.judgeWant(o.p, o.session, h, first.sent, invalid, o.name)
	}
}

// judgeWant looks at a demand for a nonce to which no other proof follows, since one had been
// refused before. w.mu is held.
func (w *world) judgeWant(p *process, session string, h *hearing, since time.Time, invalid bool, what string) {
	why, ok := excuseProofRefused, invalid
	if !ok {
		why, ok = h.proof.nonce.excuse(p, since)
	}
	if !ok {
		w.violatedLocked(ruleWantOfNonce, p, session, "%s: %q is not good", what, h.proof.Nonce)
		return
	}
	w.tally.excuses[why].Add(1)
}

// judgeProofOfRefresh looks at the proof of a token request as it is made. w.mu is held.
func (w *world) judgeProofOfRefresh(v *visit) {
	c := v.call
	if c == nil {
		return
	}
	last := c.last
	if c.sends++; c.sends > 1 {
		switch {
		case last != nil && last.verdict == useNonce && c.demands == 1:
		case last != nil && (last.verdict == invalidProof || last.final) && c.proofs == 1:
		default:
			w.violatedLocked(ruleAskedAgain, v.p, v.session, "this is the %d. time, after %+v", c.sends, last)
		}
	}
	c.last = nil
	if !w.judgeProof(v.p, v.session, w.login, v.req, v.proof, v.fault, "") {
		v.proof = nil
		return
	}
	v.hearing = &answered{hearing: hearing{proof: v.proof, sent: time.Now(), again: c.demands > 0}}
	var heard *hearing
	if last != nil {
		heard = &last.hearing
	}
	w.note(v.p.name, v.session, "refreshes %s with a proof%v", v.t, v.hearing.hearing)
	v.hearing.own = w.judgeNextProof(v.p, v.session, c, v.proof, heard)
}

// weighProofOfRefresh is what the token server says of a proof, before it looks at the
// refresh token. w.mu is held.
func (w *world) weighProofOfRefresh(v *visit, refuses, final, withheld bool) *reply {
	if v.hearing == nil {
		return nil
	}
	h := v.hearing
	h.verdict = w.login.check(v.proof)
	switch {
	case h.verdict == "" && refuses:
		h.verdict = invalidProof
	case h.verdict == "" && final && v.call.proofs == 0: // a second one would be believed
		h.final = true
	}
	w.countVerdict(h.verdict)
	if h.verdict == "" && !h.final {
		return nil
	}
	w.note(v.p.name, v.session, "token server: refuses the proof for %s: %s", v.t, h.verdict)
	r := &reply{status: http.StatusBadRequest, verdict: h.verdict, final: h.final, heard: h}
	if h.verdict != useNonce || !withheld {
		h.given = w.login.give(v.proof, h.verdict, r.status)
	}
	h.kept = h.verdict != ""
	return r
}

// answerRefresh decides what the answer to a refresh says to its proof. w.mu is held.
func (w *world) answerRefresh(v *visit, r *reply) *reply {
	if h := v.hearing; h != nil {
		r.heard, h.final = h, r.final
		h.given = w.login.give(v.proof, "", r.status)
	}
	return r
}

// hearRefresh takes note of an answer of the token server that was read to its end. w.mu is held.
func (w *world) hearRefresh(p *process, session string, c *call, r *reply) {
	h := r.heard
	if c == nil || h == nil {
		return
	}
	c.last = h
	switch {
	case h.verdict == useNonce:
		c.demands++
	case h.verdict == invalidProof, h.final:
		c.proofs++
		c.demands = 0 // the proof after it may need another nonce, too
	}
	w.note(p.name, session, "has an answer to its proof%v", h.hearing)
	w.login.hear(p, c, &h.hearing)
}

// unanswered is what the answer to a proof says of it that comes in place of the token
// server's.
func (v *visit) unanswered() *answered {
	if v.hearing == nil {
		return nil
	}
	h := v.hearing.hearing
	h.verdict, h.given, h.kept = "", nil, false
	return &answered{hearing: h}
}

// hearHalf takes note of an answer of which the process has the header for certain.
func (w *world) hearHalf(p *process, c *call, r *reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c != nil && r.heard != nil {
		c.halted = true
		h := r.heard.hearing
		h.kept = false // no other proof follows
		w.login.hear(p, c, &h)
	}
}

// judgeCall looks at a call of Refresh that has failed.
func (w *world) judgeCall(p *process, session string, c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := c.last
	if h == nil || h.verdict == "" && !h.final || p.dead {
		return
	}
	p.know(session).proofFailed = time.Now()
	what := "a refresh"
	switch {
	case h.verdict == useNonce && c.demands > 1:
		w.judgeWant(p, session, &h.hearing, c.asked, false, what)
	case h.verdict == useNonce && h.otherMayDo(), h.verdict != useNonce && c.proofs == 1:
		w.violatedLocked(ruleNextProof, p, session, "%s: %s", what, strings.TrimSpace(h.verdict))
	}
}
