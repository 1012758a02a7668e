package storetest

import (
	"context"
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

// transportsOfManyProcesses has Transports that share only the storage, like processes,
// find their token refused at once, several times over.
func transportsOfManyProcesses(t *testing.T, s Storage) {
	const rounds, callers = 3, 10
	processes := 4
	if _, ok := s.Open(t).(reauth.Locker); !ok {
		processes = 1 // more may lose the session, as the documentation says
	}
	server := reauthtest.NewServer(t, reauthtest.Options{RefreshLatency: 5 * time.Millisecond})
	session := "storetest shared by Transports"
	base := &http.Transport{MaxIdleConnsPerHost: processes * callers}
	t.Cleanup(base.CloseIdleConnections)
	sessions := make([]*reauth.Session, processes) // the same one, in each process
	for i := range sessions {
		transport, err := reauth.New(reauth.Config{
			Refresher:    &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "storetest"},
			Origins:      []string{server.URL},
			Base:         base,
			Store:        s.Open(t),
			RefreshPause: time.Nanosecond, // each round begins with a token that was refreshed just now
		})
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			assert.NoError(t, transport.Wait(ctx))
		})
		sessions[i] = transport.Session(session)
	}
	get := func(s *reauth.Session) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.APIURL("/"), nil)
		if err != nil {
			return 0, err
		}
		resp, err := s.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	storm := func() {
		t.Helper()
		var wg sync.WaitGroup
		for _, s := range sessions {
			for range callers {
				wg.Go(func() {
					status, err := get(s)
					assert.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
				})
			}
		}
		wg.Wait()
	}

	require.NoError(t, sessions[0].SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	storm()
	for round := 1; round <= rounds; round++ {
		server.ExpireAccess()
		storm()
		assert.Equal(t, round, server.Counts().Refreshes, "refreshes after %d rounds", round)
	}
	assert.Zero(t, server.Counts().ReusesDetected)

	last := sessions[processes-1]
	require.NoError(t, last.SignOut(t.Context()))
	mustBeAbsent(t, s.Open(t), session)
	server.ExpireAccess()
	for _, s := range sessions {
		_, err := get(s)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired, "after a sign-out by another process")
	}
	assert.Equal(t, rounds, server.Counts().Refreshes, "nothing is refreshed after a sign-out")
	require.NoError(t, last.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	storm()
	require.NoError(t, sessions[0].SignOut(t.Context()))
}
