package reauth_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
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

// Bodies that can be read again, and streams that wait for the response.

// A slowReader returns at most a few KiB at a time, and only after a pause.
type slowReader struct {
	io.ReadSeeker
	piece int
	pause time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause)
	return r.ReadSeeker.Read(p[:min(len(p), r.piece)])
}

// rewindOne gives req a body of the one reader that its GetBody rewinds and returns again,
// as libraries do that retry.
func rewindOne(req *http.Request, r io.ReadSeeker) {
	req.Body = io.NopCloser(r)
	req.GetBody = func() (io.ReadCloser, error) {
		_, err := r.Seek(0, io.SeekStart)
		return io.NopCloser(r), err
	}
}

func TestBodyOfOneReaderArrivesWhole(t *testing.T) {
	for _, size := range []int{500, 200 << 10, 1 << 20, 8 << 20} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("size=%d/known=%t", size, known), func(t *testing.T) {
				protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
					ctx := bounded(t)
					data := randomBytes(size)
					tr := signedIn(t, s)
					for range 3 {
						s.ExpireAccess()
						require.NoError(t, tr.SignIn(ctx, reauth.Token(s.SignIn("ann"))))
						s.ExpireAccess()
						req := testworld.Request(t, http.MethodPost, s.APIURL("/"), nil).WithContext(ctx)
						rewindOne(req, &slowReader{bytes.NewReader(data), max(1000, size/50), 100 * time.Microsecond})
						if known {
							req.ContentLength = int64(size)
						}
						resp, err := tr.RoundTrip(req)
						require.NoError(t, err)
						resp.Body.Close()
						require.Equal(t, http.StatusOK, resp.StatusCode)
						assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
					}
				})
			})
		}
	}
}

func TestRefusalIsHandedOverIfTheBodyIsReadOnAndOn(t *testing.T) {
	protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
		ctx := bounded(t)
		unblock := make(chan struct{})
		tr := signedIn(t, s)
		s.ExpireAccess()
		answer := s.BlockAPI()
		defer answer()
		req := testworld.Request(t, http.MethodPost, s.APIURL("/"), nil).WithContext(ctx)
		req.ContentLength = 10_000
		req.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
			answer()
			<-unblock
			return 0, io.ErrUnexpectedEOF
		}))
		req.GetBody = func() (io.ReadCloser, error) {
			t.Error("GetBody is called while the first attempt reads")
			return nil, testworld.ErrFault
		}

		resp, err := tr.RoundTrip(req)

		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.NotEmpty(t, text)
		close(unblock)
		resp.Body.Close()
	})
}

// A server that answers early and reads on gets the whole body.
func TestEarlyResponseDoesNotStopABodyWithGetBody(t *testing.T) {
	protocols(t, reauthtest.Options{}, func(t *testing.T, s *reauthtest.Server) {
		s.Handle("/early", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if r.ProtoMajor == 1 {
				assert.NoError(t, control.EnableFullDuplex())
			}
			w.WriteHeader(http.StatusOK)
			assert.NoError(t, control.Flush())
			data, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			_, _ = io.WriteString(w, hexSum(data))
		}))
		ctx := bounded(t)
		data := randomBytes(200 << 10)
		req := testworld.Request(t, http.MethodPost, s.APIURL("/early"), nil).WithContext(ctx)
		rewindOne(req, &slowReader{bytes.NewReader(data), 4 << 10, 100 * time.Microsecond})
		resp, err := signedIn(t, s).RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		sum, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, hexSum(data), string(sum))
	})
}

// net/http sends a request again by itself, for example when an HTTP/2 server refuses the
// stream. Then it is a body that GetBody returned to net/http that the replay waits for.
func TestBodyThatTheBaseHasSentAgainArrivesWhole(t *testing.T) {
	protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
		ctx := bounded(t)
		data := randomBytes(200 << 10)
		first := true
		tr := signedIn(t, s, func(c *reauth.Config) {
			c.Base = testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				if !first {
					return s.Transport().RoundTrip(req)
				}
				first = false
				if _, err := io.CopyN(io.Discard, req.Body, 10_000); err != nil {
					return nil, err
				}
				req.Body.Close()
				again := req.Clone(req.Context())
				var err error
				if again.Body, err = req.GetBody(); err != nil {
					return nil, err
				}
				return s.Transport().RoundTrip(again)
			})
		})
		s.ExpireAccess()
		req := testworld.Request(t, http.MethodPut, s.APIURL("/"), nil).WithContext(ctx)
		rewindOne(req, &slowReader{bytes.NewReader(data), 4 << 10, 200 * time.Microsecond})
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, hexSum(data), resp.Header.Get("X-Body-SHA256"))
	})
}

func TestCallerOfAReplayedStreamIsStoppedWhenTheResponseEnds(t *testing.T) {
	protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
		s.Handle("/brief", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "bye") }))
		ctx := bounded(t)
		tr := signedIn(t, s, func(c *reauth.Config) { c.ReplayBuffer = 64 << 20 }) // more than sockets hold
		s.ExpireAccess()
		pr, pw := io.Pipe()
		body := testworld.NewBody(t, pr)
		stopped := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = pw.Write(make([]byte, 1000))
			}
			stopped <- err
		}()
		resp, err := tr.RoundTrip(testworld.Request(t, http.MethodPost, s.APIURL("/brief"), body).WithContext(ctx))
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "bye", string(text))
		resp.Body.Close()
		tr.CloseIdleConnections()
		body.AwaitClose(ctx)
		assert.ErrorIs(t, <-stopped, io.ErrClosedPipe)
	})
}

