package body

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// An independent is a request with a GetBody of http.NewRequest. That returns a reader of
// its own over memory that does not change, so it can be called at any time.
type independent struct{ req *http.Request }

func (b independent) First() io.ReadCloser                   { return b.req.Body }
func (b independent) GetBody() func() (io.ReadCloser, error) { return b.req.GetBody }
func (b independent) Release()                               {}

func (b independent) Replay() (io.ReadCloser, bool) {
	second, err := b.req.GetBody()
	return second, err == nil
}

// ofNewRequest is the code of the functions that http.NewRequest sets as GetBody. Nobody
// else can make a function with that code. If this finds none, as it may with another
// compiler, bodies are only tracked or copied without need.
var ofNewRequest = func() (code []uintptr) {
	for _, r := range []io.Reader{strings.NewReader("x"), bytes.NewReader([]byte("x")), bytes.NewBufferString("x")} {
		if req, err := http.NewRequest(http.MethodPost, "/", r); err == nil && req.GetBody != nil {
			code = append(code, reflect.ValueOf(req.GetBody).Pointer())
		}
	}
	return code
}()

func isIndependent(req *http.Request) bool {
	return slices.Contains(ofNewRequest, reflect.ValueOf(req.GetBody).Pointer())
}

// smallBody is the length up to which a body in memory is copied. With its header such a
// request fits in the 4 KiB that net/http sends in one write.
const smallBody = 2 << 10

// An inMemory body is a copy of a body that was small and in memory.
//
// net/http flushes the header before a body of a type it does not know, since the first
// Read might block. Then a small request takes two writes in place of one. So both attempts
// get a body of a type that it knows. Such a body cannot be tracked. That is why it is a
// copy, which the base may read as long as it likes, and why the copy is left to the garbage
// collector and not pooled.
type inMemory struct {
	data    []byte
	first   bytes.Reader
	getBody func() (io.ReadCloser, error)
}

func newInMemory(req *http.Request, r lenReader) *inMemory {
	b := &inMemory{data: make([]byte, r.Len())}
	n, _ := io.ReadFull(r, b.data) // does not fail
	b.data = b.data[:n]
	b.first.Reset(b.data)
	_ = req.Body.Close() // an io.NopCloser
	if req.GetBody != nil {
		b.getBody = b.again
	}
	return b
}

func (b *inMemory) again() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b.data)), nil
}

func (b *inMemory) First() io.ReadCloser                   { return io.NopCloser(&b.first) }
func (b *inMemory) GetBody() func() (io.ReadCloser, error) { return b.getBody }
func (b *inMemory) Release()                               {}

func (b *inMemory) Replay() (io.ReadCloser, bool) {
	second, err := b.again()
	return second, err == nil
}

type lenReader interface {
	io.Reader
	Len() int
}

var nopCloser = reflect.TypeOf(io.NopCloser(&bytes.Reader{}))

// smallInMemory returns the reader below the body of req if the body is small and in
// memory, so that reading it cannot block. These are the types that http.NewRequest puts
// into an io.NopCloser, by which net/http knows them too.
//
// The copy of a body without GetBody counts against the limit.
func smallInMemory(req *http.Request, limit int64) lenReader {
	if reflect.TypeOf(req.Body) != nopCloser {
		return nil
	}
	var r lenReader
	switch in := reflect.ValueOf(req.Body).Field(0).Interface().(type) {
	case *bytes.Reader:
		r = in
	case *bytes.Buffer:
		r = in
	case *strings.Reader:
		r = in
	default:
		return nil
	}
	if n := r.Len(); n > smallBody || req.GetBody == nil && int64(n) > limit {
		return nil
	}
	return r
}
