package redisstore

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A bell wakes waiters when a lock is released or a token has changed. While there are
// waiters, it has one connection for all of them.
type bell struct {
	client redis.UniversalClient
	mark   string // begins the message that the token has changed

	mu        sync.Mutex
	rooms     map[string]*room // by channel
	listening bool             // whether listen is running
	changed   chan struct{}    // tells listen to check again; of size 1
}

// A room holds the waiters for one lock.
type room struct {
	visitors   map[*visitor]struct{}
	subscribed bool // or about to be; listen removes the room when it no longer is
}

// A visitor is one waiter.
type visitor struct {
	bell    *bell
	channel string
	name    string
	hash    string        // of the token when it began to wait
	woken   chan struct{} // of size 1
	changed bool          // the token has; guarded by bell.mu
}

func newBell(client redis.UniversalClient, mark string) *bell {
	return &bell{client: client, mark: mark, rooms: make(map[string]*room), changed: make(chan struct{}, 1)}
}

// enter adds a visitor called name that is woken by messages in channel from now on. hash
// is of the token that it has found, whose message may come only now.
// Messages from before the subscription began are not lost, because its beginning wakes
// visitors, too. A visitor that finds it begun is woken at once.
func (b *bell) enter(channel, name, hash string) *visitor {
	v := &visitor{bell: b, channel: channel, name: name, hash: hash, woken: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[channel]
	if r == nil {
		r = &room{visitors: make(map[*visitor]struct{})}
		b.rooms[channel] = r
	} else {
		v.wake()
	}
	r.visitors[v] = struct{}{}
	b.notify()
	return v
}

// leave ends the visit.
func (v *visitor) leave() {
	b := v.bell
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rooms[v.channel].visitors, v)
	b.notify()
}

// wait returns when the visitor is woken, patience has passed, or ctx is done. The result
// is whether the token has changed.
func (v *visitor) wait(ctx context.Context, patience time.Duration) (changed bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-v.woken:
	case <-timer.C:
	case <-ctx.Done():
	}
	v.bell.mu.Lock()
	defer v.bell.mu.Unlock()
	return v.changed
}

func (v *visitor) wake() { signal(v.woken) }

// notify makes sure that listen notices a change. b.mu is held.
func (b *bell) notify() {
	if !b.listening {
		b.listening = true
		go b.listen() // ends when there are no visitors
	}
	signal(b.changed)
}

// listen keeps the subscriptions in step with the visitors. Only listen talks to Redis
// about them, because that can take as long as opening a connection. If the client, or
// one of its hooks, panics, waiters poll until a visitor enters or leaves.
func (b *bell) listen() {
	ctx := context.Background() // the client's timeouts bound each step
	var pubsub *redis.PubSub
	var hearing sync.WaitGroup
	done := false
	defer func() {
		if !done {
			_ = recover() // or runtime.Goexit
			b.reset()
		}
		if pubsub != nil {
			_ = pubsub.Close()
			hearing.Wait()
		}
	}()
	for {
		added, removed, idle := b.plan()
		if idle {
			done = true
			return
		}
		// Errors are ignored, because the client keeps trying to subscribe. Until it
		// succeeds, waiters poll.
		switch {
		case pubsub == nil:
			pubsub = b.client.Subscribe(ctx, added...)
			rung := pubsub.ChannelWithSubscriptions()
			hearing.Go(func() { b.hear(rung) })
		case len(added) > 0:
			_ = pubsub.Subscribe(ctx, added...)
		}
		if len(removed) > 0 {
			_ = pubsub.Unsubscribe(ctx, removed...)
		}
		<-b.changed
	}
}

// reset is called when listen must end while there are visitors. The next one starts
// over.
func (b *bell) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listening = false
	for _, r := range b.rooms {
		r.subscribed = false
	}
}

// plan returns which channels to subscribe to and which to unsubscribe from, or that
// there are no visitors, in which case listen must end.
func (b *bell) plan() (added, removed []string, idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	idle = true
	for channel, r := range b.rooms {
		switch {
		case len(r.visitors) == 0:
			delete(b.rooms, channel)
			if r.subscribed {
				removed = append(removed, channel)
			}
			continue
		case !r.subscribed:
			r.subscribed = true
			added = append(added, channel)
		}
		idle = false
	}
	if idle {
		b.listening = false
	}
	return added, removed, idle
}

// hear wakes visitors until the subscriptions end. A subscription that begins, also
// after a lost connection was replaced, counts as a message, because one may have been
// missed before.
func (b *bell) hear(rung <-chan any) {
	for m := range rung {
		switch m := m.(type) {
		case *redis.Message:
			b.ring(m.Channel, m.Payload)
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				b.ring(m.Channel, "")
			}
		}
	}
}

// ring passes a message on to those whom it concerns. An empty one is for all.
func (b *bell) ring(channel, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[channel]
	if r == nil {
		return
	}
	hash, isChange := strings.CutPrefix(message, b.mark)
	for v := range r.visitors {
		switch {
		case isChange && hash == v.hash: // it has found that token
			continue
		case isChange:
			v.changed = true
		case message != "" && message != v.name:
			continue
		}
		v.wake()
	}
}

// signal puts a value into a channel of size 1, unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
