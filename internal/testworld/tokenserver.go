package testworld

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// TokenURL is where a TokenServer is reached. Any other URL will do.
const TokenURL = "https://id.example.com/token"

// A TokenServer is a token server without a socket, whose Client reaches it under any
// URL. It gives scripted answers and records the requests.
type TokenServer struct {
	answer func(*http.Request) (*http.Response, error)

	mu       sync.Mutex
	requests []TokenRequest
}

// A TokenRequest is a request as a TokenServer received it.
type TokenRequest struct {
	Method, URL string
	Header      http.Header
	Body        string
	Length      int64 // the Content-Length
}

// Answering returns a TokenServer that gives every request the same answer. The header
// is a list of names and values.
func Answering(status int, body string, header ...string) *TokenServer {
	return AnsweringWith(func(req *http.Request) (*http.Response, error) {
		resp := Respond(req, status, body)
		resp.ContentLength = -1
		for i := 0; i < len(header); i += 2 {
			resp.Header.Add(header[i], header[i+1])
		}
		return resp, nil
	})
}

// AnsweringWith returns a TokenServer that answers with f.
func AnsweringWith(f func(*http.Request) (*http.Response, error)) *TokenServer {
	return &TokenServer{answer: f}
}

// Client returns a client that reaches the server.
func (s *TokenServer) Client() *http.Client { return &http.Client{Transport: s} }

// RoundTrip implements http.RoundTripper.
func (s *TokenServer) RoundTrip(req *http.Request) (*http.Response, error) {
	got := TokenRequest{Method: req.Method, URL: req.URL.String(), Header: req.Header.Clone(), Length: req.ContentLength}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		got.Body = string(body)
		req.Body.Close()
	}
	s.mu.Lock()
	s.requests = append(s.requests, got)
	s.mu.Unlock()
	return s.answer(req)
}

// Requests returns what the server received.
func (s *TokenServer) Requests() []TokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Last returns the latest request, or the zero TokenRequest.
func (s *TokenServer) Last() TokenRequest {
	all := s.Requests()
	if len(all) == 0 {
		return TokenRequest{}
	}
	return all[len(all)-1]
}

// Form returns the parameters in the body of a form.
func (r TokenRequest) Form(t testing.TB) url.Values {
	t.Helper()
	assert.Equal(t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
	form, err := url.ParseQuery(r.Body)
	assert.NoError(t, err)
	return form
}

// Basic returns the client's id and secret from the Authorization header, which hold
// both in form encoding (RFC 6749 section 2.3.1).
func (r TokenRequest) Basic(t testing.TB) (id, secret string, ok bool) {
	t.Helper()
	id, secret, ok = (&http.Request{Header: r.Header}).BasicAuth()
	for _, s := range []*string{&id, &secret} {
		text, err := url.QueryUnescape(*s)
		assert.NoError(t, err)
		*s = text
	}
	return id, secret, ok
}

// AssertRefused checks that a refresh ends with a RefreshError with the given fields, and
// returns it.
func AssertRefused(t *testing.T, r reauth.Refresher, old reauth.Token, status int, code string, final bool) *reauth.RefreshError {
	t.Helper()
	tok, err := r.Refresh(t.Context(), old)
	assert.Zero(t, tok)
	failure, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok, "%T: %v", err, err)
	assert.Equal(t, status, failure.StatusCode)
	assert.Equal(t, code, failure.Code)
	assert.Equal(t, final, errors.Is(err, reauth.ErrSignInRequired), "final: %v", err)
	return failure
}

// AssertFaults checks that each error is about exactly the settings at fault.
func AssertFaults(t *testing.T, want []string, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if len(want) == 0 {
			assert.NoError(t, err)
			continue
		}
		require.Error(t, err)
		assert.Len(t, strings.Split(err.Error(), "\n"), len(want), err)
		for _, w := range want {
			assert.ErrorContains(t, err, w)
		}
		assert.NotContains(t, err.Error(), "hidden")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}
}

// FailingReader is a body that breaks off with an error.
func FailingReader(text string, err error) io.ReadCloser {
	return io.NopCloser(io.MultiReader(strings.NewReader(text), failingReader{err}))
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
