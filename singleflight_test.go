package reauth

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPromiseIsKeptOnce(t *testing.T) {
	p := newPromise[int]()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { p.keep(i) })
	}
	wg.Wait()
	first, ok := p.wait(t.Context())
	require.True(t, ok)
	p.keep(first + 1)
	again, _ := p.wait(t.Context())
	assert.Equal(t, first, again, "only the first call counts")
}

func TestPromiseGivesAllItsWaitersTheSameValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPromise[int]()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				got, ok := p.wait(t.Context())
				assert.True(t, ok)
				assert.Equal(t, 7, got)
			})
		}
		synctest.Wait()
		p.keep(7)
		wg.Wait()
	})
}

func TestPromiseWaiterLeavesWithItsOwnContextOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPromise[int]()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan bool)
		stayed := make(chan int)
		go func() { _, ok := p.wait(ctx); left <- ok }()
		go func() { got, _ := p.wait(t.Context()); stayed <- got }()
		synctest.Wait()

		cancel()
		assert.False(t, <-left)
		p.keep(1)
		assert.Equal(t, 1, <-stayed, "the other waiter did not notice")
	})
}

func TestKeptPromiseBeatsADoneContext(t *testing.T) {
	p := newPromise[int]()
	p.keep(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a select alone would choose at random
		got, ok := p.wait(ctx)
		require.True(t, ok)
		require.Equal(t, 1, got)
	}
}

func TestSpawnKeepsWhatItsFunctionReturns(t *testing.T) {
	fault := errors.New("fault")
	r, ok := spawn("it", func() (int, error) { return 3, fault }).wait(t.Context())
	require.True(t, ok)
	assert.Equal(t, 3, r.value)
	assert.Same(t, fault, r.err)
}

func TestSpawnReportsAGoroutineThatExits(t *testing.T) {
	_, err := await("the refresher", func() (int, error) { runtime.Goexit(); return 1, nil })
	assert.EqualError(t, err, "the refresher ended its goroutine")
}

// secretive is an error that must not be shown.
type secretive struct{ text string }

func (s secretive) Error() string { return s.text }

func TestSpawnReportsAPanicWithItsPlaceButNotItsValue(t *testing.T) {
	_, file, line, ok := runtime.Caller(0)
	require.True(t, ok)
	// The place of each is so many lines below Caller.
	values := []func(){
		func() { panic("secret-1") },
		func() { panic(secretive{"secret-2"}) },
		func() { panic(fmt.Errorf("wrapped: %w", &secretive{"secret-3"})) },
		func() { panic(map[string]string{"secret-4": "secret-5"}) },
	}
	kinds := []string{"string", "reauth.secretive", "*fmt.wrapError", "map[string]string"}
	for i, end := range values {
		_, err := await("the refresher", func() (int, error) { end(); return 1, nil })
		want := fmt.Sprintf("the refresher panicked with a %s at %s:%d", kinds[i], file, line+4+i)
		assert.EqualError(t, err, want)
	}
}

func TestSpawnRepeatsWhatTheRuntimePanickedWith(t *testing.T) {
	var none map[string]int
	var empty []int
	for want, end := range map[string]func(){
		"assignment to entry in nil map":       func() { none["x"] = 1 },
		"index out of range [3] with length 0": func() { _ = empty[len("abc")] },
		"nil pointer dereference":              func() { _ = *(*int)(nil) },
		"panic called with nil argument":       func() { panic(nil) },
	} {
		_, err := await("the store's Load", func() (int, error) { end(); return 1, nil })
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "the store's Load panicked: ")
		_, file, _, _ := runtime.Caller(0)
		assert.ErrorContains(t, err, " at "+filepath.ToSlash(file)+":")
		var re runtime.Error
		assert.False(t, errors.As(err, &re), "a panic is reported, not passed on")
	}
}
