package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// connect sends the browser to the third party, to sign in there.
func (b *backend) connect(w http.ResponseWriter, r *http.Request) {
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	if err := b.rememberSignIn(r.Context(), state, b.owner(w, r), verifier); err != nil {
		b.fail(w, r, err)
		return
	}
	http.Redirect(w, r, b.signIn.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

// callback is where the third party sends the browser back to. A user may have been given
// the address by an attacker: with the attacker's code, to have the attacker's account
// here, or after the attacker has begun the sign-in, to have the user's account there. So
// only the browser that has begun it can end it, and only with the code that the third
// party issued for it (RFC 9700 section 4.7, RFC 7636).
func (b *backend) callback(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	verifier, ok, err := b.takeSignIn(r.Context(), query.Get("state"), b.owner(w, r))
	switch {
	case err != nil:
		b.fail(w, r, err)
	case !ok:
		b.show(w, r, http.StatusBadRequest, "foreign")
	case query.Get("error") == "access_denied":
		http.Redirect(w, r, "/?notice=refused", http.StatusSeeOther)
	case query.Get("error") != "" || query.Get("code") == "":
		b.log.WarnContext(r.Context(), "the third party gave no code", "error", query.Get("error"))
		http.Redirect(w, r, "/?notice=failed", http.StatusSeeOther)
	default:
		notice := "connected"
		// The code is spent, so what follows is done even if the browser goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
		defer cancel()
		if err := b.exchange(ctx, b.owner(w, r), query.Get("code"), verifier); err != nil {
			b.log.WarnContext(ctx, "an account was not connected", "error", err)
			notice = "failed"
			if errors.Is(err, errDisconnected) {
				notice = "meanwhile"
			}
		}
		http.Redirect(w, r, "/?notice="+notice, http.StatusSeeOther)
	}
}

var errDisconnected = errors.New("the account was disconnected meanwhile")

// straight follows no redirect, which would carry code, verifier, secret or token along.
var straight = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// exchange gets the token, and asks whose it is. It is the token of a session from then on.
func (b *backend) exchange(ctx context.Context, owner, code, verifier string) (err error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, straight)
	got, err := b.signIn.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if failed, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // its text may repeat the request
		return fmt.Errorf("the third party answered %d, error code %q", failed.Response.StatusCode, failed.ErrorCode)
	} else if err != nil {
		return err
	}
	tok := reauth.Token{AccessToken: got.AccessToken, TokenType: got.TokenType, RefreshToken: got.RefreshToken, Expiry: got.Expiry}
	// Giving the token up has a time of its own, because ctx may be what has ended.
	giveUp := func(how func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return how(ctx)
	}
	signedIn := false
	defer func() {
		if !signedIn { // nobody knows of this token any more
			err = errors.Join(err, giveUp(func(ctx context.Context) error { return b.refresher.Revoke(ctx, tok) }))
		}
	}()
	subject, name, err := b.whose(ctx, got)
	if err != nil {
		return err
	}
	// First the row: a token without one would be a connection that no page shows.
	id, err := b.insert(ctx, owner, subject, name)
	if err != nil {
		return err
	}
	session := b.transport.Session(id)
	if err := session.SignIn(ctx, tok); err != nil {
		return err
	}
	signedIn = true
	switch ok, err := b.markConnected(ctx, id); {
	case err != nil: // the worker will mark it
		return err
	case !ok:
		return errors.Join(errDisconnected, giveUp(session.SignOut))
	}
	return nil
}

// whose asks the third party whose token it is.
func (b *backend) whose(ctx context.Context, tok *oauth2.Token) (subject, name string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.api+"/v1/me", nil)
	if err != nil {
		return "", "", err
	}
	tok.SetAuthHeader(req)
	var me struct{ ID, Name string }
	if err := getJSON(straight, req, &me); err != nil {
		return "", "", err
	}
	if me.ID == "" {
		return "", "", errors.New("the third party does not say whose account it is")
	}
	return me.ID, me.Name, nil
}

// disconnect ends a connection, here and at the third party. It holds in the worker at
// once, which is told by Watch.
func (b *backend) disconnect(w http.ResponseWriter, r *http.Request) {
	a, ok := b.ownAccount(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	if err := b.markDisconnecting(ctx, a.ID); err != nil {
		b.fail(w, r, err)
		return
	}
	notice := "disconnected"
	if err := b.transport.Session(a.ID).SignOut(ctx); err != nil {
		// The token may live on at the third party. The row stays, for another try.
		b.log.WarnContext(ctx, "an account was not disconnected completely", "account", a.ID, "error", err)
		notice = "half"
	} else if err := b.delete(ctx, a.ID); err != nil {
		b.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/?notice="+notice, http.StatusSeeOther)
}

// getJSON reads the answer to req, which is an error if its status is not 200.
func getJSON(client *http.Client, req *http.Request, into any) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the third party's API answered %s", resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}
