package testworld

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// ErrFinal is what a Refresher returns once the token server has refused for good.
var ErrFinal = fmt.Errorf("the refresh token was refused: %w", reauth.ErrSignInRequired)

// An Authority is what a token server decides, without the server: which tokens are
// good, and what a refresh answers. Each session has one good access token. Times are
// those of the bubble it is in.
type Authority struct {
	Lifetime     time.Duration // of what it issues; 0: not stated, and endless
	Latency      time.Duration // of a refresh, once its token is issued
	Opaque       bool          // issued tokens do not state their expiry
	Overlap      bool          // a new token leaves those before it good until they expire
	SelfStarting bool          // it needs no refresh token, as one for client credentials

	Entered chan struct{} // if not nil, receives as each refresh arrives
	Gate    chan struct{} // if not nil, each refresh waits for a value or its close

	mu      sync.Mutex
	issued  int
	good    map[string][]grant // by session; the last is the newest
	calls   []time.Duration
	asked   []reauth.Token
	running int
	most    int
	answers []func(ctx context.Context) (reauth.Token, error) // used up one by one, before the rule
	began   time.Time
}

// A grant is an access token that the API accepts.
type grant struct {
	token string
	until time.Time // zero: endless
}

func NewAuthority() *Authority {
	return &Authority{good: map[string][]grant{}, began: time.Now()}
}

// Issue makes the next token; the one before is no longer good.
func (a *Authority) Issue() reauth.Token { return a.IssueFor("") }

// IssueFor is Issue for a session with a name.
func (a *Authority) IssueFor(session string) reauth.Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued++
	tok := reauth.Token{
		AccessToken:  fmt.Sprintf("secret-access-%d", a.issued),
		RefreshToken: fmt.Sprintf("secret-refresh-%d", a.issued),
	}
	g := grant{token: tok.AccessToken}
	if a.Lifetime != 0 {
		g.until = time.Now().Add(a.Lifetime)
		if !a.Opaque {
			tok.Expiry = g.until
		}
	}
	if !a.Overlap {
		a.good[session] = nil
	}
	a.good[session] = append(a.good[session], g)
	return tok
}

// Revoke makes the API refuse what was issued so far; the refresh tokens are good.
func (a *Authority) Revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.good)
}

// Answer makes the next refreshes answer with f, one after the other.
func (a *Authority) Answer(f ...func(context.Context) (reauth.Token, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, f...)
}

// Failing is an answer that is an error.
func Failing(err error) func(context.Context) (reauth.Token, error) {
	return func(context.Context) (reauth.Token, error) { return reauth.Token{}, err }
}

func (a *Authority) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	answer, done := a.enter(old)
	defer done()
	if a.Entered != nil {
		a.Entered <- struct{}{}
	}
	if a.Gate != nil {
		<-a.Gate
	}
	if answer != nil {
		return answer(ctx)
	}
	if a.Overlap { // as if its clock were that of the moment at which the request arrived
		tok := a.IssueFor(reauth.SessionFromContext(ctx))
		return tok, Pass(ctx, a.Latency)
	}
	if err := Pass(ctx, a.Latency); err != nil {
		return reauth.Token{}, err
	}
	if old.RefreshToken == "" && !a.SelfStarting {
		return reauth.Token{}, fmt.Errorf("nothing to refresh: %w", reauth.ErrSignInRequired)
	}
	return a.IssueFor(reauth.SessionFromContext(ctx)), nil
}

func (a *Authority) enter(old reauth.Token) (answer func(context.Context) (reauth.Token, error), done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, time.Since(a.began))
	a.asked = append(a.asked, old)
	a.running++
	a.most = max(a.most, a.running)
	if len(a.answers) > 0 {
		answer, a.answers = a.answers[0], a.answers[1:]
	}
	return answer, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
	}
}

func (a *Authority) Refreshes() int { return len(a.CallTimes()) }

// CallTimes returns when each refresh arrived, since the Authority was made.
func (a *Authority) CallTimes() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// Asked returns the token that each refresh came with, in order.
func (a *Authority) Asked() []reauth.Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// Spent returns the refresh token that each refresh came with, in order.
func (a *Authority) Spent() []string {
	spent := []string{}
	for _, tok := range a.Asked() {
		spent = append(spent, tok.RefreshToken)
	}
	return spent
}

// MostSpent returns how often the refresh token that was presented most was presented.
func (a *Authority) MostSpent() int {
	times := map[string]int{}
	most := 0
	for _, token := range a.Spent() {
		if token != "" {
			times[token]++
			most = max(most, times[token])
		}
	}
	return most
}

// Forgive makes refresh token count as never presented, because the server did not take it.
func (a *Authority) Forgive(refreshToken string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = slices.DeleteFunc(a.asked, func(tok reauth.Token) bool { return tok.RefreshToken == refreshToken })
}

// MostAtOnce returns how many refreshes were in progress when most were.
func (a *Authority) MostAtOnce() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most
}

func (a *Authority) Accepts(authorization string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		return false
	}
	for _, grants := range a.good {
		for _, g := range grants {
			if g.token == token {
				return g.until.IsZero() || time.Now().Before(g.until)
			}
		}
	}
	return false
}

// A Revoker is a Refresher that also revokes.
type Revoker struct {
	reauth.Refresher
	RevokeFunc func(context.Context, reauth.Token) error
}

func (r Revoker) Revoke(ctx context.Context, tok reauth.Token) error { return r.RevokeFunc(ctx, tok) }

// RevokingInto notes the refresh tokens that are revoked.
func RevokingInto(revoked *[]string) Setting {
	var mu sync.Mutex
	return func(cfg *reauth.Config, _ *World) {
		cfg.Refresher = Revoker{cfg.Refresher, func(_ context.Context, tok reauth.Token) error {
			mu.Lock()
			defer mu.Unlock()
			*revoked = append(*revoked, tok.RefreshToken)
			return nil
		}}
	}
}
