package simulator_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/simulator"
)

var (
	seeds   = flag.Int("seeds", 0, "how many seeds to run; 0: a few hundred")
	from    = flag.Uint64("from", 1, "the first seed")
	oneSeed = flag.Int64("seed", -1, "run this seed alone; with -v its whole trace is printed")
	dpop    = flag.Bool("dpop", false, "run all seeds with DPoP, and not only a part of them")
	times   = flag.Int("times", 50, "how many times to run the one seed, unless it fails before")
)

func TestSimulation(t *testing.T) {
	if *oneSeed >= 0 {
		replay(t, uint64(*oneSeed))
		return
	}
	n, thorough := *seeds, false
	switch {
	case n > 0:
	case testing.Short():
		n = 60
	default:
		n, thorough = 300, true
	}
	tally := run(t, *from, n)
	t.Logf("\n%s", &tally)
	if !thorough {
		return
	}
	for i, hit := range tally.Faults {
		assert.NotZero(t, hit, "how often: %s", simulator.FaultName(i))
	}
	for i, n := range tally.Counts {
		assert.NotZero(t, n, "how many: %s", simulator.CountName(i))
	}
	assert.Greater(t, tally.Refreshed(), 0.95, "the share of the sessions that saw a refresh")
}

// TestAStoreThatDoesNotLockLosesSessions shows that the rules notice a lost
// session: without a lock several processes spend one refresh token.
func TestAStoreThatDoesNotLockLosesSessions(t *testing.T) {
	for seed := range uint64(50) {
		r := simulator.Run(t, seed, simulator.Options{Unlocked: true})
		for _, v := range r.Violations {
			if v.Rule == simulator.RuleTwice {
				return
			}
		}
	}
	t.Error("nobody noticed")
}

func TestASeedMakesTheSameWorldEveryTime(t *testing.T) {
	first, again := simulator.Run(t, 7, simulator.Options{}), simulator.Run(t, 7, simulator.Options{})
	assert.Equal(t, first.World, again.World)
	assert.NotEqual(t, first.World, simulator.Run(t, 8, simulator.Options{}).World)
}

// replay runs one seed until it fails.
func replay(t *testing.T, seed uint64) {
	for i := range *times {
		r := simulator.Run(t, seed, simulator.Options{DPoP: *dpop})
		if r.Failed() || i == *times-1 {
			if testing.Verbose() {
				t.Logf("\n%s", r.Trace(0))
			}
			if r.Failed() {
				t.Errorf("run %d of\n%s", i+1, r)
			}
			return
		}
	}
}

// run runs n seeds on all cores, a part of them on fewer or more threads than there
// are: the scheduler then finds other orders.
func run(t *testing.T, first uint64, n int) simulator.Tally {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	cores := runtime.NumCPU()
	threads := []int{cores, cores, 1, 2*cores + 1}
	var tally simulator.Tally
	var failed atomic.Int64
	const part = 100
	for i := 0; i*part < n; i++ {
		runtime.GOMAXPROCS(threads[i%len(threads)])
		tally.Add(runPart(t, first+uint64(i*part), min(part, n-i*part), &failed))
	}
	if failed.Load() > 0 {
		t.Errorf("%d of %d seeds failed", failed.Load(), n)
	}
	return tally
}

func runPart(t *testing.T, first uint64, n int, failed *atomic.Int64) (tally simulator.Tally) {
	next := first
	var mu sync.Mutex
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= first+uint64(n)
	}
	t.Run(fmt.Sprintf("from=%d", first), func(t *testing.T) {
		for worker := range runtime.NumCPU() {
			t.Run(fmt.Sprintf("worker=%d", worker), func(t *testing.T) {
				t.Parallel()
				for seed, ok := take(); ok; seed, ok = take() {
					late := time.AfterFunc(time.Minute, func() {
						fmt.Fprintf(os.Stderr, "seed %d has been running for a minute\n", seed)
					})
					r := simulator.Run(t, seed, simulator.Options{DPoP: *dpop})
					late.Stop()
					mu.Lock()
					tally.Add(r.Tally)
					mu.Unlock()
					const shown = 10
					if r.Failed() && failed.Add(1) <= shown {
						t.Errorf("%s\n%sthe whole of it: %s", r, r.Trace(60), keep(t, r))
					}
				}
			})
		}
	})
	return tally
}

// keep writes the whole trace of a run to a file: another run of the same seed may
// differ in the order of the scheduler.
func keep(t *testing.T, r *simulator.Report) string {
	file, err := os.CreateTemp("", fmt.Sprintf("simulation-%d-*.txt", r.Seed))
	require.NoError(t, err)
	defer file.Close()
	_, err = file.WriteString(r.String() + r.Trace(0))
	require.NoError(t, err)
	return file.Name()
}
