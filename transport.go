// Package reauth keeps HTTP requests signed in.
//
// A [Transport] is an [http.RoundTripper] that wraps another. It puts the
// session's access token on each request, refreshes it shortly before it ends,
// notices when the API refuses it before that (401), lets every request that was
// refused at the same time wait for one shared refresh, and sends each of them
// once more with the new token. The caller sees only the answer:
//
//	tr, err := reauth.New(reauth.Config{
//		Refresher: &reauth.OAuth2Refresher{TokenURL: tokenURL, ClientID: id},
//		Origins:   []string{"https://api.example.com"},
//	})
//	client := &http.Client{Transport: tr}
//	err = tr.SignIn(ctx, reauth.Token{AccessToken: a, RefreshToken: r})
//	resp, err := client.Get("https://api.example.com/me")
//	if errors.Is(err, reauth.ErrSignInRequired) { /* show the sign-in page */ }
//
// A program has one session, or many that are told apart by [WithSession]. Each
// has a token, of which every refresh, sign-in and sign-out makes the next
// generation. How a session is renewed is a [Refresher]'s business, where its
// token is kept a [Store]'s, and how it is put on a request a [Credential]'s.
//
// # Errors
//
// A request whose session has no usable token fails with a [*RefreshError]: the
// refresh that it needed has failed, and a 401 from before would only mislead. If
// [ErrSignInRequired] is in its chain, the user must sign in again. In this a
// Transport departs from the letter of http.RoundTripper, which wants an error
// only where no response was had.
package reauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"
)

// Config says what a [Transport] works with. [New] copies it; what the fields
// point to must not be changed afterwards.
type Config struct {
	// Refresher renews sessions. Required.
	Refresher Refresher

	// Origins is where the token may go. Required, since a token sent elsewhere is
	// a token given away. An entry is an origin ("https://api.example.com",
	// "http://payments:8080"), one for all subdomains of a host
	// ("https://*.example.com"), or [AnyOrigin]. Requests to other places are sent
	// as they are. So is a request at the end of a chain of redirects that has left
	// the origin its caller asked for, unless entries other than AnyOrigin name
	// every hop.
	Origins []string

	// Base sends the requests. Nil means http.DefaultTransport, as it is when New
	// is called.
	Base http.RoundTripper

	// Store keeps the tokens. Nil means a [MemoryStore] of this Transport's own. A
	// Store that is also a [Locker] is locked while a token is replaced.
	Store Store

	// Credential puts a token on a request. Nil means the Refresher where that is a
	// Credential too, as a [CookieSession] is, and otherwise the zero
	// [HeaderCredential]: Authorization: Bearer. A request on which its caller has
	// already set the header that the credential writes is sent as it is.
	Credential Credential

	// Anonymous lets requests of a session that has no token go out without one,
	// and without a [CookieSession]'s cookies, which in a shared jar may be those of
	// another session; their answers come back as they are. Otherwise they fail with
	// [ErrSignInRequired].
	Anonymous bool

	// Refused reports whether the API refused the access token. Nil means
	// [DefaultRefused]; it is not asked about 101 answers. It may read the
	// response's body, of which it sees the first 64 KiB and which is then put back
	// for the caller; closing it does nothing. It must not keep the response.
	Refused func(*http.Response) bool

	// EarlyRefresh is how long before its end a token is refreshed in the
	// background. 0 means the last tenth of its lifetime, at most 5 minutes;
	// negative, not before it has ended. It counts for at most three quarters of the
	// lifetime.
	EarlyRefresh time.Duration

	// RefreshTimeout bounds each call of the Refresher, and each of the Store. 0
	// means 30 seconds; it cannot be negative.
	RefreshTimeout time.Duration

	// RefreshPause is for how long a token that a refresh has just brought is not
	// refreshed again because it is refused: such a refusal is about permission,
	// and is the answer. While refreshes go on not helping it doubles, up to 5
	// minutes. It is also the least time between two looks at the store for a
	// session that is signed out, and between two attempts at a save that is owed. 0
	// means 5 seconds; negative, none. Set it lower than the lifetime of the
	// tokens where that is not stated.
	RefreshPause time.Duration

	// ReplayBuffer is how many bytes of a request body are kept, while it is being
	// sent, for a second attempt. It is for bodies without GetBody, such as pipes; a
	// longer one cannot be replayed, and its refusal is the answer. 0 means 256
	// KiB; negative, none.
	ReplayBuffer int64

	// OnEvent is told what happens, synchronously, from many goroutines at once, with
	// no lock held but one: at [EventRefreshStarted] the session is locked in the
	// store. It delays what it is called from and must not wait for the Transport
	// that calls it. The context is that of the request or call that the event is
	// about; for a refresh, one with the values of the request that set it off. See
	// [LogEvents].
	OnEvent func(context.Context, Event)
}

