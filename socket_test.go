package reauth_test

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// What can only be seen with net/http's own client and servers on real sockets.
// Nothing here waits for a time to pass: what must come first is held back by a
// channel or by the server.

// signedIn returns a Transport by which ann uses s.
func signedIn(t *testing.T, s *reauthtest.Server, with ...func(*reauth.Config)) *reauth.Transport {
	t.Helper()
	cfg := reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), Client: s.Client()},
		Origins:   []string{s.URL},
		Base:      s.Transport(),
	}
	for _, f := range with {
		f(&cfg)
	}
	tr, err := reauth.New(cfg)
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), reauth.Token(s.SignIn("ann"))))
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	return tr
}

// bounded returns a context that makes a test fail which would otherwise hang.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// fetch sends a GET request and reads the answer to its end.
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

// protocols runs f over HTTP/1 and over HTTP/2.
func protocols(t *testing.T, opts reauthtest.Options, f func(t *testing.T, s *reauthtest.Server)) {
	for _, name := range []string{"HTTP/1", "HTTP/2"} {
		opts.TLS = name == "HTTP/2"
		t.Run(name, func(t *testing.T) { f(t, reauthtest.NewServer(t, opts)) })
	}
}

// tokenAfterBody is for Options.AccessToken: a server that reads a request to its
// end before it decides. Over HTTP/2 net/http's server takes trailers that reach
// it after it has refused their request for a fault of the whole connection.
func tokenAfterBody(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// tellFirstAnswer returns a base that tells when it has got its first answer.
func tellFirstAnswer(base http.RoundTripper) (_ http.RoundTripper, answered <-chan struct{}) {
	done := make(chan struct{})
	var once sync.Once
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(req)
		once.Do(func() { close(done) })
		return resp, err
	}), done
}

func TestSocketsOneRefreshForTwoThousandRequests(t *testing.T) {
	const n = 2000
	storm := func(ctx context.Context, tr *reauth.Transport, url string) <-chan []result {
		done := make(chan []result)
		go func() {
			results := make([]result, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { results[i].status, results[i].err = fetch(ctx, tr, url) })
			}
			wg.Wait()
			done <- results
		}()
		return done
	}
	few := func(s *reauthtest.Server) func(*reauth.Config) {
		return func(c *reauth.Config) {
			base := s.Transport().Clone()
			base.MaxConnsPerHost, base.MaxIdleConnsPerHost = 100, 100
			t.Cleanup(base.CloseIdleConnections)
			c.Base = base
		}
	}

	t.Run("refused", func(t *testing.T) {
		s, ctx := reauthtest.NewServer(t, reauthtest.Options{}), bounded(t)
		tr := signedIn(t, s, few(s))
		s.ExpireAccess()
		release := s.BlockRefresh()
		answers := storm(ctx, tr, s.APIURL("/"))
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRefused == n }))
		release()

		assertAllOK(t, <-answers)
		counts := s.Counts()
		assert.Equal(t, 1, counts.Refreshes)
		assert.Equal(t, 2*n, counts.APIRequests)
	})
	t.Run("expired", func(t *testing.T) {
		s, ctx := reauthtest.NewServer(t, reauthtest.Options{}), bounded(t)
		tr := signedIn(t, s, few(s))
		tok := reauth.Token(s.SignIn("ann"))
		tok.Expiry = time.Now().Add(-time.Second)
		require.NoError(t, tr.SignIn(ctx, tok))
		s.ExpireAccess()

		assertAllOK(t, <-storm(ctx, tr, s.APIURL("/")))
		counts := s.Counts()
		assert.Equal(t, 1, counts.Refreshes)
		assert.Equal(t, n, counts.APIRequests, "nobody was sent with the expired token")
	})
	t.Run("the session is over", func(t *testing.T) {
		s, ctx := reauthtest.NewServer(t, reauthtest.Options{}), bounded(t)
		tr := signedIn(t, s, few(s))
		s.Revoke("ann")

		for _, r := range <-storm(ctx, tr, s.APIURL("/")) {
			require.ErrorIs(t, r.err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
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
	counts := s.Counts()
	assert.Equal(t, 20, counts.APIRefused)
	assert.Equal(t, 20, counts.Refreshes)
	// One; but a drain has no more than 100 ms, which a busy machine may miss.
	assert.LessOrEqual(t, counts.Connections, 3)
}

func TestAFlightGetsAConnectionWhereAllAreTakenByRefusals(t *testing.T) {
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
	results := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i].status, results[i].err = fetch(ctx, tr, s.APIURL("/")) })
	}
	require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests == conns }))
	release()
	wg.Wait()

	assertAllOK(t, results)
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestCloseIdleConnectionsReachesTheBase(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	client := &http.Client{Transport: signedIn(t, s)}
	for want := 1; want <= 3; want++ {
		for range 2 {
			resp, err := client.Get(s.APIURL("/"))
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
		}
		assert.Equal(t, want, s.Counts().Connections)
		client.CloseIdleConnections()
	}

	without := signedIn(t, s, func(c *reauth.Config) { c.Base = roundTripper(s.Transport().RoundTrip) })
	assert.NotPanics(t, without.CloseIdleConnections)
}

