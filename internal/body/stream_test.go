package body_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
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

// Bodies without GetBody.

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
		left := held(func() {
			for _, n := range tc.reads {
				read(t, b.First(), n)
				total += n
			}
		})
		assert.EqualValues(t, total, src.bytes.Load(), "read ahead")
		second, ok := b.Replay()
		require.Equal(t, tc.ok, ok, "%+v", tc)
		if ok {
			assert.Equal(t, "hello, world", readAll(t, second), "%+v", tc)
			continue
		}
		assert.Zero(t, left, "%+v: memory not given back", tc)
		assert.Equal(t, "hello, world"[total:], readAll(t, b.First()), "%+v: the first attempt goes on", tc)
	}
}

// A Read stops at the limit, so that the body can be replayed until the next.
func TestReplayBufferIsFilledToTheLimit(t *testing.T) {
	b := keep(t, textSource("hello, world"), 5)
	n, err := b.First().Read(make([]byte, 100))
	require.NoError(t, err)
	assert.Equal(t, 5, n)
	assert.Equal(t, "hello, world", readAll(t, replay(t, b)))
}

func TestBodyOfJustTheLimitIsReplayed(t *testing.T) {
	b := keep(t, textSource("hello"), 5)
	assert.Equal(t, "hello", readAll(t, b.First()))
	assert.Equal(t, "hello", readAll(t, replay(t, b)))
}

// The memory follows what is read, not what is stated.
func TestReplayBufferGrowsWithWhatIsRead(t *testing.T) {
	const small, large = body.SmallChunk, body.LargeChunk
	for length, first := range map[int64]int{-1: small, 1: small, small: small, small + 1: large, 64 << 20: large, 1 << 62: large} {
		text := strings.Repeat("0123456789", 20<<10)
		b := body.New(request(t.Context(), textSource(text), length), 1<<62)
		total := 0
		after := func(n int) int { return held(func() { read(t, b.First(), n-total); total = n }) }
		assert.Zero(t, held(func() {
			assert.Zero(t, held(func() { b.First() }))
			assert.Equal(t, first, after(1), length)
			assert.Zero(t, after(first))
			assert.Equal(t, large, after(first+1))
			assert.Zero(t, after(first+large))
			assert.Equal(t, 2*large, after(first+2*large+1))
			second := replay(t, b)
			assert.Equal(t, text[:20], read(t, second, 20))
			assert.Equal(t, -first, held(func() { assert.Equal(t, text[20:first+1], read(t, second, first-19)) }), "what was read is given back")
			assert.Equal(t, text[first+1:], readAll(t, second))
		}))
	}
}

func TestReplayBufferIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(body.Replayable){
		"read to its end": func(b body.Replayable) { readAll(t, replay(t, b)) },
		"closed":          func(b body.Replayable) { replay(t, b).Close() },
		"closed twice": func(b body.Replayable) {
			second := replay(t, b)
			second.Close()
			second.Close()
			b.First().Close()
			b.Release()
		},
		"released": func(b body.Replayable) { b.Release() },
		"released twice": func(b body.Replayable) {
			b.Release()
			b.First().Close()
			b.Release()
		},
		"released, and read on": func(b body.Replayable) {
			b.Release()
			assert.Equal(t, "llo", readAll(t, b.First()))
		},
	} {
		assert.Zero(t, held(func() {
			b := keep(t, textSource("hello"), 100)
			assert.Positive(t, held(func() { read(t, b.First(), 2) }))
			end(b)
		}), name)
	}
}

