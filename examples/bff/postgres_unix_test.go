//go:build unix

package main

import (
	"testing"

	"github.com/reauth-go/reauth/internal/postgres"
)

func TestTwoReplicasOnPostgreSQLRefreshOnce(t *testing.T) {
	server := postgres.New(t, "fsync = off")
	t.Cleanup(server.Stop)
	testTwoReplicasRefreshOnce(t, server.Address("postgres"))
}
