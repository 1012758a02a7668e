package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// actStorm expires the access token and has n requests refused at the same time.
func actStorm(ctx context.Context, on stage) (tally, error) {
	n, out := on.n, on.out
	api, err := on.serve(reauthtest.Options{APILatency: 20 * time.Millisecond, RefreshLatency: 150 * time.Millisecond})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()
	api.ExpireAccess()
	api.gather(ctx, n)

	out.act("ACT ONE", fmt.Sprintf("The storm: %s at once with an expired token", plural(n, "request")))
	w := newWatch(api.base(), n, refused)
	if err := storm(ctx, to, n, w); err != nil {
		return tally{}, err
	}
	out.timeline(w)
	t := w.tally(1)
	out.totals(t)
	if n > 1 {
		out.say(fmt.Sprintf("A refresh for each request would have been %d, all but one with a spent refresh", n),
			"token. Many servers end a session over that.")
	}
	return t, nil
}

// actLate has a refusal arrive after the refresh for that token is done.
func actLate(ctx context.Context, on stage) (tally, error) {
	out := on.out
	api, err := on.serve(reauthtest.Options{APILatency: 20 * time.Millisecond, RefreshLatency: 100 * time.Millisecond})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()

	out.act("ACT TWO", "The straggler: a 401 that comes after the refresh")
	w := newWatch(api.base(), 2, refused)
	client, transport, err := connect(ctx, to, w)
	if err != nil {
		return tally{}, err
	}
	var slow sync.WaitGroup
	slow.Go(func() { w.get(ctx, client, api.APIURL(slowPath), "slow") })
	select {
	case <-api.arrived:
	case <-ctx.Done():
		return tally{}, context.Cause(ctx)
	}
	api.ExpireAccess()
	w.get(ctx, client, to.url, "quick")
	time.Sleep(60 * time.Millisecond) // so that the two are apart on the timeline
	api.letGo()
	slow.Wait()
	if err := finish(ctx, transport); err != nil {
		return tally{}, err
	}
	out.timeline(w)
	t := w.tally(1)
	out.totals(t)
	out.say("The slow request was refused for a token that had already been replaced.",
		"It was sent again with the new one, without another refresh.")
	return t, nil
}

const (
	lifetime = 2 * time.Second
	early    = 600 * time.Millisecond // a token is refreshed so long before it expires
	between  = 5 * time.Millisecond   // between two requests
	interval = 300 * time.Millisecond // between two rows
	playtime = 12 * interval          // two rollovers
	margin   = 50 * time.Millisecond  // a request within it is near a refresh
)

// actRollover keeps up a steady load while tokens expire. They are refreshed before
// they expire, so no request waits.
func actRollover(ctx context.Context, on stage) (tally, error) {
	out := on.out
	api, err := on.serve(reauthtest.Options{
		AccessLifetime: lifetime, APILatency: 5 * time.Millisecond, RefreshLatency: 150 * time.Millisecond,
	})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()
	to.earlyRefresh = early

	out.act("ACT THREE", fmt.Sprintf("The rollover: tokens live %v, %d requests a second", lifetime, time.Second/between))
	w := newWatch(api.base(), 50, refused)
	client, transport, err := connect(ctx, to, w)
	if err != nil {
		return tally{}, err
	}
	var load sync.WaitGroup
	steps, rows := time.NewTicker(between), time.NewTicker(interval)
	defer steps.Stop()
	defer rows.Stop()
	var told progress
	out.say("answered    worst latency")
	for time.Since(w.began) < playtime && ctx.Err() == nil {
		select {
		case <-steps.C:
			load.Go(func() { w.get(ctx, client, to.url, "") })
		case <-rows.C:
			told = out.progress(w, told)
		}
	}
	load.Wait()
	if err := finish(ctx, transport); err != nil {
		return tally{}, err
	}
	w.get(ctx, client, to.url, "") // uses the token of the last refresh
	out.progress(w, told)

	t := w.tally(api.Counts().RefreshesGranted) // each with a refresh token of its own
	out.totals(t)
	calm, busy, waiting := latencies(w)
	out.say(fmt.Sprintf("Worst latency: %s ms near a refresh, %s ms elsewhere.", ms(busy), ms(calm)),
		fmt.Sprintf("Requests that waited for a token: %d.", waiting))
	return t, nil
}

// A progress counts the calls and refreshes that have been shown.
type progress struct{ calls, refreshes int }

// progress writes a row about the calls that have ended since told.
func (p *page) progress(w *watch, told progress) progress {
	calls, refreshes := w.seen()
	fresh := calls[told.calls:]
	if len(fresh) == 0 {
		return told
	}
	var worst time.Duration
	for _, c := range fresh {
		worst = max(worst, c.took())
	}
	note := ""
	for _, r := range refreshes[told.refreshes:] {
		note = fmt.Sprintf("  refreshed meanwhile, in %d ms", r.answered.Sub(r.sent).Milliseconds())
	}
	p.printf("%s  %8d  %7s ms  %s%s\n",
		p.in(dim, fmt.Sprintf("%7d ms", time.Since(w.began).Milliseconds())),
		len(fresh), ms(worst), p.in(green, bar(int(worst.Microseconds()), 20_000, 12)), p.in(cyan, note))
	return progress{len(calls), len(refreshes)}
}

// latencies returns the worst latencies away from a refresh (calm) and near one
// (busy), and how many requests waited for one.
func latencies(w *watch) (calm, busy time.Duration, waiting int) {
	calls, refreshes := w.seen()
	for _, c := range calls {
		near := false
		for _, r := range refreshes {
			near = near || c.near(r, margin)
		}
		if near {
			busy = max(busy, c.took())
		} else {
			calm = max(calm, c.took())
		}
		if c.waited(refreshes) {
			waiting++
		}
	}
	return calm, busy, waiting
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

var refused = []int{http.StatusUnauthorized}
