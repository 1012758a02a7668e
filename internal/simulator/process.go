package simulator

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

const (
	apiOrigin      = "https://api.example"
	strangerOrigin = "https://stranger.example"
	tokenURL       = "https://login.example/token"
	revocationURL  = "https://login.example/revoke"
)

// A process is one Transport and its callers. Whatever crosses its boundary, to the
// API, the token server or the store, waits while it is frozen and fails once it is
// dead.
type process struct {
	w       *world
	name    string
	place   int
	tr      *reauth.Transport
	client  *http.Client
	proving *provingRefresher // nil: there is no DPoP
	died    chan struct{}
	inside  atomic.Int64 // calls of the token server and the store that have not returned

	// Guarded by world.mu.
	dead   bool
	frozen chan struct{} // nil unless it is
	thawed time.Time     // when it last was
	leases map[*lease]struct{}
	knows  map[string]*knowledge
}

// A knowledge is what has passed between a process and one session, as far as the
// rules ask for it.
type knowledge struct {
	carried  map[*token]time.Time // when a request first carried it
	last     *token               // the token that a request carried last
	changed  time.Time            // when the token last changed, as OnEvent heard
	refused  map[*token]bool      // the API refused its access token here
	final    map[*token]bool      // the token server refused its refresh token here for good
	finalAt  time.Time            // when it last did
	salvaged *token               // the refresh token that came alone last
	obtained *token               // the token that a refresh brought last
	leases   []*lease             // those that have not been given back, also if they are lost
	signing  int                  // calls of Config.SignIn under way
	asking   int                  // refreshes under way
	asked    time.Time            // when the first of them began

	seen         experience
	gaveBack     map[*token]time.Time // when it was last asked to revoke a token
	notGivenBack map[*token]time.Time // when that failed, unless it has succeeded since

	turns        []*turn
	signOut      time.Time // when one last began; zero if the session is known to be back
	forgot       time.Time // when it was last told that the store has changed
	outFailed    bool      // a SignOut has returned an error
	stuck        time.Time // until when a write ignored its context beyond RefreshTimeout
	loadFailed   time.Time // when a Load last did
	lockTimedOut time.Time // when a Lock last waited in vain
	lockFailed   time.Time // when a Lock last did, for another reason than that somebody holds it

	failed         time.Time     // when a refresh failed; zero if nothing is left of that
	failedPause    time.Duration // for how long no refresh may follow, at least
	refusedForGood *token        // the last token that was refused for good
	required       bool          // OnEvent has heard that a sign-in is required
	requiredFor    *token        // refusedForGood at that time
	proofFailed    time.Time     // when a refresh last failed because of its proof
}

// A turn is a call of SignIn or SignOut in a process.
type turn struct {
	began  time.Time
	ended  time.Time // zero while it is under way
	family *family   // nil: a sign-out
	shared bool      // it is of Config.SignIn
	failed bool
}

// good returns the token that the process has for certain, and may use: a request
// has carried it since the last change, nothing has refused it here, and it has not
// expired as far as the process can know.
func (k *knowledge) good() *token {
	t, now := k.last, time.Now()
	switch {
	case k.salvaged != nil && t != nil && k.salvaged.family == t.family && k.salvaged.generation > t.generation:
		return nil // it may have no access token now
	case t == nil || k.refused[t] || t.lifetime == 0 || !now.Before(t.told()):
		return nil
	case !k.carried[t].After(k.changed):
		return nil
	}
	for _, u := range k.turns {
		late := u.failed && u.family != nil && u.family.tokens[0].saved.After(k.carried[t])
		if u.ended.IsZero() || !u.ended.Before(k.carried[t]) || late {
			return nil
		}
	}
	return t
}

// overlaps reports whether two turns were under way at the same time.
func (t *turn) overlaps(o *turn) bool {
	return (t.ended.IsZero() || !t.ended.Before(o.began)) && (o.ended.IsZero() || !o.ended.Before(t.began))
}

// signsOutUnlocked reports whether a sign-out could not lock the store that was under way at
// any time since.
func (k *knowledge) signsOutUnlocked(since time.Time) bool {
	return slices.ContainsFunc(k.turns, func(t *turn) bool {
		return t.family == nil && (t.ended.IsZero() || !t.ended.Before(since)) && !k.lockFailed.Before(t.began)
	})
}

func (k *knowledge) isSigningOut() bool {
	return slices.ContainsFunc(k.turns, func(t *turn) bool { return t.family == nil && t.ended.IsZero() })
}

func (p *process) know(session string) *knowledge {
	k := p.knows[session]
	if k == nil {
		k = &knowledge{carried: make(map[*token]time.Time), refused: make(map[*token]bool), final: make(map[*token]bool), seen: newExperience(), gaveBack: make(map[*token]time.Time), notGivenBack: make(map[*token]time.Time)}
		p.knows[session] = k
	}
	return k
}

