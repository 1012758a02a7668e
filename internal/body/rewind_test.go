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

// Bodies with GetBody.

// rewound returns a request whose GetBody rewinds the one reader that all its bodies share,
// as in libraries that retry.
func rewound(ctx context.Context, r io.ReadSeeker) (*http.Request, *sources) {
	all := &sources{}
	next := func() *source {
		src := newSource(readerFunc(r.Read))
		all.list = append(all.list, src)
		return src
	}
	req := request(ctx, next(), -1)
	req.GetBody = func() (io.ReadCloser, error) {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return next(), nil
	}
	return req, all
}

type sources struct{ list []*source }

// closes returns how often each has been closed.
func (s *sources) closes() (counts []int) {
	for _, src := range s.list {
		counts = append(counts, int(src.closes.Load()))
	}
	return counts
}

// A slow reader takes a millisecond for each Read, until it knows what it returns.
type slow struct{ *bytes.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(p)
}

func TestGetBodyIsCalledOnceTheFirstAttemptHasLetGo(t *testing.T) {
	for _, closed := range []bool{false, true} { // by the base, in the middle of a Read, as over HTTP/2
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := strings.Repeat("0123456789", 100)
				req, all := rewound(t.Context(), slow{bytes.NewReader([]byte(text))})
				b := body.New(req, -1)
				ended := make(chan error)
				go func() {
					_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{b.First()}, make([]byte, 10))
					b.First().Close()
					ended <- err
				}()
				time.Sleep(10500 * time.Microsecond)
				if closed {
					b.First().Close()
				}
				start := time.Now()
				second := replay(t, b)
				assert.Equal(t, 500*time.Microsecond, time.Since(start), "for the Read in progress")
				assert.Equal(t, text, readAll(t, second))
				assert.ErrorIs(t, <-ended, body.ErrStopped)
				assert.Equal(t, []int{1, 0}, all.closes(), "the first is closed before the second is opened, and not again")
				require.NoError(t, second.Close())
				require.NoError(t, second.Close())
				b.First().Close()
				assert.Equal(t, []int{1, 1}, all.closes())
			})
		})
	}
}

func TestGetBodyIsNotCalledWhileTheFirstAttemptReads(t *testing.T) {
	for name, tc := range map[string]struct{ cancel, want time.Duration }{
		"for a second":             {time.Hour, body.ReplayWait},
		"until the caller leaves":  {body.ReplayWait / 4, body.ReplayWait / 4},
		"though the caller leaves": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.cancel)
				defer cancel()
				pr, pw := io.Pipe()
				src := newSource(pr)
				req := request(ctx, src, -1)
				req.GetBody = func() (io.ReadCloser, error) {
					t.Error("GetBody is called")
					return nil, errors.New("in use")
				}
				b := body.New(req, 100)
				got := make(chan string, 1)
				go func() {
					got <- readAll(t, b.First())
					b.First().Close()
				}()
				synctest.Wait()
				start := time.Now()
				_, ok := b.Replay()
				assert.False(t, ok)
				assert.Equal(t, tc.want, time.Since(start))

				io.WriteString(pw, "hello, ")
				io.WriteString(pw, "world")
				pw.Close()
				assert.Equal(t, "hello, world", <-got, "the first attempt goes on")
				synctest.Wait()
				b.Release()
				assert.EqualValues(t, 1, src.closes.Load())
			})
		})
	}
}

// A Close may undo what GetBody does if they run at the same time.
func TestGetBodyIsNotCalledDuringAClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := textSource("hello")
		closed := false
		src.close = func() error { time.Sleep(time.Millisecond); closed = true; return nil }
		req := request(t.Context(), src, 5)
		req.GetBody = func() (io.ReadCloser, error) {
			assert.True(t, closed)
			return textSource("hello"), nil
		}
		b := body.New(req, 0)
		go b.First().Close()
		synctest.Wait()
		assert.Equal(t, "hello", readAll(t, replay(t, b)))
		assert.EqualValues(t, 1, src.closes.Load())
	})
}

func TestGetBodyThatFailsPreventsAReplay(t *testing.T) {
	src := textSource("hello")
	req := request(t.Context(), src, 5)
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("no such file") }
	b := body.New(req, 100)
	readAll(t, b.First())
	_, ok := b.Replay()
	assert.False(t, ok)
	assert.Equal(t, io.EOF, readError(b.First()), "the first attempt was whole")
	assert.EqualValues(t, 1, src.closes.Load())
	_, ok = b.Replay()
	assert.False(t, ok)
}

