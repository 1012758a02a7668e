package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A userGrant is a Grant that is not of this package.
type userGrant struct {
	form url.Values
	err  error
	old  reauth.Token // that it was last asked with
}

func (g *userGrant) Request(_ context.Context, old reauth.Token) (url.Values, error) {
	g.old = old
	old.Extra["of the grant"] = "x" // is its own copy
	return g.form, g.err
}

// An eagerGrant is one with the optional methods.
type eagerGrant struct{ userGrant }

func (*eagerGrant) NeedsToken() bool  { return true }
func (*eagerGrant) NeedsClient() bool { return true }

func grantToken() reauth.Token {
	return reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1", TokenType: "DPoP", Extra: map[string]string{"scope": "read", "id_token": "id-1"},
	}
}

// The request decides what an answer says about the session, not the type of the Grant.
func TestInvalidGrantSignsOutIfTheSessionsRefreshTokenWasSent(t *testing.T) {
	const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for name, tc := range map[string]struct {
		grant     oauth.Grant
		old       reauth.Token
		ofSession bool
	}{
		"default":                  {nil, grantToken(), true},
		"client credentials":       {oauth.ClientCredentials{}, grantToken(), false},
		"user's, refresh token":    {&userGrant{form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-1"}}}, grantToken(), true},
		"user's, another token":    {&userGrant{form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"another"}}}, grantToken(), false},
		"user's, assertion":        {&userGrant{form: url.Values{"grant_type": {jwtBearer}, "assertion": {"x"}}}, grantToken(), false},
		"user's, without a token":  {&userGrant{form: url.Values{"grant_type": {jwtBearer}, "refresh_token": {""}}}, reauth.Token{Extra: map[string]string{}}, false},
		"user's, in another field": {&userGrant{form: url.Values{"grant_type": {jwtBearer}, "assertion": {"refresh-1"}}}, grantToken(), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: tc.grant, FinalCodes: []string{"invalid_request"}}
			for _, status := range []int{200, 400, 401} {
				for code, ofGrant := range map[string]bool{"invalid_grant": true, "invalid_request": true, "invalid_client": false, "unauthorized_client": false} {
					r.Client = testworld.Answering(status, `{"error":"`+code+`"}`).Client()
					failure := testworld.AssertRefused(t, r, tc.old, status, code, tc.ofSession && ofGrant)
					if !tc.ofSession && code != "invalid_request" {
						assert.ErrorContains(t, failure, "misconfigured")
					}
				}
			}
			// For the same reason the new token keeps what the old one has, or does not.
			r.Client = testworld.Answering(200, `{"access_token":"access-2"}`).Client()
			tok := refreshes(t, r, tc.old)
			want := reauth.Token{AccessToken: "access-2"}
			if tc.ofSession {
				want.RefreshToken, want.TokenType, want.Extra = "refresh-1", "DPoP", grantToken().Extra
			}
			assert.Equal(t, want, tok)
			assert.NotContains(t, tc.old.Extra, "of the grant")
		})
	}
}

func TestParametersOfAGrantAreSent(t *testing.T) {
	form := url.Values{"grant_type": {"urn:x"}, "audience": {"a", "b"}, "scope": {"of the grant"}, "client_id": {"of the grant"}}
	grant := &userGrant{form: form}
	server := testworld.Answering(200, `{"access_token":"a"}`)
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "id", Grant: grant, Client: server.Client(), Params: url.Values{"resource": {"r"}}}
	refreshes(t, r, grantToken())
	assert.Equal(t, url.Values{"grant_type": {"urn:x"}, "audience": {"a", "b"}, "scope": {"of the grant"}, "resource": {"r"}, "client_id": {"id"}}, server.Last().Form(t))
	assert.Equal(t, "refresh-1", grant.old.RefreshToken)

	r.Scopes = []string{"read", "write"}
	refreshes(t, r, grantToken())
	assert.Equal(t, "read write", server.Last().Form(t).Get("scope"))
	assert.Equal(t, url.Values{"grant_type": {"urn:x"}, "audience": {"a", "b"}, "scope": {"of the grant"}, "client_id": {"of the grant"}}, form, "its form is not written to")

	r.Params = url.Values{"audience": {"c"}}
	_, err := r.Refresh(t.Context(), grantToken())
	assert.EqualError(t, err, `oauth: Refresher.Params "audience": is sent by the Grant, a *oauth_test.userGrant`)
	grant.form = nil
	_, err = r.Refresh(t.Context(), grantToken())
	assert.EqualError(t, err, `oauth: Refresher.Grant, a *oauth_test.userGrant, returned no grant_type`)
	assert.Len(t, server.Requests(), 2)
}

func TestErrorOfAGrantIsTheRefreshersOwn(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx             context.Context
		err             error
		final, canceled bool
	}{
		{t.Context(), errors.New("key refresh-1 is missing"), false, false},
		{t.Context(), fmt.Errorf("key refresh-1 is missing: %w", reauth.ErrSignInRequired), true, false},
		{t.Context(), fmt.Errorf("asking for refresh-1: %w", context.Canceled), false, false},
		{ended, fmt.Errorf("asking for refresh-1: %w", context.Canceled), false, true},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: &userGrant{err: tc.err}}
		_, err := r.Refresh(tc.ctx, grantToken())
		require.ErrorContains(t, err, "oauth: Refresher.Grant: ")
		assert.NotContains(t, err.Error(), "refresh-1")
		assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
		assert.Equal(t, tc.canceled, errors.Is(err, context.Canceled))
	}
	own := errors.New("its own")
	_, err := (&oauth.Refresher{TokenURL: testworld.TokenURL, Grant: &userGrant{err: own}}).Refresh(t.Context(), grantToken())
	assert.ErrorIs(t, err, own)
}

func TestOptionalMethodsOfAGrant(t *testing.T) {
	for _, tc := range []struct {
		grant       oauth.Grant
		needsToken  bool
		needsClient bool
	}{
		{nil, true, false},
		{oauth.ClientCredentials{}, false, true},
		{&userGrant{}, false, false},
		{&eagerGrant{}, true, true},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: tc.grant}
		assert.Equal(t, tc.needsToken, r.NeedsToken(), "%T", tc.grant)
		assert.Equal(t, tc.needsClient, r.Validate() != nil, "%T", tc.grant)
	}
}
