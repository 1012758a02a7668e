package reauth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/reauthtest"
)

// Request bodies on real sockets, where net/http may still be reading the first one
// when the refusal arrives.

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// trickle returns a body that comes through a pipe, a kilobyte at a time. After the
// first bytes it waits for more to be closed, unless that is nil.
func trickle(ctx context.Context, data []byte, first int, more <-chan struct{}) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { // ends with the data, or when the reader is closed
		for at := 0; at < len(data); {
			if more != nil && at >= first {
				select {
				case <-more:
					more = nil
				case <-ctx.Done():
					pw.CloseWithError(ctx.Err())
					return
				}
			}
			end := min(at+1000, len(data))
			if _, err := pw.Write(data[at:end]); err != nil {
				return
			}
			at = end
		}
		pw.Close()
	}()
	return pr
}

// upload returns a POST request whose body has no GetBody. A length of -1 is unknown.
func upload(t *testing.T, ctx context.Context, url string, body io.ReadCloser, length int64) *http.Request {
	t.Helper()
	req := testworld.Request(t, http.MethodPost, url, body).WithContext(ctx)
	req.ContentLength = length
	require.Nil(t, req.GetBody)
	return req
}

func TestRefusedUploadArrivesWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		early  bool // the API refuses after the first bytes, and the rest is sent later
		size   int
		length int64 // 0: the size
		limit  int64 // Config.ReplayBuffer
		change func(*testing.T, *http.Request, []byte) (check func(context.Context))
	}{
		"piped":                          {size: 200_000, length: -1},
		"piped, of known length":         {size: 200_000},
		"refused early":                  {early: true, size: 200_000, length: -1},
		"refused early, of known length": {early: true, size: 200_000},
		// The rest goes from the caller's body to the second attempt directly.
		"refused early, longer than what is kept": {early: true, size: 2_000_000, length: -1},
		"with GetBody":                  {size: 100_000, change: withGetBody, limit: 1000},
		"with GetBody, nothing is kept": {size: 100_000, change: withGetBody, limit: -1},
		"not read before the refusal":   {size: 1_000_000, change: expectContinue},
		"not read, nothing is kept":     {size: 200_000, change: expectContinue, limit: -1},
	} {
		t.Run(name, func(t *testing.T) {
			protocols(t, reauthtest.Options{RefuseEarly: tc.early}, func(t *testing.T, s *reauthtest.Server) {
				ctx := bounded(t)
				server := s.Transport().Clone()
				server.ExpectContinueTimeout = time.Minute
				t.Cleanup(server.CloseIdleConnections)
				base, refused := tellFirstAnswer(server)
				var lengths []int64
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.ReplayBuffer = tc.limit
					c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
						lengths = append(lengths, req.ContentLength)
						return base.RoundTrip(req)
					})
				})
				s.ExpireAccess()
				if !tc.early {
					refused = nil
				}
				length := tc.length
				if length == 0 {
					length = int64(tc.size)
				}
				data := randomBytes(tc.size)
				body := testworld.NewBody(t, trickle(ctx, data, 20_000, refused))
				req := upload(t, ctx, s.APIURL("/"), body, length)
				check := func(context.Context) {}
				if tc.change != nil {
					check = tc.change(t, req, data)
				}

				resp, err := tr.RoundTrip(req)

				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
				assert.Equal(t, []int64{length, length}, lengths)
				assert.Equal(t, 1, s.Counts().APIRefused)
				assert.Equal(t, 1, s.Counts().Refreshes)
				body.AwaitClose(ctx)
				check(ctx)
			})
		})
	}
}

// withGetBody gives a request a GetBody, which must be called once.
func withGetBody(t *testing.T, req *http.Request, data []byte) (check func(context.Context)) {
	second := testworld.NewBody(t, bytes.NewReader(data))
	called := false
	req.GetBody = func() (io.ReadCloser, error) {
		assert.False(t, called)
		called = true
		return second, nil
	}
	return func(ctx context.Context) {
		assert.True(t, called)
		second.AwaitClose(ctx)
	}
}

// expectContinue lets the API answer before the body is sent.
func expectContinue(_ *testing.T, req *http.Request, _ []byte) (check func(context.Context)) {
	req.Header.Set("Expect", "100-continue")
	return func(context.Context) {}
}

