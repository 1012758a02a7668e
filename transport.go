package reauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/body"
	"github.com/reauth-go/reauth/internal/evidence"
	"github.com/reauth-go/reauth/internal/origin"
)

// A Transport is an [http.RoundTripper] that authenticates the requests of sessions and
// renews those sessions. Make one with [New]; the zero value does not work. It is safe for
// concurrent use, and must not be copied.
//
// It keeps at most 131,072 sessions in its cache, besides those that are in use. Beyond
// that it forgets the least recently used, and loads them from the store when they come
// back. A session that was signed out stays for a day. It stays for good if the Refresher
// may answer without a token, because forgetting it would sign it in again.
//
// Its methods that take a context act on the session that the context picks: SignIn(ctx,
// tok) is Session(SessionFromContext(ctx)).SignIn(ctx, tok), and so on.
type Transport struct {
	base           http.RoundTripper
	origins        origin.Set
	credential     Credential
	headers        []string                  // what the credential writes
	strip          func(http.Header)         // the credential's; may be nil
	again          func(*http.Response) bool // the credential's; may be nil
	refused        func(*http.Response) bool
	anonymous      bool
	requireSession bool
	replayBuffer   int64
	hasOwn         func(*http.Request) bool
	sessions       *sessions
}

// RoundTrip implements [http.RoundTripper]. It sends req at most twice, or three times if
// the [Credential] has a method Again that asks for it. It never writes to req. The
// response's Request is req, without the token.
//
// Its errors are those of the base transport and of the [Credential], the error of
// [Config.RequireSession], the cause of req's context if that was done while req waited for
// a refresh, and *[RefreshError].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sc := scopeOf(req.Context())
	return t.roundTrip(req, sc, sc.pick(t.sessions))
}

// roundTrip sends req for the named session.
func (t *Transport) roundTrip(req *http.Request, sc scope, session string) (*http.Response, error) {
	if sc.withoutAuth || sc.isRefreshing(t.sessions) {
		return t.base.RoundTrip(req)
	}
	own, plain := lookOver(req.Header, t.headers)
	if own {
		return t.base.RoundTrip(req)
	}
	if !t.origins.Allow(req, t.hasOwn) {
		resp, err := t.base.RoundTrip(req)
		if err == nil && resp != nil && resp.StatusCode == http.StatusUnauthorized {
			defer closeOnPanic(resp.Body)()
			t.sessions.emit(req.Context(), session, Event{Kind: EventRefusalKept, Err: fmt.Errorf("%w: %s", errNotListed, origin.Of(req))})
		}
		return resp, err
	}
	if err := t.checkSession(session); err != nil {
		closeBody(req.Body)
		return nil, err
	}
	s := t.sessions.enter(session)
	defer s.leave()

	patient := body.Gambles(req, t.replayBuffer)
	g := s.fresh()
	if g == nil || patient {
		var err error
		if g, err = t.obtain(req, s, patient); err != nil {
			if t.anonymous && errors.Is(err, ErrSignInRequired) {
				return t.send(req, session, nil, req.Body, &passage{plain: plain})
			}
			closeBody(req.Body)
			return nil, err
		}
	}

	p := passage{kept: body.New(req, t.replayBuffer), plain: plain}
	first := req.Body
	if p.kept != nil {
		first = p.kept.First()
		defer p.release()
	}
	resp, err := t.deliver(req, session, g, first, &p)
	switch {
	case err != nil:
		return resp, err
	case p.over:
		return t.keep(t.sessions.withRefusal(naming(req.Context(), s.name), resp), s, resp, errBodyGone)
	}
	if !t.isRefused(resp) {
		if table := g.watch.Load(); table != nil && shows(resp) {
			s.accepted(g, table, req)
		}
		return resp, nil
	}
	return t.afterRefusal(req, resp, s, g, &p)
}