const (
	defaultRefreshTimeout = 30 * time.Second
	defaultRefreshPause   = 5 * time.Second
	defaultReplayBuffer   = 256 << 10
)

// A Transport is an [http.RoundTripper] that authenticates the requests of
// sessions and renews those sessions. [New] makes one; the zero value does not
// work. It is safe for concurrent use, and must not be copied.
//
// It keeps at most 131,072 sessions in its cache, besides those that are in use;
// others are forgotten, least recently used first, and loaded from the store when
// they come back. A session that was signed out stays for a day, or for good, if the
// Refresher may or does answer without a token: to forget it would sign it in again.
type Transport struct {
	base         http.RoundTripper
	origins      origins
	credential   Credential
	headers      []string // what the credential writes
	refused      func(*http.Response) bool
	anonymous    bool
	replayBuffer int64
	hasOwn       func(*http.Request) bool
	sessions     *sessions
}

// New returns a Transport. The error names every field that is wrong.
func New(cfg Config) (*Transport, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("reauth: "+format, args...)) }

	switch r := cfg.Refresher.(type) {
	case nil:
		fault("Config.Refresher is nil: it says how a session is renewed")
	default:
		if v := reflect.ValueOf(r); v.Kind() == reflect.Pointer && v.IsNil() {
			fault("Config.Refresher is a nil %T", r)
		} else if c, ok := r.(interface{ check() error }); ok {
			faults = append(faults, c.check())
		}
	}
	allowed, err := parseOrigins(cfg.Origins)
	faults = append(faults, err)
	if cfg.RefreshTimeout < 0 {
		fault("Config.RefreshTimeout %s is negative: a refresh must have a bound", cfg.RefreshTimeout)
	}
	if c, ok := cfg.Credential.(*HeaderCredential); ok && c != nil {
		cfg.Credential = *c
	}
	if cfg.Credential == nil {
		var ok bool
		if cfg.Credential, ok = cfg.Refresher.(Credential); !ok {
			cfg.Credential = HeaderCredential{}
		}
	} else if c, ok := cfg.Credential.(interface{ check() error }); ok && !sameCookies(cfg.Refresher, cfg.Credential) {
		faults = append(faults, c.check())
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	t := &Transport{
		base:         cfg.Base,
		origins:      allowed,
		credential:   cfg.Credential,
		headers:      credentialHeaders(cfg.Credential),
		refused:      cfg.Refused,
		anonymous:    cfg.Anonymous,
		replayBuffer: cfg.ReplayBuffer,
	}
	t.hasOwn = func(req *http.Request) bool { return callerHas(req.Header, t.headers) }
	if t.base == nil {
		t.base = http.DefaultTransport // now: it may become this very Transport
	}
	if t.replayBuffer == 0 {
		t.replayBuffer = defaultReplayBuffer
	}
	if cfg.Store == nil {
		cfg.Store = new(MemoryStore)
	}
	m := &sessions{
		refresher:    cfg.Refresher,
		store:        cfg.Store,
		early:        cfg.EarlyRefresh,
		timeout:      cfg.RefreshTimeout,
		refreshPause: cfg.RefreshPause,
		onEvent:      cfg.OnEvent,
		within:       t.within,
		base:         time.Now(),
		limit:        maxSessions,
		byName:       make(map[string]*session),
	}
	m.locker, _ = cfg.Store.(Locker)
	m.only = newSession(m, "")
	switch r := cfg.Refresher.(type) {
	case *OAuth2Refresher, *CookieSession:
		m.needsToken.Store(true)
	case *JSONEndpoint:
		m.needsToken.Store(r.RefreshField != "-")
	}
	if m.timeout == 0 {
		m.timeout = defaultRefreshTimeout
	}
	switch {
	case m.refreshPause == 0:
		m.refreshPause = defaultRefreshPause
	case m.refreshPause < 0:
		m.refreshPause = 0
	}
	if c, ok := cfg.Credential.(HeaderCredential); ok {
		m.value = c.value
		m.fits = func(tok Token) error {
			if tok.AccessToken == "" {
				return nil // refreshed before its first use
			}
			_, err := c.value(tok)
			return err
		}
	}
	if c, ok := cfg.Credential.(*CookieSession); ok {
		m.fits = c.fits
	}
	t.sessions = m
	return t, nil
}

