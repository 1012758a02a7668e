package main

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

const many = 50

// A world is a session, and the server that it is for.
type world struct {
	*reauthtest.Server
	transport *reauth.Transport
	token     reauth.Token // as it was at the start
}

// newWorld signs ann in. A token that a refresh has brought is not refreshed again
// by mistake, however slow this machine is.
func newWorld(t *testing.T, opts reauthtest.Options) *world {
	t.Helper()
	s := reauthtest.NewServer(t, opts)
	serve(s)
	base := s.Transport().Clone()
	base.MaxIdleConnsPerHost = many
	t.Cleanup(base.CloseIdleConnections)
	transport, err := reauth.New(reauth.Config{
		Refresher:    &oauth.Refresher{TokenURL: s.TokenURL(), ClientID: "bridges", Client: s.Client()},
		Origins:      []string{s.URL},
		Base:         base,
		RefreshPause: time.Hour,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, transport.Wait(context.Background())) })
	tok := reauth.Token(s.SignIn("ann"))
	require.NoError(t, transport.SignIn(t.Context(), tok))
	return &world{s, transport, tok}
}

// storm calls use many times at once, of which the server has all before it answers
// the first. It counts what came of it.
func (w *world) storm(t *testing.T, use func() error) reauthtest.Counts {
	t.Helper()
	before := w.Counts()
	release := w.BlockAPI()
	defer release()
	var all sync.WaitGroup
	for range many {
		all.Go(func() { assert.NoError(t, use()) })
	}
	require.NoError(t, w.Await(t.Context(), func(c reauthtest.Counts) bool { return c.APIRequests-before.APIRequests == many }))
	release()
	all.Wait()
	after := w.Counts()
	return reauthtest.Counts{
		Refreshes:                after.Refreshes - before.Refreshes,
		MaxUsesOfOneRefreshToken: after.MaxUsesOfOneRefreshToken,
		APIRefused:               after.APIRefused - before.APIRefused,
		APISucceeded:             after.APISucceeded - before.APISucceeded,
	}
}

func TestTheBridgeIsCrossedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	assert.Regexp(t, `\noauth2.TokenSource        1          1  401; after Transport.Refresh: hello ann\n$`, out.String())
}

func TestAnInterruptEndsTheProgram(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, run(ctx, new(bytes.Buffer)), context.Canceled)
}
