package reauthtest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestRefusal(t *testing.T) {
	const invalid = `Bearer error="invalid_token"`
	for name, test := range map[string]struct {
		refusal   reauthtest.Failure
		token     string
		status    int
		challenge []string
		text      string
	}{
		"bad token": {reauthtest.Failure{}, "bad", 401, []string{invalid}, "{\"error\":\"invalid_token\"}\n"},
		"no token":  {reauthtest.Failure{}, "", 401, []string{"Bearer"}, "Unauthorized\n"},
		"403":       {reauthtest.Failure{Status: 403, Body: "{}"}, "bad", 403, nil, "{}"},
		"body":      {reauthtest.Failure{Body: "x"}, "bad", 401, []string{invalid}, "x"},
		"code":      {reauthtest.Failure{Code: "expired"}, "", 401, []string{`Bearer error="expired"`}, "{\"error\":\"expired\"}\n"},
		"challenge": {reauthtest.Failure{Header: http.Header{"WWW-Authenticate": {`Bearer realm="api"`}}}, "", 401, []string{`Bearer realm="api"`}, "Unauthorized\n"},
		"silent":    {reauthtest.Failure{Header: http.Header{"WWW-Authenticate": nil}}, "bad", 401, nil, "{\"error\":\"invalid_token\"}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.NewPipeServer(t, reauthtest.Options{Refusal: test.refusal})
			got := call(t, s, "/", test.token)
			assert.Equal(t, test.status, got.status)
			assert.Equal(t, test.challenge, got.header["Www-Authenticate"])
			assert.Equal(t, test.text, got.text)
			assert.Equal(t, 1, s.Counts().APIRefused)
			assert.Equal(t, http.StatusOK, call(t, s, "/", s.SignIn("ann").AccessToken).status)
		})
	}
}

func TestSchemeOfAuthorization(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{TokenType: "DPoP"})
	token := s.SignIn("ann").AccessToken
	for header, status := range map[string]int{"DPoP ": 200, "dpop ": 200, "Bearer ": 401, "": 401} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL("/"), nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", header+token)
		got, err := send(s, req)
		require.NoError(t, err)
		assert.Equal(t, status, got.status, "%q", header)
	}
}

func TestAccessTokenFromElsewhere(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{
		AccessToken: func(r *http.Request) string { return r.Header.Get("X-Token") },
	})
	token := s.SignIn("ann").AccessToken
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", token).status)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL("/"), nil)
	require.NoError(t, err)
	req.Header.Set("X-Token", token)
	got, err := send(s, req)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, got.status)
}

func TestBodyArrives(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		s := reauthtest.NewPipeServer(t, opts)
		text := strings.Repeat("0123456789", 100_000)
		sum := sha256.Sum256([]byte(text))
		for name, body := range map[string]io.Reader{
			"length known":   strings.NewReader(text),
			"length unknown": io.MultiReader(strings.NewReader(text)),
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.APIURL("/"), body)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+s.SignIn("ann").AccessToken)
			got, err := send(s, req)
			require.NoError(t, err)
			assert.Equal(t, "1000000", got.header.Get("X-Body-Length"), name)
			assert.Equal(t, hex.EncodeToString(sum[:]), got.header.Get("X-Body-SHA256"), name)
		}
		got := call(t, s, "/", s.SignIn("ann").AccessToken)
		assert.NotContains(t, got.header, "X-Body-Length", "there was none")
	})
}

func TestRefuseEarly(t *testing.T) {
	protocols(t, func(t *testing.T, opts reauthtest.Options) {
		opts.RefuseEarly = true
		s := reauthtest.NewPipeServer(t, opts)
		unfinished, w := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL("/"), unfinished)
		require.NoError(t, err)
		resp, err := s.Client().Do(req) // hangs, and so fails the bubble, if the server waits for the body
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Positive(t, resp.ContentLength, "the answer can be read to its end, too")
		_, err = io.ReadFull(resp.Body, make([]byte, resp.ContentLength-1))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		synctest.Wait()
		last, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "\n", string(last))
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", "").status, "the server is none the worse for it")
		assert.Equal(t, 1, s.Counts().Connections, "nor is the connection")
	})
}

func TestHandlers(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s%s", reauthtest.UserFromRequest(r), r.PathValue("id"))
	})
	s.Handle("GET /hello/{id}", hello)
	s.HandlePublic("/public", hello)
	s.HandlePublic("stranger.test/", hello)

	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/hello/7", "").status)
	assert.Equal(t, "hello ann7", call(t, s, "/hello/7", s.SignIn("ann").AccessToken).text)
	assert.Equal(t, 2, s.Counts().APIRequests)

	assert.Equal(t, "hello ", call(t, s, "/public", s.SignIn("ann").AccessToken).text)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://stranger.test/token", nil)
	require.NoError(t, err)
	got, err := send(s, req)
	require.NoError(t, err)
	assert.Equal(t, "hello ", got.text)
	assert.Equal(t, 2, s.Counts().APIRequests, "public handlers are not counted")
	assert.Zero(t, s.Counts().Refreshes)
}

func TestHandleRefresh(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	s.HandleRefresh("POST /renew", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued, err := s.Refresh(r.Header.Get("X-Refresh"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Access", issued.AccessToken)
	}))
	token := s.SignIn("ann").RefreshToken
	renew := func() answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL("/renew"), nil)
		require.NoError(t, err)
		req.Header.Set("X-Refresh", token)
		got, err := send(s, req)
		require.NoError(t, err)
		return got
	}
	s.FailRefresh(reauthtest.Failure{Status: 500}, 1)
	assert.Equal(t, 500, renew().status)
	got := renew()
	assert.Equal(t, http.StatusOK, call(t, s, "/", got.header.Get("X-Access")).status)
	assert.Equal(t, http.StatusUnauthorized, renew().status)
	counts := s.Counts()
	assert.Equal(t, 3, counts.Refreshes)
	assert.Equal(t, 1, counts.RefreshesFailed)
	assert.Equal(t, 1, counts.RefreshesGranted)
	assert.Equal(t, 1, counts.RefreshesRefused)
}

func TestHandlerMayStreamAndUpgrade(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	s.Handle("/stream", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "second")
	}))
	s.Handle("/upgrade", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi")
			_ = conn.Close()
		}
	}))
	token := s.SignIn("ann").AccessToken
	assert.Equal(t, "firstsecond", call(t, s, "/stream", token).text)
	upgraded := call(t, s, "/upgrade", token)
	assert.Equal(t, http.StatusSwitchingProtocols, upgraded.status)
	assert.Equal(t, "hi", upgraded.text)
	assert.Equal(t, 1, s.Counts().APISucceeded)
	assert.Equal(t, http.StatusSwitchingProtocols, s.Requests()[1].Status)
}
