package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// patience is how long a test waits for a lock.
const patience = 30 * time.Second

// A lockingStore is returned by each Open of a Locker.
type lockingStore interface {
	reauth.Store
	reauth.Locker
}

func openLocker(t *testing.T, s Storage) lockingStore {
	t.Helper()
	return openAs[lockingStore](t, s)
}

// A locking takes the lock of a session.
type locking func() (held context.Context, unlock func(), err error)

func locks(t *testing.T, store lockingStore, session string) locking {
	return func() (context.Context, func(), error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return lockAgain(ctx, store, session)
	}
}

func mustLock(t *testing.T, store lockingStore, session string) (context.Context, func()) {
	t.Helper()
	held, unlock, err := locks(t, store, session)()
	require.NoError(t, err)
	require.NotNil(t, held)
	require.NotNil(t, unlock)
	return held, unlock
}

// lockAgain locks a session, whatever changes meanwhile.
func lockAgain(ctx context.Context, store lockingStore, session string) (context.Context, func(), error) {
	for {
		held, unlock, err := store.Lock(ctx, session)
		if !errors.Is(err, reauth.ErrChanged) {
			return held, unlock, err
		}
	}
}

// underLock calls use with the lock. If that fails, and the lease is lost so late that a
// busy machine may not have renewed it in time, it tries again, three times in all.
func underLock(t *testing.T, s Storage, lock locking, use func(held context.Context) error) error {
	t.Helper()
	try := func() (late bool, err error) {
		began := time.Now()
		held, unlock, err := lock()
		if err != nil {
			return false, err
		}
		if held == nil || unlock == nil {
			return false, errors.New("the lock is neither granted nor an error")
		}
		defer unlock()
		err = use(held)
		return held.Err() != nil && time.Since(began) > s.Lease/2, err
	}
	for tries := 1; ; tries++ {
		late, err := try()
		if err == nil || !late || s.Lease == 0 || tries == 3 {
			return err
		}
		t.Logf("tried again after: %v", err)
	}
}

// lockKeepsOthersOff tests that a token does not change between being read and being
// written under the lock.
func lockKeepsOthersOff(t *testing.T, s Storage) {
	const stores, each, times = 4, 3, 4
	session := "storetest counted"
	first := openLocker(t, s)
	require.NoError(t, first.Save(t.Context(), session, reauth.Token{AccessToken: "0"}))
	var wg sync.WaitGroup
	var unknown atomic.Int64 // Saves that have failed, and may have arrived
	for range stores {
		store := openLocker(t, s)
		count := func(held context.Context) error {
			tok, _, err := store.Load(held, session)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(tok.AccessToken)
			if err != nil {
				return err
			}
			<-time.After(time.Millisecond) // so that two holders would meet
			err = store.Save(held, session, reauth.Token{AccessToken: strconv.Itoa(n + 1)})
			if err != nil {
				unknown.Add(1)
			}
			return err
		}
		for range each {
			wg.Go(func() {
				for range times {
					if !assert.NoError(t, underLock(t, s, locks(t, store, session), count)) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	const all = stores * each * times
	n, err := strconv.Atoi(mustLoad(t, first, session).AccessToken)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, all, "how often it was counted up, of how often it should have been")
	assert.LessOrEqual(t, n, all+int(unknown.Load()), "how often it was counted up, of how often it should have been")
	require.NoError(t, first.Delete(t.Context(), session))
}

func lockLeavesOtherSessionsFree(t *testing.T, s Storage) {
	_, unlockAnn := mustLock(t, openLocker(t, s), "storetest ann")
	defer unlockAnn()
	store := openLocker(t, s)
	for _, session := range []string{"storetest bob", "storetest Ann", ""} {
		assert.NoError(t, underLock(t, s, locks(t, store, session), func(held context.Context) error {
			return errors.Join(store.Save(held, session, full("1")), store.Delete(held, session))
		}))
	}
}

func lockEndsItsWaitWithItsContext(t *testing.T, s Storage) {
	session := "storetest waited for"
	holder := openLocker(t, s)
	_, unlock := mustLock(t, holder, session)
	for _, waiter := range []lockingStore{holder, openLocker(t, s)} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		held, unlock, err := waiter.Lock(ctx, session)
		cancel()
		if assert.Error(t, err, "two hold the lock") {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Nil(t, held)
			assert.Nil(t, unlock)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = waiter.Lock(ended, session)
		assert.ErrorIs(t, err, context.Canceled)
	}
	unlock()
	_, unlock = mustLock(t, openLocker(t, s), session)
	unlock()
}

// lockLosesNothingToAbandonedWaits tests that a wait that ends at any moment, also at
// that of success, leaves the lock either with its caller or free.
func lockLosesNothingToAbandonedWaits(t *testing.T, s Storage) {
	session := "storetest abandoned"
	store, next := openLocker(t, s), openLocker(t, s)
	// A lock that was left behind can be taken too, after its lease has expired. Where only
	// the time shows that, a single case is chance, because the machine is busy, or the
	// call that releases the lock has overtaken the call that takes it.
	lock := func(ctx context.Context) (abandoned, left bool) {
		_, unlock, err := store.Lock(ctx, session)
		if err == nil {
			unlock()
		}
		began := time.Now()
		_, unlock = mustLock(t, next, session)
		left = s.Lease > 0 && time.Since(began) > s.Lease*3/4
		unlock()
		_, unlock = mustLock(t, store, session) // and the store has its connection back
		unlock()
		return err != nil, left
	}

	for looks, reached := 1, true; reached; looks++ {
		left := true
		for tries := 0; left && tries < 3; tries++ {
			ctx, cancel := context.WithCancel(t.Context())
			_, left = lock(&shyContext{Context: ctx, cancel: cancel, looks: looks})
			reached = ctx.Err() != nil
			cancel()
		}
		assert.False(t, left, "a wait whose context ends at look %d leaves the lock behind", looks)
	}

	const waits = 60
	usual := patience
	for range 5 {
		began := time.Now()
		_, unlock := mustLock(t, store, session)
		usual = min(usual, time.Since(began))
		unlock()
	}
	abandoned, left := 0, 0
	for i := range waits {
		ctx, cancel := context.WithTimeout(t.Context(), usual*time.Duration(i)/waits)
		a, l := lock(ctx)
		cancel()
		if a {
			abandoned++
		}
		if l {
			left++
		}
	}
	assert.LessOrEqual(t, left, max(2, abandoned/4), "%d waits ended early; too many of them left the lock behind", abandoned)

	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			defer cancel()
			if _, unlock, err := store.Lock(ctx, session); err == nil {
				<-time.After(time.Millisecond) // so that other waits end while it is held and while it is released
				unlock()
			}
		})
	}
	wg.Wait()
	_, unlock := mustLock(t, next, session)
	unlock()
}

// A shyContext is done when it is checked for the looks-th time.
type shyContext struct {
	context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	looks  int
}

func (c *shyContext) Done() <-chan struct{} { c.look(); return c.Context.Done() }
func (c *shyContext) Err() error            { c.look(); return c.Context.Err() }

func (c *shyContext) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looks--; c.looks == 0 {
		c.cancel()
	}
}

