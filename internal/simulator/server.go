package simulator

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/reauth-go/reauth"
)

// secretMark is in every secret, so that one that has got out is seen.
const secretMark = "SeCReT"

// A server is what the token server knows. Everything in it is guarded by
// world.mu.
type server struct {
	w         *world
	families  map[string][]*family // by session
	byAccess  map[string]*token
	byRefresh map[string]*token // the last one, where it is not rotated
	out       time.Time         // until when it answers nothing
}

// A family is all the tokens of one sign-in.
type family struct {
	user    string
	number  int // ann has signed in that many times
	tokens  []*token
	began   time.Time
	dead    bool
	excused bool   // it died by a use that had an excuse
	floor   int    // access tokens up to this generation are refused
	by      string // the process that signed in
	stored  bool   // the Save of its first token succeeded, and the process was told
	removed bool   // it was deleted from the store
	shared  bool   // Config.SignIn has brought it
}

// A token is one generation of a family.
type token struct {
	family          *family
	generation      int
	access, refresh string
	issued, expires time.Time
	lifetime        time.Duration // as its owner was told; 0: how the owner reads it cannot be known
	unknown         bool          // its owner was told nothing
	jkt             string        // the thumbprint of the key that it is bound to, or ""
	counted         time.Time     // from when lifetime counts at the earliest
	by              *process      // whose refresh brought it; nil: it is of a sign-in
	got             time.Time     // when that process had it
	signedInBare    bool          // SignIn was given its refresh token alone
	salvaged        bool          // its answer broke off behind the refresh token
	forgotten       bool          // the store has forgotten it
	spent           *spend        // its refresh token has been used; never where it is not rotated

	saveBegan, saved time.Time
	saveFailed       bool
}

// A spend is the use of a refresh token.
type spend struct {
	by     *process
	leases []*lease // that it had
	asked  time.Time
	ended  time.Time // when the answer was there, or was lost
	fate   fate
	next   *token
}

type fate int

const (
	underWay fate = iota
	delivered
	lost
)

func (t *token) String() string {
	if t == nil {
		return "no token"
	}
	return fmt.Sprintf("%s/%d/%d", t.family.user, t.family.number, t.generation)
}

// told is when the token expires at the earliest, by the lifetime its owner was told.
func (t *token) told() time.Time { return t.counted.Add(t.lifetime) }

func newServer(w *world) *server {
	return &server{
		w: w, families: make(map[string][]*family),
		byAccess: make(map[string]*token), byRefresh: make(map[string]*token),
	}
}

// signIn is what the user does at the token server, before SignIn.
func (s *server) signIn(p *process, session string) *token {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	f := &family{user: session, number: len(s.families[session]) + 1, began: time.Now(), by: p.name}
	s.families[session] = append(s.families[session], f)
	return s.issue(f)
}

// issue makes the next token of a family. w.mu is held.
func (s *server) issue(f *family) *token {
	p := s.w.plan
	d := s.w.chance.of(fmt.Sprintf("%s/%d", f.user, f.number), "token")
	t := &token{family: f, generation: len(f.tokens) + 1, issued: time.Now()}
	lifetime := p.lifetime
	if p.varied {
		lifetime = s.w.span(d, lifetime/2, lifetime*3/2)
	}
	t.expires = t.issued.Add(lifetime)
	switch p.tokensAre {
	case opaque:
		t.access = fmt.Sprintf("a%s%016x", secretMark, d.next())
	default:
		iat := t.issued
		if p.tokensAre == jwtWithOldTime {
			iat = f.began
		}
		enc := base64.RawURLEncoding.EncodeToString
		t.access = enc([]byte(`{"alg":"HS256"}`)) + "." +
			enc(fmt.Appendf(nil, `{"exp":%d,"iat":%d,"jti":"%x"}`, t.expires.Add(p.skew).Unix(), iat.Add(p.skew).Unix(), d.next())) +
			"." + secretMark
	}
	t.refresh = fmt.Sprintf("r%s%016x", secretMark, d.next())
	if !p.rotates && len(f.tokens) > 0 {
		t.refresh = f.tokens[0].refresh
	}
	f.tokens = append(f.tokens, t)
	s.byAccess[t.access], s.byRefresh[t.refresh] = t, t
	s.w.trace.named(t.access, t.String())
	s.w.trace.named(t.refresh, t.String())
	t.saysLifetime(p)
	return t
}

