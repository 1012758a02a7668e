package filestore_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/sealedstore"
)

// A program that encrypts its tokens keeps the store below, and watches and purges that.
func TestWatchAndPurgeBelowASealedStore(t *testing.T) {
	server := reauthtest.NewServer(t, reauthtest.Options{})
	dir := filepath.Join(t.TempDir(), "sessions")
	sealed := func(store *filestore.Store) *reauth.Transport {
		s, err := sealedstore.New(store, bytes.Repeat([]byte{1}, 32))
		require.NoError(t, err)
		tr, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "a client"},
			Origins:   []string{server.URL},
			Store:     s,
		})
		require.NoError(t, err)
		return tr
	}
	get := func(tr *reauth.Transport) {
		t.Helper()
		resp, err := (&http.Client{Transport: tr}).Get(server.APIURL("/"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, tr.Wait(t.Context()))
	}
	mine, theirs := openToWatch(t, dir), openToWatch(t, dir)
	one, other := sealed(mine), sealed(theirs)
	l, another := watch(t, mine), watch(t, theirs)
	require.NoError(t, one.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	get(one)
	get(other)
	server.ExpireAccess()
	get(one) // refreshes, which is a save of its own
	another.expect("")
	require.Empty(t, l.calls, "the store below has written all that is new")

	other.ForgetAll()
	get(other)
	server.ExpireAccess()
	get(other)
	l.expect("")

	age(t, dir, "", 2*time.Hour)
	n, err := mine.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	another.eventually("")
}
