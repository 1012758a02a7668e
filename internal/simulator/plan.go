package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A plan is what a seed makes of the world before anything happens.
type plan struct {
	lasts     time.Duration // the time in which there are faults
	processes int
	sessions  []string
	callers   int           // of each process
	turns     float64       // how many percent of that are sign-ins and sign-outs
	pace      time.Duration // between two things that a caller does, on average
	grain     time.Duration // all times are multiples of it: a coarse one makes things coincide
	yields    bool          // the scheduler is offered a change at each choice

	// The settings of the Transports.
	timeout, pause, early time.Duration
	buffer                int64
	anonymous             bool
	function              bool // a RefresherFunc in place of an oauth.Refresher
	revokes               bool // the refresher has a revocation endpoint
	storage               storageKind

	// How the token server is.
	lifetime    time.Duration
	varied      bool // lifetimes differ
	told        told
	tokensAre   tokenKind
	skew        time.Duration // of its clock
	rotates     bool
	killsOld    bool          // a refresh revokes the access token before it
	killsAccess bool          // the end of a session revokes its access tokens too
	signInBare  bool          // a sign-in sometimes brings a refresh token only
	late        time.Duration // after which the API knows a token that a refresh brought; 0: it knows it at once

	// What else there is.
	polls   bool // somebody polls an endpoint that refuses every token
	signsIn bool // there is a Config.SignIn
	tells   bool // a wait for the lock ends when the token changes
	watches bool // processes are told what others store
	forgets bool // the store forgets a save, and nothing else goes wrong

	dpop *dpopPlan // nil: tokens are bound to no key

	// How processes and leases are.
	lease         time.Duration
	frozenDeaf    bool // what a frozen process waits for does not notice that its context ends
	handlerSignIn bool // OnEvent signs in where a sign-in is required

	isReliable bool // the store does what it should, whenever it is asked

	rates    [faultKinds]float64 // in percent of the occasions
	schedule []incident
}

// An incident is a fault that comes at a time rather than at an occasion.
type incident struct {
	at      time.Duration
	kind    fault
	process int // which place
	session string
	lasts   time.Duration
}

type storageKind int

const (
	locking storageKind = iota // a lease that can be lost
	memory                     // a MemoryStore
	plain                      // one that does not lock, of a single process
)

func (k storageKind) String() string {
	return [...]string{"a store with leases", "a MemoryStore", "a store that does not lock"}[k]
}

// told is how the token server states lifetimes.
type told int

const (
	toldExactly told = iota
	toldWhole        // in whole seconds
	toldAsText
	toldNothing
	toldZero
	toldNegative
	toldAbsurd
	toldTooLong
)

func (k told) String() string {
	return [...]string{
		"expires_in as it is", "expires_in in whole seconds", "expires_in as text", "no expires_in",
		"expires_in 0", "expires_in negative", "expires_in absurd", "expires_in too long",
	}[k]
}

// tokenKind is what access tokens are.
type tokenKind int

const (
	opaque tokenKind = iota
	jwt
	jwtWithOldTime // its iat is that of the sign-in
)

func (k tokenKind) String() string {
	return [...]string{"opaque", "JWTs", "JWTs with the iat of the sign-in"}[k]
}

var users = []string{"ann", "ben", ""}

