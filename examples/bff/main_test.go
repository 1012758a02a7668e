package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"io"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestTheProgramStartsAndStops(t *testing.T) {
	for _, tls := range []string{"-tls=false", "-tls"} {
		ctx, interrupt := context.WithCancel(t.Context())
		stdout, sink := io.Pipe()
		var stderr bytes.Buffer
		code := make(chan int, 1)
		go func() { // ends after interrupt
			code <- run(ctx, []string{"-addr", "127.0.0.1:0", tls, "-lifetime", "1m"}, sink, &stderr)
			sink.Close()
		}()
		line, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err, "%s", &stderr)
		address := regexp.MustCompile(`open (\S+) and`).FindStringSubmatch(line)
		require.NotNil(t, address, line)

		b := signedIn(t, &app{url: address[1], backend: &backend{}}, "ann")
		event := b.watch(t.Context())
		assert.Equal(t, http.StatusOK, b.get("/api/orders/1").status)
		interrupt()
		assert.Equal(t, exitOK, <-code, "%s", &stderr)
		assert.Empty(t, event(), "an open view has ended")
	}
}

func TestItEndsWithItsRefreshes(t *testing.T) {
	demo := startApp(t, nil).demo
	a := startApp(t, func(o *options) { o.demo = demo.URL })
	b := signedIn(t, a, "ann")
	stored := func() reauth.Token {
		tok, ok, err := a.backend.store.Load(t.Context(), sessionName(b.cookie()))
		require.NoError(t, err)
		require.True(t, ok)
		return tok
	}
	before := stored()

	demo.ExpireAccess("ann")
	release := demo.BlockRefresh()
	defer release()
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() { // ends with leave
		defer close(gone)
		_, err := b.try(ctx, http.MethodGet, "/api/orders/1", nil)
		assert.ErrorIs(t, err, context.Canceled)
	}()
	await(t, demo, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	leave()
	<-gone

	stopped := make(chan error, 1)
	go func() { stopped <- a.stop() }() // ends after release
	require.Eventually(t, func() bool { // the backend listens no more
		_, err := b.try(t.Context(), http.MethodGet, "/sign-in", nil)
		return err != nil
	}, patience, time.Millisecond)
	release()
	require.NoError(t, <-stopped)
	assert.False(t, before.RefreshToken == stored().RefreshToken, "what the refresh brought is not stored")
	_, err := demo.Refresh(stored().RefreshToken)
	assert.NoError(t, err, "and not spent")
}

func TestARequestThatDoesNotEndCostsNoRefresh(t *testing.T) {
	demo := startApp(t, nil).demo
	arrived := make(chan struct{})
	demo.Handle("/v1/endless", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	a := startApp(t, func(o *options) { o.demo = demo.URL })
	b := signedIn(t, a, "ann")
	session := a.backend.transport.Session(sessionName(b.cookie()))
	var requests sync.WaitGroup
	requests.Go(func() { // ends when stop breaks it off
		_, err := b.try(t.Context(), http.MethodGet, "/api/endless", nil)
		assert.Error(t, err)
	})
	<-arrived
	before, err := session.Token(t.Context())
	require.NoError(t, err)
	release := demo.BlockRefresh()
	defer release()
	requests.Go(func() { // ends after release
		_, err := session.Refresh(t.Context(), before)
		assert.NoError(t, err)
	})
	await(t, demo, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })

	a.grace = time.Millisecond
	stopped := make(chan error, 1)
	go func() { stopped <- a.stop() }() // ends after release
	require.Eventually(t, func() bool { // its time is over
		_, err := b.try(t.Context(), http.MethodGet, "/sign-in", nil)
		return err != nil
	}, patience, time.Millisecond)
	release()
	err = <-stopped
	assert.ErrorContains(t, err, "requests were broken off")
	assert.NotContains(t, err.Error(), "a refresh has not ended")
	requests.Wait()
	stored, ok, err := a.backend.store.Load(t.Context(), session.Name())
	require.NoError(t, err)
	assert.True(t, ok && stored.RefreshToken != before.RefreshToken, "what the refresh brought is not stored")
}

func TestAStoreFromTheEnvironment(t *testing.T) {
	t.Setenv("BFF_STORE", "redis://ann:hunter2@localhost")
	for want, args := range map[string][]string{
		"redis://ann:hunter2@localhost": nil,
		"memory":                        {"-store", "memory"},
	} {
		opts, err := parse(args, io.Discard)
		require.NoError(t, err)
		assert.Equal(t, want, opts.store)
	}
	var help bytes.Buffer
	_, err := parse([]string{"-help"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	assert.NotContains(t, help.String(), "hunter2")
}

func TestFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":            {[]string{"-help"}, exitOK, "BFF_STORE_KEY"},
		"unknown":         {[]string{"-adr", "x"}, exitUsage, "-adr"},
		"argument":        {[]string{"serve"}, exitUsage, `"serve" is not a flag`},
		"lifetime":        {[]string{"-lifetime", "0s"}, exitUsage, "-lifetime 0s"},
		"address":         {[]string{"-addr", "127.0.0.1:99999"}, exitFailed, "-addr"},
		"demo address":    {[]string{"-demo-addr", "nowhere"}, exitFailed, "-demo-addr"},
		"demo elsewhere":  {[]string{"-demo", "nowhere"}, exitFailed, `-demo "nowhere" is no URL`},
		"store":           {[]string{"-addr", "127.0.0.1:0", "-store", "etcd:x"}, exitFailed, "-store"},
		"Redis unreached": {[]string{"-addr", "127.0.0.1:0", "-store", "redis://127.0.0.1:1?max_retries=-1"}, exitFailed, "-store: dial tcp 127.0.0.1:1"},
		"store unreached": {[]string{"-addr", "127.0.0.1:0", "-store", "sqlite:/no/such/folder/x.db"}, exitFailed, "-store"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, test.code, run(t.Context(), test.args, &out, &out), "%s", &out)
			assert.Contains(t, out.String(), test.says)
		})
	}
}
