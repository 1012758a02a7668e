package body_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

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
func keep(t *testing.T, src io.ReadCloser, limit int64) *body.Replayable {
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

func replay(t *testing.T, b *body.Replayable) io.ReadCloser {
	t.Helper()
	second, ok := b.Replay()
	require.True(t, ok, "not replayable")
	return second
}

func TestOnlyABodyWithoutGetBodyIsKept(t *testing.T) {
	some := textSource("")
	again := func() (io.ReadCloser, error) { return http.NoBody, nil }
	for name, tc := range map[string]struct {
		body          io.ReadCloser
		getBody       func() (io.ReadCloser, error)
		length, limit int64
		kept, gambles bool
	}{
		"none":                 {nil, nil, 0, 8, false, false},
		"http.NoBody":          {http.NoBody, nil, 0, 8, false, false},
		"GetBody":              {some, again, 9, 8, false, false},
		"GetBody, unknown":     {some, again, -1, 8, false, false},
		"within the limit":     {some, nil, 8, 8, true, false},
		"over the limit":       {some, nil, 9, 8, true, true},
		"unknown":              {some, nil, -1, 8, true, true},
		"unknown, left at 0":   {some, nil, 0, 8, true, true},
		"no buffer":            {some, nil, 1, 0, true, true},
		"no buffer, unknown":   {some, nil, -1, -1, true, true},
		"no buffer, left at 0": {some, nil, 0, 0, true, true},
	} {
		req := &http.Request{Body: tc.body, GetBody: tc.getBody, ContentLength: tc.length}
		assert.Equal(t, tc.kept, body.New(req, tc.limit) != nil, name)
		assert.Equal(t, tc.gambles, body.Gambles(req, tc.limit), name)
	}
}

func TestReplayIsWhatWasKeptAndThenTheRest(t *testing.T) {
	src := textSource("hello, world")
	b := keep(t, src, 100)
	assert.Equal(t, "hello", read(t, b.First(), 5))
	second := replay(t, b)
	assert.EqualValues(t, 5, src.bytes.Load(), "read ahead")
	assert.Equal(t, "hel", read(t, second, 3), "kept bytes read in parts")
	assert.Equal(t, "lo, world", readAll(t, second))
}

func TestReplayBufferLimit(t *testing.T) {
	for _, tc := range []struct {
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
		src := textSource("hello, world")
		b := keep(t, src, tc.limit)
		total := 0
		for _, n := range tc.reads {
			read(t, b.First(), n)
			total += n
		}
		second, ok := b.Replay()
		require.Equal(t, tc.ok, ok, "%+v", tc)
		if ok {
			assert.Equal(t, "hello, world", readAll(t, second), "%+v", tc)
			continue
		}
		assert.Empty(t, body.Held(b), "%+v: memory not given back", tc)
		assert.Equal(t, "hello, world"[total:], readAll(t, b.First()), "%+v: the first attempt goes on", tc)
	}
}

func TestReplayBufferHasTheSizeOfTheBody(t *testing.T) {
	for _, tc := range []struct {
		length, limit int64
		reads, held   []int
	}{
		{length: 1000, limit: 1000, reads: []int{1}, held: []int{1000}},
		{length: 1001, limit: 1000, reads: []int{1}, held: []int{1}}, // will not fit: no more than is read
		{length: -1, limit: 1000, reads: []int{1}, held: []int{1}},
		{length: 1, limit: 1000, reads: []int{1}, held: []int{1}},
		{length: 2, limit: 1000, reads: []int{4, 3}, held: []int{4, 4}}, // longer than it said
		// Pieces double until the limit, and the first has left its place.
		{length: -1, limit: 100, reads: slices.Repeat([]int{8}, 12), held: []int{8, 8, 16, 32, 36}},
		{length: -1, limit: 1000, reads: []int{300, 200, 500}, held: []int{300, 300, 400}}, // the last read fills one and begins another
	} {
		text := strings.Repeat("0123456789", 200)
		b := body.New(request(t.Context(), textSource(text), tc.length), tc.limit)
		assert.Empty(t, body.Held(b), "allocated before a read")
		for _, n := range tc.reads {
			read(t, b.First(), n)
		}
		assert.Equal(t, tc.held, body.Held(b), "%+v", tc)
		second := replay(t, b)
		assert.Equal(t, text[:20], read(t, second, 20), "of several pieces")
		assert.Equal(t, text[20:], readAll(t, second))
	}
}

func TestReplayBufferIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(*body.Replayable){
		"read to its end": func(b *body.Replayable) { readAll(t, replay(t, b)) },
		"closed":          func(b *body.Replayable) { replay(t, b).Close() },
		"released":        func(b *body.Replayable) { b.Release() },
		"released, and read on": func(b *body.Replayable) {
			b.Release()
			assert.Equal(t, "llo", readAll(t, b.First()))
		},
	} {
		b := keep(t, textSource("hello"), 100)
		read(t, b.First(), 2)
		require.NotEmpty(t, body.Held(b))
		end(b)
		assert.Empty(t, body.Held(b), name)
	}
}

