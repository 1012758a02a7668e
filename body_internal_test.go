package reauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A watchedBody counts what is done to a caller's body.
type watchedBody struct {
	io.Reader
	closer io.Closer // may be nil
	reads  atomic.Int64
	bytes  atomic.Int64
	closes atomic.Int64
}

func watch(r io.Reader) *watchedBody {
	w := &watchedBody{Reader: r}
	w.closer, _ = r.(io.Closer)
	return w
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.reads.Add(1)
	n, err := w.Reader.Read(p)
	w.bytes.Add(int64(n))
	return n, err
}

func (w *watchedBody) Close() error {
	w.closes.Add(1)
	if w.closer != nil {
		return w.closer.Close()
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

func bodyRequest(t *testing.T, body io.Reader, length int64) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://api.example/", nil)
	require.NoError(t, err)
	req.Body, req.ContentLength = io.NopCloser(body), length
	if c, ok := body.(io.ReadCloser); ok {
		req.Body = c
	}
	return req
}

func keepBody(t *testing.T, body io.Reader, limit int64) *replayBody {
	t.Helper()
	b := newReplayBody(bodyRequest(t, body, -1), limit)
	require.NotNil(t, b)
	return b
}

func readN(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	require.NoError(t, err)
	return string(p)
}

func readRest(t *testing.T, r io.Reader) string {
	t.Helper()
	p, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(p)
}

func mustReplay(t *testing.T, b *replayBody) io.ReadCloser {
	t.Helper()
	second, ok := b.replay()
	require.True(t, ok, "not replayable")
	return second
}

func TestOnlyBodiesWithoutGetBodyAreKept(t *testing.T) {
	again := func() (io.ReadCloser, error) { return http.NoBody, nil }
	for name, tt := range map[string]struct {
		body    io.ReadCloser
		getBody func() (io.ReadCloser, error)
		length  int64
		limit   int64
		kept    bool
		gambles bool
	}{
		"none":                 {nil, nil, 0, 8, false, false},
		"http.NoBody":          {http.NoBody, nil, 0, 8, false, false},
		"GetBody":              {watch(nil), again, 9, 8, false, false},
		"GetBody, unknown":     {watch(nil), again, -1, 8, false, false},
		"within the limit":     {watch(nil), nil, 8, 8, true, false},
		"over the limit":       {watch(nil), nil, 9, 8, true, true},
		"unknown":              {watch(nil), nil, -1, 8, true, true},
		"unknown, left at 0":   {watch(nil), nil, 0, 8, true, true},
		"no buffer":            {watch(nil), nil, 1, 0, true, true},
		"no buffer, unknown":   {watch(nil), nil, -1, -1, true, true},
		"no buffer, left at 0": {watch(nil), nil, 0, 0, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			req := &http.Request{Body: tt.body, GetBody: tt.getBody, ContentLength: tt.length}
			assert.Equal(t, tt.kept, newReplayBody(req, tt.limit) != nil)
			assert.Equal(t, tt.gambles, gambles(req, tt.limit))
		})
	}
}

func TestReplayIsWhatWasKeptAndThenTheRest(t *testing.T) {
	src := watch(strings.NewReader("hello, world"))
	b := keepBody(t, src, 100)
	assert.Equal(t, "hello", readN(t, b.first(), 5))
	assert.EqualValues(t, 5, src.bytes.Load(), "read ahead")

	second := mustReplay(t, b)
	assert.EqualValues(t, 5, src.bytes.Load(), "read ahead")
	assert.Nil(t, b.kept, "two hold the buffer")
	assert.Equal(t, "hel", readN(t, second, 3), "kept bytes read in parts")
	assert.Equal(t, "lo, world", readRest(t, second))
	assert.Empty(t, second.(*secondBody).kept)
	assert.Nil(t, b.place[0], "the buffer is held after its end")
}

