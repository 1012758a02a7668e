package main

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// watch opens the live view of a browser's session. What it returns gives one
// event after the other, and "" at the end.
func (b *browser) watch(ctx context.Context) func() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	b.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.app.url+"/events", nil)
	require.NoError(b.t, err)
	resp, err := b.client.Do(req)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { resp.Body.Close() })
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	assert.Equal(b.t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
}

func TestTheLiveViewShowsTheOwnSessionAlone(t *testing.T) {
	a := startApp(t, nil)
	ann, bob := signedIn(t, a, "ann"), signedIn(t, a, "bob")
	ofAnn, ofBob := ann.watch(t.Context()), bob.watch(t.Context())

	a.demo.ExpireAccess()
	require.Equal(t, http.StatusOK, ann.get("/api/orders/1").status)
	var kinds []string
	for range 3 {
		kinds = append(kinds, strings.Split(ofAnn(), `"`)[3])
	}
	assert.Equal(t, []string{"refresh started", "refreshed", "replayed"}, kinds)

	require.Equal(t, http.StatusSeeOther, bob.post("/sign-out").status)
	assert.Equal(t, `{"kind":"signed out","took":0}`, ofBob(), "and nothing before")
}

func TestALiveViewThatIsClosedIsForgotten(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	ctx, leave := context.WithCancel(t.Context())
	b.watch(ctx)
	views := func() int {
		a.backend.live.mu.Lock()
		defer a.backend.live.mu.Unlock()
		return len(a.backend.live.views)
	}
	require.Equal(t, 1, views())
	leave()
	require.Eventually(t, func() bool { return views() == 0 }, patience, patience/1000)
}

func TestAViewThatDoesNotKeepUpHoldsNobodyUp(t *testing.T) {
	l := newLive()
	events, leave := l.watch("s")
	defer leave()
	for range 10_000 {
		l.publish(reauth.Event{Kind: reauth.EventReplayed, Session: "s"})
	}
	assert.Len(t, events, cap(events))
}
