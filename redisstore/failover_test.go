package redisstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
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
	require.NoError(t, server.Await(bounded(t), func(c reauthtest.Counts) bool { return c.Refreshes >= refreshes+1 }))
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
	for _, killed := range []bool{false, true} {
		for name, start := range pairs {
			t.Run(name+map[bool]string{false: "Ordered", true: "Killed"}[killed], func(t *testing.T) {
				t.Parallel()
				p := start(t)
				server := reauthtest.NewServer(t, reauthtest.Options{})
				programs := newPrograms(t, p, server, 3)
				release, answer := refreshing(t, server, programs[0])
				waiting := make(chan error, 1)
				go func() { waiting <- programs[1].get(context.WithoutCancel(t.Context())) }()
				other := reauth.WithSession(t.Context(), "bob")
				require.NoError(t, programs[2].transport.SignIn(other, reauth.Token(server.SignIn("bob"))))
				p.catchUp(t)

				clean := !killed && p.addrs != nil
				if !killed && !clean {
					refuseWrites(t, p.master.client(t)) // without a replica, or it would take writes that are lost
				}
				if killed {
					p.kill()
					require.NoError(t, programs[2].get(other), "a good token needs no Redis")
				} else {
					p.order()
				}
				p.awaitTakeover(t)
				release()
				require.NoError(t, receive(t, "the answer", answer))
				err := receive(t, "the answer of one that has waited", waiting)
				require.NotErrorIs(t, err, reauth.ErrSignInRequired)
				if clean {
					require.NoError(t, err)
				}
				works(t, programs)
				assert.Equal(t, 1, server.Counts().Refreshes)

				if killed {
					p.master.start(t) // empty, and until it is told otherwise, as a master
				}
				server.ExpireAccess()
				works(t, programs)
				assert.Equal(t, 2, server.Counts().Refreshes)
				assert.Zero(t, server.Counts().ReusesDetected)
			})
		}
	}
}

// A failover in good order, and back.
func TestSoakWithFailovers(t *testing.T) {
	p := startClusterPair(t)
	var failing sync.WaitGroup
	failing.Go(func() {
		for range 2 { // the masters don't vote for a third one so soon
			before := commands(t, p.master)
			eventually(t, "the fleet is at work", func() bool { return commands(t, p.master) > before+100 })
			p.failOver(t, false)
			p.master, p.replica = p.replica, p.master
			p.awaitCopy(t)
		}
	})
	defer failing.Wait()
	fleet.Soak(t, dsn(15*time.Second, p.addrs...))
}

// In a failover that Sentinel orders, the old master takes writes until it is told that it
// is a replica now. They are lost.
func TestAMasterWhoseReplicaIsPromotedGrantsLocks(t *testing.T) {
	for name, min := range map[string]string{"UnlessItNeedsAReplica": "1", "IfItNeedsNone": "0"} {
		t.Run(name, func(t *testing.T) {
			p := startSentinelPair(t)
			require.NoError(t, p.master.client(t).ConfigSet(t.Context(), "min-replicas-to-write", min).Err())
			store := newDeaf(p.newClient())
			require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
			require.NoError(t, p.replica.client(t).ReplicaOf(t.Context(), "no", "one").Err()) // as Sentinel does first
			p.awaitCutOff(t)
			_, unlock, err := store.Lock(bounded(t), "ann")
			if min == "1" {
				require.ErrorContains(t, err, "NOREPLICAS")
				return
			}
			require.NoError(t, err)
			unlock()
		})
	}
}

// underSentinel returns two programs that share a session, which the replica has.
func underSentinel(t *testing.T) (*pair, *reauthtest.Server, []program) {
	t.Helper()
	p := startSentinelPair(t)
	server := reauthtest.NewServer(t, reauthtest.Options{})
	programs := newPrograms(t, p, server, 2)
	p.catchUp(t)
	return p, server, programs
}

// This is what a failover costs if the last save was not copied.
func TestAFailoverThatLosesASaveSpendsATokenTwice(t *testing.T) {
	t.Parallel()
	p, server, programs := underSentinel(t)
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
}