// RoundTrip implements [http.RoundTripper]. It sends req at most twice, and
// never writes to it; the response's Request is req, without the token.
//
// Its errors are those of the base transport and of the [Credential], the cause of
// req's context where that ended while req waited for a refresh, and *[RefreshError].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sc := scopeOf(req.Context())
	if sc.withoutAuth || t.hasOwn(req) || !t.origins.allow(req, t.hasOwn) || sc.refreshing(t) {
		return t.base.RoundTrip(req)
	}
	s := t.sessions.acquire(sc.session)
	defer s.release()

	patient := gambles(req, t.replayBuffer)
	g := s.fresh()
	if g == nil || patient {
		var err error
		if g, err = s.usable(req.Context(), patient); err != nil {
			if t.anonymous && errors.Is(err, ErrSignInRequired) {
				return t.send(req, nil, req.Body)
			}
			closeBody(req.Body)
			return nil, err
		}
	}

	kept := newReplayBody(req, t.replayBuffer)
	body := req.Body
	if kept != nil {
		body = kept.first()
		defer kept.release()
	}
	resp, err := t.send(req, g, body)
	if err != nil || !t.isRefused(resp) {
		return resp, err
	}
	return t.afterRefusal(req, resp, s, g, kept)
}

// send sends a clone of req that carries g, or no token if g is nil.
func (t *Transport) send(req *http.Request, g *generation, body io.ReadCloser) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	clone.Body = body
	header := copyHeader(req.Header)
	clone.Header = header
	switch {
	case g == nil:
		if c, ok := t.credential.(*CookieSession); ok {
			c.strip(header) // in the caller's jar they may be another session's
		}
	case g.value[0] != "":
		header[t.headers[0]] = g.value[:]
	default:
		if err := t.credential.Apply(clone, g.tok.clone()); err != nil {
			closeBody(body)
			return nil, fmt.Errorf("reauth: credential: %w", harmless(err, []string{g.tok.AccessToken, g.tok.RefreshToken}))
		}
	}
	resp, err := t.base.RoundTrip(clone)
	if err != nil {
		return resp, err
	}
	if resp == nil {
		return nil, fmt.Errorf("reauth: the base transport, a %T, returned neither a response nor an error", t.base)
	}
	resp.Request = req
	return resp, nil
}

// copyHeader returns a copy of h with room for one more field. Nobody who appends to
// a value of the copy may write into the caller's.
func copyHeader(h http.Header) http.Header {
	// A map is copied as a piece, which takes a third less time than filling one (and
	// the memory that it once took, if it has been larger). But with so many keys it is
	// full, and would have to grow for one more.
	switch len(h) {
	case 0, 8, 14, 28, 56:
		header := make(http.Header, len(h)+1)
		for k, v := range h {
			header[k] = slices.Clip(v)
		}
		return header
	}
	header := maps.Clone(h)
	for k, v := range header {
		if cap(v) > len(v) {
			header[k] = slices.Clip(v)
		}
	}
	return header
}