// newPlan makes the plan of a seed. Each seed has faults of some kinds only, at
// rates of its own: where all happen at once, some hide others.
func newPlan(c *chance, o Options) *plan {
	d := c.of("plan", "")
	p := &plan{
		lasts:     d.between(10*time.Second, 30*time.Second),
		processes: 2 + d.below(3),
		callers:   2 + d.below(4),
		turns:     pick(d, 0.5, 1, 1, 8),
		pace:      pick(d, 100*time.Millisecond, 300*time.Millisecond, time.Second),
		grain:     pick(d, 1, time.Millisecond, 5*time.Millisecond, 25*time.Millisecond),
		yields:    d.percent(50),

		timeout:   pick(d, 500*time.Millisecond, time.Second, 2*time.Second),
		pause:     pick(d, 0, -1, 200*time.Millisecond, time.Second),
		early:     pick(d, 0, 0, 0, -1, 500*time.Millisecond),
		buffer:    pick[int64](d, 0, 0, -1, 64),
		anonymous: d.percent(10),
		function:  d.percent(25),
		revokes:   d.percent(50),

		lifetime:    pick(d, 300*time.Millisecond, time.Second, 2*time.Second, 5*time.Second, 10*time.Second),
		varied:      d.percent(30),
		told:        pick(d, toldExactly, toldExactly, toldExactly, toldWhole, toldAsText, toldNothing, toldZero, toldNegative, toldAbsurd, toldTooLong),
		tokensAre:   pick(d, opaque, opaque, jwt, jwtWithOldTime),
		skew:        pick(d, 0, 0, 0, -time.Hour, -time.Second, time.Second, 20*time.Second, time.Hour),
		rotates:     d.percent(85),
		killsOld:    d.percent(20),
		killsAccess: d.percent(70),
		signInBare:  d.percent(20),

		lease:         d.between(300*time.Millisecond, 3*time.Second),
		frozenDeaf:    d.percent(50),
		handlerSignIn: d.percent(15),

		polls:   d.percent(15),
		signsIn: d.percent(20),
		watches: d.percent(25),
		forgets: d.percent(6),
		tells:   d.percent(70),
	}
	if late := pick(d, 50*time.Millisecond, 200*time.Millisecond, 400*time.Millisecond); d.percent(30) && p.lifetime >= time.Second && (p.told == toldExactly || p.told == toldAsText) {
		p.late, p.killsOld = min(late, p.lifetime/4), false
	}
	p.sessions = users[:2+d.below(2)]
	switch {
	case d.percent(10):
		p.storage, p.processes = plain, 1
	case d.percent(10):
		p.storage = memory
	}
	if o.Unlocked {
		p.storage = plain
	}
	if p.told != toldExactly && p.told != toldAsText {
		p.pause = pick(d, 100*time.Millisecond, -1) // as its documentation says
	}
	if o.Lasts > 0 {
		p.lasts = o.Lasts
	}
	p.infest(d)
	p.arrange(d)
	p.bind(c.of("plan", "DPoP"), o)
	return p
}

// infest says which faults there are.
func (p *plan) infest(d *dice) {
	if d.percent(10) {
		return // none at all
	}
	share := pick(d, 15.0, 40.0, 70.0)
	for f := range ordinaryFaults {
		on, rate := d.percent(share), pick(d, 1.0, 3.0, 10.0)
		if on {
			p.rates[f] = rate
		}
	}
	for f := refreshUnreachable; f <= refreshExits; f++ {
		p.rates[f] *= 2 // there are not that many refreshes
	}
	for _, f := range []fault{refreshPanics, refreshExits, storePanics, handlerPanics, processFreezes, processDies} {
		p.rates[f] /= 3
	}
	if p.storage == memory { // it does none of these
		for f := loadFails; f <= storeOutage; f++ {
			p.rates[f] = 0
		}
		p.rates[processDies], p.rates[processFreezes] = 0, 0 // its processes are one
	}
	p.rates[storeForgets], p.rates[apiLearnsLate] = 0, 0 // see below, and late
	if p.forgets && p.storage == locking {
		for f := range faultKinds {
			if f < apiUnreachable || f > apiLearnsLate && f < callerCancels {
				p.rates[f] = 0
			}
		}
		p.rates[storeForgets], p.rates[updateFails] = 20, 10
	}
	if p.storage == plain {
		p.rates[lockFails], p.rates[lockAnswerLost], p.rates[leaseLost], p.rates[loadLags] = 0, 0, 0, 0
	}
	if !p.function {
		p.rates[refreshPanics], p.rates[refreshExits] = 0, 0 // a real one does not
	}
	p.isReliable = !p.handlerSignIn
	for f := range ordinaryFaults {
		if p.rates[f] > 0 && (f >= loadFails && f < callerCancels || f >= handlerSlow || f == refreshIgnoresContext || f == refreshPanics || f == refreshExits) {
			p.isReliable = false
		}
	}
	if p.rates[callerCancels] > 0 {
		p.rates[callerCancels] = 30
	}
	if p.rates[callerDeadline] > 0 {
		p.rates[callerDeadline] = 15
	}
}

