package xoauth2_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/xoauth2"
)

// begin begins a sign-in as a browser does: the server learns the challenge.
func (a *authority) begin(t *testing.T, cfg *oauth2.Config) (verifier string) {
	t.Helper()
	verifier = oauth2.GenerateVerifier()
	u, err := url.Parse(cfg.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	require.NoError(t, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenge = u.Query().Get("code_challenge")
	return verifier
}

func TestASignInIsHandedOverAndRenewed(t *testing.T) {
	a := newAuthority(t)
	cfg := a.config()
	r, err := xoauth2.Refresher(cfg)
	require.NoError(t, err)
	tr := a.transport(t, r)
	ann := tr.Session("ann")
	verifier := a.begin(t, cfg)
	require.NoError(t, xoauth2.SignIn(t.Context(), ann, cfg, "code", verifier, oauth2.SetAuthURLParam("audience", "api")))
	assert.Equal(t, verifier, a.requests()[0].Get("code_verifier"))
	assert.Equal(t, "api", a.requests()[0].Get("audience"))
	tok, err := ann.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"id_token": "ey.J.x", "scope": "all"}, tok.Extra)
	assert.WithinDuration(t, time.Now().Add(time.Hour), tok.Expiry, time.Minute)

	a.storm(t, ann)
	a.refuse()
	a.storm(t, ann)
	require.Len(t, a.requests(), 2)
	assert.Equal(t, "refresh-1", a.requests()[1].Get("refresh_token"))
}

func TestARefusedCodeMeansThatTheSignInBeginsAgain(t *testing.T) {
	a := newAuthority(t)
	cfg := a.config()
	tr := a.transport(t, xoauth2.ClientCredentials(a.clientCredentials()))
	a.begin(t, cfg)
	err := xoauth2.SignIn(t.Context(), tr, cfg, "code-SECRET", "another-verifier")
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	failure, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok)
	assert.Equal(t, "invalid_grant", failure.Code)
	for _, secret := range []string{"SECRET", "another-verifier"} {
		assert.NotContains(t, err.Error(), secret)
	}
	err = xoauth2.SignIn(t.Context(), tr, cfg, "code", "")
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.False(t, a.requests()[1].Has("code_verifier"))
	signedIn, err := tr.SignedIn(t.Context())
	require.NoError(t, err)
	assert.False(t, signedIn)
}

// It would take the code, the verifier and the client's secret along.
func TestASignInFollowsNoRedirectToAnotherOrigin(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it has come") }))
	defer stranger.Close()
	a := newAuthority(t)
	cfg := a.config()
	tr := a.transport(t, xoauth2.ClientCredentials(a.clientCredentials()))
	for _, client := range []*http.Client{nil, {}, a.Client()} {
		a.answer(answering(307, "", "Location", stranger.URL+"/token"))
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, client)
		assert.Error(t, xoauth2.SignIn(ctx, tr, cfg, "code", a.begin(t, cfg)))
	}
}

// GitHub does so. The program has to know what they mean.
func TestACodeThatIsRefusedInOtherWordsIsAnErrorThatHasThem(t *testing.T) {
	a := newAuthority(t)
	cfg := a.config()
	tr := a.transport(t, xoauth2.ClientCredentials(a.clientCredentials()))
	a.answer(answering(200, `{"error":"bad_verification_code"}`))
	err := xoauth2.SignIn(t.Context(), tr, cfg, "code-SECRET", a.begin(t, cfg))
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	failure, ok := errors.AsType[*reauth.RefreshError](err)
	require.True(t, ok)
	assert.Equal(t, "bad_verification_code", failure.Code)
}

func TestASignInThatFailsOtherwiseIsATemporaryFailure(t *testing.T) {
	a := newAuthority(t)
	cfg := a.config()
	tr := a.transport(t, xoauth2.ClientCredentials(a.clientCredentials()))
	for name, answer := range map[string]http.HandlerFunc{
		"busy":           answering(503, `{"error":"invalid_grant","x":"SECRET"}`),
		"throttled":      answering(429, `{"error":"invalid_grant"}`),
		"misconfigured":  answering(401, `{"error":"invalid_client","error_description":"SECRET"}`),
		"no connection":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no token":       answering(200, `{"scope":"SECRET"}`),
		"no JSON either": answering(200, `SECRET`),
	} {
		a.answer(answer)
		err := xoauth2.SignIn(t.Context(), tr, cfg, "code", a.begin(t, cfg))
		require.Error(t, err, name)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, name)
		assert.NotContains(t, err.Error(), "SECRET", name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := xoauth2.SignIn(ctx, tr, cfg, "code", a.begin(t, cfg))
	assert.ErrorIs(t, err, context.Canceled)
}