func TestReplayBufferLimit(t *testing.T) {
	for _, tt := range []struct {
		limit int64
		reads []int
		ok    bool
	}{
		{limit: 5, reads: []int{5}, ok: true},
		{limit: 5, reads: []int{2, 3}, ok: true},
		{limit: 5, reads: []int{6}},
		{limit: 5, reads: []int{5, 1}},
		{limit: 0, ok: true},
		{limit: -1, ok: true},
		{limit: 0, reads: []int{1}},
		{limit: -1, reads: []int{1}},
	} {
		t.Run(fmt.Sprintf("limit=%d/reads=%v", tt.limit, tt.reads), func(t *testing.T) {
			src := watch(strings.NewReader("hello, world"))
			b := keepBody(t, src, tt.limit)
			total := 0
			for _, n := range tt.reads {
				readN(t, b.first(), n)
				total += n
			}
			if !tt.ok {
				assert.Nil(t, b.kept, "memory not given back")
			}
			second, ok := b.replay()
			require.Equal(t, tt.ok, ok)
			if ok {
				assert.Equal(t, "hello, world", readRest(t, second))
				return
			}
			assert.Equal(t, "hello, world"[total:], readRest(t, b.first()), "the first attempt goes on")
			require.NoError(t, b.first().Close())
			assert.EqualValues(t, 1, src.closes.Load())
		})
	}
}

func TestReplayBufferHasTheSizeOfTheBody(t *testing.T) {
	for _, tt := range []struct{ length, limit, want int64 }{
		{length: 1000, limit: 1000, want: 1000},
		{length: 1001, limit: 1000, want: 1}, // will not fit: no more than is read
		{length: -1, limit: 1000, want: 1},
		{length: 1, limit: 1000, want: 1},
	} {
		b := newReplayBody(bodyRequest(t, strings.NewReader("hello"), tt.length), tt.limit)
		assert.Nil(t, b.kept, "allocated before a read")
		readN(t, b.first(), 1)
		assert.EqualValues(t, tt.want, cap(b.kept[0]), "%+v", tt)
	}
	// A body that is longer than it said.
	b := newReplayBody(bodyRequest(t, strings.NewReader("hello"), 2), 100)
	readN(t, b.first(), 4)
	assert.Equal(t, "hello", readRest(t, mustReplay(t, b)))
}

func TestReplayBufferGrowsByPieces(t *testing.T) {
	const limit = 1000
	text := strings.Repeat("0123456789", limit/10)
	b := keepBody(t, strings.NewReader(text), limit)
	for range limit / 8 {
		readN(t, b.first(), 8)
	}
	room := 0
	for _, piece := range b.kept {
		room += cap(piece)
	}
	assert.Equal(t, limit, room, "more room than the limit, or not all kept")
	assert.Len(t, b.kept, 8, "8, 8, 16, 32, 64, 128 and 256 bytes, and what was left of the limit")
	assert.Nil(t, b.place[0], "the first piece would be held until the end")
	second := mustReplay(t, b)
	assert.Equal(t, text[:20], readN(t, second, 20), "of three pieces")
	assert.Equal(t, text[20:], readRest(t, second))
	require.NoError(t, second.Close())
}

func TestReplayBufferTakesNoMoreRoomThanItsLimit(t *testing.T) {
	const limit = 1000
	b := keepBody(t, strings.NewReader(strings.Repeat("x", limit)), limit)
	for _, n := range []int{300, 200, 500} { // the last fills a piece, and begins another
		readN(t, b.first(), n)
	}
	room := 0
	for _, piece := range b.kept {
		room += cap(piece)
	}
	assert.Equal(t, limit, room)
}

func TestTheReplayBufferIsGivenBackByAClose(t *testing.T) {
	b := keepBody(t, strings.NewReader("hello"), 100)
	readN(t, b.first(), 2)
	require.NoError(t, mustReplay(t, b).Close())
	assert.Nil(t, b.place[0])
}

func TestReadsFailOnceReplayed(t *testing.T) {
	src := watch(strings.NewReader("hello"))
	b := keepBody(t, src, 100)
	readN(t, b.first(), 1)
	second := mustReplay(t, b)
	reads := src.reads.Load()

	n, err := b.first().Read(make([]byte, 1))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errBodyStopped)
	assert.Equal(t, reads, src.reads.Load())
	assert.Equal(t, "hello", readRest(t, second))

	_, err = b.first().Read(make([]byte, 1))
	require.ErrorIs(t, err, errBodyStopped, "an end that the second saw would make the first look whole")
}

