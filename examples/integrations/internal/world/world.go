// Package world is what the tests of the integrations share: a token server, an API that
// can revoke a token while requests are under way, and a session that is signed in.
package world

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Many is how many calls of a library are under way when the token is revoked.
const Many = 20

// A World is a token server with its API on a loopback port, and a Transport on which ann
// is signed in.
type World struct {
	*reauthtest.Server
	Transport *reauth.Transport
}

// New signs ann in. change may replace fields of the Transport's Config.
func New(t testing.TB, opts reauthtest.Options, change ...func(*reauth.Config)) *World {
	t.Helper()
	s := reauthtest.NewServer(t, opts)
	s.Handle(pathUser, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, reauthtest.UserFromRequest(r))
	}))
	cfg := reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: s.TokenURL(), ClientID: "integrations", Client: s.Client()},
		Origins:   []string{s.URL},
		Base:      Base(t, s),
		// A new token is not refreshed again by mistake, however slow this machine is.
		RefreshPause: time.Hour,
	}
	for _, c := range change {
		c(&cfg)
	}
	transport, err := reauth.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, transport.Wait(context.Background())) })
	require.NoError(t, transport.SignIn(t.Context(), reauth.Token(s.SignIn("ann"))))
	return &World{s, transport}
}

// Base returns a transport that reaches s with Many requests at once.
func Base(t testing.TB, s *reauthtest.Server) *http.Transport {
	t.Helper()
	base := s.Transport().Clone()
	base.MaxIdleConnsPerHost = Many
	t.Cleanup(base.CloseIdleConnections)
	return base
}

const pathUser = "/world/user" // answers whose token it is

// User asks the API whose token an Authorization is, for a server of another kind. A
// status other than 200 says how the API has refused or failed.
func (w *World) User(ctx context.Context, authorization string) (user string, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.APIURL(pathUser), nil)
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Authorization", authorization)
	resp, err := w.Server.Client().Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), resp.StatusCode, err
}

// Client returns an http.Client with the Transport.
func (w *World) Client() *http.Client { return &http.Client{Transport: w.Transport} }

// RevokeUnderWay calls use Many times at once. Each sends one request. When all of them
// have arrived at the API, and none is answered, the access token is revoked. No call may
// fail, each request is refused once and then answered with the new token, and there is
// one refresh.
func (w *World) RevokeUnderWay(t testing.TB, use func(ctx context.Context) error) {
	t.Helper()
	before, seen := w.Counts(), len(w.Requests())
	release := w.BlockAPI()
	defer release()
	var all sync.WaitGroup
	for range Many {
		all.Go(func() { assert.NoError(t, use(t.Context())) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // where use fails before it sends
	defer cancel()
	require.NoError(t, w.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests-before.APIRequests >= Many }))
	w.ExpireAccess()
	release()
	all.Wait()

	after := w.Counts()
	assert.Equal(t, Many, after.APIRefused-before.APIRefused, "requests that were refused")
	assert.Equal(t, 2*Many, after.APIRequests-before.APIRequests, "requests")
	assert.Equal(t, 1, after.Refreshes-before.Refreshes, "refreshes")
	for _, r := range w.Requests()[seen:] {
		if r.Status != http.StatusUnauthorized {
			assert.Equal(t, 2, r.Generation, "the token of %s", r)
		}
	}
}
