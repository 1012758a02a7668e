package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/reauth-go/reauth"
)

// pace is the interval between requests, and the pause after a refresh that failed
// temporarily.
const (
	pace  = 100 * time.Millisecond
	pause = time.Second
)

// work asks the API until the token has been renewed often enough, or ctx is done. It does
// not handle tokens. If it returns [reauth.ErrSignInRequired], call it again after the
// user has signed in.
func (s *session) work(ctx context.Context, renewals int, out *page) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for !out.renewedOften(renewals) && ctx.Err() == nil {
		select {
		case <-next.C:
		case <-ctx.Done():
			continue
		}
		next.Reset(pace)
		text, err := s.ask(ctx)
		failed, isRefresh := errors.AsType[*reauth.RefreshError](err)
		switch {
		case err == nil:
			out.answered(text)
		case ctx.Err() != nil: // and that is all
		case errors.Is(err, reauth.ErrSignInRequired):
			return err
		case isRefresh: // a temporary failure
			out.lost(err)
			next.Reset(max(failed.RetryAfter, pause))
		default:
			return err
		}
	}
	out.sum()
	return nil
}

func (s *session) ask(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.apiURL, nil)
	if err != nil {
		return "", err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("the API says %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)) // resp.Status may change the terminal
	}
	return string(text), nil
}
