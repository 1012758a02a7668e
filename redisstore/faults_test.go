package redisstore_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/redisstore"
)

// A program has a session in Redis and an API to call.
type program struct {
	transport *reauth.Transport
	url       string
}

func newProgram(t *testing.T, server *reauthtest.Server, client redis.UniversalClient, refresher reauth.Refresher, timeout time.Duration) program {
	t.Helper()
	transport, err := reauth.New(reauth.Config{
		Refresher:      refresher,
		Origins:        []string{server.URL},
		Base:           server.Transport(),
		Store:          redisstore.New(client, nil),
		RefreshTimeout: timeout,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, transport.Wait(ctx))
	})
	return program{transport, server.APIURL("/")}
}

func oauth2(server *reauthtest.Server) *oauth.Refresher {
	return &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "a program"}
}

func (p program) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return err
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// If Redis does not answer, for whatever reason, only requests that need a refresh
// fail. Nobody is signed out, nothing is refreshed without the lock, and everything
// works again when Redis is back.
func TestARedisThatIsAwaySignsNobodyOut(t *testing.T) {
	for name, fault := range map[string]func(s *server, p *cutproxy.Proxy) (end func(*testing.T)){
		"ItRefusesConnections": func(_ *server, p *cutproxy.Proxy) func(*testing.T) {
			p.Refuse(true)
			p.Cut()
			return func(*testing.T) { p.Refuse(false) }
		},
		"ItIsSilent": func(_ *server, p *cutproxy.Proxy) func(*testing.T) {
			p.Stall(true)
			return func(*testing.T) { p.Stall(false) }
		},
		"ItIsKilledAndRestarted": func(s *server, _ *cutproxy.Proxy) func(*testing.T) {
			s.kill()
			return func(t *testing.T) { s.start(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			redisServer := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
			proxy := cutproxy.New(t, redisServer.addr)
			server := reauthtest.NewServer(t, reauthtest.Options{})
			var programs []program
			for range 3 {
				client := newClient(t, &redis.Options{Addr: proxy.Addr()})
				programs = append(programs, newProgram(t, server, client, oauth2(server), 500*time.Millisecond))
			}
			require.NoError(t, programs[0].transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
			for _, p := range programs {
				require.NoError(t, p.get(t.Context()))
			}

			end := fault(redisServer, proxy)
			for _, p := range programs {
				require.NoError(t, p.get(t.Context()), "a good token needs no Redis")
			}
			server.ExpireAccess()
			var wg sync.WaitGroup
			for _, p := range programs {
				wg.Go(func() {
					err := p.get(t.Context())
					_, ok := errors.AsType[*reauth.RefreshError](err)
					assert.True(t, ok, "%v", err)
					assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
				})
			}
			wg.Wait()
			assert.Zero(t, server.Counts().Refreshes, "refreshes without the lock")

			end(t)
			for _, p := range programs {
				eventually(t, "it works again", func() bool {
					err := p.get(t.Context())
					assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
					return err == nil
				})
			}
			assert.Equal(t, 1, server.Counts().Refreshes)
			assert.Zero(t, server.Counts().ReusesDetected)
		})
	}
}

// This is the worst moment, because the token in Redis is spent.
func TestARedisThatRestartsBetweenARefreshAndItsSaveLosesNothing(t *testing.T) {
	redisServer := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	server := reauthtest.NewServer(t, reauthtest.Options{})
	refreshed, killed := make(chan struct{}), make(chan struct{})
	refresher := reauth.RefresherFunc(func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
		tok, err := oauth2(server).Refresh(ctx, old)
		close(refreshed)
		<-killed
		return tok, err
	})
	client := newClient(t, &redis.Options{Addr: redisServer.addr, MaxRetries: -1, DialerRetries: 1})
	p := newProgram(t, server, client, refresher, patience)
	require.NoError(t, p.transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	server.ExpireAccess()
	answer := make(chan error, 1)
	go func() { answer <- p.get(t.Context()) }()
	receive(t, "the refresh", refreshed)
	redisServer.kill()
	scripts := watch(client)
	close(killed)
	require.True(t, receive(t, "the Save", scripts).failed)
	redisServer.start(t)
	require.NoError(t, receive(t, "the answer", answer))

	other := newProgram(t, server, redisServer.client(t), oauth2(server), patience)
	require.NoError(t, other.get(t.Context()))
	assert.Equal(t, 1, server.Counts().Refreshes)
	server.ExpireAccess()
	require.NoError(t, other.get(t.Context()))
	assert.Equal(t, 2, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected)
}

// This is why the README requires persistence.
func TestARedisThatForgetsSignsOut(t *testing.T) {
	redisServer := startServer(t)
	server := reauthtest.NewServer(t, reauthtest.Options{})
	p := newProgram(t, server, redisServer.client(t), oauth2(server), patience)
	require.NoError(t, p.transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	server.ExpireAccess()
	redisServer.kill()
	redisServer.start(t)
	assert.ErrorIs(t, p.get(t.Context()), reauth.ErrSignInRequired)
	require.NoError(t, p.transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	assert.NoError(t, p.get(t.Context()))
}

// The connections of each process are cut twice a second, at any point of their
// traffic.
func TestSoakWithCutConnections(t *testing.T) {
	proxy := cutproxy.New(t, startServer(t).addr)
	done := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				proxy.Cut()
			case <-done:
				return
			}
		}
	})
	defer cutting.Wait()
	defer close(done)
	fleet.Soak(t, dsn(15*time.Second, proxy.Addr()))
}
