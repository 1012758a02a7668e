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
	if s.moved(ctx, cmd.Err(), keys[0]) {
		cmd = script.Run(ctx, s.client, keys, args...)
	}
	return cmd
}

// A cluster is what a *redis.ClusterClient can do, and a type of the caller's that embeds one.
type cluster interface {
	ForEachMaster(ctx context.Context, fn func(ctx context.Context, node *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	ReloadState(ctx context.Context)
}

var _ cluster = (*redis.ClusterClient)(nil)

// unanswered reports whether a call has failed without an answer of Redis.
func unanswered(err error) bool {
	_, answer := errors.AsType[redis.Error](err)
	return err != nil && !answer && !errors.Is(err, redis.ErrClosed)
}

// deserted reports whether err may come from a node that others have taken over from.
func deserted(err error) bool {
	return unanswered(err) || err != nil && code(err) == "CLUSTERDOWN"
}

// moved reports whether a call has failed with err because another node of a cluster has key
// now. It lets the client ask which nodes have which keys, in the background if ctx is done.
func (s *Store) moved(ctx context.Context, err error, key string) bool {
	c, ok := s.client.(cluster)
	if !ok || !deserted(err) {
		return false
	}
	if ctx.Err() != nil {
		c.ReloadState(ctx)
		return false
	}
	before := master(ctx, c, key)
	_ = c.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }) // asks first
	return ctx.Err() == nil && master(ctx, c, key) != before
}

// master returns the address of the node that has key, as far as the client knows.
func master(ctx context.Context, c cluster, key string) string {
	node, err := c.MasterForKey(ctx, key)
	if err != nil {
		return ""
	}
	return node.Options().Addr
}
