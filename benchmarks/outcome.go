package benchmarks

import "time"

// An Outcome is what came of a scenario in virtual time. The tests report it as
// an attribute called "outcome", in JSON, which is where cmd/report finds it. Times
// count from the moment at which the callers start.
type Outcome struct {
	Scenario string
	Library  string
	Callers  int

	Answered int // callers that got what they asked for
	Refused  int // callers that were handed a 401
	Failed   int // callers that got an error

	Requests  int // that the API has seen
	Refreshes int // that the token server has seen

	Last time.Duration // until the last caller had its answer or error

	Spans []Span `json:",omitempty"` // what happened when

	// Of a load that goes on for many lifetimes of a token.
	Rollovers int             `json:",omitempty"` // how often the API has seen the token change
	Median    time.Duration   `json:",omitempty"` // of the time that a request took
	P999      time.Duration   `json:",omitempty"` // the 99.9th percentile
	Worst     time.Duration   `json:",omitempty"`
	Seconds   []time.Duration `json:",omitempty"` // the slowest request that began in each second, at first
}

// A Span is a time in which Count requests of the same kind were under way.
type Span struct {
	Kind       string // SpanRefused, SpanAnswered, SpanRefresh or SpanFailed
	Start, End time.Duration
	Count      int
}

// The kinds of spans.
const (
	SpanRefused  = "refused"  // a request, answered with 401
	SpanAnswered = "answered" // a request, answered with 200
	SpanRefresh  = "refresh"  // a refresh that brought a token
	SpanFailed   = "failed"   // a refresh that did not
)
