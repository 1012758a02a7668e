package main

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInChromiumAnAccountComesAndGoes(t *testing.T) {
	w := newWorld(t, newDatabase(t))
	worker := w.open()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- worker.work(ctx, 100*time.Millisecond) }() // ends with stop
	defer func() { stop(); assert.NoError(t, <-stopped) }()

	page := newWindow(t)
	page.wear("light", 1280, 900)
	page.do(chromedp.Navigate(w.opts.url))
	page.wait(`document.querySelector("h2")?.textContent === "No account is connected"`)
	page.shoot("1-empty")
	page.click("#connect")
	page.wait(`document.querySelector("#allow") !== null`)
	page.assertFits()
	page.shoot("2-allow")
	page.click("#deny")
	page.wait(`document.querySelector("#notice")?.textContent.startsWith("Nothing was connected")`)
	connect := func(button, user string) {
		page.click(button)
		page.wait(`document.querySelector("#allow") !== null`)
		page.click("#user-" + user)
		page.click("#allow")
		page.wait(`document.querySelector("#notice")?.textContent === "The account is connected."`)
	}
	connect("#connect", "eve")
	connect("#connect", "bob")
	connect("#connect", "ann")
	for _, user := range []string{"ann", "bob", "eve"} {
		page.awaitRow(user, "Connected", "9 contacts")
	}
	address, err := chromedp.Run(page.ctx, chromedp.Evaluate[string](`location.href`))
	require.NoError(t, err)
	assert.Equal(t, w.opts.url+"/", address, "nothing of the callback is left")

	w.party.Revoke("bob")
	page.awaitRow("bob", "Needs reconnecting", "The connection has ended.")
	w.party.breakPath("/revoke", true)
	page.click("#account-eve .disconnect")
	page.awaitRow("eve", "Disconnecting", "could not be told yet")
	for _, colours := range []string{"light", "dark"} {
		page.wear(colours, 1280, 900)
		page.assertFits()
		page.shoot("3-table-" + colours)
		page.wear(colours, 390, 844)
		page.shoot("4-narrow-" + colours)
		page.wear(colours, 320, 640)
		page.assertFits()
	}
	page.wear("light", 1280, 900)
	w.party.breakPath("/revoke", false)
	page.click("#account-eve .disconnect")
	page.wait(`document.querySelector("#account-eve") === null && document.querySelector("#notice")?.textContent.startsWith("The account is disconnected.")`)
	connect("#account-bob .reconnect", "bob")
	page.awaitRow("bob", "Connected", "9 contacts")
	page.click("#account-ann .sync")
	page.wait(`document.querySelector("#notice")?.textContent === "The account is up to date."`)

	page.click("#account-ann .disconnect")
	page.wait(`document.querySelector("#account-ann") === null`)
	page.click("#account-bob .disconnect")
	page.wait(`document.querySelector("h2")?.textContent === "No account is connected"`)
	page.shoot("5-disconnected")
	page.do(chromedp.Navigate(w.opts.provider))
	page.wait(`document.querySelector("#revoke-ann") !== null`)
	page.wear("light", 320, 640)
	page.assertFits()
	page.shoot("6-third-party")
	w.assertNoSessions()
}
