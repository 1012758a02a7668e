package testworld

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A Setting changes the configuration of a World's Transport.
type Setting = func(*reauth.Config, *World)

// Run runs a test in a bubble, in a World of its own.
func Run(t *testing.T, test func(*testing.T, *World), with ...Setting) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New(t, with...)) })
}

// Over makes f the base transport in place of the World's API.
func Over(f RoundTripper) Setting {
	return func(c *reauth.Config, _ *World) { c.Base = f }
}

// Request returns a request with the context of the test.
func Request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	return req
}

// Start sends a request on a goroutine of its own, and returns once that waits for
// something. The channel gets what comes of the request.
func (w *World) Start(ctx context.Context) <-chan Result {
	done := w.Go(ctx)
	synctest.Wait()
	return done
}

// HoldNext makes the API hold its answer to the next request, which it decides upon
// when that is released.
func (w *World) HoldNext() (release func()) {
	held := make(chan struct{})
	var done atomic.Bool
	w.API.Decide = func(*http.Request) int {
		if done.CompareAndSwap(false, true) {
			<-held
		}
		return 0
	}
	return func() { close(held) }
}

// Everybody lets the API accept every token.
func (w *World) Everybody() { w.API.Decide = func(*http.Request) int { return http.StatusOK } }

// Nobody lets the API refuse every token.
func (w *World) Nobody() { w.API.Decide = func(*http.Request) int { return http.StatusUnauthorized } }

// Only lets the API answer with status, but refuse the given token.
func (w *World) Only(status int, refused reauth.Token) {
	w.API.Decide = func(req *http.Request) int {
		if req.Header.Get("Authorization") == "Bearer "+refused.AccessToken {
			return http.StatusUnauthorized
		}
		return status
	}
}

// A Body is a caller's request body. It can be read once, and closing it twice fails
// the test.
type Body struct {
	t      testing.TB
	r      io.Reader
	closes atomic.Int64
	closed chan struct{}
}

// NewBody returns a Body that reads from r, and closes it if it can be closed.
func NewBody(t testing.TB, r io.Reader) *Body {
	return &Body{t: t, r: r, closed: make(chan struct{})}
}

// Read reads from the Body's reader.
func (b *Body) Read(p []byte) (int, error) {
	return b.r.Read(p)
}

// Close closes the Body's reader.
func (b *Body) Close() error {
	if b.closes.Add(1) > 1 {
		b.t.Error("the caller's body is closed twice")
		return nil
	}
	defer close(b.closed)
	if c, ok := b.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// AwaitClose waits until the Body has been closed. With net/http that may happen after
// RoundTrip has returned.
func (b *Body) AwaitClose(ctx context.Context) {
	b.t.Helper()
	select {
	case <-b.closed:
	case <-ctx.Done():
		b.t.Error("the caller's body is not closed")
	}
}

// IsClosed reports whether the Body has been closed.
func (b *Body) IsClosed() bool { return b.closes.Load() > 0 }
