package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// A page is where the output goes.
type page struct {
	out    io.Writer
	colour bool
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	bold   = "1"
	dim    = "2"
)

// newPage returns a page, with colours if out is a terminal and they are not turned
// off (https://no-color.org).
func newPage(out io.Writer) *page {
	p := &page{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		p.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *page) in(style, text string) string {
	if !p.colour || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

func (p *page) title(name, text string) { p.printf("%s: %s\n", p.in(bold, name), text) }

func (p *page) act(name, text string) { p.printf("\n%s  %s\n\n", p.in(bold, name), text) }

// say writes a remark of one or more lines.
func (p *page) say(lines ...string) {
	for _, line := range lines {
		p.printf("            %s\n", line)
	}
}

// totals closes a timeline.
func (p *page) totals(t tally) {
	p.printf("\n")
	p.sum(t)
}

func (p *page) sum(t tally) {
	style := green
	if t.lost+t.wasted > 0 {
		style = red
	}
	p.printf("            %s\n", p.in(style, fmt.Sprintf("%s: %d answered, %d lost. %s, %d wasted.",
		plural(t.requests, "request"), t.answered, t.lost, plural(t.refreshes, "refresh"), t.wasted)))
}

// A row is a line of the timeline. It stands for one event, or for many of a kind.
type row struct {
	at    time.Time
	last  time.Time
	what  string
	who   string
	count int
	note  string
	style string

	watershed bool // rows before and after it are not merged
}

// timeline writes what w has recorded, in a few lines however many requests there were.
func (p *page) timeline(w *watch) {
	calls, refreshes := w.seen()
	for _, r := range summarise(moments(calls, refreshes)) {
		at := p.in(dim, fmt.Sprintf("%7d ms", r.at.Sub(w.began).Milliseconds()))
		what := p.in(r.style, fmt.Sprintf("%-10s", r.what))
		switch {
		case r.watershed:
			p.printf("%s  %s  %s\n", at, what, p.in(r.style, r.note))
		case r.who != "":
			p.printf("%s  %s  %-6s  %s\n", at, what, r.who, r.note)
		default:
			line := fmt.Sprintf("%s  %s  %6d  %s  %s", at, what, r.count, p.in(r.style, bar(r.count, len(calls), 20)), r.note)
			p.printf("%s\n", strings.TrimRight(line, " "))
		}
	}
}

// moments returns the rows in order of time, before they are merged.
func moments(calls []*call, refreshes []attempt) []row {
	var rows []row
	for _, c := range calls {
		for i, a := range c.attempts {
			sent := row{at: a.sent, what: "sent", who: c.name, note: fmt.Sprintf("with token %d", a.token)}
			if i > 0 {
				sent.what = "sent again"
			}
			got := row{at: a.answered, what: "answered", who: c.name, note: fmt.Sprint(a.status), style: green}
			switch {
			case a.err != nil:
				got.what, got.note, got.style = "broken off", "", red
			case a.refused:
				got.what, got.style = "refused", yellow
			}
			rows = append(rows, sent, got)
		}
		if last := len(c.attempts) - 1; c.err != nil && (last < 0 || c.attempts[last].err == nil) {
			rows = append(rows, row{at: c.ended, what: "lost", who: c.name, style: red})
		}
	}
	for _, r := range refreshes {
		end := row{at: r.answered, what: "refresh", style: cyan, watershed: true}
		switch took := r.answered.Sub(r.sent).Milliseconds(); {
		case r.err != nil:
			end.note, end.style = fmt.Sprintf("got no answer in %d ms", took), red
		case r.status != 200:
			end.note, end.style = fmt.Sprintf("refused with %d, in %d ms", r.status, took), red
		default:
			end.note = fmt.Sprintf("done, in %d ms", took)
		}
		rows = append(rows, row{at: r.sent, what: "refresh", note: "started", style: cyan, watershed: true}, end)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return a.at.Compare(b.at) })
	return rows
}

// summarise merges rows of a kind, unless a refresh starts or ends between them.
func summarise(moments []row) []row {
	var rows []row
	from := 0 // the first row after the last watershed
	for _, m := range moments {
		m.last, m.count = m.at, 1
		same := func(r row) bool { return r.what == m.what && r.who == m.who && r.note == m.note }
		if i := slices.IndexFunc(rows[from:], same); i >= 0 && !m.watershed {
			rows[from+i].count++
			rows[from+i].last = m.at
			continue
		}
		rows = append(rows, m)
		if m.watershed {
			from = len(rows)
		}
	}
	for i, r := range rows {
		if took := r.last.Sub(r.at).Milliseconds(); took > 0 && !r.watershed {
			rows[i].note = strings.TrimPrefix(fmt.Sprintf("%s, over %d ms", r.note, took), ", ")
		}
	}
	return rows
}

// bar draws count out of most, width characters wide.
func bar(count, most, width int) string {
	full := 0
	if most > 0 {
		full = min(max(count*width/most, 1), width)
	}
	return strings.Repeat("█", full) + strings.Repeat("·", width-full)
}

// list writes "40 × 200 and 10 × 503".
func list(counts map[int]int) string {
	var words []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d × %d", counts[code], code))
	}
	return strings.Join(words, " and ")
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return fmt.Sprintf("1 %s", noun)
	case strings.HasSuffix(noun, "sh"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