// The process that has refreshed still knows the new token.
func TestAFailoverThatLosesASaveIsMendedByTheProcessThatSaved(t *testing.T) {
	t.Parallel()
	p, server, programs := underSentinel(t)
	p.cut(t)
	require.NoError(t, programs[0].get(t.Context()))
	p.failOver(t, true)

	server.ExpireAccess()
	works(t, programs)
	assert.Equal(t, 2, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected)
}

// This is what a failover costs if the lock was not copied.
func TestAFailoverThatLosesALockSpendsATokenTwice(t *testing.T) {
	t.Parallel()
	p, server, programs := underSentinel(t)
	p.cut(t)
	release, answer := refreshing(t, server, programs[0])
	p.failOver(t, true)
	second := make(chan error, 1)
	go func() { second <- programs[1].get(context.WithoutCancel(t.Context())) }()
	require.NoError(t, server.Await(bounded(t), func(c reauthtest.Counts) bool { return c.Refreshes >= 2 }))
	release()
	_, _ = receive(t, "an answer", answer), receive(t, "the answer of the other", second)
	assert.Equal(t, 1, server.Counts().ReusesDetected)
	for _, p := range programs {
		assert.Error(t, p.get(t.Context()), "the session is over")
	}
	require.NoError(t, programs[1].transport.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	works(t, programs)
}

// With min-replicas-to-write no lock is granted that no replica gets.
func TestAFailoverWithMinReplicasLosesNoLock(t *testing.T) {
	t.Parallel()
	p, server, programs := underSentinel(t)
	refuseWrites(t, p.master.client(t)) // without a replica
	p.cut(t)
	err := programs[0].get(t.Context())
	require.ErrorContains(t, err, "NOREPLICAS")
	require.NotErrorIs(t, err, reauth.ErrSignInRequired)
	require.Zero(t, server.Counts().Refreshes)
	p.failOver(t, true)
	works(t, programs)
	assert.Equal(t, 1, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected)
}

// A save that no replica gets is refused, and done where the replica has taken over.
func TestAFailoverWithMinReplicasLosesNoSave(t *testing.T) {
	for name, start := range pairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			server := reauthtest.NewServer(t, reauthtest.Options{})
			programs := newPrograms(t, p, server, 2)
			refuseWrites(t, p.master.client(t)) // without a replica
			release, answer := refreshing(t, server, programs[0])
			p.catchUp(t)
			p.cut(t)
			release()
			p.failOver(t, true)
			require.NoError(t, receive(t, "the answer", answer))
			works(t, programs)
			assert.Equal(t, 1, server.Counts().Refreshes)
			server.ExpireAccess()
			works(t, programs)
			assert.Equal(t, 2, server.Counts().Refreshes)
			assert.Zero(t, server.Counts().ReusesDetected)
		})
	}
}

// In a cluster a failover in good order leaves the connection as it is.
func TestWatchHearsAfterAFailover(t *testing.T) {
	for name, start := range pairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			heard := listen(t, redisstore.New(p.newClient(), nil))
			p.failOver(t, p.addrs != nil)
			receive(t, "that something may have been missed", heard.missed)
			other := redisstore.New(p.newClient(), nil)
			require.NoError(t, other.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
			assert.Equal(t, "ann", receive(t, "news", heard.changed))
		})
	}
}

// Clients reach the old master, which does not know that another has taken over.
func TestANodeThatIsCutOffFromItsClusterIsLeft(t *testing.T) {
	t.Parallel()
	p := startClusterPair(t)
	store := redisstore.New(p.newClient(), nil)
	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "1"}))
	heard := listen(t, redisstore.New(p.newClient(), nil))
	p.isolate(t)
	eventually(t, "the store works again", func() bool {
		return store.Save(t.Context(), "ann", reauth.Token{AccessToken: "2"}) == nil
	})
	receive(t, "that something may have been missed", heard.missed)
	other := redisstore.New(newClient(t, &redis.Options{Addr: p.replica.addr}), nil)
	eventually(t, "news is heard", func() bool {
		require.NoError(t, other.Save(t.Context(), "ann", reauth.Token{AccessToken: "3"}))
		return len(heard.changed) > 0
	})
}
