//go:build unix

package main

import (
	"testing"

	"github.com/reauth-go/reauth/internal/postgres"
)

func TestTwoReplicasOnPostgreSQLRefreshOnce(t *testing.T) {
	server := postgres.New(t, "bff")
	t.Cleanup(func() { server.Stop(t) })
	testTwoReplicasRefreshOnce(t, server.Address("postgres"))
}