func heldHasTheValuesOfItsContextButNotItsEnd(t *testing.T, s Storage) {
	type key struct{}
	session := "storetest held"
	store := openLocker(t, s)
	lock := func() (context.Context, func(), error) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "mine"))
		defer cancel()
		return store.Lock(ctx, session)
	}
	require.NoError(t, underLock(t, s, lock, func(held context.Context) error {
		assert.NoError(t, held.Err(), "the lock has ended with the context of Lock")
		assert.Equal(t, "mine", held.Value(key{}))
		_, hasDeadline := held.Deadline()
		assert.False(t, hasDeadline)

		bounded, cancel := context.WithTimeout(held, patience)
		defer cancel()
		if err := store.Save(bounded, session, full("1")); err != nil {
			return fmt.Errorf("save with a context derived from held: %w", err)
		}
		tok, ok, err := store.Load(bounded, session)
		if err != nil {
			return fmt.Errorf("load with a context derived from held: %w", err)
		}
		require.True(t, ok)
		same(t, full("1"), tok, "loaded with a context derived from held")
		if err := store.Delete(bounded, session); err != nil {
			return fmt.Errorf("delete with a context derived from held: %w", err)
		}
		mustBeAbsent(t, store, session)
		if err := store.Save(held, session, full("2")); err != nil {
			return fmt.Errorf("a lock outlasts a Delete: %w", err)
		}
		return store.Delete(held, session)
	}))
}

func lockLastsAsLongAsItIsHeld(t *testing.T, s Storage) {
	session := "storetest long"
	store, other := openLocker(t, s), openLocker(t, s)
	require.NoError(t, underLock(t, s, locks(t, store, session), func(held context.Context) error {
		ctx, cancel := context.WithTimeout(t.Context(), max(3*s.Lease, 100*time.Millisecond))
		defer cancel()
		_, unlockOther, err := other.Lock(ctx, session)
		if err == nil {
			defer unlockOther()
		}
		if held.Err() != nil {
			return context.Cause(held)
		}
		require.ErrorIs(t, err, context.DeadlineExceeded, "the lock was given to two")
		if err := store.Save(held, session, full("1")); err != nil {
			return err
		}
		return store.Delete(held, session)
	}))
}

