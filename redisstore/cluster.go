package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// run runs a script. If the node of a cluster that has the keys does not answer, or is cut
// off from the others, one of them may have taken over from it. The client would find that
// out within a minute (ClusterOptions.ClusterStateReloadInterval), and try the same node
// until then. So run lets it ask now, and runs the script again if another node has the keys.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	cmd := script.Run(ctx, s.client, keys, args...)
	if cluster, ok := s.client.(*redis.ClusterClient); ok && deserted(cmd.Err()) && moved(ctx, cluster, keys[0]) {
		cmd = script.Run(ctx, s.client, keys, args...)
	}
	return cmd
}

// unanswered reports whether a call has failed without an answer of Redis.
func unanswered(err error) bool {
	_, answer := errors.AsType[redis.Error](err)
	return err != nil && !answer && !errors.Is(err, redis.ErrClosed)
}

// deserted reports whether err may come from a node that others have taken over from.
func deserted(err error) bool {
	return unanswered(err) || err != nil && code(err) == "CLUSTERDOWN"
}

// moved lets the client ask which nodes have which keys, and reports whether another has
// key now. If ctx is done, the client asks in the background.
func moved(ctx context.Context, cluster *redis.ClusterClient, key string) bool {
	if ctx.Err() != nil {
		cluster.ReloadState(ctx)
		return false
	}
	before := master(ctx, cluster, key)
	_ = cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }) // asks first
	return ctx.Err() == nil && master(ctx, cluster, key) != before
}

// master returns the address of the node that has key, as far as the client knows.
func master(ctx context.Context, cluster *redis.ClusterClient, key string) string {
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return ""
	}
	return node.Options().Addr
}
