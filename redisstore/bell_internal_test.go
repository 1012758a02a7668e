package redisstore

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
)

// No subscription begins for the second visitor, which may have missed a message.
func TestASecondVisitorIsWokenAtOnce(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	defer client.Close()
	b := newBell(client, "")
	first, second, other := b.enter("ann", "1", ""), b.enter("ann", "2", ""), b.enter("bob", "3", "")
	assert.Empty(t, first.woken)
	assert.Len(t, second.woken, 1)
	assert.Empty(t, other.woken)
	first.leave()
	second.leave()
	other.leave()
}

// The message that a token was saved may come after somebody has found that token, and has
// not yet begun to wait.
func TestALateMessageAboutTheTokenThatAVisitorHasFoundIsNoChange(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	defer client.Close()
	b := newBell(client, "changed ")
	v := b.enter("ann", "1", "hash")
	b.ring("ann", "changed hash")
	assert.False(t, v.wait(t.Context(), 0))
	b.ring("ann", "changed another")
	assert.True(t, v.wait(t.Context(), 0))
	v.leave()
}
