package filestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
)

// refresh saves a token under the lock, which leaves all kinds of files behind.
func refresh(tb testing.TB, store *filestore.Store, session, accessToken string) {
	tb.Helper()
	held, unlock, err := lockAgain(tb.Context(), store, session)
	require.NoError(tb, err)
	defer unlock()
	require.NoError(tb, store.Save(held, session, reauth.Token{AccessToken: accessToken}))
}

// age makes the token of a session look as if it was saved a while ago.
func age(tb testing.TB, dir, session string, by time.Duration) {
	tb.Helper()
	at := time.Now().Add(-by)
	require.NoError(tb, os.Chtimes(pathOf(dir, session, ".json"), at, at))
}

func TestPurgeDeletesWhatWasSavedLongAgo(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	for _, session := range []string{"old", "older", "new"} {
		refresh(t, store, session, "1")
	}
	age(t, dir, "old", time.Hour+time.Minute)
	age(t, dir, "older", 1000*time.Hour)
	age(t, dir, "new", time.Hour-time.Minute)
	save(t, store, "without a lock", "1")
	age(t, dir, "without a lock", time.Hour+time.Minute)

	n, err := store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	requireStored(t, store, "new", "1")
	assert.ElementsMatch(t, []string{
		filepath.Base(pathOf(dir, "new", ".json")), filepath.Base(pathOf(dir, "new", ".lock")), filepath.Base(pathOf(dir, "new", ".room")),
	}, files(t, dir))
	n, err = store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Zero(t, n)
	refresh(t, store, "old", "2") // it can come back
}

func TestPurgeRemovesWhatIsLeftOfDeadSessions(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	refresh(t, store, "signed out", "1")
	require.NoError(t, store.Delete(t.Context(), "signed out"))
	_, unlock, err := store.Lock(t.Context(), "never signed in")
	require.NoError(t, err)
	unlock()
	require.NoError(t, os.WriteFile(pathOf(dir, "a room", ".room"), nil, 0o600))
	leftover := pathOf(dir, "killed", ".ABCDEFGHIJKLMNOPQRSTUVWXYZ.tmp")
	foreign := []string{"notes.json", "x.lock", filepath.Base(pathOf(dir, "ann", ".json")) + ".bak"}
	for _, path := range append([]string{leftover}, filepath.Join(dir, foreign[0]), filepath.Join(dir, foreign[1]), filepath.Join(dir, foreign[2])) {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		long := time.Now().Add(-1000 * time.Hour)
		require.NoError(t, os.Chtimes(path, long, long))
	}
	n, err := store.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Zero(t, n, "sessions that had a token")
	assert.ElementsMatch(t, foreign, files(t, dir))
}

// Its token is being replaced.
func TestPurgeLeavesALockedSessionAlone(t *testing.T) {
	dir := t.TempDir()
	store, other := open(t, dir), open(t, dir)
	for _, session := range []string{"ann", "no token yet"} {
		held, unlock, err := store.Lock(t.Context(), session)
		require.NoError(t, err)
		if session == "ann" {
			require.NoError(t, store.Save(held, "ann", reauth.Token{AccessToken: "1"}))
			age(t, dir, "ann", 2*time.Hour)
		}
		for _, s := range []*filestore.Store{store, other} {
			n, err := s.Purge(t.Context(), time.Hour)
			require.NoError(t, err)
			assert.Zero(t, n)
		}
		require.NoError(t, store.Save(held, session, reauth.Token{AccessToken: "2"}))
		unlock()
		requireStored(t, other, session, "2")
	}
}

// A Save without the lock may come at any moment.
func TestPurgeDeletesNoTokenThatIsSavedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	store, other := open(t, dir), open(t, dir)
	purged := 0
	for i := range 300 {
		save(t, store, "ann", "before")
		age(t, dir, "ann", 2*time.Hour)
		var both sync.WaitGroup
		both.Go(func() { save(t, other, "ann", fmt.Sprint(i)) })
		both.Go(func() {
			n, err := store.Purge(t.Context(), time.Hour)
			assert.NoError(t, err)
			purged += n
		})
		both.Wait()
		requireStored(t, store, "ann", fmt.Sprint(i))
	}
	t.Logf("%d of 300 tokens were purged before they were replaced", purged)
}

// Purge removes lock files, while others wait for these locks.
func TestNoTwoHaveALockWhosePurgeRemovesItsFile(t *testing.T) {
	dir := t.TempDir()
	var inside, purges atomic.Int32
	var lockers, purgers sync.WaitGroup
	ctx, done := context.WithCancel(t.Context())
	defer done()
	for range 2 {
		store := open(t, dir)
		purgers.Go(func() {
			for ctx.Err() == nil {
				if n, err := store.Purge(t.Context(), time.Nanosecond); assert.NoError(t, err) {
					purges.Add(int32(n))
				}
			}
		})
	}
	for i := range 4 {
		store := open(t, dir)
		lockers.Go(func() {
			for n := range 100 {
				held, unlock, err := lockAgain(ctx, store, "ann")
				if !assert.NoError(t, err) {
					return
				}
				alone := inside.Add(1) == 1
				if n%3 == 0 {
					want := reauth.Token{AccessToken: fmt.Sprint(i, n)}
					assert.NoError(t, store.Save(held, "ann", want))
					runtime.Gosched()
					tok, _, err := store.Load(held, "ann")
					assert.NoError(t, err)
					assert.Equal(t, want.AccessToken, tok.AccessToken, "of a session that is locked")
				}
				runtime.Gosched()
				alone = inside.Add(-1) == 0 && alone
				unlock()
				if !assert.True(t, alone, "two have the lock") {
					return
				}
			}
		})
	}
	lockers.Wait()
	done()
	purgers.Wait()
	t.Logf("%d tokens purged", purges.Load())
	assert.NotZero(t, purges.Load(), "what this test is about")
}

func TestPurgeGoesOnAfterAFailure(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	for _, session := range []string{"ann", "bob", "eve"} {
		save(t, store, session, "1")
		age(t, dir, session, 2*time.Hour)
	}
	inTheWay := pathOf(dir, "bob", ".lock")
	require.NoError(t, os.Mkdir(inTheWay, 0o700))
	n, err := store.Purge(t.Context(), time.Hour)
	assert.Equal(t, 2, n)
	require.ErrorContains(t, err, "filestore: purge "+pathOf(dir, "bob", "")+": not a regular file")
	requireStored(t, store, "bob", "1")
}

func TestPurgeIsToldToAll(t *testing.T) {
	eachWatcher(t, func(t *testing.T, dir string, store *filestore.Store) {
		other := openToWatch(t, dir)
		save(t, other, "ann", "1")
		l, own := watch(t, store), watch(t, other)
		load(t, store, "ann")
		load(t, other, "ann")
		age(t, dir, "ann", 2*time.Hour)
		n, err := other.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		l.eventually("ann")
		own.eventually("ann")
	})
}

func TestPurgeChecksItsArguments(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "1")
	for _, olderThan := range []time.Duration{0, -time.Hour} {
		_, err := store.Purge(t.Context(), olderThan)
		assert.EqualError(t, err, fmt.Sprintf("filestore: Purge: olderThan %v is not positive", olderThan))
	}
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := store.Purge(ctx, time.Nanosecond)
	assert.ErrorIs(t, err, cause)
	requireStored(t, store, "ann", "1")
	require.NoError(t, os.RemoveAll(dir))
	_, err = store.Purge(t.Context(), time.Hour)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
