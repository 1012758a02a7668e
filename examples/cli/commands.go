package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"
)

// withSession makes a command from a function that needs the session.
func withSession(command func(context.Context, *app, *session) error) func(context.Context, *app) error {
	return func(ctx context.Context, a *app) error {
		s, err := open(a.server, a.store, a.dir)
		if err != nil {
			return err
		}
		err = command(ctx, a, s)
		return errors.Join(err, s.finish(ctx, a.stderr))
	}
}

func signIn(ctx context.Context, a *app, s *session) error {
	if a.user == "" {
		return usageError("sign-in needs -user")
	}
	password, err := readPassword(ctx, a.stdin, a.stderr, fmt.Sprintf("Password of %s at %s: ", a.user, s.server))
	if err != nil {
		return err
	}
	if err := s.signIn(ctx, a.user, password, a.stderr); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Signed in to %s. Your session is kept %s.\n", s.server, s.place)
	return nil
}

func signOut(ctx context.Context, a *app, s *session) error {
	if err := s.handle.SignOut(ctx); err != nil {
		return fmt.Errorf("you are signed out, but not everywhere: %v", err)
	}
	fmt.Fprintf(a.stdout, "Signed out of %s.\n", s.server)
	return nil
}

func status(ctx context.Context, a *app, s *session) error {
	ok, err := s.handle.SignedIn(ctx)
	if err != nil {
		return fmt.Errorf("your session cannot be read: %v", err)
	}
	if !ok {
		return errNotSignedIn
	}
	fmt.Fprintf(a.stdout, "Signed in to %s. Your session is kept %s.\n", s.server, s.place)
	return nil
}

func whoami(ctx context.Context, a *app, s *session) error {
	var me struct {
		User string `json:"user"`
	}
	if err := s.call(ctx, http.MethodGet, "/me", nil, &me); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, printable(me.User))
	return nil
}

func add(ctx context.Context, a *app, s *session) error {
	if len(a.args) == 0 {
		return usageError("add what?")
	}
	var n note
	if err := s.call(ctx, http.MethodPost, "/notes", note{Text: strings.Join(a.args, " ")}, &n); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Kept as number %d.\n", n.Number)
	return nil
}

func list(ctx context.Context, a *app, s *session) error {
	var all []note
	if err := s.call(ctx, http.MethodGet, "/notes", nil, &all); err != nil {
		return err
	}
	for _, n := range all {
		fmt.Fprintf(a.stdout, "%4d  %s\n", n.Number, printable(n.Text))
	}
	return nil
}

// printable returns text of the server without characters that would change the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

type note struct {
	Number int    `json:"number,omitzero"`
	Text   string `json:"text"`
}

// call sends a request as any program does. It does not handle expired tokens.
func (s *session) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.server+path, body)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return newAnswerError(resp)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
