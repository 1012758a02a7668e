package simulator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A dpopPlan is how sessions are bound to keys (RFC 9449), where they are.
type dpopPlan struct {
	everywhere bool // access tokens are bound too, and not refresh tokens alone
	ofProgram  bool // one key for all sessions
	elliptic   bool // that one is on P-256
	tokenFirst bool // the API looks at the token before it looks at the proof
	api, token noncePlan
}

// bind decides about DPoP, with dice of its own: the rest of the world is the same with it
// and without.
func (p *plan) bind(d *dice, o Options) {
	const share = 30
	if on := d.percent(share); !on && !o.DPoP {
		return
	}
	p.function = false
	p.rates[refreshPanics], p.rates[refreshExits] = 0, 0
	p.dpop = &dpopPlan{
		everywhere: d.percent(80), ofProgram: d.percent(50), elliptic: d.percent(30), tokenFirst: d.percent(50),
		api: p.nonces(d), token: p.nonces(d),
	}
	if slices.Max(p.rates[:]) == 0 || p.forgets {
		return
	}
	for f := proofRefused; f < faultKinds; f++ {
		if on, rate := d.percent(40), pick(d, 1.0, 3.0, 10.0); on {
			p.rates[f] = rate
		}
	}
	if !p.dpop.everywhere {
		p.rates[tokenDowngraded] = 0 // all are of the type Bearer
	}
	p.plot(d, nonceModeChanges)
	slices.SortStableFunc(p.schedule, func(a, b incident) int { return int(a.at - b.at) })
}

// nonces decides what a server does with nonces.
func (p *plan) nonces(d *dice) noncePlan {
	n := noncePlan{
		mode:    pick(d, nonceNone, nonceOptional, nonceRotating, nonceRotating, nonceOnce, nonceOnce),
		period:  pick(d, 200*time.Millisecond, time.Second, 5*time.Second),
		grace:   pick(d, 0, time.Second, 5*time.Second),
		success: d.below(3), onErrors: d.percent(50), onFaults: d.percent(50),
	}
	if p.told != toldExactly && p.told != toldAsText || p.late > 0 {
		// Only a refusal shows that a token has expired, or that the API does not know it yet. If
		// the nonce that was demanded for that request had ended with it, and nothing brought
		// another, no request could ever succeed.
		n.onErrors, n.period = true, max(n.period, time.Second)
	}
	return n
}

func (p *dpopPlan) String() string {
	text := "DPoP"
	if !p.everywhere {
		text += " at the token server alone"
	}
	text += map[bool]string{true: ", a key of the program", false: ", keys of sessions"}[p.ofProgram]
	if p.everywhere {
		text += fmt.Sprintf(", API %v", p.api)
	}
	return text + fmt.Sprintf(", token server %v", p.token)
}

// furnish makes what servers and processes need for DPoP.
func (w *world) furnish() {
	plan := w.plan.dpop
	if plan == nil {
		return
	}
	w.api, w.login, w.jtis = newGate(w, "api", plan.api), newGate(w, "login", plan.token), make(map[string]bool)
	if d := w.chance.of("program", "key"); plan.ofProgram && plan.elliptic {
		w.programKey = newEllipticKey(d)
	} else if plan.ofProgram {
		w.programKey = newKey(d)
	}
}

// changeMind gives one of the servers another way with nonces.
func (w *world) changeMind(i incident) {
	d := w.chance.of("servers", "mind")
	g, mode := pick(d, w.api, w.login), nonceMode(d.below(int(nonceModes)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("", "", "%s: has %v from now on", g.name, mode)
	g.changeMind(mode)
}

// newKey makes a key that the dice decide.
func newKey(d *dice) crypto.Signer {
	var seed []byte
	for range 4 {
		seed = binary.LittleEndian.AppendUint64(seed, d.next())
	}
	return ed25519.NewKeyFromSeed(seed)
}

// newEllipticKey is that on P-256.
func newEllipticKey(d *dice) crypto.Signer {
	scalar := make([]byte, 0, 32)
	for range 4 {
		scalar = binary.BigEndian.AppendUint64(scalar, d.next()>>1) // below the order of the curve
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		panic(err)
	}
	return key
}

// bound returns the token of a sign-in as it is bound to a key. w.mu is held.
func (w *world) bound(t *token, tok reauth.Token, d *dice) reauth.Token {
	plan := w.plan.dpop
	if plan == nil {
		return tok
	}
	tok.TokenType = "DPoP"
	if !plan.everywhere {
		tok.TokenType = "Bearer"
	}
	key := w.programKey
	if key == nil {
		if t.signedInBare && w.plan.rotates && d.percent(50) {
			return tok // the first refresh binds it
		}
		key = newKey(d)
		var err error
		if tok, err = oauth.BindKey(tok, key); err != nil {
			panic(err)
		}
	}
	jkt, err := oauth.Thumbprint(key.Public())
	if err != nil {
		panic(err)
	}
	t.jkt = jkt
	return tok
}

// typeOfToken is the token_type that the token server names.
func (w *world) typeOfToken() string {
	if w.plan.dpop != nil && w.plan.dpop.everywhere {
		return "DPoP"
	}
	return "bearer"
}

// A call is one of an oauth.Refresher's Refresh with DPoP, in which it may ask several times.
type call struct {
	began  time.Time
	asked  time.Time // when it first asked
	leases []*lease  // that it had then
	sends  int
	last   *answered // to what it sent last; nil: it was not answered
	update bool      // it is made by the function of an Update
	halted bool      // something other than an answer has ended it

	demands int // answers with useNonce
	proofs  int // refusals that may have been the proof's fault
}

// An answered request is one of a call.
type answered struct {
	hearing
	final bool // invalid_grant
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// A provingRefresher is an oauth.Refresher whose calls are watched.
type provingRefresher struct {
	*oauth.Refresher
	p *process
}

func (r provingRefresher) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	c := &call{began: time.Now()}
	tok, err := r.Refresher.Refresh(context.WithValue(ctx, callKey{}, c), old)
	if err != nil && !c.halted && ctx.Err() == nil {
		r.p.w.judgeCall(r.p, reauth.SessionFromContext(ctx), c)
	}
	return tok, err
}

// renew is what the function of an Update refreshes with.
func (p *process) renewWith(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	if p.proving == nil {
		return p.refresh(ctx, old)
	}
	tok, err := p.proving.Refresh(ctx, old)
	if err != nil {
		return reauth.Token{}, errors.New("no token")
	}
	return tok, nil
}
