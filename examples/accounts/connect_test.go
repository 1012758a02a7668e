package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAConnectedAccountIsInTheTable(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	assert.Contains(t, b.get("/").body, "No account is connected")

	asked := b.begin()
	assert.True(t, strings.HasPrefix(asked.String(), w.opts.provider+"/authorize?"))
	assert.Equal(t, "S256", asked.Query().Get("code_challenge_method"))
	assert.Len(t, asked.Query().Get("code_challenge"), 43)
	assert.NotContains(t, asked.String(), url.QueryEscape(clientSecret))
	assert.Equal(t, "/?notice=connected", b.get(b.allow(asked, "ann")).location)

	page := b.get("/?notice=connected")
	assert.Contains(t, page.body, "The account is connected.")
	assert.Contains(t, page.body, "Ann&#39;s Bakery")
	assert.Equal(t, []string{"Connected"}, b.chips())
	assert.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	assert.Equal(t, "no-store", page.header.Get("Cache-Control"))
	tok, ok := w.stored(w.mustRead("ann").ID)
	require.True(t, ok)
	assert.NotContains(t, page.body, tok.AccessToken)
}

// An attacker begins a sign-in, and has a user end it, or ends it and has a user load the
// callback.
func TestAnotherBrowsersStateIsRefused(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	attacker, user := w.browser(), w.browser()
	user.get("/")
	callback := user.allow(attacker.begin(), "ann")

	for _, victim := range []*browser{user, w.browser()} { // with a cookie, and without one
		got := victim.get(callback)
		assert.Equal(t, http.StatusBadRequest, got.status)
		assert.Contains(t, got.body, "does not belong to a sign-in that this browser has begun")
	}
	_, ok := w.read("ann")
	assert.False(t, ok)
	assert.Zero(t, w.party.Counts().SignIns, "the code was not even sent")

	assert.Equal(t, "/?notice=connected", attacker.get(callback).location, "the refusals did not use it up")
}

func TestAStateIsGoodForOneUse(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	callback := b.allow(b.begin(), "ann")
	assert.Equal(t, "/?notice=connected", b.get(callback).location)
	assert.Equal(t, http.StatusBadRequest, b.get(callback).status)
	assert.Equal(t, []string{"Connected"}, b.chips())

	// Whatever the answer was.
	asked := b.begin()
	refused := "/callback?error=access_denied&state=" + asked.Query().Get("state")
	assert.Equal(t, "/?notice=refused", b.get(refused).location)
	assert.Equal(t, http.StatusBadRequest, b.get(refused).status)

	for _, answer := range []string{"error=temporarily_unavailable", "code=", ""} { // nobody has refused
		assert.Equal(t, "/?notice=failed", b.get("/callback?"+answer+"&state="+b.begin().Query().Get("state")).location)
	}

	asked = b.begin()
	_, err := w.web.db.ExecContext(t.Context(), "UPDATE sign_ins SET begun_at = begun_at - interval '11 minutes'")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, b.get(b.allow(asked, "bob")).status, "nor is it good for long")
	b.begin()
	var n int
	require.NoError(t, w.web.db.QueryRowContext(t.Context(), "SELECT count(*) FROM sign_ins").Scan(&n))
	assert.Equal(t, 1, n, "and old ones do not pile up")
}

// A code that an attacker has got hold of, with a state of the attacker's own.
func TestACodeOfAnotherSignInIsRefused(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	attacker, user := w.browser(), w.browser()
	stolen, err := url.Parse(user.allow(user.begin(), "ann"))
	require.NoError(t, err)
	got := attacker.get("/callback?code=" + stolen.Query().Get("code") + "&state=" + attacker.begin().Query().Get("state"))
	assert.Equal(t, "/?notice=failed", got.location)
	_, ok := w.read("ann")
	assert.False(t, ok)
	w.assertNoSessions()
}

func TestATokenThatCannotBeUsedIsRevoked(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	w.party.breakPath("/v1/me", true) // so nobody knows whose it is
	assert.Equal(t, "/?notice=failed", b.get(b.allow(b.begin(), "ann")).location)
	assert.Equal(t, 1, w.party.Counts().SignIns)
	assert.Equal(t, 1, w.party.Counts().SessionsRevoked)
	_, ok := w.read("ann")
	assert.False(t, ok)
	w.assertNoSessions()
}

// The end of the sign-in must not be that of the revocation too.
func TestATokenThatCannotBeUsedInTimeIsRevoked(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	callback, err := url.Parse(b.allow(b.begin(), "ann"))
	require.NoError(t, err)
	verifier, ok, err := w.web.takeSignIn(t.Context(), callback.Query().Get("state"), w.owner(b))
	require.NoError(t, err)
	require.True(t, ok)
	ctx, end := context.WithCancel(t.Context())
	w.party.set(func() {
		w.party.asked = func(r *http.Request) {
			if r.URL.Path == "/v1/me" {
				end() // its time is over
			}
		}
	})
	assert.Error(t, w.web.exchange(ctx, w.owner(b), callback.Query().Get("code"), verifier))
	assert.Equal(t, 1, w.party.Counts().SignIns)
	assert.Equal(t, 1, w.party.Counts().SessionsRevoked)
	w.assertNoSessions()
}

func TestATokenIsNotTakenElsewhere(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	var seen atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(true)
		writeJSON(w, http.StatusOK, map[string]any{"id": "eve", "name": "Eve"})
	}))
	defer elsewhere.Close()
	w.party.set(func() { w.party.away = map[string]string{"/v1/me": elsewhere.URL} })
	assert.Equal(t, "/?notice=failed", b.get(b.allow(b.begin(), "ann")).location)
	assert.False(t, seen.Load())
	assert.Equal(t, 1, w.party.Counts().SessionsRevoked)
}

func TestOnlyAssetsAreServed(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	for _, at := range []string{w.opts.url, w.opts.provider} {
		assert.Equal(t, http.StatusOK, b.get(at+"/static/style.css").status)
		for _, path := range []string{"/static/", "/static/..%2f", "/static/..%2faccounts.html", "/static/%2e%2e%2faccounts.html"} {
			assert.Equal(t, http.StatusNotFound, b.get(at+path).status, "%s%s", at, path)
		}
	}
}

func TestAPostFromElsewhereIsRefused(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	b := w.browser()
	a := b.connect("ann")
	for _, path := range []string{"/connect", "/accounts/" + a.ID + "/sync", "/accounts/" + a.ID + "/disconnect"} {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://elsewhere.example"}} {
			assert.Equal(t, http.StatusForbidden, b.send(http.MethodPost, path, nil, header...).status, "%s %v", path, header)
		}
		assert.Equal(t, http.StatusMethodNotAllowed, b.get(path).status, path)
	}
	assert.Equal(t, []string{"Connected"}, b.chips())
}

func TestTheCookieIsNotForScriptsAndOtherSites(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	cookie := w.browser().get("/").header.Get("Set-Cookie")
	assert.Contains(t, cookie, "; HttpOnly; SameSite=Lax")
	w.web.url = "https://accounts.example"
	cookie = w.browser().get("/").header.Get("Set-Cookie")
	assert.True(t, strings.HasPrefix(cookie, "__Host-accounts="))
	assert.Contains(t, cookie, "; Secure")
}
