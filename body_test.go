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
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Request bodies on real sockets, where the base may still be reading the first
// one when the refusal arrives.

func randomBytes(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	return data
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// trickle is a body that comes through a pipe, a kilobyte at a time. After the
// first bytes it waits for more to be closed; a nil channel is not waited for.
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

// A onceBody is a caller's body that can be read once, and closed once.
type onceBody struct {
	t *testing.T
	io.Reader
	reads  atomic.Int64
	closes atomic.Int64
	closed chan struct{}
}

func newOnceBody(t *testing.T, r io.Reader) *onceBody {
	return &onceBody{t: t, Reader: r, closed: make(chan struct{})}
}

func (b *onceBody) Read(p []byte) (int, error) {
	b.reads.Add(1)
	return b.Reader.Read(p)
}

func (b *onceBody) Close() error {
	if b.closes.Add(1) > 1 {
		b.t.Error("the caller's body is closed twice")
		return nil
	}
	defer close(b.closed)
	if c, ok := b.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// awaitClose waits until the body has been closed, which net/http may do after
// RoundTrip has returned.
func (b *onceBody) awaitClose(ctx context.Context) {
	b.t.Helper()
	select {
	case <-b.closed:
	case <-ctx.Done():
		b.t.Error("the caller's body is not closed")
	}
}

// post makes a request with a body that has no GetBody. A length of -1 means
// that it is not known.
func post(t *testing.T, ctx context.Context, url string, body io.ReadCloser, length int64) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	require.NoError(t, err)
	req.ContentLength = length
	require.Nil(t, req.GetBody)
	return req
}

// lengths notes the length that each attempt goes out with.
func lengths(base http.RoundTripper, to *[]int64) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		*to = append(*to, req.ContentLength)
		return base.RoundTrip(req)
	})
}

func TestAPipedBodyArrivesWholeOnReplay(t *testing.T) {
	for _, early := range []bool{false, true} {
		for _, length := range []int64{-1, 200_000} {
			t.Run(fmt.Sprintf("early=%t/length=%d", early, length), func(t *testing.T) {
				protocols(t, reauthtest.Options{RefuseEarly: early}, func(t *testing.T, s *reauthtest.Server) {
					s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						sum := sha256.New()
						_, err := io.Copy(sum, r.Body)
						assert.NoError(t, err)
						w.Header().Set("X-Sum", hex.EncodeToString(sum.Sum(nil)))
						w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
					}))
					ctx := bounded(t)
					base, refused := tellFirstAnswer(s.Transport())
					var sent []int64
					tr := signedIn(t, s, func(c *reauth.Config) { c.Base = lengths(base, &sent) })
					s.ExpireAccess()
					data := randomBytes(200_000)
					if !early {
						refused = nil
					}
					body := newOnceBody(t, trickle(ctx, data, 20_000, refused))

					resp, err := tr.RoundTrip(post(t, ctx, s.APIURL("/"), body, length))

					require.NoError(t, err)
					resp.Body.Close()
					require.Equal(t, http.StatusOK, resp.StatusCode)
					assert.Equal(t, hexSum(data), resp.Header.Get("X-Sum"))
					assert.Equal(t, strconv.FormatInt(length, 10), resp.Header.Get("X-Length"))
					assert.Equal(t, []int64{length, length}, sent)
					counts := s.Counts()
					assert.Equal(t, 1, counts.APIRefused)
					assert.Equal(t, 1, counts.Refreshes)
					body.awaitClose(ctx)
				})
			})
		}
	}
}

// Far more than is kept, or than fits into the connection's buffers, comes after
// the refusal: it goes from the caller's body to the second attempt directly.
func TestABodyThatIsStillStreamingIsReplayedBeyondTheBuffer(t *testing.T) {
	protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
		ctx := bounded(t)
		data := randomBytes(5_000_000)
		refused := make(chan struct{})
		body := newOnceBody(t, trickle(ctx, data, 20_000, refused))
		tr := signedIn(t, s, func(c *reauth.Config) {
			c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := s.Transport().RoundTrip(req)
				if err == nil && resp.StatusCode == http.StatusUnauthorized {
					// The refusal is at hand; a little is still read by the first attempt.
					close(refused)
				}
				return resp, err
			})
		})
		s.ExpireAccess()

		resp, err := tr.RoundTrip(post(t, ctx, s.APIURL("/"), body, -1))

		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
		body.awaitClose(ctx)
	})
}