func TestAnUpgradedConnectionIsHandedOver(t *testing.T) {
	for name, refused := range map[string]func(*http.Response) bool{
		"DefaultRefused": nil,
		"a predicate": func(resp *http.Response) bool {
			_, _ = io.ReadAll(resp.Body) // of a connection this would never end
			return resp.StatusCode == http.StatusUnauthorized
		},
	} {
		for _, expired := range []bool{false, true} {
			t.Run(map[bool]string{false: name, true: name + ", after a 401"}[expired], func(t *testing.T) {
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
				req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, s.APIURL("/echo"), nil)
				require.NoError(t, err)
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
				assert.Equal(t, map[bool]int{true: 1}[expired], s.Counts().Refreshes)
			})
		}
	}
}

func TestAResponsesTrailersArrive(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "content")
			w.Header().Set("X-Sum", "1234")
		}))
		client := &http.Client{Transport: signedIn(t, s)}
		for _, expired := range []bool{false, true} {
			if expired {
				s.ExpireAccess()
			}
			resp, err := client.Get(s.APIURL("/"))
			require.NoError(t, err)
			assert.Contains(t, resp.Trailer, "X-Sum", "announced")
			assert.Empty(t, resp.Trailer.Get("X-Sum"))
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, "1234", resp.Trailer.Get("X-Sum"))
		}
		assert.Equal(t, 1, s.Counts().APIRefused)
	})
}

func TestARequestsTrailersArrive(t *testing.T) {
	protocols(t, reauthtest.Options{AccessToken: tokenAfterBody}, func(t *testing.T, s *reauthtest.Server) {
		type arrival struct{ body, trailer string }
		arrived := make(chan arrival, 1)
		s.Handle("/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			arrived <- arrival{string(body), r.Trailer.Get("X-Sum")}
		}))
		client := &http.Client{Transport: signedIn(t, s)}
		for _, expired := range []bool{false, true} {
			if expired {
				s.ExpireAccess()
			}
			req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, s.APIURL("/"), nil)
			require.NoError(t, err)
			req.Trailer = http.Header{"X-Sum": nil}
			sum := readerFunc(func([]byte) (int, error) {
				req.Trailer.Set("X-Sum", "1234") // known once the body is at its end
				return 0, io.EOF
			})
			req.Body, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("content"), sum)), -1
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, arrival{"content", "1234"}, <-arrived)
		}
		assert.Equal(t, 1, s.Counts().APIRefused)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAnAnswerStreams(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		for _, expired := range []bool{false, true} {
			path := map[bool]string{false: "/accepted", true: "/replayed"}[expired]
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
			tr := signedIn(t, s, func(c *reauth.Config) { c.Refused = reauth.RefusedStatus(401, 403) })
			if expired {
				s.ExpireAccess()
			}
			req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, s.APIURL(path), nil)
			require.NoError(t, err)
			resp, err := tr.RoundTrip(req)
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
		}
	})
}

