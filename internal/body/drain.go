package body

import (
	"bytes"
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

// Drain reads what is left of a refused response, so that its connection can be used
// again, and closes it. It reads at most 64 KiB, for at most 100 ms, and not after ctx is
// done. It reports whether that was all: then the response has its whole body again, from
// memory.
func Drain(ctx context.Context, resp *http.Response) (whole bool) {
	if resp.Body == nil { // as some test doubles have it, and http.Client tolerates
		return true
	}
	if resp.Body == http.NoBody || resp.ContentLength == 0 {
		resp.Body.Close()
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	source := resp.Body
	done := make(chan error, 1)
	var kept bytes.Buffer
	go func() { // ends with the body, or when Close makes its Read fail
		_, err := io.CopyN(&kept, source, drainBytes+1)
		done <- err
	}()
	select {
	case err := <-done:
		source.Close()
		if err != io.EOF {
			return false
		}
		resp.Body = io.NopCloser(&kept)
		return true
	case <-ctx.Done():
		// Not waited for: net/http's Close can itself wait for the Read under way, for
		// example when the header of a gzipped body does not arrive.
		go source.Close()
		return false
	}
}