// The caller writes to its stream once it has the response, so the replay can't wait for
// what it writes.
func TestBidirectionalStreamIsReplayed(t *testing.T) {
	for _, written := range []string{"", "hello "} { // before the response
		t.Run("written="+written, func(t *testing.T) {
			protocols(t, reauthtest.Options{RefuseEarly: true}, func(t *testing.T, s *reauthtest.Server) {
				s.Handle("/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					control := http.NewResponseController(w)
					if r.ProtoMajor == 1 {
						assert.NoError(t, control.EnableFullDuplex())
					}
					w.WriteHeader(http.StatusOK)
					assert.NoError(t, control.Flush())
					p := make([]byte, 100)
					for {
						n, err := r.Body.Read(p)
						_, _ = w.Write(p[:n])
						_ = control.Flush()
						if err != nil {
							return
						}
					}
				}))
				ctx := bounded(t)
				tr := signedIn(t, s)
				s.ExpireAccess()
				pr, pw := io.Pipe()
				body := testworld.NewBody(t, pr)
				if written != "" {
					go io.WriteString(pw, written)
				}

				resp, err := tr.RoundTrip(testworld.Request(t, http.MethodPost, s.APIURL("/echo"), body).WithContext(ctx))

				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				for _, word := range []string{written, "over ", "and out"} {
					if word != written {
						_, err = io.WriteString(pw, word)
						require.NoError(t, err)
					}
					p := make([]byte, len(word))
					_, err = io.ReadFull(resp.Body, p)
					require.NoError(t, err)
					assert.Equal(t, word, string(p))
				}
				pw.Close()
				rest, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Empty(t, rest)
				body.AwaitClose(ctx)
			})
		})
	}
}

// Nor does it wait in time: the replay goes out when the refresh is done.
func TestPipeThatNothingIsWrittenToIsReplayedAtOnce(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		pr, pw := io.Pipe()
		began := time.Now()
		time.AfterFunc(time.Hour, func() {
			io.WriteString(pw, "late")
			pw.Close()
		})
		resp, err := w.Transport.RoundTrip(testworld.Request(t, http.MethodPost, testworld.APIURL, pr))
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "late", string(text))
		assert.Equal(t, time.Hour, time.Since(began))
	}, refusesFirst(func(req *http.Request) {
		go io.Copy(io.Discard, req.Body) // ends with the body
		synctest.Wait()
	}))
}

// refusesFirst is a base that refuses a request after it has done something with it, and
// answers the next with that one's body.
func refusesFirst(do func(*http.Request)) testworld.Setting {
	var refused bool
	return testworld.Over(func(req *http.Request) (*http.Response, error) {
		if refused = !refused; refused {
			do(req)
			return refusing(req)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: req.Body, Request: req}, nil
	})
}

func TestStatedLengthIsNotBelieved(t *testing.T) {
	for _, length := range []int64{64 << 20, 1 << 40, 1 << 62} {
		testworld.Case(t, fmt.Sprint(length), func(t *testing.T, w *testworld.World) {
			w.SignIn(t)
			req := testworld.Request(t, http.MethodPost, testworld.APIURL, testworld.NewBody(t, strings.NewReader("x")))
			req.ContentLength = length
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			status, err := w.Do(req)
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
		}, func(c *reauth.Config, _ *testworld.World) { c.ReplayBuffer = 1<<63 - 1 })
	}
}

func TestBodyIsClosedOnceWhateverTheBaseDoesWithGetBody(t *testing.T) {
	for name, first := range map[string]func(*http.Request){
		"reads and closes":     func(req *http.Request) { io.Copy(io.Discard, req.Body); req.Body.Close() },
		"reads":                func(req *http.Request) { io.Copy(io.Discard, req.Body) },
		"closes":               func(req *http.Request) { req.Body.Close() },
		"leaves it alone":      func(*http.Request) {},
		"closes twice":         func(req *http.Request) { req.Body.Close(); req.Body.Close() },
		"begins again":         func(req *http.Request) { req.Body.Close(); again, _ := req.GetBody(); again.Close() },
		"sends it twice":       func(req *http.Request) { again, _ := req.GetBody(); io.Copy(io.Discard, again); req.Body.Close() },
		"closes after a while": func(req *http.Request) { time.AfterFunc(time.Hour, func() { req.Body.Close() }) },
	} {
		var bodies []*testworld.Body
		testworld.Case(t, name, func(t *testing.T, w *testworld.World) {
			bodies = nil
			next := func() *testworld.Body {
				b := testworld.NewBody(t, strings.NewReader("hello"))
				bodies = append(bodies, b)
				return b
			}
			w.SignIn(t)
			w.Revoke()
			req := testworld.Request(t, http.MethodPost, testworld.APIURL, next())
			req.GetBody = func() (io.ReadCloser, error) { return next(), nil }
			resp, err := w.Transport.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(text))
			resp.Body.Close()
			time.Sleep(2 * time.Hour)
			for i, b := range bodies {
				assert.True(t, b.IsClosed(), "body %d of %d", i, len(bodies))
			}
		}, refusesFirst(first))
	}
}
