package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// The client that the demo's token server knows.
const (
	demoPassword     = "demo"
	demoClientID     = "bff"
	demoClientSecret = "the demo's backend" // not a secret, because it is public here
)

var demoUsers = []string{"ann", "bob", "eve"}

// newDemo returns a token server and the API that it protects, which is below /v1.
// A refresh revokes the previous access token at once, so that calls under way are
// refused, as with a strict server.
func newDemo(lifetime time.Duration) *reauthtest.Server {
	s := reauthtest.New(reauthtest.Options{
		AccessLifetime:    lifetime,
		RefreshEndsAccess: true,
		RefreshLatency:    60 * time.Millisecond,
		APILatency:        30 * time.Millisecond,
		ClientID:          demoClientID,
		ClientSecret:      demoClientSecret,
	})
	s.Handle("POST /v1/demo/expire", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ExpireAccess(reauthtest.UserFromRequest(r))
		w.WriteHeader(http.StatusNoContent)
	}))
	s.Handle("POST /v1/demo/revoke", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Revoke(reauthtest.UserFromRequest(r))
		w.WriteHeader(http.StatusNoContent)
	}))
	return s
}

// checkPassword accepts only the users of the demo, because a reauthtest.Server accepts
// any user.
func checkPassword(s *reauthtest.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" && r.PostFormValue("grant_type") == "password" {
			known := slices.Contains(demoUsers, r.PostFormValue("username"))
			if !known || r.PostFormValue("password") != demoPassword {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
				return
			}
		}
		s.ServeHTTP(w, r)
	})
}