func TestUploadThatCannotBeReplayedGetsTheRefusal(t *testing.T) {
	refusal := reauthtest.Failure{
		Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {`Bearer realm="r", error="invalid_token"`}, "X-Request-Id": {"42"}},
		Body:   strings.Repeat("the token has expired; ", 1000),
	}
	for name, tc := range map[string]struct {
		limit   int64
		getBody func() (io.ReadCloser, error)
	}{
		"longer than what is kept": {16 << 10, nil},
		"nothing is kept":          {-1, nil},
		"GetBody fails":            {0, func() (io.ReadCloser, error) { return nil, testworld.ErrFault }},
	} {
		t.Run(name, func(t *testing.T) {
			protocols(t, reauthtest.Options{Refusal: refusal}, func(t *testing.T, s *reauthtest.Server) {
				ctx := bounded(t)
				tr := signedIn(t, s, func(c *reauth.Config) { c.ReplayBuffer = tc.limit })
				s.ExpireAccess()
				releaseRefresh := s.BlockRefresh()
				defer releaseRefresh()
				releaseAPI := s.BlockAPI()
				atEnd := readerFunc(func([]byte) (int, error) { releaseAPI(); return 0, io.EOF })
				body := testworld.NewBody(t, io.MultiReader(bytes.NewReader(randomBytes(16<<10+1)), atEnd))
				req := upload(t, ctx, s.APIURL("/"), body, -1)
				req.GetBody = tc.getBody

				resp, err := tr.RoundTrip(req)

				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				got, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, refusal.Body, string(got))
				assert.Equal(t, refusal.Header["Www-Authenticate"], resp.Header["Www-Authenticate"])
				assert.Equal(t, "42", resp.Header.Get("X-Request-Id"))
				assert.Equal(t, int64(len(refusal.Body)), resp.ContentLength)
				body.AwaitClose(ctx)

				require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }), "in the background")
				releaseRefresh()
				require.NoError(t, tr.Wait(ctx))
				status, err := fetch(ctx, tr, s.APIURL("/"))
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, 1, s.Counts().Refreshes)
				assert.Equal(t, 1, s.Counts().APIRefused)
			})
		})
	}
}

func TestCallerThatLeavesWhileItsBodyIsReadGetsItsOwnError(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		body, writer := io.Pipe()
		defer writer.Close()
		w.SignIn(t)
		gone := errors.New("the caller has left")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(gone) })
		began := time.Now()
		req := testworld.Request(t, http.MethodPost, testworld.APIURL, body).WithContext(ctx)
		req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
		_, err := w.Do(req)
		assert.ErrorIs(t, err, gone)
		assert.Equal(t, 10*time.Millisecond, time.Since(began))
	}, testworld.Over(func(req *http.Request) (*http.Response, error) {
		go io.Copy(io.Discard, req.Body) // ends with the body
		synctest.Wait()
		return refusing(req)
	}))
}

// An exchange is a request that is about to be sent.
type exchange struct {
	*testing.T
	server    *reauthtest.Server
	transport *reauth.Transport
	req       *http.Request
	cancel    context.CancelFunc
}

func (x *exchange) signInExpired() {
	tok := reauth.Token(x.server.SignIn("ann"))
	tok.Expiry = time.Now().Add(-time.Second)
	require.NoError(x, x.transport.SignIn(x.Context(), tok))
}

func (x *exchange) expire() { x.server.ExpireAccess() }

func (x *exchange) failRefresh() { x.server.FailRefresh(reauthtest.Failure{}, -1) }

func (x *exchange) signOut() { require.NoError(x, x.transport.SignOut(x.Context())) }

// cancelOnce cancels the request once the server has counted so much.
func (x *exchange) cancelOnce(reached func(reauthtest.Counts) bool) {
	go func() {
		if x.server.Await(x.req.Context(), reached) == nil {
			x.cancel()
		}
	}()
}

