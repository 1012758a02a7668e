package benchmarks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reauth-go/reauth/benchmarks"
)

// A model is a token server and an API, without the servers. Its times are those
// of the bubble it is in.
type model struct {
	lifetime   time.Duration // of the tokens it issues; 0: they do not expire
	refreshing time.Duration // how long a refresh takes
	down       bool          // the token server fails
	answering  func(*http.Request) time.Duration

	mu        sync.Mutex
	began     time.Time
	issued    int
	good      map[string]time.Time // access tokens, and when they expire; zero: never
	seen      map[string]bool      // the access tokens that the API has seen
	requests  int
	refreshes int
	spans     map[benchmarks.Span]int // those without a Count, and how many there are of each; nil: not recorded
}

func newModel() *model {
	return &model{
		answering: func(*http.Request) time.Duration { return apiLatency },
		began:     time.Now(),
		good:      map[string]time.Time{},
		seen:      map[string]bool{},
	}
}

// issue returns a new token. The tokens before it stay valid until they expire.
func (m *model) issue() token {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issued++
	t := token{access: fmt.Sprintf("access-%d", m.issued)}
	if m.lifetime != 0 {
		t.expiry = time.Now().Add(m.lifetime)
	}
	m.good[t.access] = t.expiry
	return t
}

// revoke makes the API refuse all tokens issued so far.
func (m *model) revoke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.good)
}

var errDown = errors.New("the token server is down")

// refresh is the token server.
func (m *model) refresh(ctx context.Context) (token, error) {
	start := time.Now()
	m.mu.Lock()
	m.refreshes++
	m.mu.Unlock()
	if err := pass(ctx, m.refreshing); err != nil {
		return token{}, err
	}
	if m.down {
		m.happened(benchmarks.SpanFailed, start)
		return token{}, errDown
	}
	m.happened(benchmarks.SpanRefresh, start)
	return m.issue(), nil
}

// RoundTrip is the API. It decides about a token when the request arrives, and answers
// after its usual time.
func (m *model) RoundTrip(req *http.Request) (*http.Response, error) {
	start := time.Now()
	status, kind := http.StatusUnauthorized, benchmarks.SpanRefused
	if m.accepts(req.Header.Get("Authorization")) {
		status, kind = http.StatusOK, benchmarks.SpanAnswered
	}
	if err := pass(req.Context(), m.answering(req)); err != nil {
		return nil, err
	}
	m.happened(kind, start)
	resp := &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: req,
	}
	if status == http.StatusUnauthorized {
		// The only challenge for which azcore sends a request again.
		resp.Header.Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="e30="`)
	}
	return resp, nil
}

func (m *model) accepts(authorization string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	access := strings.TrimPrefix(authorization, "Bearer ")
	m.seen[access] = true
	until, ok := m.good[access]
	return ok && (until.IsZero() || time.Now().Before(until))
}

// rollovers returns how often the API has seen the token change.
func (m *model) rollovers() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, len(m.seen)-1)
}

func (m *model) happened(kind string, start time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spans != nil {
		m.spans[benchmarks.Span{Kind: kind, Start: start.Sub(m.began), End: time.Since(m.began)}]++
	}
}

func (m *model) timeline() []benchmarks.Span {
	m.mu.Lock()
	defer m.mu.Unlock()
	var spans []benchmarks.Span
	for span, count := range m.spans {
		span.Count = count
		spans = append(spans, span)
	}
	slices.SortFunc(spans, func(a, b benchmarks.Span) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(a.End - b.End)
	})
	return spans
}

// pass waits, unless ctx is done before.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
