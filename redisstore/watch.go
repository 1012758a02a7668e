package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Watch tells what other processes do with the sessions in the store, until ctx is done. It
// calls changed with the name of each session whose token somebody else has saved or
// deleted. It calls missed when such news may have been lost, which includes the moment
// when it begins to hear, and each time a lost connection was replaced. The calls come one
// at a time.
//
//	go store.Watch(ctx, tr.Forget, tr.ForgetAll)
//
// What this Store has written itself causes no call. Another Store, also in this process,
// is somebody else. A token that expires by Options.TTL, or that Redis evicts, is no news.
//
// In a cluster the nodes pass the messages on to each other, and lose some while a link
// between two of them is broken. Other processes then notice at their next refresh.
//
// Watch has a connection of its own. If that is lost it is replaced, at the latest after six
// seconds of silence. So it is if a failover has left it behind, with a server that is not
// the master any more. If changed and missed take their time, the messages wait.
//
// The error is the cause of ctx. It comes at once if an argument is invalid, if the Redis
// user may not subscribe to the channel, or if what the client is connected to has no
// Pub/Sub, as some proxies. Report it, because everything else works without Watch.
func (s *Store) Watch(ctx context.Context, changed func(session string), missed func()) error {
	errs := []error{s.bad}
	if changed == nil {
		errs = append(errs, errors.New("redisstore: Watch: changed is nil"))
	}
	if missed == nil {
		errs = append(errs, errors.New("redisstore: Watch: missed is nil"))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w := &watch{store: s, changed: changed, missed: missed}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		began := time.Now()
		err := w.hear(ctx)
		_ = s.moved(ctx, err, s.changes()) // or Watch would connect to the same node again
		switch {
		case ctx.Err() != nil:
			return failed("watch", s.changes(), context.Cause(ctx))
		case code(err) == "NOPERM", unsupported(err), errors.Is(err, redis.ErrClosed):
			return failed("watch", s.changes(), harmless(err))
		case time.Since(began) > longestPause:
			pause = firstPause
		}
		sleep(ctx, pause-rand.N(pause/2))
	}
}

// unsupported reports whether the answer was that there is no such command. Proxies say so
// in words of their own: "ERR unknown command", "ERR unsupported command `subscribe`",
// "unsupported command 'subscribe'".
func unsupported(err error) bool {
	if _, ok := errors.AsType[redis.Error](err); !ok {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unsupported command")
}

// A watch is one call of Watch.
type watch struct {
	store   *Store
	changed func(session string)
	missed  func()
}

// silence is how long nothing may be heard before Watch checks whether it would hear a
// message, and then how long that may take.
const silence = 3 * time.Second

var errSilent = errors.New("the connection is silent")

// hear passes on what it hears from one connection until that is lost. The client would
// notice only if it is closed, and not if it is silent.
func (w *watch) hear(ctx context.Context) error {
	pubsub := w.store.client.Subscribe(ctx) // to nothing, so it does not connect
	defer pubsub.Close()
	_, err := do(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, pubsub.Subscribe(ctx, w.store.changes())
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })() // which ends a read
	for asked := false; ; {
		patience := silence
		if !asked { // what one of those who watch sends is a sign for all, so not all send one
			patience -= rand.N(silence / 2)
		}
		heard, err := pubsub.ReceiveTimeout(ctx, patience)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && ctx.Err() == nil {
			if asked {
				return errSilent
			}
			asked = true
			err = w.ask(ctx, pubsub)
			heard = nil
		}
		if err != nil {
			return err
		}
		if heard != nil {
			asked = false
			w.pass(heard)
		}
	}
}

// ask sends an empty message where a Save would send one. It does not reach a connection
// that was left behind: to a server that is the master no longer, or to a node that is
// cut off from its cluster. Such a server would still answer a ping.
func (w *watch) ask(ctx context.Context, pubsub *redis.PubSub) error {
	s := w.store
	within, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, err := do(within, func(ctx context.Context) (int64, error) {
		return s.run(ctx, ringScript, []string{s.changes()}).Int64()
	})
	if err == nil || unanswered(err) || unready(err) {
		return err
	}
	return pubsub.Ping(ctx) // it may not publish, so this has to do
}

// pass passes on what was heard.
func (w *watch) pass(heard any) {
	switch m := heard.(type) {
	case *redis.Subscription:
		w.missed()
	case *redis.Message:
		if id := w.store.id; len(m.Payload) >= len(id) && !strings.HasPrefix(m.Payload, id) {
			w.changed(m.Payload[len(id):])
		}
	}
}
