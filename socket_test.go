package reauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// These tests need net/http's own client and servers on real sockets. Nothing here
// waits for a time to pass: a channel or the server holds back what must come second.

// signedIn returns a Transport through which ann uses s.
func signedIn(t *testing.T, s *reauthtest.Server, with ...func(*reauth.Config)) *reauth.Transport {
	t.Helper()
	cfg := reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), Client: s.Client()},
		Origins:   []string{s.URL},
		Base:      s.Transport(),
	}
	for _, f := range with {
		if f != nil {
			f(&cfg)
		}
	}
	tr, err := reauth.New(cfg)
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), reauth.Token(s.SignIn("ann"))))
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	return tr
}

// bounded returns a context that fails a test which would otherwise hang.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// fetch sends a GET request and reads the response to its end.
func fetch(ctx context.Context, rt http.RoundTripper, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// storm starts n requests at once, and returns a function that waits for them.
func storm(ctx context.Context, rt http.RoundTripper, url string, n int) (wait func() []testworld.Result) {
	results := make([]testworld.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i].Status, results[i].Err = fetch(ctx, rt, url) })
	}
	return func() []testworld.Result { wg.Wait(); return results }
}

// protocols runs f over HTTP/1 and over HTTP/2.
func protocols(t *testing.T, opts reauthtest.Options, f func(t *testing.T, s *reauthtest.Server)) {
	for _, name := range []string{"HTTP/1", "HTTP/2"} {
		opts.TLS = name == "HTTP/2"
		t.Run(name, func(t *testing.T) { f(t, reauthtest.NewServer(t, opts)) })
	}
}

// tokenAfterBody is an Options.AccessToken: the server reads a request to its end
// before it decides. Over HTTP/2 net/http's server takes trailers that reach it after
// it has refused their request for a fault of the whole connection.
func tokenAfterBody(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// tellFirstAnswer returns a base transport that tells when it has its first response.
func tellFirstAnswer(base http.RoundTripper) (_ http.RoundTripper, answered <-chan struct{}) {
	done := make(chan struct{})
	var once sync.Once
	return testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(req)
		once.Do(func() { close(done) })
		return resp, err
	}), done
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// acceptedAndReplayed runs f twice: for a request that is accepted, and for one that is
// refused and replayed.
func acceptedAndReplayed(t *testing.T, opts reauthtest.Options, f func(*testing.T, *reauthtest.Server, *reauth.Transport), with ...func(*reauth.Config)) {
	protocols(t, opts, func(t *testing.T, s *reauthtest.Server) {
		for _, name := range []string{"accepted", "replayed"} {
			t.Run(name, func(t *testing.T) {
				tr := signedIn(t, s, with...)
				if name == "replayed" {
					s.ExpireAccess()
				}
				f(t, s, tr)
				if name == "replayed" {
					assert.Equal(t, 1, s.Counts().APIRefused)
				}
			})
		}
	})
}

func TestSocketsOneRefreshForTwoThousandRequests(t *testing.T) {
	const n = 2000
	for name, tc := range map[string]struct {
		prepare  func(*testing.T, *reauthtest.Server, *reauth.Transport)
		requests int // 0: none has a response
	}{
		"refused": {func(_ *testing.T, s *reauthtest.Server, _ *reauth.Transport) { s.ExpireAccess() }, 2 * n},
		"expired": {func(t *testing.T, s *reauthtest.Server, tr *reauth.Transport) {
			tok := reauth.Token(s.SignIn("ann"))
			tok.Expiry = time.Now().Add(-time.Second)
			require.NoError(t, tr.SignIn(t.Context(), tok))
			s.ExpireAccess()
		}, n},
		"revoked": {func(_ *testing.T, s *reauthtest.Server, _ *reauth.Transport) { s.Revoke("ann") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := reauthtest.NewServer(t, reauthtest.Options{}), bounded(t)
			base := s.Transport().Clone()
			base.MaxConnsPerHost, base.MaxIdleConnsPerHost = 100, 100
			t.Cleanup(base.CloseIdleConnections)
			tr := signedIn(t, s, func(c *reauth.Config) { c.Base = base })
			tc.prepare(t, s, tr)
			release := s.BlockRefresh()
			wait := storm(ctx, tr, s.APIURL("/"), n)
			if name == "refused" {
				require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRefused >= n }))
			}
			release()

			results := wait()
			assert.Equal(t, 1, s.Counts().Refreshes)
			if tc.requests > 0 {
				testworld.AssertAllOK(t, results)
				assert.Equal(t, tc.requests, s.Counts().APIRequests)
				return
			}
			for _, r := range results {
				require.ErrorIs(t, r.Err, reauth.ErrSignInRequired)
			}
		})
	}
}

