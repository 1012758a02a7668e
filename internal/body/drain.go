package body

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Beyond these a new connection is the cheaper way on.
const (
	drainBytes = 64 << 10
	drainTime  = 100 * time.Millisecond
)

// Drain reads what is left of a refused answer, so that its connection can be
// used again, and closes it. It reads at most 64 KiB, for at most 100 ms, and
// not after ctx ends.
func Drain(ctx context.Context, resp *http.Response) {
	if resp.Body == nil { // some test doubles; http.Client bears with them too
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
		// Not waited for: net/http's Close can itself wait for the Read under
		// way, as when the header of a gzipped body does not arrive.
		go resp.Body.Close()
	}
}
