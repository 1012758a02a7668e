package simulator

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// A trace remembers what happened. Lines are put into words only if somebody
// wants to read them.
type trace struct {
	mu    sync.Mutex
	began time.Time
	lines []line
	names []string // pairs of a secret and what it is called, for whatever repeats one
}

type line struct {
	at               time.Duration
	process, session string
	format           string
	args             []any
}

// note adds a line. The arguments must never change any more.
func (t *trace) note(process, session, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line{time.Since(t.began), process, session, format, args})
}

// named gives a secret the name by which the trace shows it.
func (t *trace) named(secret, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if secret != "" {
		t.names = append(t.names, secret, "<"+name+">")
	}
}

func (t *trace) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lines)
}

// text writes the lines down. With a session, lines of another one are left out;
// with around, so are those long before the line last and those long after it.
func (t *trace) text(session string, around, last int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var shown []line
	for i, l := range t.lines {
		if around > 0 && i > last+around/4 {
			break
		}
		if session == "" || l.session == "" || l.session == session {
			shown = append(shown, l)
		}
	}
	if around > 0 && len(shown) > around {
		shown = shown[len(shown)-around:]
	}
	names := strings.NewReplacer(t.names...)
	var b strings.Builder
	for _, l := range shown {
		text := names.Replace(fmt.Sprintf(l.format, l.args...))
		fmt.Fprintf(&b, "%12s  %-4s %-4s %s\n", l.at, l.process, l.session, text)
	}
	return b.String()
}
