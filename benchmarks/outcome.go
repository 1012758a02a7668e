package benchmarks

import "time"

// An Outcome is the result of a scenario in virtual time. The tests report it as an
// attribute called "outcome", in JSON, where cmd/report finds it. Times count from
// the moment when the callers start.
type Outcome struct {
	Scenario string
	Library  string
	Callers  int

	Answered int // callers that got an answer
	Refused  int // callers that got a 401
	Failed   int // callers that got an error

	Requests  int // requests that the API has seen
	Refreshes int // refreshes that the token server has seen

	StoreCalls int `json:",omitempty"` // of all replicas, where they share a store

	Last time.Duration // when the last caller had its answer or error

	Spans []Span `json:",omitempty"` // what happened when

	// For a load that lasts many lifetimes of a token.
	Rollovers int             `json:",omitempty"` // how often the API has seen the token change
	Median    time.Duration   `json:",omitempty"` // of the time of a request
	P999      time.Duration   `json:",omitempty"` // the 99.9th percentile
	Worst     time.Duration   `json:",omitempty"`
	Seconds   []time.Duration `json:",omitempty"` // the slowest request that began in each of the first seconds
}

// A Span is a period in which Count requests of the same kind were under way.
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