// lockIsWaitedForUntilTheTokenChanges tests that those who wait for the lock learn that the
// token has changed, while the lock is still held.
func lockIsWaitedForUntilTheTokenChanges(t *testing.T, s Storage) {
	if !s.TellsChanges {
		t.Skip("Storage.TellsChanges is false")
	}
	session := "storetest changed"
	holder, stranger := openLocker(t, s), s.Open(t)
	n := 0
	for _, change := range []struct {
		name string
		do   func(held context.Context) error
	}{
		{"saved under the lock", func(held context.Context) error { n++; return holder.Save(held, session, full(fmt.Sprint(n))) }},
		{"saved without the lock", func(context.Context) error { n++; return stranger.Save(t.Context(), session, full(fmt.Sprint(n))) }},
		{"deleted, and saved again", func(held context.Context) error {
			if n++; n%2 == 0 {
				return holder.Delete(held, session)
			}
			return holder.Save(held, session, full(fmt.Sprint(n)))
		}},
	} {
		require.NoError(t, underLock(t, s, locks(t, holder, session), func(held context.Context) error {
			const all = 4
			ends := make(chan error, all)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			var waiters sync.WaitGroup
			defer waiters.Wait()
			defer cancel()
			for range all {
				store := openLocker(t, s)
				waiters.Go(func() {
					_, unlock, err := store.Lock(ctx, session)
					if err == nil {
						unlock()
					}
					ends <- err
				})
			}
			// Until all have learned of one change, because a waiter may begin after the others.
			for learned := 0; learned < all; {
				if err := change.do(held); err != nil {
					return err
				}
				select {
				case err := <-ends:
					if held.Err() != nil {
						return context.Cause(held)
					}
					require.ErrorIs(t, err, reauth.ErrChanged, "%s: a waiter has not learned of it", change.name)
					learned++
				case <-time.After(20 * time.Millisecond):
				}
			}
			return context.Cause(held)
		}), change.name)
	}
	require.NoError(t, holder.Delete(t.Context(), session))
}

// lockIsWaitedForWhileTheTokenStays tests that a wait ends with reauth.ErrChanged only if
// the token has changed.
func lockIsWaitedForWhileTheTokenStays(t *testing.T, s Storage) {
	session, another := "storetest unchanged", "storetest changed meanwhile"
	holder := openLocker(t, s)
	for _, before := range []string{"", "before"} {
		if before != "" {
			require.NoError(t, holder.Save(t.Context(), session, full(before)))
		}
		_, unlock := mustLock(t, holder, session)
		var waiting, waiters sync.WaitGroup
		for range 4 {
			store := openLocker(t, s)
			waiting.Add(1)
			waiters.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				waiting.Done()
				_, unlock, err := store.Lock(ctx, session)
				if assert.NoError(t, err, "a waiter for a lock under which nothing was written") {
					unlock()
				}
			})
		}
		waiting.Wait()
		require.NoError(t, holder.Save(t.Context(), another, full("1")))
		require.NoError(t, holder.Delete(t.Context(), another))
		<-time.After(s.moment()) // so that they wait
		unlock()
		waiters.Wait()
	}
	require.NoError(t, holder.Delete(t.Context(), session))
}

// lockIsNotNeededToWrite tests that a caller without a lease can save and delete even if
// another has one, and does not take it away.
func lockIsNotNeededToWrite(t *testing.T, s Storage) {
	session := "storetest written without the lock"
	holder, stranger := openLocker(t, s), s.Open(t)
	require.NoError(t, underLock(t, s, locks(t, holder, session), func(held context.Context) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, other := range []reauth.Store{holder, stranger} {
			require.NoError(t, other.Save(ctx, session, full("without")), "saved without the lock")
			tok, ok, err := holder.Load(held, session)
			if err != nil {
				return err
			}
			require.True(t, ok, "what was saved without the lock is absent")
			same(t, full("without"), tok, "saved without the lock, loaded with it")
			if err := holder.Save(held, session, full("with")); err != nil {
				return fmt.Errorf("saved by the holder after that: %w", err)
			}
			same(t, full("with"), mustLoad(t, other, session), "saved by the holder after that")
			require.NoError(t, other.Delete(ctx, session), "deleted without the lock")
			mustBeAbsent(t, holder, session)
			if err := holder.Save(held, session, full("again")); err != nil {
				return fmt.Errorf("saved by the holder after a Delete without the lock: %w", err)
			}
			if err := holder.Delete(held, session); err != nil {
				return err
			}
		}
		return context.Cause(held)
	}))
}

