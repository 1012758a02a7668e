package reauthtest

import (
	"net/http"
	"time"
)

// Options say how a [Server] behaves. The zero value is a strict, modern
// server: JWTs that live one hour, a new refresh token with each refresh, and a
// session that is revoked when a spent refresh token is seen again. A Server
// copies its Options; changing them later has no effect.
type Options struct {
	// AccessLifetime is how long an access token is accepted after it was
	// issued. 0 means one hour; negative means that it does not expire, and no
	// lifetime is stated anywhere.
	//
	// Stated lifetimes and the times in a JWT are whole seconds, rounded down,
	// as they are on most servers, unless the lifetime is less than a second.
	// The token itself is accepted for exactly AccessLifetime.
	AccessLifetime time.Duration

	// Opaque makes access tokens random strings instead of JWTs, so that a
	// client can learn their lifetime only from expires_in.
	Opaque bool

	// OmitExpiresIn leaves expires_in out of the token endpoint's answers.
	OmitExpiresIn bool

	// TokenType is the token_type in answers. It is also the scheme that the
	// API expects in the Authorization header, in whatever case. Empty means
	// "Bearer".
	TokenType string

	// KeepRefreshToken turns rotation off: a refresh token can be used any
	// number of times, and the answer to a refresh holds none.
	KeepRefreshToken bool

	// TolerateReuse makes a spent refresh token that is presented again merely
	// refused. By default that also revokes the whole session, since one of the
	// two who hold the token must be a thief (RFC 9700 section 4.14.2).
	TolerateReuse bool

	// ReuseInterval is how long a spent refresh token still gets an answer,
	// which is the one that its first use got: a grace for clients that lost
	// it. 0 means not at all.
	ReuseInterval time.Duration

	// RefreshEndsAccess makes a refresh kill the session's earlier access
	// tokens at once. By default they live until they expire.
	RefreshEndsAccess bool

	// ClientID and ClientSecret are what the token and revocation endpoints
	// demand, by HTTP Basic or in the form (RFC 6749 section 2.3.1). An empty
	// ClientID lets any client in; an empty ClientSecret makes the client a
	// public one, which sends its ClientID alone.
	ClientID     string
	ClientSecret string

	// ClockSkew is by how much the server's clock is fast; negative for a slow
	// one. It shows in the Date header of every answer and in the times of a
	// JWT, and changes nothing about how long a token is accepted.
	ClockSkew time.Duration

	// RefreshLatency and APILatency are how long a refresh request and a
	// request to the protected API wait before the server looks at them. The
	// wait does not end when the client goes away: like a real server that is
	// slow, this one does its work all the same.
	RefreshLatency time.Duration
	APILatency     time.Duration

	// Refusal is how the API answers a request without a good access token.
	// A Status of 0 means 401 here. The zero value is 401 with the challenge of RFC 6750 section 3:
	// error="invalid_token" for a bad token, no error code for none at all.
	// For Django's answer, as an example, set Body to
	// {"code":"token_not_valid"}; for an API that says 403, set Status.
	Refusal Failure

	// RefuseEarly makes the API refuse a request over HTTP/1 at once, while its
	// body is still being sent. By default net/http's server first reads up to
	// 256 KiB of it. HTTP/2 always refuses early.
	RefuseEarly bool

	// AccessToken returns the access token that a request to the API carries,
	// or "" if there is none. Nil means the Authorization header; set it for an
	// API that wants its token in another header or in a cookie. It is called
	// concurrently.
	AccessToken func(*http.Request) string

	// TLS makes the server speak HTTP/2 over TLS, under a certificate that
	// Client and Transport trust.
	TLS bool
}

func (o Options) withDefaults() Options {
	if o.AccessLifetime == 0 {
		o.AccessLifetime = time.Hour
	}
	if o.TokenType == "" {
		o.TokenType = "Bearer"
	}
	if o.Refusal.Status == 0 {
		o.Refusal.Status = http.StatusUnauthorized
	}
	o.Refusal = o.Refusal.clone()
	return o
}