func (x *exchange) cancelDuringRefresh() {
	x.Cleanup(x.server.BlockRefresh())
	x.cancelOnce(func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
}

func TestBodyIsClosedOnceOnEveryPath(t *testing.T) {
	for name, path := range map[string]struct {
		config  func(*reauth.Config)
		prepare func(*exchange)
		status  []int // none: an error
		err     error // which it is; nil: any
	}{
		"accepted": {status: []int{200}},
		"replayed": {prepare: (*exchange).expire, status: []int{200}},
		"refused and not replayable": {
			config:  func(c *reauth.Config) { c.ReplayBuffer = -1 },
			prepare: (*exchange).expire,
			status:  []int{401, 200}, // 200 with GetBody, and if nothing was read yet
		},
		"refused just after a refresh": {
			prepare: func(x *exchange) {
				x.expire()
				_, err := fetch(x.Context(), x.transport, x.server.APIURL("/"))
				require.NoError(x, err)
				x.expire()
			},
			status: []int{401},
		},
		"refused, replayed and refused": {
			config: func(c *reauth.Config) { c.Refused = func(*http.Response) bool { return true } },
			status: []int{200},
		},
		"no connection":           {prepare: func(x *exchange) { x.req.URL.Scheme, x.req.URL.Host = "http", "127.0.0.1:1" }},
		"the connection breaks":   {prepare: func(x *exchange) { x.server.FailAPI(reauthtest.Drop, -1) }},
		"that of the replay does": {prepare: func(x *exchange) { x.expire(); x.req.URL.Path = "/cut" }},
		"an error of the Credential": {
			config: func(c *reauth.Config) {
				c.Credential = struct{ applies }{&credential{apply: func(*http.Request, reauth.Token) error { return testworld.ErrFault }}}
			},
			err: testworld.ErrFault,
		},
		"a refresh that fails, before":      {prepare: func(x *exchange) { x.signInExpired(); x.failRefresh() }},
		"a refresh that fails, after a 401": {prepare: func(x *exchange) { x.expire(); x.failRefresh() }},
		"a refresh that failed before": {
			prepare: func(x *exchange) {
				x.expire()
				x.failRefresh()
				_, err := fetch(x.Context(), x.transport, x.server.APIURL("/"))
				require.Error(x, err)
			},
		},
		"no token":                           {prepare: (*exchange).signOut, err: reauth.ErrSignInRequired},
		"no token, anonymous":                {config: func(c *reauth.Config) { c.Anonymous = true }, prepare: (*exchange).signOut, status: []int{401}},
		"the session is revoked":             {prepare: func(x *exchange) { x.server.Revoke() }, err: reauth.ErrSignInRequired},
		"the context ends before it is sent": {prepare: func(x *exchange) { x.signInExpired(); x.cancelDuringRefresh() }, err: context.Canceled},
		"the context ends while it is sent": {
			prepare: func(x *exchange) {
				x.server.FailAPI(reauthtest.Hang, -1)
				x.cancelOnce(func(c reauthtest.Counts) bool { return c.APIRequests >= 1 })
			},
			err: context.Canceled,
		},
		"the context ends after a 401": {prepare: func(x *exchange) { x.expire(); x.cancelDuringRefresh() }, err: context.Canceled},
		"without authentication":       {prepare: func(x *exchange) { x.req = x.req.WithContext(reauth.WithoutAuth(x.req.Context())) }, status: []int{401}},
		"the caller's own credential":  {prepare: func(x *exchange) { x.req.Header.Set("Authorization", "Bearer own") }, status: []int{401}},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/GetBody=%t", name, again), func(t *testing.T) {
				protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
					s.Handle("/cut", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						panic(http.ErrAbortHandler)
					}))
					tr := signedIn(t, s, func(c *reauth.Config) { c.Origins = []string{reauth.AnyOrigin} }, path.config)
					waiting := bounded(t)
					ctx, cancel := context.WithCancel(waiting)
					defer cancel()
					var bodies []*testworld.Body // the first and those from GetBody
					body := func() *testworld.Body {
						b := testworld.NewBody(t, bytes.NewReader(make([]byte, 10_000)))
						bodies = append(bodies, b)
						return b
					}
					x := &exchange{t, s, tr, upload(t, ctx, s.APIURL("/"), body(), 10_000), cancel}
					if again {
						x.req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
					}
					if path.prepare != nil {
						path.prepare(x)
					}

					resp, err := tr.RoundTrip(x.req)

					if len(path.status) > 0 {
						require.NoError(t, err)
						assert.Contains(t, path.status, resp.StatusCode)
						resp.Body.Close()
					} else {
						require.Error(t, err)
						require.Nil(t, resp)
						if path.err != nil {
							assert.ErrorIs(t, err, path.err)
						}
					}
					for _, b := range bodies {
						b.AwaitClose(waiting)
					}
					tr.CloseIdleConnections() // a second Close has had every opportunity
				})
			})
		}
	}
}
