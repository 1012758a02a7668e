package reauthtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Counts are the counters of a [Server] since it was created. Each of Refreshes and of
// APIRequests is counted again, when it is decided, as one of the kinds that follow. An
// answer that [LoseAnswer] loses counts as the answer that it would have been.
type Counts struct {
	// Connections is the number of connections that the server has accepted. A Server
	// that you mount on a listener counts none.
	Connections int

	// SignIns is the number of sessions that SignIn and the grant type password started.
	SignIns int

	// Refreshes is the number of refresh requests that have arrived. These are all
	// requests to the token endpoint except those of the grant type password, and all
	// requests to the endpoints of HandleRefresh. A request counts as soon as it has
	// been read, before it is blocked or delayed.
	Refreshes        int
	RefreshesGranted int // answered with a token
	RefreshesRefused int // refused by the rules of the protocol
	RefreshesFailed  int // failed by FailRefresh

	// ReusesDetected is how many times a spent refresh token was used again, after its
	// ReuseInterval.
	ReusesDetected int

	// MaxUsesOfOneRefreshToken is how many times the most used refresh token was used,
	// successfully or not. It is more than 1 if a client has ever sent a spent token,
	// and usually with KeepRefreshToken. Requests that FailRefresh made fail before the
	// token was checked do not count.
	MaxUsesOfOneRefreshToken int

	// Revocations is the number of well-formed requests to the revocation endpoint.
	Revocations int

	// SessionsRevoked is the number of sessions that have ended, by a reuse, a revocation
	// request or Revoke.
	SessionsRevoked int

	// APIRequests is the number of requests to the protected API that have arrived.
	APIRequests  int
	APISucceeded int // answered with 2xx
	APIRefused   int // refused for lack of a valid access token
	APIFailed    int // failed by FailAPI
}

// Counts returns the current counts. By the time a client sees an answer, the request is
// in the counts.
func (s *Server) Counts() Counts { return s.counter.snapshot() }

// Await returns when the counts satisfy reached, which is called with new counts, though
// not necessarily with every change. As counts only grow, compare them with >=; a count
// that one request reaches may have been passed by the next. Await fails when ctx is done
// or the server is closed. To wait until a refresh request has arrived:
//
//	err := s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
func (s *Server) Await(ctx context.Context, reached func(Counts) bool) error {
	for {
		counts, changed := s.counter.watch()
		if reached(counts) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("reauthtest: awaiting counts: %w; they are %+v", ctx.Err(), counts)
		case <-s.done:
			return fmt.Errorf("reauthtest: awaiting counts: server closed; they are %+v", counts)
		}
	}
}

// A Request is a line in the server's log of requests to the protected API.
type Request struct {
	Time   time.Time // when it arrived, by the local clock
	Method string
	Host   string
	Path   string // without the query

	// User and Generation identify the token that the request carried, valid or not.
	// They are "" and 0 if it carried no token that the server knows.
	User       string
	Generation int

	// Status is the status of the answer, 0 if there was none.
	Status int
}

// String describes the request in one line. It contains no token.
func (r Request) String() string {
	return fmt.Sprintf("%s %s user=%q generation=%d status=%d", r.Method, r.Path, r.User, r.Generation, r.Status)
}

// logSize is the number of requests that are remembered.
const logSize = 1000

// Requests returns the last 1000 requests to the protected API, in the order in
// which they were answered. By the time a client sees an answer, the request is
// in the log.
func (s *Server) Requests() []Request { return s.counter.requests() }

// A counter holds the counts and the log.
type counter struct {
	mu      sync.Mutex
	counts  Counts
	changed chan struct{} // closed at the next change; nil without waiters
	log     []Request     // a ring once it is full
	oldest  int
}

func (c *counter) update(change func(*Counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.counts)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *counter) snapshot() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// watch returns the counts and a channel that is closed when they next change.
func (c *counter) watch() (Counts, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.counts, c.changed
}

func (c *counter) record(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.log) < logSize {
		c.log = append(c.log, r)
		return
	}
	c.log[c.oldest] = r
	c.oldest = (c.oldest + 1) % logSize
}

func (c *counter) requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.log[c.oldest:], c.log[:c.oldest])
}
