package simulator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// A tokenWire carries an oauth.Refresher's requests to the token server.
type tokenWire struct{ p *process }

func (tw tokenWire) RoundTrip(req *http.Request) (*http.Response, error) {
	p := tw.p
	w, ctx := p.w, req.Context()
	text, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, _ := url.ParseQuery(string(text))
	if req.URL.Path == "/revoke" {
		return p.revoke(req, form.Get("token"))
	}
	presented := form.Get("refresh_token")
	update := ctx.Value(updateKey{}) != nil
	r, deaf, err := p.ask(ctx, presented, update, req)
	if err != nil {
		return nil, err
	}
	if deaf {
		ctx = context.WithoutCancel(ctx)
	}
	d := w.chance.now(p.name, reauth.SessionFromContext(ctx), "token answer")
	body := &replyBody{w: w, ctx: ctx, text: w.words(r), took: w.span(d, 1, 5*time.Millisecond)}
	if r.half {
		body.half = true
		body.text = `{"refresh_token":"` + r.tok.refresh + `","access_token":"` + secretMark
		switch n := d.below(3); {
		case r.downgraded:
			body.text += `","token_type":"Bearer"}`
		case n == 0:
			body.text += `\n and so on"}` // which no header can carry
		case n == 1:
			body.err = io.ErrUnexpectedEOF
		}
	}
	if r.cut {
		body.text, body.err = body.text[:len(body.text)/2], io.ErrUnexpectedEOF
	}
	body.over = func(whole bool) {
		c := callOf(ctx)
		switch {
		case !whole:
			w.lose(&visit{p: p, session: reauth.SessionFromContext(ctx)}, r, "it was not read to its end")
			w.hearHalf(p, c, r)
		case update && r.half:
			w.lose(&visit{p: p, session: reauth.SessionFromContext(ctx)}, r, "the function of an Update has to have all of it")
			w.hearHalf(p, c, r)
		default:
			w.deliver(p, reauth.SessionFromContext(ctx), presented, r, c)
		}
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if d.percent(80) {
		header.Set("Date", time.Now().Add(w.plan.skew).UTC().Format(http.TimeFormat))
		if r.retryAfter > 0 && d.percent(30) {
			header.Set("Retry-After", time.Now().Add(w.plan.skew+r.retryAfter).UTC().Format(http.TimeFormat))
		}
	}
	if r.heard != nil {
		r.heard.headers(header)
	}
	if r.retryAfter > 0 && header.Get("Retry-After") == "" {
		header.Set("Retry-After", strconv.Itoa(int(r.retryAfter.Seconds())))
	}
	return newResponse(req, r.status, header, body, -1), nil
}

// words is the answer as the server writes it.
func (w *world) words(r *reply) string {
	switch {
	case r.broken:
		return "<html>All is well.</html>"
	case r.cut:
		return `{"access_token":"` + secretMark + ` and so on","expires_in":3600}`
	case r.verdict != "":
		return `{"error":"` + r.verdict + `"}`
	case r.final:
		return `{"error":"invalid_grant","error_description":"it has been used, or is too old"}`
	case r.status == http.StatusTooManyRequests:
		return `{"error":"slow_down"}`
	case r.tok == nil:
		return "out of order"
	}
	t := r.tok
	members := []string{`"access_token":"` + t.access + `"`, `"token_type":"` + w.typeOfToken() + `"`}
	if w.plan.rotates {
		members = append(members, `"refresh_token":"`+t.refresh+`"`)
	}
	seconds := strconv.FormatFloat(t.lifetime.Seconds(), 'f', -1, 64)
	switch w.plan.told {
	case toldExactly:
		members = append(members, `"expires_in":`+seconds)
	case toldAsText:
		members = append(members, `"expires_in":"`+seconds+`"`)
	case toldWhole:
		members = append(members, `"expires_in":`+strconv.Itoa(int(t.expires.Sub(t.issued).Seconds())))
	case toldZero:
		members = append(members, `"expires_in":0`)
	case toldNegative:
		members = append(members, `"expires_in":-30`)
	case toldAbsurd:
		members = append(members, `"expires_in":1e300`)
	case toldTooLong:
		members = append(members, `"expires_in":3600`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// A replyBody is the body of the token server's answer.
type replyBody struct {
	w    *world
	ctx  context.Context
	text string
	took time.Duration
	err  error
	half bool // all of it was read, though it breaks off
	once sync.Once
	over func(whole bool)
}

func (b *replyBody) Read(to []byte) (int, error) {
	if b.took > 0 {
		if err := pass(b.ctx, b.took); err != nil {
			return 0, err
		}
		b.took = 0
	}
	if b.text == "" {
		if b.half {
			b.once.Do(func() { b.over(true) })
		}
		if b.err != nil {
			return 0, b.err
		}
		b.once.Do(func() { b.over(true) })
		return 0, io.EOF
	}
	n := copy(to, b.text)
	b.text = b.text[n:]
	if b.text == "" && b.err == nil { // the rest, which says that this is the end, is not needed
		b.once.Do(func() { b.over(true) })
	}
	return n, nil
}

func (b *replyBody) Close() error {
	b.once.Do(func() { b.over(false) })
	return nil
}

// revoke gives a token back to the token server (RFC 7009).
func (p *process) revoke(req *http.Request, presented string) (*http.Response, error) {
	defer p.enter()()
	w, session := p.w, reauth.SessionFromContext(req.Context())
	resp, err := p.giveBack(req, session, presented)
	w.mu.Lock()
	defer w.mu.Unlock()
	if t, k := w.server.givenBack(presented), p.know(session); t == nil {
	} else if err == nil && resp.StatusCode == http.StatusOK {
		delete(k.notGivenBack, t)
	} else if req.Context().Err() == nil {
		k.notGivenBack[t] = time.Now()
	}
	return resp, err
}

func (p *process) giveBack(req *http.Request, session, presented string) (*http.Response, error) {
	w, ctx := p.w, req.Context()
	d := w.chance.now(p.name, session, "revoke")
	if err := p.cross(ctx); err != nil {
		return nil, err
	}
	w.judgeRevocation(p, session, presented)
	if err := pass(ctx, w.span(d, 1, 80*time.Millisecond)); err != nil {
		return nil, err
	}
	if w.strikes(d, refreshUnreachable) {
		return nil, errUnreachable
	}
	if w.strikes(d, revokeFails) || w.server.isOut() {
		return newResponse(req, http.StatusServiceUnavailable, nil, http.NoBody, 0), nil
	}
	w.mu.Lock()
	if t := w.server.byRefresh[presented]; t != nil && p.arrives(d) {
		w.note(p.name, session, "token server: %s is given back", t)
		w.server.end(t.family)
	}
	w.mu.Unlock()
	if err := pass(ctx, w.span(d, 1, 80*time.Millisecond)); err != nil {
		return nil, err
	}
	if err := p.cross(ctx); err != nil {
		return nil, err
	}
	return newResponse(req, http.StatusOK, nil, http.NoBody, 0), nil
}

func newResponse(req *http.Request, status int, header http.Header, body io.ReadCloser, length int64) *http.Response {
	if header == nil {
		header = make(http.Header)
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: body, ContentLength: length, Request: req,
	}
}