// start puts a new process in a place.
func (w *world) start(t *testing.T, place int) *process {
	w.mu.Lock()
	w.born++
	p := &process{
		w: w, name: fmt.Sprintf("p%d", w.born), place: place,
		died: make(chan struct{}), leases: make(map[*lease]struct{}), knows: make(map[string]*knowledge),
	}
	w.mu.Unlock()
	cfg := reauth.Config{
		Origins:        []string{apiOrigin},
		Base:           apiWire{p},
		Store:          w.storage.view(p),
		Anonymous:      w.plan.anonymous,
		EarlyRefresh:   w.plan.early,
		RefreshTimeout: w.plan.timeout,
		RefreshPause:   w.plan.pause,
		ReplayBuffer:   w.plan.buffer,
		OnEvent:        p.hear,
	}
	if w.plan.signsIn {
		cfg.SignIn = p.sharedSignIn
	}
	if w.plan.function {
		cfg.Refresher = reauth.RefresherFunc(p.refresh)
	} else {
		r := &oauth.Refresher{TokenURL: tokenURL, ClientID: "simulator", Client: newClient(tokenWire{p})}
		if w.plan.revokes {
			r.RevocationURL = revocationURL
		}
		cfg.Refresher = r
		if plan := w.plan.dpop; plan != nil {
			r.DPoP = &oauth.DPoP{Key: w.programKey, AllowBearer: !plan.everywhere}
			p.proving = &provingRefresher{r, p}
			cfg.Refresher = p.proving
			if plan.everywhere {
				cfg.Credential = r.DPoP
			}
		}
	}
	var err error
	p.tr, err = reauth.New(cfg)
	require.NoError(t, err)
	p.client = newClient(p.tr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.places[place]; before != nil {
		w.note(p.name, "", "takes the place of %s", before.name)
	}
	w.places[place] = p
	return p
}

// cross is called at each boundary of the process, in either direction. It waits
// while the process is frozen.
func (p *process) cross(ctx context.Context) error {
	p.w.moves.Add(1)
	for {
		p.w.mu.Lock()
		dead, frozen := p.dead, p.frozen
		p.w.mu.Unlock()
		switch {
		case dead:
			return errDead
		case frozen == nil:
			return nil
		}
		ended := ctx.Done()
		if p.w.plan.frozenDeaf {
			ended = nil
		}
		select {
		case <-frozen:
		case <-p.died:
		case <-ended:
			return context.Cause(ctx)
		}
	}
}

// enter counts a call of the token server or the store until it returns.
func (p *process) enter() (leave func()) {
	p.inside.Add(1)
	return func() { p.inside.Add(-1) }
}

// freeze stops the process for a while. Nothing extends its leases meanwhile.
func (p *process) freeze(d time.Duration) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.frozen != nil || d <= 0 {
		return
	}
	d = w.plan.coarse(d)
	w.note(p.name, "", "freezes for %v", d)
	p.frozen = make(chan struct{})
	for l := range p.leases {
		l.languish()
	}
	time.AfterFunc(d, p.thaw)
}

func (p *process) thaw() {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	w.note(p.name, "", "thaws")
	close(p.frozen)
	p.frozen, p.thawed = nil, time.Now()
	for l := range p.leases {
		l.revive()
	}
}

// die ends the process. A message that it has sent may still arrive, but it gets no
// answer.
func (p *process) die() {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	w.note(p.name, "", "dies")
	p.dead = true
	close(p.died)
	for l := range p.leases {
		l.languish()
	}
	w.deaths <- p
}

func (p *process) isDead() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.dead
}

// stumble may freeze the process or end it, where that hurts most: in the middle of
// a refresh.
func (p *process) stumble(d *dice) {
	w := p.w
	long := w.span(d, w.plan.lease/2, 2*w.plan.lease)
	switch {
	case w.strikes(d, processFreezes):
		p.freeze(min(long, time.Until(w.ends)))
	case w.strikes(d, processDies):
		p.die()
	}
}

// halted reports whether the process was frozen at any time since, or is dead.
// w.mu is held.
func (p *process) halted(since time.Time) bool {
	return p.dead || p.frozen != nil || !p.thawed.Before(since)
}

// arrives decides whether what a process has sent arrives, though the process may
// have died meanwhile. w.mu is held.
func (p *process) arrives(d *dice) bool {
	lucky := d.percent(50)
	// Where nothing fences them off, the late writes of a dead process are more than
	// any client could cope with.
	return !p.dead || lucky && p.w.plan.storage == locking
}
