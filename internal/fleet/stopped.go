//go:build unix

package fleet

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// Stopped stops a process in the middle of its refresh (SIGSTOP) for longer than
// its lease. Meanwhile another process refreshes and stores a newer token. When
// the first goes on, its refresh succeeds. The token of that refresh must not take the
// place of the newer one. The stores that dsn opens have the lease given here.
func Stopped(t *testing.T, dsn string, lease time.Duration) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	var refreshes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			if strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") == "old" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			return
		}
		name := "newer"
		if refreshes.Add(1) == 1 {
			name = "late"
			close(arrived)
			<-answer
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"` + name + `","refresh_token":"refresh-` + name + `","token_type":"Bearer"}`))
	}))
	defer server.Close()
	released := false
	release := func() {
		if !released {
			released = true
			close(answer)
		}
	}
	defer release()

	o := orders{
		DSN: dsn, TokenURL: server.URL + "/token", Origin: server.URL, APIURL: server.URL,
		Callers: 1, Timeout: 20*time.Second + 2*lease,
	}
	signIn(t, o, reauth.Token{AccessToken: "old", RefreshToken: "refresh-old"})
	stopped := start(t, o)
	stopped.begin(t)
	<-arrived
	require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGSTOP))

	_, another, err := newTransport(o)
	require.NoError(t, err)
	require.Empty(t, get(t.Context(), &http.Client{Transport: another.Session(session)}, o.APIURL))
	require.NoError(t, another.Wait(t.Context()))
	assert.EqualValues(t, 2, refreshes.Load(), "the other process has refreshed once the lease had run out")
	assert.Equal(t, "newer", stored(t, dsn))

	release()
	require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGCONT))
	r := stopped.report(t)
	assert.Equal(t, 1, r.Requests)
	assert.Empty(t, r.Lost, "the stopped process loses no request")
	assert.Equal(t, "newer", stored(t, dsn), "the newer token is still in the store")
	assert.EqualValues(t, 2, refreshes.Load())
}

func stored(t *testing.T, dsn string) string {
	t.Helper()
	store, err := open(dsn)
	require.NoError(t, err)
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	return tok.AccessToken
}
