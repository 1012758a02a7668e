package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// actStorm: the access token is no good any more, and n requests find out at the
// same time.
func actStorm(ctx context.Context, n int, out *page) (tally, error) {
	api, err := serve(reauthtest.Options{APILatency: 20 * time.Millisecond, RefreshLatency: 150 * time.Millisecond})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()
	api.ExpireAccess()
	api.gather(ctx, n)

	out.act("ACT ONE", fmt.Sprintf("The storm: %s at once, the token has just expired", plural(n, "request")))
	w := newWatch(base(), n, refused)
	if err := storm(ctx, to, n, w); err != nil {
		return tally{}, err
	}
	out.timeline(w)
	t := w.tally(1)
	out.totals(t)
	if n > 1 {
		out.say(fmt.Sprintf("A refresh for each would have been %d, all but one with a refresh token", n),
			"that is spent: enough for many servers to sign the user out.")
	}
	return t, nil
}

// actLate: a refusal that arrives when the refresh it calls for is long done.
func actLate(ctx context.Context, _ int, out *page) (tally, error) {
	api, err := serve(reauthtest.Options{APILatency: 20 * time.Millisecond, RefreshLatency: 100 * time.Millisecond})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()

	out.act("ACT TWO", "The straggler: a 401 that comes after the refresh")
	w := newWatch(base(), 2, refused)
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
	time.Sleep(60 * time.Millisecond) // so that the eye can tell the two apart
	api.letGo()
	slow.Wait()
	if err := finish(ctx, transport); err != nil {
		return tally{}, err
	}
	out.timeline(w)
	t := w.tally(1)
	out.totals(t)
	out.say("The slow request was refused for a token that had been replaced by then:",
		"it was sent again with the new one, and nothing was refreshed for it.")
	return t, nil
}

const (
	lifetime = 2 * time.Second
	early    = 600 * time.Millisecond // before its end a token is refreshed
	between  = 5 * time.Millisecond   // one request and the next
	interval = 300 * time.Millisecond // one row and the next
	playtime = 12 * interval          // two rollovers
	margin   = 50 * time.Millisecond  // what is near a refresh
)

// actRollover: steady load, while tokens come and go. Since they are refreshed
// before their end nobody notices.
func actRollover(ctx context.Context, _ int, out *page) (tally, error) {
	api, err := serve(reauthtest.Options{
		AccessLifetime: lifetime, APILatency: 5 * time.Millisecond, RefreshLatency: 150 * time.Millisecond,
	})
	if err != nil {
		return tally{}, err
	}
	defer api.close()
	to := api.target()
	to.earlyRefresh = early

	out.act("ACT THREE", fmt.Sprintf("The rollover: tokens live %v, %d requests a second", lifetime, time.Second/between))
	w := newWatch(base(), 50, refused)
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
	w.get(ctx, client, to.url, "") // if a refresh came last, this one uses its token
	out.progress(w, told)

	t := w.tally(api.Counts().RefreshesGranted) // each of which took a token that none had taken before
	out.totals(t)
	calm, busy, waiting := latencies(w)
	out.say(fmt.Sprintf("Worst latency: %s ms near a refresh, %s ms elsewhere.", ms(busy), ms(calm)),
		fmt.Sprintf("Requests that waited for a token: %d.", waiting))
	return t, nil
}

// A progress is what has been told of a watch: so many calls, so many refreshes.
type progress struct{ calls, refreshes int }

// progress writes a row about what has ended since told.
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

// latencies returns the worst ones far from and near a refresh, and how many
// requests waited for one.
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
