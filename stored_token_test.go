package reauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// FuzzStoredToken hands over whatever a store may hold, as JSON. A request is then
// answered or fails with an error that shows nothing of it; and it ends.
func FuzzStoredToken(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"access_token":"a"}`, `{"refresh_token":"r"}`,
		`{"access_token":"a","token_type":"bearer","refresh_token":"r","expiry":"2030-01-02T03:04:05Z","extra":{"id_token":"i"}}`,
		`{"access_token":"a","expiry":"0001-01-01T00:00:00Z"}`, `{"access_token":"a","expiry":"9999-12-31T23:59:59Z"}`,
		`{"access_token":"a b\r\nX: y","token_type":"B\u0000"}`, `{"access_token":"a","token_type":"Basic x"}`,
		`{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjEuOGUxOH0.","refresh_token":"r"}`,
		`{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOi0xfQ.x","refresh_token":"r"}`,
		`{"access_token":"` + strings.Repeat("é", 3000) + `"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var tok reauth.Token
		if err := json.Unmarshal([]byte(text), &tok); err != nil {
			t.Skip("no store can hold it")
		}
		store := new(reauth.MemoryStore)
		require.NoError(t, store.Save(t.Context(), "", tok))
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) {
				return reauth.Token{}, errors.New("not now")
			}),
			Origins: []string{"https://api.example.com"},
			Store:   store,
			Base: roundTripper(func(req *http.Request) (*http.Response, error) {
				for _, value := range req.Header.Values("Authorization") {
					assert.NotContains(t, value, "\n")
					assert.NotContains(t, value, "\r")
				}
				return respond(req, http.StatusOK, ""), nil
			}),
		})
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com", nil)
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		} else {
			for _, secret := range []string{tok.AccessToken, tok.RefreshToken} {
				if len(secret) > 20 {
					assert.False(t, strings.Contains(err.Error(), secret), "the error shows a token")
				}
			}
		}
		require.NoError(t, tr.Wait(t.Context()))
		kept, ok, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, ok && kept.AccessToken == tok.AccessToken && kept.RefreshToken == tok.RefreshToken, "the store no longer has it")
	})
}