func TestReplayIsOnce(t *testing.T) {
	src := watch(strings.NewReader("hello"))
	b := keepBody(t, src, 100)
	second := mustReplay(t, b)
	_, ok := b.replay()
	assert.False(t, ok)
	b.release()
	require.NoError(t, b.first().Close())
	assert.Zero(t, src.closes.Load())
	assert.Equal(t, "hello", readRest(t, second))

	b = keepBody(t, watch(strings.NewReader("hello")), 100)
	b.release()
	_, ok = b.replay()
	assert.False(t, ok)
}

func TestReleaseStopsKeeping(t *testing.T) {
	b := keepBody(t, strings.NewReader("hello"), 100)
	readN(t, b.first(), 2)
	b.release()
	assert.Nil(t, b.kept)
	assert.Nil(t, b.place[0], "memory not given back")
	assert.Equal(t, "llo", readRest(t, b.first()))
	assert.Nil(t, b.kept)
}

func TestReplayWaitsForTheReadInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		src := watch(pr)
		b := keepBody(t, src, 100)
		go func() {
			time.Sleep(replayWait - time.Millisecond)
			io.WriteString(pw, "hello")
			io.WriteString(pw, ", world")
			pw.Close()
		}()
		go func() {
			p := make([]byte, 100)
			n, err := b.first().Read(p)
			assert.NoError(t, err, "a Read that had begun must deliver")
			assert.Equal(t, "hello", string(p[:n]))
			_, err = b.first().Read(p)
			assert.ErrorIs(t, err, errBodyStopped)
			b.first().Close()
		}()
		synctest.Wait()

		start := time.Now()
		second := mustReplay(t, b)
		assert.Equal(t, replayWait-time.Millisecond, time.Since(start))
		assert.Equal(t, "hello, world", readRest(t, second))
		assert.Zero(t, src.closes.Load())
		require.NoError(t, second.Close())
		assert.EqualValues(t, 1, src.closes.Load())
	})
}

func TestReplayDoesNotWaitWithoutARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, _ := io.Pipe()
		b := keepBody(t, pr, 100)
		start := time.Now()
		mustReplay(t, b)
		assert.Zero(t, time.Since(start))
	})
}

// What a replay that gave up leaves behind must be as if it had never been asked.
func TestReplayGivesUpOnAReadThatDoesNotEnd(t *testing.T) {
	for name, end := range map[string]struct {
		cancelAfter time.Duration
		want        time.Duration
	}{
		"after a second":         {time.Hour, replayWait},
		"when the caller leaves": {replayWait / 4, replayWait / 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), end.cancelAfter)
				defer cancel()
				pr, pw := io.Pipe()
				src := watch(pr)
				b := newReplayBody(bodyRequest(t, src, -1).WithContext(ctx), 100)
				got := make(chan string, 1)
				go func() {
					p, err := io.ReadAll(b.first())
					assert.NoError(t, err)
					assert.NoError(t, b.first().Close())
					got <- string(p)
				}()
				io.WriteString(pw, "hello")
				synctest.Wait()

				start := time.Now()
				_, ok := b.replay()
				assert.False(t, ok)
				assert.Equal(t, end.want, time.Since(start))

				io.WriteString(pw, ", ")
				io.WriteString(pw, "world")
				pw.Close()
				assert.Equal(t, "hello, world", <-got)
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

// The base's next Read may come before replay has woken up.
func TestReadThatGoesOverTheLimitWhileReplayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		src := watch(pr)
		b := keepBody(t, src, 4)
		got := make(chan string, 1)
		go func() {
			p, err := io.ReadAll(b.first())
			assert.NoError(t, err)
			assert.NoError(t, b.first().Close())
			got <- string(p)
		}()
		synctest.Wait()
		go func() {
			io.WriteString(pw, "hello")
			io.WriteString(pw, ", world")
			pw.Close()
		}()
		_, ok := b.replay()
		assert.False(t, ok)
		assert.Equal(t, "hello, world", <-got)
		assert.EqualValues(t, 1, src.closes.Load())
	})
}

