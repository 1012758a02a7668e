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

// Drain reads the rest of a response body, so that its connection can be used again, and
// closes it. It reads at most 64 KiB, for at most 100 ms, and only until ctx is done. It
// reports whether that was the whole body. If so, resp has it again, from memory. A panic
// of the body counts as an error of it.
func Drain(ctx context.Context, resp *http.Response) (whole bool) {
	source := resp.Body
	if source == nil || source == http.NoBody { // nil as from some fakes in tests; http.Client tolerates it too
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	// Close can wait: in net/http for the Read in progress, as when the header of a gzipped
	// body does not arrive, or over HTTP/2 for a Read of the request's body.
	defer within(ctx, func() { source.Close() })

	if resp.ContentLength == 0 {
		resp.Body = http.NoBody
		return true
	}
	var kept bytes.Buffer
	var err error
	inTime := within(ctx, func() { // ends with the body, or when Close makes its Read fail
		_, err = io.CopyN(&kept, source, drainBytes+1)
	})
	if !inTime || err != io.EOF { // nil: there is more, or a panic
		return false
	}
	resp.Body = io.NopCloser(&kept)
	return true
}

// within calls f in a goroutine and reports whether it returned, or panicked, before ctx
// was done.
func within(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { recover() }() // nobody else could
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
