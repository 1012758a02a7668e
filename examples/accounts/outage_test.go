//go:build unix

package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestARestartOfTheDatabaseDisconnectsNobody(t *testing.T) {
	server := newPostgres(t)
	w := newWorld(t, newDatabaseOn(t, server))
	t.Cleanup(server.Stop)
	b, worker := w.browser(), w.open()
	a := b.connect("ann")
	require.NoError(t, worker.sync(t.Context(), a))
	eve := b.connect("eve")

	server.Crash()
	assert.Equal(t, http.StatusServiceUnavailable, b.get("/").status)
	assert.Equal(t, http.StatusServiceUnavailable, b.disconnect(a).status)
	assert.Equal(t, http.StatusServiceUnavailable, b.post("/connect", nil).status)
	assert.NoError(t, worker.call(t.Context(), a.ID), "the token is in memory")
	worker.pass(t.Context(), time.Hour) // finds no work, and ends
	w.party.ExpireAccess("ann")
	assert.Error(t, worker.call(t.Context(), a.ID), "it cannot be renewed without the lock")
	assert.Zero(t, w.party.Counts().Refreshes)

	server.Start(t)
	require.Eventually(t, func() bool { return worker.sync(t.Context(), a) == nil }, patience, 20*time.Millisecond)
	require.Eventually(t, func() bool { return b.get("/").status == http.StatusOK }, patience, 20*time.Millisecond)
	assert.Equal(t, []string{"Connected", "Connected"}, b.chips())
	assert.Equal(t, 1, w.party.Counts().Refreshes)

	// And changes are told again.
	worker.forgetNews()
	require.NoError(t, worker.call(t.Context(), eve.ID))
	require.Equal(t, "/?notice=disconnected", b.disconnect(eve).location)
	worker.awaitNews(t, eve.ID)
	assert.ErrorIs(t, worker.call(t.Context(), eve.ID), reauth.ErrSignInRequired)
}
