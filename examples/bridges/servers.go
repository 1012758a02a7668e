package main

import (
	"io"
	"net/http"

	"github.com/reauth-go/reauth/reauthtest"
)

const pathWhoAmI = "/whoami" // returns whose token it is

// serve adds what the library calls to s.
func serve(s *reauthtest.Server) {
	s.Handle(pathWhoAmI, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, reauthtest.UserFromRequest(r))
	}))
}
