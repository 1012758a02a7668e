package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A purgingStore deletes sessions that were not saved for long.
type purgingStore interface {
	reauth.Store
	Purge(ctx context.Context, olderThan time.Duration) (int, error)
}

func openPurging(t *testing.T, s Storage) purgingStore {
	t.Helper()
	return openAs[purgingStore](t, s)
}

// purgeUntilGone purges what was not saved for a nanosecond, until a session has no token.
func purgeUntilGone(t *testing.T, store purgingStore, session string) (purged int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		n, err := store.Purge(t.Context(), time.Nanosecond)
		require.NoError(t, err)
		purged += n
		_, ok, err := store.Load(t.Context(), session)
		require.NoError(t, err)
		if !ok {
			return purged
		}
		require.True(t, time.Now().Before(end), "session %q is not purged", session) // clocks may count milliseconds
	}
}

func purgeDeletesWhatWasSavedLongAgo(t *testing.T, s Storage) {
	store, other := openPurging(t, s), openPurging(t, s)
	sessions := []string{"storetest purged 1", "storetest purged 2"}
	for _, session := range sessions {
		require.NoError(t, store.Save(t.Context(), session, full(session)))
		purgeUntilGone(t, other, session) // whatever other tests have left, too
	}
	for _, session := range sessions {
		require.NoError(t, store.Save(t.Context(), session, full(session)))
	}
	n, err := other.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Zero(t, n, "sessions that were saved just now")
	for _, session := range sessions {
		same(t, full(session), mustLoad(t, store, session), "saved just now")
	}
	purged := 0
	for _, session := range sessions {
		purged += purgeUntilGone(t, other, session)
	}
	assert.Equal(t, len(sessions), purged, "the sessions whose tokens were deleted, and no others")
	for _, session := range sessions {
		mustBeAbsent(t, store, session)
	}
	require.NoError(t, store.Save(t.Context(), sessions[0], full("again")))
	same(t, full("again"), mustLoad(t, other, sessions[0]), "saved after a purge")
}

// purgeMayRunSeveralTimesAtOnce tests that each session is deleted, and counted, by one.
func purgeMayRunSeveralTimesAtOnce(t *testing.T, s Storage) {
	stores := []purgingStore{openPurging(t, s), openPurging(t, s), openPurging(t, s)}
	const sessions = 30
	name := func(n int) string { return fmt.Sprint("storetest purged at once ", n) }
	require.NoError(t, stores[0].Save(t.Context(), name(0), full("first")))
	purgeUntilGone(t, stores[0], name(0)) // whatever other tests have left, too
	for n := range sessions {
		require.NoError(t, stores[0].Save(t.Context(), name(n), full("idle")))
	}
	var purged atomic.Int64
	var wg sync.WaitGroup
	for _, store := range stores {
		wg.Go(func() {
			for end := time.Now().Add(patience); purged.Load() < sessions && time.Now().Before(end); {
				n, err := store.Purge(t.Context(), time.Nanosecond)
				if !assert.NoError(t, err) {
					return
				}
				purged.Add(int64(n))
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, sessions, purged.Load())
	for n := range sessions {
		mustBeAbsent(t, stores[0], name(n))
	}
}

func purgeLeavesALockedSessionAlone(t *testing.T, s Storage) {
	holder, ok := s.Open(t).(lockingStore)
	if !ok {
		t.Skip("the store is no reauth.Locker")
	}
	store, session, idle := openPurging(t, s), "storetest purged locked", "storetest purged idle"
	require.NoError(t, holder.Save(t.Context(), session, full("locked")))
	require.NoError(t, holder.Save(t.Context(), idle, full("idle")))
	held, unlock := mustLock(t, holder, session)
	purgeUntilGone(t, store, idle)
	_, err := store.Purge(t.Context(), time.Nanosecond)
	require.NoError(t, err)
	same(t, full("locked"), mustLoad(t, holder, session), "of a session that is locked")
	require.NoError(t, holder.Save(held, session, reauth.Token{AccessToken: "next"}))
	unlock()
	purgeUntilGone(t, store, session)
}

func purgeNeedsATime(t *testing.T, s Storage) {
	store, session := openPurging(t, s), "storetest purged never"
	require.NoError(t, store.Save(t.Context(), session, full(session)))
	for _, olderThan := range []time.Duration{0, -time.Second} {
		n, err := store.Purge(t.Context(), olderThan)
		assert.ErrorContains(t, err, olderThan.String())
		assert.Zero(t, n)
	}
	same(t, full(session), mustLoad(t, store, session), "after a purge of nothing")
	require.NoError(t, store.Delete(t.Context(), session))
}
