package main

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestADisconnectRevokesTheToken(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	a := b.connect("ann")
	tok, ok := w.stored(a.ID)
	require.True(t, ok)

	got := b.disconnect(a)
	assert.Equal(t, "/?notice=disconnected", got.location)
	assert.Contains(t, b.get(got.location).body, "No account is connected")
	w.assertRevoked(tok)
	w.assertNoSessions()
	assert.Equal(t, "/", b.disconnect(a).location, "a second click")
}

// The third party is not told, and so its API would accept the token.
func TestADisconnectHoldsInTheWorkerWithItsNextCall(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	a := b.connect("ann")
	worker.awaitNews(t, a.ID)
	require.NoError(t, worker.call(t.Context(), a.ID))
	tok, _ := w.stored(a.ID)
	worker.forgetNews()

	w.party.breakPath("/revoke", true)
	got := b.disconnect(a)
	assert.Equal(t, "/?notice=half", got.location)
	assert.Equal(t, []string{"Disconnecting"}, b.chips())
	worker.awaitNews(t, a.ID)
	before := w.party.Counts().APIRequests
	assert.ErrorIs(t, worker.call(t.Context(), a.ID), reauth.ErrSignInRequired)
	assert.Equal(t, before, w.party.Counts().APIRequests, "it was not even sent")
	_, ok, err := worker.claim(t.Context(), 0)
	require.NoError(t, err)
	assert.False(t, ok, "and there is no more work for it")

	w.party.breakPath("/revoke", false)
	assert.Equal(t, "/?notice=disconnected", b.disconnect(a).location, "the button is there for another try")
	w.assertRevoked(tok)
	assert.Empty(t, b.chips())
}

