package reauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// redirects answers every request on the path by a redirect to what the path is
// mapped to, and notes what it was asked.
type redirects struct {
	to    map[string]string
	asked []string
}

func (r *redirects) RoundTrip(req *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, req.URL.String())
	rec := httptest.NewRecorder()
	if to, ok := r.to[req.URL.String()]; ok {
		rec.Header().Set("Location", to)
		rec.WriteHeader(http.StatusTemporaryRedirect)
	}
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

func TestClientWithinOriginRefusesToLeave(t *testing.T) {
	const token = "https://auth.example.com/token"
	for _, to := range []string{
		"https://evil.example/steal?a=secret", "http://auth.example.com/token", "https://auth.example.com:8443/token",
		"https://user:secret@evil.example/", "//evil.example/",
	} {
		base := &redirects{to: map[string]string{token: to}}
		_, err := clientWithinOrigin(&http.Client{Transport: base}).Post(token, "text/plain", strings.NewReader("refresh_token=r"))
		require.Error(t, err, to)
		assert.Equal(t, []string{token}, base.asked)

		err = withoutURL(err)
		assert.Regexp(t, `^reauth: redirect from "https://auth\.example\.com" to "https?://[a-z.:0-9]+" not followed`, err.Error())
		assert.NotContains(t, err.Error(), "secret")
	}
}

// The second hop is of the origin of the one before it, but not of the first.
func TestClientWithinOriginComparesWithTheFirstRequest(t *testing.T) {
	check := clientWithinOrigin(nil).CheckRedirect
	a, b := requestTo(t, "https://a.example", nil), requestTo(t, "https://b.example", nil)
	assert.Error(t, check(b, []*http.Request{a, b}))
	assert.NoError(t, check(a, []*http.Request{a, b}))
}

func TestClientWithinOriginFollowsAtHome(t *testing.T) {
	base := &redirects{to: map[string]string{
		"https://auth.example.com/1": "/2",
		"https://auth.example.com/2": "https://AUTH.example.com:443/3",
	}}
	resp, err := clientWithinOrigin(&http.Client{Transport: base}).Get("https://auth.example.com/1")
	require.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Len(t, base.asked, 3)
}

func TestClientWithinOriginStopsAfterTenRedirects(t *testing.T) {
	const at = "https://auth.example.com/"
	base := &redirects{to: map[string]string{at: at}}
	_, err := clientWithinOrigin(&http.Client{Transport: base}).Get(at)
	assert.ErrorContains(t, err, "stopped after 10 redirects")
	assert.Len(t, base.asked, 10)
}

func TestClientWithinOriginDefersToTheClientsOwnRule(t *testing.T) {
	const at = "https://auth.example.com/"
	base := &redirects{to: map[string]string{at: at + "2"}}
	own := &http.Client{Transport: base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	within := clientWithinOrigin(own)
	resp, err := within.Get(at)
	require.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
	assert.NotSame(t, own, within)

	base.to[at] = "https://evil.example/"
	_, err = within.Get(at)
	assert.ErrorContains(t, err, `"https://evil.example" not followed`)

	base.to[at] = at + "2"
	own.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		req.URL.Host = "evil.example"
		return nil
	}
	_, err = clientWithinOrigin(own).Get(at)
	assert.ErrorContains(t, err, `"https://evil.example" not followed`)
}

func TestClientWithinOriginLeavesTheGivenClientAlone(t *testing.T) {
	own := &http.Client{}
	clientWithinOrigin(own)
	assert.Nil(t, own.CheckRedirect)
	assert.NotSame(t, http.DefaultClient, clientWithinOrigin(nil))
	assert.Nil(t, http.DefaultClient.CheckRedirect)
}

func TestWithoutURL(t *testing.T) {
	cause := errors.New("cause")
	assert.Same(t, cause, withoutURL(cause))
	assert.Same(t, cause, withoutURL(&url.Error{Op: "Post", URL: "https://u:p@a.example", Err: cause}))
	assert.Same(t, cause, withoutURL(&url.Error{Op: "Post", Err: &url.Error{Op: "Post", Err: cause}}))
	assert.NoError(t, withoutURL(nil))
	assert.ErrorIs(t, withoutURL(&url.Error{Err: context.Canceled}), context.Canceled)
}

// requestTo returns a request as http.Client makes it: after a redirect, if
// there was a request before it.
func requestTo(t *testing.T, to string, before *http.Request) *http.Request {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	req := &http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}
	if before != nil {
		req.Response = &http.Response{StatusCode: http.StatusFound, Request: before}
	}
	return req
}