func TestABodyIsHandedOverUntouched(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		s.Handle("/missing", http.NotFoundHandler())
		for name, refused := range map[string]func(*http.Response) bool{
			"DefaultRefused": nil,
			"a predicate":    reauth.RefusedStatus(http.StatusUnauthorized),
		} {
			t.Run(name, func(t *testing.T) {
				var last io.ReadCloser
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.Refused = refused
					c.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
						resp, err := s.Transport().RoundTrip(req)
						if err == nil {
							last = resp.Body
						}
						return resp, err
					})
				})
				get := func(path string, want int) {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL(path), nil)
					require.NoError(t, err)
					resp, err := tr.RoundTrip(req)
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
				get("/", http.StatusUnauthorized) // handed over, so soon after a refresh
			})
		}
	})
}

func TestAClientWithACookieJar(t *testing.T) {
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
		get := func(path string) {
			resp, err := client.Get(s.APIURL(path))
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, http.StatusOK, resp.StatusCode)
		}
		get("/first")
		s.ExpireAccess()
		get("/second") // is replayed
		get("/third")
		assert.Equal(t, []string{"", "visit=first", "visit=second"}, cookies)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestAClientsTimeoutEndsItsOwnRequestAlone(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		const n = 10
		ctx := bounded(t)
		tr := signedIn(t, s)
		s.ExpireAccess()
		release := s.BlockRefresh()
		defer release()
		results := make([]result, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { results[i].status, results[i].err = fetch(ctx, tr, s.APIURL("/")) })
		}
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes == 1 && c.APIRefused == n }))

		hasty := &http.Client{Transport: tr, Timeout: 50 * time.Millisecond}
		_, err := hasty.Get(s.APIURL("/"))

		require.Error(t, err)
		assert.True(t, os.IsTimeout(err), "%v", err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		ofClient, ok := errors.AsType[*url.Error](err)
		require.True(t, ok)
		assert.True(t, ofClient.Timeout())
		_, ok = errors.AsType[*reauth.RefreshError](err)
		assert.False(t, ok, "%v", err)

		release()
		wg.Wait()
		assertAllOK(t, results)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

func TestTheRefreshRequestOutlivesTheRequestThatSetItOff(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		const n = 10
		ctx := bounded(t)
		tr := signedIn(t, s)
		s.ExpireAccess()
		release := s.BlockRefresh()
		defer release()
		leads, cancel := context.WithCancel(ctx)
		defer cancel()
		led := make(chan error, 1)
		go func() {
			_, err := fetch(leads, tr, s.APIURL("/"))
			led <- err
		}()
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes == 1 }))
		results := make([]result, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { results[i].status, results[i].err = fetch(ctx, tr, s.APIURL("/")) })
		}
		require.NoError(t, s.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRefused == n+1 }))

		cancel()
		assert.ErrorIs(t, <-led, context.Canceled)
		release()
		wg.Wait()

		assertAllOK(t, results)
		assert.Equal(t, 1, s.Counts().Refreshes)
	})
}

// Not parallel: it takes http.DefaultTransport's place.
func TestATransportMayBeTheDefaultTransport(t *testing.T) {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	s := reauthtest.NewServer(t, reauthtest.Options{})
	http.DefaultTransport = s.Transport() // leaves no idle connection behind
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Base = nil
		c.Refresher = &oauth.Refresher{TokenURL: s.TokenURL()} // with a plain client, served by tr itself
		c.RefreshTimeout = time.Minute
	})
	http.DefaultTransport = tr
	tok := reauth.Token(s.SignIn("ann"))
	tok.Expiry = time.Now().Add(-time.Second) // the refresh comes first, and must not wait for itself
	require.NoError(t, tr.SignIn(t.Context(), tok))

	client := &http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(s.APIURL("/"))

	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	counts := s.Counts()
	assert.Equal(t, 1, counts.Refreshes)
	assert.Equal(t, 1, counts.APIRequests)
}

