package body_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
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
	src := newSource(bytes.NewReader(make([]byte, 1<<20)))
	body.Drain(t.Context(), &http.Response{Body: src, ContentLength: -1})
	assert.EqualValues(t, 64<<10, src.bytes.Load())
	assert.EqualValues(t, 1, src.closes.Load())
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
				body.Drain(ctx, &http.Response{Body: src, ContentLength: -1})
				assert.Equal(t, tc.want, time.Since(start))
				synctest.Wait()
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

func TestDrainClosesOnce(t *testing.T) {
	src := textSource("expired")
	body.Drain(t.Context(), &http.Response{Body: src, ContentLength: 7})
	assert.EqualValues(t, 7, src.bytes.Load())
	assert.EqualValues(t, 1, src.closes.Load())

	src = textSource("expired")
	body.Drain(t.Context(), &http.Response{Body: src, ContentLength: 0})
	assert.Zero(t, src.reads.Load())
	assert.EqualValues(t, 1, src.closes.Load())

	body.Drain(t.Context(), &http.Response{Body: http.NoBody, ContentLength: -1})
	body.Drain(t.Context(), &http.Response{})
}
