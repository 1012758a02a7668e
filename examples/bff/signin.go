package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// reasons are the texts of the sign-in page, by the parameter why of its address.
var reasons = map[string]string{
	"ended":      "Your session has ended. Please sign in again.",
	"signed-out": "You have signed out.",
	"half":       "You have signed out here, but the server could not be told.",
}

type signInPage struct {
	Notice   string // why the user has come here
	Problem  string // why the sign-in has failed
	User     string
	Users    []string
	Password string
}

func (b *backend) showSignIn(w http.ResponseWriter, r *http.Request) {
	b.writeSignIn(w, r, http.StatusOK, signInPage{Notice: reasons[r.URL.Query().Get("why")]})
}

func (b *backend) writeSignIn(w http.ResponseWriter, r *http.Request, status int, page signInPage) {
	page.Users, page.Password = demoUsers, demoPassword
	b.write(w, r, status, "signin.html", page)
}

// signIn signs a user in, and gives the browser the cookie of a new session.
func (b *backend) signIn(w http.ResponseWriter, r *http.Request) {
	// The request of a user who is not signed in must be short, and so it is quick, too.
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "This form cannot be read.", http.StatusBadRequest)
		return
	}
	user := r.PostForm.Get("user")
	again := func(status int, problem string) {
		b.writeSignIn(w, r, status, signInPage{User: user, Problem: problem})
	}
	tok, err := b.exchange(r.Context(), user, r.PostForm.Get("password"))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.ErrorCode == "invalid_grant" {
		again(http.StatusUnprocessableEntity, "No user has that name and password.")
		return
	}
	// The browser may have its old identifier from an attacker, so that is never signed in.
	id := rand.Text()
	if err == nil {
		err = b.transport.Session(sessionName(id)).SignIn(r.Context(), tok)
	}
	if err != nil {
		if failed, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			// The text comes from the server, which may repeat the password.
			err = fmt.Errorf("the token server answered %d, error code %q", failed.Response.StatusCode, failed.ErrorCode)
		}
		b.log.WarnContext(r.Context(), "a sign-in failed", "error", err)
		again(http.StatusServiceUnavailable, "Signing in does not work just now. Please try again in a moment.")
		return
	}
	if old, ok := b.withSession(r); ok {
		if err := b.end(old); err != nil {
			b.log.WarnContext(r.Context(), "the browser's earlier session was not signed out", "error", err)
		}
	}
	http.SetCookie(w, b.cookie(id))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// exchange gets the first token. Sending the password through the backend keeps this
// example short. With another party's token server, send the browser there (RFC 6749
// section 4.1) and use the token that it issues.
func (b *backend) exchange(ctx context.Context, user, password string) (reauth.Token, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Timeout: 10 * time.Second,
		// A redirect would carry the password along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	tok, err := b.password.PasswordCredentialsToken(ctx, user, password)
	if err != nil {
		return reauth.Token{}, err
	}
	return reauth.Token{
		AccessToken:  tok.AccessToken,
		TokenType:    tok.TokenType,
		RefreshToken: tok.RefreshToken,
		Expiry:       tok.Expiry,
	}, nil
}

// signOut ends the session, in the store and at the token server, and removes the cookie.
func (b *backend) signOut(w http.ResponseWriter, r *http.Request) {
	why := "signed-out"
	if r, ok := b.withSession(r); ok {
		// Whatever the error, this process has signed the session out.
		if err := b.end(r); err != nil {
			b.log.WarnContext(r.Context(), "a sign-out was not complete", "error", err)
			why = "half"
		}
	}
	gone := b.cookie("")
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	http.Redirect(w, r, "/sign-in?why="+why, http.StatusSeeOther)
}

// end ends the session of r, even if the browser does not wait for it: a user who closes the
// window after the click is signed out too.
func (b *backend) end(r *http.Request) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	return b.transport.SignOut(ctx)
}