func TestAReverseProxyStreamsAnUploadThatIsRefused(t *testing.T) {
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
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, proxy.URL+"/upload", trickle(ctx, data, 20_000, refused))
		require.NoError(t, err)
		resp, err := proxy.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()

		require.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
		counts := s.Counts()
		assert.Equal(t, 1, counts.APIRefused)
		assert.Equal(t, 1, counts.Refreshes)
	})
}

// meddling changes what it is given in every way that a base should not, short
// of writing into memory that a request shares with its clones.
func meddling(base http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
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

func TestTheCallersRequestIsNeverWrittenTo(t *testing.T) {
	protocols(t, reauthtest.Options{AccessToken: tokenAfterBody}, func(t *testing.T, s *reauthtest.Server) {
		accept := append(make([]string, 0, 4), "text/plain")
		request := func(t *testing.T) *http.Request {
			req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, s.APIURL("/path?query=1#fragment"), bytes.NewReader([]byte("content")))
			require.NoError(t, err)
			req.Header["Accept"] = accept
			req.Header["X-Several"] = []string{"one", "two"}
			req.Trailer = http.Header{"X-Sum": {"1234"}}
			req.ContentLength, req.TransferEncoding = -1, []string{"chunked"}
			req.Form, req.PostForm = url.Values{"a": {"b"}}, url.Values{"c": {"d"}}
			return req
		}
		for name, c := range map[string]struct {
			prepare func(tr *reauth.Transport)
			status  int // 0: an error
		}{
			"accepted": {func(*reauth.Transport) {}, http.StatusOK},
			"replayed": {func(*reauth.Transport) { s.ExpireAccess() }, http.StatusOK},
			"refused for good": {func(tr *reauth.Transport) {
				s.ExpireAccess()
				_, err := fetch(t.Context(), tr, s.APIURL("/"))
				assert.NoError(t, err)
				s.ExpireAccess()
			}, http.StatusUnauthorized},
			"no token": {func(tr *reauth.Transport) { assert.NoError(t, tr.SignOut(t.Context())) }, 0},
		} {
			t.Run(name, func(t *testing.T) {
				tr := signedIn(t, s, func(c *reauth.Config) { c.Base = meddling(s.Transport()) })
				c.prepare(tr)
				req := request(t)
				shallow, deep := *req, req.Clone(req.Context())

				resp, err := tr.RoundTrip(req)

				if c.status == 0 {
					require.ErrorIs(t, err, reauth.ErrSignInRequired)
				} else {
					require.NoError(t, err)
					defer resp.Body.Close()
					assert.Equal(t, c.status, resp.StatusCode)
					assert.Same(t, req, resp.Request, "the caller's own, without the token")
				}
				assert.Same(t, shallow.URL, req.URL)
				assert.True(t, shallow.Body == req.Body)
				assert.Equal(t, deep.URL, req.URL)
				assert.Equal(t, deep.Header, req.Header)
				assert.Equal(t, []string{"text/plain", "", "", ""}, accept[:4], "nor behind what the caller sees of it")
				assert.Equal(t, deep.Trailer, req.Trailer)
				assert.Equal(t, deep.Form, req.Form)
				assert.Equal(t, deep.PostForm, req.PostForm)
				assert.Equal(t, deep.TransferEncoding, req.TransferEncoding)
				assert.Equal(t, deep.ContentLength, req.ContentLength)
				assert.Equal(t, deep.Method, req.Method)
				assert.Equal(t, deep.Host, req.Host)
				assert.Equal(t, deep.Close, req.Close)
				assert.Equal(t, deep.RequestURI, req.RequestURI)
				assert.Same(t, shallow.Context(), req.Context())
			})
		}
	})
}