func TestReadsOfTheFirstAttemptFailOnceReplayed(t *testing.T) {
	src := textSource("hello")
	b := keep(t, src, 100)
	read(t, b.First(), 1)
	second := replay(t, b)
	require.ErrorIs(t, readError(b.First()), body.ErrStopped)
	assert.EqualValues(t, 1, src.bytes.Load())
	assert.Equal(t, "hello", readAll(t, second))
	require.ErrorIs(t, readError(b.First()), body.ErrStopped, "an io.EOF would make the first attempt look whole")
}

func TestReplayIsOnce(t *testing.T) {
	b := keep(t, textSource("hello"), 100)
	second := replay(t, b)
	_, ok := b.Replay()
	assert.False(t, ok)
	b.Release()
	assert.Equal(t, "hello", readAll(t, second), "Release has no effect any more")

	b = keep(t, textSource("hello"), 100)
	b.Release()
	_, ok = b.Replay()
	assert.False(t, ok)
}

func TestReplayWaitsForTheReadInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		src := newSource(pr)
		b := keep(t, src, 100)
		go func() {
			time.Sleep(body.ReplayWait - time.Millisecond)
			io.WriteString(pw, "hello")
			io.WriteString(pw, ", world")
			pw.Close()
		}()
		go func() {
			assert.Equal(t, "hello", read(t, b.First(), 5), "a Read that had begun must deliver")
			assert.ErrorIs(t, readError(b.First()), body.ErrStopped)
			b.First().Close()
		}()
		synctest.Wait()

		start := time.Now()
		second := replay(t, b)
		assert.Equal(t, body.ReplayWait-time.Millisecond, time.Since(start))
		assert.Equal(t, "hello, world", readAll(t, second))
		assert.Zero(t, src.closes.Load())
		require.NoError(t, second.Close())
		assert.EqualValues(t, 1, src.closes.Load())
	})
}

func TestReplayDoesNotWaitWithoutARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, _ := io.Pipe()
		start := time.Now()
		replay(t, keep(t, pr, 100))
		assert.Zero(t, time.Since(start))
	})
}