func TestCallersBodyIsClosedOnce(t *testing.T) {
	const body = "hello"
	for name, tt := range map[string]struct {
		do   func(t *testing.T, b *replayBody, closes func() int)
		want int // closes after it all
	}{
		"accepted, then closed": {func(t *testing.T, b *replayBody, closes func() int) {
			b.release()
			assert.Zero(t, closes())
			b.first().Close()
		}, 1},
		"closed, then accepted": {func(t *testing.T, b *replayBody, closes func() int) {
			b.first().Close()
			assert.Zero(t, closes(), "a replay may follow")
			b.release()
		}, 1},
		"closed at its end": {func(t *testing.T, b *replayBody, closes func() int) {
			readRest(t, b.first())
			b.first().Close()
			assert.Equal(t, 1, closes())
			b.release()
		}, 1},
		"closed at its end, then replayed": {func(t *testing.T, b *replayBody, closes func() int) {
			readRest(t, b.first())
			b.first().Close()
			second := mustReplay(t, b)
			assert.Equal(t, body, readRest(t, second))
			second.Close()
		}, 1},
		"closed, then replayed": {func(t *testing.T, b *replayBody, closes func() int) {
			b.first().Close()
			second := mustReplay(t, b)
			assert.Zero(t, closes())
			assert.Equal(t, body, readRest(t, second))
			second.Close()
		}, 1},
		"replayed, the first closed before the second": {func(t *testing.T, b *replayBody, closes func() int) {
			second := mustReplay(t, b)
			b.first().Close()
			assert.Zero(t, closes(), "it is the second's")
			second.Close()
		}, 1},
		"replayed, the first closed after the second": {func(t *testing.T, b *replayBody, closes func() int) {
			second := mustReplay(t, b)
			second.Close()
			assert.Equal(t, 1, closes())
			b.first().Close()
		}, 1},
		"read to its end, replayed, the first closed": {func(t *testing.T, b *replayBody, closes func() int) {
			readRest(t, b.first())
			second := mustReplay(t, b)
			b.first().Close()
			assert.Zero(t, closes(), "it is the second's")
			second.Close()
		}, 1},
		"over the limit": {func(t *testing.T, b *replayBody, closes func() int) {
			b.limit = 2
			readN(t, b.first(), 3)
			b.first().Close()
			assert.Equal(t, 1, closes(), "no replay can follow")
			b.release()
		}, 1},
		"each twice": {func(t *testing.T, b *replayBody, closes func() int) {
			b.first().Close()
			b.first().Close()
			second := mustReplay(t, b)
			second.Close()
			second.Close()
		}, 1},
		"accepted, twice": {func(t *testing.T, b *replayBody, closes func() int) {
			b.release()
			b.first().Close()
			b.first().Close()
			b.release()
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			src := watch(strings.NewReader(body))
			b := keepBody(t, src, 100)
			tt.do(t, b, func() int { return int(src.closes.Load()) })
			assert.EqualValues(t, tt.want, src.closes.Load())
		})
	}
}

func TestCloseReturnsTheCallersError(t *testing.T) {
	failure := errors.New("disk full")
	src := watch(strings.NewReader(""))
	src.closer = closerFunc(func() error { return failure })
	b := keepBody(t, src, 100)
	b.release()
	require.ErrorIs(t, b.first().Close(), failure)

	src = watch(strings.NewReader(""))
	src.closer = closerFunc(func() error { return failure })
	b = keepBody(t, src, 100)
	require.NoError(t, b.first().Close())
	require.ErrorIs(t, mustReplay(t, b).Close(), failure)
}

func TestReadAfterCloseFails(t *testing.T) {
	src := watch(strings.NewReader("hello"))
	b := keepBody(t, src, 100)
	readN(t, b.first(), 2)
	b.first().Close()
	n, err := b.first().Read(make([]byte, 1))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errBodyClosed)

	second := mustReplay(t, b)
	readN(t, second, 1)
	second.Close()
	n, err = second.Read(make([]byte, 1))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errBodyClosed)
	assert.EqualValues(t, 2, src.bytes.Load())

	b = keepBody(t, strings.NewReader("hello"), 100)
	b.release()
	b.first().Close()
	_, err = b.first().Read(make([]byte, 1))
	require.ErrorIs(t, err, errBodyClosed)
}

