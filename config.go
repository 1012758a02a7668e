package reauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/origin"
)

// Config says what a [Transport] works with. [New] copies it. The values
// that its fields point to must not be changed afterwards.
type Config struct {
	// Refresher renews sessions. Required.
	Refresher Refresher

	// Origins is where the token may go. Required, because a token sent elsewhere is a
	// token given away. An entry is an origin ("https://api.example.com",
	// "http://payments:8080"), one for all subdomains of a host
	// ("https://*.example.com"), or [AnyOrigin]. Requests to other places are sent
	// unchanged. So is a request at the end of a chain of redirects that has left the
	// origin its caller asked for, unless entries other than AnyOrigin name every hop.
	Origins []string

	// Base sends the requests. Nil means http.DefaultTransport, as it is when New is
	// called.
	Base http.RoundTripper

	// Store keeps the tokens. Nil means a [MemoryStore] of this Transport's own. A Store
	// that is also a [Locker] is locked while a token is replaced. Transports with
	// different tokens must not share one; see [Store].
	Store Store

	// Credential puts a token on a request. Nil means the Refresher if it is also a
	// Credential, and otherwise the zero [HeaderCredential]: Authorization: Bearer. A
	// request that already has the header that the credential writes is sent unchanged.
	Credential Credential

	// Anonymous lets requests of a session that has no token go out without one; their
	// responses come back unchanged. Otherwise such requests fail with
	// [ErrSignInRequired].
	Anonymous bool

	// RequireSession makes a request or call for the session with the empty name an error.
	// That is the session of a context that picks none. Set it in a program with many
	// sessions, so that forgetting [WithSession] can't act for another user.
	RequireSession bool

	// Refused reports whether the API refused the access token. Nil means
	// [DefaultRefused]. It is not called for responses with status 101. It may read the
	// response's body, of which it sees the first 64 KiB, and which is then put back for
	// the caller; closing it has no effect. A body that it reads to the end is followed by
	// the trailer. It must not keep the response.
	Refused func(*http.Response) bool

	// EarlyRefresh is how long before its expiry a token is refreshed in the background.
	// 0 means the last quarter of its lifetime, at most 30 minutes, so that the token
	// server may be away that long. If negative, a token is not refreshed before it has
	// expired. At most three quarters of the lifetime count. Where the token server names
	// [Token.RefreshAfter] or [Token.RefreshExpiry], those count too. Requests wait for an
	// early refresh only if they can't be sent twice, and only in the last tenth of the
	// lifetime.
	EarlyRefresh time.Duration

	// RefreshTimeout bounds each call of the Refresher and each of the Store. 0 means 30
	// seconds. It can't be negative.
	RefreshTimeout time.Duration

	// RefreshPause is how long after a refresh a refusal of the new token is taken to be
	// about permission: it is handed to the caller, and doesn't start a refresh. It does not
	// count where an endpoint has accepted this token or the one before, for then the refusal
	// is about the token. What an endpoint is, is told by origin, method and path, in which
	// segments with a digit count as one.
	//
	// An endpoint that refuses the replay too, and so whatever token it gets, starts no
	// refresh for a pause of its own, which doubles each time, up to 5 minutes. Where it has
	// accepted tokens before, it does not double. If more than two such endpoints are in one
	// folder, the pause after a refresh doubles for others there. If a refresh brings back
	// the token that was refused, it doubles for all.
	//
	// RefreshPause is also the least time between two looks at the store for a session that
	// is signed out, and the longest between two attempts at a pending save. 0 means 5
	// seconds. If negative, there is no pause. Set it lower than the lifetime of the
	// tokens if the token server doesn't state that.
	RefreshPause time.Duration

	// ReplayBuffer is how many bytes of a request body are kept, while it is sent, for a
	// second attempt. It is for bodies without GetBody, such as pipes. A longer one can't
	// be replayed, so its refusal is handed to the caller. 0 means 256 KiB. If negative,
	// nothing is kept.
	ReplayBuffer int64

	// OnEvent is called synchronously and concurrently. No lock is held, except that the
	// session is locked in the store during [EventRefreshStarted]. It delays what it is
	// called from, and must not wait for the Transport that calls it. The context is that
	// of the request or call that the event is about. For a refresh it has the values of
	// the request that caused it. See [LogEvents].
	OnEvent func(context.Context, Event)

	// SignIn signs in where nothing else helps, for example with a browser or a device
	// code. Nil means that requests fail with [ErrSignInRequired]. It is called once at a
	// time for a session, and shared by all requests and calls that need it. Each waits on
	// its own context, which an http.Client with a Timeout ends: a program that may have to
	// wait for its user calls [Session.Token] first. The context of SignIn ends when nobody
	// waits any more; it isn't bounded by RefreshTimeout. Requests with it are sent
	// unauthenticated, as those of a Refresher. [SessionFromContext] and
	// [RefusalFromContext] tell what it is for. Another process may sign in at the same
	// time; the last to finish counts. The token that it returns is stored even if nobody
	// waits any more, unless a sign-in or sign-out of the program came meanwhile. Requests
	// that were refused are then replayed with the new token. After an error it isn't called
	// again for RefreshPause. It is not called with Anonymous.
	SignIn func(context.Context) (Token, error)
}