func TestRefusalsCostNoConnection(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{
		Refusal: reauthtest.Failure{Body: strings.Repeat("no", 10_000)},
	})
	tr := signedIn(t, s, func(c *reauth.Config) { c.RefreshPause = -1 })
	for range 20 {
		s.ExpireAccess()
		status, err := fetch(t.Context(), tr, s.APIURL("/"))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	assert.Equal(t, 20, s.Counts().APIRefused)
	assert.Equal(t, 20, s.Counts().Refreshes)
	// One is needed, but draining a body has no more than 100 ms, which a busy machine
	// may miss.
	assert.LessOrEqual(t, s.Counts().Connections, 3)
}

func TestRefreshGetsAConnectionThoughRefusalsHoldAllOfThem(t *testing.T) {
	const conns, n = 4, 16
	s := reauthtest.NewServer(t, reauthtest.Options{Refusal: reauthtest.Failure{Body: strings.Repeat("no", 5000)}})
	shared := s.Transport().Clone()
	shared.MaxConnsPerHost = conns
	t.Cleanup(shared.CloseIdleConnections)
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Base = shared
		c.Refresher = &oauth.Refresher{TokenURL: s.TokenURL(), Client: &http.Client{Transport: shared}}
		c.RefreshTimeout = time.Minute // the test does not wait for it
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.ExpireAccess()
	release := s.BlockAPI()
	wait := storm(ctx, tr, s.APIURL("/"), n)
	require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests >= conns }))
	release()

	testworld.AssertAllOK(t, wait())
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestUpgradedConnectionIsHandedOver(t *testing.T) {
	for name, refused := range map[string]func(*http.Response) bool{
		"DefaultRefused": nil,
		"a predicate": func(resp *http.Response) bool {
			_, _ = io.ReadAll(resp.Body) // of a connection this would never end
			return resp.StatusCode == http.StatusUnauthorized
		},
	} {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/expired=%t", name, expired), func(t *testing.T) {
				s := reauthtest.NewServer(t, reauthtest.Options{})
				s.Handle("/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Upgrade") != "echo" {
						w.WriteHeader(http.StatusUpgradeRequired)
						return
					}
					conn, buffered, err := http.NewResponseController(w).Hijack()
					if !assert.NoError(t, err) {
						return
					}
					defer conn.Close()
					_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
					_, _ = io.Copy(conn, buffered)
				}))
				client := &http.Client{Transport: signedIn(t, s, func(c *reauth.Config) { c.Refused = refused })}
				if expired {
					s.ExpireAccess()
				}
				req := testworld.Request(t, http.MethodGet, s.APIURL("/echo"), nil).WithContext(bounded(t))
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", "echo")
				resp, err := client.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()

				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				conn, ok := resp.Body.(io.ReadWriteCloser)
				require.True(t, ok, "%T", resp.Body)
				for _, line := range []string{"to and fro", "and again"} {
					_, err = io.WriteString(conn, line)
					require.NoError(t, err)
					got := make([]byte, len(line))
					_, err = io.ReadFull(conn, got)
					require.NoError(t, err)
					assert.Equal(t, line, string(got))
				}
				assert.Equal(t, expired, s.Counts().Refreshes == 1)
			})
		}
	}
}

func TestTrailersOfAResponseArrive(t *testing.T) {
	acceptedAndReplayed(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server, tr *reauth.Transport) {
		path := "/" + t.Name()
		s.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "content")
			w.Header().Set("X-Sum", "1234")
		}))
		resp, err := (&http.Client{Transport: tr}).Get(s.APIURL(path))
		require.NoError(t, err)
		assert.Contains(t, resp.Trailer, "X-Sum", "announced")
		assert.Empty(t, resp.Trailer.Get("X-Sum"))
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, "1234", resp.Trailer.Get("X-Sum"))
	})
}

func TestTrailersOfARequestArrive(t *testing.T) {
	acceptedAndReplayed(t, reauthtest.Options{AccessToken: tokenAfterBody}, func(t *testing.T, s *reauthtest.Server, tr *reauth.Transport) {
		path := "/" + t.Name()
		arrived := make(chan [2]string, 1)
		s.Handle(path, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			arrived <- [2]string{string(body), r.Trailer.Get("X-Sum")}
		}))
		req := testworld.Request(t, http.MethodPost, s.APIURL(path), nil).WithContext(bounded(t))
		req.Trailer = http.Header{"X-Sum": nil}
		sum := readerFunc(func([]byte) (int, error) {
			req.Trailer.Set("X-Sum", "1234") // known once the body is at its end
			return 0, io.EOF
		})
		req.Body, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("content"), sum)), -1
		resp, err := (&http.Client{Transport: tr}).Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, [2]string{"content", "1234"}, <-arrived)
	})
}

