package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

const (
	lifetime     = 3 * time.Second // of which oidc-provider, which counts in whole ones, cuts off up to one
	clientID     = "a program"
	clientSecret = "pass: w%rd + more" // of the client that server.mjs knows
	oidcProgram  = "internal/realservers/oidc/server.mjs"
)

// A server issues the tokens and is the API that takes them.
type server struct {
	url    string
	api    string // path
	signIn func(ctx context.Context, user string) (reauth.Token, error)
	counts func() (serverCounts, error)
	stop   func()
}

type serverCounts struct {
	Refreshed int // refreshes granted
	MostSpent int // how often the refresh token was presented that was presented most
}

func startServer(ctx context.Context, kind string) (*server, error) {
	switch kind {
	case "oidc":
		return startOIDC(ctx)
	case "builtin":
		return startBuiltin(), nil
	}
	return nil, fmt.Errorf("-server %q is neither oidc nor builtin", kind)
}

func startBuiltin() *server {
	s := reauthtest.New(reauthtest.Options{AccessLifetime: lifetime, ClientID: clientID, ClientSecret: clientSecret})
	listening := make(chan string)
	go serveHTTP(s, listening)
	return &server{
		url: <-listening, api: "/api/me",
		signIn: func(_ context.Context, user string) (reauth.Token, error) { return reauth.Token(s.SignIn(user)), nil },
		counts: func() (serverCounts, error) {
			c := s.Counts()
			return serverCounts{c.RefreshesGranted, c.MaxUsesOfOneRefreshToken}, nil
		},
		stop: s.Close,
	}
}

func startOIDC(ctx context.Context) (*server, error) {
	if _, err := os.Stat(oidcProgram); err != nil {
		return nil, fmt.Errorf("%w; run this from the project's root", err)
	}
	cmd := exec.Command("node", oidcProgram, fmt.Sprint(int(lifetime/time.Second)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() {
		_ = stdin.Close() // upon which it ends
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the program
			return &server{
				url: address, api: "/api/me", stop: stop,
				signIn: func(ctx context.Context, user string) (reauth.Token, error) { return signInOIDC(ctx, address, user) },
				counts: func() (c serverCounts, err error) {
					req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, address+"/_test/counts", nil)
					if err != nil {
						return c, err
					}
					return c, askJSON(req, &c)
				},
			}, nil
		}
	}
	stop()
	return nil, fmt.Errorf("%s does not say where it listens; are its packages installed?", oidcProgram)
}

func signInOIDC(ctx context.Context, address, user string) (reauth.Token, error) {
	form := url.Values{"grant_type": {"urn:reauth:sign-in"}, "username": {user}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return reauth.Token{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(clientSecret))
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	err = askJSON(req, &answer)
	return reauth.Token{AccessToken: answer.AccessToken, RefreshToken: answer.RefreshToken}, err
}

func askJSON(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
