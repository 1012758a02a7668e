package storetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A process is a session of a Transport that shares only the storage with others.
type process struct {
	*reauth.Session
	url string
}

func newProcess(t *testing.T, s Storage, server *reauthtest.Server, session string) *process {
	t.Helper()
	base := new(http.Transport)
	t.Cleanup(base.CloseIdleConnections)
	transport, err := reauth.New(reauth.Config{
		Refresher:    &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "storetest"},
		Origins:      []string{server.URL},
		Base:         base,
		Store:        s.Open(t),
		RefreshPause: time.Nanosecond, // a token that was refreshed just now is refreshed again
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, transport.Wait(ctx))
	})
	return &process{transport.Session(session), server.APIURL("/")}
}

// get makes a request.
func (p *process) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return err
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// mustReach waits for the counts of a server.
func mustReach(t *testing.T, server *reauthtest.Server, what string, reached func(reauthtest.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, server.Await(ctx, reached), "waited for %s", what)
}

// transportsOfManyProcesses has Transports that share only the storage, like processes,
// find their token refused at once, several times over.
func transportsOfManyProcesses(t *testing.T, s Storage) {
	const rounds, callers = 3, 10
	processes := make([]*process, 4)
	if _, ok := s.Open(t).(reauth.Locker); !ok {
		processes = processes[:1] // more may lose the session, as the documentation says
	}
	server := reauthtest.NewServer(t, reauthtest.Options{RefreshLatency: 5 * time.Millisecond})
	session := "storetest shared by Transports"
	for i := range processes {
		processes[i] = newProcess(t, s, server, session)
	}
	storm := func() {
		t.Helper()
		var wg sync.WaitGroup
		for _, p := range processes {
			for range callers {
				wg.Go(func() { assert.NoError(t, p.get(t.Context())) })
			}
		}
		wg.Wait()
	}

	require.NoError(t, processes[0].SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	storm()
	for round := 1; round <= rounds; round++ {
		server.ExpireAccess()
		storm()
		assert.Equal(t, round, server.Counts().Refreshes, "refreshes after %d rounds", round)
	}
	assert.Zero(t, server.Counts().ReusesDetected)

	last := processes[len(processes)-1]
	require.NoError(t, last.SignOut(t.Context()))
	mustBeAbsent(t, s.Open(t), session)
	server.ExpireAccess()
	for _, p := range processes {
		assert.ErrorIs(t, p.get(t.Context()), reauth.ErrSignInRequired, "after a sign-out by another process")
	}
	assert.Equal(t, rounds, server.Counts().Refreshes, "nothing is refreshed after a sign-out")
	require.NoError(t, last.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	storm()
	require.NoError(t, processes[0].SignOut(t.Context()))
}
