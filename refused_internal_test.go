package reauth

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A countingBody counts its closes, and answers a Read after one with errClosed.
type countingBody struct {
	io.Reader
	reads, closes int
}

var errClosed = errors.New("closed")

func (b *countingBody) Read(p []byte) (int, error) {
	b.reads++
	if b.closes > 0 {
		return 0, errClosed
	}
	return b.Reader.Read(p)
}

func (b *countingBody) Close() error {
	b.closes++
	return errClosed // to see that it comes through
}

func TestPeekRefusedPutsBackWhatWasRead(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 10<<10) // 160 KiB
	for name, tc := range map[string]struct {
		content string
		read    int
		saw     int
	}{
		"a part":                {"hello", 2, 2},
		"all, not to its end":   {"hello", 5, 5},
		"all":                   {"hello", 100, 5},
		"a part of a long one":  {long, 1000, 1000},
		"as much as there is":   {long, len(long), peekLimit},
		"a long one's limit":    {long, peekLimit, peekLimit},
		"just the limit of one": {long[:peekLimit], peekLimit + 1, peekLimit},
	} {
		for _, reader := range []io.Reader{
			strings.NewReader(tc.content),
			iotest.OneByteReader(strings.NewReader(tc.content)),
			iotest.DataErrReader(strings.NewReader(tc.content)),
		} {
			body := &countingBody{Reader: reader}
			resp := &http.Response{Body: body}
			got := peekRefused(func(shown *http.Response) bool {
				data, err := io.ReadAll(io.LimitReader(shown.Body, int64(tc.read)))
				assert.NoError(t, err, name)
				assert.Equal(t, tc.content[:tc.saw], string(data), name)
				assert.NoError(t, shown.Body.Close())
				return true
			}, resp)
			assert.True(t, got)
			assert.Zero(t, body.closes, name)
			assert.NotSame(t, body, resp.Body, name)

			data, err := io.ReadAll(resp.Body)
			assert.NoError(t, err, name)
			assert.Equal(t, tc.content, string(data), name)
			assert.Equal(t, errClosed, resp.Body.Close())
			assert.Equal(t, 1, body.closes)
		}
	}
}

func TestPeekRefusedReadsNoFurtherThanItsLimit(t *testing.T) {
	source := strings.NewReader(strings.Repeat("x", 2*peekLimit))
	resp := &http.Response{Body: io.NopCloser(source)}
	peekRefused(func(shown *http.Response) bool {
		_, err := io.Copy(io.Discard, shown.Body)
		return assert.NoError(t, err)
	}, resp)
	assert.Equal(t, peekLimit, source.Len())
}

func TestPeekRefusedLeavesAnUnreadBodyAlone(t *testing.T) {
	body := &countingBody{Reader: strings.NewReader("hello")}
	for _, verdict := range []bool{true, false} {
		resp := &http.Response{StatusCode: 418, Header: http.Header{"A": {"b"}}, Body: body}
		got := peekRefused(func(shown *http.Response) bool {
			assert.NotSame(t, resp, shown)
			assert.Equal(t, 418, shown.StatusCode)
			assert.Equal(t, resp.Header, shown.Header)
			assert.NoError(t, shown.Body.Close())
			shown.Body = nil
			shown.StatusCode = 0
			return verdict
		}, resp)
		assert.Equal(t, verdict, got)
		assert.Same(t, body, resp.Body)
		assert.Equal(t, 418, resp.StatusCode)
	}
	assert.Zero(t, body.closes)
	assert.Zero(t, body.reads)
}

func TestPeekRefusedWithoutABody(t *testing.T) {
	readAll := func(shown *http.Response) bool {
		data, err := io.ReadAll(shown.Body)
		return assert.NoError(t, err) && assert.Empty(t, data)
	}
	resp := &http.Response{Body: http.NoBody}
	assert.True(t, peekRefused(readAll, resp))
	assert.Equal(t, http.NoBody, resp.Body, "the end of an empty body puts nothing in front")

	resp = &http.Response{}
	assert.True(t, peekRefused(readAll, resp))
	assert.Nil(t, resp.Body)
}

