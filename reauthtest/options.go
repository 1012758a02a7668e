package reauthtest

import (
	"net/http"
	"time"
)

// Options configure a [Server]. The zero value is a strict, modern server, with JWTs that
// live one hour, a new refresh token with each refresh, and sessions that are revoked
// when a spent refresh token is used again. A Server copies its Options; changing them
// later has no effect.
type Options struct {
	// AccessLifetime is how long an access token is accepted after it was issued. 0 means
	// one hour. Negative means that it does not expire and that no lifetime is stated.
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
	// "Bearer". With "DPoP" no proof is asked for or checked.
	TokenType string

	// KeepRefreshToken turns rotation off: a refresh token can be used any
	// number of times, and the answer to a refresh holds none.
	KeepRefreshToken bool

	// TolerateReuse makes the server only refuse a spent refresh token that is used again.
	// By default it also revokes the whole session, because one of the two users of the
	// token must be an attacker (RFC 9700 section 4.14.2).
	TolerateReuse bool

	// ReuseInterval is how long a spent refresh token still gets the answer of its first
	// use. It helps clients that lost the answer. 0 means not at all.
	ReuseInterval time.Duration

	// RefreshEndsAccess makes a refresh revoke the session's earlier access tokens at
	// once. By default they are valid until they expire.
	RefreshEndsAccess bool

	// ClientID and ClientSecret are required by the token and revocation endpoints, by
	// HTTP Basic or in the form (RFC 6749 section 2.3.1). An empty ClientID accepts any
	// client. An empty ClientSecret makes the client public, so that it sends its
	// ClientID alone.
	ClientID     string
	ClientSecret string

	// ClockSkew is how much the server's clock is fast; negative means slow. It affects
	// the Date header of every answer and the times in a JWT, but not how long a token
	// is accepted.
	ClockSkew time.Duration

	// RefreshLatency and APILatency are how long a refresh request and a request to the
	// protected API wait before the server processes them. The wait does not end when
	// the client goes away. Like a slow real server, this one does its work all the
	// same.
	RefreshLatency time.Duration
	APILatency     time.Duration

	// Refusal is how the API answers a request without a valid access token. A Status of
	// 0 means 401 here. The zero value is 401 with the challenge of RFC 6750 section 3,
	// which is error="invalid_token" for an invalid token, and has no error code if there
	// is no token. For example, set Body to {"code":"token_not_valid"} for Django's
	// answer, or set Status for an API that answers 403.
	Refusal Failure

	// RefuseEarly makes the API refuse a request over HTTP/1 at once, while its body is
	// still being sent. By default net/http's server first reads up to 256 KiB of it.
	// Over HTTP/2 the API always refuses early.
	RefuseEarly bool

	// AccessToken returns the access token that a request to the API carries,
	// or "" if there is none. Nil means the Authorization header; set it for an
	// API that wants its token in another header or in a cookie. It is called
	// concurrently.
	AccessToken func(*http.Request) string

	// TLS makes the server speak HTTP/2 over TLS, with a certificate that Client and
	// Transport trust.
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