func TestADisconnectDuringARefreshInTheWorker(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	a := b.connect("ann")
	require.NoError(t, worker.call(t.Context(), a.ID))

	w.party.ExpireAccess("ann")
	release := w.party.BlockRefresh()
	defer release()
	called := make(chan error, 1)
	go func() { called <- worker.call(t.Context(), a.ID) }() // ends after release
	await(t, w.party.Server, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	disconnected := make(chan string, 1)
	go func() { // ends after release
		got, _ := b.try(http.MethodPost, "/accounts/"+a.ID+"/disconnect", nil, "Sec-Fetch-Site", "same-origin")
		disconnected <- got.location
	}()
	require.Eventually(t, func() bool { return w.mustRead("ann").State == disconnecting }, patience, time.Millisecond)
	release()
	assert.Equal(t, "/?notice=disconnected", <-disconnected)
	<-called // it may have been answered before the disconnect

	var issued []string
	w.party.set(func() { issued = w.party.tokens })
	require.Len(t, issued, 4, "a sign-in and a refresh")
	w.assertRevoked(reauth.Token{AccessToken: issued[2], RefreshToken: issued[3]})
	w.assertNoSessions()
	assert.Empty(t, b.chips())
}

func TestAConnectionAfterADisconnectIsAnother(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	old := b.connect("ann")
	require.NoError(t, worker.sync(t.Context(), old))
	worker.forgetNews()
	require.Equal(t, "/?notice=disconnected", b.disconnect(old).location)
	worker.awaitNews(t, old.ID)

	a := b.connect("ann")
	assert.NotEqual(t, old.ID, a.ID)
	assert.ErrorIs(t, worker.sync(t.Context(), old), reauth.ErrSignInRequired, "work that was claimed before")
	assert.Equal(t, connected, w.mustRead("ann").State, "does not touch the new connection")
	require.NoError(t, worker.sync(t.Context(), a))
	assert.Equal(t, 9, w.mustRead("ann").Contacts)
}

// The web process that ends the sign-in waits for the session's lock, while another one
// removes the account.
func TestADisconnectDuringAConnectIsTheLastWord(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, other := w.browser(), w.open()
	a := b.connect("ann")
	callback := b.allow(b.begin(), "ann") // once more
	_, err := w.web.db.ExecContext(t.Context(), "UPDATE accounts SET name = ''")
	require.NoError(t, err)
	held, unlock, err := other.store.Lock(t.Context(), a.ID)
	require.NoError(t, err)
	connectedAgain := make(chan string, 1)
	go func() { // ends after unlock
		got, _ := b.try(http.MethodGet, callback, nil)
		connectedAgain <- got.location
	}()
	require.Eventually(t, func() bool { return w.mustRead("ann").Name != "" }, patience, time.Millisecond) // the row is found
	require.NoError(t, other.store.Delete(held, a.ID))
	require.NoError(t, other.delete(t.Context(), a.ID))
	unlock()
	assert.Equal(t, "/?notice=meanwhile", <-connectedAgain)
	assert.Empty(t, b.chips())
	w.assertNoSessions()
	assert.Equal(t, 1, w.party.Counts().SessionsRevoked)
}

// The sign-in ends between the two halves of a disconnect: the token is given up, and the
// row is there.
func TestAConnectInTheMiddleOfADisconnectLeavesNothing(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	a := b.connect("ann")
	callback := b.allow(b.begin(), "ann")
	require.NoError(t, w.web.markDisconnecting(t.Context(), a.ID))
	require.NoError(t, w.web.transport.Session(a.ID).SignOut(t.Context()))
	assert.Equal(t, "/?notice=meanwhile", b.get(callback).location)
	require.NoError(t, w.web.delete(t.Context(), a.ID))
	assert.Empty(t, b.chips())
	w.assertNoSessions()
	assert.Equal(t, 2, w.party.Counts().SessionsRevoked)
}

func TestAnAccountThatTheThirdPartyEndsNeedsReconnecting(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	b.connect("bob")
	a := b.connect("ann")
	worker.pass(t.Context(), time.Hour)
	require.Equal(t, []string{"Connected", "Connected"}, b.chips())

	w.party.Revoke("ann")
	assert.ErrorIs(t, worker.sync(t.Context(), a), reauth.ErrSignInRequired)
	assert.Equal(t, []string{"Needs reconnecting", "Connected"}, b.chips())
	assert.Equal(t, 9, w.mustRead("ann").Contacts, "what was read stays")
	requests := w.party.Counts()
	assert.ErrorIs(t, worker.sync(t.Context(), a), reauth.ErrSignInRequired)
	assert.Equal(t, requests, w.party.Counts(), "no call is made for it any more")

	worker.forgetNews()
	again := b.connect("ann")
	assert.Equal(t, a.ID, again.ID)
	worker.awaitNews(t, a.ID)
	require.NoError(t, worker.sync(t.Context(), again))
	assert.Equal(t, []string{"Connected", "Connected"}, b.chips())
	require.NoError(t, worker.record(t.Context(), a, reconnect, 0, "late"))
	assert.Equal(t, connected, w.mustRead("ann").State, "news of the connection before comes late, and changes nothing")
}

// A worker takes the account that was just connected again before Watch has told it.
func TestAWorkerThatHasNotBeenToldEndsNoConnection(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	worker, err := openBackend(t.Context(), w.opts, slog.New(slog.DiscardHandler)) // without Watch
	require.NoError(t, err)
	defer func() { assert.NoError(t, worker.close()) }()
	a := b.connect("ann")
	require.NoError(t, worker.sync(t.Context(), a))
	w.party.Revoke("ann")
	require.ErrorIs(t, worker.sync(t.Context(), a), reauth.ErrSignInRequired)
	require.Equal(t, []string{"Needs reconnecting"}, b.chips())

	again := b.connect("ann")
	assert.NoError(t, worker.sync(t.Context(), again))
	assert.Equal(t, []string{"Connected"}, b.chips())
}

func TestNobodyTouchesAnAccountOfSomebodyElse(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	mine, other := w.browser(), w.browser()
	a := mine.connect("ann")
	other.get("/")
	requests := w.party.Counts()
	assert.Equal(t, "/", other.disconnect(a).location)
	assert.Equal(t, "/", other.post("/accounts/"+a.ID+"/sync", nil).location)
	assert.Equal(t, requests, w.party.Counts())
	assert.Empty(t, other.chips())
	assert.Equal(t, []string{"Connected"}, mine.chips())

	// Both may connect the same account of the third party.
	b := other.connect("ann")
	assert.NotEqual(t, a.ID, b.ID)
	require.Equal(t, "/?notice=disconnected", mine.disconnect(a).location)
	assert.NoError(t, w.web.sync(t.Context(), b))
}
