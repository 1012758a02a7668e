package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// parameter returns a parameter of the challenges of a response.
func parameter(header http.Header, name string) string {
	for _, c := range oauth.Challenges(header) {
		if c.Params[name] != "" {
			return c.Params[name]
		}
	}
	return ""
}

// missingScopes returns the scopes that a request would have needed, if its token may do
// too little (RFC 6750 section 3.1).
func missingScopes(resp *http.Response) (scopes []string, short bool) {
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		short = parameter(resp.Header, "error") == "insufficient_scope"
	}
	return strings.Fields(parameter(resp.Header, "scope")), short
}

type scopesKey struct{}

// scopesFor returns what a sign-in asks for: what a step-up needs, or what the challenge
// names, or what the server's documents name, or nothing, for what the authorization server
// thinks fit. With offline_access, where that is known, there is a refresh token.
func scopesFor(ctx context.Context, from source) []string {
	scopes, _ := ctx.Value(scopesKey{}).([]string)
	if scopes == nil {
		scopes = strings.Fields(parameter(challengeOf(ctx), "scope"))
	}
	if len(scopes) == 0 {
		scopes = from.scopes
	}
	const offline = "offline_access"
	if len(scopes) > 0 && slices.Contains(from.server.ScopesSupported, offline) {
		scopes = union(scopes, []string{offline})
	}
	return scopes
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// stepUps are the sign-ins for a token that may do more.
type stepUps struct {
	turn  chan struct{}        // held by the one call that signs in
	asked map[string]time.Time // the sets of scopes that users have been asked for, or until when not to try
}

// stepUpPause is how long calls share the failure of a step-up that did not get to the user.
const stepUpPause = time.Minute

func newStepUps() stepUps {
	return stepUps{turn: make(chan struct{}, 1), asked: make(map[string]time.Time)}
}

// stepUp signs in again, with the needed scopes added to those that the token has. It
// reports whether the request is worth another attempt. Calls that need the same at once
// share one sign-in, and nobody is asked for the same twice: a server that is not content
// with what it has asked for must not open one window after the other. If nobody could be
// asked, another call tries again after a pause.
//
// Config.SignIn is not called for this, because the session has a token, which stays if the
// user does not agree. Nor does signInPause matter: a token that may not do enough is not
// refused, and the one of another call's step-up may not have been sent yet.
func (c *client) stepUp(ctx context.Context, challenge http.Header, needed []string) bool {
	select {
	case c.steps.turn <- struct{}{}:
		defer func() { <-c.steps.turn }()
	case <-ctx.Done():
		return false
	}
	tok, err := c.session.Token(ctx)
	if err != nil {
		return false
	}
	granted := strings.Fields(tok.Extra["scope"])
	wanted := union(granted, needed)
	if len(needed) > 0 && len(wanted) == len(granted) {
		return true // another call has signed in for it
	}
	key := strings.Join(slices.Sorted(slices.Values(wanted)), " ")
	if until, known := c.steps.asked[key]; known && (until.IsZero() || time.Now().Before(until)) {
		return false
	}
	c.steps.asked[key] = time.Time{}
	windows := c.windows.Load()
	ctx = reauth.WithSession(context.WithValue(withChallenge(ctx, challenge), scopesKey{}, wanted), c.session.Name())
	if tok, err = c.signInNow(ctx); err != nil {
		if c.windows.Load() == windows {
			c.steps.asked[key] = time.Now().Add(stepUpPause)
		}
		return false
	}
	return c.session.SignIn(ctx, tok) == nil
}
