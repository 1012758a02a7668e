package sqlstore

import (
	"context"
	"time"
)

// tidyEvery is how often a Store looks for the rows of deleted tokens, unless there are many.
const tidyEvery = 10 * time.Second

// removeDeleted removes rows of tokens that were deleted a while ago, by whomever. It is
// called when a token was deleted, so that such rows do not pile up. If it fails they stay
// until the next time.
func (s *Store) removeDeleted(ctx context.Context) {
	now, next := time.Now().UnixMilli(), s.tidied.Load()
	if now < next || !s.tidied.CompareAndSwap(next, now+tidyEvery.Milliseconds()) {
		return
	}
	keys, err := s.keys(ctx, s.statements.old)
	if err != nil || len(keys) == 0 {
		return
	}
	_, err = s.exec(ctx, s.statements.tidy, padded(keys)...)
	if err == nil && len(keys) == batch {
		s.tidied.Store(0) // there may be more
	}
}

// padded returns a batch of keys, of which it repeats the last, and then other arguments.
func padded(keys []string, others ...any) []any {
	args := make([]any, batch, batch+len(others))
	for i := range args {
		args[i] = keys[min(i, len(keys)-1)]
	}
	return append(args, others...)
}
