package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestWorkerAndWebProcessRefreshOnce(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker, other := w.browser(), w.open(), w.open()
	a := b.connect("ann")
	for _, p := range []*process{w.web, worker, other} {
		require.NoError(t, p.call(t.Context(), a.ID))
	}
	w.party.ExpireAccess("ann")
	release := w.party.BlockRefresh()
	defer release()
	before := w.party.Counts().APIRefused
	var calls sync.WaitGroup
	for _, p := range []*process{w.web, worker, other} {
		for range 5 {
			calls.Go(func() { assert.NoError(t, p.call(t.Context(), a.ID)) }) // ends after release
		}
	}
	await(t, w.party.Server, func(c reauthtest.Counts) bool { return c.APIRefused >= before+15 && c.Refreshes >= 1 })
	release()
	calls.Wait()
	counts := w.party.Counts()
	assert.Equal(t, 1, counts.Refreshes)
	assert.Zero(t, counts.ReusesDetected)
}

func TestUsersDoNotMix(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	workers := []*process{w.open(), w.open(), w.web}
	var all []account
	for range 3 { // users of the service, each with all accounts of the third party
		b := w.browser()
		for user := range people {
			all = append(all, b.connect(user))
		}
	}
	w.party.ExpireAccess()
	var wg sync.WaitGroup
	for _, p := range workers {
		wg.Go(func() { p.pass(t.Context(), time.Hour) })
	}
	wg.Wait()
	for _, a := range all {
		got, err := w.web.accountOf(t.Context(), a.Owner, a.ID)
		require.NoError(t, err)
		assert.Equal(t, 9, got.Contacts, got.Problem)
		assert.Equal(t, people[a.Subject], got.Name)
	}
	counts := w.party.Counts()
	assert.Equal(t, len(all), counts.Refreshes)
	assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken)

	// Whoever is to blame.
	a := all[0]
	a.Subject = "somebody else"
	assert.ErrorContains(t, w.web.sync(t.Context(), a), "for another account")
}

func TestWorkersShareTheWork(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	workers := []*process{w.open(), w.open()}
	for range 4 {
		b := w.browser()
		for user := range people {
			b.connect(user)
		}
	}
	var wg sync.WaitGroup
	for _, p := range workers {
		wg.Go(func() { p.pass(t.Context(), time.Hour) })
	}
	wg.Wait()
	calls := 0
	for _, r := range w.party.Requests() {
		if r.Path == "/v1/contacts" {
			calls++
		}
	}
	assert.Equal(t, 4*len(people)*3, calls, "three pages for each account, once")
}

// The third party is slow for one account, or has much to tell about it.
func TestNobodyWaitsForAnAccountThatTakesLong(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	arrived, released := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	w.party.set(func() {
		w.party.asked = func(r *http.Request) {
			var anns string
			w.party.set(func() {
				if len(w.party.tokens) > 0 {
					anns = w.party.tokens[0]
				}
			})
			if r.URL.Path == "/v1/contacts" && r.Header.Get("Authorization") == "Bearer "+anns {
				arrived <- struct{}{}
				<-released
			}
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- worker.work(ctx, time.Hour) }() // ends with stop
	b.connect("ann")
	<-arrived
	require.Eventually(t, func() bool { return worker.db.Stats().InUse == 0 }, patience, time.Millisecond) // no more work is found
	b.connect("bob")
	assert.Eventually(t, func() bool { return w.mustRead("bob").Contacts == 9 }, patience, 20*time.Millisecond)
	assert.Zero(t, w.mustRead("ann").Contacts)
	release()
	stop()
	assert.NoError(t, <-stopped)
}

func TestAClaimDoesNotWaitForAnother(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	first, second := b.connect("ann"), b.connect("bob")
	other, err := w.web.db.BeginTx(t.Context(), nil) // a claim that has not ended
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Rollback()) }()
	_, err = other.ExecContext(t.Context(), "SELECT FROM accounts WHERE id = $1 FOR UPDATE", first.ID)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, ok, err := w.web.claim(ctx, time.Hour)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, second.ID, a.ID)
	_, ok, err = w.web.claim(ctx, time.Hour)
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestAFailureThatPassesDisconnectsNobody(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b, worker := w.browser(), w.open()
	a := b.connect("ann")
	w.party.ExpireAccess("ann")
	w.party.FailRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable}, 1)
	assert.Error(t, worker.sync(t.Context(), a))
	page := b.get("/").body
	assert.Contains(t, page, "does not renew the access just now (status 503)")
	assert.Equal(t, []string{"Connected"}, b.chips())
	require.Eventually(t, func() bool { return worker.sync(t.Context(), a) == nil }, patience, 20*time.Millisecond)
	assert.NotContains(t, b.get("/").body, "just now")

	w.party.FailAPI(reauthtest.Failure{Status: http.StatusInternalServerError}, 1)
	assert.Error(t, worker.sync(t.Context(), a))
	assert.Equal(t, []string{"Connected"}, b.chips())
	assert.Equal(t, "/?notice=synced", b.post("/accounts/"+a.ID+"/sync", nil).location)
}

func TestTheDatabaseHoldsNoTokenInTheClear(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	a := b.connect("ann")
	b.connect("bob")
	w.party.ExpireAccess()
	require.NoError(t, w.web.sync(t.Context(), a))
	cookies := b.client.Jar.Cookies(&url.URL{Scheme: "http", Host: strings.TrimPrefix(w.opts.url, "http://")})
	require.Len(t, cookies, 1)

	names, err := w.web.db.QueryContext(t.Context(), "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
	require.NoError(t, err)
	defer names.Close()
	var content strings.Builder
	for names.Next() {
		var name string
		require.NoError(t, names.Scan(&name))
		var rows string
		require.NoError(t, w.web.db.QueryRowContext(t.Context(),
			fmt.Sprintf("SELECT coalesce(string_agg(r::text, E'\\n'), '') FROM %q AS r", name)).Scan(&rows))
		content.WriteString(rows)
	}
	require.NoError(t, names.Err())
	require.Contains(t, content.String(), a.ID, "these are the tables")
	var issued []string
	w.party.set(func() { issued = w.party.tokens })
	require.Len(t, issued, 6)
	for _, secret := range append(issued, cookies[0].Value, clientSecret) {
		require.NotEmpty(t, secret)
		assert.False(t, strings.Contains(content.String(), secret), "a secret is in the database")
	}
}
