package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/redisstore"
)

// patience is how long tests wait for anything. A Sentinel whose machine has stood still for
// two seconds does nothing for thirty (its TILT mode).
const patience = 90 * time.Second

func TestMain(m *testing.M) { fleet.Main(m, openFleet) }

// A server is a redis-server that a test has started.
type server struct {
	addr string
	port string
	args []string
	up   string // what it prints once it is up
	cmd  *exec.Cmd
}

// startServer starts a server that keeps nothing on disk, unless args say otherwise. It
// ends with the test.
func startServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	s := &server{port: freePort(tb), up: "Ready to accept connections"}
	s.addr = net.JoinHostPort("127.0.0.1", s.port)
	s.args = append([]string{
		"--bind", "127.0.0.1", "--port", s.port, "--dir", tb.TempDir(), "--save", "", "--appendonly", "no",
	}, args...)
	tb.Cleanup(s.kill)
	s.start(tb)
	return s
}

func freePort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (s *server) start(tb testing.TB) {
	tb.Helper()
	s.cmd = exec.Command(needs.Program(tb, "redis-server", "apt-get install redis-server"), s.args...)
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, s.cmd.Start())
	lines := bufio.NewScanner(stdout)
	var log strings.Builder
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), s.up) {
			go func() { // ends with the process
				for lines.Scan() {
				}
			}()
			return
		}
	}
	require.FailNow(tb, "redis-server did not start", log.String())
}

// kill ends the process immediately.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil && s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// client returns a client of the server.
func (s *server) client(tb testing.TB) *redis.Client {
	tb.Helper()
	return newClient(tb, &redis.Options{Addr: s.addr})
}

func newClient(tb testing.TB, opts *redis.Options) *redis.Client {
	tb.Helper()
	client := redis.NewClient(opts)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// onEach runs a test on a single server and on a cluster of three masters. newClient
// returns a new client of it.
func onEach(t *testing.T, test func(t *testing.T, newClient func() redis.UniversalClient)) {
	t.Helper()
	t.Run("Client", func(t *testing.T) {
		s := startServer(t)
		test(t, func() redis.UniversalClient { return s.client(t) })
	})
	t.Run("Cluster", func(t *testing.T) {
		addrs := startCluster(t, 3, 0)
		test(t, func() redis.UniversalClient { return newClusterClient(t, &redis.ClusterOptions{Addrs: addrs}) })
	})
}

// slots is how many a cluster has.
const slots = 16384

// startCluster starts a cluster of masters, each with as many replicas, and returns
// the address of each node, the masters' first.
func startCluster(tb testing.TB, masters, replicas int) []string {
	tb.Helper()
	ranges, of := make([][2]int, masters), make([]int, masters*replicas)
	for i := range ranges {
		ranges[i] = [2]int{i * slots / masters, (i+1)*slots/masters - 1}
	}
	for i := range of {
		of[i] = i % masters
	}
	var addrs []string
	for _, s := range startNodes(tb, ranges, of) {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// startNodes starts the nodes of a cluster: masters, each with a range of slots, and then
// the replicas of those that are listed. More args are for each node.
func startNodes(tb testing.TB, ranges [][2]int, replicas []int, args ...string) []*server {
	tb.Helper()
	ctx, masters := tb.Context(), len(ranges)
	// A node drops the link to another that has not answered for half of this, and then
	// loses messages to it. That should not happen only because the machine is busy.
	timeout := "30000"
	if len(replicas) > 0 {
		timeout = "2000" // so that they take over
	}
	var servers []*server
	var nodes []*redis.Client
	for i := range masters + len(replicas) {
		bus := freePort(tb)
		s := startServer(tb, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", timeout,
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}, args...)...)
		node := s.client(tb)
		require.NoError(tb, node.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		if i < masters {
			require.NoError(tb, node.ClusterAddSlotsRange(ctx, ranges[i][0], ranges[i][1]).Err())
		}
		for _, other := range nodes { // they would also find each other, but that takes seconds
			require.NoError(tb, other.Do(ctx, "cluster", "meet", "127.0.0.1", s.port, bus).Err())
		}
		nodes = append(nodes, node)
		servers = append(servers, s)
	}
	agree(tb, nodes, len(nodes), masters)
	copies := make(map[int]int) // by the first slot of the master
	for i, master := range replicas {
		copies[ranges[master][0]]++
		id, err := nodes[master].Do(ctx, "cluster", "myid").Text()
		require.NoError(tb, err)
		require.NoError(tb, nodes[masters+i].ClusterReplicate(ctx, id).Err())
	}
	agree(tb, nodes, len(nodes), masters)
	for _, node := range nodes {
		eventually(tb, "the cluster knows that the replicas are in step", func() bool {
			known := owners(tb, node)
			for first, addrs := range known {
				if len(addrs) != 1+copies[first] {
					return false
				}
			}
			return len(known) == masters
		})
	}
	return servers
}

// owners returns which nodes have which slots, by the first slot of each range, as far as
// node knows. The master is the first.
func owners(tb testing.TB, node *redis.Client) map[int][]string {
	tb.Helper()
	ranges, err := node.Do(tb.Context(), "cluster", "slots").Slice()
	if err != nil {
		tb.Log(err) // the callers try again
	}
	known := make(map[int][]string)
	for _, r := range ranges { // each is its first slot, its last slot, and its nodes
		r := r.([]any)
		first := int(r[0].(int64))
		for _, n := range r[2:] {
			n := n.([]any) // address, port, and more
			known[first] = append(known[first], fmt.Sprintf("%v:%v", n[0], n[1]))
		}
	}
	return known
}

// agree waits until all nodes of a cluster know each other and serve all slots.
func agree(tb testing.TB, nodes []*redis.Client, known, masters int) {
	tb.Helper()
	for _, node := range nodes {
		eventually(tb, "the cluster comes together", func() bool {
			info := node.ClusterInfo(tb.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", known)) &&
				strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", masters))
		})
	}
}

func newClusterClient(tb testing.TB, opts *redis.ClusterOptions) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(opts)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// eventually waits until a condition outside this process holds.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	require.Eventually(tb, is, patience, 10*time.Millisecond, what)
}

// A dsn describes to a process of a fleet how to open the store: on a server, or on a
// cluster if there are several addresses.
func dsn(lease time.Duration, addrs ...string) string {
	return url.Values{"lease": {lease.String()}, "addr": addrs}.Encode()
}

func openFleet(dsn string) (reauth.Store, error) {
	q, err := url.ParseQuery(dsn)
	if err != nil {
		return nil, err
	}
	lease, err := time.ParseDuration(q.Get("lease"))
	if err != nil {
		return nil, err
	}
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: q["addr"]})
	return redisstore.New(client, &redisstore.Options{Lease: lease}), nil
}

func bounded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}
