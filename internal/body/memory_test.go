package body_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/body"
)

// Small bodies in memory.

// newRequest returns a request whose GetBody is not the one of http.NewRequest.
func newRequest(t *testing.T, r io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://api.example.com", r)
	require.NoError(t, err)
	if of := req.GetBody; of != nil {
		req.GetBody = func() (io.ReadCloser, error) { return of() }
	}
	return req
}

// Its GetBody can be called while the first attempt reads, so nothing is done to the body.
func TestBodyOfNewRequestIsLeftAlone(t *testing.T) {
	text := strings.Repeat("0123456789", 10_000)
	for _, r := range []io.Reader{strings.NewReader(text), bytes.NewReader([]byte(text)), bytes.NewBufferString(text)} {
		req, err := http.NewRequest(http.MethodPost, "http://api.example.com", r)
		require.NoError(t, err)
		var b body.Replayable
		assert.Zero(t, testing.AllocsPerRun(100, func() { b = body.New(req, 0) }))
		assert.True(t, req.Body == b.First())
		assert.Equal(t, text[:10], read(t, b.First(), 10))
		second, third := replay(t, b), replay(t, b)
		again, err := b.GetBody()()
		require.NoError(t, err)
		for _, r := range []io.Reader{second, third, again} {
			assert.Equal(t, text[:50], read(t, r, 50))
		}
		for _, r := range []io.Reader{second, third, again} {
			assert.Equal(t, text[50:], readAll(t, r))
		}
		assert.Equal(t, text[10:], readAll(t, b.First()))
		b.Release()
	}
}

// What the body was made of is overwritten, as a caller may do once the body is closed.
func TestSmallBodyInMemoryIsCopied(t *testing.T) {
	const text = "hello, world"
	for name, content := range map[string]func([]byte) io.Reader{
		"bytes.Reader":   func(p []byte) io.Reader { return bytes.NewReader(p) },
		"bytes.Buffer":   func(p []byte) io.Reader { return bytes.NewBuffer(p) },
		"strings.Reader": func([]byte) io.Reader { return strings.NewReader(text) },
	} {
		memory := []byte(text)
		r := content(memory)
		req, err := http.NewRequest(http.MethodPost, "http://api.example.com", r)
		require.NoError(t, err)
		req.GetBody = func() (io.ReadCloser, error) {
			return nil, errors.New("not asked: the copy is enough")
		}
		b := body.New(req, -1)
		assert.Zero(t, r.(interface{ Len() int }).Len(), "the body has been read")
		for i := range memory {
			memory[i] = '#'
		}
		assert.Equal(t, text[:5], read(t, b.First(), 5), name)
		assert.Equal(t, text, readAll(t, replay(t, b)), "while the base still reads the first")
		again, err := b.GetBody()()
		require.NoError(t, err)
		assert.Equal(t, text, readAll(t, again))
		b.Release()
		assert.NoError(t, b.First().Close())
	}
}

// Otherwise net/http sends the header in a write of its own.
func TestSmallBodyHasATypeThatNetHTTPKnows(t *testing.T) {
	b := body.New(newRequest(t, strings.NewReader("hello")), 0)
	known := io.NopCloser(bytes.NewReader(nil))
	assert.IsType(t, known, b.First())
	assert.IsType(t, known, replay(t, b))
	again, err := b.GetBody()()
	require.NoError(t, err)
	assert.IsType(t, known, again)
}

func TestBodyThatIsLargeOrMightBlockIsNotReadAhead(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"large":           bytes.NewReader(make([]byte, body.SmallBody+1)),
		"another type":    io.NewSectionReader(strings.NewReader("hello"), 0, 5),
		"part of another": io.LimitReader(strings.NewReader("hello"), 5),
	} {
		want := int64(5)
		if l, ok := r.(interface{ Len() int }); ok {
			want = int64(l.Len())
		}
		req, err := http.NewRequest(http.MethodPost, "http://api.example.com", io.NopCloser(r))
		require.NoError(t, err)
		for _, getBody := range []func() (io.ReadCloser, error){nil, func() (io.ReadCloser, error) { return nil, nil }} {
			req.GetBody = getBody
			require.NotNil(t, body.New(req, 1<<20))
		}
		n, err := io.Copy(io.Discard, r)
		require.NoError(t, err)
		assert.Equal(t, want, n, name)
	}
	b := body.New(newRequest(t, bytes.NewReader(make([]byte, body.SmallBody))), 0)
	assert.Len(t, readAll(t, b.First()), body.SmallBody)
	assert.Len(t, readAll(t, replay(t, b)), body.SmallBody)
}