// HTTP/2 closes a request body in the middle of a Read.
func TestCloseDuringARead(t *testing.T) {
	start := func(t *testing.T) (*replayBody, *watchedBody, *io.PipeWriter, chan error) {
		pr, pw := io.Pipe()
		src := watch(pr)
		b := keepBody(t, src, 100)
		ended := make(chan error, 1)
		go func() {
			_, err := b.first().Read(make([]byte, 100))
			ended <- err
		}()
		synctest.Wait()
		return b, src, pw, ended
	}
	t.Run("released", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, src, _, ended := start(t)
			b.release()
			b.first().Close()
			assert.ErrorIs(t, <-ended, io.ErrClosedPipe, "Close did not reach the pipe")
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
	t.Run("then released", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, src, _, ended := start(t)
			b.first().Close()
			assert.Zero(t, src.closes.Load())
			b.release()
			assert.ErrorIs(t, <-ended, io.ErrClosedPipe)
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
	t.Run("then replayed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, src, pw, ended := start(t)
			b.first().Close()
			go func() {
				time.Sleep(time.Millisecond)
				io.WriteString(pw, "hello")
				pw.Close()
			}()
			second := mustReplay(t, b)
			assert.NoError(t, <-ended)
			assert.Equal(t, "hello", readRest(t, second))
			assert.Zero(t, src.closes.Load())
			second.Close()
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
	t.Run("then given up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, src, _, ended := start(t)
			b.first().Close()
			_, ok := b.replay()
			assert.False(t, ok)
			assert.ErrorIs(t, <-ended, io.ErrClosedPipe)
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
	t.Run("then over the limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, src, pw, ended := start(t)
			b.limit = 2
			b.first().Close()
			io.WriteString(pw, "hello")
			assert.NoError(t, <-ended)
			assert.EqualValues(t, 1, src.closes.Load(), "no one else will close it")
			b.release()
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
	t.Run("of the second body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pr, _ := io.Pipe()
			src := watch(pr)
			second := mustReplay(t, keepBody(t, src, 100))
			ended := make(chan error, 1)
			go func() {
				_, err := second.Read(make([]byte, 100))
				ended <- err
			}()
			synctest.Wait()
			second.Close()
			assert.ErrorIs(t, <-ended, io.ErrClosedPipe)
			assert.EqualValues(t, 1, src.closes.Load())
		})
	})
}

func TestCloseDoesNotWaitForAnotherClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := watch(strings.NewReader("hello"))
		closing := make(chan struct{})
		defer close(closing)
		src.closer = closerFunc(func() error { <-closing; return nil })
		b := keepBody(t, src, 100)
		readRest(t, b.first())
		go b.first().Close()
		synctest.Wait()

		start := time.Now()
		second := mustReplay(t, b)
		assert.Equal(t, "hello", readRest(t, second))
		second.Close()
		b.release()
		assert.Zero(t, time.Since(start))
	})
}

func TestErrorOfTheCallersBodyIsReplayed(t *testing.T) {
	failure := errors.New("disk on fire")
	for name, src := range map[string]io.Reader{
		"after the bytes": io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(failure)),
		"with the bytes":  iotest.DataErrReader(io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(failure))),
	} {
		t.Run(name, func(t *testing.T) {
			src := watch(src)
			b := keepBody(t, src, 100)
			p, err := io.ReadAll(b.first())
			assert.Equal(t, "hello", string(p))
			require.ErrorIs(t, err, failure)
			reads := src.reads.Load()

			second := mustReplay(t, b)
			p, err = io.ReadAll(second)
			assert.Equal(t, "hello", string(p))
			require.ErrorIs(t, err, failure)
			assert.Equal(t, reads, src.reads.Load(), "read after its end")
		})
	}
}

func TestCallersBodyIsNotReadAfterItsEnd(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"bytes, then EOF": func(r io.Reader) io.Reader { return r },
		"bytes with EOF":  iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			src := watch(wrap(strings.NewReader("hello")))
			b := keepBody(t, src, 5)
			assert.Equal(t, "hello", readRest(t, b.first()))
			reads := src.reads.Load()
			again := func(r io.Reader) {
				_, err := r.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
				require.Equal(t, reads, src.reads.Load())
			}
			again(b.first())
			second := mustReplay(t, b)
			again(b.first()) // net/http asks once more; another error costs the connection
			assert.Equal(t, "hello", readRest(t, second))
			again(second)

			// The end found by the second body, and by a released first one.
			src = watch(wrap(strings.NewReader("hello")))
			second = mustReplay(t, keepBody(t, src, 5))
			readRest(t, second)
			reads = src.reads.Load()
			again(second)

			src = watch(wrap(strings.NewReader("hello")))
			b = keepBody(t, src, 5)
			b.release()
			readRest(t, b.first())
			reads = src.reads.Load()
			again(b.first())
		})
	}
}

