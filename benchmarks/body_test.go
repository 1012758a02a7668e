package benchmarks_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth/benchmarks"
)

var bodies = []struct {
	name   string
	size   int
	length int64 // as the request states it
}{{"1KiB", 1 << 10, 1 << 10}, {"64KiB", 64 << 10, 64 << 10}, {"streamed", 64 << 10, -1}}

// BenchmarkBody is the hot path with a body that can be read only once. A library
// that can send it again has to keep it. The base reads it to its end.
func BenchmarkBody(b *testing.B) {
	for _, c := range bodies {
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

// TestBodyAgain has the API refuse a request whose body can be read only once, and
// checks which libraries send it again, and whole.
func TestBodyAgain(t *testing.T) {
	again := map[string]bool{"reauth": true, "azcore": true, "appkit": true} // the others return the 401
	for _, lib := range slices.Concat([]library{floor}, libraries) {
		t.Run(lib.name, func(t *testing.T) {
			var o benchmarks.Outcome
			synctest.Test(t, func(t *testing.T) {
				s := &scenario{model: newModel(), library: lib}
				var calls []call
				for _, c := range bodies {
					text := make([]byte, c.size)
					for i := range text {
						text[i] = byte(i % 251)
					}
					base := &comparing{base: s.model, text: text}
					s.rt = lib.new(t, setup{base: base, first: s.issue(), refresh: s.refresh, bubble: true})
					s.revoke()
					body := &onceBody{text: text}
					body.rest.Reset(text)
					req := newRequest(t, t.Context(), 3)
					req.Method, req.Body, req.ContentLength = http.MethodPost, body, c.length
					calls = append(calls, s.send(t, req))

					whole := []bool{true}
					if again[lib.name] {
						whole = []bool{true, true}
					}
					assert.Equal(t, whole, base.whole, "bodies that the API got, of %s", c.name)
				}
				o = s.outcome("body-again", calls)
			})
			expected := want{refused: len(bodies), last: apiLatency}
			if again[lib.name] {
				expected = want{answered: len(bodies), refreshes: len(bodies), last: 2 * apiLatency}
			}
			assert.Equal(t, expected, want{o.Answered, o.Refused, o.Failed, o.Refreshes, o.Last})
			report(t, o)
		})
	}
}

// comparing is a base that reads each body, and records whether it was text.
type comparing struct {
	base  http.RoundTripper
	text  []byte
	whole []bool
}

func (c *comparing) RoundTrip(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	got, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	c.whole = append(c.whole, bytes.Equal(c.text, got))
	return c.base.RoundTrip(req)
}

// A onceBody is only an io.ReadCloser, like the body of a proxied request. It
// allocates nothing.
type onceBody struct {
	text []byte
	rest bytes.Reader
}

func (b *onceBody) Read(p []byte) (int, error) {
	return b.rest.Read(p[:min(len(p), 4<<10)]) // as much as a connection delivers at a time
}

func (b *onceBody) Close() error { return nil }

// reading is a base that reads the body as net/http does, into a buffer that it
// reuses, and then answers.
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
