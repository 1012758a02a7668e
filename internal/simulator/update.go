package simulator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

const (
	ruleUpdate  = "the error of an Update reaches its caller alone"
	ruleReenter = "the function of an Update cannot wait for itself"
	ruleUpdated = "an Update that a sign-out has overtaken is an error"
)

// updateKey is the context key of when the function of an Update began.
type updateKey struct{}

// errOfUpdate begins the errors that the functions of Updates return.
const errOfUpdate = "the function of the Update by "

// update calls Update, with a function that refreshes, fails, calls the Transport or signs
// out.
func (p *process) update(o *op, d *dice) {
	w := p.w
	fails, requires := w.strikes(d, updateFails), d.percent(50)
	reenters, signsOut, keeps := d.percent(20), d.percent(15), d.percent(20)
	takes := w.span(d, 1, 50*time.Millisecond)
	overtaken := false
	fn := func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
		began := time.Now()
		if err := pass(ctx, takes); err != nil {
			return reauth.Token{}, fmt.Errorf("%s%s: %w", errOfUpdate, o.name, err)
		}
		if reenters {
			p.reenter(ctx, o, old)
		}
		if signsOut {
			p.signOut(w.newOp(p, o.session, o.name+" within an Update"))
			overtaken = true
		}
		switch {
		case fails && requires:
			return reauth.Token{}, fmt.Errorf("%s%s: %w", errOfUpdate, o.name, reauth.ErrSignInRequired)
		case fails || old.RefreshToken == "":
			return reauth.Token{}, errors.New(errOfUpdate + o.name)
		case keeps:
			return old, nil
		}
		tok, err := p.renewWith(context.WithValue(ctx, updateKey{}, began), old)
		if err != nil {
			return reauth.Token{}, fmt.Errorf("%s%s: %w", errOfUpdate, o.name, err)
		}
		if tok.RefreshToken == "" { // what it returns is stored as it is
			tok.RefreshToken = old.RefreshToken
		}
		return tok, nil
	}
	o.updates = true
	var tok reauth.Token
	var err error
	w.tally.counts[countUpdates].Add(1)
	o.guarded(func() { tok, err = p.tr.Update(o.ctx, fn) })
	w.judgeOp(o, "Update", err)
	if err == nil {
		if !keeps { // what was salvaged has no access token
			w.judgeToken(o, tok)
		}
		if overtaken && !o.panicked {
			w.violated(ruleUpdated, p, o.session, "%s", o.name)
		}
	}
}

// reenter calls what would wait for the Update.
func (p *process) reenter(ctx context.Context, o *op, old reauth.Token) {
	began := time.Now()
	for what, call := range map[string]func() error{
		"Token":   func() error { _, err := p.tr.Token(ctx); return err },
		"Refresh": func() error { _, err := p.tr.Refresh(ctx, old); return err },
		"Update": func() error {
			_, err := p.tr.Update(ctx, func(context.Context, reauth.Token) (reauth.Token, error) { return old, nil })
			return err
		},
		"Wait": func() error { return p.tr.Wait(ctx) },
	} {
		if err := call(); err == nil || time.Since(began) > 0 {
			p.w.violated(ruleReenter, p, o.session, "%s: %s: %v after %v", o.name, what, err, time.Since(began))
		}
	}
}

// judgeUpdateError reports whether err is that of the function of an Update.
func (w *world) judgeUpdateError(o *op, what string, err error) bool {
	_, of, ok := strings.Cut(err.Error(), errOfUpdate)
	if ok && (what != "Update" || !strings.HasPrefix(of, o.name)) {
		w.violatedLocked(ruleUpdate, o.p, o.session, "%s: %s: %v", o.name, what, err)
	}
	return ok
}
