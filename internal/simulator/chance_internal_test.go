package simulator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestChanceDoesNotDependOnWhatOthersAsk(t *testing.T) {
	alone, crowded := newChance(1), newChance(1)
	alone.began, crowded.began = time.Now(), time.Now()
	for range 10 {
		want := alone.of("p1", "refresh").next()
		crowded.of("p2", "refresh").next()
		crowded.of("p1", "Save").next()
		assert.Equal(t, want, crowded.of("p1", "refresh").next())
	}
	assert.NotEqual(t, newChance(1).of("p1", "refresh").next(), newChance(2).of("p1", "refresh").next())
}

func TestChanceIsEvenlySpread(t *testing.T) {
	c, hits := newChance(3), 0
	const throws = 10000
	for range throws {
		if c.of("p1", "refresh").percent(10) {
			hits++
		}
	}
	assert.InDelta(t, throws/10, hits, throws/50)
}
