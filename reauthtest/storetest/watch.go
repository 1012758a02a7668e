package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A watchingStore tells what other processes do.
type watchingStore interface {
	reauth.Store
	Watch(ctx context.Context, changed func(session string), missed func()) error
}

func openWatching(t *testing.T, s Storage) watchingStore {
	t.Helper()
	return openAs[watchingStore](t, s)
}

// A listener has the calls of a Watch, in their order. The empty name stands for missed.
type listener struct {
	calls chan string
	end   context.CancelCauseFunc
	ended chan error
}

var errHeardEnough = errors.New("the test has heard enough")

// listen watches store until the test ends. It returns once Watch hears.
func listen(t *testing.T, store watchingStore) *listener {
	t.Helper()
	ctx, end := context.WithCancelCause(t.Context())
	l := &listener{calls: make(chan string, 1000), end: end, ended: make(chan error, 1)}
	go func() {
		l.ended <- store.Watch(ctx, func(session string) { l.calls <- session }, func() { l.calls <- "" })
	}()
	t.Cleanup(func() { end(errHeardEnough) })
	select {
	case call := <-l.calls:
		require.Empty(t, call, "Watch begins with missed, because nobody knows what came before")
	case err := <-l.ended:
		require.NoError(t, err, "Watch has ended")
	case <-time.After(patience):
		require.Fail(t, "Watch has not called missed")
	}
	return l
}

// hears waits for news of session. Whatever else it heard is returned.
func (l *listener) hears(t *testing.T, session, after string) (others []string) {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case call := <-l.calls:
			if call == session || call == "" { // which is: look at all of them
				return others
			}
			others = append(others, call)
		case err := <-l.ended:
			require.NoError(t, err, "Watch has ended")
		case <-end:
			require.Fail(t, "no news of "+after)
		}
	}
}

func watchTellsWhatOthersDo(t *testing.T, s Storage) {
	store, other, session := openWatching(t, s), s.Open(t), "storetest watched"
	l := listen(t, store)
	mustBeAbsent(t, store, session) // a store may tell only of the sessions that it was asked about since missed
	for n := range 3 {
		tok := reauth.Token{AccessToken: fmt.Sprint(n)}
		require.NoError(t, other.Save(t.Context(), session, tok))
		l.hears(t, session, "a save")
		same(t, tok, mustLoad(t, store, session), "loaded at the news")
	}
	require.NoError(t, other.Delete(t.Context(), session))
	l.hears(t, session, "a delete")
	mustBeAbsent(t, store, session)
}

func watchTellsWhatOthersDoUnderALock(t *testing.T, s Storage) {
	other, ok := s.Open(t).(lockingStore)
	if !ok {
		t.Skip("the store is no reauth.Locker")
	}
	store, session := openWatching(t, s), "storetest watched locked"
	l := listen(t, store)
	mustBeAbsent(t, store, session)
	held, unlock := mustLock(t, other, session)
	defer unlock()
	require.NoError(t, other.Save(held, session, reauth.Token{AccessToken: "a"}))
	l.hears(t, session, "a save under a lock")
	mustLoad(t, store, session)
	require.NoError(t, other.Delete(held, session))
	l.hears(t, session, "a delete under a lock")
}

// watchDoesNotTellItsOwn tests that a process does not look at the store because of what it
// has saved itself.
func watchDoesNotTellItsOwn(t *testing.T, s Storage) {
	store, other, own, session := openWatching(t, s), s.Open(t), "storetest watched own", "storetest watched other"
	l := listen(t, store)
	mustBeAbsent(t, store, session)
	for n := range 3 {
		require.NoError(t, store.Save(t.Context(), own, reauth.Token{AccessToken: fmt.Sprint(n)}))
	}
	require.NoError(t, store.Delete(t.Context(), own))
	for n := range 3 { // what comes late would come by the last of them
		require.NoError(t, other.Save(t.Context(), session, reauth.Token{AccessToken: fmt.Sprint(n)}))
		assert.NotContains(t, l.hears(t, session, "a save"), own, "news of what the store itself has done")
		mustLoad(t, store, session)
	}
}

func watchMayBeCalledSeveralTimes(t *testing.T, s Storage) {
	store, other, session := openWatching(t, s), s.Open(t), "storetest watched twice"
	first, second := listen(t, store), listen(t, store)
	mustBeAbsent(t, store, session)
	require.NoError(t, other.Save(t.Context(), session, reauth.Token{AccessToken: "a"}))
	first.hears(t, session, "a save")
	second.hears(t, session, "a save")
	mustLoad(t, store, session)
	first.end(errHeardEnough)
	require.ErrorIs(t, <-first.ended, errHeardEnough)
	require.NoError(t, other.Delete(t.Context(), session))
	second.hears(t, session, "a delete, after another Watch has ended")
}

// watchTellsWhatIsPurged tests that a Transport learns of a token that a Purge has deleted,
// also one of its own store.
func watchTellsWhatIsPurged(t *testing.T, s Storage) {
	store, ok := openWatching(t, s).(purgingStore)
	if !ok {
		t.Skip("the store has no method Purge")
	}
	other, session := openWatching(t, s), "storetest watched purge"
	own, elsewhere := listen(t, store.(watchingStore)), listen(t, other)
	mustBeAbsent(t, other, session)
	require.NoError(t, store.Save(t.Context(), session, full(session)))
	elsewhere.hears(t, session, "a save")
	mustLoad(t, store, session)
	mustLoad(t, other, session)
	purgeUntilGone(t, store, session)
	own.hears(t, session, "a purge by the same store")
	elsewhere.hears(t, session, "a purge")
}

func watchEndsWithItsContext(t *testing.T, s Storage) {
	store := openWatching(t, s)
	l := listen(t, store)
	l.end(errHeardEnough)
	select {
	case err := <-l.ended:
		require.ErrorIs(t, err, errHeardEnough, "it is the cause of the context's end")
	case <-time.After(patience):
		require.Fail(t, "Watch outlasts its context")
	}
	ctx, end := context.WithCancelCause(t.Context())
	end(errHeardEnough)
	require.ErrorIs(t, store.Watch(ctx, func(string) {}, func() {}), errHeardEnough, "of a context that was done before")
}

func watchNeedsBothFunctions(t *testing.T, s Storage) {
	store := openWatching(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorContains(t, store.Watch(ctx, nil, func() {}), "changed")
	require.ErrorContains(t, store.Watch(ctx, func(string) {}, nil), "missed")
	require.NoError(t, ctx.Err(), "it is an error at once")
}

func watchLetsPanicsPass(t *testing.T, s Storage) {
	store, other, session := openWatching(t, s), s.Open(t), "storetest watched panic"
	assert.PanicsWithValue(t, "missed", func() {
		_ = store.Watch(t.Context(), func(string) {}, func() { panic("missed") })
	})
	assert.PanicsWithValue(t, "news", func() {
		begun := false
		_ = store.Watch(t.Context(), func(string) { panic("news") }, func() {
			if begun {
				panic("news")
			}
			begun = true
			mustBeAbsent(t, store, session)
			assert.NoError(t, other.Save(t.Context(), session, reauth.Token{AccessToken: "a"}))
		})
	})
}