// arrange says when the incidents come. For these a rate is how many there are in
// a minute, roughly.
func (p *plan) arrange(d *dice) {
	p.plot(d, serverOutage, sessionEnded, accessRevoked, savesOutage, storeForgets, storeOutage, processFreezes, processDies)
}

// plot says when the incidents of some kinds come.
func (p *plan) plot(d *dice, kinds ...fault) {
	for _, f := range kinds {
		times := int(p.rates[f]*p.lasts.Seconds()/60 + 0.9)
		for range times {
			i := incident{
				at: d.between(0, p.lasts), kind: f, process: d.below(p.processes),
				session: p.sessions[d.below(len(p.sessions))],
				lasts:   d.between(200*time.Millisecond, 2*p.timeout+2*time.Second),
			}
			i.at = p.coarse(i.at)
			p.schedule = append(p.schedule, i)
		}
	}
	slices.SortStableFunc(p.schedule, func(a, b incident) int { return int(a.at - b.at) })
}

// coarse rounds up to the grain. The result is never 0: in a bubble the race
// detector's runtime can crash on timers of no length (golang/go#78156).
func (p *plan) coarse(t time.Duration) time.Duration {
	return max((t+p.grain-1)/p.grain*p.grain, p.grain)
}

// refreshPause is what Config.RefreshPause amounts to.
func (p *plan) refreshPause() time.Duration {
	switch {
	case p.pause == 0:
		return 5 * time.Second
	case p.pause < 0:
		return 0
	}
	return p.pause
}

// window is how long before its end a token of that lifetime may be refreshed.
func (p *plan) window(lifetime time.Duration) time.Duration {
	switch {
	case p.early < 0:
		return 0
	case p.early == 0:
		return min(lifetime/4, 30*time.Minute)
	}
	return min(p.early, lifetime-lifetime/4)
}

// String says what is worth knowing of the plan in one line.
func (p *plan) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("%d processes with %d callers, %d sessions, %v", p.processes, p.callers, len(p.sessions), p.storage)
	if p.storage == locking {
		say(" of %v", p.lease)
	}
	say("; tokens of %v", p.lifetime)
	if p.varied {
		say(" or so")
	}
	say(", %v, %v", p.tokensAre, p.told)
	if !p.rotates {
		say(", not rotated")
	}
	if p.late > 0 {
		say(", known to the API after %v", p.late)
	}
	if p.skew != 0 {
		say(", clock off by %v", p.skew)
	}
	if p.dpop != nil {
		say("; %v", p.dpop)
	}
	say("; RefreshTimeout %v, RefreshPause %v, EarlyRefresh %v", p.timeout, p.pause, p.early)
	for _, o := range []struct {
		on   bool
		text string
	}{
		{p.function, "RefresherFunc"}, {p.anonymous, "Anonymous"}, {p.killsOld, "a refresh revokes the old access token"},
		{p.handlerSignIn, "OnEvent signs in"}, {p.polls, "a poller"}, {p.signsIn && !p.anonymous, "Config.SignIn"}, {p.watches, "Forget"},
	} {
		if o.on {
			say(", %s", o.text)
		}
	}
	say("; times in steps of %v, faults for %v:", p.grain, p.lasts.Round(time.Millisecond))
	none := true
	for f, rate := range p.rates {
		if rate > 0 {
			say(" [%v %.3g%%]", fault(f), rate)
			none = false
		}
	}
	if none {
		say(" none")
	}
	return b.String()
}
