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

// watch opens the live view of a browser's session. The function it returns gives one
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
	for range 5 {
		kinds = append(kinds, strings.Split(ofAnn(), `"`)[3])
	}
	assert.Equal(t, []string{"refresh_started", "locked", "refreshed", "waited", "replayed"}, kinds)

	require.Equal(t, http.StatusSeeOther, bob.post("/sign-out").status)
	assert.Equal(t, `{"kind":"signed_out","took":0}`, ofBob(), "and nothing before")
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

func TestALiveViewEndsWithItsSession(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	event := b.watch(t.Context())
	require.Equal(t, http.StatusSeeOther, b.post("/sign-out").status)
	assert.Equal(t, `{"kind":"signed_out","took":0}`, event())
	assert.Empty(t, event(), "and no more")
}

func TestASessionHasSoManyViewsAndNoMore(t *testing.T) {
	a := startApp(t, nil)
	b := signedIn(t, a, "ann")
	for range mostViews {
		b.watch(t.Context())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := b.try(ctx, http.MethodGet, "/events", nil) // would not end, if it were let in
	require.NoError(t, err)
	assert.Equal(t, http.StatusTooManyRequests, got.status)
	assert.Equal(t, http.StatusOK, b.get("/api/orders/1").status)
}

func TestAViewThatDoesNotKeepUpHoldsNobodyUp(t *testing.T) {
	l := newLive()
	events, leave, _ := l.watch("s")
	defer leave()
	for range 10_000 {
		l.publish(reauth.Event{Kind: reauth.EventReplayed, Session: "s"})
	}
	assert.Len(t, events, cap(events))
	l.publish(reauth.Event{Kind: reauth.EventSignedOut, Session: "s"})
	for range cap(events) {
		<-events
	}
	select {
	case _, open := <-events:
		assert.False(t, open)
	default:
		assert.Fail(t, "the view goes on after its session, since there was no room to say so")
	}
	assert.Empty(t, l.views)
}