func TestABodyOverTheBufferGetsTheAPIsOwnRefusal(t *testing.T) {
	refusal := reauthtest.Failure{
		Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {`Bearer realm="r", error="invalid_token"`}, "X-Request-Id": {"42"}},
		Body:   strings.Repeat("your token is no good; ", 1000),
	}
	for _, limit := range []int64{16 << 10, -1} {
		t.Run(fmt.Sprintf("ReplayBuffer=%d", limit), func(t *testing.T) {
			protocols(t, reauthtest.Options{Refusal: refusal}, func(t *testing.T, s *reauthtest.Server) {
				ctx := bounded(t)
				tr := signedIn(t, s, func(c *reauth.Config) { c.ReplayBuffer = limit })
				s.ExpireAccess()
				releaseRefresh := s.BlockRefresh()
				defer releaseRefresh()
				releaseAPI := s.BlockAPI()
				defer releaseAPI()
				sent := make(chan struct{})
				go func() { // all has been sent once the body is at its end
					select {
					case <-sent:
						releaseAPI()
					case <-ctx.Done():
					}
				}()
				tell := sync.OnceFunc(func() { close(sent) })
				atEnd := readerFunc(func([]byte) (int, error) { tell(); return 0, io.EOF })
				body := newOnceBody(t, io.MultiReader(bytes.NewReader(randomBytes(16<<10+1)), atEnd))

				resp, err := tr.RoundTrip(post(t, ctx, s.APIURL("/"), body, -1))

				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				got, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, refusal.Body, string(got))
				assert.Equal(t, refusal.Header["Www-Authenticate"], resp.Header["Www-Authenticate"])
				assert.Equal(t, "42", resp.Header.Get("X-Request-Id"))
				assert.Equal(t, int64(len(refusal.Body)), resp.ContentLength)
				body.awaitClose(ctx)

				require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes == 1 }), "in the background")
				releaseRefresh()
				require.NoError(t, tr.Wait(ctx))
				status, err := fetch(ctx, tr, s.APIURL("/"))
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				counts := s.Counts()
				assert.Equal(t, 1, counts.Refreshes)
				assert.Equal(t, 1, counts.APIRefused)
			})
		})
	}
}

func TestABodyWithGetBodyIsReplayedFromItWhateverItsSize(t *testing.T) {
	for _, limit := range []int64{0, -1} {
		t.Run(fmt.Sprintf("ReplayBuffer=%d", limit), func(t *testing.T) {
			protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
				ctx := bounded(t)
				var sent []int64
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.ReplayBuffer = limit
					c.Base = lengths(s.Transport(), &sent)
				})
				s.ExpireAccess()
				data := randomBytes(600_000)
				first, second := newOnceBody(t, bytes.NewReader(data)), newOnceBody(t, bytes.NewReader(data))
				req := post(t, ctx, s.APIURL("/"), first, int64(len(data)))
				asked := 0
				req.GetBody = func() (io.ReadCloser, error) { asked++; return second, nil }

				resp, err := tr.RoundTrip(req)

				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
				assert.Equal(t, []int64{int64(len(data)), int64(len(data))}, sent)
				assert.Equal(t, 1, asked)
				first.awaitClose(ctx)
				second.awaitClose(ctx)
			})
		})
	}
}

