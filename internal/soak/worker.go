package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

const workerVariable = "REAUTH_SOAK_WORKER" // holds orders, as JSON

// orders are what a process is told.
type orders struct {
	Process  int
	DSN      string
	URL, API string
	Callers  int
	Sessions int
}

// report is what a process has to say in the end.
type report struct {
	Requests int
	Answered int
	Faults   int // that are said to pass
	Lost     []loss
}

// A loss is a request that should have been answered.
type loss struct {
	What         string // came instead of an answer
	Session      string
	Began, Ended time.Time

	process int
}

const refused = "401 Unauthorized"

func (r *report) add(other report) {
	r.Requests += other.Requests
	r.Answered += other.Answered
	r.Faults += other.Faults
	r.Lost = append(r.Lost, other.Lost...)
}

func user(n int) string { return fmt.Sprintf("user-%d", n) }

func newTransport(o orders) (*reauth.Transport, error) {
	store, err := openStore(o.DSN)
	if err != nil {
		return nil, err
	}
	return reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL: o.URL + "/token", ClientID: clientID, ClientSecret: clientSecret,
			Client: &http.Client{Transport: named{&http.Transport{}, o.Process}},
		},
		Origins:        []string{o.URL},
		Base:           &http.Transport{MaxIdleConnsPerHost: max(o.Callers, 1)},
		Store:          store,
		RefreshTimeout: 5 * time.Second,
		RefreshPause:   time.Second, // shorter than the tokens live, of which the server does not say how long that is to a process that loads one
	})
}

// work is the life of a process: until its standard input ends its callers make
// requests, then it waits for what is still going on, as every program should, and
// reports.
func work(text string) error {
	signal.Ignore(os.Interrupt) // it is for the process that started this one
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	transport, err := newTransport(o)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		stop()
	}()
	var total report
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range o.Callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				r := get(transport.Session(user(rand.IntN(o.Sessions))), o)
				mu.Lock()
				total.add(r)
				mu.Unlock()
				wait(ctx, time.Duration(rand.Int64N(int64(60*time.Millisecond))))
			}
		})
	}
	wg.Wait()
	waiting, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := transport.Wait(waiting); err != nil {
		return fmt.Errorf("waiting: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(total)
}

// get makes one request and says what became of it.
func get(session *reauth.Session, o orders) report {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	lost := func(what string) report {
		return report{Requests: 1, Lost: []loss{{What: what, Session: session.Name(), Began: began, Ended: time.Now()}}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+o.API, nil)
	if err != nil {
		return lost(err.Error())
	}
	resp, err := (&http.Client{Transport: session}).Do(req)
	if err != nil {
		if _, isRefreshError := errors.AsType[*reauth.RefreshError](err); isRefreshError && errors.Is(err, reauth.ErrSignInRequired) {
			return lost("sign-in required")
		}
		if ctx.Err() != nil {
			return lost("no answer within a minute")
		}
		return report{Requests: 1, Faults: 1}
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil, resp.Header.Get(faultHeader) != "":
		return report{Requests: 1, Faults: 1}
	case resp.StatusCode == http.StatusOK:
		return report{Requests: 1, Answered: 1}
	}
	return lost(resp.Status)
}
