package simulator

import (
	"fmt"
	"net/http"
	"time"
)

// The error codes about proofs (RFC 9449 sections 5 and 7.1).
const (
	useNonce     = "use_dpop_nonce"
	invalidProof = "invalid_dpop_proof"
)

// nonceMode is what a server does with nonces (RFC 9449 sections 8 and 9).
type nonceMode int

const (
	nonceNone     nonceMode = iota // it has none, and refuses a proof with any as invalid
	nonceOptional                  // they change, and a proof without one is good too
	nonceRotating                  // they change
	nonceOnce                      // each is good for one proof

	nonceModes
)

func (m nonceMode) String() string {
	return [...]string{"no nonces", "optional nonces", "rotating nonces", "one-time nonces"}[m]
}

// A noncePlan is how a server deals with nonces.
type noncePlan struct {
	mode     nonceMode
	period   time.Duration // after which there is a new one
	grace    time.Duration // for which one is good after that, or a one-time nonce altogether; 0: for ever
	success  int           // which successes bring one: 0 none, 1 all, 2 those of a proof that had another
	onErrors bool          // refusals of tokens, and other errors, bring one
	onFaults bool          // so do refusals of proofs that are invalid
}

func (n noncePlan) String() string {
	if n.mode == nonceNone {
		return n.mode.String()
	}
	return fmt.Sprintf("%v of %v and %v", n.mode, n.period, n.grace)
}

// A gate is what a server knows of proofs and nonces. It is guarded by world.mu.
type gate struct {
	w      *world
	name   string
	plan   noncePlan
	nonces map[string]*nonce // all that it has given; "" is that of a proof without one
	last   *nonce
	made   time.Time // when last was
}

// A nonce is one that a server has given.
type nonce struct {
	text  string
	once  bool      // it is good for one proof
	ended time.Time // which may be to come; zero: its end is not known
	owner any       // the op or call whose proof was refused with it; nil: it is for all
	freed bool      // its owner's next proof was answered
	heard map[*process]time.Time
}

func newGate(w *world, name string, plan noncePlan) *gate {
	g := &gate{w: w, name: name, plan: plan, nonces: make(map[string]*nonce)}
	none := &nonce{heard: make(map[*process]time.Time)}
	if !g.allowsNone() {
		none.ended = w.began
	}
	g.nonces[""] = none
	return g
}

func (g *gate) allowsNone() bool { return g.plan.mode == nonceNone || g.plan.mode == nonceOptional }

// fresh returns the nonce that an answer brings. w.mu is held.
func (g *gate) fresh() *nonce {
	now := time.Now()
	if g.plan.mode != nonceOnce && g.last != nil && now.Before(g.made.Add(g.plan.period)) {
		return g.last
	}
	n := &nonce{text: fmt.Sprintf("%s-%d", g.name, len(g.nonces)), once: g.plan.mode == nonceOnce, heard: make(map[*process]time.Time)}
	switch {
	case g.plan.mode != nonceOnce:
		n.ended = now.Add(g.plan.period + g.plan.grace)
	case g.plan.grace > 0:
		n.ended = now.Add(g.plan.grace)
	}
	g.nonces[n.text], g.last, g.made = n, n, now
	return n
}

// changeMind gives the server another mode. What was good until now is not any more. w.mu is
// held.
func (g *gate) changeMind(mode nonceMode) {
	now := time.Now()
	for _, n := range g.nonces {
		if n.ended.IsZero() || n.ended.After(now) {
			n.ended = now
		}
	}
	g.plan.mode, g.last = mode, nil
	if g.allowsNone() {
		g.nonces[""].ended = time.Time{}
	}
}

