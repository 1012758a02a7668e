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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFlightLandsOnce(t *testing.T) {
	f := newFlight[int]()
	var wg sync.WaitGroup
	firsts := make(chan int, 50)
	for i := range 50 {
		wg.Go(func() {
			if f.land(i, nil) {
				firsts <- i
			}
		})
	}
	wg.Wait()
	close(firsts)
	require.Len(t, firsts, 1)
	got, err := f.wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, <-firsts, got, "the first call counts")
}

func TestFlightBringsAllItsWaitersTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := errors.New("fault")
		f := newFlight[int]()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				got, err := f.wait(t.Context())
				assert.Equal(t, 7, got)
				assert.Same(t, fault, err)
			})
		}
		synctest.Wait()
		f.land(7, fault)
		wg.Wait()
	})
}

func TestFlightWaiterLeavesWithItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight[int]()
		mine := errors.New("my own reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error)
		stayed := make(chan int)
		go func() { _, err := f.wait(ctx); left <- err }()
		go func() { got, _ := f.wait(t.Context()); stayed <- got }()
		synctest.Wait()

		cancel(mine)
		assert.Same(t, mine, <-left, "the cause")
		f.land(1, nil)
		assert.Equal(t, 1, <-stayed, "nobody else noticed")
	})
}

func TestFlightThatHasLandedBeatsADoneContext(t *testing.T) {
	f := newFlight[int]()
	f.land(1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a select alone would choose at random
		got, err := f.wait(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, got)
	}
}

func TestDepartLandsWithWhatItsFunctionReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := errors.New("fault")
		f := depart("it", func() (int, error) { time.Sleep(time.Second); return 3, fault })
		got, err := f.wait(t.Context())
		assert.Equal(t, 3, got)
		assert.Same(t, fault, err)

		f = depart("it", func() (int, error) { time.Sleep(time.Second); return 3, nil })
		f.land(4, nil)
		time.Sleep(2 * time.Second)
		got, err = f.wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 4, got, "it had landed before")
	})
}

func TestDepartLandsWhenItsGoroutineExits(t *testing.T) {
	_, err := await("the refresher", func() (int, error) { runtime.Goexit(); return 1, nil })
	assert.EqualError(t, err, "the refresher ended its goroutine")
}

// secretive is an error that must not be shown.
type secretive struct{ text string }

func (s secretive) Error() string { return s.text }

func TestDepartReportsAPanicWithItsPlaceButNotItsValue(t *testing.T) {
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

func TestDepartRepeatsWhatTheRuntimePanickedWith(t *testing.T) {
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