// saysLifetime settles which lifetime the owner of t assumes, for the rules about when
// it may refresh the token.
func (t *token) saysLifetime(p *plan) {
	lifetime := t.expires.Sub(t.issued)
	switch {
	case p.told == toldExactly, p.told == toldAsText:
		t.lifetime = lifetime
	case p.told == toldWhole && lifetime >= time.Second:
		t.lifetime = lifetime.Truncate(time.Second)
	case p.tokensAre != opaque: // their times are by a clock that may be off
	case p.told != toldTooLong && p.told != toldAbsurd:
		t.unknown = true
	}
	t.counted = t.issued
}

// handOver is the token as a sign-in brings it.
func (s *server) handOver(t *token) reauth.Token {
	d := s.w.chance.of(t.String(), "sign-in")
	tok := reauth.Token{AccessToken: t.access, RefreshToken: t.refresh}
	if d.percent(30) && s.w.plan.signInBare {
		tok.AccessToken, t.signedInBare = "", true
	}
	if t.lifetime > 0 {
		tok.Expiry = t.issued.Add(t.lifetime)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.bound(t, tok, d)
}

// accepts reports whether the API takes an access token. w.mu is held.
func (s *server) accepts(t *token) bool {
	f := t.family
	return !s.isUnknown(t) && t.generation > f.floor && time.Now().Before(t.expires) && !(f.dead && s.w.plan.killsAccess)
}

// isUnknown reports whether the API has not learned of a token yet. w.mu is held.
func (s *server) isUnknown(t *token) bool {
	return t.by != nil && time.Since(t.issued) < s.w.plan.late
}

// A visit is one refresh request.
type visit struct {
	p       *process
	session string
	t       *token    // what is presented
	leases  []*lease  // that the process had
	knew    bool      // that they were lost
	update  bool      // it is made by the function of an Update
	called  time.Time // when the process began
	asked   time.Time

	// With DPoP.
	call    *call
	req     *http.Request
	proof   *proof
	fault   error     // why there is none
	hearing *answered // nil: the proof cannot be read
}

// refresh decides about a visit: the next token, or nil if the user must sign in.
// w.mu is held.
func (s *server) refresh(v *visit) *token {
	w, t := s.w, v.t
	if t == nil || t.family.dead {
		w.note(v.p.name, v.session, "token server: %s is refused: its session has ended", t)
		return nil
	}
	if t.spent != nil {
		w.judgeReuse(v)
		s.end(t.family)
		return nil
	}
	if v.proof != nil && !w.judgeKey(v.p, v.session, v.proof, t) {
		return nil
	}
	if w.plan.killsOld {
		t.family.floor = max(t.family.floor, t.generation)
	}
	next := s.issue(t.family)
	next.by, next.counted, next.jkt = v.p, v.called, t.jkt
	if v.proof != nil {
		next.jkt = v.proof.jkt
	}
	if w.plan.rotates {
		t.spent = &spend{by: v.p, leases: v.leases, asked: v.asked, next: next}
	}
	w.condition(v.session).fresh = true
	w.note(v.p.name, v.session, "token server: %s is exchanged for %s", t, next)
	return next
}

// end ends a session for good. w.mu is held.
func (s *server) end(f *family) {
	f.dead = true
	s.w.weigh(f.user)
}

// endSession ends the session that the store holds, as an administrator does.
func (s *server) endSession(session string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if t := s.w.storage.held[session]; t != nil {
		s.w.note("", session, "token server: ends %s/%d", t.family.user, t.family.number)
		s.end(t.family)
	}
}

// revokeAccess makes the API refuse what was issued so far. Refresh tokens stay good.
func (s *server) revokeAccess(session string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.note("", session, "token server: revokes the access tokens")
	for _, f := range s.families[session] {
		f.floor = len(f.tokens)
	}
}

// givenBack returns the token of a revocation: where refresh tokens stay the same, the
// first one. w.mu is held.
func (s *server) givenBack(presented string) *token {
	t := s.byRefresh[presented]
	if t != nil && !s.w.plan.rotates {
		return t.family.tokens[0]
	}
	return t
}

func (s *server) outUntil(end time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.out = end
}

// isOut reports whether the server answers nothing at the moment.
func (s *server) isOut() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return !s.w.calm && time.Now().Before(s.out)
}

// resolve returns the token that a reauth.Token is, or nil. w.mu is held.
func (s *server) resolve(tok reauth.Token) *token {
	if t := s.byRefresh[tok.RefreshToken]; t != nil && s.w.plan.rotates {
		return t // of a salvaged token the access token is that of the one before
	}
	if t := s.byAccess[tok.AccessToken]; t != nil {
		return t
	}
	return s.byRefresh[tok.RefreshToken]
}