// aLockThatWasGivenBackIsOver tests that a call which comes too late changes nothing, and
// finds nothing that its caller could act upon.
func aLockThatWasGivenBackIsOver(t *testing.T, s Storage) {
	session := "storetest given back"
	store := openLocker(t, s)
	held, unlock := mustLock(t, store, session)
	require.NoError(t, store.Save(held, session, full("before")))
	unlock()
	held = context.WithoutCancel(held) // the store must not rely on its end
	_, _, err := store.Load(held, session)
	assert.Error(t, err, "loaded under a lock that was given back")
	assert.Error(t, store.Save(held, session, full("late")), "saved under a lock that was given back")
	assert.Error(t, store.Delete(held, session), "deleted under a lock that was given back")
	same(t, full("before"), mustLoad(t, store, session), "after calls under a lock that was given back")
	require.NoError(t, store.Delete(t.Context(), session))
}

// aLostLeaseReadsNothing tests that the previous holder can't load the token that it would
// spend.
func aLostLeaseReadsNothing(t *testing.T, s Storage) {
	if s.Lose == nil {
		t.Skip("Storage.Lose is nil")
	}
	session := "storetest lost for reading"
	loser, other := openLocker(t, s), openLocker(t, s)
	require.NoError(t, loser.Save(t.Context(), session, full("before")))
	held, unlockLost := mustLock(t, loser, session)
	defer unlockLost()
	held = context.WithoutCancel(held) // the store must not rely on its end
	_, _, err := loser.Load(held, session)
	require.NoError(t, err, "before it is lost")
	s.Lose(t, session)
	_, _, err = loser.Load(held, session)
	assert.Error(t, err, "loaded under a lost lease, while nobody has another")
	otherHeld, unlock := mustLock(t, other, session)
	defer unlock()
	_, _, err = loser.Load(held, session)
	assert.Error(t, err, "loaded under a lost lease")
	require.NoError(t, other.Save(otherHeld, session, full("newer")))
	_, _, err = loser.Load(held, session)
	assert.Error(t, err, "loaded a newer token under a lost lease")
	require.NoError(t, other.Delete(otherHeld, session))
	_, _, err = loser.Load(held, session)
	assert.Error(t, err, "loaded under a lost lease, after a sign-out")
	tok, ok, err := loser.Load(t.Context(), session)
	require.NoError(t, err, "without a lease")
	assert.False(t, ok)
	same(t, reauth.Token{}, tok, "after a sign-out")
}

func aLostLeaseWritesNothing(t *testing.T, s Storage) {
	if s.Lose == nil {
		t.Skip("Storage.Lose is nil")
	}
	session := "storetest lost"
	loser, other := openLocker(t, s), openLocker(t, s)
	require.NoError(t, loser.Save(t.Context(), session, full("before")))
	held, unlockLost := mustLock(t, loser, session)
	s.Lose(t, session)
	otherHeld, unlock := mustLock(t, other, session)
	assert.Error(t, loser.Save(held, session, full("lost")), "saved under a lost lease")
	assert.Error(t, loser.Delete(held, session), "deleted under a lost lease")
	same(t, full("before"), mustLoad(t, other, session), "after a Save under a lost lease")

	require.NoError(t, other.Save(otherHeld, session, full("newer")))
	assert.Error(t, loser.Save(held, session, full("lost")), "saved over a newer token")
	assert.Error(t, loser.Delete(held, session), "deleted a newer token")
	unlock()
	assert.Error(t, loser.Save(held, session, full("lost")), "saved under a lost lease, while nobody holds the lock")
	same(t, full("newer"), mustLoad(t, loser, session), "the newer token")
	select {
	case <-held.Done():
		assert.Error(t, context.Cause(held))
	case <-time.After(patience):
		t.Error("held is not done, though the lease is lost")
	}
	unlockLost()

	held, unlock = mustLock(t, loser, session)
	defer unlock()
	require.NoError(t, loser.Save(held, session, full("after")), "with a new lease")
	require.NoError(t, loser.Delete(held, session))
}

func aLostLeaseFreesNobodyElses(t *testing.T, s Storage) {
	if s.Lose == nil {
		t.Skip("Storage.Lose is nil")
	}
	session := "storetest freed"
	loser, other := openLocker(t, s), openLocker(t, s)
	lock := func() (context.Context, func(), error) {
		_, unlockLost := mustLock(t, loser, session)
		defer unlockLost()
		s.Lose(t, session)
		return locks(t, other, session)()
	}
	require.NoError(t, underLock(t, s, lock, func(held context.Context) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, unlockAgain, err := loser.Lock(ctx, session)
		if err == nil {
			defer unlockAgain()
		}
		if held.Err() != nil {
			return fmt.Errorf("a holder that had lost the lock released another's: %w", context.Cause(held))
		}
		require.ErrorIs(t, err, context.DeadlineExceeded, "a holder that had lost the lock released another's")
		if err := other.Save(held, session, full("1")); err != nil {
			return err
		}
		return other.Delete(held, session)
	}))
}
