package benchmarks_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// BenchmarkBody is the hot path with a body that can be read only once: a library
// that means to send it again has to keep it. The base reads it to its end.
func BenchmarkBody(b *testing.B) {
	for _, c := range []struct {
		name   string
		size   int
		length int64 // as the request states it
	}{{"1KiB", 1 << 10, 1 << 10}, {"64KiB", 64 << 10, 64 << 10}, {"streamed", 64 << 10, -1}} {
		for _, lib := range slices.Concat([]library{base, floor}, libraries) {
			b.Run("lib="+lib.name+"/case="+c.name, func(b *testing.B) {
				rt := lib.new(b, setup{base: &reading{}, first: fresh(), refresh: noRefresh})
				body := &onceBody{text: make([]byte, c.size)}
				req := newRequest(b, newCaller(b.Context()), 3)
				req.Method = http.MethodPost
				req.ContentLength = c.length
				b.ReportAllocs()
				for b.Loop() {
					body.rest.Reset(body.text)
					req.Body, req.GetBody = body, nil // azcore has set them
					if _, err := rt.RoundTrip(req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A onceBody is a body that is nothing but an io.ReadCloser, such as that of a
// request which is passed on. It allocates nothing.
type onceBody struct {
	text []byte
	rest bytes.Reader
}

func (b *onceBody) Read(p []byte) (int, error) {
	return b.rest.Read(p[:min(len(p), 4<<10)]) // as much as a connection brings at a time
}

func (b *onceBody) Close() error { return nil }

// reading is a base that reads the body as net/http does, into a buffer that it
// keeps, and then answers.
type reading struct{ buffers sync.Pool }

func (r *reading) RoundTrip(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	buffer, ok := r.buffers.Get().(*[32 << 10]byte)
	if !ok {
		buffer = new([32 << 10]byte)
	}
	defer r.buffers.Put(buffer)
	for {
		if _, err := req.Body.Read(buffer[:]); err == io.EOF {
			return answerOf(req), nil
		} else if err != nil {
			return nil, err
		}
	}
}
