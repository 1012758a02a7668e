package body_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/body"
)

func TestDrainedConnectionIsUsedAgain(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		w.Write(make([]byte, 20_000))
	}))
	defer srv.Close()
	var reused []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
	})
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		resp, err := srv.Client().Transport.RoundTrip(req)
		require.NoError(t, err)
		body.Drain(ctx, resp)
	}
	assert.Equal(t, []bool{false, true, true}, reused)
}

func TestDrainReadsAtMost64KiB(t *testing.T) {
	for size, whole := range map[int]bool{0: true, 64 << 10: true, 64<<10 + 1: false, 1 << 20: false} {
		src := newSource(bytes.NewReader(make([]byte, size)))
		resp := &http.Response{Body: src, ContentLength: -1}
		assert.Equal(t, whole, body.Drain(t.Context(), resp), size)
		assert.LessOrEqual(t, src.bytes.Load(), int64(64<<10+1), "one more than that shows that there is more")
		assert.EqualValues(t, 1, src.closes.Load())
		if whole {
			assert.Len(t, readAll(t, resp.Body), size, "it can be read again")
			assert.NoError(t, resp.Body.Close())
		}
	}
}

func TestDrainOfABrokenBodyIsNotWhole(t *testing.T) {
	for name, breaks := range map[string]func() error{
		"error":          func() error { return errors.New("broken") },
		"unexpected EOF": func() error { return io.ErrUnexpectedEOF },
		"panic":          func() error { panic("torn page") },
		"Goexit":         func() error { runtime.Goexit(); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			src := newSource(io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) { return 0, breaks() })))
			start := time.Now()
			assert.False(t, body.Drain(t.Context(), &http.Response{Body: src, ContentLength: 9}), name)
			assert.Zero(t, time.Since(start), name)
			assert.EqualValues(t, 1, src.closes.Load(), name)
		})
	}
}

func TestDrainSurvivesACloseThatPanics(t *testing.T) {
	for _, length := range []int64{-1, 0, 5} {
		src := textSource("hello")
		src.close = func() error { panic("torn page") }
		assert.True(t, body.Drain(t.Context(), &http.Response{Body: src, ContentLength: length}))
	}
}

func TestDrainIsBoundedInTime(t *testing.T) {
	for name, tc := range map[string]struct {
		ctx        time.Duration
		closeHangs bool
		want       time.Duration
	}{
		"by itself":          {time.Hour, false, 100 * time.Millisecond},
		"by the context":     {time.Millisecond, false, time.Millisecond},
		"though Close hangs": {time.Hour, true, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.ctx)
				defer cancel()
				pr, pw := io.Pipe() // its Close ends the Read, as net/http's does
				src := newSource(pr)
				if tc.closeHangs {
					arrived := make(chan struct{})
					defer close(arrived)
					src.close = func() error { <-arrived; return pw.Close() }
				}
				start := time.Now()
				assert.False(t, body.Drain(ctx, &http.Response{Body: src, ContentLength: -1}))
				assert.Equal(t, tc.want, time.Since(start))
				synctest.Wait()
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

// net/http's Close over HTTP/2 waits for the Read of the request's body.
func TestDrainDoesNotWaitForCloseForLong(t *testing.T) {
	for _, length := range []int64{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			closing := make(chan struct{})
			src := textSource("hello")
			src.close = func() error { <-closing; return nil }
			start := time.Now()
			assert.True(t, body.Drain(t.Context(), &http.Response{Body: src, ContentLength: length}))
			assert.Equal(t, 100*time.Millisecond, time.Since(start))
			close(closing)
		})
	}
}

func TestDrainClosesOnce(t *testing.T) {
	src := textSource("expired")
	assert.True(t, body.Drain(t.Context(), &http.Response{Body: src, ContentLength: 7}))
	assert.EqualValues(t, 7, src.bytes.Load())
	assert.EqualValues(t, 1, src.closes.Load())

	src = textSource("expired")
	resp := &http.Response{Body: src, ContentLength: 0}
	assert.True(t, body.Drain(t.Context(), resp))
	assert.Zero(t, src.reads.Load())
	assert.EqualValues(t, 1, src.closes.Load())
	assert.Empty(t, readAll(t, resp.Body))

	assert.True(t, body.Drain(t.Context(), &http.Response{Body: http.NoBody, ContentLength: -1}))
	assert.True(t, body.Drain(t.Context(), &http.Response{}))
}