func TestGetBodyThatReturnsNoBody(t *testing.T) {
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		req := request(t.Context(), textSource(""), -1)
		req.GetBody = func() (io.ReadCloser, error) { return none, nil }
		assert.Equal(t, none, replay(t, body.New(req, 0)))
	}
}

func TestErrorsOfABodyWithGetBodyArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	src := newSource(iotest.ErrReader(broken))
	src.close = func() error { return broken }
	req := request(t.Context(), src, -1)
	req.GetBody = func() (io.ReadCloser, error) { return textSource("hello"), nil }
	b := body.New(req, 0)
	assert.ErrorIs(t, readError(b.First()), broken)
	assert.ErrorIs(t, b.First().Close(), broken)
	assert.ErrorIs(t, readError(b.First()), body.ErrClosed)
	assert.Equal(t, "hello", readAll(t, replay(t, b)))
	assert.ErrorIs(t, readError(b.First()), broken)
}

func TestReadThatPanicsHasEnded(t *testing.T) {
	req := request(t.Context(), newSource(readerFunc(func([]byte) (int, error) { panic("torn page") })), -1)
	req.GetBody = func() (io.ReadCloser, error) { return textSource("hello"), nil }
	b := body.New(req, 0)
	assert.PanicsWithValue(t, "torn page", func() { b.First().Read(make([]byte, 1)) })
	assert.Equal(t, "hello", readAll(t, replay(t, b)))
}

// net/http calls GetBody by itself, when a connection is lost.
func TestBodiesOfTheBasesOwnAttemptsAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "hello, world"
		req, all := rewound(t.Context(), slow{bytes.NewReader([]byte(text))})
		b := body.New(req, 0)
		getBody := b.GetBody()

		readingOne := make(chan error, 1)
		go func() { readingOne <- readError(b.First()) }()
		synctest.Wait()
		b.First().Close() // and the Read has not ended
		other, err := getBody()
		require.NoError(t, err)
		assert.EqualError(t, <-readingOne, "1 byte was read")
		assert.Equal(t, "hello", read(t, other, 5))

		go other.Read(make([]byte, 1))
		synctest.Wait()
		second := replay(t, b)
		assert.ErrorIs(t, readError(other), body.ErrStopped)
		assert.Equal(t, text, readAll(t, second))
		_, err = getBody()
		assert.ErrorIs(t, err, body.ErrStopped, "the first attempt is over")

		second.Close()
		again := b.GetBody() // the base sends the second attempt again
		third, err := again()
		require.NoError(t, err)
		assert.Equal(t, text, readAll(t, third))
		third.Close()
		assert.Equal(t, []int{1, 1, 1, 1}, all.closes())
		_, ok := b.Replay()
		assert.False(t, ok)
	})
}

func TestBaseGetsNoBodyWhileTheOneItClosedIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unblock := make(chan struct{})
		req := request(t.Context(), newSource(readerFunc(func([]byte) (int, error) { <-unblock; return 0, io.EOF })), -1)
		req.GetBody = func() (io.ReadCloser, error) { return textSource("hello"), nil }
		b := body.New(req, 0)
		go b.First().Read(make([]byte, 1))
		synctest.Wait()

		// It has not closed that one: it sends the request twice at the same time.
		start := time.Now()
		other, err := b.GetBody()()
		require.NoError(t, err)
		assert.Equal(t, "hello", readAll(t, other))
		assert.Zero(t, time.Since(start))

		b.First().Close()
		_, err = b.GetBody()()
		assert.ErrorIs(t, err, body.ErrInUse)
		assert.Equal(t, body.ReplayWait, time.Since(start))
		close(unblock)
	})
}

