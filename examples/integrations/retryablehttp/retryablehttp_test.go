package retryablehttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	integration "github.com/reauth-go/reauth/examples/integrations/retryablehttp"
	"github.com/reauth-go/reauth/reauthtest"
)

// quick makes a client not wait, and counts what it sends again.
func quick(client *retryablehttp.Client) *atomic.Int64 {
	retries := new(atomic.Int64)
	client.Logger = nil
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	client.RequestLogHook = func(_ retryablehttp.Logger, _ *http.Request, retry int) {
		if retry > 0 {
			retries.Add(1)
		}
	}
	return retries
}

func above(w *world.World) (*retryablehttp.Client, *atomic.Int64) {
	client := integration.Above(w.Transport)
	return client, quick(client)
}

// below returns a world whose Transport has a retrying base.
func below(t *testing.T, opts reauthtest.Options, change ...func(*reauth.Config)) (*world.World, *atomic.Int64) {
	var retries *atomic.Int64
	change = append([]func(*reauth.Config){func(cfg *reauth.Config) {
		base := integration.Below(cfg.Base)
		retries = quick(base.Client)
		cfg.Base = base
	}}, change...)
	return world.New(t, opts, change...), retries
}

func get(ctx context.Context, client *http.Client, url string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	t.Run("above", func(t *testing.T) {
		t.Parallel()
		w := world.New(t, reauthtest.Options{})
		client, retries := above(w)
		w.RevokeUnderWay(t, func(ctx context.Context) error {
			status, err := get(ctx, client.StandardClient(), w.APIURL("/orders/1"))
			assert.Equal(t, http.StatusOK, status)
			return err
		})
		assert.Zero(t, retries.Load())
	})
	t.Run("below", func(t *testing.T) {
		t.Parallel()
		w, retries := below(t, reauthtest.Options{})
		w.RevokeUnderWay(t, func(ctx context.Context) error {
			status, err := get(ctx, w.Client(), w.APIURL("/orders/1"))
			assert.Equal(t, http.StatusOK, status)
			return err
		})
		assert.Zero(t, retries.Load())
	})
}

// storm sends requests at once, which all fail, and returns their errors.
func storm(t *testing.T, client *retryablehttp.Client, url string) (failed []error) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range world.Many {
		all.Go(func() {
			resp, err := client.Get(url)
			if err == nil {
				_ = resp.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		})
	}
	all.Wait()
	return failed
}

// retry401 is the policy that hashicorp/go-retryablehttp#146 recommends for a 401.
func retry401(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if resp != nil && resp.StatusCode == http.StatusUnauthorized {
		return true, nil
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

func TestASessionThatNeedsASignInIsNotRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client, retries := above(w)
	w.Revoke()
	for _, err := range storm(t, client, w.APIURL("/orders/1")) {
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	}
	assert.Zero(t, retries.Load())
	assert.Equal(t, 1, w.Counts().Refreshes)
	assert.LessOrEqual(t, w.Counts().APIRequests, world.Many)
}

func TestARefreshThatFailedIsNotRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client, retries := above(w)
	w.ExpireAccess()
	w.FailRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute}, -1)
	for _, err := range storm(t, client, w.APIURL("/orders/1")) {
		failed, ok := errors.AsType[*reauth.RefreshError](err)
		if assert.True(t, ok) {
			assert.Equal(t, time.Minute, failed.RetryAfter)
		}
	}
	assert.Zero(t, retries.Load())
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestARefusalThatStaysIsNotRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client, retries := above(w)
	client.CheckRetry = integration.CheckRetry(retry401)
	w.FailAPI(reauthtest.Failure{Status: http.StatusUnauthorized}, -1)
	resp, err := client.Get(w.APIURL("/orders/1"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Zero(t, retries.Load())
	assert.Equal(t, 2, w.Counts().APIRequests, "the request and its replay")
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestACallerThatGivesUpIsNotRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client, retries := above(w)
	w.ExpireAccess()
	release := w.BlockRefresh()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		_ = w.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	}()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, w.APIURL("/orders/1"), nil)
	require.NoError(t, err)
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, retries.Load())
}

func TestAnAPIThatFailsIsRetriedWithTheNewToken(t *testing.T) {
	t.Parallel()
	unavailable := reauthtest.Failure{Status: http.StatusServiceUnavailable}
	t.Run("above", func(t *testing.T) {
		t.Parallel()
		w := world.New(t, reauthtest.Options{})
		client, retries := above(w)
		w.ExpireAccess()
		w.FailAPI(unavailable, 2)
		resp, err := client.Post(w.APIURL("/orders"), "text/plain", []byte("an order"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, "8", resp.Header.Get("X-Body-Length"))
		assert.EqualValues(t, 2, retries.Load())
		assert.Equal(t, 1, w.Counts().Refreshes)
	})
	t.Run("below", func(t *testing.T) {
		t.Parallel()
		w, retries := below(t, reauthtest.Options{})
		w.ExpireAccess()
		w.FailAPI(unavailable, 2)
		resp, err := w.Client().Post(w.APIURL("/orders"), "text/plain", bytes.NewReader([]byte("an order")))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, "8", resp.Header.Get("X-Body-Length"))
		assert.EqualValues(t, 2, retries.Load())
		assert.Equal(t, 1, w.Counts().Refreshes)
	})
}

func TestBelowHandsOverTheLastResponse(t *testing.T) {
	t.Parallel()
	w, retries := below(t, reauthtest.Options{})
	w.FailAPI(reauthtest.Failure{Status: http.StatusServiceUnavailable, Body: "closed"}, -1)
	resp, err := w.Client().Get(w.APIURL("/orders/1"))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "closed", string(text))
	assert.EqualValues(t, 4, retries.Load())
}

// The http.Client in retryablehttp follows redirects by itself, and keeps headers of which
// it does not know that they are secret.
func TestBelowTakesTheTokenNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("X-Api-Token"))
	}))
	defer elsewhere.Close()
	w, _ := below(t, reauthtest.Options{
		AccessToken: func(r *http.Request) string { return r.Header.Get("X-Api-Token") },
	}, func(cfg *reauth.Config) {
		cfg.Credential = reauth.HeaderCredential{Name: "X-Api-Token", Bare: true}
	})
	w.Handle("/away", http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	status, err := get(t.Context(), w.Client(), w.APIURL("/away"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
}
