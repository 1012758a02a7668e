package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/reauth-go/reauth/reauthtest"
)

const storyLength = 2 * time.Minute

// An act is what happens at a point of the story, as a share of its length.
type act struct {
	at    float64
	title string
	do    func(context.Context, *world) error
}

var story = []act{
	{0.25, "all tokens are revoked", func(_ context.Context, w *world) error { w.server.ExpireAccess(); return nil }},
	{0.40, "the token server is down", func(_ context.Context, w *world) error { w.server.FailRefresh(reauthtest.Failure{}, -1); return nil }},
	{0.52, "it is back", func(_ context.Context, w *world) error { w.server.FailRefresh(reauthtest.Failure{}, 0); return nil }},
	{0.62, "the disk is full", func(_ context.Context, w *world) error { w.store.isFull.Store(true); return nil }},
	{0.72, "it is not", func(_ context.Context, w *world) error { w.store.isFull.Store(false); return nil }},
	{0.80, "10 users are gone", func(_ context.Context, w *world) error {
		for i := range 10 {
			w.server.Revoke(nameOf(i))
		}
		return nil
	}},
	{0.86, "they sign in again", func(ctx context.Context, w *world) error {
		for i := range 10 {
			if err := w.signIn(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}},
	{0.92, "a page that refuses all", func(ctx context.Context, w *world) error {
		for i := range users {
			w.get(ctx, w.replicas[i%replicas], i, "/admin")
		}
		return nil
	}},
}

// play goes through the story once.
func play(ctx context.Context, meters metric.MeterProvider, length time.Duration) (err error) {
	w, err := newWorld(ctx, meters, length/8)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	defer func() { // interrupting a refresh can invalidate the session
		stop()
		load.Wait()
		err = errors.Join(err, w.close())
	}()
	load.Go(func() { w.load(ctx) })
	began := time.Now()
	for _, a := range story {
		pause(ctx, time.Until(began.Add(time.Duration(a.at*float64(length)))))
		if ctx.Err() != nil {
			break
		}
		if err := a.do(ctx, w); err != nil {
			return err
		}
	}
	pause(ctx, time.Until(began.Add(length)))
	w.store.isFull.Store(false) // if it was interrupted, what is pending can be saved
	return nil
}
