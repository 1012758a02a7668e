package redisstore

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fail(context.Context) (int, error) { return 0, os.ErrDeadlineExceeded } // as a read does

// Either the context or its effect on the client can be noticed first.
func TestTheEndOfAContextIsTheCauseOfTheFailureItBrings(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(ctx, fail)
	<-c.done
	cancel()
	for range 50 {
		_, err := c.wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
	}
}

// A lateContext has a deadline that has passed, but is not done yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestADeadlineThatAReadNoticesFirstIsTheContexts(t *testing.T) {
	_, err := do(lateContext{t.Context()}, fail)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = do(t.Context(), fail)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
}