func TestABodyThatWasNotReadIsReplayedWhateverItsSize(t *testing.T) {
	for _, limit := range []int64{0, -1} {
		t.Run(fmt.Sprintf("ReplayBuffer=%d", limit), func(t *testing.T) {
			protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
				ctx := bounded(t)
				base := s.Transport().Clone()
				base.ExpectContinueTimeout = time.Minute // it waits for the server's word
				t.Cleanup(base.CloseIdleConnections)
				data := randomBytes(3 << 20)
				body := newOnceBody(t, bytes.NewReader(data))
				var readBefore []int64
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.ReplayBuffer = limit
					c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
						readBefore = append(readBefore, body.reads.Load())
						return base.RoundTrip(req)
					})
				})
				s.ExpireAccess()
				req := post(t, ctx, s.APIURL("/"), body, int64(len(data)))
				req.Header.Set("Expect", "100-continue")

				resp, err := tr.RoundTrip(req)

				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				assert.Equal(t, []int64{0, 0}, readBefore)
				assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
				body.awaitClose(ctx)
			})
		})
	}
}

func TestTheCallersBodyIsClosedOnceOnEveryPath(t *testing.T) {
	type attempt struct {
		*testing.T
		s      *reauthtest.Server
		tr     *reauth.Transport
		req    *http.Request
		cancel context.CancelFunc
	}
	expireLocally := func(a *attempt) {
		tok := reauth.Token(a.s.SignIn("ann"))
		tok.Expiry = time.Now().Add(-time.Second)
		require.NoError(a, a.tr.SignIn(a.Context(), tok))
	}
	cancelOnce := func(a *attempt, reached func(reauthtest.Counts) bool) {
		ctx := a.req.Context()
		go func() {
			if a.s.Await(ctx, reached) == nil {
				a.cancel()
			}
		}()
	}
	refreshing := func(c reauthtest.Counts) bool { return c.Refreshes == 1 }
	someFault := errors.New("some fault")
	waiting := bounded(t)

	paths := map[string]struct {
		config  func(*reauth.Config)
		prepare func(*attempt)
		status  []int // none: an error
		err     error // which it is, if that is known
	}{
		"accepted": {
			status: []int{200},
		},
		"replayed": {
			prepare: func(a *attempt) { a.s.ExpireAccess() },
			status:  []int{200},
		},
		"refused and not replayable": {
			config:  func(c *reauth.Config) { c.ReplayBuffer = -1 },
			prepare: func(a *attempt) { a.s.ExpireAccess() },
			status:  []int{401, 200}, // 200 with GetBody, and if nothing was read yet
		},
		"refused for good": {
			prepare: func(a *attempt) {
				a.s.ExpireAccess()
				_, err := fetch(a.Context(), a.tr, a.s.APIURL("/"))
				require.NoError(a, err)
				a.s.ExpireAccess()
			},
			status: []int{401},
		},
		"refused, replayed and refused": {
			config: func(c *reauth.Config) { c.Refused = func(*http.Response) bool { return true } },
			status: []int{200},
		},
		"no connection": {
			prepare: func(a *attempt) {
				nobody := httptest.NewServer(nil)
				nobody.Close()
				a.req.URL.Scheme, a.req.URL.Host = "http", strings.TrimPrefix(nobody.URL, "http://")
			},
		},
		"the connection is cut": {
			prepare: func(a *attempt) { a.s.FailAPI(reauthtest.Drop, -1) },
		},
		"the connection of the replay is cut": {
			prepare: func(a *attempt) {
				a.s.ExpireAccess()
				a.req.URL.Path = "/cut"
			},
		},
		"a credential's error": {
			config: func(c *reauth.Config) {
				c.Credential = credentialFunc(func(*http.Request, reauth.Token) error { return someFault })
			},
			err: someFault,
		},
		"a refresh that fails, before": {
			prepare: func(a *attempt) {
				expireLocally(a)
				a.s.FailRefresh(reauthtest.Failure{}, -1)
			},
		},
		"a refresh that fails, after a 401": {
			prepare: func(a *attempt) {
				a.s.ExpireAccess()
				a.s.FailRefresh(reauthtest.Failure{}, -1)
			},
		},
		"a refresh that has failed, after a 401": {
			prepare: func(a *attempt) {
				a.s.ExpireAccess()
				a.s.FailRefresh(reauthtest.Failure{}, -1)
				_, err := fetch(a.Context(), a.tr, a.s.APIURL("/"))
				require.Error(a, err)
			},
		},
		"no token": {
			prepare: func(a *attempt) { require.NoError(a, a.tr.SignOut(a.Context())) },
			err:     reauth.ErrSignInRequired,
		},
		"no token, and anonymous": {
			config:  func(c *reauth.Config) { c.Anonymous = true },
			prepare: func(a *attempt) { require.NoError(a, a.tr.SignOut(a.Context())) },
			status:  []int{401},
		},
		"the session is over": {
			prepare: func(a *attempt) { a.s.Revoke() },
			err:     reauth.ErrSignInRequired,
		},
		"the context ends before it is sent": {
			prepare: func(a *attempt) {
				expireLocally(a)
				a.Cleanup(a.s.BlockRefresh())
				cancelOnce(a, refreshing)
			},
			err: context.Canceled,
		},
		"the context ends while it is sent": {
			prepare: func(a *attempt) {
				a.s.FailAPI(reauthtest.Hang, -1)
				cancelOnce(a, func(c reauthtest.Counts) bool { return c.APIRequests == 1 })
			},
			err: context.Canceled,
		},
		"the context ends after a 401": {
			prepare: func(a *attempt) {
				a.s.ExpireAccess()
				a.Cleanup(a.s.BlockRefresh())
				cancelOnce(a, refreshing)
			},
			err: context.Canceled,
		},
		"without authentication": {
			prepare: func(a *attempt) { a.req = a.req.WithContext(reauth.WithoutAuth(a.req.Context())) },
			status:  []int{401},
		},
		"the caller's own credential": {
			prepare: func(a *attempt) { a.req.Header.Set("Authorization", "Bearer mine") },
			status:  []int{401},
		},
	}
	for name, path := range paths {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/GetBody=%t", name, again), func(t *testing.T) {
				protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
					cut := func(_ http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						panic(http.ErrAbortHandler)
					}
					s.Handle("/cut", http.HandlerFunc(cut))
					tr := signedIn(t, s, func(c *reauth.Config) {
						c.Origins = []string{reauth.AnyOrigin}
						if path.config != nil {
							path.config(c)
						}
					})
					ctx, cancel := context.WithCancel(waiting)
					defer cancel()
					var bodies []*onceBody // of the caller's, the first and those from GetBody
					body := func() *onceBody {
						b := newOnceBody(t, bytes.NewReader(make([]byte, 10_000)))
						bodies = append(bodies, b)
						return b
					}
					a := &attempt{t, s, tr, post(t, ctx, s.APIURL("/"), body(), 10_000), cancel}
					if again {
						a.req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
					}
					if path.prepare != nil {
						path.prepare(a)
					}

					resp, err := tr.RoundTrip(a.req)

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
						b.awaitClose(waiting)
					}
					tr.CloseIdleConnections() // a second Close has had every opportunity
				})
			})
		}
	}
}

