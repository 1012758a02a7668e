package redisstore_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A pair is a master and the replica that takes over from it. The master has all keys of
// the tests.
type pair struct {
	master, replica *server
	addrs           []string // of the nodes, if it is part of a cluster
	nodes           []*redis.Client
	newClient       func() redis.UniversalClient
	order           func()      // asks for a failover
	hasten          func()      // makes a master that is dead be noticed soon
	settled         func() bool // whether all know that the replica is the master
}

// copier is the user as which the replica copies from the master.
const copier = "copier"

// dials is how often the clients dial a server that refuses connections, for each attempt.
// It is five by default, and takes half a second.
const dials = 1

// asCopier makes a server copy from its master as a user of its own, so that a test can
// end that.
var asCopier = []string{
	"--user", copier, "on", ">" + copier, "~*", "&*", "+@all", "--masteruser", copier, "--masterauth", copier,
	"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
}

// pairs are the two ways in which Redis fails over.
var pairs = map[string]func(testing.TB) *pair{"Cluster": startClusterPair, "Sentinel": startSentinelPair}

// firstSlot is the first of the pair's in a cluster.
const firstSlot = 2

// startClusterPair starts a cluster of three masters, as many as it takes to elect another.
// One has all slots but two, and a replica.
func startClusterPair(tb testing.TB) *pair {
	tb.Helper()
	servers := startNodes(tb, [][2]int{{firstSlot, slots - 1}, {0, 0}, {1, 1}}, []int{0},
		append([]string{"--cluster-replica-validity-factor", "0"}, asCopier...)...)
	p := &pair{master: servers[0], replica: servers[3]}
	for _, s := range servers {
		p.addrs = append(p.addrs, s.addr)
		p.nodes = append(p.nodes, s.client(tb))
	}
	setTimeout := func(ms string, nodes ...*redis.Client) {
		for _, node := range nodes {
			require.NoError(tb, node.ConfigSet(context.Background(), "cluster-node-timeout", ms).Err())
		}
	}
	setTimeout("60000", p.nodes...) // no failover only because the machine is busy
	p.newClient = func() redis.UniversalClient {
		return wrappedCluster{newClusterClient(tb, &redis.ClusterOptions{Addrs: p.addrs, DialerRetries: dials})}
	}
	p.order = func() { require.NoError(tb, p.replica.client(tb).ClusterFailover(tb.Context()).Err()) }
	p.hasten = func() { setTimeout("1000", p.nodes[1:]...) }
	p.settled = func() bool { return p.have(tb, p.replica.addr) }
	return p
}