// Of several bodies one may begin a Read while the Replay waits for another.
func TestReadsThatBeginWhileReplayWaits(t *testing.T) {
	for _, ends := range []bool{true, false} { // the Read in progress
		t.Run(fmt.Sprintf("replayed=%t", ends), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unblock := make(chan struct{})
				req := request(t.Context(), newSource(readerFunc(func([]byte) (int, error) { <-unblock; return 0, io.EOF })), -1)
				req.GetBody = func() (io.ReadCloser, error) { return textSource("hello"), nil }
				b := body.New(req, 0)
				other, err := b.GetBody()()
				require.NoError(t, err)
				go b.First().Read(make([]byte, 1))
				synctest.Wait()

				time.AfterFunc(time.Millisecond, func() {
					_, err := io.ReadAll(other)
					if ends {
						assert.ErrorIs(t, err, body.ErrStopped)
					} else {
						assert.NoError(t, err, "it goes on")
					}
				})
				if ends {
					time.AfterFunc(2*time.Millisecond, func() { close(unblock) })
				}
				second, ok := b.Replay()
				assert.Equal(t, ends, ok)
				if ok {
					assert.Equal(t, "hello", readAll(t, second))
				} else {
					close(unblock)
				}
				synctest.Wait()
			})
		})
	}
}

// GetBody may be on its way when the response arrives.
func TestReplayWaitsForACallOfGetBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := textSource("late")
		var calls atomic.Int64
		req := request(t.Context(), textSource("hello"), -1)
		req.GetBody = func() (io.ReadCloser, error) {
			if calls.Add(1) == 1 {
				time.Sleep(time.Millisecond)
				return late, nil
			}
			assert.EqualValues(t, 1, late.closes.Load())
			return textSource("hello"), nil
		}
		b := body.New(req, 0)
		for range 2 {
			go func() {
				body1, err := b.GetBody()()
				if err == nil {
					_, err = io.ReadAll(body1)
				}
				assert.ErrorIs(t, err, body.ErrStopped)
			}()
		}
		synctest.Wait()
		start := time.Now()
		assert.Equal(t, "hello", readAll(t, replay(t, b)))
		assert.Equal(t, time.Millisecond, time.Since(start))
		synctest.Wait()
		assert.EqualValues(t, 1, late.closes.Load())
	})
}

func TestPanicOfGetBodyIsThatOfReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req := request(t.Context(), textSource("hello"), -1)
		calls := 0
		req.GetBody = func() (io.ReadCloser, error) {
			if calls++; calls == 1 {
				panic("torn page")
			}
			return textSource("hello"), nil
		}
		b := body.New(req, 0)
		start := time.Now()
		assert.PanicsWithValue(t, "torn page", func() { b.GetBody()() })
		assert.Equal(t, "hello", readAll(t, replay(t, b)))
		assert.Zero(t, time.Since(start))
	})
}

// However the goroutines are scheduled, the second attempt sees the whole body of a GetBody
// that rewinds the one reader, and each body is closed once.
func TestRewoundReplayUnderRandomSchedules(t *testing.T) {
	want := make([]byte, 8<<10)
	for i := range want {
		want[i] = byte(i*7 + i>>8)
	}
	for seed := range uint64(1000) {
		random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
		rng := random(1)
		pause := func(rng *rand.Rand, n int) {
			for range rng.IntN(n) {
				runtime.Gosched()
			}
		}
		shared := bytes.NewReader(want)
		in := random(2)
		yields := readerFunc(func(p []byte) (int, error) { // without a lock: the race detector watches
			n, err := shared.Read(p)
			pause(in, 3)
			return n, err
		})
		req, all := rewound(t.Context(), struct {
			io.Reader
			io.Seeker
		}{yields, shared})
		b := body.New(req, 0)
		getBody := b.GetBody()
		var running sync.WaitGroup
		running.Go(func() {
			sizes := random(3)
			for r := b.First(); r != nil; {
				var err error
				for err == nil && sizes.IntN(40) > 0 {
					_, err = r.Read(make([]byte, 1+sizes.IntN(300)))
				}
				if sizes.IntN(2) == 0 { // as over HTTP/2
					left := r
					running.Go(func() { left.Read(make([]byte, 10)) })
				}
				r.Close()
				if r, err = getBody(); err != nil {
					return
				}
			}
		})
		pause(rng, 200)
		second := replay(t, b)
		got, err := io.ReadAll(second)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "seed %d: the second attempt saw other bytes", seed)
		require.NoError(t, second.Close())
		running.Wait()
		for i, n := range all.closes() {
			require.Equal(t, 1, n, "seed %d: closes of body %d", seed, i)
		}
	}
}