func TestAGetBodyThatFailsLeavesTheRefusal(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		ctx := bounded(t)
		tr := signedIn(t, s)
		s.ExpireAccess()
		body := newOnceBody(t, strings.NewReader("content"))
		req := post(t, ctx, s.APIURL("/"), body, -1)
		req.GetBody = func() (io.ReadCloser, error) { return nil, errFault }

		resp, err := tr.RoundTrip(req)

		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.NotEmpty(t, text)
		body.awaitClose(ctx)
		require.NoError(t, tr.Wait(ctx))
		assert.Equal(t, 1, s.Counts().Refreshes, "for the requests after this one")
	})
}

func TestACallerWhoGoesWhileItsBodyIsStillBeingReadGetsItsOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, writer := io.Pipe()
		defer writer.Close()
		w := newWorld(t, func(c *reauth.Config, w *world) {
			c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
				go io.Copy(io.Discard, req.Body) // ends with the body
				synctest.Wait()
				return respond(req, http.StatusUnauthorized, ""), nil
			})
		})
		w.signIn(t)
		gone := errors.New("the caller has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, apiURL, body)
		require.NoError(t, err)
		time.AfterFunc(10*time.Millisecond, func() { cancel(gone) })
		began := time.Now()
		_, err = w.do(req)
		assert.ErrorIs(t, err, gone)
		assert.Equal(t, 10*time.Millisecond, time.Since(began))
	})
}