// startSentinelPair starts a master, its replica, and a Sentinel.
func startSentinelPair(tb testing.TB) *pair {
	tb.Helper()
	const name = "sessions"
	p := &pair{master: startServer(tb, asCopier...)}
	p.replica = startServer(tb, append([]string{"--replicaof", "127.0.0.1 " + p.master.port}, asCopier...)...)
	p.awaitCopy(tb) // or Sentinel, which asks every ten seconds, sees it later
	sentinel := startSentinel(tb, name, p.master.port)
	admin := redis.NewSentinelClient(&redis.Options{Addr: sentinel.addr})
	tb.Cleanup(func() { _ = admin.Close() })
	p.newClient = func() redis.UniversalClient {
		client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: name, SentinelAddrs: []string{sentinel.addr}, DialerRetries: dials})
		tb.Cleanup(func() { _ = client.Close() })
		return client
	}
	eventually(tb, "Sentinel knows a replica that is in step", func() bool {
		replicas, err := admin.Replicas(tb.Context(), name).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
	p.order = func() { require.NoError(tb, admin.Failover(tb.Context(), name).Err()) }
	p.hasten = func() {
		require.NoError(tb, admin.Set(tb.Context(), name, "down-after-milliseconds", "1000").Err())
	}
	p.settled = func() bool {
		addr, err := admin.GetMasterAddrByName(tb.Context(), name).Result()
		return err == nil && net.JoinHostPort(addr[0], addr[1]) == p.replica.addr
	}
	return p
}

func startSentinel(tb testing.TB, name, master string) *server {
	tb.Helper()
	s := &server{port: freePort(tb), up: "+monitor master"}
	s.addr = net.JoinHostPort("127.0.0.1", s.port)
	config := filepath.Join(tb.TempDir(), "sentinel.conf") // which it rewrites
	require.NoError(tb, os.WriteFile(config, []byte(strings.Join([]string{
		"bind 127.0.0.1",
		"port " + s.port,
		"sentinel monitor " + name + " 127.0.0.1 " + master + " 1",
		"sentinel down-after-milliseconds " + name + " 60000", // no failover only because the machine is busy
		"sentinel failover-timeout " + name + " 5000",         // after twice that it tries again
		"",
	}, "\n")), 0o600))
	s.args = []string{config, "--sentinel"}
	tb.Cleanup(s.kill)
	s.start(tb)
	return s
}

// awaitTakeover waits until the replica has taken over.
func (p *pair) awaitTakeover(tb testing.TB) {
	tb.Helper()
	node := p.replica.client(tb)
	eventually(tb, "the replica takes over", func() bool {
		return replication(tb, node)["role"] == "master" && p.settled()
	})
}

// failOver lets the replica take over, in good order or because the master is killed.
func (p *pair) failOver(tb testing.TB, kill bool) {
	tb.Helper()
	if kill {
		p.kill()
	} else {
		p.order()
	}
	p.awaitTakeover(tb)
}

// kill kills the master.
func (p *pair) kill() {
	p.master.kill()
	p.hasten()
}

// isolate cuts a master off from its cluster, where the replica takes over. Clients still
// reach it.
func (p *pair) isolate(tb testing.TB) {
	tb.Helper()
	master, ctx := p.master.client(tb), tb.Context()
	for i, node := range p.nodes {
		if p.addrs[i] == p.master.addr {
			continue
		}
		id, err := node.Do(ctx, "cluster", "myid").Text()
		require.NoError(tb, err)
		require.NoError(tb, master.ClusterForget(ctx, id).Err())
	}
	eventually(tb, "it notices that it is alone", func() bool {
		return strings.Contains(master.ClusterInfo(ctx).Val(), "cluster_state:fail")
	})
	require.NoError(tb, p.replica.client(tb).Do(ctx, "cluster", "failover", "takeover").Err())
	p.awaitTakeover(tb)
}

// catchUp waits until the replica has all that was written until now.
func (p *pair) catchUp(tb testing.TB) {
	tb.Helper()
	offset := func(s *server, what string) int {
		n, err := strconv.Atoi(replication(tb, s.client(tb))[what])
		require.NoError(tb, err)
		return n
	}
	written := offset(p.master, "master_repl_offset")
	eventually(tb, "the replica catches up", func() bool { return offset(p.replica, "slave_repl_offset") >= written })
}

// cut ends the copying of what the master writes.
func (p *pair) cut(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, p.master.client(tb).Do(tb.Context(), "ACL", "DELUSER", copier).Err()) // which closes its connections
	p.awaitCutOff(tb)
}

// awaitCutOff waits until the master knows that it has no replica.
func (p *pair) awaitCutOff(tb testing.TB) {
	tb.Helper()
	master := p.master.client(tb)
	eventually(tb, "the master has no replica", func() bool { return replication(tb, master)["connected_slaves"] == "0" })
}

// awaitCopy waits until the replica copies what the master writes, and all know that.
func (p *pair) awaitCopy(tb testing.TB) {
	tb.Helper()
	master := p.master.client(tb)
	eventually(tb, "the replica is in step", func() bool {
		return strings.Contains(replication(tb, master)["slave0"], "state=online")
	})
	if p.addrs != nil {
		eventually(tb, "the cluster knows the replica", func() bool { return p.have(tb, p.master.addr, p.replica.addr) })
	}
}

// have reports whether all nodes, but a dead master, say that these have the slots of the
// pair, the master first.
func (p *pair) have(tb testing.TB, addrs ...string) bool {
	tb.Helper()
	for i, node := range p.nodes {
		if p.addrs[i] == p.master.addr && p.master.addr != addrs[0] {
			continue
		}
		known := owners(tb, node)[firstSlot]
		if !strings.Contains(node.ClusterInfo(tb.Context()).Val(), "cluster_state:ok") ||
			len(known) < len(addrs) || known[0] != addrs[0] {
			return false
		}
	}
	return true
}

// replication is what a server says about it.
func replication(tb testing.TB, node *redis.Client) map[string]string {
	tb.Helper()
	text, err := node.Info(tb.Context(), "replication").Result()
	if err != nil {
		tb.Log(err) // the callers try again
	}
	said := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		said[name] = value
	}
	return said
}
