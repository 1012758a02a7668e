//go:build unix

package main

import (
	"crypto/rand"
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
	"github.com/reauth-go/reauth/internal/postgres"
)

var shared struct {
	once   sync.Once
	server *postgres.Server
}

// sharedPostgres returns the server of all tests that don't stop it.
func sharedPostgres(t *testing.T) *postgres.Server {
	t.Helper()
	shared.once.Do(func() { shared.server = newPostgres(t) })
	if shared.server == nil {
		needs.Skip(t, "PostgreSQL has not started")
	}
	return shared.server
}

// newPostgres starts a server, which ends with the process.
func newPostgres(t *testing.T) *postgres.Server {
	t.Helper()
	return postgres.New(t, "fsync = off")
}

// newDatabase returns the address of an empty database on the server of all tests.
func newDatabase(t *testing.T) string {
	t.Helper()
	return newDatabaseOn(t, sharedPostgres(t))
}

func newDatabaseOn(t *testing.T, server *postgres.Server) string {
	t.Helper()
	db, err := sql.Open("pgx", server.Address("postgres"))
	require.NoError(t, err)
	defer db.Close()
	name := "test_" + strings.ToLower(rand.Text())
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	return server.Address(name)
}
