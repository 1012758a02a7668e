package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// A watch is the base of the Transport and records what passes. This program needs it
// to draw its timeline; other programs do not.
type watch struct {
	base    http.RoundTripper
	refused func(*http.Response) bool
	began   time.Time

	mu        sync.Mutex
	calls     []*call   // those that have ended
	refreshes []attempt // the same
	tokens    map[string]int
}

// A call is one request of the program, and its outcome.
type call struct {
	name     string
	began    time.Time
	ended    time.Time
	attempts []attempt // one, or two if the first was refused
	status   int
	err      error
}

// An attempt is one request on the wire.
type attempt struct {
	sent     time.Time
	answered time.Time
	token    int // 1 for the first that was seen, and so on
	status   int
	refused  bool
	err      error
}

type callKey struct{}

// newWatch returns a watch above base that has room for n connections.
func newWatch(base *http.Transport, n int, refused []int) *watch {
	base.MaxIdleConns, base.MaxIdleConnsPerHost = 0, n
	return &watch{
		base:    base,
		refused: reauth.RefusedStatus(refused...),
		began:   time.Now(),
		tokens:  make(map[string]int),
	}
}

// get sends one request and reads the answer to its end.
func (w *watch) get(ctx context.Context, client *http.Client, url, name string) {
	c := &call{name: name, began: time.Now()}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, callKey{}, c), http.MethodGet, url, nil)
	if err == nil {
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			c.status = resp.StatusCode
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	c.ended, c.err = time.Now(), withoutURL(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
}

// RoundTrip sends a request to the API.
func (w *watch) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, a, err := w.send(req)
	if resp != nil {
		a.refused = w.refused(resp)
	}
	a.token = w.number(req.Header.Get("Authorization"))
	if c, ok := req.Context().Value(callKey{}).(*call); ok {
		c.attempts = append(c.attempts, a) // a call's attempts follow one another
	}
	return resp, err
}

// tokenClient returns a client for requests to the token server.
func (w *watch) tokenClient() *http.Client { return &http.Client{Transport: watchRefresh{w}} }

type watchRefresh struct{ *watch }

func (w watchRefresh) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, a, err := w.send(req)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refreshes = append(w.refreshes, a)
	return resp, err
}

func (w *watch) send(req *http.Request) (*http.Response, attempt, error) {
	a := attempt{sent: time.Now()}
	resp, err := w.base.RoundTrip(req)
	a.answered, a.err = time.Now(), err
	if resp != nil {
		a.status = resp.StatusCode
	}
	return resp, a, err
}

// number gives each token that is seen the next number.
func (w *watch) number(token string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.tokens[token]
	if !ok {
		n = len(w.tokens) + 1
		w.tokens[token] = n
	}
	return n
}

// seen returns the calls and refreshes that have ended so far.
func (w *watch) seen() (calls []*call, refreshes []attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls), slices.Clone(w.refreshes)
}

// lost reports whether the call got no answer, or a refusal.
func (c *call) lost() bool { return c.err != nil || c.attempts[len(c.attempts)-1].refused }

func (c *call) took() time.Duration { return c.ended.Sub(c.began) }

// near reports whether the call was under way within margin of r.
func (c *call) near(r attempt, margin time.Duration) bool {
	return c.began.Before(r.answered.Add(margin)) && c.ended.After(r.sent.Add(-margin))
}

// waited reports whether the call waited for one of the refreshes, which means that
// it began during the refresh and was sent after it.
func (c *call) waited(refreshes []attempt) bool {
	if len(c.attempts) != 1 {
		return true
	}
	sent := c.attempts[0].sent
	return slices.ContainsFunc(refreshes, func(r attempt) bool {
		return c.began.After(r.sent) && c.began.Before(r.answered) &&
			sent.After(r.answered) && sent.Sub(c.began) > time.Millisecond
	})
}

// A tally counts requests and refreshes by outcome.
type tally struct {
	requests  int
	answered  int
	lost      int
	refreshes int
	wasted    int // refreshes beyond those that were needed
	why       error
}

// tally counts what was recorded. needed is how many refreshes were needed.
func (w *watch) tally(needed int) tally {
	calls, refreshes := w.seen()
	t := tally{requests: len(calls), refreshes: len(refreshes), wasted: max(len(refreshes)-needed, 0)}
	for _, c := range calls {
		if !c.lost() {
			t.answered++
			continue
		}
		t.lost++
		if t.why == nil {
			t.why = cmp.Or(c.err, error(errStillRefused))
		}
	}
	return t
}

func (t *tally) add(o tally) {
	t.requests += o.requests
	t.answered += o.answered
	t.lost += o.lost
	t.refreshes += o.refreshes
	t.wasted += o.wasted
	t.why = cmp.Or(t.why, o.why)
}

func (t *tally) verdict() error {
	var faults []error
	if t.lost > 0 {
		faults = append(faults, fmt.Errorf("%s lost: %w", plural(t.lost, "request"), t.why))
	}
	if t.wasted > 0 {
		faults = append(faults, fmt.Errorf("%s too many", plural(t.wasted, "refresh")))
	}
	return errors.Join(faults...)
}

var errStillRefused = errors.New("the API refused the new token too")

// diagnosis suggests what to look at when the storm at the user's API did not go as
// expected.
func (w *watch) diagnosis() error {
	calls, refreshes := w.seen()
	if len(refreshes) == 0 {
		statuses := make(map[int]int)
		for _, c := range calls {
			if c.err == nil {
				statuses[c.status]++
			}
		}
		if len(statuses) == 0 {
			return nil // the cause is not a token
		}
		return fmt.Errorf("nothing was refreshed, because the API refused no request: it answered %s; "+
			"does -url need a token? See also -refused and -access-token", list(statuses))
	}
	for _, c := range calls {
		var failed *reauth.RefreshError
		switch {
		case errors.As(c.err, &failed) && failed.Code == "invalid_client":
			return errors.New("see -client-id, -client-secret and -auth-style")
		case errors.Is(c.err, reauth.ErrSignInRequired):
			return errors.New("the token server says that -refresh-token is spent, expired or another client's")
		}
	}
	return nil
}

// withoutURL leaves out the address, which may hold secrets.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
