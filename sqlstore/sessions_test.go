package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/sealedstore"
	"github.com/reauth-go/reauth/sqlstore"
)

// allSessions returns the names of all sessions.
func allSessions(t *testing.T, store *sqlstore.Store) (names []string) {
	t.Helper()
	for session, err := range store.Sessions(t.Context()) {
		require.NoError(t, err)
		names = append(names, session.Name)
	}
	return names
}

func TestSessionsAreThoseThatHaveAToken(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store := newStore(t, d, 0)
		assert.Empty(t, allSessions(t, store))
		names := []string{"", "ann", "Ann", "ann ", "é", strings.Repeat("long", 100), "\xff\x00", "sha256:schema"}
		for _, name := range names {
			require.NoError(t, store.Save(t.Context(), name, token("1")))
		}
		require.NoError(t, store.Save(t.Context(), "deleted", token("1")))
		require.NoError(t, store.Delete(t.Context(), "deleted"))
		_, unlock := mustLock(t, store, "locked")
		defer unlock()
		held, unlockÜ := mustLock(t, store, "ü")
		require.NoError(t, store.Save(held, "ü", token("1")))
		unlockÜ()
		assert.ElementsMatch(t, append(names, "ü"), allSessions(t, store))
		for session, err := range store.Sessions(t.Context()) {
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now(), session.SavedAt, time.Minute)
			break // and no more is read
		}
	})
}

// The body of the loop may use the only connection, and change what is walked through.
func TestSessionsHoldsNoConnectionWhileItsCallerWorks(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		db.SetMaxOpenConns(1)
		store := newStoreOn(t, d, db, 0)
		var want []string
		for i := range 1101 {
			want = append(want, fmt.Sprintf("s%04d", i))
			mustExec(t, db, fmt.Sprintf("INSERT INTO %s (session, token, version, saved_at) VALUES ('%s', '{\"access_token\":\"a\"}', 1, 1)", d.table(), want[i]))
		}
		var got []string
		for session, err := range store.Sessions(t.Context()) {
			require.NoError(t, err)
			assert.Zero(t, db.Stats().InUse)
			got = append(got, session.Name)
			switch len(got) {
			case 1, 500, 501, 1000:
				require.NoError(t, store.Delete(t.Context(), session.Name))
			case 502:
				require.NoError(t, store.Save(t.Context(), session.Name, token("1")))
			}
		}
		assert.Equal(t, want, got, "each once, in order")
		assert.True(t, slices.IsSorted(got))
	})
}

func TestASessionWithoutANameIsAnErrorThatEndsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for _, session := range []string{"ann", "é", "zoe"} {
			require.NoError(t, store.Save(t.Context(), session, token("1")))
		}
		mustExec(t, db, "UPDATE "+d.table()+" SET name = NULL, saved_at = NULL") // as the first edition has left it
		var names []string
		var failures []error
		for session, err := range store.Sessions(t.Context()) {
			if err != nil {
				failures = append(failures, err)
				continue
			}
			assert.True(t, session.SavedAt.IsZero())
			names = append(names, session.Name)
		}
		assert.Equal(t, []string{"ann", "zoe"}, names)
		require.Len(t, failures, 1)
		assert.ErrorIs(t, failures[0], sqlstore.ErrNoName)
		_, unlock := mustLock(t, store, "é")
		unlock()
		assert.ElementsMatch(t, []string{"ann", "é", "zoe"}, allSessions(t, store), "a lock records the name")
	})
}

func TestSessionsEndsWithAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for _, err := range newStore(t, newSQLite(t), 0).Sessions(ctx) {
		n++
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "sqlstore: sessions of table reauth_sessions: ")
	}
	assert.Equal(t, 1, n)
}

// Tokens are encrypted with a new key, while the sessions are in use.
func TestSessionsAreSealedUnderANewKey(t *testing.T) {
	store := newStore(t, newSQLite(t), 0)
	oldKey, newKey := []byte(strings.Repeat("o", 32)), []byte(strings.Repeat("n", 32))
	before, err := sealedstore.New(store, oldKey)
	require.NoError(t, err)
	for i := range 20 {
		require.NoError(t, before.Save(t.Context(), fmt.Sprint("é", i), token("1")))
	}
	both, err := sealedstore.New(store, newKey, oldKey)
	require.NoError(t, err)
	reseal := func(session string) error {
		held, unlock, err := both.(reauth.Locker).Lock(t.Context(), session)
		if errors.Is(err, reauth.ErrChanged) {
			return nil // it was saved just now, and so under the new key
		}
		if err != nil {
			return err
		}
		defer unlock()
		tok, ok, err := both.Load(held, session)
		if err != nil || !ok {
			return err
		}
		return both.Save(held, session, tok)
	}
	for session, err := range store.Sessions(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, reseal(session.Name))
	}
	after, err := sealedstore.New(store, newKey)
	require.NoError(t, err)
	for i := range 20 {
		_, ok, err := after.Load(t.Context(), fmt.Sprint("é", i))
		require.NoError(t, err)
		assert.True(t, ok)
	}
}
