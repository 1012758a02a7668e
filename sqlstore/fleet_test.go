//go:build unix

package sqlstore_test

import (
	"testing"
	"time"

	"github.com/reauth-go/reauth/internal/fleet"
)

func TestEightProcessesShareASession(t *testing.T) {
	onEach(t, func(t *testing.T, d database) { fleet.Soak(t, d.fleetDSN(fleetLease)) })
}

func TestASignOutReachesAllProcesses(t *testing.T) {
	onEach(t, func(t *testing.T, d database) { fleet.SignOutReachesAll(t, d.fleetDSN(fleetLease), time.Second) })
}

func TestAStoppedProcessDoesNotOverwriteANewerToken(t *testing.T) {
	onEach(t, func(t *testing.T, d database) { fleet.Stopped(t, d.fleetDSN(fleetLease), fleetLease) })
}