func TestReadsOfNothing(t *testing.T) {
	b := keepBody(t, strings.NewReader("hello"), -1)
	n, err := b.first().Read(nil)
	assert.Zero(t, n)
	require.NoError(t, err)
	second := mustReplay(t, b) // still nothing was read of it
	assert.Equal(t, "hello", readRest(t, second))

	b = keepBody(t, strings.NewReader(""), -1)
	assert.Empty(t, readRest(t, b.first()))
	assert.Empty(t, readRest(t, mustReplay(t, b)))

	b = keepBody(t, strings.NewReader("hello"), 100)
	readN(t, b.first(), 2)
	second = mustReplay(t, b)
	n, err = second.Read(nil)
	assert.Zero(t, n)
	require.NoError(t, err)
	assert.Equal(t, "hello", readRest(t, second))
}

func TestPanicOfTheCallersBodyGoesOn(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic("torn page") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, early := range []bool{false, true} { // replay is called before, or after, the panic
					first := true
					src := watch(readerFunc(func(p []byte) (int, error) {
						if first {
							first = false
							time.Sleep(time.Millisecond)
							leave()
						}
						return 0, io.EOF
					}))
					b := keepBody(t, src, 100)
					var recovered any
					left := make(chan struct{})
					go func() {
						defer close(left)
						defer func() { recovered = recover() }()
						b.first().Read(make([]byte, 100))
						t.Error("Read returned")
					}()
					if !early {
						<-left
					}
					synctest.Wait()
					start := time.Now()
					_, ok := b.replay()
					assert.False(t, ok, "who knows what was read")
					assert.LessOrEqual(t, time.Since(start), time.Millisecond, "the Read counts as in progress")
					<-left
					if name == "panic" {
						assert.Equal(t, "torn page", recovered)
					}
					assert.Empty(t, readRest(t, b.first()))
					b.first().Close()
					assert.EqualValues(t, 1, src.closes.Load())
				}
			})
		})
	}
}

func TestKeepingABodyCostsTwoAllocations(t *testing.T) {
	req := bodyRequest(t, nil, 4096)
	data, p := make([]byte, 4096), make([]byte, 512)
	src := bytes.NewReader(data)
	req.Body = io.NopCloser(readerFunc(src.Read))
	allocs := testing.AllocsPerRun(100, func() {
		src.Reset(data)
		b := newReplayBody(req, 4096)
		for {
			if _, err := b.first().Read(p); err != nil {
				break
			}
		}
		b.first().Close()
		b.release()
	})
	assert.LessOrEqual(t, allocs, 2.0)
}