// Memory that a Read in progress writes to is given back when that ends, and not before.
func TestReplayBufferOfAReadInProgressIsGivenBackLater(t *testing.T) {
	for name, end := range map[string]func(body.Replayable){
		"released":          func(b body.Replayable) { b.Release() },
		"closed, released":  func(b body.Replayable) { b.First().Close(); b.Release() },
		"replayed, closed":  func(b body.Replayable) { replay(t, b).Close() },
		"closed, replayed":  func(b body.Replayable) { b.First().Close(); replay(t, b).Close() },
		"over the limit":    func(b body.Replayable) {},
		"replayed, read on": func(b body.Replayable) { second := replay(t, b); go func() { io.ReadAll(second); second.Close() }() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				assert.Zero(t, held(func() {
					source := make(chan []byte)
					src := newSource(readerFunc(func(p []byte) (int, error) { return copy(p, <-source), io.EOF }))
					b := keep(t, src, 0)
					go func() {
						io.ReadAll(b.First())
						b.First().Close()
					}()
					synctest.Wait()
					assert.Zero(t, held(func() {
						end(b)
						synctest.Wait()
					}), "the source may still write to it")
					source <- []byte("hello")
					synctest.Wait()
				}))
			})
		})
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

// A Read of a pipe that nothing is written to yet is no reason to wait. Both attempts are
// told at once: the first that it is over, the second what the pipe brings.
func TestSecondAttemptTakesOverTheReadInProgress(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after string
		closed        bool // by the base, in the middle of the Read, as over HTTP/2
	}{
		"of nothing yet":             {"", "hello, world", false},
		"of the rest":                {"hello", ", world", false},
		"of nothing more":            {"hello, world", "", false},
		"of nothing at all":          {"", "", false},
		"of nothing yet, and closed": {"", "hello, world", true},
		"of the rest, and closed":    {"hello", ", world", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pr, pw := io.Pipe()
				src := newSource(pr)
				b := keep(t, src, 1) // what the Read brings is not kept, and does not count
				if tc.before != "" {
					b = keep(t, src, int64(len(tc.before)))
				}
				ended := make(chan error, 1)
				go func() {
					p, err := io.ReadAll(b.First())
					assert.Equal(t, tc.before, string(p))
					ended <- err
				}()
				go func() {
					io.WriteString(pw, tc.before)
					time.Sleep(time.Hour)
					io.WriteString(pw, tc.after)
					pw.Close()
				}()
				synctest.Wait()

				start := time.Now()
				want := body.ErrStopped
				if tc.closed {
					b.First().Close()
					want = body.ErrClosed
					synctest.Wait()
				}
				second := replay(t, b)
				assert.ErrorIs(t, <-ended, want)
				assert.Zero(t, time.Since(start))
				assert.Equal(t, tc.before, read(t, second, len(tc.before)))
				assert.Zero(t, time.Since(start))
				assert.Equal(t, tc.after, readAll(t, second))
				assert.Equal(t, time.Hour, time.Since(start))
				assert.Zero(t, src.closes.Load())
				require.NoError(t, second.Close())
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

// The first attempt may look whole only if it was.
func TestEndThatTheSecondAttemptTookOver(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"the first attempt had everything": {"", io.EOF},
		"it did not have the last bytes":   {"hello", body.ErrStopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource(readerFunc(func(p []byte) (int, error) {
					time.Sleep(time.Hour)
					return copy(p, tc.text), io.EOF
				}))
				b := keep(t, src, 100)
				go func() {
					_, err := io.ReadAll(b.First())
					assert.ErrorIs(t, err, body.ErrStopped)
				}()
				synctest.Wait()
				second := replay(t, b)
				assert.Equal(t, tc.text, readAll(t, second))
				assert.Equal(t, tc.want, readError(b.First()))
				assert.EqualValues(t, 1, src.reads.Load())
				second.Close()
			})
		})
	}
}

func TestCloseEndsTheWaitForTheReadTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unblock := make(chan struct{})
		src := newSource(readerFunc(func(p []byte) (int, error) { <-unblock; return 0, io.EOF }))
		b := keep(t, src, 100)
		go b.First().Read(make([]byte, 1))
		synctest.Wait()
		second := replay(t, b)
		ended := make(chan error, 1)
		go func() { ended <- readError(second) }()
		synctest.Wait()
		second.Close()
		assert.ErrorIs(t, <-ended, body.ErrClosed)
		close(unblock)
	})
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
		{100, "reading close:0 fails release:1"},
		{100, "reading close fails replay:0 write readAll2 close2:1"},
		{100, "reading close replay close2:1"},
		{100, "reading replay close2:1 fails close:1"},
		{5, "reading close:0 fails write:0 release:1"},
		{0, "reading close:0 fails write:1 release:1"}, // over the limit, and nothing else will close it
		{100, "replay reading2 close2:1 fails2"},
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
						go func() { io.WriteString(pw, text); pw.Close() }()
					},
					"readSix":  func() { read(t, b.First(), 6) },
					"readAll":  func() { assert.Equal(t, text, readAll(t, b.First())) },
					"readAll2": func() { assert.Equal(t, text, readAll(t, second)) },
					"reading":  func() { reading(b.First()) },
					"reading2": func() { reading(second) },
					"fails":    func() { assert.Error(t, <-ended) },
					"fails2":   func() { assert.ErrorIs(t, <-ended, io.ErrClosedPipe) },
					"close":    func() { b.First().Close() },
					"close2":   func() { second.Close() },
					"release":  func() { b.Release() },
					"replay":   func() { second = replay(t, b) },
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
			start := func() (body.Replayable, *source) {
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

// A Read that returns neither a byte nor an error says nothing.
func TestEmptyReadsOfTheSourceArePassedOn(t *testing.T) {
	src := strings.NewReader("hello")
	empty := false
	sometimes := readerFunc(func(p []byte) (int, error) {
		if empty = !empty; empty {
			return 0, nil
		}
		return src.Read(p[:1])
	})
	b := keep(t, newSource(sometimes), 100)
	assert.Equal(t, "he", read(t, b.First(), 2))
	assert.Equal(t, "hello", readAll(t, replay(t, b)))
}

func TestImpossibleCountIsAnError(t *testing.T) {
	for _, n := range []int{-1, 101} {
		b := keep(t, newSource(readerFunc(func([]byte) (int, error) { return n, nil })), 1000)
		got, err := b.First().Read(make([]byte, 100))
		assert.Zero(t, got)
		assert.ErrorContains(t, err, "impossible count")
		assert.ErrorContains(t, readError(replay(t, b)), "impossible count")
	}
}

// A panic of the source is that of the Read it was called for, as without a Replayable.
func TestPanicOfTheSource(t *testing.T) {
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
					leaves := func(r io.Reader) {
						left := make(chan struct{})
						var recovered any
						go func() {
							defer close(left)
							defer func() { recovered = recover() }()
							r.Read(make([]byte, 100))
							t.Error("Read returned")
						}()
						<-left
						if name == "panic" {
							assert.Equal(t, "torn page", recovered)
						}
					}
					assert.Zero(t, held(func() {
						if early {
							go func() { assert.ErrorIs(t, readError(b.First()), body.ErrStopped) }()
							synctest.Wait()
							second := replay(t, b)
							leaves(second)
							second.Close()
						} else {
							leaves(b.First())
							_, ok := b.Replay()
							assert.False(t, ok, "it is unknown how much was read")
							assert.Empty(t, readAll(t, b.First()))
							b.First().Close()
						}
						assert.EqualValues(t, 1, src.closes.Load())
					}))
				})
			})
		}
	}
}

func TestKeptMemoryComesFromAPool(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // a pool has a part for each processor
	for _, size := range []int{body.SmallChunk - 1, 100_000} {
		data, p := make([]byte, size), make([]byte, 4096)
		src := bytes.NewReader(data)
		req := request(t.Context(), io.NopCloser(readerFunc(src.Read)), int64(size))
		upload := func() {
			src.Reset(data)
			b := body.New(req, int64(size))
			for {
				if _, err := b.First().Read(p); err != nil {
					break
				}
			}
			b.First().Close()
			b.Release()
		}
		upload()
		const runs = 200
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			upload()
		}
		runtime.ReadMemStats(&after)
		// Under the race detector a sync.Pool drops a quarter of what it is given.
		assert.Less(t, int(after.TotalAlloc-before.TotalAlloc)/runs, size/2)
	}
}

