package oauth_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// The token server has spent refresh-1 when its answer breaks off.
func TestSessionOutlivesAnAnswerThatBreaksOff(t *testing.T) {
	for _, broken := range []string{
		`{"refresh_token":"refresh-2","access_token":"acc`, `{"refresh_token":"refresh-2","access_token":"two\nlines"}`, `refresh_token=refresh-2`,
	} {
		synctest.Test(t, func(t *testing.T) {
			var sent []string
			server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
				if len(sent) == 1 {
					return testworld.Respond(req, 200, broken), nil
				}
				return testworld.Respond(req, 200, `{"access_token":"access-3","refresh_token":"refresh-3","expires_in":3600}`), nil
			})
			client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				require.NoError(t, req.ParseForm())
				sent = append(sent, req.PostForm.Get("refresh_token"))
				return server.RoundTrip(req)
			})}
			store := new(reauth.MemoryStore)
			tr, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{TokenURL: testworld.TokenURL, Client: client}, Origins: []string{"https://api.example.com"}, Store: store,
				Base: roundTripper(func(req *http.Request) (*http.Response, error) {
					return testworld.Respond(req, 200, req.Header.Get("Authorization")), nil
				}),
			})
			require.NoError(t, err)
			require.NoError(t, tr.SignIn(t.Context(), reauth.Token{RefreshToken: "refresh-1"}))
			_, err = tr.Token(t.Context())
			assert.Error(t, err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			stored, _, err := store.Load(t.Context(), "")
			require.NoError(t, err)
			assert.Equal(t, "refresh-2", stored.RefreshToken)
			time.Sleep(time.Minute) // the pause after the failure
			resp, err := (&http.Client{Transport: tr}).Get("https://api.example.com/me")
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "Bearer access-3", string(text))
			assert.Equal(t, []string{"refresh-1", "refresh-2"}, sent)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