func TestPeekRefusedKeepsAReadErrorInItsPlace(t *testing.T) {
	broken := errors.New("broken")
	for _, content := range []string{"", "hello"} {
		// A reader whose error comes once: read again it would go on.
		source := io.MultiReader(strings.NewReader(content), &once{err: broken}, strings.NewReader("never"))
		resp := &http.Response{Body: io.NopCloser(source)}
		peekRefused(func(shown *http.Response) bool {
			data, err := io.ReadAll(shown.Body)
			assert.ErrorIs(t, err, broken)
			assert.Equal(t, content, string(data))
			_, err = shown.Body.Read(make([]byte, 1))
			assert.ErrorIs(t, err, broken)
			return true
		}, resp)
		data, err := io.ReadAll(resp.Body)
		assert.ErrorIs(t, err, broken)
		assert.Equal(t, content, string(data))
		_, err = resp.Body.Read(make([]byte, 1))
		assert.ErrorIs(t, err, broken)
	}
}

type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = io.EOF
	return 0, err
}

func TestPeekRefusedPutsBackWhenThePredicatePanics(t *testing.T) {
	resp := &http.Response{Body: io.NopCloser(strings.NewReader("hello"))}
	assert.PanicsWithValue(t, "predicate", func() {
		peekRefused(func(shown *http.Response) bool {
			_, err := io.ReadFull(shown.Body, make([]byte, 3))
			assert.NoError(t, err)
			panic("predicate")
		}, resp)
	})
	data, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	assert.Equal(t, "hello", string(data))
}

func TestPeekRefusedBodyKeptByThePredicateReadsNothing(t *testing.T) {
	for _, read := range []int{0, 2} {
		resp := &http.Response{Body: io.NopCloser(strings.NewReader("hello"))}
		var kept io.ReadCloser
		peekRefused(func(shown *http.Response) bool {
			_, err := io.ReadFull(shown.Body, make([]byte, read))
			assert.NoError(t, err)
			kept = shown.Body
			return true
		}, resp)
		n, err := kept.Read(make([]byte, 10))
		assert.Zero(t, n)
		assert.ErrorIs(t, err, errPeekOver)
		assert.NoError(t, kept.Close())

		data, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(data))
	}
}

// A goroutine that the predicate leaves behind in a Read steals nothing: the
// predicate's answer does not wait for it, and what it reads is put back too.
func TestPeekRefusedReadLeftBehindStealsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, server := io.Pipe()
		resp := &http.Response{Body: source}
		left := make(chan struct{})
		peekRefused(func(shown *http.Response) bool {
			go func() {
				defer close(left)
				_, err := io.ReadAll(shown.Body)
				assert.ErrorIs(t, err, errPeekOver)
			}()
			synctest.Wait()
			return true
		}, resp)

		got := make(chan string)
		go func() {
			data, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			got <- string(data)
		}()
		synctest.Wait()
		for _, piece := range []string{"one ", "two ", "three"} {
			_, err := io.WriteString(server, piece)
			require.NoError(t, err)
		}
		require.NoError(t, server.Close())
		assert.Equal(t, "one two three", <-got)
		<-left
	})
}

func TestPeekRefusedCloseEndsAReadLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, _ := io.Pipe()
		resp := &http.Response{Body: source}
		left := make(chan struct{})
		peekRefused(func(shown *http.Response) bool {
			go func() {
				defer close(left)
				_, err := shown.Body.Read(make([]byte, 1))
				assert.ErrorIs(t, err, io.ErrClosedPipe)
			}()
			synctest.Wait()
			return true
		}, resp)
		assert.NoError(t, resp.Body.Close())
		<-left
	})
}

func TestPeekRefusedClosedBodyGivesNothingMore(t *testing.T) {
	body := &countingBody{Reader: strings.NewReader("hello")}
	resp := &http.Response{Body: body}
	peekRefused(func(shown *http.Response) bool {
		_, err := io.ReadFull(shown.Body, make([]byte, 2))
		return assert.NoError(t, err)
	}, resp)
	assert.Equal(t, errClosed, resp.Body.Close())
	n, err := resp.Body.Read(make([]byte, 10))
	assert.Zero(t, n)
	assert.Equal(t, errClosed, err)
	assert.Equal(t, errClosed, resp.Body.Close())
	assert.Equal(t, 2, body.closes, "each Close goes through, as before")
}

// Streaming: what was put back is given at once, not held until more arrives.
func TestPeekRefusedRestoredBodyDoesNotWaitForMore(t *testing.T) {
	source, server := io.Pipe()
	defer server.Close()
	resp := &http.Response{Body: source}
	go func() { _, _ = io.WriteString(server, "event") }()
	peekRefused(func(shown *http.Response) bool {
		_, err := io.ReadFull(shown.Body, make([]byte, 5))
		return assert.NoError(t, err)
	}, resp)
	p := make([]byte, 100)
	n, err := resp.Body.Read(p)
	require.NoError(t, err)
	assert.True(t, bytes.Equal([]byte("event"), p[:n]))
}