// A Replay that gave up must leave the first attempt as it was.
func TestReplayGivesUpWhileTheFirstAttemptReads(t *testing.T) {
	for name, tc := range map[string]struct {
		limit  int64
		cancel time.Duration // when the caller leaves
		write  time.Duration // when the Read ends
		want   time.Duration // when Replay gives up
	}{
		"after a second":                    {100, time.Hour, time.Minute, body.ReplayWait},
		"when the caller leaves":            {100, body.ReplayWait / 4, time.Minute, body.ReplayWait / 4},
		"when the Read goes over the limit": {6, time.Hour, body.ReplayWait / 4, body.ReplayWait / 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.cancel)
				defer cancel()
				pr, pw := io.Pipe()
				src := newSource(pr)
				b := body.New(request(ctx, src, -1), tc.limit)
				start := time.Now()
				got := make(chan string, 1)
				go func() {
					p, err := io.ReadAll(b.First())
					assert.NoError(t, err)
					assert.NoError(t, b.First().Close())
					got <- string(p)
				}()
				go func() {
					io.WriteString(pw, "hello")
					time.Sleep(tc.write)
					io.WriteString(pw, ", ")
					io.WriteString(pw, "world") // at once: Replay may not have woken up yet
					pw.Close()
				}()
				synctest.Wait()

				_, ok := b.Replay()
				assert.False(t, ok)
				assert.Equal(t, tc.want, time.Since(start))
				assert.Equal(t, "hello, world", <-got)
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

// Each step may be followed by the number of closes that the source has seen by then.
func TestSourceIsClosedOnce(t *testing.T) {
	const text = "hello, world"
	for _, tc := range []struct {
		limit int64
		steps string
	}{
		{100, "release:0 close:1"},
		{100, "close:0 release:1"}, // a replay might have followed
		{100, "write readAll close:1 release:1"},
		{100, "write readAll close replay readAll2 close2:1"},
		{100, "close replay:0 write readAll2 close2:1"},
		{100, "replay close:0 close2:1"}, // the second attempt has it
		{100, "replay close2:1 close:1"},
		{100, "write readAll replay close:0 close2:1"},
		{5, "write readSix close:1 release:1"}, // over the limit, so no replay can follow
		{100, "close close replay close2 close2:1"},
		{100, "release close close release:1"},
		{100, "replay release:0 close2:1"},
		// HTTP/2 closes a request body in the middle of a Read.
		{100, "reading release close:1 fails"},
		{100, "reading close:0 release:1 fails"},
		{100, "reading close write replay:0 succeeds readAll2 close2:1"},
		{100, "reading close noReplay:1 fails"},
		{5, "reading close write succeeds:1 release:1"}, // over the limit, and nothing else will close it
		{100, "replay reading2 close2:1 fails"},
	} {
		t.Run(tc.steps, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pr, pw := io.Pipe()
				src := newSource(pr)
				b := keep(t, src, tc.limit)
				var second io.ReadCloser
				ended := make(chan error, 1)
				reading := func(r io.Reader) {
					go func() {
						_, err := r.Read(make([]byte, 100))
						ended <- err
					}()
					synctest.Wait()
				}
				do := map[string]func(){
					"write": func() { // once the others wait for it
						time.AfterFunc(time.Millisecond, func() { io.WriteString(pw, text); pw.Close() })
					},
					"readSix":  func() { read(t, b.First(), 6) },
					"readAll":  func() { assert.Equal(t, text, readAll(t, b.First())) },
					"readAll2": func() { assert.Equal(t, text, readAll(t, second)) },
					"reading":  func() { reading(b.First()) },
					"reading2": func() { reading(second) },
					"fails":    func() { assert.Equal(t, io.ErrClosedPipe, <-ended) },
					"succeeds": func() { assert.NoError(t, <-ended) },
					"close":    func() { b.First().Close() },
					"close2":   func() { second.Close() },
					"release":  func() { b.Release() },
					"replay":   func() { second = replay(t, b) },
					"noReplay": func() {
						_, ok := b.Replay()
						assert.False(t, ok)
					},
				}
				for step := range strings.FieldsSeq(tc.steps) {
					name, closes, check := strings.Cut(step, ":")
					do[name]()
					if synctest.Wait(); check {
						assert.Equal(t, closes, fmt.Sprint(src.closes.Load()), name)
					}
				}
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

func TestCloseReturnsTheErrorOfTheSource(t *testing.T) {
	failure := errors.New("disk full")
	src := textSource("")
	src.close = func() error { return failure }
	b := keep(t, src, 100)
	b.Release()
	require.ErrorIs(t, b.First().Close(), failure)

	src = textSource("")
	src.close = func() error { return failure }
	b = keep(t, src, 100)
	require.NoError(t, b.First().Close())
	require.ErrorIs(t, replay(t, b).Close(), failure)
}

func TestReadAfterCloseFails(t *testing.T) {
	src := textSource("hello")
	b := keep(t, src, 100)
	read(t, b.First(), 2)
	b.First().Close()
	require.ErrorIs(t, readError(b.First()), body.ErrClosed)

	second := replay(t, b)
	read(t, second, 1)
	second.Close()
	require.ErrorIs(t, readError(second), body.ErrClosed)
	assert.EqualValues(t, 2, src.bytes.Load())

	b = keep(t, textSource("hello"), 100)
	b.Release()
	b.First().Close()
	require.ErrorIs(t, readError(b.First()), body.ErrClosed)
}

func TestCloseDoesNotWaitForAnotherClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := textSource("hello")
		closing := make(chan struct{})
		defer close(closing)
		src.close = func() error { <-closing; return nil }
		b := keep(t, src, 100)
		readAll(t, b.First())
		go b.First().Close()
		synctest.Wait()

		start := time.Now()
		second := replay(t, b)
		assert.Equal(t, "hello", readAll(t, second))
		second.Close()
		b.Release()
		assert.Zero(t, time.Since(start))
	})
}

// io.EOF or another error, with the last bytes or after them: either attempt sees it, as
// often as it asks, and the source is not read again.
func TestEndOfTheSourceIsRemembered(t *testing.T) {
	for _, want := range []error{io.EOF, errors.New("disk on fire")} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.DataErrReader} {
			start := func() (*body.Replayable, *source) {
				src := newSource(wrap(io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(want))))
				return keep(t, src, 5), src
			}
			readToEnd := func(src *source, r io.Reader) {
				got, err := io.ReadAll(r)
				if want != io.EOF {
					require.ErrorIs(t, err, want)
				}
				require.Equal(t, "hello", string(got))
				reads := src.reads.Load()
				require.Equal(t, want, readError(r))
				require.Equal(t, reads, src.reads.Load())
			}

			b, src := start()
			readToEnd(src, b.First())
			reads := src.reads.Load()
			second := replay(t, b)
			require.Equal(t, want, readError(b.First()), "net/http asks once more, and another error costs the connection")
			readToEnd(src, second)
			require.Equal(t, reads, src.reads.Load())

			b, src = start()
			readToEnd(src, replay(t, b))

			b, src = start()
			b.Release()
			readToEnd(src, b.First())
		}
	}
}

