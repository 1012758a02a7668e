package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth/benchmarks"
)

// documents are the files whose marked sections are written.
var documents = []string{"README.md", "../docs/benchmarks.md"}

// The libraries in the order in which they are shown.
var shown = []struct{ library, title string }{
	{"base", "the base alone"},
	{"floor", "the floor"},
	{"reauth", "**reauth**"},
	{"oauth2", "golang.org/x/oauth2"},
	{"azcore", "Azure azcore"},
	{"appkit", "acronis/go-appkit"},
	{"cloudauth", "cloud.google.com/go/auth"},
}

// writeTables puts each table between the lines
//
//	<!-- figures: NAME -->
//	<!-- /figures -->
func writeTables(f *figures) error {
	tables := map[string]string{
		"conditions":    f.conditions(),
		"hot path":      f.hotPath(),
		"many sessions": f.manySessions(),
		"bodies":        f.bodies(),
		"storm":         f.storm(),
		"memory":        f.memory(),
		"virtual time":  f.virtualTime(),
		"rollover":      f.rollover(),
		"replicas":      f.replicas(),
		"stores":        f.stores(),
		"speed":         f.speed(),
	}
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		filled, err := fill(string(text), tables)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if filled != string(text) {
			if err := os.WriteFile(path, []byte(filled), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func fill(text string, tables map[string]string) (string, error) {
	const opening, closing = "<!-- figures: ", "<!-- /figures -->"
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, opening)
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		name, rest, _ := strings.Cut(rest, " -->")
		_, after, ok := strings.Cut(rest, closing)
		if !ok {
			return "", fmt.Errorf("figures %q have no end", name)
		}
		table, ok := tables[name]
		if !ok {
			return "", fmt.Errorf("there are no figures called %q", name)
		}
		out.WriteString(opening + name + " -->\n" + table + closing)
		text = after
	}
}

// A table is written row by row.
type table struct{ strings.Builder }

func newTable(columns ...string) *table {
	t := new(table)
	t.row(columns...)
	t.WriteString("|" + strings.Repeat(" --- |", len(columns)) + "\n")
	return t
}

func (t *table) row(cells ...string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (f *figures) conditions() string {
	return fmt.Sprintf("Median of %d runs, of memory %d, with %s on %s cores of %s; %s.\n",
		f.runs(), min(f.runs(), memoryRuns), strings.Join(f.config["go"], ", "), strings.Join(f.config["cores"], ", "),
		strings.Join(f.config["cpu"], ", "), strings.Join(f.config["library"], ", "))
}

func (f *figures) hotPath() string {
	t := newTable("", "3 headers", "12 headers", "3 headers, all cores", "12 headers, all cores", "bytes, 3 / 12 headers", "allocations")
	for _, s := range shown {
		cells := []string{s.title}
		for _, scene := range hotScenes {
			cells = append(cells, f.beside(benchmark{"HotPath", s.library, scene}, "floor"))
		}
		few, many := benchmark{"HotPath", s.library, hotScenes[0]}, benchmark{"HotPath", s.library, hotScenes[1]}
		t.row(append(cells,
			fmt.Sprintf("%.0f / %.0f", f.median(few, bytesPerOp), f.median(many, bytesPerOp)),
			fmt.Sprintf("%.0f / %.0f", f.median(few, allocations), f.median(many, allocations)))...)
	}
	return t.String()
}

func (f *figures) manySessions() string {
	t := newTable("", "3 headers", "12 headers", "3 headers, all cores", "12 headers, all cores", "3 headers, at random", "12 headers, at random")
	for _, s := range shown {
		if f.samples[benchmark{"ManySessions", s.library, manyScenes[0]}] == nil {
			continue
		}
		cells := []string{s.title}
		for _, scene := range append(slices.Clone(manyScenes), "random/headers=3", "random/headers=12") {
			cells = append(cells, f.beside(benchmark{"ManySessions", s.library, scene}, "floor"))
		}
		t.row(cells...)
	}
	return t.String()
}

func (f *figures) bodies() string {
	t := newTable("", "1 KiB", "64 KiB", "64 KiB, length not known", "bytes allocated", "sends it again")
	for _, s := range shown {
		if s.library == "base" {
			continue
		}
		cells := []string{s.title}
		var allocated []string
		for _, scene := range []string{"1KiB", "64KiB", "streamed"} {
			b := benchmark{"Body", s.library, scene}
			cells = append(cells, f.beside(b, "floor"))
			allocated = append(allocated, size(f.median(b, bytesPerOp)))
		}
		again := ""
		if o, ok := f.outcome("body-again", s.library); ok && o.Answered == o.Callers {
			again = "yes"
		} else if ok && o.Refused == o.Callers {
			again = "no"
		}
		t.row(append(cells, strings.Join(allocated, " / "), again)...)
	}
	return t.String()
}

func (f *figures) storm() string {
	t := newTable("", "1 caller", "100 callers", "10,000 callers", "memory per waiting caller")
	for _, s := range shown {
		if s.library == "base" {
			continue
		}
		cells := []string{s.title}
		for _, scene := range []string{"1", "100", "10000"} {
			cells = append(cells, f.beside(benchmark{"Storm", s.library, scene}, "floor"))
		}
		t.row(append(cells, size(f.median(benchmark{"Waiting", s.library, "10000"}, perCaller)))...)
	}
	return t.String()
}

func (f *figures) memory() string {
	t := newTable("", "bytes per session")
	for _, r := range []struct{ title, name, scene string }{
		{"at rest, its token in a store of another process", "AtRest", "elsewhere"},
		{"at rest, its token in a `MemoryStore`", "AtRest", "memory"},
		{"evicted", "Evicted", "elsewhere"},
	} {
		t.row(r.title, fmt.Sprintf("%.0f", max(0, f.median(benchmark{r.name, "reauth", r.scene}, perSession))))
	}
	return t.String()
}

func (f *figures) virtualTime() string {
	t := newTable("", "storm of 10,000, token refused", "storm of 10,000, token expired", "50 late refusals", "failing token server, 50 callers", "50 ms deadline during a 700 ms refresh")
	for _, s := range shown[2:] {
		cell := func(scenario string, show func(benchmarks.Outcome) string) string {
			if o, ok := f.outcome(scenario, s.library); ok {
				return show(o)
			}
			return "left to the user"
		}
		storm := func(o benchmarks.Outcome) string {
			if o.Answered == 0 {
				return "a 401 each"
			}
			return fmt.Sprintf("%s, last answer at %s", count(o.Refreshes, "refresh", "refreshes"), span(o.Last))
		}
		t.row(s.title, cell("storm-refused", storm), cell("storm-ended", storm),
			cell("late-refusals", func(o benchmarks.Outcome) string {
				if o.Answered == 0 {
					return "a 401 each"
				}
				return count(o.Refreshes, "refresh", "refreshes")
			}),
			cell("failing-token-server", func(o benchmarks.Outcome) string {
				return fmt.Sprintf("%s, last error at %s", count(o.Refreshes, "call", "calls"), span(o.Last))
			}),
			cell("deadline", func(o benchmarks.Outcome) string { return "returns after " + span(o.Last) }))
	}
	return t.String()
}

func (f *figures) rollover() string {
	t := newTable("", "median", "99.9th percentile", "worst", "refreshes", "refused")
	for _, s := range append([]struct{ library, title string }{{"none", "reauth, a token that does not expire"}}, shown...) {
		if o, ok := f.outcome("rollover", s.library); ok {
			t.row(s.title, span(o.Median), span(o.P999), span(o.Worst), fmt.Sprint(o.Refreshes), fmt.Sprint(o.Refused+o.Failed))
		}
	}
	return t.String()
}

func (f *figures) replicas() string {
	t := newTable("replicas", "store calls", "for each replica", "refreshes", "last answer")
	for _, replicas := range replicaCounts {
		if o, ok := f.outcome(fmt.Sprintf("replicas-%d", replicas), "reauth"); ok {
			t.row(thousands(replicas), thousands(o.StoreCalls), fmt.Sprintf("%.2f", float64(o.StoreCalls)/float64(replicas)),
				fmt.Sprint(o.Refreshes), span(o.Last.Round(time.Millisecond)))
		}
	}
	return t.String()
}

// speed returns the table for docs/benchmarks.md.
func (f *figures) speed() string {
	t := newTable("", "time per request", "allocations", "10,000 refused at once", "failing token server, 50 callers", "slowest of 100 requests a second, across 100 refreshes")
	for _, s := range shown[1:] {
		b := benchmark{"HotPath", s.library, hotScenes[0]}
		cells := []string{s.title, fmt.Sprintf("%.2f", f.ratio(b, benchmark{"HotPath", "floor", b.scene})), fmt.Sprintf("%.0f", f.median(b, allocations))}
		for _, scenario := range []string{"storm-refused", "failing-token-server", "rollover"} {
			o, ok := f.outcome(scenario, s.library)
			switch {
			case !ok:
				cells = append(cells, "")
			case scenario == "storm-refused" && o.Answered == 0:
				cells = append(cells, "10,000 times 401")
			case scenario == "storm-refused":
				cells = append(cells, fmt.Sprintf("all answered within %s", span(o.Last)))
			case scenario == "rollover":
				cells = append(cells, span(o.Worst))
			default:
				cells = append(cells, fmt.Sprintf("%s, %s", count(o.Refreshes, "call", "calls"), span(o.Last)))
			}
		}
		t.row(cells...)
	}
	return t.String()
}

// beside writes a time, and how many times that of the other library it is.
func (f *figures) beside(b benchmark, library string) string {
	other := b
	other.library = library
	return fmt.Sprintf("%.2f (%s)", f.ratio(b, other), duration(f.median(b, nanoseconds)))
}

// duration writes nanoseconds with three digits.
func duration(ns float64) string {
	d := time.Duration(ns)
	switch {
	case ns < 10:
		return fmt.Sprintf("%.1f ns", ns)
	case d < time.Microsecond:
		return fmt.Sprintf("%.0f ns", ns)
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	}
	return fmt.Sprintf("%.3g ms", ns/1e6)
}

// span writes a time as it is, with a space before its unit.
func span(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d < time.Second {
		return fmt.Sprintf("%g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

// thousands writes a number with a comma before each three digits.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// size writes bytes with three digits.
func size(b float64) string {
	if b < 1024 {
		return fmt.Sprintf("%.0f B", b)
	}
	return fmt.Sprintf("%.3g KiB", b/1024)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
