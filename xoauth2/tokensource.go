package xoauth2

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// handedOutFor is how long a token that was handed out may be kept. Package oauth2 counts
// a token as expired ten seconds earlier, and one without an Expiry never.
const handedOutFor = time.Minute

// TokenSource returns a session as an oauth2.TokenSource, for a library that takes nothing
// else. session is a *reauth.Transport, with ctx to pick the session, or a *reauth.Session.
// ctx also bounds how long a call of Token waits, so it must not end before the source is
// done with.
//
// The source refreshes a token that is about to expire, once for all callers. But its users
// can't report a 401 to it. So a token that the API refuses before it expires is handed out
// again, and no request is replayed. Call [reauth.Session.Refresh] with the token if the
// library tells of the 401, or give the library an http.Client, if it takes one.
//
// [reauth.Config.Origins] does not apply either: an oauth2.Transport puts the token on every
// hop of a redirect, wherever that leads.
//
// The Expiry of a token is a minute from now at most, so that a source around this one, such
// as oauth2.NewClient makes, asks again each minute. Then it notices a sign-out or a refresh
// by others. The token has no refresh token, because spending that elsewhere would end the
// session, and of Extra it has only "id_token" and "scope".
func TokenSource(ctx context.Context, session interface {
	Token(context.Context) (reauth.Token, error)
}) oauth2.TokenSource {
	return source(func() (*oauth2.Token, error) {
		tok, err := session.Token(ctx)
		if err != nil {
			return nil, err
		}
		out := &oauth2.Token{AccessToken: tok.AccessToken, TokenType: tok.Type(), Expiry: time.Now().Add(handedOutFor)}
		if !tok.Expiry.IsZero() && tok.Expiry.Before(out.Expiry) {
			out.Expiry = tok.Expiry
		}
		extra := make(map[string]any)
		for _, name := range []string{"id_token", "scope"} {
			if value, ok := tok.Extra[name]; ok {
				extra[name] = value
			}
		}
		return out.WithExtra(extra), nil
	})
}

type source func() (*oauth2.Token, error)

func (s source) Token() (*oauth2.Token, error) { return s() }
