package realservers_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
)

func renewFlask(p *program) renewal {
	cookies := &cookieauth.Cookies{
		RefreshURL: p.url + "/token/refresh",
		SignInURL:  p.url + "/token/auth",
	}
	return renewal{
		refresher:  cookies,
		credential: cookies,
		signIn: func(ctx context.Context) (reauth.Token, error) {
			return cookies.Exchange(ctx, credentials)
		},
		csrf: func(tok reauth.Token) string { return tok.Extra["csrf_access_token"] },
	}
}

var credentials = map[string]string{"username": "ann", "password": "correct horse"}

// Who comes from a browser's way of doing it has a jar, which goes on sending the
// cookies of the sign-in, and a header with the CSRF value that went with them.
func TestAJarWithTheCookiesOfTheSignInIsNoObstacle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, flaskJWT)
	tok := w.mustSignInWithAWrongClock(t)
	home, err := url.Parse(w.url)
	require.NoError(t, err)
	w.client.Jar, err = cookiejar.New(nil)
	require.NoError(t, err)
	w.client.Jar.SetCookies(home, []*http.Cookie{
		{Name: "access_token_cookie", Value: tok.AccessToken, Path: "/"},
		{Name: "csrf_access_token", Value: tok.Extra["csrf_access_token"], Path: "/"},
		{Name: "refresh_token_cookie", Value: tok.RefreshToken, Path: "/token/refresh"},
		{Name: "csrf_refresh_token", Value: tok.Extra["csrf_refresh_token"], Path: "/"},
	})
	w.untilExpired(t, tok)
	before := w.counts(t)
	assert.Empty(t, storm(50, func(int) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+w.sha256, strings.NewReader("content"))
		if err != nil {
			return err
		}
		req.Header.Set("X-CSRF-TOKEN", tok.Extra["csrf_access_token"])
		var answer struct{ SHA256 string }
		return w.ask(req, &answer)
	}))
	assert.Equal(t, 1, w.counts(t).Refreshes-before.Refreshes)
}
