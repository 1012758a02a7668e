package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// atOnce is for how many accounts a worker calls the API at the same time.
const atOnce = 8

// work syncs each account when it is due, until ctx is done. An account that takes long
// keeps one of atOnce goroutines busy, and the others go on.
func (b *backend) work(ctx context.Context, every time.Duration) error {
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() { // ends with ctx
			ticks := time.NewTicker(min(every, time.Second))
			defer ticks.Stop()
			for ctx.Err() == nil {
				b.pass(ctx, every)
				select {
				case <-ticks.C:
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// pass syncs what is due now, one account after the other.
func (b *backend) pass(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		a, ok, err := b.claim(ctx, every)
		if err != nil && ctx.Err() == nil {
			b.log.Warn("the database gave no work", "error", err)
		}
		if !ok {
			return
		}
		if err := b.sync(ctx, a); err != nil && ctx.Err() == nil {
			b.log.Warn("a sync failed", "account", a.ID, "error", err)
		}
	}
}

// sync calls the API for an account, and records what came of it. It is the same for the
// worker and the web process, and they may call it at the same time.
func (b *backend) sync(ctx context.Context, a account) error {
	contacts, err := b.countContacts(ctx, a)
	if errors.Is(err, reauth.ErrSignInRequired) {
		// The account may have been connected again, and Watch be about to say so. With this
		// the Transport looks at the store.
		b.transport.Forget(a.ID)
		contacts, err = b.countContacts(ctx, a)
	}
	state, problem := connected, ""
	failed, isRefresh := errors.AsType[*reauth.RefreshError](err)
	switch {
	case err == nil:
	case ctx.Err() != nil: // and that says nothing about the account
		return context.Cause(ctx)
	case errors.Is(err, reauth.ErrSignInRequired):
		state, problem = reconnect, "The connection has ended."
	case isRefresh:
		problem = fmt.Sprintf("The third party does not renew the access just now (status %d).", failed.StatusCode)
	default:
		problem = "The third party gave no useful answer."
	}
	if state == connected && err != nil {
		state = a.State // a failure that may pass changes nothing
	}
	return errors.Join(err, b.record(ctx, a, state, contacts, problem))
}

// countContacts stands for the work of a real service: many calls, one after the other.
func (b *backend) countContacts(ctx context.Context, a account) (count int, err error) {
	client := b.client(a.ID)
	for cursor := "start"; cursor != ""; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.api+"/v1/contacts?cursor="+url.QueryEscape(cursor), nil)
		if err != nil {
			return 0, err
		}
		var page struct {
			Account  string
			Contacts []string
			Next     string
		}
		if err := getJSON(client, req, &page); err != nil {
			return 0, err
		}
		if page.Account != a.Subject { // never mix up two users, whoever is to blame
			return 0, errors.New("the third party answered for another account")
		}
		count += len(page.Contacts)
		cursor = page.Next
	}
	return count, nil
}
