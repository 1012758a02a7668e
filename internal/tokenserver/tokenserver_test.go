package tokenserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

var form = url.Values{"refresh_token": {"refresh-1"}}

// serve serves h on a socket and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/token"
}

// send posts form to target and returns the access token in the answer, or why there is
// none.
func send(ctx context.Context, client *http.Client, target string, secrets ...string) (*tokenserver.Answer, string, error) {
	req, err := tokenserver.NewRequest(ctx, http.MethodPost, target, nil, form)
	if err != nil {
		return nil, "", err
	}
	a, err := tokenserver.Send(client, req, secrets)
	if err != nil {
		return nil, "", err
	}
	tok, err := tokenserver.ReadJSON(a).Token(tokenserver.OAuthShape, reauth.Token{}, time.Now())
	return a, tok.AccessToken, err
}

func TestRetryAfter(t *testing.T) {
	serverTime := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	date := serverTime.Format(http.TimeFormat)
	for _, tc := range []struct {
		value, date string
		want        time.Duration
	}{
		{"7", "", 7 * time.Second},
		{" 120 ", "", 2 * time.Minute},
		{"0", "", 0},
		{"-5", "", 0},
		{"soon", "", 0},
		{"", "", 0},
		{"99999999999999999999", "", 10 * 365 * 24 * time.Hour},
		{serverTime.Add(time.Minute).Format(http.TimeFormat), date, time.Minute},
		{serverTime.Add(time.Minute).Format(time.RFC850), date, time.Minute},
		{serverTime.Add(time.Minute).Format(time.ANSIC), date, time.Minute},
		{serverTime.Add(-time.Minute).Format(http.TimeFormat), date, 0},
		{date, date, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", date, 10 * 365 * 24 * time.Hour},
	} {
		for _, status := range []int{503, 429, 400, 200} {
			a, _, _ := send(t.Context(), testworld.Answering(status, `{}`, "Retry-After", tc.value, "Date", tc.date).Client(), testworld.TokenURL)
			assert.Equal(t, tc.want, a.RetryAfter, "%q, status %d", tc.value, status)
			assert.Equal(t, tc.want, a.Failure("", nil).RetryAfter)
		}
	}
	synctest.Test(t, func(t *testing.T) { // without a Date the local clock counts
		until := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
		a, _, _ := send(t.Context(), testworld.Answering(503, ``, "Retry-After", until).Client(), testworld.TokenURL)
		assert.Equal(t, time.Minute, a.RetryAfter)
	})
}

func TestBrokenAnswersHaveNoToken(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		status  int // 0: no answer at all
		want    string
	}{
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a","x":"`+strings.Repeat("x", 2<<20)+`"}`)
		}, 200, "the answer is too long"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, 200, "the answer is too long"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"access_token":"a"`)
		}, 200, "the answer broke off: unexpected EOF"},
		"closed": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			a, _, err := send(t.Context(), http.DefaultClient, serve(t, tc.handler))
			require.ErrorContains(t, err, tc.want)
			assert.Equal(t, tc.status != 0, a != nil)
			if a != nil {
				assert.Equal(t, tc.status, a.Status)
				assert.False(t, tokenserver.ReadJSON(a).Refused)
			}
		})
	}
}

func TestAnswerOfOneMebibyteIsRead(t *testing.T) {
	const start, end = `{"access_token":"`, `"}`
	x := strings.Repeat("x", 1<<20-len(start)-len(end))
	_, access, err := send(t.Context(), testworld.Answering(200, start+x+end).Client(), testworld.TokenURL)
	require.NoError(t, err)
	assert.Equal(t, x, access)
}

func TestSendReturnsWhenTheContextEnds(t *testing.T) {
	for _, begun := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			client := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
				resp := testworld.Respond(req, 200, "")
				resp.Body = io.NopCloser(hangingBody{req.Context()})
				if !begun {
					return nil, testworld.Pass(req.Context(), time.Hour)
				}
				return resp, nil
			}).Client()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			a, _, err := send(ctx, client, testworld.TokenURL)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			if assert.Equal(t, begun, a != nil); begun {
				assert.ErrorIs(t, a.Late(), context.DeadlineExceeded)
			}
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(time.Minute, cancel)
			_, _, err = send(ctx, client, testworld.TokenURL)
			assert.ErrorIs(t, err, context.Canceled)

			// The client's own timeout is not the caller's deadline.
			client.Timeout = time.Second
			a, _, err = send(t.Context(), client, testworld.TokenURL)
			require.Error(t, err)
			if assert.Equal(t, begun, a != nil); begun {
				assert.NoError(t, a.Late())
			}
			assert.Equal(t, begun, !errors.Is(err, context.DeadlineExceeded))
		})
	}
}

// A hangingBody gives nothing until its context ends.
type hangingBody struct{ ctx context.Context }

func (b hangingBody) Read([]byte) (int, error) { return 0, testworld.Pass(b.ctx, time.Hour) }

func TestHangingBodyDoesNotLoseTheHeader(t *testing.T) {
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, target, nil, nil)
	require.NoError(t, err)
	a, err := tokenserver.SendForHeader(http.DefaultClient, req, nil)
	require.NoError(t, err)
	assert.Equal(t, "a=b", a.Header.Get("Set-Cookie"))
}

func TestAnswersAreReadToTheEndAndClosed(t *testing.T) {
	for _, status := range []int{200, 400, 503} {
		body := &countingBody{Reader: strings.NewReader(`{"access_token":"a"}` + strings.Repeat(" ", 5000))}
		client := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: req}, nil
		}).Client()
		_, _, _ = send(t.Context(), client, testworld.TokenURL)
		assert.Equal(t, 1, body.closed)
		rest, err := io.ReadAll(body.Reader)
		require.NoError(t, err)
		assert.Empty(t, rest)
		req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, testworld.TokenURL, nil, nil)
		require.NoError(t, err)
		_, err = tokenserver.SendForHeader(client, req, nil)
		require.NoError(t, err)
		assert.Equal(t, 2, body.closed)
	}
}

type countingBody struct {
	io.Reader
	closed int
}

func (c *countingBody) Close() error { c.closed++; return nil }

// The client, or the body that its transport returns, may belong to a session of its
// own.
func TestSignInRequiredElsewhereIsNotFinalHere(t *testing.T) {
	elsewhere := &reauth.RefreshError{StatusCode: 400, Err: reauth.ErrSignInRequired}
	for _, server := range []*testworld.TokenServer{
		testworld.AnsweringWith(func(*http.Request) (*http.Response, error) { return nil, elsewhere }),
		testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			resp := testworld.Respond(req, 200, "")
			resp.Body = testworld.FailingReader("{", elsewhere)
			return resp, nil
		}),
	} {
		_, _, err := send(t.Context(), server.Client(), testworld.TokenURL)
		require.ErrorContains(t, err, "sign-in required")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	_, _, err := send(t.Context(), http.DefaultClient, "https://user:hidden@id.example.com/%zz?key=hidden")
	assert.EqualError(t, err, `reauth: cannot make a request to "https://[redacted]@id.example.com/%zz?..."`)

	// The transport may repeat the URL, and what http.Client makes of its user info.
	repeating := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("sent %s to %s", req.Header.Get("Authorization"), req.URL)
	}).Client()
	_, _, err = send(t.Context(), repeating, "https://user:hidden@id.example.com/token?key=k-1")
	assert.EqualError(t, err, `reauth: POST "https://[redacted]@id.example.com/token": sent Basic [redacted] to https://[redacted]@id.example.com/token?[redacted]`)

	// The end of the caller's context shows, also where the text is redacted.
	client := testworld.AnsweringWith(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("sending refresh-1: %w", context.Canceled)
	}).Client()
	_, _, err = send(t.Context(), client, testworld.TokenURL+"?key=k", "refresh-1")
	assert.ErrorIs(t, err, context.Canceled)
	assert.EqualError(t, err, `reauth: POST "`+testworld.TokenURL+`": sending [redacted]: context canceled`)
}

func TestRefusalsThatAreNotFinal(t *testing.T) {
	for status, want := range map[int]string{302: "a redirect that is not followed", 400: "the session is kept; try again later", 503: "the session is kept; try again later"} {
		a := &tokenserver.Answer{Status: status}
		assert.EqualError(t, a.RefreshRefused(false), want)
		assert.ErrorContains(t, a.SignInRefused(false), "the sign-in failed")
		assert.ErrorIs(t, a.RefreshRefused(true), reauth.ErrSignInRequired)
		assert.ErrorIs(t, a.SignInRefused(true), reauth.ErrSignInRequired)
		assert.False(t, a.IsSuccess())
	}
	assert.ErrorIs(t, tokenserver.ErrNoRefreshToken, reauth.ErrSignInRequired)
}
