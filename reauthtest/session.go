package reauthtest

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

// SignIn starts a session for user, as a sign-in page would, and returns its
// first token. It sends no request. A user may have any number of sessions.
func (s *Server) SignIn(user string) Issued { return s.issuer.signIn(user).Issued }

// Refresh exchanges a refresh token as the token endpoint does, by the same rules and
// with the same counts, except that it does not count as a request. It is for the
// handlers of [Server.HandleRefresh]. The error has the code of RFC 6749 section 5.2 for
// which the token was refused.
func (s *Server) Refresh(refreshToken string) (Issued, error) {
	out, err := s.issuer.exchange(refreshToken)
	if err != nil {
		return Issued{}, err
	}
	return out.Issued, nil
}

// ExpireAccess makes the access tokens that were issued so far expire at once, those of
// the named users, or of all users if none is named. Refresh tokens stay valid.
func (s *Server) ExpireAccess(users ...string) {
	s.issuer.each(users, func(of *session) { of.expiredThrough = of.generation })
}

// Revoke ends the sessions of the named users, or of all users if none is named. Their
// access tokens are refused, and their refresh tokens get invalid_grant.
func (s *Server) Revoke(users ...string) {
	s.issuer.each(users, s.issuer.revoke)
}

// An issuer makes tokens, and remembers each of them.
type issuer struct {
	opts    Options
	key     []byte // signs the JWTs
	counter *counter

	mu       sync.Mutex
	sessions []*session
	clients  map[string]*session // by client ID, for client_credentials
	access   map[string]*accessToken
	refresh  map[string]*refreshToken
}

// A session is guarded by its issuer's mutex, as are its tokens.
type session struct {
	user           string
	generation     int
	expiredThrough int // access tokens up to this generation have expired on command
	revoked        bool
}

type accessToken struct {
	session    *session
	generation int
	expiry     time.Time // zero: never
	revoked    bool
}

type refreshToken struct {
	session *session
	uses    int
	spent   time.Time // zero: not yet
	answer  issued    // the answer to its first use
}

func newIssuer(opts Options, counter *counter) *issuer {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its contract
	return &issuer{
		opts:    opts,
		key:     key,
		counter: counter,
		clients: make(map[string]*session),
		access:  make(map[string]*accessToken),
		refresh: make(map[string]*refreshToken),
	}
}

// clock returns the time by the server's clock.
func (i *issuer) clock() time.Time { return time.Now().Add(i.opts.ClockSkew) }

func (i *issuer) signIn(user string) issued {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counter.update(func(c *Counts) { c.SignIns++ })
	return i.issue(i.begin(user), true)
}

// exchange is the refresh_token grant (RFC 6749 section 6).
func (i *issuer) exchange(text string) (issued, *oauthError) {
	i.mu.Lock()
	defer i.mu.Unlock()
	out, err := i.redeem(text)
	i.counter.update(func(c *Counts) {
		if err != nil {
			c.RefreshesRefused++
		} else {
			c.RefreshesGranted++
		}
	})
	return out, err
}

func (i *issuer) redeem(text string) (issued, *oauthError) {
	token := i.refresh[text]
	if token == nil {
		return issued{}, invalidGrant("the refresh token is unknown")
	}
	token.uses++
	i.counter.update(func(c *Counts) {
		c.MaxUsesOfOneRefreshToken = max(c.MaxUsesOfOneRefreshToken, token.uses)
	})
	spent := !token.spent.IsZero()
	if spent && !token.session.revoked && time.Since(token.spent) < i.opts.ReuseInterval {
		return token.answer, nil
	}
	if spent {
		i.counter.update(func(c *Counts) { c.ReusesDetected++ })
		if !i.opts.TolerateReuse {
			i.revoke(token.session)
		}
		return issued{}, invalidGrant("the refresh token has been used before")
	}
	if token.session.revoked {
		return issued{}, invalidGrant("the session has been revoked")
	}
	if i.opts.RefreshEndsAccess {
		token.session.expiredThrough = token.session.generation
	}
	rotate := !i.opts.KeepRefreshToken
	out := i.issue(token.session, rotate)
	if rotate {
		token.spent, token.answer = time.Now(), out
	}
	return out, nil
}

// clientToken is the client_credentials grant (RFC 6749 section 4.4). All tokens of one
// client belong to one session, so that they have generations.
func (i *issuer) clientToken(client string) issued {
	i.mu.Lock()
	defer i.mu.Unlock()
	of := i.clients[client]
	if of == nil || of.revoked {
		of = i.begin(client)
		i.clients[client] = of
	} else if i.opts.RefreshEndsAccess {
		of.expiredThrough = of.generation
	}
	i.counter.update(func(c *Counts) { c.RefreshesGranted++ })
	return i.issue(of, false)
}

func (i *issuer) begin(user string) *session {
	of := &session{user: user}
	i.sessions = append(i.sessions, of)
	return of
}

// identify returns whose access token it is, as far as that is known, and whether it is
// valid.
func (i *issuer) identify(text string) (user string, generation int, good bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	token := i.access[text]
	if token == nil {
		return "", 0, false
	}
	of := token.session
	good = !of.revoked && !token.revoked && token.generation > of.expiredThrough &&
		(token.expiry.IsZero() || time.Now().Before(token.expiry))
	return of.user, token.generation, good
}

// revokeToken ends the session of a refresh token, or an access token alone (RFC 7009
// section 2.1).
func (i *issuer) revokeToken(text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counter.update(func(c *Counts) { c.Revocations++ })
	if token := i.refresh[text]; token != nil {
		i.revoke(token.session)
	} else if token := i.access[text]; token != nil {
		token.revoked = true
	}
}

// each calls do with every session of users, or with all sessions if users is empty.
func (i *issuer) each(users []string, do func(*session)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, of := range i.sessions {
		if len(users) == 0 || slices.Contains(users, of.user) {
			do(of)
		}
	}
}

// revoke is called with the mutex held.
func (i *issuer) revoke(of *session) {
	if of.revoked {
		return
	}
	of.revoked = true
	i.counter.update(func(c *Counts) { c.SessionsRevoked++ })
}