// Whatever the interleaving, the two attempts see the caller's bytes in order,
// and the caller sees one Close.
func TestReplayUnderRandomSchedules(t *testing.T) {
	want := make([]byte, 4096)
	for i := range want {
		want[i] = byte(i * 7)
	}
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		pr, pw := io.Pipe()
		src := watch(pr)
		limit := rng.Int64N(8192)
		b := keepBody(t, src, limit)
		cuts := rand.New(rand.NewPCG(seed, 2))
		go func() {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+cuts.IntN(512))
				if _, err := pw.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			pw.Close()
		}()
		closeAfter := -1
		if rng.IntN(4) == 0 {
			closeAfter = rng.IntN(1000) // by another goroutine, as HTTP/2 does
		}
		sizes := rand.New(rand.NewPCG(seed, 3))
		type result struct {
			bytes []byte
			err   error
		}
		firstEnded := make(chan result, 1)
		go func() {
			var r result
			for r.err == nil {
				p := make([]byte, 1+sizes.IntN(512))
				var n int
				n, r.err = b.first().Read(p)
				r.bytes = append(r.bytes, p[:n]...)
			}
			b.first().Close()
			firstEnded <- r
		}()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if closeAfter < 0 {
				return
			}
			for range closeAfter {
				runtime.Gosched()
			}
			b.first().Close()
		}()
		for range rng.IntN(60) {
			runtime.Gosched()
		}
		second, ok := b.replay()
		var got []byte
		if ok {
			var err error
			got, err = io.ReadAll(second)
			require.NoError(t, err)
			require.NoError(t, second.Close())
		}
		<-closed
		r := <-firstEnded
		require.True(t, bytes.HasPrefix(want, r.bytes), "seed %d: the first attempt saw other bytes", seed)
		switch {
		case ok:
			require.True(t, bytes.Equal(want, got), "seed %d: the second attempt saw other bytes", seed)
			if !errors.Is(r.err, errBodyStopped) && closeAfter < 0 {
				require.Equal(t, io.EOF, r.err)
				require.Len(t, r.bytes, len(want))
			}
		case closeAfter < 0:
			require.Equal(t, io.EOF, r.err, "seed %d", seed)
			require.Len(t, r.bytes, len(want), "seed %d", seed)
		}
		require.EqualValues(t, 1, src.closes.Load(), "seed %d", seed)
	}
}

// An uploadServer refuses requests with the token "old" as soon as it sees their
// header, and answers others with the hash of their body.
func uploadServer(t *testing.T, http2 bool) (*httptest.Server, *http.Transport) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "old" {
			if r.ProtoMajor == 1 && r.Header.Get("Expect") == "" {
				// Without it the server reads the body before it answers.
				assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			}
			http.Error(w, "expired", http.StatusUnauthorized)
			return
		}
		hash := sha256.New()
		io.Copy(hash, r.Body)
		fmt.Fprintf(w, "%x", hash.Sum(nil))
	}))
	srv.EnableHTTP2 = http2
	if http2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv, srv.Client().Transport.(*http.Transport)
}

func upload(t *testing.T, base *http.Transport, url, token string, body io.ReadCloser, length int64, expect bool) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	require.NoError(t, err)
	req.Body, req.ContentLength = body, length
	req.Header.Set("Authorization", token)
	if expect {
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := base.RoundTrip(req)
	require.NoError(t, err)
	return resp
}

func TestUploadRefusedEarlyArrivesWhole(t *testing.T) {
	data := make([]byte, 512<<10)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, http2 := range []bool{false, true} {
		for _, length := range []int64{-1, int64(len(data))} {
			t.Run(fmt.Sprintf("http2=%t/length=%d", http2, length), func(t *testing.T) {
				srv, base := uploadServer(t, http2)
				pr, pw := io.Pipe()
				src := watch(pr)
				refused := make(chan struct{})
				go func() {
					pw.Write(data[:32<<10])
					<-refused // the rest is written while the answer is at hand
					for rest := data[32<<10:]; len(rest) > 0; rest = rest[8<<10:] {
						pw.Write(rest[:8<<10])
					}
					pw.Close()
				}()
				b := newReplayBody(bodyRequest(t, src, length), int64(len(data)))

				resp := upload(t, base, srv.URL, "old", b.first(), length, false)
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				require.Equal(t, http2, resp.ProtoMajor == 2)
				close(refused)
				second := mustReplay(t, b)
				drain(t.Context(), resp)

				resp = upload(t, base, srv.URL, "new", second, length, false)
				assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), readRest(t, resp.Body))
				resp.Body.Close()
				base.CloseIdleConnections()
				require.Eventually(t, func() bool { return src.closes.Load() == 1 }, 10*time.Second, time.Millisecond)
			})
		}
	}
}

