package main

import (
	"github.com/reauth-go/reauth/examples/sdk/internal/service"
	"github.com/reauth-go/reauth/reauthtest"
)

const password = service.Password

// startService starts the orders service in this process.
func startService() *reauthtest.Server {
	s := reauthtest.New(reauthtest.Options{})
	service.Mount(s)
	return s
}