// However the goroutines are scheduled, both attempts see the caller's bytes in order, the
// source sees one Close, and all memory is given back.
func TestReplayUnderRandomSchedules(t *testing.T) {
	want := make([]byte, 64<<10)
	for i := range want {
		want[i] = byte(i*7 + i>>8)
	}
	for seed := range uint64(1000) {
		random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
		rng, cuts, sizes := random(1), random(2), random(3)
		want := want[:1+rng.IntN(len(want))]
		pr, pw := io.Pipe()
		src := newSource(pr)
		if rng.IntN(2) == 0 {
			src.Reader = iotest.DataErrReader(pr) // the last bytes come with io.EOF
		}
		before := body.Held.Load()
		b := keep(t, src, rng.Int64N(int64(2*len(want))))
		closeEarly := rng.IntN(4) == 0 // by another goroutine, as HTTP/2 does
		closeAfter := rng.IntN(1000)
		closeSecond := rng.IntN(4) == 0
		release := rng.IntN(4) == 0
		var running sync.WaitGroup
		running.Go(func() {
			defer pw.Close()
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+cuts.IntN(4096))
				if _, err := pw.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		})
		var first []byte
		var firstErr error
		running.Go(func() {
			var p [8192]byte // as net/http's, it is used for something else as soon as Read returns
			for firstErr == nil {
				p := p[:1+sizes.IntN(len(p))]
				var n int
				n, firstErr = b.First().Read(p)
				first = append(first, p[:n]...)
				clear(p)
			}
			if !errors.Is(firstErr, body.ErrStopped) {
				b.First().Close()
			}
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
		if release {
			b.Release()
		}
		second, ok := b.Replay()
		require.False(t, release && ok, "seed %d", seed)
		if ok {
			if closeSecond {
				running.Go(func() {
					for range closeAfter {
						runtime.Gosched()
					}
					second.Close()
				})
			}
			got, err := io.ReadAll(second)
			if closeSecond && err != nil {
				require.True(t, bytes.HasPrefix(want, got), "seed %d: the second attempt saw other bytes", seed)
			} else {
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "seed %d: the second attempt saw other bytes", seed)
			}
			require.NoError(t, second.Close())
		}
		running.Wait()
		require.True(t, bytes.HasPrefix(want, first), "seed %d: the first attempt saw other bytes", seed)
		if errors.Is(firstErr, body.ErrStopped) && readError(b.First()) == io.EOF {
			firstErr = io.EOF
		}
		if firstErr == io.EOF {
			require.Len(t, first, len(want), "seed %d: the first attempt looks whole", seed)
		} else if !closeEarly {
			require.True(t, ok, "seed %d: %v", seed, firstErr)
		}
		require.EqualValues(t, 1, src.closes.Load(), "seed %d", seed)
		for range 1000 { // a Read of the pipe may only just have been told
			if body.Held.Load() == before {
				break
			}
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, before, body.Held.Load(), "seed %d", seed)
	}
}

// A Replay may come between the end of a Read of the source and that of the first attempt's
// Read. Then the first attempt does not get the last bytes, and must not see the end either.
func TestEndThatComesTogetherWithTheReplay(t *testing.T) {
	text := []byte("hello")
	for i := range 20_000 {
		var returns atomic.Bool
		src := newSource(readerFunc(func(p []byte) (int, error) {
			for !returns.Load() {
				runtime.Gosched()
			}
			return copy(p, text), io.EOF
		}))
		b := keep(t, src, 100)
		ended := make(chan bool)
		go func() {
			n, _ := b.First().Read(make([]byte, 100))
			again := readError(b.First())
			ended <- n == len(text) || again != io.EOF
		}()
		returns.Store(true)
		for range i % 20 {
			runtime.Gosched()
		}
		second := replay(t, b)
		require.True(t, <-ended, "the first attempt looks whole")
		require.Equal(t, "hello", readAll(t, second))
		second.Close()
	}
}
