package redisstore_test

import (
	"testing"
	"time"

	"github.com/reauth-go/reauth/internal/fleet"
)

func TestSoak(t *testing.T) {
	fleet.Soak(t, dsn(15*time.Second, startServer(t).addr))
}

func TestASignOutReachesAllProcesses(t *testing.T) {
	fleet.SignOutReachesAll(t, dsn(15*time.Second, startServer(t).addr), 0)
}

func TestAStoppedProcessDoesNotOverwriteANewerToken(t *testing.T) {
	const lease = 500 * time.Millisecond
	fleet.Stopped(t, dsn(lease, startServer(t).addr), lease)
}
