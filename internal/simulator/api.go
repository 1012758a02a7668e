package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The endpoints of the API.
const (
	pathGood   = "/good"
	pathSlow   = "/slow"
	pathDenied = "/denied" // refuses whatever token it is shown
	pathScope  = "/scope"  // answers 401 for want of a scope, which is not a refusal
	pathAway   = "/away"   // redirects to a stranger
	pathBack   = "/back"   // redirects to a stranger, who redirects back
	pathUpload = "/upload"
)

// An apiWire carries the requests of a process to the API, and to a stranger. It is
// the Transport's base.
type apiWire struct{ p *process }

func (a apiWire) RoundTrip(req *http.Request) (*http.Response, error) {
	p, ctx := a.p, req.Context()
	w := p.w
	o := ctx.Value(opKey{}).(*op)
	d := w.chance.of(o.name, "attempt")
	w.yield(d)
	body := &requestBody{w: w, o: o, req: req, d: d}
	entered := time.Now()
	if err := p.cross(ctx); err != nil {
		body.close()
		return nil, err
	}
	at := w.beginAttempt(o, req, entered)
	there, back := w.span(d, 1, 40*time.Millisecond), w.span(d, 1, 40*time.Millisecond)
	if req.URL.Path == pathSlow {
		back += w.span(d, 1, 2*w.plan.timeout)
	}
	if err := pass(ctx, there); err != nil {
		body.close()
		return nil, err
	}
	if w.strikes(d, apiUnreachable) {
		body.close()
		return nil, errUnreachable
	}
	if w.strikes(d, apiAnswersEarly) {
		at.early = true
		body.readBehind()
	} else if err := body.read(); err != nil {
		return nil, err
	}
	resp := w.answer(o, req, at, d)
	if w.strikes(d, apiHangs) {
		back += w.span(d, time.Second, 5*time.Second)
	}
	err := pass(ctx, back)
	if err == nil {
		err = p.cross(ctx)
	}
	if err == nil && w.strikes(d, apiUnreachable) {
		err = errAnswerLost
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	w.endAttempt(o, at, resp)
	return resp, nil
}

// answer is what the API, or the stranger, makes of a request.
func (w *world) answer(o *op, req *http.Request, at *attempt, d *dice) *http.Response {
	status, header := http.StatusOK, make(http.Header)
	path := req.URL.Path
	unavailable := w.strikes(d, apiUnavailable)
	foreign := pick(d, http.StatusOK, http.StatusUnauthorized, http.StatusNotFound)
	redirect := pick(d, http.StatusFound, http.StatusTemporaryRedirect)
	w.mu.Lock()
	good := at.t != nil && w.server.accepts(at.t)
	unknown := at.t != nil && w.server.isUnknown(at.t)
	w.mu.Unlock()
	if !unavailable {
		w.weighProof(at, good, d)
	}
	switch {
	case unavailable:
		status = http.StatusServiceUnavailable
	case at.stranger && path == pathBack:
		status = redirect
		header.Set("Location", apiOrigin+pathGood)
	case at.stranger:
		status = foreign
	case at.hearing.verdict != "":
		status = http.StatusUnauthorized
		header.Set("WWW-Authenticate", w.challenge(at.hearing.verdict))
	case path == pathDenied || !good:
		if unknown && path != pathDenied {
			w.tally.faults[apiLearnsLate].Add(1)
			at.unknown = true
		}
		status = http.StatusUnauthorized
		header.Set("WWW-Authenticate", w.challenge("invalid_token"))
	case path == pathScope:
		status = http.StatusUnauthorized
		header.Set("WWW-Authenticate", w.challenge("insufficient_scope"))
	case path == pathAway, path == pathBack:
		status = redirect
		header.Set("Location", strangerOrigin+path)
		w.tally.counts[countRedirects].Add(1)
	}
	at.beyond = path == pathScope && good
	w.answerProof(at, status, header, d)
	text := fmt.Sprintf("%d to attempt %d of %s", status, at.number, o.name)
	body := &answerBody{w: w, o: o, ctx: req.Context(), left: text, gone: make(chan struct{}), took: w.span(d, 1, 5*time.Millisecond)}
	at.text = text
	length := int64(len(text))
	if status == http.StatusUnauthorized && w.strikes(d, apiEndlessRefusal) {
		body.endless, length = true, -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies = append(w.bodies, body)
	return newResponse(req, status, header, body, length)
}

// An answerBody is the body of an answer of the API.
type answerBody struct {
	w       *world
	o       *op
	ctx     context.Context
	took    time.Duration
	left    string
	endless bool // after its text it gives nothing, and does not end either
	gone    chan struct{}
	once    sync.Once
}

func (b *answerBody) Read(to []byte) (int, error) {
	wait := b.took
	if b.left == "" {
		if !b.endless {
			return 0, io.EOF
		}
		wait = 1 << 40
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
		return 0, context.Cause(b.ctx)
	case <-b.gone:
		return 0, errors.New("read of a closed body")
	}
	n := copy(to, b.left)
	b.left = b.left[n:]
	return n, nil
}

func (b *answerBody) Close() error {
	b.once.Do(func() { close(b.gone) })
	return nil
}

func (b *answerBody) isClosed() bool {
	select {
	case <-b.gone:
		return true
	default:
		return false
	}
}

// An attempt is one request as it reached the API.
type attempt struct {
	number, hop int
	stranger    bool
	endpoint    string
	t           *token
	entered     time.Time // when the Transport had decided upon it
	sent        time.Time
	answered    time.Time
	status      int
	text        string
	beyond      bool // its 401 is about a scope
	unknown     bool // its 401 is about a token that the API has not learned of yet
	trusted     bool // the endpoint had accepted this token before, and no other any since

	early      bool    // it was answered before its body was read
	hearing    hearing // of its proof
	otherMayDo bool    // another proof might have done
}

// beginAttempt looks at a request as it leaves the process.
func (w *world) beginAttempt(o *op, req *http.Request, entered time.Time) *attempt {
	hasProof := len(req.Header["Dpop"]) > 0
	var pr *proof
	var fault error
	if w.provesToAPI() {
		pr, fault = w.readProof(req.Header)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := &attempt{entered: entered, sent: time.Now(), number: len(o.attempts) + 1}
	left := false
	for r := req; r.Response != nil; r = r.Response.Request {
		at.hop++
		left = left || r.Response.Request.URL.Host != strings.TrimPrefix(apiOrigin, "https://")
	}
	at.endpoint = req.Method + " " + req.URL.Path
	at.stranger = "https://"+req.URL.Host != apiOrigin
	value := req.Header.Get("Authorization")
	scheme := "Bearer "
	if w.provesToAPI() {
		scheme = "DPoP "
	}
	access, ok := strings.CutPrefix(value, scheme)
	at.t = w.server.byAccess[access]
	w.judgeAttempt(o, at, value != "" || hasProof, ok, left)
	if w.provesToAPI() && at.t != nil && !at.stranger {
		w.prove(o, at, req, pr, fault, access)
	}
	o.attempts = append(o.attempts, at)
	w.tally.counts[countRequests].Add(1)
	w.note(o.p.name, o.session, "%s: %s %s with %v%v", o.name, req.Method, req.URL, at.t, at.hearing)
	return at
}

// endAttempt takes note of an answer as it enters the process.
func (w *world) endAttempt(o *op, at *attempt, resp *http.Response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at.answered, at.status = time.Now(), resp.StatusCode
	if h := &at.hearing; h.proof != nil {
		h.over = !o.repeatable(at)
		w.api.hear(o.p, o, h)
		at.otherMayDo = h.otherMayDo()
	}
	if at.status == http.StatusUnauthorized && !at.beyond && !at.stranger && at.t != nil && at.hearing.verdict == "" {
		o.p.know(o.session).refused[at.t] = true
	}
	if !at.stranger && at.t != nil {
		o.p.know(o.session).seen.learn(o, at)
	}
	w.note(o.p.name, o.session, "%s: %d for %v%v", o.name, at.status, at.t, at.hearing)
}