// A passage is what the attempts of one request share.
type passage struct {
	kept  body.Replayable // nil: there is no body
	plain bool            // the header's map can be copied as it is
	sent  *http.Request   // the last attempt, as Again was shown it
	last  *http.Response  // to the attempt before; nil for the first
	wants bool            // what Again said of the last attempt
	asked bool            // Again has had its attempt
	over  bool            // it has asked for one, and the body can't be sent again
}

// again returns the body for the next attempt, in a form that the one after that can be
// given too, unless this is the last.
func (p *passage) again(req *http.Request, limit int64, last bool) (io.ReadCloser, bool) {
	if p.kept == nil {
		return req.Body, true
	}
	next, ok := p.kept.Replay()
	if !ok || last {
		return next, ok
	}
	shape := (&http.Request{Body: next, GetBody: p.kept.GetBody(), ContentLength: req.ContentLength}).WithContext(req.Context())
	if kept := body.New(shape, limit); kept != nil {
		p.kept = kept
		next = kept.First()
	}
	return next, true
}

func (p *passage) release() { p.kept.Release() }

// deliver sends an attempt that carries g, and another if Again asks for it, once for each
// request.
func (t *Transport) deliver(req *http.Request, session string, g *generation, first io.ReadCloser, p *passage) (*http.Response, error) {
	resp, err := t.send(req, session, g, first, p)
	if err != nil || !p.wants || p.asked {
		return resp, err
	}
	defer closeOnPanic(resp.Body)()
	p.asked = true
	next, ok := p.again(req, t.replayBuffer, false)
	if !ok {
		p.over = true
		t.asksAgain(p.sent, resp, resp)
		return resp, nil
	}
	body.Drain(req.Context(), resp)
	cookies := resp.Header["Set-Cookie"]
	resp, err = t.send(req, session, g, next, p)
	if err == nil {
		putCookies(resp, cookies)
	}
	return resp, err
}

// putCookies adds the cookies of a response that no jar will see to those of the one after.
func putCookies(resp *http.Response, cookies []string) {
	if len(cookies) > 0 {
		resp.Header = cloneOrMake(resp.Header)
		resp.Header["Set-Cookie"] = append(slices.Clone(cookies), resp.Header["Set-Cookie"]...)
	}
}

// obtain returns a generation for a request that has not been sent.
func (t *Transport) obtain(req *http.Request, s *cachedSession, patient bool) (*generation, error) {
	defer closeOnPanic(req.Body)()
	return s.obtain(naming(req.Context(), s.name), patient)
}

// send sends a clone of req that carries g, or no token if g is nil.
func (t *Transport) send(req *http.Request, session string, g *generation, body io.ReadCloser, p *passage) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	clone.Body = body
	if p.kept != nil {
		clone.GetBody = p.kept.GetBody()
	}
	header := copyHeader(req.Header, t.headers, p.plain)
	clone.Header = header
	switch {
	case g == nil:
		if t.strip != nil {
			t.strip(header)
		}
	case g.value[0] != "":
		header[t.headers[0]] = g.value[:]
	default:
		if SessionFromContext(req.Context()) != session {
			clone = clone.WithContext(WithSession(req.Context(), session))
		}
		if err := t.apply(clone, g.tok.clone(), p.last); err != nil {
			closeBody(body)
			return nil, fmt.Errorf("reauth: credential: %w", harmless(err, g.tok.secrets()))
		}
	}
	resp, err := t.base.RoundTrip(clone)
	if err != nil {
		return resp, err
	}
	if resp == nil {
		return nil, fmt.Errorf("reauth: the base transport, a %T, returned neither a response nor an error", t.base)
	}
	if t.again != nil && g != nil {
		p.wants = t.asksAgain(clone, resp, p.last)
		p.sent, p.last = clone, resp
	}
	resp.Request = req
	return resp, nil
}

