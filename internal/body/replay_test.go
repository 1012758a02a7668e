package body_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/body"
)

// A source is a caller's body that notes what is done to it.
type source struct {
	io.Reader
	close  func() error // nil: that of the Reader, if it has one
	reads  atomic.Int64
	bytes  atomic.Int64
	closes atomic.Int64
	once   sync.Once
	closed chan struct{}
}

func newSource(r io.Reader) *source {
	s := &source{Reader: r, closed: make(chan struct{})}
	if c, ok := r.(io.Closer); ok {
		s.close = c.Close
	}
	return s
}

func textSource(text string) *source { return newSource(strings.NewReader(text)) }

func (s *source) Read(p []byte) (int, error) {
	s.reads.Add(1)
	n, err := s.Reader.Read(p)
	s.bytes.Add(int64(n))
	return n, err
}

func (s *source) Close() error {
	s.closes.Add(1)
	s.once.Do(func() { close(s.closed) })
	if s.close != nil {
		return s.close()
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func request(ctx context.Context, src io.ReadCloser, length int64) *http.Request {
	req := &http.Request{Body: src, ContentLength: length}
	return req.WithContext(ctx)
}

// keep returns a Replayable for a body of unknown length.
func keep(t *testing.T, src io.ReadCloser, limit int64) body.Replayable {
	t.Helper()
	b := body.New(request(t.Context(), src, -1), limit)
	require.NotNil(t, b)
	return b
}

func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	require.NoError(t, err)
	return string(p)
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	p, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(p)
}

func readError(r io.Reader) error {
	n, err := r.Read(make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("%d byte was read", n)
	}
	return err
}

func replay(t *testing.T, b body.Replayable) io.ReadCloser {
	t.Helper()
	second, ok := b.Replay()
	require.True(t, ok, "not replayable")
	return second
}

// held returns how much memory f leaves taken from the pools.
func held(f func()) int {
	before := body.Held.Load()
	f()
	return int(body.Held.Load() - before)
}

func TestWhichBodiesMayBeImpossibleToReplay(t *testing.T) {
	again := func() (io.ReadCloser, error) { return http.NoBody, nil }
	other := func(string) io.ReadCloser { return textSource("") }
	memory := func(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
	for name, tc := range map[string]struct {
		body          io.ReadCloser
		getBody       func() (io.ReadCloser, error)
		length, limit int64
		some, gambles bool
	}{
		"none":                     {nil, nil, 0, 8, false, false},
		"http.NoBody":              {http.NoBody, nil, 0, 8, false, false},
		"GetBody":                  {other(""), again, 9, 8, true, false},
		"GetBody, unknown":         {other(""), again, -1, 8, true, false},
		"within the limit":         {other(""), nil, 8, 8, true, false},
		"over the limit":           {other(""), nil, 9, 8, true, true},
		"unknown":                  {other(""), nil, -1, 8, true, true},
		"unknown, left at 0":       {other(""), nil, 0, 8, true, true},
		"no buffer":                {other(""), nil, 1, 0, true, true},
		"no buffer, unknown":       {other(""), nil, -1, -1, true, true},
		"no buffer, left at 0":     {other(""), nil, 0, 0, true, true},
		"in memory, unknown":       {memory("12345678"), nil, -1, 8, true, false},
		"in memory, over":          {memory("123456789"), nil, -1, 8, true, true},
		"in memory, no buffer":     {memory("1"), nil, -1, -1, true, true},
		"in memory, GetBody, over": {memory("123456789"), again, -1, 8, true, false},
	} {
		req := &http.Request{Body: tc.body, GetBody: tc.getBody, ContentLength: tc.length}
		assert.Equal(t, tc.gambles, body.Gambles(req, tc.limit), name)
		b := body.New(req, tc.limit)
		assert.Equal(t, tc.some, b != nil, name)
		if b != nil {
			assert.Equal(t, tc.getBody != nil, b.GetBody() != nil, name)
		}
	}
}
