package interop_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// slow is a reader that takes its time, so that it is being read when a refusal comes.
type slow struct {
	r     *bytes.Reader
	piece int
}

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Microsecond)
	return s.r.Read(p[:min(len(p), s.piece)])
}

func (s slow) Seek(offset int64, whence int) (int64, error) { return s.r.Seek(offset, whence) }

// known is a slow whose length is known to retryablehttp.
type known struct{ slow }

func (k known) Len() int { return k.r.Len() }

// senders are the libraries. Each sends a body that can be rewound, and rewinds the one
// reader for each attempt.
var senders = map[string]func(ctx context.Context, rt http.RoundTripper, url string, body io.ReadSeeker) (*http.Response, error){
	"retryablehttp": func(ctx context.Context, rt http.RoundTripper, url string, body io.ReadSeeker) (*http.Response, error) {
		client := retryablehttp.NewClient()
		client.HTTPClient = &http.Client{Transport: rt}
		client.Logger = nil
		client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, url, body)
		if err != nil {
			return nil, err
		}
		return client.Do(req)
	},
	"azcore": func(ctx context.Context, rt http.RoundTripper, url string, body io.ReadSeeker) (*http.Response, error) {
		pipeline := runtime.NewPipeline("interop", "v1", runtime.PipelineOptions{}, &policy.ClientOptions{
			Transport: &http.Client{Transport: rt},
			Retry:     policy.RetryOptions{RetryDelay: time.Millisecond},
		})
		req, err := runtime.NewRequest(ctx, http.MethodPost, url)
		if err != nil {
			return nil, err
		}
		if err := req.SetBody(streaming.NopCloser(body), "application/octet-stream"); err != nil {
			return nil, err
		}
		return pipeline.Do(req)
	},
}

// An API that refuses a token does so as soon as it has the header, while the body is still
// on its way.
func TestUploadRefusedEarlyArrivesWhole(t *testing.T) {
	for library, send := range senders {
		for _, tls := range []bool{false, true} { // HTTP/1.1, HTTP/2
			for _, size := range []int{500, 200 << 10, 1 << 20, 8 << 20} {
				t.Run(fmt.Sprintf("%s/http2=%t/size=%d", library, tls, size), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					s := reauthtest.NewServer(t, reauthtest.Options{RefuseEarly: true, TLS: tls})
					tr, err := reauth.New(reauth.Config{
						Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), Client: s.Client()},
						Origins:   []string{s.URL},
						Base:      s.Transport(),
					})
					require.NoError(t, err)
					data := make([]byte, size)
					_, _ = rand.NewChaCha8([32]byte{}).Read(data)
					sum := sha256.Sum256(data)
					fresh := func() slow { return slow{bytes.NewReader(data), max(1000, size/50)} }
					for _, body := range []io.ReadSeeker{fresh(), known{fresh()}, fresh(), known{fresh()}} {
						require.NoError(t, tr.SignIn(ctx, reauth.Token(s.SignIn("ann"))))
						s.ExpireAccess()
						resp, err := send(ctx, tr, s.APIURL("/upload"), body)
						require.NoError(t, err)
						resp.Body.Close()
						require.Equal(t, http.StatusOK, resp.StatusCode)
						assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header.Get("X-Body-SHA256"))
					}
					assert.Equal(t, 4, s.Counts().APIRefused)
					assert.Equal(t, 8, s.Counts().APIRequests, "the library need not retry")
				})
			}
		}
	}
}

// The libraries' own attempts each may be refused too.
func TestUploadThatTheLibraryRetriesArrivesWhole(t *testing.T) {
	for library, send := range senders {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2=%t", library, tls), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := reauthtest.NewServer(t, reauthtest.Options{RefuseEarly: true, TLS: tls})
				tr, err := reauth.New(reauth.Config{
					Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), Client: s.Client()},
					Origins:   []string{s.URL},
					Base:      s.Transport(),
				})
				require.NoError(t, err)
				data := make([]byte, 300<<10)
				_, _ = rand.NewChaCha8([32]byte{}).Read(data)
				sum := sha256.Sum256(data)
				unavailable := true
				s.Handle("/upload", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					hash := sha256.New()
					_, err := io.Copy(hash, r.Body)
					if assert.NoError(t, err); unavailable { // after the whole body
						unavailable = false
						s.ExpireAccess() // so that the retry is refused, too
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
					_, _ = io.WriteString(w, hex.EncodeToString(hash.Sum(nil)))
				}))
				require.NoError(t, tr.SignIn(ctx, reauth.Token(s.SignIn("ann"))))
				s.ExpireAccess()
				resp, err := send(reauth.WithSession(ctx, ""), tr, s.APIURL("/upload"), known{slow{bytes.NewReader(data), 8 << 10}})
				require.NoError(t, err)
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				switch resp.StatusCode {
				case http.StatusOK:
					assert.Equal(t, hex.EncodeToString(sum[:]), string(text))
				case http.StatusUnauthorized: // within Config.RefreshPause
				default:
					t.Errorf("status %d", resp.StatusCode)
				}
			})
		}
	}
}
