package reauth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// The store has shown the sign-in of another process, but the token is not in use yet:
// the refresh that it needs failed. Loading the next one is an adoption all the same.
func TestASignInElsewhereIsAnAdoptionThoughItWasSeenBefore(t *testing.T) {
	for name, signOut := range map[string]func(t *testing.T, w *world){
		"signed out": func(t *testing.T, w *world) { require.NoError(t, w.tr.SignOut(t.Context())) },
		"refused": func(t *testing.T, w *world) {
			w.revoke()
			w.answer(failing(reauth.ErrSignInRequired))
			_, err := w.get(t.Context())
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(faultyStore)
				w := newWorld(t, func(cfg *reauth.Config, _ *world) { cfg.Store = store })
				w.lifetime = time.Minute
				w.signIn(t)
				signOut(t, w)
				require.NoError(t, store.MemoryStore.Save(t.Context(), "", w.issue()))
				time.Sleep(2 * time.Minute)
				store.on(func(_ context.Context, call string) error {
					if call == "Lock" {
						return errFault
					}
					return nil
				})
				_, err := w.get(t.Context())
				require.Error(t, err)
				require.False(t, errors.Is(err, reauth.ErrSignInRequired), "%v", err)
				store.on(nil)
				require.NoError(t, store.MemoryStore.Save(t.Context(), "", w.issue()))
				time.Sleep(30 * time.Second)

				w.mustGet(t, http.StatusOK)
				assert.Equal(t, 1, w.events.count(reauth.EventAdopted))
			})
		})
	}
}
