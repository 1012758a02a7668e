package realservers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

func renewOIDC(p *program) renewal {
	refresher := &oauth.Refresher{
		TokenURL:      p.url + "/token",
		RevocationURL: p.url + "/token/revocation",
		ClientID:      "a program",
		ClientSecret:  "pass: w%rd + more", // Basic, each half form-encoded first
	}
	return renewal{
		refresher: refresher,
		signIn: func(ctx context.Context) (reauth.Token, error) {
			form := url.Values{"grant_type": {"urn:reauth:sign-in"}, "username": {"ann"}}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, refresher.TokenURL, strings.NewReader(form.Encode()))
			if err != nil {
				return reauth.Token{}, err
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(url.QueryEscape(refresher.ClientID), url.QueryEscape(refresher.ClientSecret))
			var answer struct {
				AccessToken  string `json:"access_token"`
				RefreshToken string `json:"refresh_token"`
				ExpiresIn    int    `json:"expires_in"`
			}
			sent := time.Now()
			if err := askJSON(req, &answer); err != nil {
				return reauth.Token{}, err
			}
			return reauth.Token{
				AccessToken:  answer.AccessToken,
				RefreshToken: answer.RefreshToken,
				Expiry:       sent.Add(time.Duration(answer.ExpiresIn) * time.Second),
			}, nil
		},
	}
}

// askJSON sends req and reads its answer, which must be 200.
func askJSON(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, resp.Body)
		return fmt.Errorf("%s: %s", req.URL.Path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func TestSignOutRevokesTheTokensAtTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oidcProvider)
	tok := w.mustSignIn(t)
	require.NoError(t, w.get(t.Context()))
	require.NoError(t, w.tr.SignOut(t.Context()))
	assert.Equal(t, 1, w.counts(t).Revocations)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+w.me, nil)
	require.NoError(t, err)
	require.NoError(t, reauth.HeaderCredential{}.Apply(req, tok))
	resp, err := w.plain.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode, "the access token")
	_, err = w.refresher.Refresh(t.Context(), tok)
	assert.ErrorIs(t, err, reauth.ErrSignInRequired, "the refresh token")
}

// A client that presents a spent refresh token may have stolen it, so the server revokes
// all tokens that came from it, also those that the session has by now.
func TestASpentRefreshTokenInOtherHandsRequiresSignInOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oidcProvider)
	stolen := w.mustSignInWithAWrongClock(t)
	w.untilExpired(t, stolen)
	require.NoError(t, w.get(t.Context()), "the session has spent it")
	_, err := w.refresher.Refresh(t.Context(), stolen)
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
	before := w.counts(t)
	require.Equal(t, 2, before.Refreshes)

	mine, err := w.tr.Token(t.Context())
	require.NoError(t, err)
	w.untilExpired(t, mine)
	for range 2 {
		failed := storm(10, func(int) error { return w.get(t.Context()) })
		require.Len(t, failed, 10)
		for _, err := range failed {
			assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
	}
	assert.Equal(t, 1, w.counts(t).Refreshes-before.Refreshes)
	assert.Equal(t, 1, w.heard(reauth.EventSignInRequired))
}

// A part of what was granted can be asked for, and the rest is not lost by that. More than
// that is refused, and costs nothing.
func TestScopesOfARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oidcProvider)
	tok := w.mustSignIn(t)
	refresh := func(scopes ...string) error {
		r := *w.refresher.(*oauth.Refresher)
		r.Scopes = scopes
		next, err := r.Refresh(t.Context(), tok)
		if err == nil {
			tok = next
		}
		return err
	}
	require.NoError(t, refresh("openid"))
	assert.Equal(t, "openid", tok.Extra["scope"])
	require.NoError(t, refresh())
	assert.Equal(t, "openid offline_access", tok.Extra["scope"])
	err := refresh("openid", "admin")
	require.ErrorContains(t, err, "invalid_scope")
	require.NotErrorIs(t, err, reauth.ErrSignInRequired)
	require.NoError(t, refresh())
}
