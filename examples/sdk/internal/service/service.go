// Package service is an orders service for tests and for the program shop.
package service

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/reauth-go/reauth/reauthtest"
)

// Password is the password of every user.
const Password = "correct horse"

type order struct {
	ID       int    `json:"id"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// Mount makes s an orders service by adding its handlers.
func Mount(s *reauthtest.Server) {
	s.HandlePublic("POST /v1/sign-in", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ User, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Password != Password {
			http.Error(w, "no such user, or another password", http.StatusUnauthorized)
			return
		}
		issued := s.SignIn(in.User)
		write(w, map[string]any{"access_token": issued.AccessToken, "refresh_token": issued.RefreshToken})
	}))

	var mu sync.Mutex
	placed := make(map[string][]order) // by user
	s.Handle("GET /v1/orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		write(w, placed[reauthtest.UserFromRequest(r)])
	}))
	s.Handle("POST /v1/orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in order
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Quantity < 1 {
			http.Error(w, "order one or more of something", http.StatusUnprocessableEntity)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		user := reauthtest.UserFromRequest(r)
		in.ID = len(placed[user]) + 1
		placed[user] = append(placed[user], in)
		write(w, in)
	}))
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only if the client has gone
}
