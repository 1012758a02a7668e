package keyringstore_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A lockedKeychain takes no entries while it is locked, like one whose user has left.
type lockedKeychain struct {
	memoryKeychain
	locked atomic.Bool
}

var errLocked = errors.New("the keychain is locked")

func (k *lockedKeychain) Set(service, user, secret string) error {
	if k.locked.Load() {
		return errLocked
	}
	return k.memoryKeychain.Set(service, user, secret)
}

// The lock can't tell that the keychain will refuse the token. It is kept until the
// keychain takes it.
func TestWithAKeychainThatRefusesATokenNoneIsSpentTwice(t *testing.T) {
	k, dir := new(lockedKeychain), lockDir(t)
	server := reauthtest.NewServer(t, reauthtest.Options{})
	failed := make(chan error, 100)
	open := func() *reauth.Transport {
		transport, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "keyringstore"},
			Origins:   []string{server.URL},
			Base:      server.Transport(),
			Store:     openOn(t, k, dir),
			OnEvent: func(_ context.Context, e reauth.Event) {
				if e.Kind == reauth.EventSaveFailed {
					failed <- e.Err
				}
			},
		})
		require.NoError(t, err)
		return transport
	}
	refreshing, waiting := open(), open() // like two processes
	get := func(transport *reauth.Transport) error {
		resp, err := (&http.Client{Transport: transport}).Get(server.APIURL("/"))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
	require.NoError(t, refreshing.SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	require.NoError(t, get(refreshing))
	require.NoError(t, get(waiting))
	server.ExpireAccess()

	k.locked.Store(true)
	require.NoError(t, get(refreshing), "it goes on with the new token")
	require.ErrorIs(t, <-failed, errLocked)
	answer := make(chan error, 1)
	go func() { answer <- get(waiting) }()
	require.NoError(t, server.Await(t.Context(), func(c reauthtest.Counts) bool { return c.APIRefused >= 2 }))
	isBusy(t, openOn(t, k, dir), "")
	k.locked.Store(false)
	require.NoError(t, <-answer, "it adopts the token once that is saved")
	require.NoError(t, refreshing.Wait(t.Context()))
	require.NoError(t, waiting.Wait(t.Context()))
	assert.Equal(t, 1, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected)
}
