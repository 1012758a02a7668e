package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/jsonauth"
	"github.com/reauth-go/reauth/keyringstore"
	"github.com/reauth-go/reauth/oauth"
)

const patience = time.Minute

// A session is the session of the user with one server.
type session struct {
	server    string
	place     string // where the session is kept
	transport *reauth.Transport
	handle    *reauth.Session
	client    *http.Client // puts the token on its requests
}

// open opens the session. A shared store that locks is all that is needed for any number
// of runs at once.
func open(server, store, dir string) (*session, error) {
	kept, place, err := openStore(store, dir)
	if err != nil {
		return nil, err
	}
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL:      server + "/token",
			RevocationURL: server + "/revoke",
			ClientID:      "notes",
		},
		Origins: []string{server},
		Store:   kept,
	})
	if err != nil {
		return nil, err
	}
	// Sessions are named after their servers, so that there can be one with each.
	handle := transport.Session(server)
	return &session{
		server:    server,
		place:     place,
		transport: transport,
		handle:    handle,
		client:    &http.Client{Transport: handle, Timeout: patience},
	}, nil
}

func openStore(store, dir string) (_ reauth.Store, place string, err error) {
	switch store {
	case "file":
		if dir == "" {
			config, err := os.UserConfigDir()
			if err != nil {
				return nil, "", fmt.Errorf("there is no folder for your session; choose one with -dir: %w", err)
			}
			dir = filepath.Join(config, "notes", "sessions")
		}
		kept, err := filestore.New(dir, nil)
		return kept, "in the folder " + dir, err
	case "keychain":
		kept, err := keyringstore.New("notes", nil)
		return kept, "in the system's keychain", err
	}
	return nil, "", usageError(fmt.Sprintf("the store is file or keychain, not %q", store))
}

// signIn asks the server for the first token. If users sign in with a browser, use
// golang.org/x/oauth2 for this part.
func (s *session) signIn(ctx context.Context, user, password string, stderr io.Writer) error {
	entrance := &jsonauth.Endpoint{URL: s.server + "/sign-in", Client: &http.Client{Timeout: patience}}
	tok, err := entrance.Exchange(ctx, map[string]string{"user": user, "password": password})
	if errors.Is(err, reauth.ErrSignInRequired) {
		return errWrongPassword
	}
	if failed, ok := errors.AsType[*reauth.RefreshError](err); ok {
		return answerError{failed.StatusCode, failed.RetryAfter}
	}
	if err != nil {
		return err
	}
	// The server would not learn that a session was only replaced.
	ended := s.handle.SignOut(ctx)
	if err := s.handle.SignIn(ctx, tok); err != nil {
		return fmt.Errorf("your session cannot be kept: %v", err)
	}
	if ended != nil {
		fmt.Fprintf(stderr, "notes: the session before has not ended everywhere: %v\n", ended)
	}
	return nil
}

// finish returns when the session is safe. Until then the server may have replaced a token
// that the store still has. It is called before the program ends, for whatever reason.
func (s *session) finish(ctx context.Context, stderr io.Writer) error {
	waiting, cancel := context.WithTimeoutCause(ctx, patience, errNotSafe)
	defer cancel()
	err := s.transport.Wait(waiting) // nil if there is nothing to wait for, even if ctx is done
	if err == nil || !interrupted(ctx) {
		return err
	}
	fmt.Fprintln(stderr, "notes: the renewal of your session is in progress; interrupt again to end at once")
	waiting, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), patience, errNotSafe)
	defer cancel()
	return s.transport.Wait(waiting)
}