func TestResponsesStream(t *testing.T) {
	acceptedAndReplayed(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server, tr *reauth.Transport) {
		path := "/" + t.Name()
		seen := make(chan struct{})
		s.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first half, ")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-seen:
				_, _ = io.WriteString(w, "second half")
			case <-r.Context().Done():
			}
		}))
		resp, err := tr.RoundTrip(testworld.Request(t, http.MethodGet, s.APIURL(path), nil).WithContext(bounded(t)))
		require.NoError(t, err)
		defer resp.Body.Close()
		half := make([]byte, len("first half, "))
		_, err = io.ReadFull(resp.Body, half)
		require.NoError(t, err)
		assert.Equal(t, "first half, ", string(half))
		close(seen)
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "second half", string(rest))
	}, func(c *reauth.Config) { c.Refused = reauth.RefusedStatus(401, 403) })
}

func TestResponseBodyIsHandedOverUntouched(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		s.Handle("/missing", http.NotFoundHandler())
		for name, refused := range map[string]func(*http.Response) bool{
			"DefaultRefused": nil, "a predicate": reauth.RefusedStatus(http.StatusUnauthorized),
		} {
			t.Run(name, func(t *testing.T) {
				var last io.ReadCloser
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.Refused = refused
					c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
						resp, err := s.Transport().RoundTrip(req)
						if err == nil {
							last = resp.Body
						}
						return resp, err
					})
				})
				get := func(path string, want int) {
					resp, err := tr.RoundTrip(testworld.Request(t, http.MethodGet, s.APIURL(path), nil))
					require.NoError(t, err)
					defer resp.Body.Close()
					assert.Equal(t, want, resp.StatusCode)
					assert.True(t, last == resp.Body, "%T became a %T", last, resp.Body)
				}
				get("/", http.StatusOK)
				get("/missing", http.StatusNotFound)
				s.ExpireAccess()
				get("/", http.StatusOK) // replayed
				s.ExpireAccess()
				get("/other", http.StatusUnauthorized) // so soon after a refresh, and never accepted there
			})
		}
	})
}

func TestClientWithACookieJar(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		var mu sync.Mutex
		var cookies []string
		s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			cookies = append(cookies, r.Header.Get("Cookie"))
			http.SetCookie(w, &http.Cookie{Name: "visit", Value: r.URL.Path[1:]})
		}))
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		client := &http.Client{Transport: signedIn(t, s), Jar: jar, Timeout: 20 * time.Second}
		for _, path := range []string{"/first", "/second", "/third"} {
			if path == "/second" {
				s.ExpireAccess() // it is replayed
			}
			resp, err := client.Get(s.APIURL(path))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, http.StatusOK, resp.StatusCode)
		}
		assert.Equal(t, []string{"", "visit=first", "visit=second"}, cookies)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestTimeoutOfAClientEndsItsOwnRequestAlone(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		const n = 10
		ctx := bounded(t)
		tr := signedIn(t, s)
		s.ExpireAccess()
		release := s.BlockRefresh()
		defer release()
		wait := storm(ctx, tr, s.APIURL("/"), n)
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 && c.APIRefused >= n }))

		_, err := (&http.Client{Transport: tr, Timeout: 20 * time.Millisecond}).Get(s.APIURL("/"))

		require.Error(t, err)
		assert.True(t, os.IsTimeout(err), "%v", err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		ofClient, ok := errors.AsType[*url.Error](err)
		require.True(t, ok)
		assert.True(t, ofClient.Timeout())
		_, ok = errors.AsType[*reauth.RefreshError](err)
		assert.False(t, ok, "%v", err)

		release()
		testworld.AssertAllOK(t, wait())
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestRefreshOutlivesTheRequestThatStartedIt(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		const n = 10
		ctx := bounded(t)
		tr := signedIn(t, s)
		s.ExpireAccess()
		release := s.BlockRefresh()
		defer release()
		starts, cancel := context.WithCancel(ctx)
		defer cancel()
		started := storm(starts, tr, s.APIURL("/"), 1)
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
		wait := storm(ctx, tr, s.APIURL("/"), n)
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRefused >= n+1 }))

		cancel()
		assert.ErrorIs(t, started()[0].Err, context.Canceled)
		release()

		testworld.AssertAllOK(t, wait())
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

