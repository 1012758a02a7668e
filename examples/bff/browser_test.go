package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// The tests of this file look at the pages through Chromium, while tokens of two
// seconds roll over.

func rolling(o *options) { o.lifetime = 2 * time.Second }

func click(id string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS("#" + id)) }

func TestInChromiumNobodyNoticesThatTokensRollOver(t *testing.T) {
	for name, tls := range map[string]bool{"HTTP": false, "HTTPS": true} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, func(o *options) { rolling(o); o.tls = tls })
			w := newWindow(t, startChromium(t))

			w.wear("light", 1280, 900)
			w.do(chromedp.Navigate(a.url))
			w.wait(`location.pathname === "/sign-in"`)
			w.shoot(name + "-1-sign-in")
			w.do(chromedp.KeyEvent("ann\twrong\r"))
			w.wait(`document.getElementById("problem")?.textContent === "No user has that name and password."`)
			w.shoot(name + "-2-wrong-password")
			w.signIn(a.url, "ann")

			w.wait(number("refreshed") + ` >= 5`)
			w.wait(`document.getElementById("status").textContent === "Running. No call has failed."`)
			w.calm()
			w.shoot(name + "-3-running")
			w.wear("dark", 1280, 900)
			w.shoot(name + "-4-running-dark")
			w.wear("light", 390, 844)
			w.shoot(name + "-5-running-narrow")
			w.wear("light", 320, 640)
			w.assertNothingSticksOut()
			w.wear("light", 1280, 900)

			w.do(click("pause"))
			w.wait(`document.getElementById("status").textContent === "Paused."`)
			w.do(chromedp.Click(chromedp.CSS("#upload button")))
			w.wait(`document.querySelector("#upload-result p.good")?.textContent === "It arrived whole."`)
			w.calm()
			w.shoot(name + "-6-upload")
			w.do(click("pause"))

			cookies := w.cookies()
			require.Len(t, cookies, 1, "and that is all that the browser has")
			assert.True(t, cookies[0].HTTPOnly)
			assert.Equal(t, tls, cookies[0].Secure)
			stored, err := chromedp.Run(w.ctx, chromedp.Evaluate[int](`document.cookie.length + localStorage.length + sessionStorage.length`))
			require.NoError(t, err)
			assert.Zero(t, stored)

			w.do(click("revoke"))
			w.awaitSignInPage("Your session has ended. Please sign in again.")
			w.shoot(name + "-7-revoked")
			w.wear("dark", 1280, 900)
			w.shoot(name + "-8-revoked-dark")

			w.signIn(a.url, "ann")
			w.wait(number("answered") + ` >= 20`)
			w.do(chromedp.Click(chromedp.CSS("#sign-out button")))
			w.awaitSignInPage("You have signed out.")
			counts := a.demo.Counts()
			assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken)
			assert.Zero(t, counts.ReusesDetected)
		})
	}
}

func TestInChromiumAPassingFaultPasses(t *testing.T) {
	a := startApp(t, rolling)
	w := newWindow(t, startChromium(t))
	w.wear("light", 1280, 900)
	w.signIn(a.url, "ann")
	a.demo.FailRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable}, -1)
	w.wait(`document.getElementById("status").textContent === "Calls have failed, the last one with: status 503."`)
	w.shoot("token-server-down")
	a.demo.FailRefresh(reauthtest.Failure{}, 0)
	w.wait(`document.getElementById("status").textContent.startsWith("Running again.")`)
	assert.Equal(t, "ann", w.text("user"))
	assert.Equal(t, 1, a.demo.Counts().SignIns)
}

