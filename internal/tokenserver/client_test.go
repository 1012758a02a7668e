package tokenserver_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

func TestNoRedirectLeavesTheOrigin(t *testing.T) {
	var visits atomic.Int32
	stranger := serve(t, func(http.ResponseWriter, *http.Request) { visits.Add(1) })
	strangersURL, err := url.Parse(stranger)
	require.NoError(t, err)
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := serve(t, func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, stranger+"?t=refresh-1", status)
		})
		// The client's own rule cannot allow it.
		permissive := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		for _, client := range []*http.Client{nil, permissive} {
			_, _, err := send(t.Context(), tokenserver.WithinOrigin(client), here)
			require.ErrorContains(t, err, "not followed: it leads to another origin", status)
			assert.NotContains(t, err.Error(), "refresh-1")

			a, _, err := send(t.Context(), tokenserver.WithoutRedirects(client), here)
			require.Error(t, err)
			assert.Equal(t, status, a.Status)
		}
	}
	// Nor can it change the target of a redirect that stays.
	here := serve(t, func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/v2", 307) })
	changing := &http.Client{CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		req.URL = strangersURL
		return nil
	}}
	_, _, err = send(t.Context(), tokenserver.WithinOrigin(changing), here)
	require.ErrorContains(t, err, "not followed: it leads to another origin")
	assert.Zero(t, visits.Load())
}

func TestRedirectWithinTheOrigin(t *testing.T) {
	for status, followed := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		var paths []string
		here := serve(t, func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			paths = append(paths, req.Method+" "+req.URL.Path+" "+string(body))
			if req.URL.Path == "/token" {
				http.Redirect(w, req, "/v2", status)
				return
			}
			_, _ = io.WriteString(w, `{"access_token":"access-2"}`)
		})
		a, access, err := send(t.Context(), tokenserver.WithinOrigin(nil), here)
		if followed {
			require.NoError(t, err)
			assert.Equal(t, "access-2", access)
			assert.Equal(t, []string{"POST /token refresh_token=refresh-1", "POST /v2 refresh_token=refresh-1"}, paths)
			continue
		}
		// The request that follows would carry no refresh token.
		require.Error(t, err)
		assert.Equal(t, status, a.Status)
		assert.Len(t, paths, 1)
	}
}

func TestRedirectsEnd(t *testing.T) {
	server := testworld.Answering(307, "", "Location", testworld.TokenURL)
	_, _, err := send(t.Context(), tokenserver.WithinOrigin(server.Client()), testworld.TokenURL)
	require.ErrorContains(t, err, "stopped after 10 redirects")
	assert.Len(t, server.Requests(), 10)

	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a, _, _ := send(t.Context(), tokenserver.WithinOrigin(client), testworld.TokenURL)
	assert.Equal(t, 307, a.Status, "the client's own rule counts")
}

func TestWithoutRedirectsUsesNoJar(t *testing.T) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	at, err := url.Parse(testworld.TokenURL)
	require.NoError(t, err)
	jar.SetCookies(at, []*http.Cookie{{Name: "session", Value: "another"}})
	server := testworld.Answering(200, "{}", "Set-Cookie", "session=this")
	client := server.Client()
	client.Jar = jar
	_, _, _ = send(t.Context(), tokenserver.WithoutRedirects(client), testworld.TokenURL)
	assert.Empty(t, server.Last().Header["Cookie"])
	require.Len(t, jar.Cookies(at), 1)
	assert.Equal(t, "another", jar.Cookies(at)[0].Value)
	assert.NotNil(t, client.Jar, "the client itself is unchanged")
}

func TestBodies(t *testing.T) {
	for _, tc := range []struct {
		body                   any
		header                 http.Header
		want, wantType, errors string
	}{
		{nil, nil, "", "", ""},
		{url.Values{"a": {"b c"}}, nil, "a=b+c", "application/x-www-form-urlencoded", ""},
		{map[string]int{"a": 1}, nil, `{"a":1}`, "application/json", ""},
		{map[string]int{"a": 1}, http.Header{"content-type": {"application/vnd.api+json"}}, `{"a":1}`, "application/vnd.api+json", ""},
		{func() {}, nil, "", "", "reauth: the body, a func(), cannot be encoded as JSON"},
		{map[string]any{"SECRET": make(chan int)}, nil, "", "", "reauth: the body, a map[string]interface {}, cannot be encoded as JSON"},
		{strings.NewReader(`{}`), nil, "", "", "reauth: the body is a *strings.Reader, not a value to encode as JSON"},
	} {
		server := testworld.Answering(200, "{}")
		req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, testworld.TokenURL, tc.header, tc.body)
		if tc.errors != "" {
			assert.EqualError(t, err, tc.errors)
			continue
		}
		require.NoError(t, err)
		_, err = tokenserver.Send(server.Client(), req, nil)
		require.NoError(t, err)
		got := server.Last()
		assert.Equal(t, tc.want, got.Body)
		assert.EqualValues(t, len(tc.want), got.Length)
		assert.Equal(t, tc.wantType, got.Header.Get("Content-Type"))
		assert.Equal(t, "application/json", got.Header.Get("Accept"))
	}
}
