package resty_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-resty/resty/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	integration "github.com/reauth-go/reauth/examples/integrations/resty"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := integration.New(w.Transport)
	w.RevokeUnderWay(t, func(ctx context.Context) error {
		var answer struct{ User string }
		resp, err := client.R().SetContext(ctx).SetResult(&answer).Get(w.APIURL("/orders/1"))
		if err == nil {
			assert.Equal(t, http.StatusOK, resp.StatusCode())
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
			client := integration.New(w.Transport).SetRetryCount(3).SetRetryWaitTime(time.Millisecond).SetLogger(silent{})
			breakIt(w)
			req := client.R()
			_, err := req.Get(w.APIURL("/orders/1"))
			require.Error(t, err)
			assert.Equal(t, name == "signed out", errors.Is(err, reauth.ErrSignInRequired))
			assert.Equal(t, 1, req.Attempt)
			assert.Equal(t, 1, w.Counts().Refreshes)
		})
	}
}

func TestWhatHasFailedOnTheWayIsRetriedWithTheNewToken(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := integration.New(w.Transport).SetRetryCount(3).SetRetryWaitTime(time.Millisecond).SetLogger(silent{})
	w.ExpireAccess()
	w.FailAPI(reauthtest.Drop, 1)
	req := client.R()
	resp, err := req.Get(w.APIURL("/orders/1"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode())
	assert.Equal(t, 2, req.Attempt)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

// go-resty/resty#47 is about bodies that were missing from the second attempt.
func TestABodyArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	sum := sha256.Sum256(data)
	for name, set := range map[string]func(*resty.Request) *resty.Request{
		"bytes":    func(r *resty.Request) *resty.Request { return r.SetBody(data) },
		"a reader": func(r *resty.Request) *resty.Request { return r.SetBody(bytes.NewReader(data)) },
		"a stream": func(r *resty.Request) *resty.Request { return r.SetBody(io.MultiReader(bytes.NewReader(data))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, reauthtest.Options{RefuseEarly: true})
			w.ExpireAccess()
			resp, err := set(integration.New(w.Transport).R()).Put(w.APIURL("/orders/1"))
			require.NoError(t, err)
			assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header().Get("X-Body-SHA256"))
			assert.Equal(t, 1, w.Counts().APIRefused)
		})
	}
}

func TestAFormWithAFileArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{RefuseEarly: true})
	data := strings.Repeat("0123456789abcdef", 64<<10)
	w.Handle("/files", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		file, _, err := r.FormFile("file")
		if assert.NoError(t, err) {
			got, err := io.ReadAll(file)
			assert.NoError(t, err)
			assert.True(t, data == string(got), "the file has arrived whole")
		}
	}))
	w.ExpireAccess()
	resp, err := integration.New(w.Transport).R().SetFileReader("file", "a.txt", strings.NewReader(data)).Post(w.APIURL("/files"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode())
	assert.Equal(t, 1, w.Counts().APIRefused)
}

func TestUsersShareNoCookies(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	w.Handle("/cookie", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.SetCookie(rw, &http.Cookie{Name: "user", Value: reauthtest.UserFromRequest(r), Path: "/"})
		_, _ = io.WriteString(rw, r.Header.Get("Cookie"))
	}))
	client := integration.New(w.Transport)
	for _, user := range []string{"ann", "bob"} {
		ctx := reauth.WithSession(t.Context(), user)
		require.NoError(t, w.Transport.SignIn(ctx, reauth.Token(w.SignIn(user))))
		resp, err := client.R().SetContext(ctx).Get(w.APIURL("/cookie"))
		require.NoError(t, err)
		assert.Empty(t, resp.String(), "cookies that %s sent", user)
	}
}

func TestTheDebugLogHoldsNoToken(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	var log bytes.Buffer
	client := integration.New(w.Transport).SetDebug(true).EnableGenerateCurlOnDebug().SetLogger(recorder{&log})
	w.ExpireAccess()
	_, err := client.R().Get(w.APIURL("/orders/1"))
	require.NoError(t, err)
	tok, err := w.Transport.Token(t.Context())
	require.NoError(t, err)
	assert.Contains(t, log.String(), "/orders/1")
	assert.NotContains(t, log.String(), tok.AccessToken)
}

type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

type recorder struct{ to *bytes.Buffer }

func (r recorder) Errorf(format string, v ...any) { fmt.Fprintf(r.to, format, v...) }
func (r recorder) Warnf(format string, v ...any)  { fmt.Fprintf(r.to, format, v...) }
func (r recorder) Debugf(format string, v ...any) { fmt.Fprintf(r.to, format, v...) }
