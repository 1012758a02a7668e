package redisstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/redisstore"
)

// newPrograms returns programs that share a session in which they have used a token that
// has expired since.
func newPrograms(t *testing.T, p *pair, server *reauthtest.Server, n int) []program {
	t.Helper()
	var programs []program
	for range n {
		programs = append(programs, newProgram(t, server, p.newClient(), oauth2(server), patience))
	}
	require.NoError(t, programs[0].transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	for _, p := range programs {
		require.NoError(t, p.get(t.Context()))
	}
	server.ExpireAccess()
	return programs
}

// refreshing returns once the first program has the lock, and has asked the token server,
// which does not answer before release.
func refreshing(t *testing.T, server *reauthtest.Server, p program) (release func(), answer <-chan error) {
	t.Helper()
	release = sync.OnceFunc(server.BlockRefresh())
	t.Cleanup(release)
	answered := make(chan error, 1)
	refreshes := server.Counts().Refreshes
	go func() { answered <- p.get(context.WithoutCancel(t.Context())) }()
	require.NoError(t, server.Await(bounded(t), func(c reauthtest.Counts) bool { return c.Refreshes == refreshes+1 }))
	return release, answered
}

// works waits until all programs get answers, and none of them has to sign in.
func works(t *testing.T, programs []program) {
	t.Helper()
	for _, p := range programs {
		eventually(t, "it works again", func() bool {
			err := p.get(t.Context())
			require.NotErrorIs(t, err, reauth.ErrSignInRequired)
			return err == nil
		})
	}
}

// The replica that takes over has the lock, and the token that is being replaced.
func TestAFailoverInTheMiddleOfARefreshLosesNothing(t *testing.T) {
	for name, kill := range map[string]bool{"Ordered": false, "Killed": true} {
		t.Run(name, func(t *testing.T) {
			onEachPair(t, func(t *testing.T, p *pair) {
				server := reauthtest.NewServer(t, reauthtest.Options{})
				programs := newPrograms(t, p, server, 3)
				release, answer := refreshing(t, server, programs[0])
				waiting := make(chan error, 1)
				go func() { waiting <- programs[1].get(context.WithoutCancel(t.Context())) }()
				other := reauth.WithSession(t.Context(), "bob")
				require.NoError(t, programs[2].transport.SignIn(other, reauth.Token(server.SignIn("bob"))))
				p.catchUp(t)

				if kill {
					p.kill()
					require.NoError(t, programs[2].get(other), "a good token needs no Redis")
				} else {
					p.order()
				}
				p.awaitTakeover(t)
				release()
				require.NoError(t, receive(t, "the answer", answer))
				err := receive(t, "the answer of one that has waited", waiting)
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
				if !kill {
					require.NoError(t, err)
				}
				works(t, programs)
				assert.Equal(t, 1, server.Counts().Refreshes)

				server.ExpireAccess()
				works(t, programs)
				assert.Equal(t, 2, server.Counts().Refreshes)
				assert.Zero(t, server.Counts().ReusesDetected)
			})
		})
	}
}

// This is what a failover costs if the last save was not copied.
func TestAFailoverThatLosesASaveSpendsATokenTwice(t *testing.T) {
	onEachPair(t, func(t *testing.T, p *pair) {
		server := reauthtest.NewServer(t, reauthtest.Options{})
		programs := newPrograms(t, p, server, 2)
		p.catchUp(t)
		p.cut(t)
		require.NoError(t, programs[0].get(t.Context()))
		p.failOver(t, true)

		require.NoError(t, programs[0].get(t.Context()), "the token in memory is good")
		eventually(t, "the other reaches Redis", func() bool {
			_ = programs[1].get(t.Context())
			return server.Counts().Refreshes == 2
		})
		assert.ErrorIs(t, programs[1].get(t.Context()), reauth.ErrSignInRequired)
		assert.Equal(t, 1, server.Counts().ReusesDetected)
		require.NoError(t, programs[1].transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
		works(t, programs)
	})
}

// The process that has refreshed still knows the new token.
func TestAFailoverThatLosesASaveIsMendedByTheProcessThatSaved(t *testing.T) {
	onEachPair(t, func(t *testing.T, p *pair) {
		server := reauthtest.NewServer(t, reauthtest.Options{})
		programs := newPrograms(t, p, server, 2)
		p.catchUp(t)
		p.cut(t)
		require.NoError(t, programs[0].get(t.Context()))
		p.failOver(t, true)

		server.ExpireAccess()
		works(t, programs)
		assert.Equal(t, 2, server.Counts().Refreshes)
		assert.Zero(t, server.Counts().ReusesDetected)
	})
}

// This is what a failover costs if the lock was not copied.
func TestAFailoverThatLosesALockSpendsATokenTwice(t *testing.T) {
	onEachPair(t, func(t *testing.T, p *pair) {
		server := reauthtest.NewServer(t, reauthtest.Options{})
		programs := newPrograms(t, p, server, 2)
		p.catchUp(t)
		p.cut(t)
		release, answer := refreshing(t, server, programs[0])
		p.failOver(t, true)
		second := make(chan error, 1)
		go func() { second <- programs[1].get(context.WithoutCancel(t.Context())) }()
		require.NoError(t, server.Await(bounded(t), func(c reauthtest.Counts) bool { return c.Refreshes == 2 }))
		release()
		_, _ = receive(t, "an answer", answer), receive(t, "the answer of the other", second)
		assert.Equal(t, 1, server.Counts().ReusesDetected)
		for _, p := range programs {
			assert.Error(t, p.get(t.Context()), "the session is over")
		}
		require.NoError(t, programs[1].transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
		works(t, programs)
	})
}

// With min-replicas-to-write nothing is granted or saved that a replica does not get.
func TestAFailoverWithMinReplicasLosesNothing(t *testing.T) {
	for name, refreshes := range map[string]bool{"CutBeforeTheLock": false, "CutBeforeTheSave": true} {
		t.Run(name, func(t *testing.T) {
			onEachPair(t, func(t *testing.T, p *pair) {
				server := reauthtest.NewServer(t, reauthtest.Options{})
				programs := newPrograms(t, p, server, 2)
				refuseWrites(t, p.master.client(t)) // without a replica
				p.catchUp(t)
				var answer <-chan error
				if refreshes {
					var release func()
					release, answer = refreshing(t, server, programs[0])
					p.catchUp(t)
					p.cut(t)
					release()
				} else {
					p.cut(t)
					err := programs[0].get(t.Context())
					require.ErrorContains(t, err, "NOREPLICAS")
					require.NotErrorIs(t, err, reauth.ErrSignInRequired)
					require.Zero(t, server.Counts().Refreshes)
				}
				p.failOver(t, true)
				if refreshes {
					require.NoError(t, receive(t, "the answer", answer))
				}
				works(t, programs)
				assert.Equal(t, 1, server.Counts().Refreshes)
				server.ExpireAccess()
				works(t, programs)
				assert.Equal(t, 2, server.Counts().Refreshes)
				assert.Zero(t, server.Counts().ReusesDetected)
			})
		})
	}
}

func TestWatchHearsAfterAFailover(t *testing.T) {
	for name, kill := range map[string]bool{"Ordered": false, "Killed": true} {
		t.Run(name, func(t *testing.T) {
			onEachPair(t, func(t *testing.T, p *pair) {
				heard := listen(t, redisstore.New(p.newClient(), nil))
				p.failOver(t, kill)
				if kill || p.addrs == nil {
					receive(t, "that something may have been missed", heard.missed)
				}
				other := redisstore.New(p.newClient(), nil)
				eventually(t, "the store works again", func() bool {
					return other.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}) == nil
				})
				assert.Equal(t, "ann", receive(t, "news", heard.changed))
			})
		})
	}
}