func TestUploadRefusedAndNotReplayedTellsTheCallerToStop(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			srv, base := uploadServer(t, http2)
			pr, pw := io.Pipe()
			src := watch(pr)
			req := bodyRequest(t, src, -1)
			ctx, cancel := context.WithCancel(t.Context())
			b := newReplayBody(req.WithContext(ctx), 1<<20)

			resp := upload(t, base, srv.URL, "old", b.first(), -1, false)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			cancel()                          // no second of waiting
			if second, ok := b.replay(); ok { // nothing was being read just then
				second.Close()
			}
			assert.Equal(t, "expired\n", readRest(t, resp.Body), "the refusal is handed over whole")
			resp.Body.Close()
			stopped := make(chan error, 1)
			go func() { // HTTP/1 goes on sending until the connection is closed
				var err error
				for err == nil {
					_, err = pw.Write(make([]byte, 64<<10))
				}
				stopped <- err
			}()
			require.Eventually(t, func() bool { return src.closes.Load() == 1 }, 10*time.Second, time.Millisecond)
			require.ErrorIs(t, <-stopped, io.ErrClosedPipe)
		})
	}
}

func TestUploadRefusedBeforeContinueIsReplayedWhateverItsSize(t *testing.T) {
	srv, base := uploadServer(t, false)
	base.ExpectContinueTimeout = time.Minute
	data := bytes.Repeat([]byte("0123456789abcdef"), 128<<10)
	src := watch(bytes.NewReader(data))
	b := newReplayBody(bodyRequest(t, src, int64(len(data))), 0)

	resp := upload(t, base, srv.URL, "old", b.first(), int64(len(data)), true)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Zero(t, src.reads.Load())
	second := mustReplay(t, b)
	drain(t.Context(), resp)

	resp = upload(t, base, srv.URL, "new", second, int64(len(data)), true)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), readRest(t, resp.Body))
	resp.Body.Close()
	require.Eventually(t, func() bool { return src.closes.Load() == 1 }, 10*time.Second, time.Millisecond)
}

func TestDrainedConnectionIsUsedAgain(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		w.Write(make([]byte, 20_000))
	}))
	defer srv.Close()
	base := srv.Client().Transport
	var reused []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
	})
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		resp, err := base.RoundTrip(req)
		require.NoError(t, err)
		drain(ctx, resp)
	}
	assert.Equal(t, []bool{false, true, true}, reused)
}

func TestDrainIsBounded(t *testing.T) {
	respond := func(body io.ReadCloser) *http.Response {
		return &http.Response{Body: body, ContentLength: -1}
	}
	t.Run("in bytes", func(t *testing.T) {
		body := watch(bytes.NewReader(make([]byte, 1<<20)))
		drain(t.Context(), respond(body))
		assert.EqualValues(t, 64<<10, body.bytes.Load())
		assert.EqualValues(t, 1, body.closes.Load())
	})
	t.Run("in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pr, _ := io.Pipe() // its Close ends the Read, as net/http's does
			body := watch(pr)
			start := time.Now()
			drain(t.Context(), respond(body))
			assert.Equal(t, 100*time.Millisecond, time.Since(start))
			synctest.Wait()
			assert.EqualValues(t, 1, body.closes.Load())
		})
	})
	t.Run("by the context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pr, _ := io.Pipe()
			body := watch(pr)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			start := time.Now()
			drain(ctx, respond(body))
			assert.Equal(t, time.Millisecond, time.Since(start))
			synctest.Wait()
			assert.EqualValues(t, 1, body.closes.Load())
		})
	})
	t.Run("though Close is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			arrived := make(chan struct{})
			body := watch(readerFunc(func([]byte) (int, error) { <-arrived; return 0, io.EOF }))
			body.closer = closerFunc(func() error { <-arrived; return nil })
			start := time.Now()
			drain(t.Context(), respond(body))
			assert.Equal(t, 100*time.Millisecond, time.Since(start))
			close(arrived)
			synctest.Wait()
			assert.EqualValues(t, 1, body.closes.Load())
		})
	})
}

func TestDrainClosesOnce(t *testing.T) {
	body := watch(strings.NewReader("expired"))
	drain(t.Context(), &http.Response{Body: body, ContentLength: 7})
	assert.EqualValues(t, 7, body.bytes.Load())
	assert.EqualValues(t, 1, body.closes.Load())

	body = watch(strings.NewReader("expired"))
	drain(t.Context(), &http.Response{Body: body, ContentLength: 0})
	assert.Zero(t, body.reads.Load())
	assert.EqualValues(t, 1, body.closes.Load())

	drain(t.Context(), &http.Response{Body: http.NoBody, ContentLength: -1})
	drain(t.Context(), &http.Response{})
}
