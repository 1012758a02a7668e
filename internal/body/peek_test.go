package body_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/body"
)

// peekN lets a predicate read n bytes of the body, and returns what it read.
func peekN(t *testing.T, resp *http.Response, n int) string {
	t.Helper()
	var data []byte
	assert.True(t, body.Peek(func(shown *http.Response) bool {
		var err error
		data, err = io.ReadAll(io.LimitReader(shown.Body, int64(n)))
		return assert.NoError(t, err)
	}, resp))
	return string(data)
}

func responseOf(text string) *http.Response {
	return &http.Response{Body: io.NopCloser(strings.NewReader(text))}
}

func TestPeekPutsBackWhatWasRead(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 10<<10) // 160 KiB
	for name, tc := range map[string]struct {
		content   string
		read, saw int
	}{
		"a part":                {"hello", 2, 2},
		"all, not to its end":   {"hello", 5, 5},
		"all":                   {"hello", 100, 5},
		"a part of a long one":  {long, 1000, 1000},
		"as much as there is":   {long, len(long), body.PeekLimit},
		"a long one's limit":    {long, body.PeekLimit, body.PeekLimit},
		"just the limit of one": {long[:body.PeekLimit], body.PeekLimit + 1, body.PeekLimit},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
		} {
			src := newSource(wrap(strings.NewReader(tc.content)))
			resp := &http.Response{Body: src}
			assert.Equal(t, tc.content[:tc.saw], peekN(t, resp, tc.read), name)
			assert.LessOrEqual(t, src.bytes.Load(), int64(body.PeekLimit), "%s: read beyond the limit", name)
			assert.Equal(t, tc.content, readAll(t, resp.Body), name)
			assert.Zero(t, src.closes.Load(), name)
			assert.NoError(t, resp.Body.Close())
			assert.EqualValues(t, 1, src.closes.Load(), name)
		}
	}
}

func TestPeekLeavesAnUnreadResponseAlone(t *testing.T) {
	src := textSource("hello")
	for _, verdict := range []bool{true, false} {
		resp := &http.Response{StatusCode: 418, Header: http.Header{"A": {"b"}}, Body: src}
		assert.Equal(t, verdict, body.Peek(func(shown *http.Response) bool {
			assert.NotSame(t, resp, shown)
			assert.Equal(t, 418, shown.StatusCode)
			assert.Equal(t, resp.Header, shown.Header)
			assert.NoError(t, shown.Body.Close())
			shown.Body = nil
			shown.StatusCode = 0
			return verdict
		}, resp))
		assert.Same(t, src, resp.Body)
		assert.Equal(t, 418, resp.StatusCode)
	}
	assert.Zero(t, src.closes.Load())
	assert.Zero(t, src.reads.Load())
}

func TestPeekAtAnEmptyBody(t *testing.T) {
	resp := &http.Response{Body: http.NoBody}
	assert.Empty(t, peekN(t, resp, 1))
	assert.Equal(t, http.NoBody, resp.Body, "nothing is put back")

	resp = &http.Response{}
	assert.Empty(t, peekN(t, resp, 1))
	assert.Nil(t, resp.Body)
}

func TestPeekKeepsAReadErrorInItsPlace(t *testing.T) {
	broken := errors.New("broken")
	for _, content := range []string{"", "hello"} {
		failed := false // the error comes once: read again the body would go on
		resp := &http.Response{Body: io.NopCloser(io.MultiReader(strings.NewReader(content), readerFunc(func([]byte) (int, error) {
			if failed {
				return 0, io.EOF
			}
			failed = true
			return 0, broken
		}), strings.NewReader("never")))}
		check := func(r io.Reader) {
			data, err := io.ReadAll(r)
			assert.ErrorIs(t, err, broken)
			assert.Equal(t, content, string(data))
			assert.ErrorIs(t, readError(r), broken)
		}
		body.Peek(func(shown *http.Response) bool {
			check(shown.Body)
			return true
		}, resp)
		check(resp.Body)
	}
}

