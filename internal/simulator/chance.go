package simulator

import (
	"sync"
	"time"
)

// A chance is where all that is left to chance in a run comes from. Its answer
// depends on who asks, about what, when, and how many times before. It depends on
// nothing that anybody else does.
type chance struct {
	seed  uint64
	began time.Time

	mu  sync.Mutex
	nth map[asker]uint64
}

// An asker is one whose questions are counted together.
type asker struct {
	who, session, about string
	slice               time.Duration
}

// slice is how long a fault stays the same. A question that comes a little earlier or
// later, because of the library's jitter, mostly gets the same answer.
const slice = 100 * time.Millisecond

func newChance(seed uint64) *chance {
	return &chance{seed: seed, nth: make(map[asker]uint64)}
}

// now returns the dice for a decision of who, in session, about something, at the
// present time.
func (c *chance) now(who, session, about string) *dice {
	return c.dice(asker{who, session, about, time.Since(c.began) / slice})
}

// of returns the dice for the next decision of who about something, whenever that
// is.
func (c *chance) of(who, about string) *dice { return c.dice(asker{who: who, about: about}) }

func (c *chance) dice(a asker) *dice {
	c.mu.Lock()
	n := c.nth[a]
	c.nth[a]++
	c.mu.Unlock()
	d := &dice{state: c.seed}
	for _, s := range [...]string{a.who, a.session, a.about} {
		for i := range len(s) {
			d.state = d.state*1099511628211 ^ uint64(s[i])
		}
		d.next()
	}
	d.state += uint64(a.slice) * 0xd1342543de82ef95
	d.next()
	d.state += n * 0x9e3779b97f4a7c15
	d.next()
	return d
}

// dice are thrown by one goroutine only.
type dice struct{ state uint64 }

// next is a step of splitmix64.
func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns one of 0 to n-1.
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }

// percent is true that often in a hundred times.
func (d *dice) percent(p float64) bool { return float64(d.next()>>11)/(1<<53)*100 < p }

// between returns a time from least to most.
func (d *dice) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.next()%uint64(most-least+1))
}

// pick returns one of the options.
func pick[T any](d *dice, options ...T) T { return options[d.below(len(options))] }
