package req_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imroc/req/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	integration "github.com/reauth-go/reauth/examples/integrations/req"
	"github.com/reauth-go/reauth/reauthtest"
)

func newClient(t *testing.T, w *world.World) *req.Client {
	t.Helper()
	client := integration.New(w.Transport)
	client.GetTransport().MaxIdleConnsPerHost = world.Many
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := newClient(t, w)
	w.RevokeUnderWay(t, func(ctx context.Context) error {
		var answer struct{ User string }
		resp, err := client.R().SetContext(ctx).SetSuccessResult(&answer).Get(w.APIURL("/orders/1"))
		if err == nil {
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, "ann", answer.User)
		}
		return err
	})
}

// Retries that go on without a token would only wait.
func TestASessionWithoutATokenIsNotRetried(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(*world.World){
		"signed out":         func(w *world.World) { w.Revoke() },
		"refresh has failed": func(w *world.World) { w.ExpireAccess(); w.FailRefresh(reauthtest.Failure{}, -1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, reauthtest.Options{})
			client := newClient(t, w).SetCommonRetryCount(3).SetCommonRetryFixedInterval(time.Millisecond)
			breakIt(w)
			r := client.R()
			_, err := r.Get(w.APIURL("/orders/1"))
			require.Error(t, err)
			assert.Equal(t, name == "signed out", errors.Is(err, reauth.ErrSignInRequired))
			assert.Zero(t, r.RetryAttempt)
			assert.Equal(t, 1, w.Counts().Refreshes)
		})
	}
}

// req sleeps between its attempts, whatever the context says.
func TestACallerWhoseTimeIsOverIsNotRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := newClient(t, w).SetCommonRetryCount(3).SetCommonRetryFixedInterval(time.Millisecond)
	w.FailAPI(reauthtest.Hang, -1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := client.R().SetContext(ctx)
	_, err := r.Get(w.APIURL("/orders/1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Zero(t, r.RetryAttempt)
}

func TestWhatHasFailedOnTheWayIsRetriedWithTheNewToken(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := newClient(t, w).SetCommonRetryCount(3).SetCommonRetryFixedInterval(time.Millisecond)
	w.ExpireAccess()
	w.FailAPI(reauthtest.Drop, 1)
	r := client.R().SetBody("an order")
	resp, err := r.Post(w.APIURL("/orders"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "8", resp.Header.Get("X-Body-Length"))
	assert.Equal(t, 1, r.RetryAttempt)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

// For an io.Reader, req's GetBody returns that reader again and again.
func TestABodyArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 12<<10) // less than the ReplayBuffer
	sum := sha256.Sum256(data)
	name := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	for kind, set := range map[string]func(*req.Request) *req.Request{
		"bytes":    func(r *req.Request) *req.Request { return r.SetBody(data) },
		"a reader": func(r *req.Request) *req.Request { return r.SetBody(bytes.NewReader(data)) },
		"a stream": func(r *req.Request) *req.Request { return r.SetBody(io.MultiReader(bytes.NewReader(data))) },
		"a reader that can't be compared": func(r *req.Request) *req.Request {
			return r.SetBody(several{[]io.Reader{bytes.NewReader(data)}})
		},
		"a file": func(r *req.Request) *req.Request {
			file, err := os.Open(name)
			require.NoError(t, err)
			return r.SetBody(file)
		},
		"a function": func(r *req.Request) *req.Request {
			return r.SetBody(func() (io.ReadCloser, error) { return os.Open(name) })
		},
	} {
		for _, early := range []bool{false, true} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				w := world.New(t, reauthtest.Options{RefuseEarly: early})
				w.ExpireAccess()
				resp, err := set(newClient(t, w).R()).Put(w.APIURL("/orders/1"))
				require.NoError(t, err)
				assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header.Get("X-Body-SHA256"))
				assert.Equal(t, 1, w.Counts().APIRefused)
			})
		}
	}
}

// A several can't be compared with ==.
type several struct{ readers []io.Reader }

func (s several) Read(p []byte) (int, error) { return s.readers[0].Read(p) }

func TestAFormThatIsStreamedArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	data := strings.Repeat("0123456789abcdef", 12<<10)
	w.Handle("/files", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		file, _, err := r.FormFile("file")
		if assert.NoError(t, err) {
			got, err := io.ReadAll(file)
			assert.NoError(t, err)
			assert.True(t, data == string(got), "the file has arrived whole")
		}
	}))
	w.ExpireAccess()
	resp, err := newClient(t, w).R().EnableForceChunkedEncoding().
		SetFileReader("file", "a.txt", strings.NewReader(data)).Post(w.APIURL("/files"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, 1, w.Counts().APIRefused)
}

func TestUsersShareNoCookies(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	w.Handle("/cookie", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.SetCookie(rw, &http.Cookie{Name: "user", Value: reauthtest.UserFromRequest(r), Path: "/"})
		_, _ = io.WriteString(rw, r.Header.Get("Cookie"))
	}))
	client := newClient(t, w)
	for _, user := range []string{"ann", "bob"} {
		ctx := reauth.WithSession(t.Context(), user)
		require.NoError(t, w.Transport.SignIn(ctx, reauth.Token(w.SignIn(user))))
		resp, err := client.R().SetContext(ctx).Get(w.APIURL("/cookie"))
		require.NoError(t, err)
		assert.Empty(t, resp.String(), "cookies that %s sent", user)
	}
}