// Not parallel: it takes the place of http.DefaultTransport.
func TestTransportMayBeTheDefaultTransport(t *testing.T) {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	s := reauthtest.NewServer(t, reauthtest.Options{})
	http.DefaultTransport = s.Transport() // leaves no idle connection behind
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Base = nil
		c.Refresher = &oauth.Refresher{TokenURL: s.TokenURL()} // with a plain client, which tr itself serves
		c.RefreshTimeout = time.Minute
	})
	http.DefaultTransport = tr
	tok := reauth.Token(s.SignIn("ann"))
	tok.Expiry = time.Now().Add(-time.Second) // the refresh comes first, and must not wait for itself
	require.NoError(t, tr.SignIn(t.Context(), tok))

	resp, err := (&http.Client{Timeout: 20 * time.Second}).Get(s.APIURL("/"))

	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, 1, s.Counts().Refreshes)
	assert.Equal(t, 1, s.Counts().APIRequests)
}

func TestReverseProxyStreamsAnUploadThatIsRefused(t *testing.T) {
	protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
		ctx := bounded(t)
		base, refused := tellFirstAnswer(s.Transport())
		tr := signedIn(t, s, func(c *reauth.Config) { c.Base = base })
		target, err := url.Parse(s.URL)
		require.NoError(t, err)
		proxy := httptest.NewServer(&httputil.ReverseProxy{
			Transport: tr,
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		})
		defer proxy.Close()
		s.ExpireAccess()

		data := randomBytes(200_000)
		resp, err := proxy.Client().Do(upload(t, ctx, proxy.URL+"/upload", trickle(ctx, data, 20_000, refused), -1))
		require.NoError(t, err)
		defer resp.Body.Close()

		require.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
		assert.Equal(t, 1, s.Counts().APIRefused)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

// meddling changes what it is given in every way that a base transport should not,
// short of writing into memory that a request shares with its clones.
func meddling(base http.RoundTripper) http.RoundTripper {
	return testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
		for k, v := range req.Header {
			req.Header[k] = append(v, "meddled")[:len(v)]
		}
		own := req.Clone(req.Context())
		req.Header.Set("X-Meddled", "yes")
		req.Header.Del("Accept")
		req.Method, req.Host, req.Close = "MEDDLED", "meddled.example", true
		req.URL = &url.URL{Host: "meddled.example"}
		resp, err := base.RoundTrip(own)
		if err == nil {
			resp.Request = own
		}
		return resp, err
	})
}

func TestCallersRequestIsNeverWrittenTo(t *testing.T) {
	protocols(t, reauthtest.Options{AccessToken: tokenAfterBody}, func(t *testing.T, s *reauthtest.Server) {
		for name, tc := range map[string]struct {
			prepare func(*testing.T, *reauth.Transport)
			status  int // 0: an error
		}{
			"accepted": {func(*testing.T, *reauth.Transport) {}, http.StatusOK},
			"replayed": {func(*testing.T, *reauth.Transport) { s.ExpireAccess() }, http.StatusOK},
			"refused": {func(t *testing.T, tr *reauth.Transport) {
				s.ExpireAccess()
				_, err := fetch(t.Context(), tr, s.APIURL("/"))
				assert.NoError(t, err)
				s.ExpireAccess()
			}, http.StatusUnauthorized},
			"no token": {func(t *testing.T, tr *reauth.Transport) { assert.NoError(t, tr.SignOut(t.Context())) }, 0},
		} {
			t.Run(name, func(t *testing.T) {
				tr := signedIn(t, s, func(c *reauth.Config) { c.Base = meddling(s.Transport()) })
				tc.prepare(t, tr)
				accept := append(make([]string, 0, 4), "text/plain")
				req := testworld.Request(t, http.MethodPost, s.APIURL("/path?query=1#fragment"), strings.NewReader("content"))
				req.Header = http.Header{"Accept": accept, "X-Several": {"one", "two"}}
				req.Trailer = http.Header{"X-Sum": {"1234"}}
				req.ContentLength, req.TransferEncoding = -1, []string{"chunked"}
				req.Form, req.PostForm = url.Values{"a": {"b"}}, url.Values{"c": {"d"}}
				shallow, deep := *req, req.Clone(req.Context())

				resp, err := tr.RoundTrip(req)

				if tc.status == 0 {
					require.ErrorIs(t, err, reauth.ErrSignInRequired)
				} else {
					require.NoError(t, err)
					defer resp.Body.Close()
					assert.Equal(t, tc.status, resp.StatusCode)
					assert.Same(t, req, resp.Request, "the caller's own, without the token")
				}
				assert.Same(t, shallow.URL, req.URL)
				assert.True(t, shallow.Body == req.Body)
				assert.Same(t, shallow.Context(), req.Context())
				assert.Equal(t, []string{"text/plain", "", "", ""}, accept[:4], "nor behind what the caller sees of it")
				req.Body, deep.Body, req.GetBody, deep.GetBody = nil, nil, nil, nil
				assert.Equal(t, deep, req)
			})
		}
	})
}
