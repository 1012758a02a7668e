package oapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/examples/integrations/oapi"
	"github.com/reauth-go/reauth/reauthtest"
)

func newClient(t *testing.T, w *world.World) *oapi.ClientWithResponses {
	t.Helper()
	client, err := oapi.New(w.URL, w.Transport)
	require.NoError(t, err)
	return client
}

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := newClient(t, w)
	w.RevokeUnderWay(t, func(ctx context.Context) error {
		resp, err := client.GetOrderWithResponse(ctx, "1")
		if err != nil {
			return err
		}
		if assert.NotNil(t, resp.JSON200, resp.Status()) {
			assert.Equal(t, "ann", resp.JSON200.User)
		}
		return nil
	})
}

func TestABodyArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	note := string(bytes.Repeat([]byte("0123456789abcdef"), 12<<10))
	for name, put := range map[string]func(*oapi.ClientWithResponses) (*http.Response, []byte, error){
		"typed": func(c *oapi.ClientWithResponses) (*http.Response, []byte, error) {
			resp, err := c.PutOrderWithResponse(t.Context(), "1", oapi.Order{User: "ann", Note: &note})
			if err != nil {
				return nil, nil, err
			}
			return resp.HTTPResponse, []byte(`{"note":"` + note + `","user":"ann"}`), nil
		},
		"a stream": func(c *oapi.ClientWithResponses) (*http.Response, []byte, error) {
			resp, err := c.PutInvoiceWithBodyWithResponse(t.Context(), "1", "application/pdf", io.MultiReader(bytes.NewReader([]byte(note))))
			if err != nil {
				return nil, nil, err
			}
			return resp.HTTPResponse, []byte(note), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, reauthtest.Options{RefuseEarly: true})
			w.ExpireAccess()
			resp, sent, err := put(newClient(t, w))
			require.NoError(t, err)
			sum := sha256.Sum256(sent)
			assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header.Get("X-Body-SHA256"))
			assert.Equal(t, 1, w.Counts().APIRefused)
			assert.Equal(t, 1, w.Counts().Refreshes)
		})
	}
}

func TestTheContextOfACallPicksTheUser(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := newClient(t, w)
	for _, user := range []string{"ann", "bob"} {
		ctx := reauth.WithSession(t.Context(), user)
		require.NoError(t, w.Transport.SignIn(ctx, reauth.Token(w.SignIn(user))))
		resp, err := client.GetOrderWithResponse(ctx, "1")
		require.NoError(t, err)
		require.NotNil(t, resp.JSON200, resp.Status())
		assert.Equal(t, user, resp.JSON200.User)
	}
}

func TestSignInRequiredIsSeenThroughTheClient(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	w.Revoke()
	_, err := newClient(t, w).GetOrderWithResponse(t.Context(), "1")
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

// A bearer token provider of oapi-codegen is such an editor.
func TestARequestEditorThatSetsATokenGoesWithoutTheSession(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	resp, err := newClient(t, w).GetOrderWithResponse(t.Context(), "1", func(_ context.Context, req *http.Request) error {
		req.Header.Set("Authorization", "Bearer of-my-own")
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode())
	assert.Zero(t, w.Counts().Refreshes)
}
