package googleapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	api "google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"github.com/reauth-go/reauth/examples/integrations/googleapi"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

// A bucket speaks as much of Cloud Storage's JSON API as an upload needs.
type bucket struct {
	url     string
	arrived func(chunks int) // with the mutex locked

	mu      sync.Mutex
	chunks  int
	uploads map[string][]byte // by id
	objects map[string][32]byte
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	id := r.URL.Query().Get("upload_id")
	switch kind := r.URL.Query().Get("uploadType"); {
	case err != nil:
		panic(http.ErrAbortHandler)
	case kind == "multipart":
		object, content, err := readMultipart(r.Header.Get("Content-Type"), body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		b.finish(w, object.Name, content)
	case id == "":
		id = strconv.Itoa(len(b.uploads))
		b.uploads[id] = nil
		var object storage.Object
		_ = json.Unmarshal(body, &object)
		w.Header().Set("Location", fmt.Sprintf("%s%s?uploadType=resumable&upload_id=%s&name=%s", b.url, r.URL.Path, id, object.Name))
	default:
		var from, to int
		_, _ = fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/", &from, &to)
		if from != len(b.uploads[id]) || to+1-from != len(body) {
			http.Error(w, "a chunk is missing, or here twice", http.StatusBadRequest)
			return
		}
		b.uploads[id] = append(b.uploads[id], body...)
		b.chunks++
		b.arrived(b.chunks)
		if r.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", from, to, to+1) {
			b.finish(w, r.URL.Query().Get("name"), b.uploads[id])
			return
		}
		w.Header().Set("X-Http-Status-Code-Override", "308")
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", to))
	}
}

// readMultipart reads an object and its content, in one body.
func readMultipart(contentType string, body []byte) (object storage.Object, content []byte, err error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return object, nil, err
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	part, err := parts.NextPart()
	if err != nil {
		return object, nil, err
	}
	if err := json.NewDecoder(part).Decode(&object); err != nil {
		return object, nil, err
	}
	if part, err = parts.NextPart(); err != nil {
		return object, nil, err
	}
	content, err = io.ReadAll(part)
	return object, content, err
}

func (b *bucket) finish(w http.ResponseWriter, name string, content []byte) {
	b.objects[name] = sha256.Sum256(content)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(storage.Object{Name: name, Size: uint64(len(content))})
}

func newStorage(t *testing.T) (*world.World, *bucket, *storage.Service) {
	t.Helper()
	w := world.New(t, reauthtest.Options{})
	b := &bucket{url: w.URL, uploads: map[string][]byte{}, objects: map[string][32]byte{}, arrived: func(int) {}}
	w.Handle("POST /upload/storage/v1/b/shop/o", b)
	w.Handle("POST /resumable/upload/storage/v1/b/shop/o", b)
	service, err := storage.NewService(t.Context(), googleapi.With(w.Transport), option.WithEndpoint(w.URL+"/storage/v1/"))
	require.NoError(t, err)
	return w, b, service
}

const chunk = api.MinUploadChunkSize

// upload uploads size bytes that belong to name, in chunks.
func upload(ctx context.Context, service *storage.Service, name string, size int) error {
	object, err := service.Objects.Insert("shop", &storage.Object{Name: name}).
		Media(bytes.NewReader(content(name, size)), api.ChunkSize(chunk)).Context(ctx).Do()
	if err == nil && object.Size != uint64(size) {
		return errors.New("it has another size")
	}
	return err
}

func content(name string, size int) []byte {
	return bytes.Repeat([]byte(name), size/len(name)+1)[:size]
}

func TestUploadsInOneRequestThatAreRefusedAreSentAgain(t *testing.T) {
	t.Parallel()
	w, b, service := newStorage(t)
	w.RevokeUnderWay(t, func(ctx context.Context) error { return upload(ctx, service, "small", chunk/2) })
	assert.Equal(t, sha256.Sum256(content("small", chunk/2)), b.objects["small"])
}

func TestResumableUploadsGoOnAcrossARevocation(t *testing.T) {
	t.Parallel()
	w, b, service := newStorage(t)
	b.arrived = func(chunks int) {
		if chunks == 8 {
			w.ExpireAccess()
		}
	}
	const size = 6*chunk + 1000
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { assert.NoError(t, upload(t.Context(), service, fmt.Sprint("large", i), size)) })
	}
	all.Wait()
	assert.Equal(t, 4*7, b.chunks, "each chunk is taken once")
	for i := range 4 {
		name := fmt.Sprint("large", i)
		assert.Equal(t, sha256.Sum256(content(name, size)), b.objects[name])
	}
	assert.Equal(t, 1, w.Counts().Refreshes)
	assert.NotZero(t, w.Counts().APIRefused)
	last := w.Requests()[len(w.Requests())-1]
	assert.Equal(t, 2, last.Generation, "the new token")
}
