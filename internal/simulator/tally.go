package simulator

import (
	"fmt"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// A count is something that is counted besides the faults.
type count int

const (
	countRequests count = iota
	countAnswered
	countBodies
	countReplays
	countRefreshesAsked
	countRefreshes
	countEarly
	countAdoptions
	countPendingSaves
	countSignIns
	countSignOuts
	countRevocations
	countUpdates
	countForgets
	countSalvaged
	countFallbacks
	countConfigSignIns
	countLost
	countReuses
	countRedirects
	countSessions
	countSessionsRefreshed
	countSkippedNeed
	countProofs
	countDemands
	countInvalidProofs
	countOtherProofs

	countKinds
)

var countNames = [countKinds]string{
	countRequests:          "requests",
	countAnswered:          "answered 200",
	countBodies:            "bodies that arrived whole",
	countReplays:           "replays",
	countRefreshesAsked:    "refreshes asked for",
	countRefreshes:         "refreshes that brought a token",
	countEarly:             "refreshes ahead of the end",
	countAdoptions:         "adoptions",
	countPendingSaves:      "saves pending",
	countSignIns:           "sign-ins",
	countSignOuts:          "sign-outs",
	countRevocations:       "tokens given back",
	countUpdates:           "Updates",
	countForgets:           "calls of Forget",
	countSalvaged:          "refresh tokens salvaged",
	countFallbacks:         "replays with the token before",
	countConfigSignIns:     "calls of Config.SignIn",
	countLost:              "sessions lost, excused",
	countReuses:            "refresh tokens used twice, excused",
	countRedirects:         "redirects to a stranger",
	countSessions:          "sessions",
	countSessionsRefreshed: "sessions that saw a refresh",
	countSkippedNeed:       "refreshes of which nobody can say whether they were needed",
	countProofs:            "proofs",
	countDemands:           "demands for a nonce",
	countInvalidProofs:     "proofs refused as invalid",
	countOtherProofs:       "requests sent again with another proof",
}

// A Tally is what happened in one run or in many.
type Tally struct {
	Seeds   int
	Faults  [faultKinds]int
	Counts  [countKinds]int
	Excuses [excuseKinds]int
	Virtual time.Duration // how long it took, in virtual time
	Slowest time.Duration // how long it took until every session worked again
}

// Add adds the numbers of another.
func (t *Tally) Add(o Tally) {
	t.Seeds += o.Seeds
	for i, n := range o.Faults {
		t.Faults[i] += n
	}
	for i, n := range o.Counts {
		t.Counts[i] += n
	}
	for i, n := range o.Excuses {
		t.Excuses[i] += n
	}
	t.Virtual += o.Virtual
	t.Slowest = max(t.Slowest, o.Slowest)
}

// Refreshed is the share of the sessions that saw a refresh.
func (t *Tally) Refreshed() float64 {
	return float64(t.Counts[countSessionsRefreshed]) / float64(max(t.Counts[countSessions], 1))
}

// String is a table for a person to read.
func (t *Tally) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.AlignRight)
	row := func(n int, what string) { fmt.Fprintf(w, "%d\t  %s\n", n, what) }
	row(t.Seeds, fmt.Sprintf("seeds, %v of virtual time; all worked again after at most %v", t.Virtual.Round(time.Second), t.Slowest))
	for i, n := range t.Counts {
		row(n, countNames[i])
	}
	for i, n := range t.Faults {
		row(n, "fault: "+faultNames[i])
	}
	for i, n := range t.Excuses {
		row(n, "excuse: "+excuseNames[i])
	}
	w.Flush()
	return b.String()
}

// counters are the tally of a run while it goes on.
type counters struct {
	faults           [faultKinds]atomic.Int64
	counts           [countKinds]atomic.Int64
	excuses          [excuseKinds]atomic.Int64
	virtual, slowest time.Duration
}

func (c *counters) read() Tally {
	t := Tally{Seeds: 1, Virtual: c.virtual, Slowest: c.slowest}
	for i := range c.faults {
		t.Faults[i] = int(c.faults[i].Load())
	}
	for i := range c.counts {
		t.Counts[i] = int(c.counts[i].Load())
	}
	for i := range c.excuses {
		t.Excuses[i] = int(c.excuses[i].Load())
	}
	return t
}

// CountName is what a count is called.
func CountName(i int) string { return countNames[i] }