// check returns what the server says of a proof: useNonce, invalidProof or "". w.mu is held.
func (g *gate) check(pr *proof) string {
	now, n := time.Now(), pr.nonce
	ahead := time.Unix(pr.IAT, 0).Sub(now.Add(g.w.plan.skew))
	switch good := n.ended.IsZero() || now.Before(n.ended); {
	case g.plan.mode == nonceNone && (pr.Nonce != "" || ahead.Abs() > 2*iatTolerance):
		return invalidProof
	case !good:
		return useNonce
	}
	if n.once {
		n.ended = now
	}
	return ""
}

// give returns the nonce that an answer to a proof brings, or nil. w.mu is held.
func (g *gate) give(pr *proof, verdict string, status int) *nonce {
	gives := g.plan.onErrors
	switch {
	case g.plan.mode == nonceNone:
		gives = false
	case verdict == useNonce:
		gives = true
	case verdict == invalidProof:
		gives = g.plan.onFaults
	case status < 400:
		gives = g.plan.success == 1 || g.plan.success == 2 && (g.plan.mode == nonceOnce || g.fresh() != pr.nonce)
	}
	if !gives {
		return nil
	}
	return g.fresh()
}

// A hearing is an answer to a proof, as a process hears it.
type hearing struct {
	proof   *proof
	sent    time.Time
	verdict string // what the server says of the proof: useNonce, invalidProof or ""
	given   *nonce
	date    time.Time // by the server's clock; zero: it does not say
	kept    bool      // given is for the next proof of its owner
	again   bool      // its proof followed another that was refused
	over    bool      // what was sent can't be sent again for certain
	own     bool      // its proof has the nonce of the answer before
}

// hear takes note of an answer. w.mu is held.
func (g *gate) hear(p *process, owner any, h *hearing) {
	now := time.Now()
	if h.given != nil {
		h.given.heard[p] = now
		if h.kept && h.given.once {
			noOther := h.verdict != "" && h.again || h.over // no other proof may follow
			h.given.owner, h.given.freed = owner, noOther
		}
	}
	if h.own {
		h.proof.nonce.freed = true
		if h.verdict == "" && h.given == nil {
			h.proof.nonce.heard[p] = now // it was good, so it is for all from now on
		}
	}
	if h.verdict == invalidProof && h.given == nil {
		g.nonces[""].heard[p] = now
	}
}

// otherMayDo reports whether another proof may be accepted where one was refused: one with
// another nonce, or of another time.
func (h *hearing) otherMayDo() bool {
	switch {
	case h.verdict == "":
		return false
	case h.given != nil && h.given != h.proof.nonce:
		return true
	case h.verdict == useNonce:
		return false
	case h.given == nil && h.proof.Nonce != "":
		return true
	}
	const certainly = 15 * time.Second // whatever time the answer took
	off := time.Until(h.date) - time.Unix(h.proof.IAT, 0).Sub(h.sent)
	return !h.date.IsZero() && off.Abs() > certainly
}

// excuse finds out why a nonce was not good any more that a process has used in a request,
// all of whose proofs were sent since then. w.mu is held.
func (n *nonce) excuse(p *process, since time.Time) (excuse, bool) {
	switch {
	case !n.ended.IsZero() && !n.ended.Before(since):
		return excuseNonceEnded, true
	case !n.heard[p].Before(since):
		return excuseNonceOld, true
	}
	return 0, false
}

// String says for the trace what is known of the proof so far.
func (h hearing) String() string {
	if h.proof == nil || h.proof.nonce == nil {
		return ""
	}
	text := fmt.Sprintf(", nonce %q", h.proof.Nonce)
	if h.verdict != "" {
		text += ": " + h.verdict
	}
	if h.given != nil {
		text += fmt.Sprintf(", next %q", h.given.text)
	}
	return text
}

// headers writes what an answer to a proof says beside its status.
func (h *hearing) headers(to http.Header) {
	if h.given != nil {
		to.Set("DPoP-Nonce", h.given.text)
	}
	if !h.date.IsZero() {
		to.Set("Date", h.date.UTC().Format(http.TimeFormat))
	}
}
