package reauthtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestTokenEndpointRefusesMalformedRequests(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		method, contentType, body string
		status                    int
		code                      string
	}{
		"JSON":                  {"POST", "application/json", `{"grant_type":"refresh_token"}`, 400, "invalid_request"},
		"no content type":       {"POST", "", "grant_type=refresh_token&refresh_token=x", 400, "invalid_request"},
		"GET":                   {"GET", form, "", 405, "invalid_request"},
		"no grant type":         {"POST", form, "refresh_token=x", 400, "invalid_request"},
		"no refresh token":      {"POST", form, "grant_type=refresh_token", 400, "invalid_request"},
		"unknown refresh token": {"POST", form, "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"},
		"unknown grant type":    {"POST", form, "grant_type=magic", 400, "unsupported_grant_type"},
		"repeated parameter":    {"POST", form, "grant_type=refresh_token&refresh_token=x&refresh_token=x", 400, "invalid_request"},
		"malformed form":        {"POST", form, "grant_type=%zz", 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.NewPipeServer(t, reauthtest.Options{})
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.TokenURL(), strings.NewReader(test.body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", test.contentType)
			got, err := send(s, req)
			require.NoError(t, err)
			assert.Equal(t, test.status, got.status)
			assert.Equal(t, test.code, got.string("error"))
			assert.Equal(t, test.contentType != form, strings.Contains(got.string("error_description"), "must be a form"))
			assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
			assert.Equal(t, 1, s.Counts().Refreshes)
			assert.Equal(t, 1, s.Counts().RefreshesRefused)
		})
	}
}

func TestClientAuthentication(t *testing.T) {
	secret := reauthtest.Options{ClientID: "app:1", ClientSecret: "s%cret"}
	public := reauthtest.Options{ClientID: "app:1"}
	for name, test := range map[string]struct {
		opts   reauthtest.Options
		basic  [2]string
		form   []string
		status int
	}{
		"anyone":                   {reauthtest.Options{}, [2]string{}, nil, 200},
		"Basic":                    {secret, [2]string{"app%3A1", "s%25cret"}, nil, 200},
		"form":                     {secret, [2]string{}, []string{"client_id", "app:1", "client_secret", "s%cret"}, 200},
		"both":                     {secret, [2]string{"app%3A1", "s%25cret"}, []string{"client_id", "app:1", "client_secret", "s%cret"}, 400},
		"Basic, wrong secret":      {secret, [2]string{"app%3A1", "x"}, nil, 401},
		"form, wrong secret":       {secret, [2]string{}, []string{"client_id", "app:1", "client_secret", "x"}, 401},
		"nothing":                  {secret, [2]string{}, nil, 401},
		"public":                   {public, [2]string{}, []string{"client_id", "app:1"}, 200},
		"public, another's ID":     {public, [2]string{}, []string{"client_id", "app:2"}, 401},
		"public, nothing":          {public, [2]string{}, nil, 401},
		"Basic that is no form":    {secret, [2]string{"app%3A1", "s%cret"}, nil, 400},
		"public, yet has a secret": {public, [2]string{}, []string{"client_id", "app:1", "client_secret", "x"}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.NewPipeServer(t, test.opts)
			for _, request := range []struct{ url, form string }{
				{s.RevocationURL(), "token=unknown"},
				{s.TokenURL(), "grant_type=refresh_token&refresh_token=" + s.SignIn("ann").RefreshToken},
			} {
				form := request.form
				for i := 0; i < len(test.form); i += 2 {
					form += "&" + test.form[i] + "=" + strings.ReplaceAll(test.form[i+1], "%", "%25")
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, request.url, strings.NewReader(form))
				require.NoError(t, err)
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				if test.basic[0] != "" {
					req.SetBasicAuth(test.basic[0], test.basic[1])
				}
				got, err := send(s, req)
				require.NoError(t, err)
				assert.Equal(t, test.status, got.status)
				if got.status == http.StatusUnauthorized {
					assert.Equal(t, "invalid_client", got.string("error"))
					assert.Equal(t, test.basic[0] != "", got.header.Get("WWW-Authenticate") != "")
				}
			}
		})
	}
}

func TestClientCredentials(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{ClientID: "robot", ClientSecret: "secret"})
	grant := func() answer {
		return post(t, s, s.TokenURL(), "grant_type", "client_credentials", "client_id", "robot", "client_secret", "secret")
	}
	for generation := 1; generation <= 2; generation++ {
		got := grant()
		require.Equal(t, http.StatusOK, got.status)
		assert.NotContains(t, got.json, "refresh_token", "RFC 6749 section 4.4.3")
		answer := call(t, s, "/", got.string("access_token"))
		assert.Equal(t, "robot", answer.json["user"])
		assert.Equal(t, float64(generation), answer.json["token"])
	}
	s.Revoke("robot")
	got := grant()
	assert.Equal(t, http.StatusOK, call(t, s, "/", got.string("access_token")).status)
	assert.Equal(t, 3, s.Counts().Refreshes)
	assert.Equal(t, 3, s.Counts().RefreshesGranted)
}

func TestPasswordGrant(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	s.FailRefresh(reauthtest.Drop, -1) // which does not concern sign-ins
	got := post(t, s, s.TokenURL(), "grant_type", "password", "username", "ann", "password", "x")
	require.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, "ann", call(t, s, "/", got.string("access_token")).json["user"])
	assert.NotEmpty(t, got.string("refresh_token"))
	assert.Equal(t, "invalid_grant",
		post(t, s, s.TokenURL(), "grant_type", "password", "username", "ann").string("error"))
	assert.Equal(t, 1, s.Counts().SignIns)
	assert.Zero(t, s.Counts().Refreshes)
}

func TestAnswerOptions(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{OmitExpiresIn: true, TokenType: "bearer"})
	got := refresh(t, s, s.SignIn("ann").RefreshToken)
	assert.NotContains(t, got.json, "expires_in")
	assert.Equal(t, "bearer", got.string("token_type"))
	assert.Equal(t, http.StatusOK, call(t, s, "/", got.string("access_token")).status)
}

func TestRevocationEndpoint(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})

	first := s.SignIn("ann")
	got := post(t, s, s.RevocationURL(), "token", first.AccessToken)
	assert.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", first.AccessToken).status)
	second := refresh(t, s, first.RefreshToken)
	require.Equal(t, http.StatusOK, second.status, "only the access token was revoked")

	got = post(t, s, s.RevocationURL(), "token", second.string("refresh_token"), "token_type_hint", "refresh_token")
	assert.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", second.string("access_token")).status)
	assert.Equal(t, "invalid_grant", refresh(t, s, second.string("refresh_token")).string("error"))

	assert.Equal(t, http.StatusOK, post(t, s, s.RevocationURL(), "token", "unknown").status)
	assert.Equal(t, http.StatusBadRequest, post(t, s, s.RevocationURL()).status)
	assert.Equal(t, 3, s.Counts().Revocations)
	assert.Equal(t, 1, s.Counts().SessionsRevoked)
}