func TestInChromiumTheKeyboardIsEnough(t *testing.T) {
	a := startApp(t, func(o *options) { o.tls = true })
	w := newWindow(t, startChromium(t))
	w.wear("light", 1280, 900)
	w.signIn(a.url, "ann")
	focus := func() string {
		// Where the focus is, and whether that shows.
		text, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](`(() => {
			const e = document.activeElement;
			return (e.id || e.className || e.textContent.trim()) + (getComputedStyle(e).outlineStyle === "solid" ? "" : ", unseen");
		})()`))
		require.NoError(t, err)
		return text
	}
	for _, next := range []string{"skip", "Sign out", "pause", "size", "spoil", "Upload", "expire"} {
		w.do(chromedp.KeyEvent("\t"))
		assert.Equal(t, next, focus())
	}
	unnamed, err := chromedp.Run(w.ctx, chromedp.Evaluate[int](`[...document.querySelectorAll("input, select")].filter((e) => e.labels.length === 0).length`))
	require.NoError(t, err)
	assert.Zero(t, unnamed)

	w.do(chromedp.KeyEvent(" ")) // on the button that expires the access token, which lives for a minute here
	w.wait(number("refreshed") + ` === 1 && ` + number("replayed") + ` >= 1`)
	w.wait(`document.getElementById("status").textContent === "Running. No call has failed."`)
	w.calm()
	w.shoot("access-token-expired")
	assert.Equal(t, 1, a.demo.Counts().Refreshes)

	w.do(chromedp.KeyEvent("\t"))
	assert.Equal(t, "revoke", focus())
	w.do(chromedp.KeyEvent("\r"))
	w.awaitSignInPage("Your session has ended. Please sign in again.")
}

func TestInChromiumTwoWindowsShareASession(t *testing.T) {
	a := startApp(t, rolling)
	one := newWindow(t, startChromium(t))
	one.signIn(a.url, "ann")
	other := newWindow(t, one.ctx)
	other.do(chromedp.Navigate(a.url)) // with the same cookie
	for _, w := range []*window{one, other} {
		w.wait(number("refreshed") + ` >= 4 && ` + number("answered") + ` >= 100`)
		w.calm()
	}
	counts := a.demo.Counts()
	assert.Equal(t, 1, counts.SignIns)
	assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken)

	one.do(chromedp.Click(chromedp.CSS("#sign-out button")))
	one.awaitSignInPage("You have signed out.")
	other.awaitSignInPage("Your session has ended. Please sign in again.")
}

func TestInChromiumTwoUsersDoNotMix(t *testing.T) {
	a := startApp(t, rolling)
	chromium := startChromium(t)
	ann, bob := newWindow(t, chromium), newWindow(t, chromium, chromedp.WithNewBrowserContext())
	ann.signIn(a.url, "ann")
	bob.signIn(a.url, "bob")
	for _, w := range []*window{ann, bob} {
		w.wait(number("refreshed") + ` >= 3`)
		w.calm()
	}
	assert.Equal(t, "ann", ann.text("user"))
	assert.Equal(t, "bob", bob.text("user"))

	ann.do(click("revoke"))
	ann.awaitSignInPage("Your session has ended. Please sign in again.")
	bob.wait(fmt.Sprintf("%s > %s", number("refreshed"), bob.text("refreshed")))
	bob.calm()
	assert.Equal(t, "bob", bob.text("user"))
}

func TestInChromiumTwoReplicasShareARedis(t *testing.T) {
	first, second := startReplicas(t, startRedis(t), rolling)
	one := newWindow(t, startChromium(t))
	one.signIn(first.url, "ann")
	other := newWindow(t, one.ctx)
	other.do(chromedp.Navigate(second.url)) // cookies do not care about ports
	for _, w := range []*window{one, other} {
		w.wear("light", 1280, 900)
		w.wait(fmt.Sprintf("%s + %s >= 5", number("refreshed"), number("adopted")))
		w.calm()
	}
	assert.NotEqual(t, "00", one.text("adopted")+other.text("adopted"), "each has refreshed for itself")
	counts := first.demo.Counts()
	assert.Equal(t, 1, counts.SignIns)
	assert.Equal(t, 1, counts.MaxUsesOfOneRefreshToken, "no refresh token was spent twice")
	assert.Zero(t, counts.RefreshesRefused)
	one.shoot("replica-1")
	other.shoot("replica-2")

	one.do(click("revoke"))
	one.awaitSignInPage("Your session has ended. Please sign in again.")
	other.awaitSignInPage("Your session has ended. Please sign in again.")
	other.shoot("replica-2-revoked")
}
