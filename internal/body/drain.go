package body

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Beyond these limits a new connection costs less than the drain.
const (
	drainBytes = 64 << 10
	drainTime  = 100 * time.Millisecond
)

// Drain reads the rest of a response body, so that its connection can be used again, and
// closes it. It reads at most 64 KiB, for at most 100 ms, and only until ctx is done.
func Drain(ctx context.Context, resp *http.Response) {
	if resp.Body == nil { // as from some fakes in tests; http.Client tolerates it too
		return
	}
	if resp.Body == http.NoBody || resp.ContentLength == 0 {
		resp.Body.Close()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	done := make(chan struct{})
	go func() { // ends with the body, or when Close makes its Read fail
		defer close(done)
		io.CopyN(io.Discard, resp.Body, drainBytes)
	}()
	select {
	case <-done:
		resp.Body.Close()
	case <-ctx.Done():
		// Drain does not wait for Close, because net/http's Close can wait for the Read
		// in progress, as when the header of a gzipped body does not arrive.
		go resp.Body.Close()
	}
}
