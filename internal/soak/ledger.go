package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// With a request for a refresh a process says which one it is, and for which session
// it asks.
const (
	processHeader = "X-Soak-Process"
	sessionHeader = "X-Soak-Session"
)

// A named transport puts these on each request of a refresher.
type named struct {
	base    http.RoundTripper
	process int
}

func (n named) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(processHeader, strconv.Itoa(n.process))
	req.Header.Set(sessionHeader, reauth.SessionFromContext(req.Context()))
	return n.base.RoundTrip(req)
}

const (
	// toSave is how long a process gets to store what a refresh has brought: longer
	// than the store is cut off, and than RefreshPause, after which it tries again.
	toSave = 3 * time.Second

	// toHear is how long all processes get to hear that a user has signed in again.
	toHear = 5 * time.Second
)

// A ledger knows which process used which refresh token, and which processes were
// killed or stopped. So it can tell a session that the library has lost from one whose
// answer was lost together with a process: on a server that detects reuse no client
// survives that.
type ledger struct {
	dead chan string // the sessions that were lost together with a process

	mu            sync.Mutex
	uses          map[string][]*use // by refresh token
	interruptions []*interruption
	costs         []*cost
	problems      []string
}

// A use is a refresh that was passed on to the server.
type use struct {
	process           int
	session           string
	arrived, answered time.Time // answered is zero until then
}

// An interruption is the time from which, and until which, a process was not running.
type interruption struct {
	process     int
	from, until time.Time // until is zero if it was killed, or as long as it stands still
}

// A cost is the time for which a session was lost together with a process.
type cost struct {
	session     string
	why         string
	from, until time.Time // until is zero until the user has signed in again
}

func newLedger() *ledger {
	return &ledger{dead: make(chan string, 1000), uses: make(map[string][]*use)}
}

// arrive takes note of a refresh that is about to be passed on.
func (l *ledger) arrive(header http.Header, token string) *use {
	process, _ := strconv.Atoi(header.Get(processHeader))
	u := &use{process: process, session: header.Get(sessionHeader), arrived: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.uses[token]
	l.uses[token] = append(before, u)
	if len(before) == 0 {
		return u
	}
	why := l.excuse(before[0], u)
	switch {
	case why == "":
		l.problems = append(l.problems, fmt.Sprintf("a refresh token of %s was used again, %v after its first use",
			u.session, u.arrived.Sub(before[0].arrived).Round(time.Millisecond)))
	case len(before) == 1:
		l.costs = append(l.costs, &cost{session: u.session, why: why, from: u.arrived})
		l.dead <- u.session
	}
	return u
}

func (l *ledger) answer(u *use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u.answered = time.Now()
}

// excuse says why nobody can help that a token was used again: the process that used
// it first was killed or stopped before it could store the next one, or the other had
// been stopped after it had made sure of its lock. It is empty if neither is so. l.mu
// is held.
func (l *ledger) excuse(first, again *use) string {
	for _, i := range l.interruptions {
		if i.process == first.process && (first.answered.IsZero() || i.from.Before(first.answered.Add(toSave))) &&
			(i.until.IsZero() || i.until.After(first.arrived)) {
			if first.answered.IsZero() || i.from.Before(first.answered) {
				return "its process was killed or stopped before the server had answered"
			}
			return fmt.Sprintf("its process was killed or stopped %v after the server had answered", i.from.Sub(first.answered).Round(time.Millisecond))
		}
		if i.process == again.process && !i.until.IsZero() && i.until.Add(toSave).After(again.arrived) && i.from.Before(again.arrived) {
			return "a process had stood still, and did not know yet that its lock was lost"
		}
	}
	return ""
}

// interrupt takes note that a process is about to be killed or stopped.
func (l *ledger) interrupt(process int) *interruption {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := &interruption{process: process, from: time.Now()}
	l.interruptions = append(l.interruptions, i)
	return i
}

func (l *ledger) goesOn(i *interruption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i.until = time.Now()
}

// signedIn takes note that the user of a session has signed in again.
func (l *ledger) signedIn(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.costs {
		if c.session == session && c.until.IsZero() {
			c.until = time.Now()
		}
	}
}

func (l *ledger) problem(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, text)
}

// split tells the requests that were lost together with a process, or that were under
// way while theirs stood still, from those that the library has lost.
func (l *ledger) split(losses []loss) (excused int, lost map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost = make(map[string]int)
	for _, x := range losses {
		if l.covers(x) {
			excused++
		} else {
			lost[x.What]++
		}
	}
	return excused, lost
}

func (l *ledger) covers(x loss) bool {
	for _, c := range l.costs {
		if c.session == x.Session && c.from.Before(x.Ended) && (c.until.IsZero() || c.until.Add(toHear).After(x.Began)) {
			return true
		}
	}
	if x.What != refused {
		return false
	}
	for _, i := range l.interruptions {
		// Its token, and then the next, ended while it stood still.
		if i.process == x.process && i.from.Before(x.Ended) && (i.until.IsZero() || i.until.After(x.Began)) {
			return true
		}
	}
	return false
}
