package cookieauth_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// The server has replaced the refresh cookie and its CSRF value when its answer fails to
// set the access cookie.
func TestSessionOutlivesAnAnswerWithoutTheAccessCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			cookie, err := req.Cookie("refresh_token_cookie")
			require.NoError(t, err)
			sent = append(sent, cookie.Value+" "+req.Header.Get("X-CSRF-TOKEN"))
			resp := testworld.Respond(req, 200, "")
			resp.Header["Set-Cookie"] = []string{"refresh_token_cookie=refresh-2", "csrf_refresh_token=csrf-refresh-2"}
			if len(sent) == 2 {
				resp.Header["Set-Cookie"] = []string{"access_token_cookie=access-3; Max-Age=3600"}
			}
			return resp, nil
		}).Client()}
		tr, err := reauth.New(reauth.Config{Refresher: c, Origins: []string{"https://api.example.com"}})
		require.NoError(t, err)
		tok := signedIn()
		tok.AccessToken = ""
		require.NoError(t, tr.SignIn(t.Context(), tok))
		_, err = tr.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute) // the pause after the failure
		tok, err = tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-3", tok.AccessToken)
		assert.Equal(t, []string{"refresh-1 csrf-refresh-1", "refresh-2 csrf-refresh-2"}, sent)
	})
}