// apply calls the Credential. last is the response to the attempt before, if there was one.
func (t *Transport) apply(req *http.Request, tok Token, last *http.Response) error {
	defer closeOnPanic(req.Body)()
	if last == nil {
		return t.credential.Apply(req, tok)
	}
	own := req.Response
	req.Response = last
	err := t.credential.Apply(req, tok)
	req.Response = own
	return err
}

// asksAgain calls the Credential's Again, which sees the request as Apply left it. If that
// panics, the response goes with the request.
func (t *Transport) asksAgain(sent *http.Request, resp, last *http.Response) bool {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return false
	}
	defer closeOnPanic(resp.Body)()
	if last != nil {
		sent = sent.WithContext(sent.Context())
		sent.Response = last
	}
	shown := *resp
	shown.Request, shown.Body = sent, http.NoBody
	return t.again(&shown)
}

// lookOver goes through a header once. own reports whether one of the named headers is there
// with a value, in whatever spelling: net/http sends the names of a header as they are. plain
// reports whether there is nothing in it that a copy must not have, see copyHeader. The names
// are canonical.
func lookOver(h http.Header, names []string) (own, plain bool) {
	plain = true
	for k, v := range h {
		if cap(v) > len(v) {
			plain = false
		}
		for _, name := range names {
			if len(k) == len(name) && ascii.EqualFold(k, name) {
				if slices.ContainsFunc(v, func(v string) bool { return v != "" }) {
					return true, false
				}
				plain = false
			}
		}
	}
	return false, plain
}

// copyHeader returns a copy of h with room for one more field, and without the headers of
// these canonical names in another spelling, which have no value. Appending to a value of the
// copy can't write into the caller's. plain is what lookOver reports of h.
func copyHeader(h http.Header, names []string, plain bool) http.Header {
	// Cloning a map takes a third less time than filling one (and the memory that it once
	// took, if it has been larger). But with these numbers of keys the clone is full, and
	// would have to grow for one more.
	var header http.Header
	switch len(h) {
	case 0, 8, 14, 28, 56:
		header = make(http.Header, len(h)+1)
		maps.Copy(header, h)
	default:
		header = maps.Clone(h)
	}
	if plain {
		return header
	}
	for k, v := range header {
		if cap(v) > len(v) {
			header[k] = slices.Clip(v)
		}
		for _, name := range names {
			if len(k) == len(name) && k != name && ascii.EqualFold(k, name) {
				delete(header, k)
			}
		}
	}
	return header
}

// isRefused asks Config.Refused. If that panics, the response goes with the request.
func (t *Transport) isRefused(resp *http.Response) (refused bool) {
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return false
	case t.refused == nil:
		return DefaultRefused(resp)
	}
	defer closeOnPanic(resp.Body)()
	return body.Peek(t.refused, resp)
}

// closeOnPanic returns a function to be deferred. It closes the body if it is called by a
// panic.
func closeOnPanic(body io.Closer) func() {
	return func() {
		if v := recover(); v != nil {
			closeBody(body)
			panic(v)
		}
	}
}

