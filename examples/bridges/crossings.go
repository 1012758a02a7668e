package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// cross crosses the bridge with a token that the server has just revoked without telling
// the client.
func cross(ctx context.Context, out io.Writer, transport *reauth.Transport, s *reauthtest.Server) error {
	s.ExpireAccess()
	answer, err := ask(ctx, transport, s.APIURL(pathWhoAmI))
	if err != nil {
		return err
	}
	counts := s.Counts()
	fmt.Fprintf(out, "%-18s  %-7s  %-9s  %s\n", "the bridge", "refused", "refreshes", "the answer")
	fmt.Fprintf(out, "%-18s  %7d  %9d  %s\n", "oauth2.TokenSource", counts.APIRefused, counts.Refreshes, answer)
	return nil
}

// ask shows what a TokenSource cannot do, and the workaround.
func ask(ctx context.Context, transport *reauth.Transport, url string) (string, error) {
	source := newTokenSource(ctx, transport)
	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
	status, _, err := get(ctx, client, url)
	if err != nil {
		return "", err
	}
	if status == http.StatusUnauthorized {
		if _, err := transport.Refresh(ctx, *source.handedOut.Load()); err != nil {
			return "", err
		}
	}
	_, user, err := get(ctx, client, url)
	return fmt.Sprintf("%d; after Transport.Refresh: hello %s", status, user), err
}

func get(ctx context.Context, client *http.Client, url string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