func TestReadsOfNothing(t *testing.T) {
	readNothing := func(r io.Reader) {
		n, err := r.Read(nil)
		assert.Zero(t, n)
		require.NoError(t, err)
	}
	b := keep(t, textSource("hello"), -1)
	readNothing(b.First())
	assert.Equal(t, "hello", readAll(t, replay(t, b)), "still nothing was read of it")

	b = keep(t, textSource(""), -1)
	assert.Empty(t, readAll(t, b.First()))
	assert.Empty(t, readAll(t, replay(t, b)))

	b = keep(t, textSource("hello"), 100)
	read(t, b.First(), 2)
	second := replay(t, b)
	readNothing(second)
	assert.Equal(t, "hello", readAll(t, second))
}

func TestPanicOfTheSourcePreventsAReplay(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic("torn page") },
		"Goexit": runtime.Goexit,
	} {
		for _, early := range []bool{false, true} { // Replay is called before the panic, or after it
			t.Run(fmt.Sprintf("%s/early=%t", name, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					first := true
					src := newSource(readerFunc(func([]byte) (int, error) {
						if first {
							first = false
							time.Sleep(time.Millisecond)
							leave()
						}
						return 0, io.EOF
					}))
					b := keep(t, src, 100)
					var recovered any
					left := make(chan struct{})
					go func() {
						defer close(left)
						defer func() { recovered = recover() }()
						b.First().Read(make([]byte, 100))
						t.Error("Read returned")
					}()
					if !early {
						<-left
					}
					synctest.Wait()
					start := time.Now()
					_, ok := b.Replay()
					assert.False(t, ok, "it is unknown how much was read")
					assert.LessOrEqual(t, time.Since(start), time.Millisecond, "the Read counts as in progress")
					<-left
					if name == "panic" {
						assert.Equal(t, "torn page", recovered)
					}
					assert.Empty(t, readAll(t, b.First()))
					b.First().Close()
					assert.EqualValues(t, 1, src.closes.Load())
				})
			})
		}
	}
}

func TestKeepingABodyCostsTwoAllocations(t *testing.T) {
	data, p := make([]byte, 4096), make([]byte, 512)
	src := bytes.NewReader(data)
	req := request(t.Context(), io.NopCloser(readerFunc(src.Read)), 4096)
	allocs := testing.AllocsPerRun(100, func() {
		src.Reset(data)
		b := body.New(req, 4096)
		for {
			if _, err := b.First().Read(p); err != nil {
				break
			}
		}
		b.First().Close()
		b.Release()
	})
	assert.LessOrEqual(t, allocs, 2.0)
}

// However the goroutines are scheduled, both attempts see the caller's bytes in order, and
// the source sees one Close.
func TestReplayUnderRandomSchedules(t *testing.T) {
	want := make([]byte, 4096)
	for i := range want {
		want[i] = byte(i * 7)
	}
	for seed := range uint64(2000) {
		random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
		rng, cuts, sizes := random(1), random(2), random(3)
		pr, pw := io.Pipe()
		src := newSource(pr)
		b := keep(t, src, rng.Int64N(8192))
		closeEarly := rng.IntN(4) == 0 // by another goroutine, as HTTP/2 does
		closeAfter := rng.IntN(1000)
		var running sync.WaitGroup
		running.Go(func() {
			defer pw.Close()
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+cuts.IntN(512))
				if _, err := pw.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		})
		var first []byte
		var firstErr error
		running.Go(func() {
			for firstErr == nil {
				p := make([]byte, 1+sizes.IntN(512))
				var n int
				n, firstErr = b.First().Read(p)
				first = append(first, p[:n]...)
			}
			b.First().Close()
		})
		if closeEarly {
			running.Go(func() {
				for range closeAfter {
					runtime.Gosched()
				}
				b.First().Close()
			})
		}
		for range rng.IntN(60) {
			runtime.Gosched()
		}
		second, ok := b.Replay()
		if ok {
			got, err := io.ReadAll(second)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "seed %d: the second attempt saw other bytes", seed)
			require.NoError(t, second.Close())
		}
		running.Wait()
		require.True(t, bytes.HasPrefix(want, first), "seed %d: the first attempt saw other bytes", seed)
		if !closeEarly && !(ok && errors.Is(firstErr, body.ErrStopped)) {
			require.Equal(t, io.EOF, firstErr, "seed %d", seed)
			require.Len(t, first, len(want), "seed %d", seed)
		}
		require.EqualValues(t, 1, src.closes.Load(), "seed %d", seed)
	}
}
