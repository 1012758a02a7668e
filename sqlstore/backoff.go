package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff returns how long to wait before the next try, each time about twice as long
// as before, up to a bound.
type backoff struct{ pause, longest time.Duration }

func newBackoff(first, longest time.Duration) *backoff {
	return &backoff{min(first, longest), longest}
}

func (b *backoff) next() time.Duration {
	pause := b.pause
	b.pause = min(2*pause, b.longest)
	return jittered(pause)
}

// jittered subtracts up to half of d, so that waiters do not act in step.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/2) }

// sleep waits for d. If ctx is done first, it reports false at once.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
