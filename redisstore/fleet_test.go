package redisstore_test

import (
	"testing"
	"time"

	"github.com/reauth-go/reauth/internal/fleet"
)

func TestSoak(t *testing.T) {
	fleet.Soak(t, dsn(startServer(t).addr, 15*time.Second))
}

func TestAStoppedProcessDoesNotOverwriteANewerToken(t *testing.T) {
	const lease = 500 * time.Millisecond
	fleet.Stopped(t, dsn(startServer(t).addr, lease), lease)
}