// afterRefusal goes on from the response resp to an attempt that carried g.
func (t *Transport) afterRefusal(req *http.Request, resp *http.Response, s *cachedSession, g *generation, p *passage) (*http.Response, error) {
	ctx := naming(req.Context(), s.name)
	began := time.Now()
	defer closeOnPanic(resp.Body)()
	a := attempt{gen: g, place: evidence.PlaceOf(req), claims: claimsOf(resp.Header)}
	cause := t.sessions.withRefusal(ctx, resp)
	next, f := s.refused(cause, a)
	if next.own != nil {
		return t.keep(cause, s, resp, next.own)
	}
	if next.err != nil && !(errors.Is(next.err, ErrSignInRequired) && (t.anonymous || t.sessions.signIn != nil)) {
		body.Drain(ctx, resp)
		return nil, next.err
	}

	second, ok := p.again(req, t.replayBuffer, t.again == nil || p.asked)
	if !ok {
		if ctx.Err() != nil {
			body.Drain(ctx, resp)
			return nil, context.Cause(ctx)
		}
		return t.keep(cause, s, resp, errBodyGone) // the flight goes on, for the requests after this one
	}
	// A response that is held keeps its connection, which the refresh may need.
	whole := body.Drain(ctx, resp)
	r, err := func() (replacement, error) {
		defer closeOnPanic(second)()
		return t.replacement(cause, s, a, next, f)
	}()
	switch {
	case err != nil && !(t.anonymous && !r.void && errors.Is(err, ErrSignInRequired)):
		closeBody(second)
		return nil, err
	case r.own != nil:
		closeBody(second)
		if !whole {
			return nil, &RefreshError{Session: s.name, Err: r.own}
		}
		return t.keep(cause, s, resp, r.own)
	}
	again, err := t.deliver(req, s.name, r.gen, second, p)
	if err != nil {
		return again, err
	}
	defer closeOnPanic(again.Body)()
	refused := false
	if r.gen != nil {
		refused = t.isRefused(again)
		accepted := !refused && shows(again)
		if table := r.gen.watch.Load(); table != nil && accepted {
			s.accepted(r.gen, table, req)
		}
		if refused || accepted {
			s.judge(cause, attempt{gen: r.gen, place: a.place, fallback: r.fallback}, refused)
		}
	}
	putCookies(again, resp.Header["Set-Cookie"])
	t.sessions.emit(cause, s.name, Event{Kind: EventReplayed, Took: time.Since(began)})
	if refused {
		return t.keep(cause, s, again, errStillRefused)
	}
	return again, nil
}

// replacement returns what a refused request is sent again with. next and f are what the
// rules said; while a flight finds nothing out they are asked again.
func (t *Transport) replacement(ctx context.Context, s *cachedSession, a attempt, next step, f *flight) (replacement, error) {
	claims := a.claims
	for {
		var r replacement
		var err error
		found := true
		switch {
		case f != nil:
			r, found, err = s.replace(ctx, f, a.gen)
		case next.err != nil:
			err = next.err
		default:
			r = replacement{gen: next.use, fallback: next.fallback, own: next.own}
		}
		switch {
		case err != nil && r.void:
			return r, err
		case err != nil:
			again, err := s.signInAgain(ctx, err)
			if !again {
				return r, err
			}
			gen, err := s.obtain(ctx, false)
			if err == nil && !gen.tok.sameSignIn(a.gen.tok) && !s.brought(gen.tok.SignInID) {
				r.void = true // the program has signed in meanwhile, maybe somebody else
				err = &RefreshError{Session: s.name, Err: errMeanwhile}
			}
			r.gen = gen
			return r, err
		case found && r.gen != nil && f != nil && claims != "" && f.claims != claims:
			// The refresher was not told what this request's token must have.
			claims = ""
			next, f = s.take(ctx, func(st *state, now time.Duration) step {
				cur := st.current
				switch {
				case cur == r.gen:
					return st.replace(now)
				case cur != nil && cur.epoch == r.gen.epoch && now < cur.expires:
					return step{use: cur} // another request has caused that refresh already
				}
				return step{use: r.gen}
			})
			continue
		case found:
			return r, nil
		}
		next, f = s.refused(ctx, a)
	}
}

// keep hands the response over that refused a token. ctx is that of withRefusal.
func (t *Transport) keep(ctx context.Context, s *cachedSession, resp *http.Response, why error) (*http.Response, error) {
	refusal, _ := RefusalFromContext(ctx)
	t.sessions.emit(ctx, s.name, Event{Kind: EventRefusalKept, Err: fmt.Errorf("%w: %s", why, refusal.URL)})
	return resp, nil
}