func (t *Transport) isRefused(resp *http.Response) bool {
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return false
	case t.refused == nil:
		return DefaultRefused(resp)
	}
	return peekRefused(t.refused, resp)
}

// afterRefusal goes on from the answer resp to an attempt that carried g.
func (t *Transport) afterRefusal(req *http.Request, resp *http.Response, s *session, g *generation, kept *replayBody) (*http.Response, error) {
	ctx := req.Context()
	began := time.Now()
	v := s.refused(ctx, g)
	if v.handOver {
		return resp, nil
	}
	bare := t.anonymous && v.absent
	if v.err != nil && !(bare && errors.Is(v.err, ErrSignInRequired)) {
		drain(ctx, resp)
		return nil, v.err
	}

	body, ok := bodyAgain(req, kept)
	if !ok {
		if ctx.Err() != nil {
			drain(ctx, resp)
			return nil, context.Cause(ctx)
		}
		return resp, nil // the flight goes on, for the requests after this one
	}
	// A refused answer that is held keeps its connection, which the refresh may
	// need.
	drain(ctx, resp)
	next := v.replay
	if v.wait != nil {
		var err error
		next, err = v.wait.wait(ctx)
		if errors.Is(err, errSuperseded) {
			err = s.supersededError()
		}
		if err != nil && !(bare && errors.Is(err, ErrSignInRequired)) {
			closeBody(body)
			return nil, err
		}
	}
	again, err := t.send(req, next, body)
	if err != nil {
		return again, err
	}
	if next != nil {
		s.judge(next, t.isRefused(again))
	}
	t.sessions.emit(ctx, s.name, Event{Kind: EventReplayed, Took: time.Since(began)})
	return again, nil
}

// bodyAgain returns the body to replay req with, if there can be one.
func bodyAgain(req *http.Request, kept *replayBody) (io.ReadCloser, bool) {
	switch {
	case kept != nil:
		return kept.replay()
	case req.Body == nil || req.Body == http.NoBody:
		return req.Body, true
	}
	body, err := req.GetBody()
	return body, err == nil
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// CloseIdleConnections calls the method of that name of the base transport, if it
// has one.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Format writes no more than what t is: with some verbs package fmt would follow
// pointers to where the tokens are.
func (t *Transport) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "*reauth.Transport") }

// within marks a context as that of a refresher of t.
func (t *Transport) within(ctx context.Context, session string) context.Context {
	outer := scopeOf(ctx).within
	return scope{session: session, within: &renewal{transport: t, session: session, outer: outer}}.in(ctx)
}

// enter returns the session that ctx picks, to be released by the caller.
func (t *Transport) enter(ctx context.Context) *session {
	return t.sessions.acquire(SessionFromContext(ctx))
}

// ownRefresher returns an error if ctx is that of a refresher which would wait
// for itself.
func (t *Transport) ownRefresher(ctx context.Context, method string) error {
	sc := scopeOf(ctx)
	for r := sc.within; r != nil; r = r.outer {
		if r.transport == t && (r.session == sc.session || method == "Wait") {
			return fmt.Errorf("reauth: %s was called by the refresher of session %q, for which it would wait", method, r.session)
		}
	}
	return nil
}