func TestPeekPutsBackWhenThePredicatePanics(t *testing.T) {
	resp := responseOf("hello")
	assert.PanicsWithValue(t, "predicate", func() {
		body.Peek(func(shown *http.Response) bool {
			read(t, shown.Body, 3)
			panic("predicate")
		}, resp)
	})
	assert.Equal(t, "hello", readAll(t, resp.Body))
}

func TestPeekedBodyCannotBeReadLater(t *testing.T) {
	for _, n := range []int{0, 2} {
		resp := responseOf("hello")
		var later io.ReadCloser
		body.Peek(func(shown *http.Response) bool {
			read(t, shown.Body, n)
			later = shown.Body
			return true
		}, resp)
		assert.ErrorIs(t, readError(later), body.ErrPeekOver)
		assert.NoError(t, later.Close())
		assert.Equal(t, "hello", readAll(t, resp.Body))
	}
}

// A goroutine that the predicate leaves behind in a Read takes nothing away: Peek does not
// wait for it, and what it reads is put back too.
func TestReadThatAPredicateLeavesBehindTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, server := io.Pipe()
		resp := &http.Response{Body: src}
		body.Peek(func(shown *http.Response) bool {
			go func() {
				_, err := io.ReadAll(shown.Body)
				assert.ErrorIs(t, err, body.ErrPeekOver)
			}()
			synctest.Wait()
			return true
		}, resp)

		got := make(chan string)
		go func() { got <- readAll(t, resp.Body) }()
		synctest.Wait()
		for _, piece := range []string{"one ", "two ", "three"} {
			_, err := io.WriteString(server, piece)
			require.NoError(t, err)
		}
		require.NoError(t, server.Close())
		assert.Equal(t, "one two three", <-got)
	})
}

func TestCloseEndsAReadThatAPredicateLeavesBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, _ := io.Pipe()
		resp := &http.Response{Body: src}
		left := make(chan error, 1)
		body.Peek(func(shown *http.Response) bool {
			go func() { left <- readError(shown.Body) }()
			synctest.Wait()
			return true
		}, resp)
		assert.NoError(t, resp.Body.Close())
		assert.ErrorIs(t, <-left, io.ErrClosedPipe)
	})
}

func TestClosedBodyReturnsNothingThatWasPutBack(t *testing.T) {
	closed := errors.New("closed")
	src := textSource("hello")
	src.close = func() error { src.Reader = iotest.ErrReader(closed); return closed }
	resp := &http.Response{Body: src}
	peekN(t, resp, 2)
	assert.Equal(t, closed, resp.Body.Close())
	assert.Equal(t, closed, readError(resp.Body))
	assert.Equal(t, closed, resp.Body.Close())
	assert.EqualValues(t, 2, src.closes.Load(), "each Close is passed on")
}

// In a stream, what was put back is returned at once, not held until more arrives.
func TestBodyThatWasPutBackDoesNotWaitForMore(t *testing.T) {
	src, server := io.Pipe()
	defer server.Close()
	resp := &http.Response{Body: src}
	go func() { _, _ = io.WriteString(server, "event") }()
	require.Equal(t, "event", peekN(t, resp, 5))
	p := make([]byte, 100)
	n, err := resp.Body.Read(p)
	require.NoError(t, err)
	assert.Equal(t, "event", string(p[:n]))
}

// As over HTTP/2, where a trailer that was not announced has no map before.
func TestThePredicateSeesTheTrailerBehindTheBody(t *testing.T) {
	resp := &http.Response{}
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) {
		resp.Trailer = http.Header{"Grpc-Status": {"16"}}
		return 0, io.EOF
	})))
	assert.True(t, body.Peek(func(shown *http.Response) bool {
		assert.Empty(t, shown.Trailer)
		_, err := io.ReadAll(shown.Body)
		return assert.NoError(t, err) && shown.Trailer.Get("Grpc-Status") == "16"
	}, resp))
}
