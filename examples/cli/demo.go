package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

const demoAddress = "127.0.0.1:8090"

type demoFlags struct {
	once     bool
	listen   string
	lifetime time.Duration
}

func (f *demoFlags) register(flags *flag.FlagSet) {
	flags.BoolVar(&f.once, "once", false, "")
	flags.StringVar(&f.listen, "listen", demoAddress, "")
	flags.DurationVar(&f.lifetime, "lifetime", 5*time.Second, "")
}

const instructions = `The demo's server is at %[1]s. Its access tokens live %[2]s, and a refresh
token that is used twice ends the session. In another terminal:

  alias notes='%[3]s'
  export NOTES_SERVER=%[1]s
  notes sign-in -user ann                         # any password but an empty one
  notes add buy tea
  for i in $(seq 20); do notes list & done; wait  # as often as you like

Below is what the server sees of it. Ctrl-C ends it, and all sessions with it.

`

// demo runs a server for the other commands until it is interrupted.
func demo(ctx context.Context, a *app) error {
	if a.demo.once {
		return once(ctx, a)
	}
	d, err := startDemo(a.demo.listen, reauthtest.Options{AccessLifetime: a.demo.lifetime})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		self = "notes"
	}
	fmt.Fprintf(a.stdout, instructions, d.tokens.URL, a.demo.lifetime, self)
	watch(ctx, d.tokens, a.stdout)
	return d.stop()
}

// watch prints events until ctx is done.
func watch(ctx context.Context, s *reauthtest.Server, out io.Writer) {
	seen := s.Counts()
	for {
		err := s.Await(ctx, func(c reauthtest.Counts) bool {
			return c.SignIns+c.RefreshesGranted+c.SessionsRevoked > seen.SignIns+seen.RefreshesGranted+seen.SessionsRevoked
		})
		if err != nil {
			return
		}
		now := s.Counts()
		fmt.Fprintf(out, "%s  sign-ins %d, requests answered %d, renewals %d, tokens used twice %d\n",
			time.Now().Format(time.TimeOnly), now.SignIns, now.APISucceeded, now.RefreshesGranted, now.ReusesDetected)
		seen = now
	}
}

// A demoServer is a service that keeps notes, and a token server.
type demoServer struct {
	tokens *reauthtest.Server
	http   *http.Server
	served chan error
}

func startDemo(address string, opts reauthtest.Options) (*demoServer, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	tokens := reauthtest.New(opts)
	tokens.URL = "http://" + listener.Addr().String()
	keepNotes(tokens)
	d := &demoServer{tokens: tokens, http: &http.Server{Handler: tokens}, served: make(chan error, 1)}
	go func() { d.served <- d.http.Serve(listener) }()
	return d, nil
}

// stop waits for requests in progress.
func (d *demoServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := d.http.Shutdown(ctx)
	d.tokens.Close()
	if served := <-d.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// keepNotes adds the handlers of the notes service.
func keepNotes(s *reauthtest.Server) {
	s.HandlePublic("POST /sign-in", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ User, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.User == "" || in.Password == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		issued := s.SignIn(in.User)
		write(w, map[string]any{"access_token": issued.AccessToken, "refresh_token": issued.RefreshToken})
	}))
	s.Handle("GET /me", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write(w, map[string]string{"user": reauthtest.UserFromRequest(r)})
	}))

	var mu sync.Mutex
	kept := make(map[string][]note) // by user
	s.Handle("GET /notes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		write(w, kept[reauthtest.UserFromRequest(r)])
	}))
	s.Handle("POST /notes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in note
		if json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		user := reauthtest.UserFromRequest(r)
		in.Number = len(kept[user]) + 1
		kept[user] = append(kept[user], in)
		write(w, in)
	}))
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only if the client has gone
}