// SignIn makes tok the token of the session that ctx picks: the caller has
// signed the user in and hands over what it got. The token is stored before any
// request carries it. From then on requests go out with it, also those that were
// waiting to be sent; what a refresh in progress brings is dropped, unless it is
// tok that is being refreshed; and requests that were refused under the token before
// are not replayed with this one. The answer of the store is awaited also where ctx
// has ended.
//
// An error means that nothing has changed: tok cannot be used, the store failed,
// or ctx ended. It does not if the store has given no answer within
// [Config.RefreshTimeout]; then tok is the session's token once the store says so.
func (t *Transport) SignIn(ctx context.Context, tok Token) error {
	var faults []error
	if tok.isZero() {
		faults = append(faults, errors.New("reauth: SignIn: Token has neither an AccessToken nor a RefreshToken"))
	}
	if tok.AccessToken != "" && !validTokenText(tok.AccessToken) {
		faults = append(faults, errors.New("reauth: SignIn: Token.AccessToken has characters that no header can carry"))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	s := t.enter(ctx)
	defer s.release()
	return s.methodError(ctx, "SignIn", s.signIn(ctx, tok), tok)
}

// SignOut ends the session that ctx picks. It deletes the token from the store
// and then, if the Refresher is a [Revoker], revokes it at the token server. What
// a refresh in progress brings is dropped.
//
// Whatever the error, the session is signed out in this process from the moment
// of the call until a SignIn, or until the store holds another token than the one
// given up. Other processes that share the store notice at their next refresh,
// not before.
func (t *Transport) SignOut(ctx context.Context) error {
	s := t.enter(ctx)
	defer s.release()
	return s.methodError(ctx, "SignOut", s.signOut(ctx), Token{})
}

// SignedIn reports whether the session that ctx picks has a token, from memory
// or from the store. It does not ask the Refresher, so the next request may still
// find that the session has ended at the token server. An error means that the
// store could not be asked.
func (t *Transport) SignedIn(ctx context.Context) (bool, error) {
	s := t.enter(ctx)
	defer s.release()
	ok, err := s.signedIn(ctx)
	return ok, s.methodError(ctx, "SignedIn", err, Token{})
}

// Token returns a usable token of the session that ctx picks, refreshed if need
// be, with Expiry filled in where it is known: for gRPC, WebSocket, and whatever
// else is no http.Client. Errors are those of a request: a *[RefreshError], or
// the cause of ctx.
func (t *Transport) Token(ctx context.Context) (Token, error) {
	if err := t.ownRefresher(ctx, "Token"); err != nil {
		return Token{}, err
	}
	s := t.enter(ctx)
	defer s.release()
	g := s.fresh()
	if g == nil {
		var err error
		if g, err = s.usable(ctx, false); err != nil {
			return Token{}, err
		}
	}
	return g.tok.clone(), nil
}

// Refresh returns a usable token of the session that ctx picks, after refused was
// turned down by whoever it was shown to; its access token tells which it is.
// Callers that report the same token share one refresh, and a token that has been
// replaced already starts none. The zero Token is no refusal: Refresh is then the
// same as Token. So a Transport is itself a [Refresher].
//
// Errors are those of Token. A token that a refresh brought less than
// [Config.RefreshPause] ago is not refreshed again: that is a *[RefreshError]
// with RetryAfter set.
func (t *Transport) Refresh(ctx context.Context, refused Token) (Token, error) {
	if err := t.ownRefresher(ctx, "Refresh"); err != nil {
		return Token{}, err
	}
	s := t.enter(ctx)
	defer s.release()
	cur := s.current.Load()
	if cur == nil {
		var err error
		if cur, err = s.usable(ctx, false); err != nil {
			return Token{}, err
		}
	}
	if refused.AccessToken != "" && refused.AccessToken == cur.tok.AccessToken {
		v := s.refused(ctx, cur)
		switch {
		case v.err != nil:
			return Token{}, v.err
		case v.handOver && v.held > 0:
			return Token{}, &RefreshError{Session: s.name, RetryAfter: v.held, Err: errJustRefreshed}
		case v.wait != nil:
			g, err := v.wait.wait(ctx)
			if errors.Is(err, errSuperseded) {
				err = s.supersededError()
			}
			if err != nil {
				return Token{}, err
			}
			return g.tok.clone(), nil
		}
	}
	g, err := s.usable(ctx, false)
	if err != nil {
		return Token{}, err
	}
	return g.tok.clone(), nil
}

// Wait returns once no refresh is in progress, in any session, and no token
// waits to be stored. Call it before the program exits: a refresh that is cut off
// after it has reached the token server can cost the session. It returns the cause
// of ctx if that ends first, and nil at once if there is nothing to wait for, even
// where ctx has ended. Requests that are sent meanwhile can prolong it.
func (t *Transport) Wait(ctx context.Context) error {
	if err := t.ownRefresher(ctx, "Wait"); err != nil {
		return err
	}
	return t.sessions.wait(ctx)
}
