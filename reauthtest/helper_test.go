package reauthtest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// An answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any // nil if the text is no JSON object
	proto  string
}

func (a answer) string(member string) string {
	s, _ := a.json[member].(string)
	return s
}

// send sends the request and reads the answer.
func send(s *reauthtest.Server, req *http.Request) (answer, error) {
	resp, err := s.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{status: resp.StatusCode, header: resp.Header, text: string(body), proto: resp.Proto}
	_ = json.Unmarshal(body, &out.json)
	return out, nil
}

// tryCall requests a path of the API with an access token, "" for none.
func tryCall(ctx context.Context, s *reauthtest.Server, path, token string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL(path), nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return send(s, req)
}

func call(t *testing.T, s *reauthtest.Server, path, token string) answer {
	t.Helper()
	out, err := tryCall(t.Context(), s, path, token)
	require.NoError(t, err)
	return out
}

// tryPost posts a form given as pairs of name and value.
func tryPost(ctx context.Context, s *reauthtest.Server, to string, pairs ...string) (answer, error) {
	form := make(url.Values)
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(s, req)
}

func post(t *testing.T, s *reauthtest.Server, to string, pairs ...string) answer {
	t.Helper()
	out, err := tryPost(t.Context(), s, to, pairs...)
	require.NoError(t, err)
	return out
}

func tryRefresh(ctx context.Context, s *reauthtest.Server, token string) (answer, error) {
	return tryPost(ctx, s, s.TokenURL(), "grant_type", "refresh_token", "refresh_token", token)
}

func refresh(t *testing.T, s *reauthtest.Server, token string) answer {
	t.Helper()
	out, err := tryRefresh(t.Context(), s, token)
	require.NoError(t, err)
	return out
}