// AnyOrigin, as an entry of Config.Origins, lets the token go wherever the caller sends a
// request over https, and over plain http to loopback ("localhost", 127.0.0.0/8 and ::1).
// Plain http to anywhere else still needs an entry of its own.
//
// It is meant for a client whose every request is for the API. A client that also fetches
// addresses that it was given from outside would hand them the token: name the origins
// instead. AnyOrigin says nothing about redirects. Once one has led to another origin, no
// later request of that chain carries the token unless entries name every origin on the
// way.
const AnyOrigin = origin.Any

const (
	defaultRefreshTimeout = 30 * time.Second
	defaultRefreshPause   = 5 * time.Second
	defaultReplayBuffer   = 256 << 10
)

// New returns a Transport. The error names every field that is wrong.
func New(cfg Config) (*Transport, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("reauth: "+format, args...)) }

	allowed, err := origin.Parse(cfg.Origins)
	faults = append(faults, err)
	if cfg.RefreshTimeout < 0 {
		fault("Config.RefreshTimeout %s is negative: a refresh must have a bound", cfg.RefreshTimeout)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"RefreshTimeout", cfg.RefreshTimeout}, {"RefreshPause", cfg.RefreshPause}, {"EarlyRefresh", cfg.EarlyRefresh}} {
		if d.value > expiry.MaxLifetime {
			fault("Config.%s %s is more than ten years", d.field, d.value)
		}
	}
	credential := cfg.Credential
	if credential == nil {
		var ok bool
		if credential, ok = cfg.Refresher.(Credential); !ok {
			credential = HeaderCredential{}
		}
	}
	headers := credentialHeaders(credential)
	var headerValue func(Token) (string, error) // nil: there is no fast path
	if c, ok := credential.(interface {
		HeaderValue(Token) (string, error)
	}); ok {
		headerValue = c.HeaderValue
	}
	switch {
	case cfg.Refresher == nil:
		fault("Config.Refresher is required")
	case isNil(cfg.Refresher):
		fault("Config.Refresher is a nil %T", cfg.Refresher)
	default:
		faults = append(faults, validate(cfg.Refresher))
	}
	switch {
	case cfg.Credential == nil, same(cfg.Refresher, cfg.Credential):
	case isNil(cfg.Credential):
		fault("Config.Credential is a nil %T", cfg.Credential)
	default:
		faults = append(faults, validate(cfg.Credential))
	}
	if headerValue != nil && len(headers) != 1 {
		fault("the credential, a %T, has HeaderValue, so Headers must name one header, and not Cookie: it names %q", credential, headers)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	t := &Transport{
		base:           orDefaultTransport(cfg.Base), // now: http.DefaultTransport may become this very Transport
		origins:        allowed,
		credential:     credential,
		headers:        headers,
		refused:        cfg.Refused,
		anonymous:      cfg.Anonymous,
		requireSession: cfg.RequireSession,
		replayBuffer:   cfg.ReplayBuffer,
	}
	t.hasOwn = func(req *http.Request) bool {
		own, _ := lookOver(req.Header, headers)
		return own
	}
	if t.replayBuffer == 0 {
		t.replayBuffer = defaultReplayBuffer
	}
	if s, ok := credential.(interface{ Strip(http.Header) }); ok {
		t.strip = s.Strip
	}
	if a, ok := credential.(interface{ Again(*http.Response) bool }); ok {
		t.again = a.Again
	}

	m := &sessions{
		refresher:     cfg.Refresher,
		store:         cfg.Store,
		headerValue:   headerValue,
		validateToken: tokenValidator(credential, headerValue),
		early:         cfg.EarlyRefresh,
		timeout:       cfg.RefreshTimeout,
		refreshPause:  cfg.RefreshPause,
		onEvent:       cfg.OnEvent,
		signIn:        cfg.SignIn,
		base:          time.Now(),
		limit:         maxSessions,
		byName:        make(map[string]*cachedSession),
	}
	if r, ok := cfg.Refresher.(interface{ NeedsToken() bool }); ok {
		m.declaresNeed = r.NeedsToken()
		m.needsToken.Store(m.declaresNeed)
	}
	if m.store == nil {
		m.store = new(MemoryStore)
	}
	if cfg.Anonymous {
		m.signIn = nil
	}
	m.locker, _ = m.store.(Locker)
	m.only = &cachedSession{owner: m}
	if m.timeout == 0 {
		m.timeout = defaultRefreshTimeout
	}
	switch {
	case m.refreshPause == 0:
		m.refreshPause = defaultRefreshPause
	case m.refreshPause < 0:
		m.refreshPause = 0
	}
	t.sessions = m
	return t, nil
}

// validate calls the optional method of a Refresher or Credential.
func validate(part any) error {
	if v, ok := part.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// tokenValidator returns what SignIn asks whether requests can carry a token. An empty
// access token is refreshed before its first use.
func tokenValidator(c Credential, headerValue func(Token) (string, error)) func(Token) error {
	if v, ok := c.(interface{ ValidateToken(Token) error }); ok {
		return v.ValidateToken
	}
	return func(tok Token) error {
		if headerValue == nil || tok.AccessToken == "" {
			return nil
		}
		_, err := headerValue(tok)
		return err
	}
}

// same reports whether a and b are one value, which is then validated once.
func same(a, b any) bool {
	return a != nil && b != nil && reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}
