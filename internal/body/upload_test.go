package body_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/body"
)

// On real sockets, where net/http may still be reading the first body when the refusal
// arrives.

// uploadServer refuses requests with the token "old" as soon as it has their header, and
// answers others with the hash of their body.
func uploadServer(t *testing.T, http2 bool) (url string, base *http.Transport) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "old" {
			if r.ProtoMajor == 1 {
				// Otherwise the server reads the body before it answers.
				assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			}
			http.Error(w, "expired", http.StatusUnauthorized)
			return
		}
		hash := sha256.New()
		io.Copy(hash, r.Body)
		fmt.Fprintf(w, "%x", hash.Sum(nil))
	}))
	srv.EnableHTTP2 = http2
	if http2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv.URL, srv.Client().Transport.(*http.Transport)
}

func upload(t *testing.T, base *http.Transport, url, token string, content io.ReadCloser, length int64) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	require.NoError(t, err)
	req.Body, req.ContentLength = content, length
	req.Header.Set("Authorization", token)
	resp, err := base.RoundTrip(req)
	require.NoError(t, err)
	if token == "old" {
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
	return resp
}

// awaitClose waits for the source to be closed, which net/http may do after RoundTrip has
// returned.
func (s *source) awaitClose(t *testing.T) {
	t.Helper()
	select {
	case <-s.closed:
		assert.EqualValues(t, 1, s.closes.Load())
	case <-time.After(10 * time.Second):
		t.Error("the source is not closed")
	}
}

func TestUploadRefusedEarlyArrivesWhole(t *testing.T) {
	data := make([]byte, 512<<10)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, http2 := range []bool{false, true} {
		for _, length := range []int64{-1, int64(len(data))} {
			t.Run(fmt.Sprintf("http2=%t/length=%d", http2, length), func(t *testing.T) {
				url, base := uploadServer(t, http2)
				pr, pw := io.Pipe()
				src := newSource(pr)
				refused := make(chan struct{})
				go func() {
					pw.Write(data[:32<<10])
					<-refused // the rest is written after the response has arrived
					for rest := data[32<<10:]; len(rest) > 0; rest = rest[8<<10:] {
						pw.Write(rest[:8<<10])
					}
					pw.Close()
				}()
				b := body.New(request(t.Context(), src, length), int64(len(data)))

				resp := upload(t, base, url, "old", b.First(), length)
				require.Equal(t, http2, resp.ProtoMajor == 2)
				close(refused)
				second := replay(t, b)
				body.Drain(t.Context(), resp)

				resp = upload(t, base, url, "new", second, length)
				assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), readAll(t, resp.Body))
				resp.Body.Close()
				base.CloseIdleConnections()
				src.awaitClose(t)
			})
		}
	}
}

func TestUploadRefusedAndNotReplayedStopsTheCaller(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			url, base := uploadServer(t, http2)
			pr, pw := io.Pipe()
			src := newSource(pr)
			ctx, cancel := context.WithCancel(t.Context())
			b := body.New(request(ctx, src, -1), 1<<20)

			resp := upload(t, base, url, "old", b.First(), -1)
			cancel()                          // so that Replay does not wait
			if second, ok := b.Replay(); ok { // nothing was being read just then
				second.Close()
			}
			assert.Equal(t, "expired\n", readAll(t, resp.Body), "the refusal is handed over whole")
			resp.Body.Close()
			stopped := make(chan error, 1)
			go func() { // HTTP/1 goes on sending until the connection is closed
				var err error
				for err == nil {
					_, err = pw.Write(make([]byte, 64<<10))
				}
				stopped <- err
			}()
			src.awaitClose(t)
			require.ErrorIs(t, <-stopped, io.ErrClosedPipe)
		})
	}
}