func cloneOrMake(h http.Header) http.Header {
	if h == nil {
		return make(http.Header)
	}
	return h.Clone()
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

var errNoSession = errors.New("reauth: neither WithSession nor Transport.Session names a session, and Config.RequireSession is set")

func (t *Transport) checkSession(name string) error {
	if t.requireSession && name == "" {
		return errNoSession
	}
	return nil
}

// Wrap returns a Transport with the sessions and settings of t that sends its requests
// through base: for programs that build their own base transports, such as a Kubernetes
// client with rest.Config{WrapTransport: tr.Wrap}. Nil means http.DefaultTransport.
//
// Sessions, and so refreshes, are shared with t; use t to sign in, sign out and Wait. The
// Refresher's own requests do not go through base; give it a client for that.
func (t *Transport) Wrap(base http.RoundTripper) http.RoundTripper { return t.over(base) }

func (t *Transport) over(base http.RoundTripper) *Transport {
	w := *t
	w.base = orDefaultTransport(base)
	return &w
}

func orDefaultTransport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		return http.DefaultTransport
	}
	return base
}

// WrappedRoundTripper returns the base transport, for code that looks through wrappers.
func (t *Transport) WrappedRoundTripper() http.RoundTripper { return t.base }

// CloseIdleConnections calls the method of that name of the base transport, if it has
// one.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Format writes no more than what t is. With some verbs package fmt would otherwise
// follow pointers to the tokens.
func (t *Transport) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "*reauth.Transport") }

// Session returns t bound to the session called name, whatever the contexts of requests
// and calls pick. The empty name is the session of a program that has only one.
func (t *Transport) Session(name string) *Session { return &Session{t, name} }

func (t *Transport) picked(ctx context.Context) *Session {
	return t.Session(scopeOf(ctx).pick(t.sessions))
}

// SignIn is [Session.SignIn] for the session that ctx picks.
func (t *Transport) SignIn(ctx context.Context, tok Token) error {
	return t.picked(ctx).SignIn(ctx, tok)
}

// SignOut is [Session.SignOut] for the session that ctx picks.
func (t *Transport) SignOut(ctx context.Context) error { return t.picked(ctx).SignOut(ctx) }

// SignedIn is [Session.SignedIn] for the session that ctx picks.
func (t *Transport) SignedIn(ctx context.Context) (bool, error) { return t.picked(ctx).SignedIn(ctx) }

// Token is [Session.Token] for the session that ctx picks.
func (t *Transport) Token(ctx context.Context) (Token, error) { return t.picked(ctx).Token(ctx) }

// Refresh is [Session.Refresh] for the session that ctx picks. So a Transport is itself a
// [Refresher].
func (t *Transport) Refresh(ctx context.Context, refused Token) (Token, error) {
	return t.picked(ctx).Refresh(ctx, refused)
}

// Forget marks what is known of a session as stale: the next request looks at the store
// first, for at most a second. A refresh in progress, a pending save and a sign-out stay.
// With a store that tells what other processes do, a sign-in or sign-out there holds here
// as soon as Forget is called.
func (t *Transport) Forget(session string) { t.sessions.forget(session) }

// ForgetAll is Forget for all sessions, for a store that may have missed something.
func (t *Transport) ForgetAll() { t.sessions.forgetAll() }

// Update is [Session.Update] for the session that ctx picks.
func (t *Transport) Update(ctx context.Context, fn func(context.Context, Token) (Token, error)) (Token, error) {
	return t.picked(ctx).Update(ctx, fn)
}

// Wait returns once no refresh is in progress, in any session, and no save is pending.
// Call it before the program exits: interrupting a refresh that has reached the token
// server can invalidate the session. It returns the cause of ctx if that is done first,
// and nil at once if there is nothing to wait for, even if ctx is done. Requests that are
// sent meanwhile can prolong it.
func (t *Transport) Wait(ctx context.Context) error {
	if r := scopeOf(ctx).refreshing(t.sessions, nil); r != nil {
		return r.deadlock("Wait")
	}
	return t.sessions.wait(ctx)
}
