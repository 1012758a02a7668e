package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth/benchmarks"
)

// The units of benchmarks.
const (
	nanoseconds = "ns/op"
	allocations = "allocs/op"
	bytesPerOp  = "B/op"
	perSession  = "B/session"
	perCaller   = "B/caller"
)

// figures are the last measurements.
type figures struct {
	config   map[string][]string                // of the record: go, cpu, library, …
	samples  map[benchmark]map[string][]float64 // by unit, one value a run
	outcomes []benchmarks.Outcome
}

// A benchmark is one line of what go test prints, by its name.
type benchmark struct {
	name, library, scene string // such as HotPath, reauth, alone/headers=3
}

func readFigures() (*figures, error) {
	f := &figures{config: map[string][]string{}, samples: map[benchmark]map[string][]float64{}}
	for _, file := range []string{benchFile, storesFile, earlierFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 3 && strings.HasPrefix(line, "Benchmark") {
				if err := f.add(fields); err != nil {
					return nil, fmt.Errorf("%s: %q: %w", file, line, err)
				}
			} else if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !slices.Contains(f.config[key], value) {
				f.config[key] = append(f.config[key], value)
			}
		}
	}
	text, err := os.ReadFile(outcomesFile)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var o benchmarks.Outcome
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", outcomesFile, err)
		}
		f.outcomes = append(f.outcomes, o)
	}
	return f, nil
}

// add reads a line such as
//
//	BenchmarkHotPath/lib=reauth/case=alone/headers=3-2  1000  782.1 ns/op  720 B/op  3 allocs/op
func (f *figures) add(fields []string) error {
	name, rest, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "/lib=")
	library, scene, ok := strings.Cut(rest, "/case=")
	if !ok {
		return fmt.Errorf("no lib=…/case=… in its name")
	}
	if dash := strings.LastIndexByte(scene, '-'); dash >= 0 {
		scene = scene[:dash] // GOMAXPROCS
	}
	b := benchmark{name, library, scene}
	if f.samples[b] == nil {
		f.samples[b] = map[string][]float64{}
	}
	for i := 2; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return err
		}
		unit := fields[i+1]
		f.samples[b][unit] = append(f.samples[b][unit], value)
	}
	return nil
}

// median returns the median of all runs.
func (f *figures) median(b benchmark, unit string) float64 { return median(f.samples[b][unit]) }

// ratio returns the median of how many times as long a takes as b in the same run.
func (f *figures) ratio(a, b benchmark) float64 {
	var ratios []float64
	over := f.samples[b][nanoseconds]
	for i, v := range f.samples[a][nanoseconds] {
		if i < len(over) {
			ratios = append(ratios, v/over[i])
		}
	}
	return median(ratios)
}

// runs returns how many runs there were.
func (f *figures) runs() int {
	return len(f.samples[benchmark{"HotPath", "reauth", "alone/headers=3"}][nanoseconds])
}

// outcome returns the outcome of a library in a scenario.
func (f *figures) outcome(scenario, library string) (benchmarks.Outcome, bool) {
	i := slices.IndexFunc(f.outcomes, func(o benchmarks.Outcome) bool {
		return o.Scenario == scenario && o.Library == library
	})
	if i < 0 {
		return benchmarks.Outcome{}, false
	}
	return f.outcomes[i], true
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// check writes the figures with their limits, and returns an error if one misses its
// limit. A missing figure does not pass.
func (f *figures) check(w io.Writer) error {
	missed := 0
	line := func(ok bool, format string, args ...any) {
		verdict := "ok    "
		if !ok {
			verdict = "MISSED"
			missed++
		}
		fmt.Fprintf(w, "%s  %s\n", verdict, fmt.Sprintf(format, args...))
	}
	atMost := func(what string, value, limit float64) {
		line(value <= limit, "%s: %.2f, at most %.2f", what, value, limit)
	}
	same := func(what string, a, b float64) { line(a == b, "%s: %g and %g", what, a, b) }

	fmt.Fprintf(w, "\nmedian of %d runs; times are ratios within a run\n", f.runs())
	for _, scene := range hotScenes {
		reauth, floor := benchmark{"HotPath", "reauth", scene}, benchmark{"HotPath", "floor", scene}
		atMost("hot path, "+scene+": time over the floor's", f.ratio(reauth, floor), 1.5)
		atMost("hot path, "+scene+": time over x/oauth2's", f.ratio(reauth, benchmark{"HotPath", "oauth2", scene}), 0.6)
		same("hot path, "+scene+": allocations, and the floor's", f.median(reauth, allocations), f.median(floor, allocations))
	}
	for _, scene := range manyScenes {
		reauth, floor := benchmark{"ManySessions", "reauth", scene}, benchmark{"ManySessions", "floor", scene}
		atMost("100,000 sessions, "+scene+": time over the floor's", f.ratio(reauth, floor), 1.8)
		same("100,000 sessions, "+scene+": allocations, and the floor's", f.median(reauth, allocations), f.median(floor, allocations))
	}
	for i, scene := range restScenes {
		atMost("at rest, "+scene+": bytes per session", f.median(benchmark{"AtRest", "reauth", scene}, perSession), [...]float64{600, 720}[i])
	}
	atMost("evicted: bytes per session", f.median(benchmark{"Evicted", "reauth", restScenes[0]}, perSession), 16)

	exactly := func(scenario string, want time.Duration) {
		o, ok := f.outcome(scenario, "reauth")
		line(ok && o.Last == want && o.Answered == o.Callers, "%s: the last of %d answers at %s, want %s", scenario, o.Answered, o.Last, want)
	}
	exactly("storm-refused", 220*time.Millisecond)
	exactly("storm-ended", 210*time.Millisecond)
	for _, replicas := range replicaCounts {
		o, ok := f.outcome(fmt.Sprintf("replicas-%d", replicas), "reauth")
		line(ok && o.StoreCalls == 3*replicas+2 && o.Answered == replicas && o.Refreshes == 1,
			"%d replicas: %d calls of the store, %d answers, %d refreshes", replicas, o.StoreCalls, o.Answered, o.Refreshes)
	}
	for _, n := range []int{10, 50, 100, 200} {
		atMost(fmt.Sprintf("%d replicas over Redis: calls of each", n), f.median(ofReplicas("redis", n), callsPerReplica), 24)
	}
	atMost("200 replicas over Redis: milliseconds from the first answer to the last", f.median(ofReplicas("redis", 200), msToLast), 100)
	o, ok := f.outcome("rollover", "reauth")
	quiet, _ := f.outcome("rollover", "none")
	line(ok && o.Worst == quiet.Worst && o.Refreshes == o.Rollovers && o.Refused+o.Failed == 0,
		"rollover: worst request %s, %s without; %d refreshes for %d rollovers; %d refused",
		o.Worst, quiet.Worst, o.Refreshes, o.Rollovers, o.Refused+o.Failed)
	if missed > 0 {
		return fmt.Errorf("limits missed: %d", missed)
	}
	return nil
}

var (
	hotScenes  = []string{"alone/headers=3", "alone/headers=12", "cores/headers=3", "cores/headers=12"}
	manyScenes = []string{"alone/headers=3", "alone/headers=12", "cores/headers=3", "cores/headers=12"}
	restScenes = []string{"elsewhere", "memory"}

	replicaCounts = []int{1, 10, 100, 1000, 10_000}
)
