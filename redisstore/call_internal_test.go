package redisstore

import (
	"context"
	"errors"
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

func TestTheKindOfAnError(t *testing.T) {
	const inScript = "ERR Error running script (call to f_0123): @user_script:7: @user_script: 7: "
	for text, want := range map[string]struct{ unready, passing bool }{
		"TRYAGAIN Multiple keys request during rehashing of slot":                          {true, true},
		"MOVED 3459 127.0.0.1:7001":                                                        {true, true},
		"ASK 3459 127.0.0.1:7001":                                                          {true, true},
		"CLUSTERDOWN The cluster is down":                                                  {true, true},
		"LOADING Redis is loading the dataset in memory":                                   {true, true},
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": {true, true},
		"READONLY You can't write against a read only replica.":                            {true, true},
		inScript + "-READONLY You can't write against a read only replica.":                {true, true},
		inScript + "-LOADING Redis is loading the dataset in memory":                       {true, true},
		inScript + "-OOM command not allowed when used memory > 'maxmemory'.":              {false, true},
		"NOREPLICAS Not enough good replicas to write.":                                    {false, true},
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to":  {false, true},
		"ERR max number of clients reached":                                                {false, true},
		"dial tcp 127.0.0.1:1: connect: connection refused":                                {false, true},
		"CROSSSLOT Keys in request don't hash to the same slot":                            {false, false},
		"NOPERM this user may not write the token":                                         {false, false},
		"WRONGTYPE Operation against a key holding the wrong kind of value":                {false, false},
		inScript + "Script attempted to access a non local key in a cluster node":          {false, false},
		"ERR unknown command":                                                              {false, false},
	} {
		err := errors.New(text)
		assert.Equal(t, want.unready, unready(err), text)
		assert.Equal(t, want.passing, passing(err), text)
	}
}
